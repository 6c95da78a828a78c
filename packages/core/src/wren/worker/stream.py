"""Frames on a pipe: the binary encoding of wire v1, and the pickling that both sides of a pipe share.

Every frame begins with the same 52 bytes, `HEAD`:

    kind u8 · reserved u24 · tag u32 · number u32 · size u64 · extra u64 · started f64 · stopped f64 · peak u64

then `size` bytes of body and `extra` bytes more.  Little-endian.  Times are of `time.monotonic`, which on Linux is one
clock for all processes; `peak` is the memory in bytes that the process had at most, 0 where nobody has looked.

    client -> worker    number        tag     body                                     extra
    CONTEXT             -             -       pickled `Context`                        -
    BATCH               of the job    token   pickled `Batch`, with its `Job` if that  the function, when not yet there,
                                              is not yet there                         and the pickled arguments, if any

    worker -> client
    READY               process id    -       -                                        -
    RESULT              call id       state   the result or the `Failure`, pickled     what the call printed (UTF-8)

A result that is a number, None, True or False has a frame of five words instead, `WORD_FRAME`, of which many are read
as columns: kind u8 · reserved u24 · number u32, started f64, stopped f64, peak u64, and the value: i64 of an INT, f64
of a FLOAT, its index in `CONSTANTS` of a CONSTANT.

What is large may be in the shared memory (`wren.worker.shared`) instead: a BATCH says where, and of a RESULT the state
has the flag SHARED and the body is a `PLACE`.

Objects are pickled with protocol 5 in one stream whose large buffers are written as they are, without a copy; read
back with `readinto` they need none either, which is what out-of-band buffers would give, with one length in place of
a list of them.
"""

import copyreg
import functools
import gc
import io
import os
import pickle
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import CodeType
from typing import Any, Final, NamedTuple

from wren.wire import Buffer, Gather, Span

HEAD: Final = struct.Struct("<BxxxIIQQddQ")
CLAIM: Final = struct.Struct("<I")  # what a claim pipe carries: for each call the token of its batch

CONTEXT, BATCH, READY, RESULT, INT, FLOAT, CONSTANT = range(1, 8)

# In the machine's order of bytes, as they are looked at as words.
WORD_FRAME: Final = {INT: struct.Struct("=BxxxIddQq"), FLOAT: struct.Struct("=BxxxIddQd")}
WORD_FRAME[CONSTANT] = WORD_FRAME[INT]
WORDS: Final = 5  # in such a frame
CONSTANTS: Final = (None, False, True)
PLACE: Final = struct.Struct("<QQ")  # position and size

SIZE: Final = struct.Struct("<Q")
ENDED: Final = struct.Struct("<i")  # what the zygote says of a worker: exit code, negative for a signal

# The tag of a RESULT: how its body is to be read.
PLAIN = 0  # a small scalar, or bytes: safe to unpickle at once, in any thread
PICKLED = 1  # unpickled when the caller asks for it
STORED = 2  # too large for the frame and in the storage already: the body is the result's size, `SIZE`
FAILED = 3  # a `wren.wire.Failure`
NESTED = 4  # no pickle but an encoded `wren.wire.Returned`; no body: that is in the storage already
SHARED = 16  # a flag: the body is in the shared memory

SCALARS: Final = frozenset({int, float, complex, bool, type(None), str, bytes})
PLAIN_LIMIT: Final = 4096  # bytes or characters; larger ones are not worth unpickling before they are asked for


# What the client sends is pickled as plain tuples, of which a worker makes these: that takes a third of the time.


class Context(NamedTuple):
    """What a local worker takes over from its client, again whenever it has changed."""

    path: Sequence[str]
    cwd: str
    env: Mapping[str, str]


class Job(NamedTuple):
    """A job as a worker keeps it.  `forget_*`: what the client will not refer to any more."""

    function: str  # its id
    size: int = 0  # of its pickle, at the beginning of the frame's extra bytes; 0: it is there
    header: bytes = b""  # pickled; empty: it says nothing of how the calls are run
    forget_jobs: Sequence[int] = ()
    forget_functions: Sequence[str] = ()


class Batch(NamedTuple):
    """Some calls for one worker; exactly one of `plain`, `sizes` and `stored` says what their arguments are."""

    attempt: int
    calls: Sequence[int]  # a tuple: beginning and end of adjacent ones
    job: Job | None = None  # the first time
    plain: tuple[Sequence[tuple[Any, ...]], Sequence[dict[str, Any]] | None] | None = None  # args and kwargs of scalars
    sizes: Sequence[int] | None = None  # of the pickles of (args, kwargs), which are the frame's extra bytes
    stored: Sequence[Span | Gather] | None = None
    place: int | None = None  # where the pickles are in the shared memory, if they are not in the frame


def frame(
    kind: int,
    body: Sequence[Buffer] = (),
    extra: Sequence[Buffer] = (),
    *,
    tag: int = 0,
    number: int = 0,
    started: float = 0.0,
    stopped: float = 0.0,
    peak: int = 0,
) -> list[Buffer]:
    """The buffers of a frame, in order; small ones are joined."""
    size = len(body[0]) if len(body) == 1 else sum(map(len, body))  # the one of a short result is in a hurry
    more = sum(map(len, extra)) if extra else 0
    head = HEAD.pack(kind, tag, number, size, more, started, stopped, peak)
    if size + more <= 65536:
        return [b"".join((head, *body, *extra))]
    return [head, *body, *extra]


