"""The job format, version 1: what crosses between a client and its workers.

Standard library only, for both sides import it, and little of that: a local worker starts with each of its imports.
One set of records, two encodings: JSON (here) for channels that carry text, and binary frames (`wren.worker.stream`)
for pipes on one machine.  `tests/golden/` holds bytes of this version; a change that breaks them is a new version.  All
of it is one page, for whoever writes another side.

Times are seconds since the epoch, sizes are bytes.
"""

import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

VERSION: Final = 1

Buffer: TypeAlias = bytes | bytearray | memoryview
Json: TypeAlias = Any  # what json.loads gives: the type system has no shorter true word for it
State: TypeAlias = Literal["ok", "err", "nested"]  # "nested": it returned what other calls will have

NOTHING: Final[Mapping[Any, Any]] = {}  # what a record has where nothing is given: nobody writes to it


class WireMismatch(ValueError):
    """A message in a format version that this side does not speak."""


# ---------------------------------------------------------------- records

# Named tuples: with `dataclasses`, and what those import, the start of a local worker would take half as long again.


def without(record: Any, *secrets: str) -> str:
    """The repr of a named tuple but for some of its fields, which no log and no traceback may show."""
    shown = (f"{name}={getattr(record, name)!r}" for name in record._fields if name not in secrets)
    return f"{type(record).__qualname__}({', '.join(shown)})"


class Span(NamedTuple):
    """Bytes `start` to `stop` of a stored object, and the SHA-256 (hex) that they must have."""

    bucket: str
    key: str
    start: int
    stop: int
    sha256: str


class Blob(NamedTuple):
    """A pickled function, or packed modules, known by `id`.

    The id is the SHA-256 (hex) of the content wherever the content is stored or cached between jobs; for a large blob
    that goes down a pipe it is a name that is unique in the client's process, which saves the hashing.
    """

    id: str
    size: int
    key: str | None = None  # where it is stored; None when it travels with the payload


class Handle(NamedTuple):
    """How a worker opens a storage or a reporter: `"module:attribute"`, called with the options as keywords."""

    target: str
    options: Mapping[str, Json] = NOTHING


class Gather(NamedTuple):
    """The argument of a reducer: the stored results of calls `start` to `stop` of `job`, as a list in that order."""

    executor: str
    job: str
    mac_key: bytes
    bucket: str
    start: int
    stop: int
    attempts: Mapping[int, int] = NOTHING  # only those calls whose result is not of attempt 0
    parameter: str | None = None  # the reducer's parameter that gets the list; None: the first positional one

    def __repr__(self) -> str:
        return without(self, "mac_key")


class Call(NamedTuple):
    """One call of a payload.  `args` is the pickle of `(args, kwargs)`, where that is stored, or a reducer's inputs."""

    id: int
    args: bytes | Span | Gather


class Header(NamedTuple):
    """What all calls of a job share.

    `mac_key` opens nothing but this job's results (see `seal`).  `executor` is the uuid of the storage keys.
    `env` maps to None what is to be unset.  `inject` names the parameters that the worker fills in.
    """

    executor: str
    job: str
    mac_key: bytes
    function: Blob
    python: str
    modules: Blob | None = None
    storage: Handle | None = None
    bucket: str = ""
    reporter: Handle | None = None
    env: Mapping[str, str | None] = NOTHING  # it may have secrets of the user's
    inject: tuple[str, ...] = ()
    timeout: float | None = None
    persist: bool = False  # results and statuses are stored, for whoever asks later
    gathered: bool = False  # results are stored, for a reducer
    inline: int | None = None  # bytes of a result that may ride in a status; larger ones are stored.  None: any
    heartbeat: float | None = None  # seconds between a worker's signs of life, on channels that carry them
    backend: str = ""  # the storage's name
    clients: Mapping[str, Handle] = NOTHING  # what makes those of the parameters that are clients of an SDK
    v: int = VERSION

    def __repr__(self) -> str:
        return without(self, "mac_key", "env")


class Payload(NamedTuple):
    """One activation: some calls of a job.

    `code` is the function's pickle, `archive` its packed modules (zip), where these are not stored.
    """

    header: Header
    attempt: int
    calls: Sequence[Call]
    code: bytes | None = None
    archive: bytes | None = None

    def __repr__(self) -> str:
        return without(self, "code", "archive")


class Failure(NamedTuple):
    """Why a call has no result.

    `kind` is "exception" (the function's own: `pickled` is it, or empty where that cannot be), "exit" (SystemExit or
    KeyboardInterrupt), "result" (it cannot be pickled), "arguments" or "function" (they cannot be loaded), "storage";
    or what its shell saw: "lost" (the process is gone), "memory" (killed at the limit), "timeout" (over it, so killed).
    """

    kind: str
    name: str  # of the exception's type
    message: str
    traceback: str
    pickled: bytes = b""


