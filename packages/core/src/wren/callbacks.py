"""Runs the callbacks of futures in a thread of their own.

The thread that settles a future must not run them: a callback that waits for another future would wait for ever.
"""

import logging
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_log = logging.getLogger("wren.futures")


class _Runner:
    """A queue of callbacks and the thread that works it off, started with the first."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[Any], object], Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, callback: Callable[[Any], object], future: Any) -> None:
        self._queue.put((callback, future))
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="wren-callbacks", daemon=True)
                    self._thread.start()

    def _work(self) -> None:
        while True:
            run_now(*self._queue.get())


_runner = _Runner()


def _after_fork() -> None:
    global _runner  # noqa: PLW0603 - the thread is not in the child
    _runner = _Runner()


os.register_at_fork(after_in_child=_after_fork)


def run(callback: Callable[[Any], object], future: Any) -> None:
    """Call `callback(future)` soon, in the callbacks' thread, in the order of the calls of this function."""
    _runner.put(callback, future)


def run_now(callback: Callable[[Any], object], future: Any) -> None:
    """Call `callback(future)`; what it raises is logged, as the standard library does."""
    try:
        callback(future)
    except Exception:  # noqa: BLE001 - the callback is the user's
        _log.exception("the callback %r of %r raised", callback, future)
