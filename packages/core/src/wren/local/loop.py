"""One thread that owns things: others hand it commands, descriptors wake it, and what it owns needs no lock.

While it sleeps another thread may do something short in its place, `here`: to hand over a single call that way takes
half of the time.  That thread may be the main one, in which a KeyboardInterrupt may be raised after any step.  So what
it does must be such that the owner can undo it half-done; and a lock that it was kept from releasing is found out.
"""

import contextlib
import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from wren import callbacks
from wren.logs import Log

_log: Final = Log("wren.local")

LONGEST: Final = (
    86_400.0  # seconds that the system is asked to wait: it has a limit, and waking once a day costs nothing
)

_FINE: Final = 0.001  # seconds; the system wakes nobody more exactly
_STUCK: Final = 0.005  # seconds that a turn of another thread may take before it is looked what became of it

T = TypeVar("T")


class Owner(Protocol):
    """What the loop asks of the one whose things it owns."""

    def timeout(self) -> float | None:
        """Seconds until something is due; None if nothing is."""

    def step(self) -> float:
        """After whatever woke the loop: seconds that it should not be woken again, for what comes can wait so long."""

    def broken(self, error: Exception) -> None:
        """Something raised that must not have; the loop goes on."""


class Loop:
    """What is watched, a queue of commands, and the thread that works both off; it starts with the first command."""

    def __init__(self, name: str, owner: Owner) -> None:
        self._name, self._owner = name, owner
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._epoll = select.epoll()  # and no selector, which takes longer than what it is asked for
        self._actions: dict[int, Callable[[], Any]] = {}  # by descriptor
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake, self._awoken)
        self._owned = threading.Lock()  # taken for good by the one thread that runs the loop
        self._turn = threading.Lock()  # held by whoever does something to what the owner owns
        self._until = 0.0  # when the thread will wake by itself (`time.monotonic`)

    # ---- from any thread

    def do(self, command: Callable[[], None]) -> None:
        """Have the thread run a command soon."""
        self._commands.put(command)
        os.eventfd_write(self._wake, 1)
        if not self._owned.locked():
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def here(self, action: Callable[[], float | None]) -> bool:
        """Do something now, in the caller's thread, if the loop's own sleeps; whether it was done.

        The action returns when the loop is to wake (`time.monotonic`), or None if it did nothing.
        """
        if not self._owned.locked() or not self._turn.acquire(blocking=False):
            return False
        try:
            wake_at = action()
        finally:
            self._turn.release()
        if wake_at is None:
            return False
        if wake_at + _FINE < self._until:
            os.eventfd_write(self._wake, 1)
        return True

    def ask(self, question: Callable[[], T]) -> T:
        """What the question returns, or raises, in the thread."""
        answer: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

        def reply() -> None:
            try:
                answer.put((question(), None))
            except Exception as error:  # noqa: BLE001 - it is the asker's
                answer.put((None, error))

        self.do(reply)
        value, error = answer.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value] # it is the question's, None or not

    def close(self) -> None:
        """In a forked child, where the thread is not: close the descriptors."""
        self._epoll.close()
        os.close(self._wake)

    # ---- in the thread

    def watch(self, fd: int, action: Callable[[], Any], *, writing: bool = False) -> None:
        """Call `action` whenever the descriptor can be read (or written)."""
        self._actions[fd] = action
        self._epoll.register(fd, select.EPOLLOUT if writing else select.EPOLLIN)

    def watches(self, fd: int) -> bool:
        """Whether the descriptor is watched."""
        return fd in self._actions

    def unwatch(self, fd: int) -> None:
        """Watch it no more; nothing if it is not watched."""
        if self._actions.pop(fd, None) is not None:
            with contextlib.suppress(FileNotFoundError):  # who began to watch it was interrupted
                self._epoll.unregister(fd)

    def _run(self) -> None:
        if not self._owned.acquire(blocking=False):
            return  # another was started at the same time
        callbacks.own_thread()
        while True:
            try:
                found = self._epoll.poll(self._wait())
                self._take_turn()
                try:
                    for fd, action in [(fd, self._actions.get(fd)) for fd, _ in found]:
                        # An action before it in this round may have ended it, and its number be another's by now.
                        if action is not None and self._actions.get(fd) is action:
                            action()
                    pause = self._owner.step()
                finally:
                    self._turn.release()
                if pause:
                    time.sleep(pause)
            except Exception as error:  # noqa: BLE001 - the owner fails what it has, and the loop goes on
                _log.exception("the thread %s failed", self._name)
                self._owner.broken(error)

    def _wait(self) -> float | None:
        self._until = math.inf  # whoever does something here before the time is known has to wake it
        timeout = self._owner.timeout()
        self._until = time.monotonic() + min(LONGEST if timeout is None else timeout, LONGEST)
        return None if timeout is None else min(timeout, LONGEST)

    def _take_turn(self) -> None:
        while not self._turn.acquire(timeout=_STUCK):
            if not any(map(_is_here, sys._current_frames().values())):
                self._turn = threading.Lock()  # its holder has left by an exception that came before it could let go

    def _awoken(self) -> None:
        os.eventfd_read(self._wake)
        while not self._commands.empty():
            self._commands.get()()


def _is_here(frame: FrameType | None) -> bool:
    """Whether a thread is within `Loop.here`."""
    while frame is not None:
        if frame.f_code is Loop.here.__code__:
            return True
        frame = frame.f_back
    return False
