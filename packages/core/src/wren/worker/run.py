"""One call: load its arguments, run the function, and turn what comes out into bytes.

Every shell uses this; it knows nothing of pipes or HTTP.
"""

import importlib
import os
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from wren import wire
from wren.wire import Blob, Buffer, CallStatus, Failure, Gather, Handle, Header, Payload, Span, State
from wren.worker.injected import Injected, storage_of
from wren.worker.nested import process
from wren.worker.stream import FAILED, NESTED, PICKLED, PLAIN, PLAIN_LIMIT, SCALARS, SIZE, STORED, pickle_chunks

T = TypeVar("T")
Arguments: TypeAlias = tuple[Sequence[Any], dict[str, Any]]
Result: TypeAlias = tuple[int, list[bytes]]  # the tag and the body's chunks of a RESULT frame

PAUSES: Final = (0.1, 0.2, 0.4, 0.8)  # seconds between the tries of what a storage refused


class Writer(Protocol):
    """What results are put into: a worker's half of a storage, or a client's."""

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer]) -> None:
        """Write an object, wholly or not at all."""


class WorkerStorage(Writer, Protocol):
    """The worker's half of a storage: what `wren.wire.Handle.target` gives when called with the handle's options.

    Thread-safe.
    """

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Buffer:
        """Read an object or a range of it; FileNotFoundError when it is not there, which is not tried again.

        `wren.errors.PreconditionFailed` when `if_match` is given and is not the object's etag.
        """

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterable[tuple[str, int, float, str]]:
        """The objects whose keys begin so and sort behind `after`, in key order: key, size, mtime, etag of each."""

    def head(self, bucket: str, key: str) -> tuple[str, int, float, str]:
        """One object's listing; FileNotFoundError."""

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""


class Reporter(Protocol):
    """The worker's half of a monitor: what the handle that `wren.spi.Monitor.open_job` returned gives."""

    def report(self, message: bytes) -> None:
        """Send a sealed status; returns when the other side has it."""

    def close(self) -> None:
        """Let go of the connection."""


def open_handle(handle: Handle) -> Any:
    """What a handle stands for: its target, called with its options."""
    module, _, attribute = handle.target.partition(":")
    return getattr(importlib.import_module(module), attribute)(**handle.options)


def opener(header: Header) -> Callable[[], WorkerStorage]:
    """What opens the job's storage, when it is first needed; ValueError then, if it has none."""

    @cache
    def opened() -> WorkerStorage:
        if header.storage is None:
            raise ValueError(f"job {header.job} has no storage that workers can open")
        storage: WorkerStorage = open_handle(header.storage)
        return storage

    return opened


