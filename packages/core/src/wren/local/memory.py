"""The memory storage: objects in the client's process, for tests and for jobs that need nothing stored."""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pluggy

from wren.errors import NoSuchKey, PreconditionFailed, StorageError
from wren.spi import Feature, ObjectInfo, Storage
from wren.wire import Buffer

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """Section `[memory]` of the configuration."""

    bucket: str = "wren"


class _Object(NamedTuple):
    data: bytes
    info: ObjectInfo


class MemoryStorage(Storage[MemoryOptions]):
    """A dictionary behind the storage contract.  Workers cannot open it: it declares no Feature.WORKER."""

    name: ClassVar[str] = "memory"
    options_type: ClassVar[type] = MemoryOptions
    features: ClassVar[Feature] = Feature.NONE

    def __init__(self, options: MemoryOptions) -> None:
        super().__init__(options)
        self._objects: dict[tuple[str, str], _Object] = {}
        self._lock = threading.Lock()

    @property
    def bucket(self) -> str:
        return self.options.bucket

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        if not key:
            raise StorageError("an object's key cannot be empty")
        data = b"".join(chunks)
        info = ObjectInfo(key, len(data), time.time(), hashlib.sha256(data).hexdigest())
        with self._lock:
            if if_absent and (bucket, key) in self._objects:
                raise PreconditionFailed(f"the object {bucket}/{key} exists already")
            self._objects[bucket, key] = _Object(data, info)

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        found = self._find(bucket, key)
        if if_match is not None and found.info.etag != if_match:
            raise PreconditionFailed(f"the object {bucket}/{key} has changed meanwhile")
        return found.data[start:stop]

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            keys = [key for place, key in self._objects if place == bucket and key.startswith(prefix) and key > after]
            found = [self._objects[bucket, key].info for key in sorted(keys, key=str.encode)]
        yield from found

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._find(bucket, key).info

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self._objects.pop((bucket, key), None)

    def _find(self, bucket: str, key: str) -> _Object:
        with self._lock:
            found = self._objects.get((bucket, key))
        if found is None:
            raise NoSuchKey(f"no object {bucket}/{key} in the memory storage")
        return found


@hookimpl
def wren_storage() -> type[MemoryStorage]:
    """The plugin."""
    return MemoryStorage
