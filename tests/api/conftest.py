"""What the tests of the API share: the mark that quotes docs/api.md, executors, and programs of their own."""

import os
from collections.abc import Iterator

import pytest

import wren


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "api(*sentences): the words of docs/api.md that the test holds wren to")


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("WREN_", "PYWREN_"))]:
        monkeypatch.delenv(name)
    home = str(tmp_path_factory.mktemp("home"))
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("XDG_CONFIG_HOME", home)


@pytest.fixture
def executor() -> Iterator[wren.FunctionExecutor]:
    """An executor of the test's own; its workers are warm, as all executors with two of them share those."""
    with wren.local_executor(workers=2) as shared:
        yield shared
