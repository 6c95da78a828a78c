"""The http shell's one thread: descriptors, timers and what waits to be sent."""

import heapq
import itertools
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from wren.wire import Buffer

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


class Timer:
    """Something to do later, unless it is cancelled before."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Don't do it.  Idempotent; after it was done, nothing."""
        self.action = None


class Loop:
    """Calls back when descriptors are ready and times have come."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def watch(self, fd: int, events: int, action: Callable[[int], None]) -> None:
        """From now on call `action` with the events that came; instead of what was said of this descriptor before."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, action)
        else:
            self._selector.register(fd, events, action)

    def forget(self, fd: int) -> None:
        """Watch it no more; before it is closed.  Idempotent."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call `action` that many seconds from now."""
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def turn(self) -> None:
        """Wait for what comes first, and do all that has come."""
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        for key, events in self._selector.select(wait):
            # Not if one before it has forgotten the descriptor, whose number may be another's by now.
            if self._selector.get_map().get(key.fd) is key:
                key.data(events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            action = heapq.heappop(self._timers)[2].action
            if action is not None:
                action()

    def close(self) -> None:
        """In a forked process before all else: what it would forget one by one, its parent would lose."""
        self._selector.close()


class Outbox:
    """What waits for room in a socket.  The socket's owner calls `flush` whenever it is writable."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pending: deque[memoryview] = deque()
        self.held = False  # nothing leaves yet

    @property
    def pending(self) -> bool:
        """Whether something waits."""
        return bool(self._pending)

    @property
    def blocked(self) -> bool:
        """Whether something waits for room."""
        return bool(self._pending) and not self.held

    def add(self, chunk: Buffer) -> None:
        """Queue it."""
        if len(chunk):
            self._pending.append(memoryview(chunk))

    def flush(self) -> None:
        """Send what there is room for.  Raises OSError when the other side is gone."""
        while self.blocked:
            some = [self._pending[index] for index in range(min(len(self._pending), 64))]
            try:
                sent = self._socket.sendmsg(some)
            except BlockingIOError:
                return
            while self._pending and sent >= len(self._pending[0]):
                sent -= len(self._pending.popleft())
            if sent:
                self._pending[0] = self._pending[0][sent:]