class CallStatus(NamedTuple):
    """The end of one attempt of one call, as any channel reports it.

    An "ok" without `result` has it stored under `result_key`.  The `result` of a "nested" one is an encoded `Returned`,
    without it stored under `nested_key`.  Channels that others can write to carry a status sealed.
    """

    executor: str
    job: str
    call: int
    attempt: int
    state: State
    started: float
    stopped: float
    result: bytes | None = None  # the pickle
    failure: Failure | None = None
    logs: str = ""
    worker: str = ""
    peak_memory: int = 0  # bytes that its process had at most while it ran; 0: not known
    size: int = 0  # bytes of the result
    v: int = VERSION

    def __repr__(self) -> str:
        return without(self, "result")


class Nested(NamedTuple):
    """A job that a function has asked for, and left to its client.

    `calls` are the pickles of `(args, kwargs)`.  A reducer has none, but `inputs`: the index of its map among the jobs
    beside it, whose results become its `parameter`, or its first positional one.  `retry_on` is the pickle of a tuple
    of exceptions; empty: those that are retried where nobody names any.
    """

    code: Buffer
    calls: Sequence[Buffer]
    inject: tuple[str, ...] = ()
    env: Mapping[str, str | None] = NOTHING
    timeout: float | None = None
    retries: int = 0
    retry_on: Buffer = b""
    memory: int | None = None  # MiB; None: the executor's
    per_activation: int = 1
    inputs: int | None = None
    parameter: str | None = None

    def __repr__(self) -> str:
        return without(self, "code", "calls", "env", "retry_on")


class Returned(NamedTuple):
    """What a function returned that has futures of nested calls in it.

    `places` are job and call of each.  `value` is the pickle of what was returned, in which
    `wren.worker.nested.part(index)` stands for them; empty: what was returned is the one future itself.
    """

    value: Buffer
    places: Sequence[tuple[int, int]]
    jobs: Sequence[Nested]

    def __repr__(self) -> str:
        return without(self, "value")


# ---------------------------------------------------------------- storage keys

SHARD: Final = 1_000  # calls in a folder of statuses, so that finished folders need not be listed again


_STATES: Final[Mapping[str, State]] = {"ok": "ok", "err": "err", "nested": "nested"}
_STATUS_KEY: Final = re.compile(rf"/(\d{{8,}})\.(\d+)\.({'|'.join(_STATES)})\Z", re.ASCII)


def job_prefix(executor: str, job: str) -> str:
    """Where all objects of a job begin."""
    return f"wren/{executor}/{job}/"


def status_key(executor: str, job: str, call: int, attempt: int, state: State) -> str:
    """The state is in the key's name, so that waiting reads no object."""
    return f"{status_prefix(executor, job, call // SHARD)}{call:08d}.{attempt}.{state}"


def status_prefix(executor: str, job: str, shard: int) -> str:
    """Where the keys of a shard's statuses begin."""
    return f"{job_prefix(executor, job)}status/{shard:05d}/"


def parse_status_key(key: str) -> tuple[int, int, State]:
    """(call, attempt, state) of a `status_key`; ValueError for any other key."""
    parts = _STATUS_KEY.search(key)
    if parts is None:
        raise ValueError(f"{key!r} is no status key")
    return int(parts[1]), int(parts[2]), _STATES[parts[3]]


def result_key(executor: str, job: str, call: int, attempt: int) -> str:
    """Where the sealed result of an attempt is stored."""
    return f"{job_prefix(executor, job)}result/{call:08d}.{attempt}"


def nested_key(executor: str, job: str, call: int, attempt: int) -> str:
    """Where the sealed `Returned` of an attempt is stored, where its status has none."""
    return f"{job_prefix(executor, job)}nested/{call:08d}.{attempt}"


# ---------------------------------------------------------------- authenticity

SEAL_SIZE: Final = 32


def mac(key: bytes, executor: str, job: str, call: int, attempt: int, state: State, content_hash: bytes) -> bytes:
    """HMAC-SHA256 that binds a content to the attempt of the call that it claims to come from."""
    import hmac
    import json

    identity = json.dumps([executor, job, call, attempt, state]).encode()
    return hmac.digest(key, identity + content_hash, "sha256")


def seal(
    key: bytes, executor: str, job: str, call: int, attempt: int, state: State, chunks: Iterable[Buffer]
) -> list[Buffer]:
    """The chunks of a stored object: its mac, then the content."""
    import hashlib

    content = list(chunks)
    digest = hashlib.sha256()
    for chunk in content:
        digest.update(chunk)
    return [mac(key, executor, job, call, attempt, state, digest.digest()), *content]


