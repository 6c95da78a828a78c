"""Discovery of what is installed here: wren's own plugins come in by the same door as a stranger's."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from wren import plugins, spi
from wren.plugins import KINDS, Kind

ROOT: Final = Path(__file__).parent.parent
LOADERS: Final[dict[Kind, Callable[[str], type[Any]]]] = {
    "compute": plugins.load_compute,
    "storage": plugins.load_storage,
    "monitor": plugins.load_monitor,
}
CONTRACTS: Final[dict[Kind, type[Any]]] = {"compute": spi.Compute, "storage": spi.Storage, "monitor": spi.Monitor}


def declared() -> list[tuple[Kind, str, str, str]]:
    """(kind, name, target, distribution) of the entry points in the packages' pyproject.toml."""
    found = []
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for kind in KINDS:
            points = project.get("entry-points", {}).get(f"wren.{kind}", {})
            found += [(kind, name, target, project["name"]) for name, target in points.items()]
    return found


DECLARED: Final = declared()


def test_there_are_plugins_of_every_kind() -> None:
    assert {kind for kind, *_ in DECLARED} == set(KINDS)


def test_core_knows_its_own_plugins() -> None:
    assert {(kind, name): target for kind, name, target, owner in DECLARED if owner == plugins.CORE} == plugins.OWN


@pytest.mark.parametrize(("kind", "name", "target", "distribution"), DECLARED)
def test_every_declared_plugin_is_installed(kind: Kind, name: str, target: str, distribution: str) -> None:
    found = {(info.name, info.target, info.distribution) for info in plugins.installed(kind)}
    assert (name, target, distribution) in found


@pytest.mark.parametrize(("kind", "name", "target", "distribution"), DECLARED)
def test_every_declared_plugin_is_loaded_by_its_name(kind: Kind, name: str, target: str, distribution: str) -> None:
    found = LOADERS[kind](name)
    assert issubclass(found, CONTRACTS[kind])
    assert found.name == name
    assert found.__module__ == target, f"{distribution}: each plugin has a module of its own"


@pytest.mark.parametrize(("kind", "name", "target", "distribution"), DECLARED)
def test_loading_a_plugin_loads_no_other(kind: Kind, name: str, target: str, distribution: str) -> None:
    # Given a fresh process
    others = sorted({other for *_, other, _ in DECLARED if other != target})
    program = (
        "import sys\n"
        f"from wren.plugins import load_{kind}\n"
        f"load_{kind}({name!r})\n"
        f"assert {target!r} in sys.modules, {distribution!r}\n"
        f"print(*[name for name in {others!r} if name in sys.modules])\n"
    )
    # When one plugin is loaded
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    # Then no other was imported
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_the_documents_table_of_packages_has_every_plugin() -> None:
    text = (ROOT / "docs" / "design" / "architecture.md").read_text(encoding="utf-8")
    for kind, name, _, distribution in DECLARED:
        row = next(line for line in text.splitlines() if f"| {distribution} |" in line)
        assert re.search(rf"wren\.{kind}: [^;|]*\b{name}\b", row), f"{distribution} offers {kind} {name}"
