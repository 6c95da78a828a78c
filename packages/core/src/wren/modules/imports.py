"""The imports that a code object makes, found in its bytecode.

Bytecode and not source: a function of a notebook or of `exec` need have no source, a module may be installed without,
and the code of a module that was imported before is there without being parsed.  The standard library's `modulefinder`
reads bytecode, too, but follows all imports with a machinery of its own, into the standard library, and knows neither
namespace packages that lie apart nor the finders of editable installs.
"""

import dis
import inspect
import os
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import BYTECODE_SUFFIXES, SourceFileLoader, SourcelessFileLoader
from types import CodeType
from typing import Final, NamedTuple

__all__ = ["Import", "imports_of", "imports_of_file"]

_IMPORT: Final = dis.opmap["IMPORT_NAME"]
_JUMPS: Final = frozenset([*dis.hasjrel, *dis.hasjabs])
_RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_RAISES: Final = frozenset({"RAISE_VARARGS", "RERAISE"})


class Import(NamedTuple):
    """`from <level dots><name> import <names>`, or without names `import <name>`."""

    name: str
    level: int
    names: tuple[str, ...]
    conditional: bool  # it may not be made, or its failure may be caught
    line: int


def imports_of(code: CodeType, *, conditional: bool = False) -> Iterator[Import]:
    """The imports of a function or a module, and those of functions within it, which count as conditional."""
    if _IMPORT in code.co_code[::2]:
        yield from _own(code, conditional)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            is_function = bool(constant.co_flags & inspect.CO_OPTIMIZED)  # else the body of a class, which runs at once
            yield from imports_of(constant, conditional=conditional or is_function)


def _own(code: CodeType, conditional: bool) -> Iterator[Import]:
    """Those of the code itself: conditional where a jump or a return leads past them, or an error is caught."""
    bytecode = dis.Bytecode(code)
    entries = bytecode.exception_entries  # type: ignore[attr-defined]  # which typeshed does not know
    caught = [(entry.start, entry.end) for entry in entries]
    passed = 0  # where the jumps lead that were seen, at most
    ended = False  # what follows need not be reached
    line = code.co_firstlineno
    before: list[object] = [None, None]  # what was loaded by the two instructions before
    for instruction in bytecode:
        position = getattr(instruction, "positions", None)
        line = (position.lineno if position is not None else None) or line
        if instruction.opcode == _IMPORT:
            level, names = before
            may_not = ended or instruction.offset < passed
            may_not = may_not or any(start <= instruction.offset < end for start, end in caught)
            yield Import(
                str(instruction.argval),
                level if isinstance(level, int) else 0,
                tuple(map(str, names)) if isinstance(names, tuple) else (),
                conditional or may_not,
                line,
            )
        elif instruction.opcode in _JUMPS:
            passed = max(passed, instruction.argval)
        returns, raises = instruction.opname in _RETURNS, instruction.opname in _RAISES
        ended = ended or returns or (raises and instruction.offset >= passed)
        if instruction.opcode != dis.EXTENDED_ARG:
            before = [before[1], instruction.argval]


def imports_of_file(path: str) -> tuple[Import, ...]:
    """The imports of a module's file; read again when its time or size has changed.  OSError, SyntaxError."""
    status = os.stat(path)
    return _imports_of_file(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _imports_of_file(path: str, mtime: int, size: int) -> tuple[Import, ...]:
    kind = SourcelessFileLoader if path.endswith(tuple(BYTECODE_SUFFIXES)) else SourceFileLoader
    # Whatever it is called: the loader is this module's own, and finds the bytecode that an import has left.
    code = kind("module", path).get_code("module")
    return tuple(imports_of(code)) if code is not None else ()
