"""The records of wire v1: round trips, seals and keys.  Their bytes are pinned by the root's tests/test_golden.py."""

import base64
import json
import pprint
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren import wire
from wren.job import CallOptions
from wren.wire import Blob, Call, CallStatus, Failure, Gather, Handle, Header, Nested, Payload, Returned, Span

HEADER = Header(
    executor="7d1e2c3b", job="M000", mac_key=b"k" * 32, function=Blob("f" * 64, 100), python="3.12", env={"A": "1"}
)
PAYLOAD = Payload(HEADER, 0, [Call(0, b"arguments")])
STATUS = CallStatus("7d1e2c3b", "M000", 7, 1, "ok", 1.0, 2.5, result=b"result")

# Ids are uuids and job numbers; everything else is the user's.
ids = st.text("0123456789abcdefMRA-", min_size=1, max_size=36)
numbers = st.integers(0, 2**53)
attempts = st.integers(0, 100)
times = st.floats(0, 1e11)
states: st.SearchStrategy[wire.State] = st.sampled_from(["ok", "err", "nested"])
text = st.text(max_size=20)
blobs = st.builds(Blob, text, numbers, st.none() | text)
spans = st.builds(Span, text, text, numbers, numbers, text)
gathers = st.builds(
    Gather,
    ids,
    ids,
    st.binary(max_size=32),
    text,
    numbers,
    numbers,
    st.dictionaries(numbers, attempts, max_size=3),
    st.none() | text,
)
options = st.dictionaries(text, st.none() | st.booleans() | numbers | text | st.lists(text, max_size=2), max_size=3)
handles = st.builds(Handle, text, options)
headers = st.builds(
    Header,
    executor=ids,
    job=ids,
    mac_key=st.binary(max_size=32),
    function=blobs,
    python=text,
    modules=st.none() | blobs,
    storage=st.none() | handles,
    bucket=text,
    reporter=st.none() | handles,
    env=st.dictionaries(text, st.none() | text, max_size=3),
    inject=st.lists(text, max_size=3).map(tuple),
    timeout=st.none() | times,
    persist=st.booleans(),
    gathered=st.booleans(),
    inline=st.none() | numbers,
    heartbeat=st.none() | times,
    backend=text,
    clients=st.dictionaries(text, handles, max_size=2),
    v=st.just(wire.VERSION),
)
calls = st.builds(Call, numbers, st.binary(max_size=100) | spans | gathers)
inline = st.none() | st.binary(max_size=100)
payloads = st.builds(Payload, headers, attempts, st.lists(calls, max_size=4), inline, inline)
failures = st.builds(Failure, text, text, text, text, st.binary(max_size=100))
statuses = st.builds(
    CallStatus,
    executor=ids,
    job=ids,
    call=numbers,
    attempt=attempts,
    state=states,
    started=times,
    stopped=times,
    result=st.none() | st.binary(max_size=100),
    failure=st.none() | failures,
    logs=text,
    worker=text,
    peak_memory=numbers,
    size=numbers,
    v=st.just(wire.VERSION),
)
nested_jobs = st.builds(
    Nested,
    code=st.binary(max_size=100),
    calls=st.lists(st.binary(max_size=100), max_size=3),
    inject=st.lists(text, max_size=3).map(tuple),
    env=st.dictionaries(text, st.none() | text, max_size=3),
    timeout=st.none() | times,
    retries=attempts,
    retry_on=st.binary(max_size=100),
    memory=st.none() | numbers,
    per_activation=numbers,
    inputs=st.none() | numbers,
    parameter=st.none() | text,
)
places = st.lists(st.tuples(numbers, numbers), max_size=3)
returned_values = st.builds(Returned, st.binary(max_size=100), places, st.lists(nested_jobs, max_size=3))


# ---------------------------------------------------------------- JSON


@given(payloads)
def test_a_payload_survives_the_way(payload: Payload) -> None:
    assert wire.decode(wire.encode(payload)) == payload


@given(statuses)
def test_a_status_survives_the_way(status: CallStatus) -> None:
    assert wire.decode_status(wire.encode_status(status)) == status


