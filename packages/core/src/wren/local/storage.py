"""The localhost storage: a directory of this machine."""

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pluggy

from wren.errors import StorageError, storage_errors
from wren.local.options import LocalhostOptions
from wren.spi import Check, Feature, ObjectInfo, Storage
from wren.wire import Buffer, Handle

if TYPE_CHECKING:
    from wren.local.files import Files

hookimpl = pluggy.HookimplMarker("wren")


class LocalStorage(Storage[LocalhostOptions]):
    """Objects are files below `path`; workers on this machine open the same directory."""

    name: ClassVar[str] = "localhost"
    options_type: ClassVar[type] = LocalhostOptions
    features: ClassVar[Feature] = Feature.WORKER

    def __init__(self, options: LocalhostOptions) -> None:
        # Fixed here: the working directory may change, and another process may be told of it.
        super().__init__(replace(options, path=os.path.abspath(options.path)) if options.path else options)
        self._opened: Files | None = None

    @property
    def _files(self) -> "Files":
        if self._opened is None:  # not before something is stored
            from wren.local.files import Files

            self.options = replace(self.options, path=self.options.path or _private_directory())
            self._opened = Files(str(self.options.path))
        return self._opened

    @property
    def bucket(self) -> str:
        return self.options.bucket

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        failed: list[OSError] = []  # the caller's own, which says nothing of this storage

        def source() -> Iterator[Buffer]:
            try:
                yield from chunks
            except OSError as error:
                failed.append(error)
                raise

        try:
            with storage_errors("localhost", bucket, key):
                self._files.put(bucket, key, source(), if_absent=if_absent)
        except StorageError:
            if failed:
                raise failed[0] from None
            raise

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        with storage_errors("localhost", bucket, key):
            return self._files.get(bucket, key, start, stop, if_match=if_match)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        with storage_errors("localhost", bucket, prefix):
            yield from itertools.starmap(ObjectInfo, self._files.list(bucket, prefix, after))

    def head(self, bucket: str, key: str) -> ObjectInfo:
        with storage_errors("localhost", bucket, key):
            return ObjectInfo(*self._files.head(bucket, key))

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        with storage_errors("localhost", bucket, "several keys"):
            self._files.delete(bucket, keys)

    def check(self) -> Iterator[Check]:
        from wren.local.trial import try_directory

        return try_directory(self, self.options.path)

    def worker(self) -> Handle:
        return Handle("wren.local.files:Files", {"root": str(self._files.root)})


def _private_directory() -> str:
    """A directory of this user's own: in a shared temporary directory nobody else may put objects into it."""
    import tempfile

    path = os.path.join(tempfile.gettempdir(), f"wren-{os.getuid()}")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        stat = os.lstat(path)
        if stat.st_uid != os.getuid() or stat.st_mode & 0o077 or os.path.islink(path):
            raise StorageError(
                f"{path} is not a private directory of yours: remove it, or set path in section [localhost]"
            ) from None
    return path


@hookimpl
def wren_storage() -> type[LocalStorage]:
    """The plugin."""
    return LocalStorage
