"""Checks of `ComputeConformance`: the user's own modules are where calls run, and what the runtime says that it has."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import ModuleError
from wren.spi import Compute, Deployment, Shell, Storage
from wren.testing import functions
from wren.testing.computes_base import ComputeChecks

__all__ = ["ModuleChecks"]

PACKAGE = "wren_conformance_user"
MAIN = f"""
from importlib.resources import files
from pathlib import Path

from {PACKAGE}_beside import double


def read(number):
    return double(number), (files("{PACKAGE}") / "data.txt").read_text(), str(Path(__file__).parent)
"""


class ModuleChecks(ComputeChecks):
    """Modules that travel."""

    @pytest.fixture
    def user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A folder with a package, its data and a module beside it, which nothing but this process knows."""
        folder = tmp_path / "user"
        (folder / PACKAGE).mkdir(parents=True)
        (folder / PACKAGE / "__init__.py").write_text(MAIN, encoding="utf-8")
        (folder / PACKAGE / "data.txt").write_text("some data", encoding="utf-8")
        (folder / f"{PACKAGE}_beside.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        yield folder
        for name in (PACKAGE, f"{PACKAGE}_beside"):
            sys.modules.pop(name, None)

    def test_the_users_modules_travel_with_a_function(self, user: Path, executor: wren.FunctionExecutor) -> None:
        """Not so where workers import this machine's files, as those of the pipe shell do."""
        read: Callable[..., Any] = importlib.import_module(PACKAGE).read
        doubled, data, place = executor.call_async(read, 21).result(self.patience)
        assert (doubled, data) == (42, "some data")
        if self.plugin.shell is not Shell.PIPE:
            assert Path(place) != user / PACKAGE, "the worker sees the client's files, and not those that came with it"

    def test_what_is_described_can_be_imported(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        described = sorted(compute.describe(deployment.runtime).modules)
        names = described[:: max(1, len(described) // 20)]
        found = self.submit(compute, deployment, storage, functions.importable, (names,)).results()[0]
        assert found == names

    def test_a_module_that_is_not_there_is_an_error_before_anything_is_invoked(
        self, user: Path, compute: Compute[Any], deployment: Deployment, executor: wren.FunctionExecutor
    ) -> None:
        if not compute.describe(deployment.runtime).modules:
            pytest.skip("describe names no modules, so that it is not known which are missing")
        (user / PACKAGE / "__init__.py").write_text("def read(number):\n    import wren_conformance_missing\n")
        read: Callable[..., Any] = importlib.import_module(PACKAGE).read
        with pytest.raises(ModuleError, match="wren_conformance_missing"):
            executor.call_async(read, 21)