@given(payloads, statuses)
def test_encodings_are_ascii_and_strict_json(payload: Payload, status: CallStatus) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for encoded in (wire.encode(payload), wire.encode_status(status)):
        assert json.loads(encoded.decode("ascii"), parse_constant=refuse)["v"] == 1


def test_text_that_is_no_unicode_survives_as_printed_output_may_have_it() -> None:
    status = STATUS._replace(logs=b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert wire.decode_status(wire.encode_status(status)) == status


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_any_buffer_is_decoded(view: Callable[[bytes], wire.Buffer]) -> None:
    assert wire.decode(view(wire.encode(PAYLOAD))) == PAYLOAD
    assert wire.decode_status(view(wire.encode_status(STATUS))) == STATUS


def with_unknown_keys(raw: Any) -> Any:
    """The same JSON with a key that nobody knows in each object but those that hold names of the user's."""
    if isinstance(raw, list):
        return [with_unknown_keys(item) for item in raw]
    if isinstance(raw, dict):
        kept = {
            name: value if name in ("clients", "env", "options") else with_unknown_keys(value)
            for name, value in raw.items()
        }
        return {"from_the_future": {"v": 2}, **kept}
    return raw


@given(payloads, statuses)
def test_unknown_keys_are_ignored_everywhere(payload: Payload, status: CallStatus) -> None:
    encoded, encoded_status = wire.encode(payload), wire.encode_status(status)
    assert wire.decode(json.dumps(with_unknown_keys(json.loads(encoded))).encode()) == payload
    assert wire.decode_status(json.dumps(with_unknown_keys(json.loads(encoded_status))).encode()) == status


@given(statuses, st.binary(min_size=32, max_size=32))
def test_a_sealed_status_is_read_for_its_identity_and_opened_with_its_jobs_key_only(
    status: CallStatus, key: bytes
) -> None:
    sealed = wire.seal_status(key, status)
    assert wire.read_sealed(sealed) == status
    identity = (status.executor, status.job, status.call, status.attempt, status.state)
    assert wire.unseal_status(key, *identity, sealed) == status
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal_status(b"another key", *identity, sealed)
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal(key, *identity, sealed)  # as a result


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"short",
        b"\0" * 100,
        b"\0" * 32 + b"[]",
        b"\0" * 32 + b'{"v":1}',
        b"\0" * 32 + b"1",
        b"\0" * 32 + b"[" * 200_000,
        b"\0" * 32 + wire.encode_status(STATUS._replace(job=[])),  # type: ignore[arg-type]
        b"\0" * 32 + wire.encode_status(STATUS._replace(call=None)),  # type: ignore[arg-type]
        b"\0" * 32 + wire.encode_status(STATUS._replace(attempt=-1)),
    ],
)
def test_what_is_no_sealed_status_is_a_value_error(message: bytes) -> None:
    with pytest.raises(ValueError, match="no sealed status"):
        wire.read_sealed(message)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_a_mismatch_with_the_cure(version: Any) -> None:
    for encoded, decode in (
        (wire.encode(PAYLOAD), wire.decode),
        (wire.encode_status(STATUS), wire.decode_status),
    ):
        raw = json.loads(encoded) | {"v": version}
        with pytest.raises(wire.WireMismatch) as caught:
            decode(json.dumps(raw).encode())
        assert f"wire format {version!r}, this side of wren speaks 1" in str(caught.value)
        assert "install the same wren-core on both sides and deploy the runtime again" in str(caught.value)


def test_a_message_without_a_version_is_a_mismatch() -> None:
    with pytest.raises(wire.WireMismatch, match="wire format None"):
        wire.decode(b"{}")


def test_a_mismatch_is_found_before_anything_else_is_looked_at() -> None:
    with pytest.raises(wire.WireMismatch):
        wire.decode(b'{"v": 2, "calls": "in another shape"}')


def test_decoding_a_status_unpickles_nothing() -> None:
    # Given a result and a failure whose bytes are no pickles at all
    status = STATUS._replace(failure=Failure("exception", "E", "m", "t", b"no pickle"), result=b"no pickle")
    # Then they come out as they went in
    assert wire.decode_status(wire.encode_status(status)) == status


# ---------------------------------------------------------------- what functions return that have futures in it


