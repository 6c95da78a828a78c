"""Threads for the kit: what a check does at once, and what may hang where a plugin is wrong."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds after which what should have ended hangs


class Running(Generic[T]):
    """A function that runs in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised in `result`
            self._error = error

    def result(self, what: str, timeout: float = PATIENCE) -> T:
        """What it returned or raises; AssertionError when `what` it does has not ended after `timeout` seconds."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"{what} has not ended after {timeout:g} s"
        if self._error is not None:
            raise self._error
        return self._values[0]


def at_once(what: str, *works: Callable[[], T]) -> list[T]:
    """What all returned, run at the same time; raises what the first of them raised."""
    return [running.result(what) for running in [Running(work) for work in works]]


@contextmanager
def many_switches() -> Iterator[None]:
    """Threads take turns a thousand times as often, so that a race is met in a short test."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def wait_for(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Return when the condition holds; AssertionError says `what` was not so after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not so after {timeout:g} s"
        time.sleep(0.005)