def write(fd: int, buffers: Sequence[Buffer]) -> None:
    """Write all of the buffers to a blocking descriptor."""
    if len(buffers) == 1:
        written = os.write(fd, buffers[0])
        if written == len(buffers[0]):
            return
        buffers = [memoryview(buffers[0])[written:]]
    pending = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while pending:
        pending = skip(pending, os.writev(fd, pending[:512]))


def skip(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """The buffers without their first `count` bytes."""
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[index + 1 :]]
        count -= len(buffer)
    return []


# ---------------------------------------------------------------- pickling


_NO_FILE: Final = "<dynamic-code>"


class _Chunks(list[bytes]):
    """A file that keeps what the pickler writes, large immutable buffers without a copy."""

    def write(self, data: Any) -> int:
        if type(data) is not bytes:  # only bytes can't change before they are sent
            data = bytes(data.raw() if isinstance(data, pickle.PickleBuffer) else data)
        self.append(data)
        return len(data)


def pickle_chunks(value: object) -> list[bytes]:
    """The pickle of `value`, by reference where its classes can be imported, else by value (cloudpickle).

    Whatever either pickler raises comes out, cloudpickle's as the last.
    """
    try:
        chunks = _Chunks()
        pickle.Pickler(chunks, 5).dump(value)
    except Exception:  # noqa: BLE001 - a __reduce__ may raise anything: the second pickler has the last word
        return cloudpickle_chunks(value)
    return chunks


def cloudpickle_chunks(value: object) -> list[bytes]:
    """The pickle of `value`, with what is in `__main__` or has no importable name taken along by value."""
    chunks = _Chunks()
    _pickler()(chunks, 5).dump(value)
    return chunks


@cache
def _pickler() -> type[pickle.Pickler]:
    """cloudpickle's, whose code keeps the name of its file: since 3.1.3 it is left out, and lines of tracebacks too."""
    import cloudpickle

    reducers: Mapping[type, Any] = cloudpickle.Pickler.dispatch_table
    reduce_code = reducers[CodeType]

    def keep_file(code: CodeType) -> tuple[Any, ...]:
        make, values, *rest = reduce_code(code)
        named = (code.co_filename if value == _NO_FILE else value for value in values)
        return (make, tuple(named), *rest)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it is published without types
        dispatch_table = _Reducers(
            {
                **reducers,
                CodeType: keep_file,
                type(cache(len)): _reduce_cached,
                functools.cached_property: _reduce_property,
            }
        )

    return Pickler


class _Reducers(dict[type, Any]):
    """How types are pickled, those too whose modules are imported later, as numpy's ufuncs."""

    def __missing__(self, kind: type) -> Any:
        return copyreg.dispatch_table[kind]


def cached(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """`function` with an empty cache of its own, as `functools.lru_cache` makes it."""
    made: Callable[..., Any] = functools.lru_cache(**options)(function)
    return made


def _reduce_cached(value: Any) -> str | tuple[Any, ...]:
    """A function with a cache, which stays here: by reference where it can be imported, else by value.

    cloudpickle knows the first only, and so does not see what is in `__main__`.
    """
    import cloudpickle

    module, name = value.__module__, getattr(value, "__qualname__", "<a partial>")  # which has no name
    taken_along = {"__main__", *cloudpickle.list_registry_pickle_by_value()}
    if not any(module == each or str(module).startswith(f"{each}.") for each in taken_along):
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is value:
            return str(name)
    function = value.__wrapped__
    # A decorator above may have set another `__wrapped__` than what is called.
    if not any(each is function for each in gc.get_referents(value)):
        raise pickle.PicklingError(f"what the cache of {name} is for cannot be told: its __wrapped__ was replaced")
    return cached, (function, value.cache_parameters()), dict(vars(value))


def _reduce_property(value: "functools.cached_property[Any]") -> tuple[Any, ...]:
    """Before Python 3.12 it has a lock, which cannot be pickled."""
    return functools.cached_property, (value.func,), {"attrname": value.attrname}


class BoundedReader(io.RawIOBase):
    """Exactly `size` bytes of a stream, so that a failed unpickling cannot leave it out of step."""

    def __init__(self, stream: io.BufferedReader, size: int) -> None:
        self._stream = stream
        self.remaining = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self.remaining]
        count = self._stream.readinto(view)
        self.remaining -= count
        return count

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self.remaining if size < 0 else min(size, self.remaining))
        self.remaining -= len(data)
        return data

    def readline(self, size: int | None = -1) -> bytes:
        data = self._stream.readline(self.remaining if size is None or size < 0 else min(size, self.remaining))
        self.remaining -= len(data)
        return data

    def drain(self) -> None:
        """Throw the rest away."""
        while self.remaining and self.read(min(self.remaining, 1 << 20)):
            pass


def read_exactly(stream: io.BufferedReader, size: int) -> bytes:
    """`size` bytes; EOFError when the other side is gone before."""
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the client closed the pipe")
    return data
