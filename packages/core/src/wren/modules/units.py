"""What travels: units of modules, chosen from what was found and from what the caller says."""

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wren.errors import ModuleError
from wren.job import Choice
from wren.modules.archive import File, Unit, files_of
from wren.modules.finder import Need
from wren.modules.origins import Kind, Source, source_of

__all__ = ["Chosen", "choose"]


class Chosen(NamedTuple):
    """Units that travel, by name, each with the reason; and the user's own that stay, likewise."""

    units: Mapping[str, tuple[Unit, str]]
    left: Mapping[str, str]
    excluded: tuple[str, ...] = ()

    def files(self) -> dict[str, File]:
        """All files that travel, by their names in the archive.  ModuleError for what cannot be read."""
        found: dict[str, File] = {}
        for unit, _ in self.units.values():
            found |= {name: file for name, file in files_of(unit, self.excluded).items() if name not in found}
        return found

    def covers(self, name: str) -> bool:
        """Whether a module travels, or is a namespace of what does."""
        travels = any(_is_in(name, [unit]) or _is_in(unit, [name]) for unit in self.units)
        return travels and not _is_in(name, self.left)


def choose(needs: Mapping[str, Need], choice: Choice) -> Chosen:
    """What travels.  ModuleError for what is to be included, and is no module here."""
    own = _own_units(needs)
    if choice.include is None:
        return Chosen({}, dict.fromkeys(own, "include_modules is None"))
    if choice.include:
        included = {unit.name: (unit, "named in include_modules") for unit in map(_included, choice.include) if unit}
        left = {name: "it is not named in include_modules" for name in own if name not in included}
        return Chosen(included, {name: why for name, why in left.items() if not _is_in(name, included)})
    excluded = set(choice.exclude)
    left = {name: "it is named in exclude_modules" for name in [*own, *excluded] if _is_in(name, excluded)}
    return Chosen({name: found for name, found in own.items() if name not in left}, left, choice.exclude)


def _is_in(name: str, outer: Iterable[str]) -> bool:
    """Whether a module is one of these, or is in one of them."""
    return any(name == each or name.startswith(f"{each}.") for each in outer)


def _own_units(needs: Mapping[str, Need]) -> dict[str, tuple[Unit, str]]:
    """What the user's own modules are in, each with who needs it."""
    units: dict[str, tuple[Unit, str]] = {}
    for name, need in needs.items():
        if need.source.kind is Kind.OWN:
            unit = _unit_of([each.source for part in _prefixes(name) if (each := needs.get(part)) is not None])
            units.setdefault(unit.name, (unit, f"needed by {need.by}"))
    return units


def _unit_of(sources: Iterable[Source]) -> Unit:
    """The outermost package that a module is in, or the module; the sources are its packages and itself."""
    *outer, source = sources
    for package in outer:
        below = package.folder + os.sep
        if package.kind is not Kind.NAMESPACE and package.folder and source.file.startswith(below):
            return Unit(package.name, package.folder)
    return Unit(source.name, source.folder or source.file)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _included(named: str) -> Unit | None:
    """The unit of a module's name or path; None of what every worker has."""
    if os.path.isabs(named):
        return _at(named)
    sources = [source_of(part) for part in _prefixes(named)]
    match sources[-1].kind:
        case Kind.STANDARD:
            return None
        case Kind.MISSING:
            raise ModuleError(
                f"include_modules names {named!r}, and no module of that name can be imported here: "
                "correct the name, or give the path of its file or folder"
            )
        case _:
            return _unit_of(sources)


def _at(path: str) -> Unit:
    """The unit of a file or folder; one that is in a package has the package's name before its own."""
    if not os.path.exists(path):
        raise ModuleError(f"include_modules names {path!r}, and there is no such file or folder: correct the path")
    folder, last = os.path.split(path)
    parts = [last if os.path.isdir(path) else last.partition(".")[0]]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, last = os.path.split(folder)
        parts.append(last)
    return Unit(".".join(reversed(parts)), path)
