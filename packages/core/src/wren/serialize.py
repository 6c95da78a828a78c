"""Turns functions and arguments into bytes, and what a worker says of a failure into an exception; on the client.

Everything is pickled before anything is invoked, so that what cannot be pickled is an error at the call and a caller's
later changes to its data are not seen by half of the calls.  Small scalars are the exception: they neither fail nor
change, and so a batch of them is pickled as one when it is sent, which costs a sixth.
"""

import contextlib
import pickle
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from wren.binding import Bound, describe_function
from wren.errors import (
    CallError,
    CallTimeout,
    OutOfMemory,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    StorageError,
    WorkerLost,
)
from wren.spi import Arguments
from wren.wire import Buffer, Failure, Gather, Span
from wren.worker.stream import PLAIN_LIMIT, SCALARS, cloudpickle_chunks, pickle_chunks

__all__ = [
    "UNEXPLAINED",
    "GatheredArguments",
    "PickledArguments",
    "PlainArguments",
    "StoredArguments",
    "argument_sizes",
    "by_value_modules",
    "failure_type",
    "load_failure",
    "pickle_arguments",
    "pickle_function",
    "pickling",
]

UNEXPLAINED: Final = Failure("lost", "WorkerLost", "the worker gave no reason", "")  # of a failed status without one


class _Pickling(threading.local):
    """What the current thread pickles."""

    for_a_call: bool = False


pickling: Final = _Pickling()

_FRAME: Final = 1 << 17  # bytes that a frame of a pickle has at most: 64 KiB, and what did not fit into those
_SAMPLE = 64  # arguments whose sizes are looked at for the mean


class PlainArguments:
    """Arguments that are small scalars throughout; see `wren.spi.Arguments`."""

    __slots__ = ("_args", "_kwargs", "_mean_size")

    def __init__(self, args: list[tuple[Any, ...]], kwargs: list[dict[str, Any]] | None) -> None:
        self._args, self._kwargs = args, kwargs
        self._mean_size: int | None = None

    @property
    def mean_size(self) -> int:
        if self._mean_size is None:
            sample = self._args[:: max(1, len(self._args) // _SAMPLE)]
            self._mean_size = len(pickle.dumps(sample, 5)) // max(1, len(sample))
        return self._mean_size

    def __len__(self) -> int:
        return len(self._args)

    def pickled(self, call: int) -> list[bytes]:
        return [pickle.dumps((self._args[call], self._kwargs[call] if self._kwargs else {}), 5)]

    def stored(self, call: int) -> None:
        return None

    def plain(self, calls: Sequence[int]) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]] | None]:
        if len(calls) == len(self._args):
            return self._args, self._kwargs
        return _pick(self._args, calls), self._kwargs and _pick(self._kwargs, calls)


