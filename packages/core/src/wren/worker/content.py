"""What an object has in it, read in ranges: of one version of the object, several at the same time, never all of it.

What `wren.worker.objects` reads with.  Standard library only, for workers import it.
"""

import io
import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from wren.wire import Buffer
from wren.worker.ahead import read_ahead
from wren.worker.listing import ObjectInfo

__all__ = ["Content", "Get"]

FIRST: Final = 1 << 20  # bytes that are asked for before it is known how large an object is: of a small one all
BLOCK: Final = 8 << 20  # bytes of each request for a large one
THREADS: Final = 8  # requests for blocks at the same time
STREAMED: Final = 4 << 20  # bytes of each request for a stream, whose reader may want no more than some lines
STREAMS: Final = 4  # requests for a stream at the same time
BUFFER: Final = 64 << 10

Read: TypeAlias = Callable[[int, int], Buffer]  # bytes from a start to a stop of one version, all of them


class Get(Protocol):
    """Reads a range of one object; PreconditionFailed if it has another etag."""

    def __call__(self, start: int, stop: int, etag: str | None) -> Buffer: ...


class Content:
    """An object's content.  `name` is for people.

    Ranges are as those of slices: from `start`, which counts from the end where it is negative, to `stop`, or the end.
    Raises StorageError for one that begins behind the object's end, and PreconditionFailed for an object that is
    overwritten while it is read.
    """

    def __init__(self, name: str, get: Get, head: Callable[[], ObjectInfo]) -> None:
        self._name, self._get, self._head = name, get, head

    def read(self, start: int, stop: int | None) -> bytes:
        """All of a range: by one request where that is small."""
        blocks = self.blocks(start, stop)
        whole = next(blocks)
        more = next(blocks, None)
        if more is None:
            return bytes(whole)
        buffer = io.BytesIO()  # which gives its content away as it is: of a large object there is no second copy
        buffer.write(whole)
        del whole
        while more is not None:
            buffer.write(more)
            more = next(blocks, None)
        return buffer.getvalue()

    def blocks(self, start: int, stop: int | None) -> Iterator[Buffer]:
        """The same in pieces, one at least, of which those that come next are being fetched meanwhile."""
        if start >= 0:
            small = stop is not None and stop - start <= BLOCK
            until = stop if small and stop is not None else start + FIRST
            data = self._get(start, until, None)
            if small or len(data) < FIRST:
                if start and not data:
                    self._bounds(self._head().size, start, stop)
                yield data
                return
            del data  # of which version it was nobody has said
        info = self._head()
        first, last = self._bounds(info.size, start, stop)
        if first == last:
            yield b""
            return
        yield from _blocks(self._reader(info.etag), first, last, BLOCK, THREADS)

    def stream(self, start: int, stop: int | None) -> io.BufferedReader:
        """A range as a stream, which can be sought in."""
        info = self._head()
        return io.BufferedReader(_Stream(self._reader(info.etag), *self._bounds(info.size, start, stop)), BUFFER)

    def _bounds(self, size: int, start: int, stop: int | None) -> tuple[int, int]:
        if start > size:
            from wren.errors import StorageError

            raise StorageError(f"the range of {self._name} begins at {start}, and it has {size} bytes: begin before")
        first = max(0, size + start) if start < 0 else start
        return first, max(first, size if stop is None else min(stop, size))

    def _reader(self, etag: str) -> Read:
        return partial(_read, self._get, self._name, etag)


def _read(get: Get, name: str, etag: str, start: int, stop: int) -> Buffer:
    data = get(start, stop, etag)
    if len(data) != stop - start:
        from wren.errors import StorageError

        raise StorageError(f"{name} gave {len(data)} bytes of the {stop - start} from {start} on: read it again")
    return data


def _blocks(read: Read, start: int, stop: int, size: int, threads: int) -> Generator[Buffer, None, None]:
    ranges = [(at, min(at + size, stop)) for at in range(start, stop, size)]
    yield from read_ahead(lambda bounds: read(*bounds), ranges, len, threads)


class _Stream(io.RawIOBase):
    """Bytes `start` to `stop` of one version of an object.

    Its first request is a small one.  Who reads on has the next blocks fetched ahead of him; who seeks begins anew.
    What a request raises all later reads raise, too, until somebody says where to go on: a buffer above drops what it
    has when one fails, and to go on behind that would lose it.
    """

    def __init__(self, read: Read, start: int, stop: int) -> None:
        self._read, self._start, self._stop = read, start, stop
        self._at = start  # where to go on
        self._data = memoryview(b"")  # what was fetched and is not delivered
        self._ahead: Generator[Buffer, None, None] | None = None
        self._owner = os.getpid()  # whose threads fetch
        self._error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._checkClosed()
        target = memoryview(buffer).cast("B")
        self._fetch()
        count = min(len(target), len(self._data))
        target[:count] = self._data[:count]
        self._data = self._data[count:]
        self._at += count
        return count

    def readall(self) -> bytes:
        self._checkClosed()
        whole = io.BytesIO()
        while self._fetch():
            self._at += whole.write(self._data)
            self._data = memoryview(b"")
        return whole.getvalue()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._checkClosed()
        bases = {io.SEEK_SET: self._start, io.SEEK_CUR: self._at, io.SEEK_END: self._stop}
        if whence not in bases or bases[whence] + offset < self._start:
            raise ValueError(f"cannot seek by {offset} (whence is {whence}): before the beginning there is nothing")
        if whence != io.SEEK_CUR:
            self._error = None
        target = bases[whence] + offset
        skipped = target - self._at
        if 0 <= skipped <= len(self._data):
            self._data = self._data[skipped:]
        else:
            self._forget()
        self._at = target
        return target - self._start

    def tell(self) -> int:
        self._checkClosed()
        return self._at - self._start

    def close(self) -> None:
        self._forget()
        super().close()

    def _fetch(self) -> bool:
        """Whether there is something to deliver; what comes next is fetched if need be."""
        if self._error is not None:
            raise self._error
        if self._data or self._at >= self._stop:
            return bool(self._data)
        try:
            if self._ahead is not None and self._owner != os.getpid():  # no child of a fork has its parent's threads
                self._forget()
            if self._ahead is None:
                self._owner = os.getpid()
                until = min(self._at + FIRST, self._stop)
                self._data = memoryview(self._read(self._at, until))
                self._ahead = _blocks(self._read, until, self._stop, STREAMED, STREAMS)
            else:
                self._data = memoryview(next(self._ahead))
        except BaseException as error:
            self._forget()
            self._error = error
            raise
        return True

    def _forget(self) -> None:
        self._data = memoryview(b"")
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
