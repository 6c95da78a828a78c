"""Bytes of wire v1 that were checked in, against what today's code makes of them.

`golden/` has a folder for each version of the wire format and changes only with it:

- `*.json`: payloads and statuses, decoded to the records below and encoded to the same bytes;
- `sealed.bin` and `keys.json`: a sealed object, and the names of stored ones;
- `sealed-status.bin`: a message to a monitor;
- `returned.bin`: what a function returned that has futures of nested calls in it;
- `answer.bin`: what the http shell answers;
- `frames/<python>/*.bin`: whole frames of a pipe.  The pickles in them were written by that Python, and every other one
  must load them; encoding must give the same bytes around the pickles, not the same pickles.

After a new version (or a new record, or a new Python) write the files anew, and look at the difference before you
commit it:

    python tests/test_golden.py
"""

import json
import math
import pickle
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from wren import wire
from wren.wire import Blob, Call, CallStatus, Failure, Gather, Handle, Header, Nested, Payload, Returned, Span
from wren.worker import frames, stream

GOLDEN: Final = Path(__file__).parent / "golden" / f"v{wire.VERSION}"
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

KEY: Final = bytes(range(32))
EXECUTOR: Final = "7d1e2c3b4a5968778695a4b3c2d1e0f0"
PICKLE: Final = b"\x80\x05K*."  # 42
SPAN: Final = Span("wren", f"wren/{EXECUTOR}/M000/data", 100, 164, "ab" * 32)
GATHER: Final = Gather(EXECUTOR, "M000", KEY, "wren", 0, 3, {1: 2}, "results")
FAILURE: Final = Failure(
    kind="exception",
    name="ValueError",
    message="caf\u00e9 \U0001f426",
    traceback="Traceback (most recent call last):\n",
    pickled=pickle.dumps(ValueError("no"), 4),
)

MINIMAL: Final = Header(EXECUTOR, "M000", KEY, Blob("cd" * 32, 1234), "3.12")
FULL: Final = Header(
    executor=EXECUTOR,
    job="R000",
    mac_key=KEY,
    function=Blob("cd" * 32, 1234, f"wren/functions/{'cd' * 32}"),
    python="3.12",
    modules=Blob("ef" * 32, 5678, f"wren/functions/{'ef' * 32}"),
    storage=Handle("wren.local.files:Files", {"root": "/tmp/wren-0"}),
    bucket="wren",
    reporter=Handle("wren_monitor_rabbitmq.worker:Reporter", {"queue": "q", "port": 5672, "tls": None}),
    env={"NAME": "caf\u00e9", "UNSET": None},
    inject=("id",),
    timeout=1.5,
    persist=True,
    gathered=True,
    inline=65536,
    heartbeat=5.0,
)

RETURNED: Final = Returned(
    value=PICKLE,
    places=[(0, 1), (2, 0)],
    jobs=[
        Nested(b"map", [PICKLE, b""], ("storage",), {"NAME": "caf\u00e9", "UNSET": None}, 1.5, 2, b"errors", 512, 3),
        Nested(b"reducer", [], inputs=0, parameter="results"),
        Nested(b"call", [PICKLE]),
    ],
)
ENCODED: Final = b"".join(wire.encode_returned(RETURNED))

