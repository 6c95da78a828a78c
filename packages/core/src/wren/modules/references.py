"""What a pickle refers to: the modules that unpickling it imports, and the code that travels in it.

The pickle says it all: a function of `__main__` is in it with what its globals, closure, defaults and annotations refer
to, and so are the classes of data.  To look at live objects instead would be to guess what the pickler takes along.

It is read by the C unpickler, in which one class stands for everything that is named: nothing of the user's is
imported, called or made.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any, Final

__all__ = ["References"]

_BY_NAME: Final = b"\x93"  # the opcode STACK_GLOBAL, which protocol 5 has for every name
_LARGE: Final = 1 << 17  # bytes of a chunk that is one value: no opcode is in it
_IMPORTING: Final = {("cloudpickle.cloudpickle", "subimport"), ("importlib", "import_module")}


class References:
    """What some pickles refer to."""

    def __init__(self) -> None:
        self.names: set[tuple[str, str]] = set()  # module and qualified name; "": the module itself
        self.code: set[tuple[CodeType, str]] = set()  # of functions that travel by value, each with its package

    def add(self, chunks: Iterable[bytes]) -> None:
        """Take in another pickle."""
        pieces = list(chunks)
        if any(_BY_NAME in piece for piece in pieces if len(piece) <= _LARGE):
            _Reader(_Skimmed(pieces), self).load()


class _Skimmed:
    """The chunks of a pickle as a file; what is large is no name, and not copied."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._left = deque([memoryview(piece) for piece in pieces])

    def read(self, size: int) -> bytes:
        parts = []
        while size and self._left:
            piece = self._left.popleft()
            if len(piece) > size:
                self._left.appendleft(piece[size:])
            parts.append(piece[:size])
            size -= len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._left and len(self._left[0]) == len(view) > _LARGE:
            return len(self._left.popleft())
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (letter := self.read(1)):
            line += letter
        return line


class _Anything(type):
    """The class of what stands for all that a pickle names: it can be called and filled, and stays what it is."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        return cls

    def __setitem__(cls, key: object, value: object) -> None:
        """An item of a mapping."""

    def ignore(cls, *args: object) -> None:
        """An item of a list or a set, or a state."""

    append = extend = add = __setstate__ = ignore


class _Stub(metaclass=_Anything):
    """A class, as the unpickler makes instances of nothing else; here they are itself."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return cls


class _Reader(pickle.Unpickler):
    def __init__(self, file: _Skimmed, references: References) -> None:
        super().__init__(file)
        self._references = references
        self._special: Mapping[tuple[str, str], Callable[..., Any]] = {
            **dict.fromkeys(_IMPORTING, self._import_module),
            ("cloudpickle.cloudpickle", "_builtin_type"): _builtin_type,
            ("cloudpickle.cloudpickle", "_make_function"): self._make_function,
        }

    def find_class(self, module: str, name: str) -> Any:
        self._references.names.add((module, name))
        return self._special.get((module, name), _Stub)

    def _import_module(self, name: object, *_: object) -> Any:
        if isinstance(name, str):
            self._references.names.add((name, ""))
        return _Stub

    def _make_function(self, code: object, namespace: object, *_: object) -> Any:
        if isinstance(code, CodeType):
            package = namespace.get("__package__") if isinstance(namespace, dict) else None
            self._references.code.add((code, package if isinstance(package, str) else ""))
        return _Stub


def _builtin_type(name: object) -> Any:
    """Code is made for real: it is looked at, and not run."""
    return CodeType if name == "CodeType" else _Stub