def run(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Result:
    """Call the function: the tag of a RESULT frame and the body's chunks.  Never raises."""
    try:
        value = function(*args, **kwargs) if kwargs else function(*args)
    except BaseException as error:  # noqa: BLE001 - whatever ends the function ends this call, and nothing else
        return FAILED, failure(error, skip_frames=1)
    return encode(value)


def run_loaded(function: Callable[..., Any], load: Callable[[], Arguments]) -> Result:
    """The same with arguments that are loaded now.  Never raises."""
    try:
        args, kwargs = load()
    except BaseException as error:  # noqa: BLE001 - unpickling imports the user's modules, which may raise anything
        return _not_loaded(error)
    return run(function, args, kwargs)


def _not_loaded(error: BaseException) -> Result:
    return FAILED, failure(error, kind="arguments", message="the arguments cannot be loaded by the worker")


def run_call(
    header: Header,
    call: int,
    attempt: int,
    function: Callable[..., Any],
    load: Callable[[], Arguments],
    storage: Callable[[], WorkerStorage],
) -> Result:
    """One call with all that its job asks for, as the tag and the body's chunks of a RESULT frame.  Never raises."""
    try:
        args, kwargs = load()
    except BaseException as error:  # noqa: BLE001 - as above
        return _not_loaded(error)
    process.storage = storage_of(header.backend, header.bucket, storage) if header.storage is not None else None
    process.clients = header.clients
    pid, injected = os.getpid(), Injected()
    try:
        kwargs = injected.fill_in(header.inject, call, kwargs) if header.inject else kwargs
    except Exception as error:  # noqa: BLE001 - whatever opening a storage raises
        return FAILED, failure(error, kind="storage", message="what its parameters ask for cannot be opened")
    else:
        result = run(function, args, kwargs)
    finally:
        injected.leave()
        process.storage, process.clients = None, wire.NOTHING  # the next call is another job's
    if os.getpid() != pid:  # the function forked, and this is the child: the result is the parent's to store
        return result
    return _keep(header, call, attempt, result, storage)


def _keep(header: Header, call: int, attempt: int, result: Result, storage: Callable[[], WorkerStorage]) -> Result:
    """A result, put into the storage where its job wants that, or where it is large."""
    tag, chunks = result
    large = header.inline is not None and sum(map(len, chunks)) > header.inline
    gathered = header.gathered and tag != NESTED  # of a nested one the client makes what reducers read
    if tag == FAILED or not (large or gathered or header.persist):
        return tag, chunks
    if header.storage is None:
        said = f"its {sum(map(len, chunks))} bytes are more than the {header.inline} that come back without a storage"
        return FAILED, failure(ValueError(said), kind="result", message="the result cannot be brought back")
    try:
        store(storage(), header, call, attempt, chunks, nested=tag == NESTED)
    except Exception as error:  # noqa: BLE001 - whatever the storage raises is why this call has no result
        return FAILED, failure(error, kind="storage", message="the result cannot be stored")
    if not large:
        return tag, chunks
    return (NESTED, []) if tag == NESTED else (STORED, [SIZE.pack(sum(map(len, chunks)))])


def call_status(
    header: Header,
    call: int,
    attempt: int,
    result: Result,
    started: float,
    stopped: float,
    logs: str,
    worker: str,
    peak_memory: int = 0,
) -> CallStatus:
    """What `run_call` gave, as the status that goes over any channel but a pipe."""
    tag, chunks = result
    identity = (header.executor, header.job, call, attempt)
    if tag == FAILED:
        record: Failure = pickle.loads(b"".join(chunks))  # noqa: S301 - made by this process
        return CallStatus(*identity, "err", started, stopped, None, record, logs, worker, peak_memory)
    state: State = "nested" if tag == NESTED else "ok"
    body = b"".join(chunks)
    (size,) = SIZE.unpack(body) if tag == STORED else (len(body),)
    content = None if tag == STORED or not body else body  # then it is stored
    return CallStatus(*identity, state, started, stopped, content, None, logs, worker, peak_memory, size)


def load_function(payload: Payload, storage: Callable[[], WorkerStorage]) -> Callable[..., Any]:
    """The payload's function, after the modules that came with it.  Raises whatever loading it does.

    Both must have the hashes that they are known by.
    """
    header = payload.header
    modules = header.modules
    if modules is not None:
        from wren.worker.modules import take_in

        take_in(modules, lambda: _content(modules, payload.archive, header.bucket, storage, "what has the modules"))
    code = _content(header.function, payload.code, header.bucket, storage, "the function")
    function: Callable[..., Any] = pickle.loads(code)  # noqa: S301 - it has the hash that the payload says
    return function


def _content(blob: Blob, inline: bytes | None, bucket: str, storage: Callable[[], WorkerStorage], what: str) -> Buffer:
    """What a blob is: it came with the payload, or is in the storage."""
    key = blob.key
    data: Buffer = (inline or b"") if key is None else persistently(lambda: storage().get(bucket, key))
    _check(data, blob.id, what)
    return data


def load_arguments(args: bytes | Span | Gather, storage: Callable[[], WorkerStorage]) -> Arguments:
    """Args and kwargs of a call, from wherever they are.  Raises whatever loading them does."""
    match args:
        case Span():
            data: Buffer = persistently(lambda: storage().get(args.bucket, args.key, args.start, args.stop))
            _check(data, args.sha256, "the stored arguments")
        case Gather():
            return gather(args, storage())
        case _:
            data = args
    loaded: Arguments = pickle.loads(data)  # noqa: S301 - from the payload, or with the hash that it says
    return loaded


def _check(data: Buffer, sha256: str, what: str) -> None:
    import hashlib

    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{what} of {len(data)} bytes are not what the client sent: their SHA-256 is not {sha256}")


def persistently(action: Callable[[], T]) -> T:
    """What the action returns, which is tried again when it fails: storages have their moments."""
    for pause in PAUSES:
        try:
            return action()
        except FileNotFoundError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the last try raises it
            time.sleep(pause)
    return action()


def encode(value: object) -> Result:
    """A result as the tag and the body's chunks of a RESULT frame."""
    kind = type(value)
    if kind in SCALARS and not (kind in (str, bytes) and len(value) > PLAIN_LIMIT):  # type: ignore[arg-type]
        return PLAIN, [pickle.dumps(value, 5)]
    if kind is bytes:
        return PLAIN, pickle_chunks(value)  # to unpickle them is one copy, and so is to keep the pickle
    try:
        if process.recorder is not None:
            return process.recorder.encode(value)
        return PICKLED, pickle_chunks(value)
    except BaseException as error:  # noqa: BLE001 - a __reduce__ may raise anything
        return FAILED, failure(error, kind="result", message=f"the result, {describe(value)}, cannot be pickled")


def failure(error: BaseException, *, kind: str = "exception", message: str = "", skip_frames: int = 0) -> list[bytes]:
    """The pickled `Failure` for what went wrong."""
    import traceback

    frames = error.__traceback__
    for _ in range(skip_frames):
        frames = frames.tb_next if frames is not None else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    pickled = b""
    if kind == "exception" and not isinstance(error, Exception):
        kind = "exit"
    elif kind == "exception":
        try:
            pickled = b"".join(pickle_chunks(error))
        except BaseException:  # noqa: BLE001 - then its name, message and traceback have to do
            pickled = b""
    said = str_of(error)
    record = Failure(kind, type(error).__qualname__, f"{message}: {said}" if message else said, text, pickled)
    return [pickle.dumps(record, 5)]


def str_of(value: object) -> str:
    """str(value), for objects of which nothing may be expected."""
    try:
        return str.__str__(str(value))  # a subclass of str could not be pickled for the other side
    except Exception as error:  # noqa: BLE001 - a broken __str__ must not hide the failure that it belongs to
        return f"<{type(value).__qualname__} whose str() raises {type(error).__qualname__}>"


def describe(value: object) -> str:
    """A type's name for people."""
    kind = type(value)
    return (
        f"of type {kind.__qualname__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"
    )


def gather(inputs: Gather, storage: WorkerStorage) -> Arguments:
    """A reducer's arguments: every stored result, checked before it is unpickled."""
    from wren.worker.ahead import read_ahead

    def read(call: int) -> Buffer:
        attempt = inputs.attempts.get(call, 0)
        key = wire.result_key(inputs.executor, inputs.job, call, attempt)
        sealed = persistently(partial(storage.get, inputs.bucket, key))
        return wire.unseal(inputs.mac_key, inputs.executor, inputs.job, call, attempt, "ok", sealed)

    contents = read_ahead(read, range(inputs.start, inputs.stop), len)
    results = [pickle.loads(content) for content in contents]  # noqa: S301 - unsealed with the job's key
    return ((results,), {}) if inputs.parameter is None else ((), {inputs.parameter: results})


def remove(handle: Handle, bucket: str, prefixes: Sequence[str]) -> None:
    """Remove all objects whose keys begin so: what `clean` runs as a call."""
    storage: WorkerStorage = open_handle(handle)
    for prefix in prefixes:
        storage.delete(bucket, [key for key, *_ in storage.list(bucket, prefix)])


def store(
    storage: Writer, header: Header, call: int, attempt: int, chunks: Sequence[Buffer], *, nested: bool = False
) -> None:
    """Put a call's result where reducers, and `persist`, find it, or an encoded `Returned` where its client does."""
    state: State = "nested" if nested else "ok"
    sealed = wire.seal(header.mac_key, header.executor, header.job, call, attempt, state, chunks)
    key = (wire.nested_key if nested else wire.result_key)(header.executor, header.job, call, attempt)
    persistently(lambda: storage.put(header.bucket, key, sealed))


def store_status(storage: Writer, header: Header, status: CallStatus) -> None:
    """Put a call's status where the storage monitor lists it; after its result, which is not in it."""
    sealed = wire.seal_status(header.mac_key, status._replace(result=None))
    key = wire.status_key(header.executor, header.job, status.call, status.attempt, status.state)
    persistently(lambda: storage.put(header.bucket, key, [sealed]))