class PickledArguments:
    """Arguments pickled call by call: in one pickle, mutable ones would share state between calls."""

    __slots__ = ("_pickles", "mean_size")

    def __init__(self, pickles: list[list[bytes]]) -> None:
        self._pickles = pickles
        sample = pickles[:: max(1, len(pickles) // _SAMPLE)]
        self.mean_size = sum(map(len, chain.from_iterable(sample))) // max(1, len(sample))

    def __len__(self) -> int:
        return len(self._pickles)

    def pickled(self, call: int) -> list[bytes]:
        return self._pickles[call]

    def stored(self, call: int) -> None:
        return None

    def plain(self, calls: Sequence[int]) -> None:
        return None


class GatheredArguments:
    """The arguments of reducers: results that workers read from the storage."""

    __slots__ = ("_inputs", "mean_size")

    def __init__(self, inputs: Sequence[Gather]) -> None:
        self._inputs = inputs
        self.mean_size = 0

    def __len__(self) -> int:
        return len(self._inputs)

    def pickled(self, call: int) -> list[bytes]:
        raise SerializationError(f"the arguments of reducer {call} are in the storage")

    def stored(self, call: int) -> Gather:
        return self._inputs[call]

    def plain(self, calls: Sequence[int]) -> None:
        return None


class StoredArguments:
    """Arguments of which some are in the storage."""

    __slots__ = ("_spans", "mean_size", "whole")

    def __init__(self, arguments: Arguments, spans: Mapping[int, Span]) -> None:
        self.whole, self._spans = arguments, spans
        self.mean_size = arguments.mean_size

    def __len__(self) -> int:
        return len(self.whole)

    def pickled(self, call: int) -> Sequence[Buffer]:
        return self.whole.pickled(call)

    def stored(self, call: int) -> Span | Gather | None:
        return self._spans.get(call) or self.whole.stored(call)

    def plain(self, calls: Sequence[int]) -> None:
        return None


def argument_sizes(arguments: Arguments) -> "array[int]":
    """Bytes of each call's pickled arguments; of small scalars, which are not pickled one by one, the mean."""
    if isinstance(arguments, StoredArguments):
        return argument_sizes(arguments.whole)
    if isinstance(arguments, PickledArguments):
        return array("Q", (sum(map(len, arguments.pickled(call))) for call in range(len(arguments))))
    return array("Q", [arguments.mean_size]) * len(arguments)


def _pick(items: list[Any], calls: Sequence[int]) -> list[Any]:
    if isinstance(calls, range) and calls.step == 1:
        return items[calls.start : calls.stop]
    return [items[call] for call in calls]


def pickle_function(function: Callable[..., Any]) -> list[bytes]:
    """The function's pickle in chunks; SerializationError names what in it cannot be pickled."""
    try:
        with _for_a_call():
            return cloudpickle_chunks(function)
    except Exception as error:  # a __reduce__ may raise anything
        raise SerializationError(f"the function {describe_function(function)} cannot be pickled: {error}") from error


def pickle_arguments(bound: Bound) -> PlainArguments | PickledArguments:
    """The arguments of all calls; SerializationError names the first that cannot be pickled."""
    if _all_scalars(bound):
        return PlainArguments(bound.args, bound.kwargs)
    keywords = bound.kwargs or [{}] * len(bound.args)
    with _for_a_call():
        return PickledArguments(
            [
                _pickle_call(index, args, kwargs)
                for index, (args, kwargs) in enumerate(zip(bound.args, keywords, strict=True))
            ]
        )


@contextlib.contextmanager
def _for_a_call() -> Iterator[None]:
    """Futures that are pickled here are refused: a call that waits for another may wait for ever."""
    before, pickling.for_a_call = pickling.for_a_call, True
    try:
        yield
    finally:
        pickling.for_a_call = before


def _all_scalars(bound: Bound) -> bool:
    """Whether all are small scalars: of a large one a pickle of its own is cheaper, as it has no copy."""
    if len(bound.args) == 1 and bound.kwargs is None:  # of one call, which should be on its way
        values = bound.args[0]
        return SCALARS.issuperset(map(type, values)) and not any(map(_is_large, values))
    kinds = set(map(type, chain.from_iterable(bound.args)))
    kinds.update(map(type, chain.from_iterable(kwargs.values() for kwargs in bound.kwargs or ())))
    if not kinds <= SCALARS:
        return False
    if kinds.isdisjoint((str, bytes)):
        return True
    every = chain(chain.from_iterable(bound.args), *(kwargs.values() for kwargs in bound.kwargs or ()))
    return not any(map(_is_large, every))


def _is_large(value: Any) -> bool:
    return type(value) in (str, bytes) and len(value) > PLAIN_LIMIT


def _pickle_call(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[bytes]:
    try:
        return _pickle_for_worker((args, kwargs))
    except Exception as error:  # a __reduce__ may raise anything
        name = _culprit(args, kwargs)
        raise SerializationError(f"{name} of call {index} cannot be pickled: {error}; nothing was invoked") from error


def _pickle_for_worker(value: object) -> list[bytes]:
    """By reference where that is enough: what is in `__main__` cannot be imported by a worker."""
    chunks = pickle_chunks(value)
    # What is larger has no names in it, but is one value: the pickler writes it past its frames.
    if any(b"__main__" in chunk for chunk in chunks if len(chunk) <= _FRAME) or by_value_modules():
        return cloudpickle_chunks(value)
    return chunks


def by_value_modules() -> bool:
    """Whether the user asked cloudpickle to take some modules along."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())


def _culprit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Which argument it is, for the error's text."""
    named = [(f"argument {position}", value) for position, value in enumerate(args)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for name, value in named:
        try:
            _pickle_for_worker(value)
        except Exception:  # noqa: BLE001 - this is the one that is looked for
            return f"{name} ({type(value).__qualname__})"
    return "an argument"


def load_failure(failure: Failure, note: str = "") -> BaseException:
    """The exception that a future raises for what a worker said; runs the user's code, so in the user's thread."""
    error = _failed_call(failure) if failure.kind != "exception" else _load_exception(failure)
    # By the base class: a frozen exception refuses attributes.
    if failure.traceback:
        BaseException.__dict__["__cause__"].__set__(error, RemoteTraceback(failure.traceback))
    if note:
        with contextlib.suppress(Exception):
            BaseException.add_note(error, note)
    return error


def _load_exception(failure: Failure) -> BaseException:
    if failure.pickled:
        try:
            error = pickle.loads(failure.pickled)  # noqa: S301 - authenticated by its channel
        except KeyboardInterrupt:
            raise  # the caller's own
        except BaseException as broken:  # noqa: BLE001 - its constructor may raise anything
            reason = f" (it cannot be unpickled here: {type(broken).__name__}: {broken})"
        else:
            if isinstance(error, BaseException):
                return error
            reason = f" (its pickle is a {type(error).__qualname__})"
    else:
        reason = " (it cannot be pickled)"
    return RemoteError(f"{failure.name}: {failure.message}{reason}")


_TYPES: Final[Mapping[str, type[CallError | SerializationError | StorageError]]] = {
    "exit": WorkerLost,
    "lost": WorkerLost,
    "memory": OutOfMemory,
    "timeout": CallTimeout,
    "result": SerializationError,
    "storage": StorageError,
}


def failure_type(failure: Failure) -> type[Exception]:
    """What a failure is, as far as wren needs to know it for trying again."""
    return Exception if failure.kind == "exception" else _TYPES.get(failure.kind, RemoteError)


def _failed_call(failure: Failure) -> CallError | SerializationError | StorageError:
    match failure.kind:
        case "exit":
            said = f"the function ended by {failure.name}{failure.message and ': '}{failure.message}"
        case "lost" | "memory" | "timeout":
            said = failure.message
        case _:
            said = f"{failure.message} ({failure.name})"
    return _TYPES.get(failure.kind, RemoteError)(said)