def unseal(key: bytes, executor: str, job: str, call: int, attempt: int, state: State, sealed: Buffer) -> memoryview:
    """The content of a sealed object.

    ValueError if it is not what the job's own worker wrote for this very attempt: it must not be unpickled then.
    """
    import hashlib
    import hmac

    view = memoryview(sealed)
    content = view[SEAL_SIZE:]
    expected = mac(key, executor, job, call, attempt, state, hashlib.sha256(content).digest())
    if not hmac.compare_digest(expected, view[:SEAL_SIZE]):
        raise ValueError(f"the stored object of call {call} of job {executor}/{job} was not written by its worker")
    return content


def seal_status(key: bytes, status: CallStatus) -> bytes:
    """A status as it is stored, and as it goes to a monitor."""
    identity = (status.executor, status.job, status.call, status.attempt, status.state)
    return b"".join(seal(_key_of_statuses(key), *identity, [encode_status(status)]))


def unseal_status(
    key: bytes, executor: str, job: str, call: int, attempt: int, state: State, sealed: Buffer
) -> CallStatus:
    """The status of `seal_status`; ValueError if the job's own worker did not write it for this very attempt."""
    return decode_status(unseal(_key_of_statuses(key), executor, job, call, attempt, state, sealed))


def _key_of_statuses(key: bytes) -> bytes:
    """Another one than that of results, so that nobody can put the one in the other's place."""
    import hmac

    return hmac.digest(key, b"status", "sha256")


def read_sealed(sealed: Buffer) -> CallStatus:
    """What a sealed status claims, for finding the key that `unseal_status` must check it with.

    Nothing in it may be unpickled before that.  ValueError (WireMismatch of another version) if it is no status.
    """
    try:
        status = decode_status(memoryview(sealed)[SEAL_SIZE:])
    except WireMismatch:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is no sealed status: {error!r}") from error
    names, numbers = (status.executor, status.job), (status.call, status.attempt)
    if not (
        all(isinstance(name, str) for name in names)
        and all(type(number) is int and number >= 0 for number in numbers)
        and status.state in _STATES
    ):
        raise ValueError("this is no sealed status: its identity has values of other types")
    return status


# ---------------------------------------------------------------- JSON


def encode(payload: Payload) -> bytes:
    """A payload as JSON, for channels that carry text."""
    header = payload.header
    archive = {} if payload.archive is None else {"archive": _b64(payload.archive)}
    backend = {"backend": header.backend} if header.backend else {}
    clients = {name: _encode_record(handle) for name, handle in header.clients.items()}
    return _dump(
        {
            "v": header.v,
            "executor": header.executor,
            "job": header.job,
            "mac_key": _b64(header.mac_key),
            "attempt": payload.attempt,
            "calls": [{"id": call.id, "args": _encode_args(call.args)} for call in payload.calls],
            "function": _encode_record(header.function),
            "modules": header.modules and _encode_record(header.modules),
            "python": header.python,
            "storage": header.storage and _encode_record(header.storage),
            "bucket": header.bucket,
            "reporter": header.reporter and _encode_record(header.reporter),
            "env": dict(header.env),
            "inject": list(header.inject),
            "timeout": header.timeout,
            "persist": header.persist,
            "gathered": header.gathered,
            "inline": header.inline,
            "heartbeat": header.heartbeat,
            "code": None if payload.code is None else _b64(payload.code),
            **archive,
            **backend,
            **({"clients": clients} if clients else {}),
        }
    )


def decode(data: Buffer) -> Payload:
    """The payload of `encode`.  Unknown keys are ignored; another version raises WireMismatch."""
    raw = _load(data)
    header = Header(
        executor=raw["executor"],
        job=raw["job"],
        mac_key=binascii.a2b_base64(raw["mac_key"]),
        function=_decode_record(Blob, raw["function"]),
        python=raw["python"],
        modules=raw["modules"] and _decode_record(Blob, raw["modules"]),
        storage=raw["storage"] and _decode_record(Handle, raw["storage"]),
        bucket=raw["bucket"],
        reporter=raw["reporter"] and _decode_record(Handle, raw["reporter"]),
        env=raw["env"],
        inject=tuple(raw["inject"]),
        timeout=raw["timeout"],
        persist=raw["persist"],
        gathered=raw["gathered"],
        inline=raw["inline"],
        heartbeat=raw["heartbeat"],
        backend=raw.get("backend", ""),
        clients={name: _decode_record(Handle, each) for name, each in raw.get("clients", NOTHING).items()},
        v=raw["v"],
    )
    calls = [Call(call["id"], _decode_args(call["args"])) for call in raw["calls"]]
    code, archive = (None if raw.get(each) is None else binascii.a2b_base64(raw[each]) for each in ("code", "archive"))
    return Payload(header, raw["attempt"], calls, code, archive)


