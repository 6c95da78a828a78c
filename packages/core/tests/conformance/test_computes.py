"""wren's own compute backends pass the kit."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from wren.local.compute import LocalCompute
from wren.spi import Compute
from wren.testing import ComputeConformance, plugged
from wren.testing.fakes import PostingCompute, ScriptedCompute


class TestLocal(ComputeConformance):
    plugin: ClassVar[type[Compute[Any]]] = LocalCompute


class Fakes(ComputeConformance):
    many: ClassVar[int] = 40  # each call starts a Python

    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path) -> Iterator[None]:
        name = self.plugin.name
        with plugged(tmp_path / "site", {"wren.compute": {name: f"wren.testing.fakes:{name}"}}):
            yield

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {"workers": 3, "payload": 1 << 20, "result": 1 << 18}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"python": "/nonexistent/python"}


class TestScripted(Fakes):
    plugin: ClassVar[type[Compute[Any]]] = ScriptedCompute


class TestPosting(Fakes):
    plugin: ClassVar[type[Compute[Any]]] = PostingCompute