PAYLOADS: Final = {
    "payload-inline": Payload(MINIMAL, 0, [Call(0, PICKLE), Call(1, b"")]),
    "payload-span": Payload(FULL, 3, [Call(7, SPAN)]),
    "payload-gather": Payload(FULL, 0, [Call(0, GATHER), Call(1, GATHER._replace(attempts={}, parameter=None))]),
    "payload-clients": Payload(
        FULL._replace(
            inject=("ibm_cos", "storage"),
            backend="localhost",
            clients={"ibm_cos": Handle("wren_storage_cos.client:connect", {"endpoint": "https://example.org"})},
        ),
        0,
        [Call(0, PICKLE)],
    ),
    "payload-empty": Payload(MINIMAL, 0, []),
    "payload-archive": Payload(
        MINIMAL._replace(modules=Blob("ef" * 32, 3)), 0, [Call(0, PICKLE)], pickle.dumps(math.sqrt, 4), b"zip"
    ),
    "payload-code": Payload(MINIMAL, 0, [Call(0, PICKLE)], pickle.dumps(math.sqrt, 4)),
}
STATUSES: Final = {
    "status-inline": CallStatus(
        EXECUTOR, "M000", 7, 1, "ok", 1e9, 1e9 + 0.25, PICKLE, None, "printed\n", "w1", 96 << 20, 5
    ),
    "status-failure": CallStatus(EXECUTOR, "M000", 7, 0, "err", 1e9, 1e9 + 0.25, None, FAILURE),
    "status-nested": CallStatus(EXECUTOR, "M000", 7, 1, "nested", 1e9, 1e9 + 0.25, ENCODED),
    "status-minimal": CallStatus(EXECUTOR, "M000", 0, 0, "err", 0.0, 0.0),
}
ANSWER: Final = [
    (frames.ACCEPTED, b'{"worker":"w1"}'),
    (frames.HEARTBEAT, b""),
    (frames.STATUS, wire.encode_status(STATUSES["status-inline"])),
]
SEALED: Final = (KEY, EXECUTOR, "M000", 7, 1, "ok")
KEYS: Final = {
    "job": wire.job_prefix(EXECUTOR, "M000"),
    "shard": wire.status_prefix(EXECUTOR, "M000", 12),
    "status ok": wire.status_key(EXECUTOR, "M000", 12345, 0, "ok"),
    "status nested": wire.status_key(EXECUTOR, "M000", 7, 1, "nested"),
    "status err": wire.status_key(EXECUTOR, "M000", 999, 2, "err"),
    "result": wire.result_key(EXECUTOR, "M000", 12345, 1),
    "nested": wire.nested_key(EXECUTOR, "M000", 12345, 1),
}


class Frame(NamedTuple):
    """A frame before it is bytes; None: there is no body."""

    kind: int
    body: Any = None
    extra: bytes = b""
    tag: int = 0
    number: int = 0
    started: float = 0.0
    stopped: float = 0.0
    peak: int = 0


ARGUMENTS: Final = [pickle.dumps(((["a"],), {}), 4), pickle.dumps(((), {"x": {}}), 4)]
SIZES: Final = [len(pickled) for pickled in ARGUMENTS]
PLAIN: Final = [(1, "a"), (None, 2.5)], None
FUNCTION: Final = pickle.dumps(math.sqrt, 4)
FRAMES: Final = {
    "context": Frame(stream.CONTEXT, stream.Context(["/app", "/lib"], "/home", {"HOME": "/home", "LANG": "C"})),
    "batch-new-job": Frame(
        stream.BATCH,
        stream.Batch(0, (0, 1), stream.Job("ab" * 32, len(FUNCTION), pickle.dumps(FULL, 4)), sizes=SIZES[:1]),
        FUNCTION + ARGUMENTS[0],
        tag=4,
        number=3,
    ),
    "batch-known-function": Frame(
        stream.BATCH, stream.Batch(0, [0], stream.Job("ab" * 32, 0, b"", (1, 2), ("cd" * 32,)), PLAIN), number=4
    ),
    "batch-plain": Frame(stream.BATCH, stream.Batch(0, (0, 2), plain=PLAIN), tag=200, number=3),
    "batch-plain-keywords": Frame(stream.BATCH, stream.Batch(1, [5], plain=([()], [{"x": b"b"}])), tag=1, number=3),
    "batch-pickled": Frame(
        stream.BATCH, stream.Batch(0, [4, 9], sizes=SIZES), b"".join(ARGUMENTS), tag=2, number=2**32 - 1
    ),
    "batch-shared": Frame(stream.BATCH, stream.Batch(0, [4, 9], sizes=SIZES, place=1 << 40), tag=5, number=3),
    "batch-gather": Frame(stream.BATCH, stream.Batch(0, [0], stored=[GATHER]), tag=3, number=3),
    "ready": Frame(stream.READY, number=4711),
    "result-plain": Frame(stream.RESULT, 42, b"", stream.PLAIN, 7, 100.25, 101.5),
    "result-pickled": Frame(stream.RESULT, [1, "two"], b"caf\xc3\xa9\n", stream.PICKLED, 8, 100.25, 101.5),
    "result-stored": Frame(stream.RESULT, 1 << 21, b"", stream.STORED, 9, 100.25, 101.5, 96 << 20),
    "result-shared": Frame(stream.RESULT, (3 << 20, 1 << 21), b"", stream.PICKLED | stream.SHARED, 12, 100.25, 101.5),
    "result-nested": Frame(stream.RESULT, RETURNED, b"", stream.NESTED, 11, 100.25, 101.5),
    "result-failed": Frame(stream.RESULT, FAILURE, b"printed\n", stream.FAILED, 10, 100.25, 101.5),
}
WORDS: Final = {
    "result-int": (stream.INT, 2**32 - 1, 100.25, 101.5, 0, -(2**63)),
    "result-float": (stream.FLOAT, 0, 100.25, 101.5, 96 << 20, -2.5),
    "result-constant": (stream.CONSTANT, 7, 100.25, 101.5, 0, 2),
}


