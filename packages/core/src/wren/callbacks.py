"""Runs what must not run in the thread that settles a future: that thread may not wait for anything.

Four queues, each with a thread that starts when it is needed: the users' callbacks, which may wait for other futures;
what the engine does next (reducers, handing calls to backends), which those futures may need; the removal of objects,
for which a storage may take its time; and what observers are told, who may wait for whatever they send it to.  And a
clock for what the engine does later.
"""

import atexit
import contextlib
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

from wren.logs import Log

_log: Final = Log("wren.futures")

LONGEST: Final = 3_600.0  # seconds that a queue is asked to wait: it has a limit
LAST_SECONDS: Final = 5.0  # that the interpreter's end may wait

_own = threading.local()


class _Runner:
    """A queue of actions and the thread that works it off, started with the first.

    Finalizers use it, too, and the garbage collector runs them anywhere: nothing here waits for a lock.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._owned = threading.Lock()  # taken for good by the one thread that works

    @property
    def started(self) -> bool:
        return self._owned.locked()

    def start(self) -> None:
        """Start the thread, if it is not yet: when a program ends it is too late for that."""
        if not self.started:
            threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def put(self, action: Callable[[], object]) -> None:
        try:
            self.start()
        except RuntimeError:  # the interpreter is about to end: then here
            action()
        else:
            self._queue.put(action)

    def _work(self) -> None:
        if not self._owned.acquire(blocking=False):
            return  # another was started at the same time
        if self is _engines:
            own_thread()
        while True:
            action = self._queue.get()
            try:
                action()
            except BaseException:  # noqa: BLE001 - the thread serves all that comes after, too
                _log.exception("%r raised in the thread %s", action, self.name)
            del action  # while it waits for the next one the thread keeps nothing alive


class _Clock:
    """Actions that are due at a time, and the thread that hands them to the engine's then."""

    def __init__(self) -> None:
        self._numbers = itertools.count()  # those that are due at the same time keep their order
        self._new: SimpleQueue[tuple[float, int, Callable[[], object]]] = SimpleQueue()
        self._owned = threading.Lock()

    def start(self) -> None:
        """Start the thread, if it is not yet: when a program ends it is too late for that."""
        if not self._owned.locked():
            threading.Thread(target=self._work, name="wren-clock", daemon=True).start()

    def put(self, seconds: float, action: Callable[[], object]) -> None:
        self._new.put((time.monotonic() + seconds, next(self._numbers), action))
        self.start()

    def _work(self) -> None:
        if not self._owned.acquire(blocking=False):
            return  # another was started at the same time
        due: list[tuple[float, int, Callable[[], object]]] = []
        while True:
            left = due[0][0] - time.monotonic() if due else None
            if left is not None and left <= 0:
                later(heapq.heappop(due)[2])
                continue
            with contextlib.suppress(Empty):
                heapq.heappush(due, self._new.get(timeout=left if left is None else min(left, LONGEST)))


def _parts() -> tuple[_Runner, _Runner, _Runner, _Runner, _Clock]:
    names = ("wren-callbacks", "wren-engine", "wren-cleaner", "wren-observers")
    users, engines, cleaners, observers = map(_Runner, names)
    return users, engines, cleaners, observers, _Clock()


_users, _engines, _cleaners, _observers, _clock = _parts()


def _after_fork() -> None:
    global _users, _engines, _cleaners, _observers, _clock  # the threads are not in the child
    _users, _engines, _cleaners, _observers, _clock = _parts()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _drain() -> None:
    """At the interpreter's end, when the calls have settled: what was put there is still done, for a few seconds."""
    for runner in (_engines, _users, _cleaners, _observers):  # the last are told of what the first did
        if runner.started:
            done = threading.Event()
            runner.put(done.set)
            if not done.wait(LAST_SECONDS):
                _log.warning("the thread %s had more to do when the program ended", runner.name)


def start(*, users: bool = False) -> None:
    """Start the engine's thread, or the users' one; before anything that it will be needed for."""
    (_users if users else _engines).start()


def start_clock() -> None:
    """Start what `after` and `clean` need; before a program ends, when it is too late for that."""
    _clock.start()
    _cleaners.start()


def run(callback: Callable[[Any], object], future: Any) -> None:
    """Call `callback(future)` soon, in the users' thread, in the order of the calls of this function."""
    _users.put(lambda: _run_now(callback, future))


def _run_now(callback: Callable[[Any], object], future: Any) -> None:
    """Call `callback(future)`; what it raises is logged, as the standard library does."""
    try:
        callback(future)
    except BaseException:  # noqa: BLE001 - it is the user's
        _log.exception("the callback %r of %r raised", callback, future)


def do(action: Callable[[], object], held: Callable[[], bool]) -> None:
    """Do something in the engine's thread, where no KeyboardInterrupt can stop it half-way, and wait until it is done.

    It is only begun in a thread of wren's own, and where `held` says that the caller has a lock that the action needs:
    the garbage collector runs finalizers anywhere, and those may come here.
    """
    done = SimpleQueue[None]()

    def report() -> None:
        try:
            action()
        finally:
            done.put(None)

    _engines.put(report)
    if not in_own_thread() and not held():
        done.get()


def own_thread() -> None:
    """The current thread is one of wren's, which must not wait for another."""
    _own.thread = True


def in_own_thread() -> bool:
    """Whether the current thread is one of wren's."""
    return getattr(_own, "thread", False)


def later(action: Callable[[], object]) -> None:
    """Do something soon, in the engine's thread."""
    _engines.put(action)


def after(seconds: float, action: Callable[[], object]) -> None:
    """Do something in the engine's thread, `seconds` from now."""
    _clock.put(seconds, action)


def clean(action: Callable[[], object]) -> None:
    """Remove something from a storage, some time."""
    _cleaners.put(action)


def observe(action: Callable[[], object]) -> None:
    """Tell observers something, in the order of the calls of this function."""
    _observers.put(action)


def apart(action: Callable[[], object], name: str) -> None:
    """Do something that may wait, in a thread of its own; here, where the interpreter has no more threads to give."""

    def work() -> None:
        own_thread()
        try:
            action()
        except BaseException:  # noqa: BLE001 - nobody else would hear of it
            _log.exception("%r raised in the thread %s", action, name)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        action()
