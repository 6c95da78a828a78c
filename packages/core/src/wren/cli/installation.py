"""What is installed: Python, wren's distributions and others' plugins, and whatever else calls itself `wren`."""

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Final

import wren
from wren import plugins
from wren.cli.findings import Finding, Level
from wren.cli.settings import Loaded
from wren.errors import PluginConflict, PluginError
from wren.plugins import CORE, KINDS, PACKAGES, PluginInfo

__all__ = ["look"]

OLDEST: Final = (3, 11)
# Distributions that are made and released together.
OURS: Final = frozenset({CORE, "wren-compat-pywren", "wren-template", *PACKAGES.values()})
_MINOR: Final = re.compile(r"Programming Language :: Python :: (3\.\d+)")
_MODULE: Final = re.compile(r"^wren(/|\.py\b)", re.MULTILINE)  # in a distribution's list of files


def look(loaded: Loaded) -> Iterator[Finding]:
    """Nothing of it is changed, and no plugin used."""
    try:
        core = distribution(CORE)
    except PackageNotFoundError:
        detail = f"is not installed, but imported from {Path(str(wren.__file__)).parent}: its plugins are found by name"
        yield Finding(CORE, Level.FAILURE, detail, f"pip install {CORE}, in the environment of {sys.executable}")
        core = None
    yield _python(core)
    yield from _distributions(core)
    yield from _plugins(loaded)
    yield from _others()


def _python(core: Distribution | None) -> Finding:
    classifiers = (core.metadata.get_all("Classifier") if core else None) or []
    tested = [found[1] for each in classifiers if (found := _MINOR.fullmatch(each))]
    mine = "{}.{}".format(*sys.version_info)
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if sys.version_info < OLDEST:
        return Finding("Python", Level.FAILURE, detail, "use Python 3.11 or later")
    if tested and mine not in tested:
        return Finding("Python", Level.WARNING, f"{detail}: not tested with it", f"use one of {', '.join(tested)}")
    return Finding("Python", Level.OK, detail)


def _distributions(core: Distribution | None) -> Iterator[Finding]:
    """Each that has plugins or is wren's own, with its version."""
    offered: dict[tuple[str, str], list[PluginInfo]] = {}
    for kind in KINDS:
        for info in plugins.installed(kind):
            offered.setdefault((info.distribution, info.version), []).append(info)
    for found in distributions():
        if found.name in OURS:
            offered.setdefault((found.name, found.version), [])
    for (name, version), infos in sorted(offered.items(), key=lambda item: (item[0][0] != CORE, item[0])):
        has = "; ".join(
            f"{kind} {', '.join(names)}"
            for kind in KINDS
            if (names := [info.name for info in infos if info.kind == kind and not plugins.shadowed(info)])
        )
        detail = f"{version}, with {has}" if has else version
        if core is not None and name in OURS and _series(version) != _series(core.version):
            cure = f"pip install --upgrade {CORE} {name}"
            yield Finding(name, Level.WARNING, f"{detail}; made for another version than {core.version}", cure)
        else:
            yield Finding(name, Level.OK, detail)
        for info in filter(plugins.shadowed, infos):
            detail = f"the {info.kind} plugin {info.name!r} is never loaded, as wren-core has that name"
            yield Finding(name, Level.WARNING, detail, f"pip uninstall {name}, or ask its authors for another name")


def _series(version: str) -> list[str]:
    """The part of a version within which packages fit together: of 0.3.1 it is 0.3, of 2.3.1 it is 2."""
    parts = version.split(".")
    return parts[:2] if parts[0] == "0" else parts[:1]


def _plugins(loaded: Loaded) -> Iterator[Finding]:
    for (kind, name), found in loaded.items():
        if isinstance(found, PluginError):
            owners = {info.distribution for info in plugins.installed(kind) if info.name == name}
            if isinstance(found, PluginConflict):
                cure = f"pip uninstall one of {', '.join(sorted(owners))}"
            else:
                cure = f"install what it lacks, or pip uninstall {', '.join(owners)}"
            yield Finding(f"{kind} {name}", Level.FAILURE, str(found), cure)


def _others() -> Iterator[Finding]:
    """Another project is called `wren`, too, and a program may be."""
    for found in distributions():
        top = (found.read_text("top_level.txt") or "").split()
        if found.name != CORE and ("wren" in top or _MODULE.search(found.read_text("RECORD") or "")):
            detail = f"has a module of the name `wren`, too, in the same place as {CORE}'s"
            cure = f"pip uninstall {found.name}, and then pip install --force-reinstall {CORE}"
            yield Finding(f"{found.name} {found.version}", Level.FAILURE, detail, cure)
    if "FunctionExecutor" not in dir(wren):
        cure = f"pip install --force-reinstall {CORE}"
        yield Finding("module wren", Level.FAILURE, f"{wren.__file__} is another project's", cure)
    for path in (Path("wren.py"), Path("wren", "__init__.py")):
        if path.is_file() and not path.samefile(str(wren.__file__)):
            detail = f"programs in this directory import {path} in its place"
            yield Finding("module wren", Level.WARNING, detail, "give it another name")
