"""One call: load its arguments, run the function, and turn what comes out into bytes.

Every shell uses this; it knows nothing of pipes or HTTP.
"""

import importlib
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from wren import wire
from wren.wire import Buffer, Failure, Gather, Handle, Header
from wren.worker.stream import FAILED, PICKLED, PLAIN, PLAIN_LIMIT, SCALARS, pickle_chunks

Result: TypeAlias = tuple[int, list[bytes]]  # the tag and the body's chunks of a RESULT frame


class WorkerStorage(Protocol):
    """The worker's half of a storage: what `wren.wire.Handle.target` gives when called with the handle's options."""

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer]) -> None:
        """Write an object, wholly or not at all."""

    def get(self, bucket: str, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object or a range of it."""


def open_handle(handle: Handle) -> Any:
    """What a handle stands for: its target, called with its options."""
    module, _, attribute = handle.target.partition(":")
    return getattr(importlib.import_module(module), attribute)(**handle.options)


def run(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Result:
    """Call the function: the tag of a RESULT frame and the body's chunks.  Never raises."""
    try:
        value = function(*args, **kwargs) if kwargs else function(*args)
    except BaseException as error:  # noqa: BLE001 - whatever ends the function ends this call, and nothing else
        return FAILED, failure(error, skip_frames=1)
    return encode(value)


def encode(value: object) -> Result:
    """A result as the tag and the body's chunks of a RESULT frame."""
    kind = type(value)
    if kind in SCALARS and not (kind in (str, bytes) and len(value) > PLAIN_LIMIT):  # type: ignore[arg-type]
        return PLAIN, [pickle.dumps(value, 5)]
    try:
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
        except Exception:  # noqa: BLE001 - then its name, message and traceback have to do
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


def gather(inputs: Gather, storage: WorkerStorage) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A reducer's arguments: every stored result, checked before it is unpickled."""
    results = []
    for call in range(inputs.start, inputs.stop):
        attempt = inputs.attempts.get(call, 0)
        sealed = storage.get(inputs.bucket, wire.result_key(inputs.executor, inputs.job, call, attempt))
        content = wire.unseal(inputs.mac_key, inputs.executor, inputs.job, call, attempt, "ok", sealed)
        results.append(pickle.loads(content))  # noqa: S301 - unsealed with the job's key
    return ((results,), {}) if inputs.parameter is None else ((), {inputs.parameter: results})


def store(storage: WorkerStorage, header: Header, call: int, attempt: int, chunks: Sequence[Buffer]) -> None:
    """Put a call's result where reducers, and `persist`, find it."""
    sealed = wire.seal(header.mac_key, header.executor, header.job, call, attempt, "ok", chunks)
    storage.put(header.bucket, wire.result_key(header.executor, header.job, call, attempt), sealed)


def store_status(storage: WorkerStorage, header: Header, status: wire.CallStatus) -> None:
    """Put a call's status where the storage monitor lists it; after its result."""
    call, attempt, state = status.call, status.attempt, status.state
    sealed = wire.seal(header.mac_key, header.executor, header.job, call, attempt, state, [wire.encode_status(status)])
    storage.put(header.bucket, wire.status_key(header.executor, header.job, call, attempt, state), sealed)
