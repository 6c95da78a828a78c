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
from typing import Any, Final, TypeAlias

__all__ = ["References"]

_BY_NAME: Final = b"\x93"  # the opcode STACK_GLOBAL, which protocol 5 has for every name
_LARGE: Final = 1 << 17  # bytes of a chunk that is one value: no opcode is in it
_IMPORTING: Final = {("cloudpickle.cloudpickle", "subimport"), ("importlib", "import_module")}
# What is called with a function, and calls that.
_WRAPPING: Final = {
    ("functools", "partial"),
    ("wren.worker.stream", "cached"),
    ("wren.worker.managers", "accepted"),
}

Name: TypeAlias = tuple[str, str]  # module and qualified name; "": the module itself
Body: TypeAlias = tuple[CodeType, str]  # of a function that travels by value, with its package


class References:
    """What some pickles refer to."""

    def __init__(self) -> None:
        self.names: set[Name] = set()
        self.code: set[Body] = set()
        self.called: set[Name | Body] = set()  # functions that will be called, or classes whose instances will be

    def add(self, chunks: Iterable[bytes], *, called: bool = False) -> None:
        """Take in another pickle; `called`: it is one of a function."""
        pieces = list(chunks)
        if any(_BY_NAME in piece for piece in pieces if len(piece) <= _LARGE):
            loaded = _Reader(_Skimmed(pieces), self).load()
            if called and isinstance(loaded, _Anything) and loaded.stands_for is not None:
                self.called.add(loaded.stands_for)


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

    stands_for: "Name | Body | None" = None

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        return _Stub

    def __setitem__(cls, key: object, value: object) -> None:
        """An item of a mapping."""

    def ignore(cls, *args: object) -> None:
        """An item of a list or a set, or a state."""

    append = extend = add = __setstate__ = ignore


class _Stub(metaclass=_Anything):
    """A class, as the unpickler makes instances of nothing else; here they are itself."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return cls


def _stub(stands_for: Name | Body) -> _Anything:
    return _Anything("_Stub", (_Stub,), {"stands_for": stands_for})


class _Reader(pickle.Unpickler):
    def __init__(self, file: _Skimmed, references: References) -> None:
        super().__init__(file)
        self._references = references
        self._stubs: dict[Name, _Anything] = {}
        self._special: Mapping[Name, Callable[..., Any]] = {
            **dict.fromkeys(_IMPORTING, self._import_module),
            **dict.fromkeys(_WRAPPING, _first),
            ("cloudpickle.cloudpickle", "_builtin_type"): _builtin_type,
            ("cloudpickle.cloudpickle", "_make_function"): self._make_function,
        }

    def find_class(self, module: str, name: str) -> Any:
        named = (module, name)
        self._references.names.add(named)
        return self._special.get(named) or self._stubs.get(named) or self._stubs.setdefault(named, _stub(named))

    def _import_module(self, name: object, *_: object) -> Any:
        if isinstance(name, str):
            self._references.names.add((name, ""))
        return _Stub

    def _make_function(self, code: object, namespace: object, *_: object) -> Any:
        if not isinstance(code, CodeType):
            return _Stub
        package = namespace.get("__package__") if isinstance(namespace, dict) else None
        body = code, package if isinstance(package, str) else ""
        self._references.code.add(body)
        return _stub(body)


def _first(function: object = _Stub, *_: object, **__: object) -> Any:
    return function


def _builtin_type(name: object) -> Any:
    """Code is made for real: it is looked at, and not run.  A method is its function."""
    return {"CodeType": CodeType, "MethodType": _first}.get(str(name), _Stub)
