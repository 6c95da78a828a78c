"""Finds every module that is needed: what pickles refer to, and what the user's own modules among it import.

    pickles ─▶ references ─▶ module ─▶ its imports ─▶ module ─▶ ...      as long as they are the user's own

Each is needed strictly, where it is certain to be imported, or perhaps: by an import in a function other than the one
that is called, after an `if`, or in a `try`.  All that are own travel; only what is needed strictly can be missing.
"""

import inspect
import sys
from collections import deque
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from wren.modules.imports import Import, imports_of, imports_of_file
from wren.modules.origins import Kind, Source, is_compiled, source_of
from wren.modules.references import Body, Name, References

__all__ = ["Need", "find"]

_FUNCTION = "the function or its data"


class Need(NamedTuple):
    """A module that is needed."""

    source: Source
    strict: bool  # it is certain to be imported
    by: str  # who needs it, for people


class _Wanted(NamedTuple):
    name: str
    strict: bool
    by: str


def find(references: References) -> dict[str, Need]:
    """All modules that are needed but those of the standard library, by name, in the order in which they are found."""
    return _Finder().find(references)


class _Finder:
    """One search."""

    def __init__(self) -> None:
        self._found: dict[str, Need] = {}
        self._sources: dict[str, Source] = {}
        self._waiting: deque[_Wanted] = deque()

    def find(self, references: References) -> dict[str, Need]:
        for module, _ in sorted(references.names):
            self._want(module, strict=True, by=_FUNCTION)
        called = {self._body(each) for each in references.called}
        for code, package in sorted(references.code, key=lambda body: (body[0].co_qualname, body[0].co_firstlineno)):
            self._take_in(code, package, strict=(code, package) in called)
        for body in called - references.code:
            if body is not None:
                self._take_in(*body, strict=True)
        while self._waiting:
            wanted = self._waiting.popleft()
            self._visit(*wanted)
        return self._found

    def _body(self, called: Name | Body) -> Body | None:
        """What runs when this is called; None where that is not the user's, or no Python."""
        first, second = called
        if isinstance(first, CodeType):
            return first, second
        return _body_of(first, second) if self._source(first).kind is Kind.OWN else None

    def _take_in(self, code: CodeType, package: str, *, strict: bool) -> None:
        for each in imports_of(code):
            by = f"line {each.line} of {code.co_qualname}"
            self._follow(each, package, strict=strict and not each.conditional, by=by)

    def _want(self, name: str, *, strict: bool, by: str) -> None:
        """A module, and the packages that it is in, which are imported first."""
        at = name.find(".")
        while at >= 0:
            self._waiting.append(_Wanted(name[:at], strict, by))
            at = name.find(".", at + 1)
        self._waiting.append(_Wanted(name, strict, by))

    def _visit(self, name: str, strict: bool, by: str) -> None:
        known = self._found.get(name)
        if known is not None and (known.strict or not strict):
            return
        source = self._source(name)
        if source.kind is Kind.STANDARD:
            return
        self._found[name] = Need(source, strict, by)
        if source.kind is Kind.OWN and not is_compiled(source.file):
            for each in _imports(source):
                self._follow(
                    each, source.package, strict=strict and not each.conditional, by=f"line {each.line} of {name}"
                )

    def _follow(self, each: Import, package: str, *, strict: bool, by: str) -> None:
        for name in self._targets(each, package):
            self._want(name, strict=strict, by=by)

    def _targets(self, each: Import, package: str) -> Iterator[str]:
        """The modules that an import statement imports."""
        name = each.name
        if each.level:
            parts = package.split(".") if package else []
            if len(parts) < each.level:
                return  # it would raise ImportError
            base = ".".join(parts[: len(parts) - each.level + 1])
            name = f"{base}.{name}" if name else base
        yield name
        if self._source(name).kind in (Kind.OWN, Kind.NAMESPACE):  # of others it is enough that they are there
            for attribute in each.names:
                inner = f"{name}.{attribute}"
                if attribute != "*" and self._source(inner).kind is not Kind.MISSING:
                    yield inner

    def _source(self, name: str) -> Source:
        known = self._sources.get(name)
        return known or self._sources.setdefault(name, source_of(name))


def _imports(source: Source) -> tuple[Import, ...]:
    try:
        return imports_of_file(source.file)
    except (OSError, SyntaxError, ImportError, ValueError, EOFError):  # no Python, or of another: its import says so
        return ()


def _body_of(module: str, name: str) -> Body | None:
    """The code of a function that travels by reference, or of what instances of a class do when they are called."""
    found: Any = sys.modules.get(module)
    for part in name.split(".") if name else ():
        found = getattr(found, part, None)
    if isinstance(found, type):
        found = getattr(found, "__call__", None)  # noqa: B004 - it is looked at, and not called
    try:
        found = inspect.unwrap(found)
    except ValueError:  # it wraps itself
        return None
    if not isinstance(found, FunctionType):
        return None
    return found.__code__, found.__globals__.get("__package__") or ""
