"""A backend that says what its runtime has, and the files of a user."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from wren.spi import Compute, Deployment, Runtime, RuntimeInfo


@dataclass(frozen=True, slots=True)
class NoOptions:
    """None."""


class Described(Compute[NoOptions]):
    """A backend that runs nothing."""

    name: ClassVar[str] = "described"
    options_type: ClassVar[type] = NoOptions

    def __init__(self, info: RuntimeInfo) -> None:
        super().__init__(NoOptions())
        self.info, self.asked = info, 0

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        raise NotImplementedError

    def undeploy(self, deployment: Deployment) -> None:
        raise NotImplementedError

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        self.asked += 1
        return self.info


@pytest.fixture
def described() -> Callable[[RuntimeInfo], Described]:
    return Described


@pytest.fixture
def write(user: Path) -> Callable[[Mapping[str, str]], None]:
    """Write a user's files."""

    def write_all(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = user / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    return write_all
