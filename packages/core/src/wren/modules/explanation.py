"""`executor.explain`: what of a function's modules would travel, and why."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wren.job import Choice
from wren.modules.archive import files_of
from wren.modules.finder import Need
from wren.modules.luggage import must_be_there, needs_of
from wren.modules.origins import Kind, versions_of
from wren.modules.units import Chosen, choose
from wren.spi import RuntimeInfo

__all__ = ["Explanation", "ModuleInfo", "explain"]


class ModuleInfo(NamedTuple):
    """A module that a function needs."""

    name: str
    version: str  # of the distribution that it is of; empty: of none
    travels: bool
    why: str
    size: int = 0  # bytes on the disk of what travels


class Explanation(tuple[ModuleInfo, ...]):
    """The modules that a function needs, the user's own first, the largest before others."""

    __slots__ = ()

    def __repr__(self) -> str:
        travelling = [module for module in self if module.travels]
        return f"<{len(travelling)} of {len(self)} modules travel, {sum(each.size for each in travelling):,} bytes>"

    def show(self) -> None:
        """Print them as a table."""
        from wren.cli.tables import show

        if not self:
            print("The function needs no modules but those of the standard library.")  # noqa: T201 - what it is for
            return
        columns = ("module", "version", "travels", "why", "bytes")
        rows = [
            (each.name, each.version, "yes" if each.travels else "no", each.why, f"{each.size:,}" if each.size else "")
            for each in self
        ]
        show(columns, rows, numbers=["bytes"])


def explain(
    function: Iterable[bytes], data: Iterable[bytes], choice: Choice, runtime: RuntimeInfo | None
) -> Explanation:
    """What a pickled function and data need; `runtime` None: workers of this machine, to which nothing travels.

    What would be an error at a call is said in words.  ModuleError for what is to be included, and is no module here.
    """
    needs = needs_of([function], [data])
    if runtime is None:
        return _with_versions(_local(needs))
    chosen = choose(needs, choice)
    travelling = [
        ModuleInfo(name, "", True, why, sum(file.size for file in files_of(unit, chosen.excluded).values()))
        for name, (unit, why) in chosen.units.items()
    ]
    left = []
    for name, why in chosen.left.items():
        if name in needs:
            there = "the runtime has it" if runtime.has(name) else "missing in the runtime"
            left.append(ModuleInfo(name, "", False, f"{why}; {there}"))
    mine = sorted([*travelling, *left], key=lambda each: (-each.size, each.name))
    return _with_versions([*mine, *_others(needs, chosen, runtime)])


def _local(needs: Mapping[str, Need]) -> list[ModuleInfo]:
    units = choose(needs, Choice()).units
    mine = [ModuleInfo(name, "", False, "local workers import the same files") for name in sorted(units)]
    theirs: dict[str, ModuleInfo] = {}
    for name, need in needs.items():
        if need.source.kind in (Kind.INSTALLED, Kind.MISSING) and must_be_there(name, needs):
            missing = need.source.kind is Kind.MISSING
            _add(theirs, name, f"missing here: {_needed(need)}" if missing else "it is installed here")
    return [*mine, *sorted(theirs.values())]


def _others(needs: Mapping[str, Need], chosen: Chosen, runtime: RuntimeInfo) -> list[ModuleInfo]:
    """What is needed of others than the user."""
    rows: dict[str, ModuleInfo] = {}
    for name, need in needs.items():
        if need.source.kind is Kind.OWN or chosen.covers(name) or not must_be_there(name, needs):
            continue
        if not runtime.modules:
            _add(rows, name, "what the runtime has is not known")
        elif runtime.has(name):
            _add(rows, name, "the runtime has it")
        else:
            _add(rows, name, f"missing in the runtime: {_needed(need)}")
    return sorted(rows.values())


def _needed(need: Need) -> str:
    return f"{'needed' if need.strict else 'perhaps needed'} by {need.by}"


def _add(rows: dict[str, ModuleInfo], name: str, why: str) -> None:
    """A row for each distribution's module, and what is missing of it rather than what is not."""
    top = name.partition(".")[0]
    if top not in rows or why.startswith("missing"):
        rows[top] = ModuleInfo(top, "", False, why)


def _with_versions(modules: list[ModuleInfo]) -> Explanation:
    versions = versions_of(module.name for module in modules)
    return Explanation(module._replace(version=versions.get(module.name, ("", ""))[1]) for module in modules)