@given(returned_values)
def test_what_a_function_returned_survives_the_way(returned: Returned) -> None:
    assert wire.decode_returned(b"".join(wire.encode_returned(returned))) == returned


@given(returned_values, st.data())
def test_what_a_function_returned_is_whole_or_an_error(returned: Returned, data: st.DataObject) -> None:
    encoded = b"".join(wire.encode_returned(returned))
    pickles = len(returned.value) + sum(
        len(job.code) + len(job.retry_on) + sum(map(len, job.calls)) for job in returned.jobs
    )
    cut = data.draw(st.integers(1, max(1, pickles)))
    if pickles:
        with pytest.raises(ValueError, match="says that it has more"):
            wire.decode_returned(encoded[:-cut])


def test_decoding_what_a_function_returned_unpickles_nothing() -> None:
    returned = Returned(b"no pickle", [(0, 0)], [Nested(b"no pickle", [b"nor this"], retry_on=b"nor this")])
    assert wire.decode_returned(b"".join(wire.encode_returned(returned))) == returned


def test_the_environment_of_nested_calls_is_in_no_repr() -> None:
    assert "swordfish" not in repr(Returned(b"", [], [Nested(b"", [], env={"PASSWORD": "swordfish"})]))


# ---------------------------------------------------------------- seals

Identity = tuple[bytes, str, str, int, int, wire.State]
OURS: Identity = (b"k" * 32, "7d1e2c3b", "M000", 7, 1, "ok")
identities = st.tuples(st.binary(min_size=1, max_size=32), ids, ids, numbers, attempts, states)


@given(identities, st.lists(st.binary(max_size=50), max_size=4))
def test_what_was_sealed_is_unsealed(ours: Identity, chunks: list[bytes]) -> None:
    sealed = b"".join(wire.seal(*ours, chunks))
    assert wire.unseal(*ours, sealed) == b"".join(chunks)
    assert len(sealed) == wire.SEAL_SIZE + sum(map(len, chunks))


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_how_the_content_was_cut_into_chunks_does_not_matter(chunks: list[bytes]) -> None:
    assert b"".join(wire.seal(*OURS, chunks)) == b"".join(wire.seal(*OURS, [b"".join(chunks)]))


def test_a_generator_of_chunks_is_sealed_whole() -> None:
    assert b"".join(wire.seal(*OURS, (chunk for chunk in (b"a", b"b")))) == b"".join(wire.seal(*OURS, [b"ab"]))


@given(st.binary(max_size=40), st.data())
def test_any_flipped_bit_is_noticed(content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(b"".join(wire.seal(*OURS, [content])))
    at = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal(*OURS, sealed)


def test_every_bit_of_a_small_object_counts() -> None:
    sealed = b"".join(wire.seal(*OURS, [b"ab"]))
    for at in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(ValueError, match="was not written by its worker"):
            wire.unseal(*OURS, flipped)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 36])
def test_a_shortened_object_is_noticed(size: int) -> None:
    sealed = b"".join(wire.seal(*OURS, [b"result"]))
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal(*OURS, sealed[:size])


def test_a_lengthened_object_is_noticed() -> None:
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal(*OURS, b"".join(wire.seal(*OURS, [b"result"])) + b"\0")


@given(identities, st.integers(0, 5), st.data())
def test_an_object_of_another_key_executor_job_call_attempt_or_state_is_refused(
    ours: Identity, which: int, data: st.DataObject
) -> None:
    # Given the seal of one attempt, and an identity that differs from it in one part
    parts = (st.binary(min_size=1, max_size=32), ids, ids, numbers, attempts, states)
    other = data.draw(parts[which].filter(lambda part: part != ours[which] and not _same_hmac_key(part, ours[which])))
    theirs = cast("Identity", (*ours[:which], other, *ours[which + 1 :]))
    sealed = b"".join(wire.seal(*ours, [b"content"]))
    # Then it is not unsealed as the other's
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal(*theirs, sealed)


def _same_hmac_key(one: object, other: object) -> bool:
    """HMAC pads short keys with zeros, so keys that differ in zeros at their end only are the same key."""
    return isinstance(one, bytes) and isinstance(other, bytes) and one.rstrip(b"\0") == other.rstrip(b"\0")


