import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wren


@pytest.fixture
def executor() -> Iterator[wren.FunctionExecutor]:
    """An executor of the test's own; its workers are warm, as all executors with two of them share those."""
    with wren.local_executor(workers=2) as shared:
        yield shared


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition that another process brings about; fails after 20 s."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.005)

    return wait


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no configuration but what a test gives."""
    for name in [name for name in os.environ if name.startswith("WREN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
