"""Loads what a worker has sent of a call: in the thread of who asks for it, as that runs the user's code."""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from wren.errors import SerializationError, WrenError
from wren.serialize import load_failure
from wren.spi import Pickled, Stored
from wren.wire import Buffer, Failure
from wren.worker.nested import compose

__all__ = ["RAW", "Composed", "Raw", "load"]


class Composed(NamedTuple):
    """The result of a function that returned futures: its pickle, and what gets the pickles of what they stand for."""

    value: Buffer
    parts: Callable[[], Sequence[bytes]]


Raw: TypeAlias = Pickled | Stored | Composed | Failure

RAW: Final = frozenset({Pickled, Stored, Composed, Failure})  # what is not loaded before somebody asks for it


def load(
    raw: Raw, fetch: Callable[[Stored], Pickled | Failure], call: str, *, succeeded: bool
) -> tuple[Any, BaseException | None]:
    """What a call returned, or the exception that it raised or has for want of a result.

    `fetch` gets what was stored; `call` is what texts call the call.
    """
    try:
        match raw:
            case Pickled():
                return pickle.loads(raw.data), None  # noqa: S301 - authenticated by its channel, or unsealed
            case Stored():
                return load(fetch(raw), fetch, call, succeeded=succeeded)
            case Composed():
                return compose(raw.value, raw.parts()), None
            case Failure():
                return None, load_failure(raw, f"wren: this was {call}")
    except KeyboardInterrupt:
        raise  # the caller's own
    except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
        if not succeeded or isinstance(error, WrenError):
            return None, error
        said = f"the result of {call} cannot be loaded here: {type(error).__name__}: {error}"
        unloadable = SerializationError(said)
        unloadable.__cause__ = error
        return None, unloadable
