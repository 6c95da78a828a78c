import time
from collections.abc import Callable, Iterator

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
