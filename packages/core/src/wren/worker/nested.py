"""Executors inside functions: the little of them that every worker and client must know.

What executors are in a worker is `wren.deferred`, what becomes of the calls that they leave to their client is
`wren.nested`.  This is what both share, and what loads a value into which the results of such calls were put; that may
be anywhere, in a reducer for instance.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from wren.wire import Buffer

DEEPEST: Final = 100  # calls whose result is a call whose result is a call ...


class Recorder(Protocol):
    """Who knows the calls that functions of this process have asked for."""

    def encode(self, value: object) -> tuple[int, list[bytes]]:
        """A result, in which there may be futures of such calls, as `wren.worker.run.encode` gives it."""


class _Process:
    """What this process is; shells say so when it begins, before they load any function."""

    __slots__ = ("is_worker", "recorder", "storage")

    def __init__(self) -> None:
        self.is_worker = False  # executors are deferred here
        self.storage: Callable[[], Any] | None = None  # opens that of the call that runs, as functions get it
        self.recorder: Recorder | None = None  # from the first executor on: before it nobody need be asked


process: Final = _Process()


def part(index: int) -> Any:
    """Stands in a pickle for what a call will return: `compose` calls another function in its place."""
    raise pickle.UnpicklingError(f"what call {index} returns is known when the whole result is loaded, and not before")


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
    return _Composer(value, parts).load()


class _Composer(pickle.Unpickler):
    def __init__(self, value: Buffer, parts: Sequence[Buffer]) -> None:
        super().__init__(io.BytesIO(value))
        self._parts = parts

    def find_class(self, module: str, name: str) -> Any:
        return self._load if (module, name) == (__name__, part.__name__) else super().find_class(module, name)

    def _load(self, index: int) -> Any:
        return pickle.loads(self._parts[index])  # noqa: S301 - a result, which came as authentic as the whole
