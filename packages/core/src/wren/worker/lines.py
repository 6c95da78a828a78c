"""A part of an object as a stream of whole lines: each line belongs to the part that its first byte is in."""

import io
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from wren.wire import Buffer

__all__ = ["Lines", "Read"]

Read: TypeAlias = Callable[[int, int], Buffer]  # bytes from a start to a stop: all of them, or it raises

BLOCK: Final = 4 << 20  # bytes asked for at once; of larger ones the copies cost twice as much
_PIECE: Final = 64 << 10
TAIL: Final = 16 << 10  # bytes asked for behind the part, where its last line ends; then twice as many each time


class Lines(io.RawIOBase):
    """The lines that begin at `start` or behind it and before `stop`, of an object of `size` bytes.

    Parts that cover the object put together are the object, whatever is in it.  No more than a block of it is held, and
    as many as `ahead` says, which come in threads of their own while the caller is at work on what it has.

    What a read raises all later ones raise, too: a buffer above drops what it has when one fails, and to go on behind
    that would lose it.
    """

    def __init__(self, read: Read, size: int, start: int, stop: int, block: int = BLOCK, *, ahead: int = 0) -> None:
        self._read, self._size, self._stop = read, size, stop
        self._block, self._tail = block, min(block, TAIL)
        self._data = memoryview(b"")  # what was read and is not delivered
        self._within = start == 0  # a line of this part was found: else the byte before `start` may end the one before
        self._next = max(0, start - 1)  # where to read on
        self._over = start >= stop
        self._ahead = ahead
        self._coming: deque[_Coming] = deque()
        self._error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._coming.clear()
        super().close()

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
        start, stop, data = self._block_of()
        begin, end = 0, len(data)
        if not self._within:
            begin = _find(data, 0, max(0, self._stop - 1 - start)) + 1  # one at the last byte begins the next part
            self._within = begin > 0
            self._over = not self._within and stop >= self._stop - 1
        if not self._within:
            return
        if stop >= self._stop:
            end = _find(data, max(0, self._stop - 1 - start), len(data)) + 1
            self._over = end > 0 or stop >= self._size
        self._data = memoryview(data)[begin : end or len(data)]
        # Behind the part it is not known how far to read.
        while len(self._coming) < self._ahead and self._next < self._stop and not self._over:
            self._coming.append(_Coming(self._read, *self._range()))

    def _block_of(self) -> tuple[int, int, Buffer]:
        """What comes next: from where, to where, and the bytes."""
        if self._error is not None:
            raise self._error
        coming = self._coming.popleft() if self._coming else None
        start, stop = self._range() if coming is None else (coming.start, coming.stop)
        try:
            return start, stop, self._read(start, stop) if coming is None else coming.data()
        except BaseException as error:
            self._error, self._data = error, memoryview(b"")
            self._coming.clear()
            raise

    def _range(self) -> tuple[int, int]:
        """What to ask for next.  The last block has some bytes of the next part, for the line that ends there."""
        start, tail = self._next, self._tail
        if start < self._stop:
            stop = min(self._stop + tail, self._size)
            stop = stop if stop - start <= self._block + 2 * tail else start + self._block
        else:
            self._tail = min(2 * tail, self._block)
            stop = min(start + tail, self._size)
        self._next = stop
        return start, stop


def _find(data: Buffer, start: int, stop: int) -> int:
    """Where a line ends between the two, -1 if none does."""
    if isinstance(data, memoryview):  # which finds nothing: in pieces, for most lines are short
        for at in range(start, stop, _PIECE):
            found = bytes(data[at : min(at + _PIECE, stop)]).find(b"\n")
            if found >= 0:
                return at + found
        return -1
    return data.find(b"\n", start, stop)


class _Coming:
    """A range that is being read."""

    def __init__(self, read: Read, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self._read = read
        self._data: Buffer | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="wren-read-ahead", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system gives no more, or the interpreter is about to end
            self._thread = None

    def _run(self) -> None:
        try:
            self._data = self._read(self.start, self.stop)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the reader's
            self._error = error

    def data(self) -> Buffer:
        """What was read; waits for it."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        # Nothing: there was no thread, or it is a parent's, whose threads no child of a fork has.
        return self._read(self.start, self.stop) if self._data is None else self._data
