"""The pickles of functions, of which those that cannot have changed are remembered.

Pickling a function of `__main__` takes longer than all else that a short call needs of the client, and who makes one
call after another makes them of the same function.  What its pickle is made of is looked at each time: the code, the
defaults, what the closure holds and what its globals refer to.  Where each of those is a constant, or goes by
reference, the pickle of before is the pickle of now.
"""

import hashlib
import operator
import os
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from wren.serialize import by_value_modules, pickle_function
from wren.wire import Blob
from wren.worker.stream import SCALARS

__all__ = ["HASH_LIMIT", "pickle_blob"]

HASH_LIMIT: Final = 1 << 20  # bytes; hashing a larger function costs more than sending it down a pipe again

_ABSENT: Final = object()


class _Known(NamedTuple):
    """A pickle, and the objects that it was made of."""

    function: "weakref.ref[FunctionType]"
    code: CodeType
    names: list[str]  # what the code may refer to among the globals
    parts: list[Any]
    modules: int  # how many there were: of a package those take part that were imported
    blob: Blob
    chunks: list[bytes]


_known: Final[dict[int, _Known]] = {}  # by the function's id


def pickle_blob(function: Callable[..., Any], *, hashed: bool) -> tuple[Blob, list[bytes]]:
    """A function's pickle and what it is known by: its SHA-256, or a unique name if it is large and not `hashed`.

    SerializationError names what in it cannot be pickled.
    """
    if type(function) is not FunctionType or by_value_modules():
        return _make(function, hashed=hashed)
    number = id(function)
    known = _known.get(number)
    if known is not None and known.function() is function:
        same = known.code is function.__code__ and known.modules == len(sys.modules)
        if same and _alike(_parts(function, known.names), known.parts):
            return known.blob, known.chunks
    code, modules = function.__code__, len(sys.modules)
    names = list(_names(code))
    parts = _parts(function, names)
    blob, chunks = _make(function, hashed=hashed)
    if blob.size <= HASH_LIMIT and parts is not None and all(map(_constant, parts)):
        # Another thread may have changed something meanwhile, and which of the two is in the pickle nobody knows.
        same = code is function.__code__ and modules == len(sys.modules)
        if same and _alike(_parts(function, names), parts):
            reference = weakref.ref(function, partial(_known.pop, number))  # called with a default: the reference
            _known[number] = _Known(reference, code, names, parts, modules, blob, chunks)
    return blob, chunks


def _make(function: Callable[..., Any], *, hashed: bool) -> tuple[Blob, list[bytes]]:
    chunks = pickle_function(function)
    size = sum(map(len, chunks))
    if size > HASH_LIMIT and not hashed:
        return Blob(os.urandom(16).hex(), size), chunks
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return Blob(digest.hexdigest(), size), chunks


def _names(code: CodeType) -> Iterator[str]:
    """What the code, and that of functions within it, may refer to by name."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _parts(function: FunctionType, names: Sequence[str]) -> list[Any] | None:
    """What the function's pickle is made of beside its code; None if that cannot be told."""
    if function.__dict__ or function.__kwdefaults__:
        return None
    parts: list[Any] = [function.__name__, function.__qualname__, function.__module__, function.__doc__]
    if names:
        found = function.__globals__.get
        parts += [found(name, _ABSENT) for name in names]
    parts.append(function.__defaults__)
    parts += function.__annotations__
    parts += function.__annotations__.values()
    if function.__closure__:
        try:
            parts += [cell.cell_contents for cell in function.__closure__]
        except ValueError:  # a cell that is empty yet
            return None
    return parts


def _alike(parts: list[Any] | None, others: list[Any]) -> bool:
    return parts is not None and len(parts) == len(others) and all(map(operator.is_, parts, others))


def _constant(value: object) -> bool:
    """Whether an object never changes, or is pickled by reference."""
    kind = type(value)
    if kind in SCALARS or value is _ABSENT:
        return True
    if kind is tuple:
        return all(map(_constant, value))  # type: ignore[call-overload]  # it is one
    if kind is ModuleType:
        name = value.__name__  # type: ignore[attr-defined]
        return name != "__main__" and sys.modules.get(name) is value
    if kind is BuiltinFunctionType and type(value.__self__) is not ModuleType:  # type: ignore[attr-defined]
        return False  # a method, which takes its object along
    if kind in (FunctionType, BuiltinFunctionType) or isinstance(value, type):
        return getattr(value, "__module__", None) != "__main__" and _importable(value)
    return getattr(kind, "__module__", None) == "typing" and _constant_hint(value)


def _constant_hint(value: object) -> bool:
    """Whether of an annotation, like `Optional[int]`, all parts are constant."""
    if getattr(sys.modules["typing"], getattr(value, "_name", None) or "", None) is value:
        return True
    parts = (*getattr(value, "__args__", ()), *getattr(value, "__metadata__", ()))
    return bool(parts) and all(map(_constant, parts))


def _importable(value: object) -> bool:
    try:
        pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - for whatever reason: then it goes by value
        return False
    return True
