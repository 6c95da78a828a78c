"""Where modules come from: of the standard library, of an installed distribution, or the user's own.

Nothing is imported to find out, as that would run the user's code: what is imported already has its spec, and finders
tell of the rest.
"""

import contextlib
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from enum import Enum
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Kind", "Source", "is_compiled", "root_of", "source_of", "versions_of"]

# What no worker is without.
_PROVIDED: Final = frozenset({"wren", "cloudpickle", "__main__", "__mp_main__"})
_SITES: Final = frozenset({"site-packages", "dist-packages"})


class Kind(Enum):
    """Whose a module is."""

    STANDARD = "of the standard library, or of wren"
    INSTALLED = "of a distribution that is not editable"
    OWN = "the user's"
    NAMESPACE = "a namespace, which has no code"
    MISSING = "not there"


class Source(NamedTuple):
    """A module as it is on this machine."""

    name: str
    kind: Kind
    file: str = ""  # of the code; empty: there is none
    folder: str = ""  # of a package's modules, of a namespace the first one; empty: it is neither

    @property
    def package(self) -> str:
        """What relative imports in it are relative to."""
        return self.name if self.folder else self.name.rpartition(".")[0]


def source_of(name: str) -> Source:
    """The module of that name."""
    top = name.partition(".")[0]
    if top in _PROVIDED or top in sys.stdlib_module_names:
        return Source(name, Kind.STANDARD)
    spec = _spec(name)
    if spec is None:
        return Source(name, Kind.MISSING)
    file = spec.origin if spec.has_location and spec.origin else ""
    if not file:
        folders = [os.path.abspath(each) for each in _folders(spec.submodule_search_locations or ())]
        return Source(name, Kind.NAMESPACE, folder=folders[0]) if folders else Source(name, Kind.MISSING)
    folder = os.path.dirname(file) if spec.submodule_search_locations is not None else ""
    source = Source(name, Kind.OWN, os.path.abspath(file), folder and os.path.abspath(folder))
    return source._replace(kind=Kind.INSTALLED) if _is_installed(root_of(source), top) else source


def root_of(source: Source) -> str:
    """The folder that stands in sys.path, or would."""
    folder = source.folder or source.file
    for _ in range(source.name.count(".") + 1):
        folder = os.path.dirname(folder)
    return folder


def is_compiled(file: str) -> bool:
    """Whether it is an extension module."""
    return file.endswith((*EXTENSION_SUFFIXES, ".so", ".pyd"))


def _spec(name: str) -> ModuleSpec | None:
    spec: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if spec is not None and spec.name == name:
        return spec
    parent = name.rpartition(".")[0]
    path: list[str] | None = None
    if parent:
        outer = _spec(parent)
        if outer is None or outer.submodule_search_locations is None:
            return None
        path = _folders(outer.submodule_search_locations)
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        found: ModuleSpec | None = find(name, path) if find is not None else None
        if found is not None:
            return found
    return None


def _folders(locations: Iterable[str]) -> list[str]:
    try:
        return list(locations)
    except KeyError:  # a namespace within one that is not imported, which it would ask
        return list(getattr(locations, "_path", ()))


# ---------------------------------------------------------------- distributions


def _is_installed(root: str, top: str) -> bool:
    """Whether a folder's module belongs to a distribution, or the folder is for such."""
    return os.path.basename(root) in _SITES or root in _site_folders() or _is_recorded(root, top)


@cache  # the standard library has modules that it does not count among its own: its tests
def _site_folders() -> frozenset[str]:
    paths = sysconfig.get_paths()
    folders = [
        *(paths[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    return frozenset(map(os.path.abspath, folders))


@cache
def _is_recorded(root: str, top: str) -> bool:
    """Whether a distribution was installed into just this folder (`pip install --target`), with that module."""
    begins = f"{top}/", f"{top}.", f"../{top}/"
    for record in Path(root).glob("*.dist-info/RECORD"):
        try:
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if any(line.startswith(begins) for line in lines):
            return True
    return False


def versions_of(modules: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The distribution that a module is of, and its version, for those that are of one."""
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    found: dict[str, tuple[str, str]] = {}
    distributions = packages_distributions()
    for module in modules:
        for distribution in distributions.get(module.partition(".")[0], ()):
            with contextlib.suppress(PackageNotFoundError):  # removed meanwhile
                found.setdefault(module, (distribution, version(distribution)))
    return found
