"""One thread that owns things: others hand it commands, descriptors wake it, and nothing needs a lock."""

import logging
import os
import selectors
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

from wren import callbacks

_log = logging.getLogger("wren.local")

LONGEST: Final = (
    86_400.0  # seconds that a selector is asked to wait: it has a limit, and waking once a day costs nothing
)

T = TypeVar("T")


class Owner(Protocol):
    """What the loop asks of the one whose things it owns."""

    def timeout(self) -> float | None:
        """Seconds until something is due; None if nothing is."""

    def step(self) -> None:
        """After whatever woke the loop."""

    def broken(self, error: Exception) -> None:
        """Something raised that must not have; the loop goes on."""


class Loop:
    """A selector, a queue of commands, and the thread that works both off; it starts with the first command."""

    def __init__(self, name: str, owner: Owner) -> None:
        self._name, self._owner = name, owner
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, self._awoken)
        self._owned = threading.Lock()  # taken for good by the one thread that runs the loop

    # ---- from any thread

    def do(self, command: Callable[[], None]) -> None:
        """Have the thread run a command soon."""
        self._commands.put(command)
        os.eventfd_write(self._wake, 1)
        if not self._owned.locked():
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

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
        self._selector.close()
        os.close(self._wake)

    # ---- in the thread

    def watch(self, fd: int, action: Callable[[], Any], *, writing: bool = False) -> None:
        """Call `action` whenever the descriptor can be read (or written)."""
        self._selector.register(fd, selectors.EVENT_WRITE if writing else selectors.EVENT_READ, action)

    def watches(self, fd: int) -> bool:
        """Whether the descriptor is watched."""
        return fd in self._selector.get_map()

    def unwatch(self, fd: int) -> None:
        """Watch it no more; nothing if it is not watched."""
        if self.watches(fd):
            self._selector.unregister(fd)

    def _run(self) -> None:
        if not self._owned.acquire(blocking=False):
            return  # another was started at the same time
        callbacks.own_thread()
        while True:
            try:
                for key, _ in self._selector.select(self._wait()):
                    # An action before it in this round may have ended it, and its number be another's by now.
                    if self._selector.get_map().get(key.fd) is key:
                        key.data()
                self._owner.step()
            except Exception as error:  # noqa: BLE001 - ?
                _log.exception("the thread %s failed", self._name)
                self._owner.broken(error)

    def _wait(self) -> float | None:
        timeout = self._owner.timeout()
        return None if timeout is None else min(timeout, LONGEST)

    def _awoken(self) -> None:
        os.eventfd_read(self._wake)
        while not self._commands.empty():
            self._commands.get()()
