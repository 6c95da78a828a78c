"""A part of an object as a stream of whole lines: each line belongs to the part that its first byte is in."""

import io
from collections.abc import Callable
from typing import Any, Final, TypeAlias

__all__ = ["Lines", "Read"]

Read: TypeAlias = Callable[[int, int], bytes]  # bytes from a start to a stop, all of them

BLOCK: Final = 8 << 20  # bytes asked for at once
TAIL: Final = 64 << 10  # bytes asked for at first behind the part, where its last line ends


class Lines(io.RawIOBase):
    """The lines that begin at `start` or behind it and before `stop`, of an object of `size` bytes.

    Parts that cover the object put together are the object, whatever is in it.  No more than a block of it is held.
    """

    def __init__(self, read: Read, size: int, start: int, stop: int, block: int = BLOCK) -> None:
        self._read, self._size, self._start, self._stop = read, size, start, stop
        self._block, self._tail = block, min(block, TAIL)
        self._data = memoryview(b"")  # what was read and is not delivered
        self._next = start  # where to read on
        self._begun = self._over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._checkClosed()
        target = memoryview(buffer).cast("B")
        if not self._begun:
            self._begun = True
            self._begin()
        while not self._data and not self._over:
            self._fetch()
        count = min(len(target), len(self._data))
        target[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def _begin(self) -> None:
        """Find the first line: behind the first newline at or before `start`."""
        if self._start == 0:
            self._over = self._stop <= 0
            return
        at, last = self._start - 1, self._stop - 1  # a newline at `last` would begin a line of the next part
        while at < last:
            data = self._read(at, min(at + self._block, last))
            found = data.find(b"\n")
            at += len(data) if found < 0 else found + 1
            if found >= 0:
                self._data = memoryview(data)[found + 1 :]
                self._next = at + len(self._data)
                return
        self._over = True

    def _fetch(self) -> None:
        """Read on: to `stop`, and behind it to the end of the line that reaches there."""
        at = self._next
        if at < self._stop:
            until = min(at + self._block, self._stop)
        else:
            until = min(at + self._tail, self._size)
            self._tail = min(2 * self._tail, self._block)
        if at >= until:
            self._over = True
            return
        data = self._read(at, until)
        self._next = at + len(data)
        if self._next >= self._stop:
            found = data.find(b"\n", max(0, self._stop - 1 - at))
            if found >= 0:
                data = data[: found + 1]
                self._over = True
            elif self._next >= self._size:
                self._over = True
        self._data = memoryview(data)
