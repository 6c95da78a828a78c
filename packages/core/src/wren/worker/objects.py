"""What users see of a storage, the same in a program and in its functions: objects, files, and objects without a name.

It is built on primitives that each storage has on both sides.  Standard library only, for workers import it.
"""

import io
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn, Protocol, TypeAlias

from wren.wire import Buffer
from wren.worker.lines import Lines

__all__ = ["CloudObject", "ObjectInfo", "Objects"]

BLOCK: Final = 8 << 20  # bytes that are moved at once
THREADS: Final = 8  # ranges of a file that are fetched at the same time
TEMPORARY: Final = "wren.objects"  # the prefix of objects that were given no key

Body: TypeAlias = Buffer | str | BinaryIO | Iterable[Buffer]
Range: TypeAlias = tuple[int, int | None]


class ObjectInfo(NamedTuple):
    """An object as it is listed; `mtime` in epoch seconds."""

    key: str
    size: int
    mtime: float
    etag: str


class CloudObject(NamedTuple):
    """Where an object is; to be returned by functions and given to others."""

    backend: str  # the storage's name
    bucket: str
    key: str


class Primitives(Protocol):
    """Of a storage what is needed here: of `wren.spi.Storage`, or a worker's half of one."""

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer]) -> None: ...

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes: ...

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterable[tuple[Any, ...]]: ...

    def delete(self, bucket: str, keys: Iterable[str]) -> None: ...


