"""What a function gets for `obj` and `url`: a part of an object, of a file, or of what a URL gives.

It is a description that travels with the arguments; the data is read where the function asks for it.
"""

import io
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from wren.wire import Buffer
from wren.worker.lines import Lines, Read
from wren.worker.nested import process

_BUFFER: Final = 1 << 16
AHEAD: Final = 2  # blocks that are read while the function is at work on one

__all__ = ["LocalFile", "Partition", "Source", "StorageObject", "Whole", "file_etag"]


class Whole(Protocol):
    """Data that can only be read from its beginning to its end."""

    @property
    def size(self) -> int:
        """0: it is not known."""

    @property
    def shown(self) -> str:
        """Its name for people."""

    def stream(self) -> io.RawIOBase:
        """All of it."""


@runtime_checkable
class Source(Protocol):
    """Where data is that can be read in ranges."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def shown(self) -> str:
        """Its name for people."""

    def opened(self) -> tuple[Read, Callable[[], None]]:
        """What reads a range of it, and what closes that.  What it raises says that the data has changed."""


class StorageObject(NamedTuple):
    """An object of the executor's storage."""

    bucket: str
    key: str
    size: int
    etag: str

    @property
    def shown(self) -> str:
        return f"{self.bucket}/{self.key}"

    def opened(self) -> tuple[Read, Callable[[], None]]:
        """As `Source`."""
        if process.storage is None:
            raise ValueError(f"the object {self.shown} can only be read where its storage is open: in a call")
        get: Callable[..., Buffer] = process.storage().get_range

        def read(start: int, stop: int) -> Buffer:
            data = get(self.bucket, self.key, start, stop, self.etag)
            if len(data) != stop - start:
                from wren.errors import StorageError

                raise StorageError(
                    f"of the object {self.shown} {len(data)} bytes came for {start} to {stop}: it is said "
                    f"to have {self.size}"
                )
            return data

        return read, _nothing


class LocalFile(NamedTuple):
    """A file of the machine that the workers run on."""

    path: str
    size: int
    etag: str

    @property
    def shown(self) -> str:
        return self.path

    def opened(self) -> tuple[Read, Callable[[], None]]:
        """As `Source`."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            from wren.errors import NoSuchKey, StorageError

            kind = NoSuchKey if isinstance(error, FileNotFoundError) else StorageError
            raise kind(f"the file {self.path} can be read no more: {error.strerror}") from error

        def read(start: int, stop: int) -> bytes:
            data = os.pread(fd, stop - start, start)
            if len(data) != stop - start or file_etag(os.fstat(fd)) != self.etag:
                from wren.errors import PreconditionFailed

                raise PreconditionFailed(f"the file {self.path} has changed since it was mapped over")
            return data

        return read, lambda: os.close(fd)


class Partition:
    """A part of an object, whose lines begin in `data_byte_range`; `chunk_size`: how many bytes that is.

    `data_stream` is a binary stream of the part's lines: each line is in the part that its first byte is in, and all
    parts together are the object.  The attributes of an object are `bucket` and `key`, of a file and a URL `path`.
    """

    __slots__ = ("_source", "_stream", "data_byte_range", "part", "total_parts")

    def __init__(self, source: Source | Whole, part: int, total_parts: int, start: int, stop: int) -> None:
        self._source = source
        self.part, self.total_parts = part, total_parts
        self.data_byte_range = start, stop
        self._stream: io.BufferedReader | None = None

    @property
    def bucket(self) -> str:
        """The bucket of an object."""
        bucket: str = self._of("bucket")
        return bucket

    @property
    def key(self) -> str:
        """The key of an object."""
        key: str = self._of("key")
        return key

    @property
    def path(self) -> str:
        """The path of a file, or the URL."""
        path: str = self._of("path")
        return path

    @property
    def chunk_size(self) -> int:
        """Bytes in `data_byte_range`."""
        start, stop = self.data_byte_range
        return stop - start

    @property
    def data_stream(self) -> io.BufferedReader:
        """The part as a stream, opened when it is first asked for, and closed with it."""
        if self._stream is None:
            if isinstance(self._source, Source):
                read, close = self._source.opened()
                # What a file gives is read ahead by the system.
                ahead = 0 if isinstance(self._source, LocalFile) else AHEAD
                raw: io.RawIOBase = _Part(read, close, self._source.size, *self.data_byte_range, ahead=ahead)
            else:
                raw = self._source.stream()
            self._stream = io.BufferedReader(raw, _BUFFER)
        return self._stream

    def _of(self, name: str) -> Any:
        try:
            return getattr(self._source, name)
        except AttributeError:
            raise AttributeError(f"{self!r} has no {name}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Partition, (self._source, self.part, self.total_parts, *self.data_byte_range)

    def __repr__(self) -> str:
        start, stop = self.data_byte_range
        return f"<part {self.part} of {self.total_parts} of {self._source.shown}, bytes {start} to {stop}>"


class _Part(Lines):
    """Lines that close what they are read from."""

    def __init__(self, read: Read, close: Callable[[], None], size: int, start: int, stop: int, *, ahead: int) -> None:
        super().__init__(read, size, start, stop, ahead=ahead)
        self._close = close

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()


def file_etag(stat: os.stat_result) -> str:
    """What tells two versions of a file apart."""
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _nothing() -> None:
    """There is nothing to close."""
