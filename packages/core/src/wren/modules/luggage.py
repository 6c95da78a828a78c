"""What travels with the jobs of an engine: the modules that these need, in one archive.

    pickles ─▶ references ─▶ finder ─▶ units ─▶ checked against the runtime ─▶ archive

Nothing of this runs for local workers, which import this machine's files.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

from wren.errors import ModuleError, WrenError
from wren.job import Work
from wren.logs import Log
from wren.modules.archive import Archive, File, pack
from wren.modules.finder import Need, find
from wren.modules.origins import Kind, is_compiled, versions_of
from wren.modules.platforms import other_platform
from wren.modules.references import References
from wren.modules.units import Chosen, choose
from wren.serialize import PickledArguments
from wren.spi import Compute, Runtime, RuntimeInfo, escaped
from wren.wire import Blob, Buffer

__all__ = ["Luggage", "must_be_there", "needs_of"]

_log: Final = Log("wren.modules")

MANY: Final = 64 << 20  # bytes of an archive that its owner may not know of
_KEPT: Final = 8  # archives that are remembered


class Luggage:
    """That of one engine.  Thread-safe."""

    def __init__(self, compute: Compute[Any]) -> None:
        self._compute = compute
        self._runtime = f"the runtime of the {compute.name} backend"  # for texts
        self._runtimes: dict[str | None, RuntimeInfo] = {}  # by name
        self._archives: OrderedDict[tuple[tuple[str, File], ...], Archive] = OrderedDict()

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        """What the runtime has, for which the backend is asked once.  BackendError."""
        known = self._runtimes.get(runtime.name)
        if known is not None:
            return known
        try:
            found = self._compute.describe(runtime)
        except WrenError:
            raise
        except Exception as error:  # a backend's bug
            raise escaped(self._compute.name, error) from error
        return self._runtimes.setdefault(runtime.name, found)

    def pack(self, works: Sequence[Work], runtime: Runtime) -> tuple[Blob | None, Sequence[Buffer]]:
        """The packed modules that are needed to run the first of these, which has the results of the others.

        ModuleError where one that is certain to be imported neither travels nor is in the runtime, or is compiled for
        another platform.
        """
        choice = works[0].options.choice
        needs = needs_of((map(bytes, work.code) for work in works), chain.from_iterable(map(_pickles, works)))
        if not needs and not choice.include:
            return None, ()
        chosen = choose(needs, choice)
        describe = partial(self.describe, runtime)
        self._check(needs, chosen, describe)
        files = chosen.files()
        for name, file in files.items() if choice.include else ():
            if is_compiled(file.path):
                self._check_compiled(name, file.path, describe)
        if not files:
            return None, ()
        packed = self._packed(tuple(sorted(files.items())))
        return packed.blob, (packed.data,)

    def _packed(self, files: tuple[tuple[str, File], ...]) -> Archive:
        known = self._archives.pop(files, None)
        if known is None:
            known = pack(files)
            if known.blob.size > MANY:
                _log.warning("modules of %d MiB travel to calls: executor.explain() shows them", known.blob.size >> 20)
        self._archives[files] = known
        while len(self._archives) > _KEPT:
            self._archives.popitem(last=False)
        return known

    # ---- what the runtime must have

    def _check(self, needs: Mapping[str, Need], chosen: Chosen, describe: Callable[[], RuntimeInfo]) -> None:
        missing = []
        for name, need in needs.items():
            if not need.strict:
                continue
            if chosen.covers(name):
                if is_compiled(need.source.file):
                    self._check_compiled(name, need.source.file, describe)
            elif must_be_there(name, needs) and not describe().has(name):
                missing.append(need)
        if missing:
            raise ModuleError(self._say_missing(missing, chosen))

    def _say_missing(self, missing: Sequence[Need], chosen: Chosen) -> str:
        first = missing[0]
        name = first.source.name
        others = sorted({need.source.name.partition(".")[0] for need in missing} - {name.partition(".")[0]})
        said = f"the module {name} (needed by {first.by}) neither travels nor is in {self._runtime}"
        if others:
            said += f", and likewise {', '.join(others)}"
        if first.source.kind is Kind.OWN:
            why = next((why for left, why in chosen.left.items() if f"{name}.".startswith(f"{left}.")), "")
            return f"{said}, as {why}: name it in include_modules, or leave that and exclude_modules out"
        top = name.partition(".")[0]
        found = "==".join(versions_of([top]).get(top, (top,)))
        cures = [f"use a runtime, an image, that has it (pip install '{found}')"]
        if first.source.kind is Kind.INSTALLED:
            cures.append(f"take it along with include_modules={[*chosen.units, top]!r}")
        cures.append("import it in a try statement if the function can do without")
        return f"{said}: {', '.join(cures[:-1])}, or {cures[-1]}"

    def _check_compiled(self, name: str, file: str, describe: Callable[[], RuntimeInfo]) -> None:
        other = other_platform(file, describe())
        if other is not None:
            ours, theirs = other
            raise ModuleError(
                f"the module {name} is compiled for {ours} ({file}), and {self._runtime} is {theirs}: "
                "install it there, and leave this one out with exclude_modules"
            )


def needs_of(functions: Iterable[Iterable[bytes]], data: Iterable[Iterable[bytes]]) -> dict[str, Need]:
    """What calling pickled functions with pickled data needs beside the standard library and wren."""
    references = References()
    for each in functions:
        references.add(each, called=True)
    for each in data:
        references.add(each)
    return find(references)


def must_be_there(name: str, needs: Mapping[str, Need]) -> bool:
    """Whether a needed module that does not travel must be in the runtime.

    A namespace is where its modules are, and what is no file may be made by the package that it is in.
    """
    kind = needs[name].source.kind
    if kind is Kind.NAMESPACE:
        return False
    parents = [name[:at] for at, letter in enumerate(name) if letter == "."]
    mine = any((need := needs.get(parent)) is not None and need.source.kind is Kind.OWN for parent in parents)
    return kind is not Kind.MISSING or not mine


def _pickles(work: Work) -> Iterable[Iterable[bytes]]:
    """Those of the arguments that may have names in them."""
    arguments = work.arguments
    return map(arguments.pickled, range(len(arguments))) if isinstance(arguments, PickledArguments) else ()