class Objects:
    """Objects of a storage.  Every method raises `wren.errors.StorageError`, and NoSuchKey where there is no object."""

    def __init__(self, primitives: Primitives, name: str, bucket: str) -> None:
        self._primitives, self._name = primitives, name
        self.bucket = bucket  # the one that the executor uses itself

    # ---- objects

    def put_object(self, bucket: str, key: str, body: Body) -> None:
        """Write an object, wholly or not at all, in the place of one that is there.

        `body`: bytes, text, which is encoded as UTF-8, a binary file, which is read from where it is, or chunks.
        """
        self._primitives.put(bucket, key, _chunks(body, f"{bucket}/{key}"))

    def get_object(
        self,
        bucket: str,
        key: str,
        stream: bool = False,
        range: Range | None = None,
    ) -> Any:
        """The content of an object: bytes, or with `stream` a binary stream that holds a block of it at a time.

        `range`: from which byte to which, the last left out; None for the end.
        """
        if stream:
            return io.BufferedReader(_Stream(self._opened(bucket, key), range), 1 << 16)
        start, stop = range or (0, None)
        return self._get(bucket, key, start, stop)

    def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """Size, time and etag of an object."""
        found = next(iter(self._primitives.list(bucket, key)), None)  # in order: the key itself comes first
        if found is None or found[0] != key:
            _missing(bucket, key)
        return ObjectInfo(*found)

    def delete_object(self, bucket: str, key: str) -> None:
        """Remove an object; no error if there is none."""
        self._primitives.delete(bucket, [key])

    def delete_objects(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        self._primitives.delete(bucket, keys)

    def list_objects(self, bucket: str, prefix: str = "") -> list[ObjectInfo]:
        """The objects whose keys begin so, in the order of their keys."""
        return [ObjectInfo(*found) for found in self._primitives.list(bucket, prefix)]

    def list_keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Their keys."""
        return [found[0] for found in self._primitives.list(bucket, prefix)]

    # ---- files

    def upload_file(self, path: str | os.PathLike[str], bucket: str, key: str | None = None) -> None:
        """Write a file's content as an object, by default under the file's name."""
        with Path(path).open("rb") as file:
            self.put_object(bucket, key or Path(path).name, file)

    def download_file(self, bucket: str, key: str, path: str | os.PathLike[str] | None = None) -> None:
        """Write an object's content into a file, by default of the key's last part here; wholly or not at all."""
        target = Path(path or key.rpartition("/")[2])
        source = self._opened(bucket, key)
        temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
        try:
            with temporary.open("xb") as file, ThreadPoolExecutor(THREADS) as threads:
                starts = range(0, source.size, BLOCK)
                fetch = partial(_fetch, source.read, source.size, file.fileno())
                for _ in threads.map(fetch, starts):
                    pass
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    # ---- objects without a name

    def put_cloudobject(self, body: Body, bucket: str | None = None, key: str | None = None) -> CloudObject:
        """Write an object, by default under a new key in the executor's bucket, and say where it is."""
        made = CloudObject(self._name, bucket or self.bucket, key or f"{TEMPORARY}/{os.urandom(16).hex()}")
        self.put_object(made.bucket, made.key, body)
        return made

    def get_cloudobject(self, cloudobject: CloudObject, stream: bool = False) -> Any:
        """As `get_object`."""
        self._check(cloudobject)
        return self.get_object(cloudobject.bucket, cloudobject.key, stream)

    def delete_cloudobject(self, cloudobject: CloudObject) -> None:
        """Remove one."""
        self.delete_cloudobjects([cloudobject])

    def delete_cloudobjects(self, cloudobjects: Iterable[CloudObject]) -> None:
        """Remove them; those that are not there are no error."""
        keys: dict[str, list[str]] = {}
        for each in cloudobjects:
            self._check(each)
            keys.setdefault(each.bucket, []).append(each.key)
        for bucket, some in keys.items():
            self._primitives.delete(bucket, some)

    put_cobject, get_cobject = put_cloudobject, get_cloudobject
    delete_cobject, delete_cobjects = delete_cloudobject, delete_cloudobjects

    def __repr__(self) -> str:
        return f"<wren.Storage {self._name}, {self.bucket}>"

    # ---- what they share

    def get_range(self, bucket: str, key: str, start: int, stop: int | None, etag: str | None) -> bytes:
        """Bytes of an object; PreconditionFailed if it has another etag."""
        return self._get(bucket, key, start, stop, etag)

    def _get(self, bucket: str, key: str, start: int, stop: int | None, etag: str | None = None) -> bytes:
        try:
            return self._primitives.get(bucket, key, start, stop, if_match=etag)
        except FileNotFoundError:
            _missing(bucket, key)

    def _opened(self, bucket: str, key: str) -> "_Opened":
        """An object as it is now: what is read of it later is of the same one, or PreconditionFailed."""
        info = self.head_object(bucket, key)
        return _Opened(info.size, lambda start, stop: self._get(bucket, key, start, stop, info.etag))

    def _check(self, cloudobject: CloudObject) -> None:
        if cloudobject.backend != self._name:
            from wren.errors import StorageError

            raise StorageError(f"{cloudobject} is in another storage than {self._name}: open that one")


class _Opened(NamedTuple):
    size: int
    read: Callable[[int, int], bytes]


class _Stream(Lines):
    """A range of an object."""

    def __init__(self, source: _Opened, given: Range | None) -> None:
        start, stop = given or (0, None)
        stop = source.size if stop is None else min(stop, source.size)
        start = min(start, stop)
        # Of the range alone the first line begins where it does, and the last ends there.
        super().__init__(lambda first, last: source.read(start + first, start + last), stop - start, 0, stop - start)


def _fetch(read: Callable[[int, int], bytes], size: int, fd: int, start: int) -> None:
    data = memoryview(read(start, min(start + BLOCK, size)))
    while data:
        written = os.pwrite(fd, data, start)
        data, start = data[written:], start + written


def _chunks(body: Any, name: str) -> Iterable[Buffer]:
    if isinstance(body, str):
        return [body.encode()]
    if isinstance(body, bytes | bytearray | memoryview):
        return [body]
    if hasattr(body, "read"):
        return iter(partial(_some, body, name), b"")
    if isinstance(body, Iterable) and not isinstance(body, Mapping):
        return map(partial(_whole, name), body)
    raise TypeError(
        f"what is to be put into {name} is of type {type(body).__name__}: give bytes, text or a binary file"
    )


def _some(file: Any, name: str) -> Buffer:
    return _whole(name, file.read(BLOCK))


def _whole(name: str, chunk: Any) -> Buffer:
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise TypeError(f"a part of what is to be put into {name} is of type {type(chunk).__name__}: give bytes")
    return chunk


def _missing(bucket: str, key: str) -> NoReturn:
    from wren.errors import NoSuchKey

    raise NoSuchKey(f"there is no object {bucket}/{key}") from None