def encode_status(status: CallStatus) -> bytes:
    """A status as JSON, for monitors and stored statuses."""
    raw = _encode_record(status)
    raw["result"] = None if status.result is None else _b64(status.result)
    raw["failure"] = status.failure and _encode_record(status.failure)
    return _dump(raw)


def decode_status(data: Buffer) -> CallStatus:
    """The status of `encode_status`.  Unknown keys are ignored; another version raises WireMismatch."""
    raw = _load(data)
    raw["result"] = None if raw["result"] is None else binascii.a2b_base64(raw["result"])
    raw["failure"] = _decode_record(Failure, raw["failure"]) if raw["failure"] else None
    status: CallStatus = _decode_record(CallStatus, raw)
    return status


_NESTED_PLAIN: Final = ("timeout", "retries", "memory", "per_activation", "inputs", "parameter")


def encode_returned(returned: Returned) -> list[Buffer]:
    """What a function returned, on every channel: the size of a head (8 bytes, little-endian), the head in JSON, then
    the value and of each job the code, `retry_on` and the calls.
    """
    pickles = [returned.value]
    jobs = []
    for job in returned.jobs:
        own = [job.code, job.retry_on, *job.calls]
        pickles += own
        raw: dict[str, Json] = {name: getattr(job, name) for name in _NESTED_PLAIN}
        raw |= {"inject": list(job.inject), "env": dict(job.env), "sizes": [len(each) for each in own]}
        jobs.append(raw)
    places = [list(place) for place in returned.places]
    head = _dump({"v": VERSION, "value": len(returned.value), "places": places, "jobs": jobs})
    return [len(head).to_bytes(8, "little"), head, *pickles]


def decode_returned(data: Buffer) -> Returned:
    """The record of `encode_returned`, whose pickles are views of the data.  ValueError if that is cut short."""
    view = memoryview(data)
    at = 8 + int.from_bytes(view[:8], "little")
    raw = _load(view[8:at])

    def take(size: int) -> memoryview:
        nonlocal at
        at += size
        if not 0 <= size <= at <= len(view):
            raise ValueError(f"what a function returned has {len(view)} bytes, and says that it has more")
        return view[at - size : at]

    value = take(raw["value"])
    jobs = []
    for job in raw["jobs"]:
        code, retry_on, *calls = map(take, job["sizes"])
        plain = {name: job[name] for name in _NESTED_PLAIN}
        jobs.append(Nested(code, calls, inject=tuple(job["inject"]), env=job["env"], retry_on=retry_on, **plain))
    return Returned(value, [(job, call) for job, call in raw["places"]], jobs)


def _encode_args(args: bytes | Span | Gather) -> Json:
    match args:
        case Span():
            return {"span": _encode_record(args)}
        case Gather():
            raw = _encode_record(args)
            return {"gather": raw | {"attempts": [[call, n] for call, n in args.attempts.items()]}}
        case _:
            return {"inline": _b64(args)}


def _decode_args(raw: Mapping[str, Json]) -> Any:
    if "span" in raw:
        return _decode_record(Span, raw["span"])
    if "gather" in raw:
        return _decode_record(Gather, raw["gather"] | {"attempts": dict(raw["gather"]["attempts"])})
    return binascii.a2b_base64(raw["inline"])


_BYTES_FIELDS: Final = {"mac_key", "pickled"}


def _encode_record(record: Any) -> dict[str, Json]:
    fields = {name: getattr(record, name) for name in record._fields}
    return {name: _b64(value) if name in _BYTES_FIELDS else value for name, value in fields.items()}


def _decode_record(kind: type[Any], raw: Mapping[str, Json]) -> Any:
    known = [name for name in kind._fields if name in raw]
    return kind(**{name: binascii.a2b_base64(raw[name]) if name in _BYTES_FIELDS else raw[name] for name in known})


def _b64(data: Buffer) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _dump(raw: Json) -> bytes:
    import json

    return json.dumps(raw, separators=(",", ":")).encode()


def _load(data: Buffer) -> Json:
    import json

    raw = json.loads(bytes(data))
    if raw.get("v") != VERSION:
        raise WireMismatch(
            f"this message is in wire format {raw.get('v')!r}, this side of wren speaks {VERSION}: "
            "install the same wren-core on both sides and deploy the runtime again"
        )
    return raw
