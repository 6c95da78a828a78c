"""A part of an object as a stream of whole lines: each line belongs to the part that its first byte is in."""

import io
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

__all__ = ["Lines", "Read"]

Read: TypeAlias = Callable[[int, int], bytes]  # bytes from a start to a stop: all of them, or it raises

BLOCK: Final = 8 << 20  # bytes asked for at once
TAIL: Final = 16 << 10  # bytes asked for behind the part, where its last line ends; then twice as many each time


class Lines(io.RawIOBase):
    """The lines that begin at `start` or behind it and before `stop`, of an object of `size` bytes.

    Parts that cover the object put together are the object, whatever is in it.  No more than two blocks of it are held:
    with `ahead` the next one comes, in a thread of its own, while the caller is at work on what it has.
    """

    def __init__(
        self, read: Read, size: int, start: int, stop: int, block: int = BLOCK, *, ahead: bool = False
    ) -> None:
        self._read, self._size, self._stop = read, size, stop
        self._block, self._tail = block, min(block, TAIL)
        self._data = memoryview(b"")  # what was read and is not delivered
        self._within = start == 0  # a line of this part was found: else the byte before `start` may end the one before
        self._next = max(0, start - 1)  # where to read on
        self._over = start >= stop
        self._ahead = ahead
        self._coming: _Coming | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._checkClosed()
        target = memoryview(buffer).cast("B")
        while not self._data and not self._over:
            self._fetch()
        count = min(len(target), len(self._data))
        target[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def readall(self) -> bytes:
        """All that is left: RawIOBase's own would copy it in small pieces."""
        self._checkClosed()
        blocks = [self._data]
        while not self._over:
            self._fetch()
            blocks.append(self._data)
        self._data = memoryview(b"")
        return b"".join(blocks)

    def _fetch(self) -> None:
        """Read on: what of it are lines of this part."""
        if self._coming is None:
            start, stop = self._range()
            data = self._read(start, stop)
        else:
            coming, self._coming = self._coming, None
            start, stop, data = coming.start, coming.stop, coming.data()
        self._next = stop
        begin, end = 0, len(data)
        if not self._within:
            begin = data.find(b"\n", 0, max(0, self._stop - 1 - start)) + 1  # one at the last byte begins the next part
            self._within = begin > 0
            self._over = not self._within and stop >= self._stop - 1
        if not self._within:
            return
        if stop >= self._stop:
            end = data.find(b"\n", max(0, self._stop - 1 - start)) + 1
            self._over = end > 0 or stop >= self._size
        self._data = memoryview(data)[begin : end or len(data)]
        if self._ahead and not self._over and stop < self._stop:
            self._coming = _Coming(self._read, *self._range())

    def _range(self) -> tuple[int, int]:
        """What to read next.  The last block has some bytes of the next part, for the line that ends there."""
        start, tail = self._next, self._tail
        if start >= self._stop:
            self._tail = min(2 * tail, self._block)
            return start, min(start + tail, self._size)
        stop = min(self._stop + tail, self._size)
        return start, stop if stop - start <= self._block + 2 * tail else start + self._block


class _Coming:
    """A range that is being read."""

    def __init__(self, read: Read, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self._data = b""
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(read,), name="wren-read-ahead", daemon=True)
        self._thread.start()

    def _run(self, read: Read) -> None:
        try:
            self._data = read(self.start, self.stop)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the reader's
            self._error = error

    def data(self) -> bytes:
        """What was read; waits for it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._data
