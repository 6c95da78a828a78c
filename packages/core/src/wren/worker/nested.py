"""Executors inside functions: the little of them that every worker and client must know.

What executors are in a worker is `wren.deferred`, what becomes of the calls that they leave to their client is
`wren.nested`.  This is what both share, and what loads a value into which the results of such calls were put; that may
be anywhere, in a reducer for instance.
"""

import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from wren.wire import Buffer, Handle

DEEPEST: Final = 100  # calls whose result is a call whose result is a call ...


class Recorder(Protocol):
    """Who knows the calls that functions of this process have asked for."""

    def encode(self, value: object) -> tuple[int, list[bytes]]:
        """A result, in which there may be futures of such calls, as `wren.worker.run.encode` gives it."""


class _Process:
    """What this process is; shells say so when it begins, before they load any function."""

    __slots__ = ("clients", "is_worker", "recorder", "storage")

    def __init__(self) -> None:
        self.is_worker = False  # executors are deferred here
        self.storage: Callable[[], Any] | None = None  # opens that of the call that runs, as functions get it
        self.clients: Mapping[str, Handle] = {}  # what makes those that it may ask for, by its parameters' names
        self.recorder: Recorder | None = None  # from the first executor on: before it nobody need be asked


process: Final = _Process()


class _Loading(threading.local):
    """What the current thread loads.  Pickles within the pickle, of objects that make some, have parts, too."""

    parts: Sequence[Buffer] | None = None


_loading: Final = _Loading()


def part(index: int) -> Any:
    """Stands in a pickle for what a call will return, and is that when `compose` loads it."""
    if _loading.parts is None:
        raise pickle.UnpicklingError(
            f"what call {index} returns is known when the whole result is loaded, and not before or after"
        )
    return pickle.loads(_loading.parts[index])  # noqa: S301 - a result, which came as authentic as the whole


def same(value: Any) -> Any:
    """Stands in a pickle for a future whose result was there."""
    return value


class Place:
    """What is pickled as `part(index)`."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return part, (self._index,)


class Composition:
    """What is pickled as the value of `compose`, without anything being unpickled."""

    def __init__(self, value: bytes, parts: Sequence[bytes]) -> None:
        self._value, self._parts = value, parts

    def __reduce__(self) -> tuple[Any, tuple[bytes, Sequence[bytes]]]:
        return compose, (self._value, self._parts)


def compose(value: Buffer, parts: Sequence[Buffer]) -> Any:
    """Unpickle a value whose `part`s are pickles of their own."""
    before, _loading.parts = _loading.parts, parts
    try:
        return pickle.loads(value)  # noqa: S301 - a result, which came as authentic as the whole
    finally:
        _loading.parts = before