def encoded(frame: Frame, body: bytes) -> bytes:
    """The bytes of a frame around a body that is pickled already."""
    buffers = stream.frame(
        frame.kind,
        [body],
        [frame.extra],
        tag=frame.tag,
        number=frame.number,
        started=frame.started,
        stopped=frame.stopped,
        peak=frame.peak,
    )
    return b"".join(buffers)


def loaded(pickled: bytes) -> Any:
    return pickle.loads(pickled)  # noqa: S301 - from files of this repository


def body_of(frame: Frame) -> bytes:
    """As the sender writes it."""
    if isinstance(frame.body, Returned):
        return b"".join(wire.encode_returned(frame.body))
    if frame.tag == stream.STORED and frame.kind == stream.RESULT:
        return stream.SIZE.pack(frame.body)
    if frame.kind == stream.RESULT and frame.tag & stream.SHARED:
        return stream.PLACE.pack(*frame.body)
    if frame.kind in (stream.CONTEXT, stream.BATCH):
        return pickle.dumps(tuple(tuple(each) if isinstance(each, stream.Job) else each for each in frame.body), 5)
    return pickle.dumps(frame.body, 5) if frame.body is not None else b""


def read(kind: int, tag: int, body: bytes) -> Any:
    """As the receiver does."""
    if kind == stream.RESULT and tag == stream.NESTED:
        return wire.decode_returned(body)
    if kind == stream.RESULT and tag == stream.STORED:
        return stream.SIZE.unpack(body)[0]
    if kind == stream.RESULT and tag & stream.SHARED:
        return stream.PLACE.unpack(body)
    return loaded(body) if body else None


def golden_frames() -> list[Path]:
    return sorted(GOLDEN.glob("frames/*/*.bin"))