@pytest.mark.parametrize(
    ("executor", "job", "call", "attempt"), [("a", "bc", 11, 1), ("ab", "c", 1, 11), ("ab", "c1", 1, 1)]
)
def test_parts_of_an_identity_cannot_run_into_each_other(executor: str, job: str, call: int, attempt: int) -> None:
    sealed = b"".join(wire.seal(b"k", "ab", "c", 11, 1, "ok", [b"content"]))
    with pytest.raises(ValueError, match="was not written by its worker"):
        wire.unseal(b"k", executor, job, call, attempt, "ok", sealed)


def test_the_error_names_the_call_and_tells_no_secret() -> None:
    with pytest.raises(ValueError, match=r"call 7 of job 7d1e2c3b/M000") as caught:
        wire.unseal(*OURS, bytes(40))
    assert OURS[0].decode() not in str(caught.value)


# ---------------------------------------------------------------- storage keys


@given(ids, ids, st.integers(0, 10**8 - 1), attempts, states)
def test_a_status_key_is_parsed_back(executor: str, job: str, call: int, attempt: int, state: wire.State) -> None:
    key = wire.status_key(executor, job, call, attempt, state)
    assert wire.parse_status_key(key) == (call, attempt, state)
    assert key.startswith(wire.status_prefix(executor, job, call // wire.SHARD))
    assert key.startswith(wire.job_prefix(executor, job))


@given(st.lists(st.integers(0, 10**8 - 1), min_size=2))
def test_keys_of_statuses_and_results_sort_by_call(numbers: list[int]) -> None:
    by_call = sorted(numbers)
    for key_of in (
        lambda call: wire.status_key("e", "M000", call, 0, "ok"),
        lambda call: wire.result_key("e", "M000", call, 0),
    ):
        assert sorted(map(key_of, numbers)) == list(map(key_of, by_call))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "wren/e/M000/data",
        "wren/e/M000/result/00000001.0",
        "wren/e/M000/status/00000/00000001.0.maybe",
        "wren/e/M000/status/00000/00000001.ok",
        "wren/e/M000/status/00000/00000001.0.0.ok",
        "wren/e/M000/status/00000/x.0.ok",
        "wren/e/M000/status/00000/00000001.0.OK",
        "wren/e/M000/status/00000/",
    ],
)
def test_another_key_is_no_status_key(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which sentence it is does not matter to those who list
        wire.parse_status_key(key)


@pytest.mark.parametrize(
    "name", ["-0000001.0.ok", "00000001.-1.ok", "+0000001.0.ok", "0000_001.0.ok", " 0000001.0.ok", "٠٠٠٠٠٠٠١.0.ok"]
)
def test_a_stranger_cannot_name_a_call_in_another_way(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        wire.parse_status_key(f"wren/e/M000/status/00000/{name}")


# ---------------------------------------------------------------- secrets


def test_the_key_of_a_job_travels_in_its_payload_only() -> None:
    assert base64.b64encode(HEADER.mac_key) in wire.encode(PAYLOAD)
    assert b"mac_key" not in wire.encode_status(STATUS)


def test_the_key_of_a_job_is_in_no_repr() -> None:
    gather = Gather("7d1e2c3b", "M000", HEADER.mac_key, "wren", 0, 2)
    for record in (HEADER, PAYLOAD, gather, Call(0, gather)):
        assert "kkkk" not in repr(record)


@pytest.mark.parametrize(
    "record",
    [
        HEADER._replace(env={"PASSWORD": "swordfish"}),
        PAYLOAD._replace(code=b"swordfish"),
        STATUS._replace(result=b"swordfish"),
        Nested(b"swordfish", [b"swordfish"], env={"PASSWORD": "swordfish"}, retry_on=b"swordfish"),
        Returned(b"swordfish", [], []),
        CallOptions({"PASSWORD": "swordfish"}),
    ],
    ids=lambda record: type(record).__name__,
)
def test_what_is_the_users_own_is_in_no_repr(record: object) -> None:
    for text_of in (repr(record), str(record), f"{record}", f"{record}", pprint.pformat([record])):
        assert "swordfish" not in text_of
        assert type(record).__name__ in text_of
