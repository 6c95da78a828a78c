"""What waits for a call: threads in wren's own way, others in the standard library's; and its callbacks.

The room of `wren.table`, which has the locks.
"""

import concurrent.futures
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias

from wren import callbacks

__all__ = ["Callback", "Waiter", "Watch", "call_back", "drain"]

Callback: TypeAlias = Callable[[concurrent.futures.Future[Any]], object]

_log: Final = logging.getLogger("concurrent.futures")  # the standard library's: who uses futures looks there
_here: Final = threading.local()  # `depth`: how many callbacks this thread is in


class Watch:
    """What the standard library's waiters and callbacks need of one future."""

    __slots__ = ("callbacks", "claims", "condition", "future", "waiters")

    def __init__(self, future: concurrent.futures.Future[Any]) -> None:
        self.future = future
        self.condition = threading.Condition()
        self.waiters: list[Any] = []
        self.callbacks: list[Callback] = []
        self.claims = 0  # threads that try to settle the call, and would call the callbacks themselves

    def hand_over(self) -> None:
        """Have the callbacks called in the users' thread."""
        if self.callbacks:
            waiting, self.callbacks = self.callbacks, []
            callbacks.run(partial(call_back, waiting), self.future)


class Waiter:
    """A thread that waits for a call, or for any (None); or, with `until_failure`, for one to fail."""

    __slots__ = ("_gate", "call", "until_failure")

    def __init__(self, call: int | None, until_failure: bool = False) -> None:
        self.call, self.until_failure = call, until_failure
        self._gate = threading.Lock()
        self._gate.acquire()

    def wake(self) -> None:
        """What it waits for has come; under the tables' lock."""
        if self._gate.locked():
            self._gate.release()

    def wait(self, timeout: float | None) -> None:
        """Until it is woken, at most `timeout` seconds."""
        self._gate.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))


def call_back(waiting: Iterable[Callback], future: concurrent.futures.Future[Any]) -> None:
    """Call callbacks in this thread; what one raises is logged where the standard library logs it."""
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        for callback in waiting:
            try:
                callback(future)
            except Exception:  # noqa: BLE001 - it is the user's, and logged
                _log.exception("exception calling callback for %r", future)
    finally:
        _here.depth -= 1


def drain() -> None:
    """Wait until all callbacks that were handed over have been called; not within one, which would wait for itself."""
    if not getattr(_here, "depth", 0):
        done = threading.Event()
        callbacks.run(lambda _: done.set(), None)
        done.wait()