def frame_id(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_have_the_golden_bytes(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes()
    assert wire.decode(golden) == PAYLOADS[name]
    assert wire.encode(PAYLOADS[name]) == golden


@pytest.mark.parametrize("name", STATUSES)
def test_statuses_have_the_golden_bytes(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes()
    assert wire.decode_status(golden) == STATUSES[name]
    assert wire.encode_status(STATUSES[name]) == golden


def test_sealed_objects_have_the_golden_bytes() -> None:
    golden = (GOLDEN / "sealed.bin").read_bytes()
    assert wire.unseal(*SEALED, golden).tobytes() == PICKLE
    assert b"".join(wire.seal(*SEALED, [PICKLE])) == golden


def test_sealed_statuses_have_the_golden_bytes() -> None:
    golden = (GOLDEN / "sealed-status.bin").read_bytes()
    status = STATUSES["status-failure"]
    assert wire.read_sealed(golden) == status
    assert wire.seal_status(KEY, status) == golden


def test_what_a_function_returned_has_the_golden_bytes() -> None:
    golden = (GOLDEN / "returned.bin").read_bytes()
    assert wire.decode_returned(golden) == RETURNED
    assert b"".join(wire.encode_returned(RETURNED)) == golden


def test_answers_have_the_golden_bytes() -> None:
    golden = (GOLDEN / "answer.bin").read_bytes()
    assert list(frames.FrameReader().feed(golden)) == ANSWER
    assert b"".join(frames.frame(*each) for each in ANSWER) == golden


def test_stored_objects_have_the_golden_names() -> None:
    assert json.loads((GOLDEN / "keys.json").read_bytes()) == KEYS


def test_golden_keys_of_statuses_are_parsed() -> None:
    keys = json.loads((GOLDEN / "keys.json").read_bytes())
    assert wire.parse_status_key(keys["status ok"]) == (12345, 0, "ok")
    assert wire.parse_status_key(keys["status err"]) == (999, 2, "err")
    assert wire.parse_status_key(keys["status nested"]) == (7, 1, "nested")


@pytest.mark.parametrize("path", golden_frames(), ids=frame_id)
def test_golden_frames_of_every_python_are_read(path: Path) -> None:
    # Given a frame that some Python wrote
    golden, expected = path.read_bytes(), FRAMES[path.stem]
    # When it is taken apart as its receiver does
    kind, tag, number, size, extra, started, stopped, peak = stream.HEAD.unpack_from(golden)
    body, rest = golden[stream.HEAD.size :][:size], golden[stream.HEAD.size + size :]
    # Then it is the record that was sent
    assert (kind, tag, number) == (expected.kind, expected.tag, expected.number)
    assert (started, stopped, peak) == (expected.started, expected.stopped, expected.peak)
    assert read(kind, tag, body) == expected.body
    assert (rest, extra) == (expected.extra, len(expected.extra))


@pytest.mark.parametrize("path", golden_frames(), ids=frame_id)
def test_frames_have_the_golden_bytes_around_their_pickles(path: Path) -> None:
    golden = path.read_bytes()
    size = stream.HEAD.unpack_from(golden)[3]
    assert encoded(FRAMES[path.stem], golden[stream.HEAD.size :][:size]) == golden


def test_golden_functions_are_loaded() -> None:
    extras = [path.read_bytes()[-len(FUNCTION + ARGUMENTS[0]) :] for path in GOLDEN.glob("frames/*/batch-new-job.bin")]
    assert {loaded(extra[: len(FUNCTION)]) for extra in extras} == {math.sqrt}


@pytest.mark.parametrize(("name", "frame"), WORDS.items())
def test_frames_of_words_have_the_golden_bytes(name: str, frame: tuple[int, int, float, float, int, Any]) -> None:
    golden = (GOLDEN / f"{name}.bin").read_bytes()
    packing = stream.WORD_FRAME[frame[0]]
    assert packing.unpack(golden) == frame
    assert packing.pack(*frame) == golden
    assert len(golden) == 8 * stream.WORDS


def test_golden_arguments_are_loaded() -> None:
    first = len(ARGUMENTS[0])
    for path in GOLDEN.glob("frames/*/batch-pickled.bin"):
        arguments = path.read_bytes()[-len(FRAMES["batch-pickled"].extra) :]
        assert loaded(arguments[:first]) == ((["a"],), {})
        assert loaded(arguments[first:]) == ((), {"x": {}})


def test_there_is_a_golden_file_for_every_record_and_no_other() -> None:
    written = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()}
    pythons = sorted(folder.name for folder in (GOLDEN / "frames").iterdir())
    expected = {f"{name}.json" for name in (*PAYLOADS, *STATUSES, "keys")}
    expected |= {f"{name}.bin" for name in WORDS}
    expected |= {"sealed.bin", "sealed-status.bin", "answer.bin", "returned.bin"}
    expected |= {f"frames/{python}/{name}.bin" for python in pythons for name in FRAMES}
    assert written == expected
    assert len(pythons) >= 2, "frames of at least two Pythons show that each reads the other's"


def write_golden_files() -> None:
    """Write all files but the frames of other Pythons."""
    folder = GOLDEN / "frames" / PYTHON
    folder.mkdir(parents=True, exist_ok=True)
    for name, payload in PAYLOADS.items():
        (GOLDEN / f"{name}.json").write_bytes(wire.encode(payload))
    for name, status in STATUSES.items():
        (GOLDEN / f"{name}.json").write_bytes(wire.encode_status(status))
    (GOLDEN / "keys.json").write_text(json.dumps(KEYS, indent=2) + "\n", encoding="utf-8")
    (GOLDEN / "sealed.bin").write_bytes(b"".join(wire.seal(*SEALED, [PICKLE])))
    (GOLDEN / "sealed-status.bin").write_bytes(wire.seal_status(KEY, STATUSES["status-failure"]))
    (GOLDEN / "returned.bin").write_bytes(b"".join(wire.encode_returned(RETURNED)))
    (GOLDEN / "answer.bin").write_bytes(b"".join(frames.frame(*each) for each in ANSWER))
    for name, frame in FRAMES.items():
        (folder / f"{name}.bin").write_bytes(encoded(frame, body_of(frame)))
    for name, words in WORDS.items():
        (GOLDEN / f"{name}.bin").write_bytes(stream.WORD_FRAME[words[0]].pack(*words))


if __name__ == "__main__":
    write_golden_files()
