"""The storage: `wren_template.objects` behind wren's contract, with wren's errors in the place of SQLite's."""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pluggy

from wren.errors import storage_errors
from wren.spi import Check, Feature, ObjectInfo, Storage
from wren.trials import try_storage
from wren.wire import Buffer, Handle
from wren_template.objects import Objects
from wren_template.options import TemplateOptions

hookimpl = pluggy.HookimplMarker("wren")


class TemplateStorage(Storage[TemplateOptions]):
    """Objects in one file, which workers on this machine open by its path."""

    name: ClassVar[str] = "template"
    options_type: ClassVar[type] = TemplateOptions
    features: ClassVar[Feature] = Feature.WORKER

    def __init__(self, options: TemplateOptions) -> None:
        super().__init__(replace(options, path=str(Path(options.path).absolute())))
        self._objects = Objects(self.options.path)

    @property
    def bucket(self) -> str:
        return self.options.bucket

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        data = b"".join(chunks)  # what the caller's chunks raise is the caller's own
        with _errors(bucket, key):
            self._objects.put(bucket, key, [data], if_absent=if_absent)

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        with _errors(bucket, key):
            return self._objects.get(bucket, key, start, stop, if_match=if_match)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        with _errors(bucket, prefix):
            found = self._objects.list(bucket, prefix, after)
        for each in found:
            yield ObjectInfo(*each)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        with _errors(bucket, key):
            return ObjectInfo(*self._objects.head(bucket, key))

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        with _errors(bucket, "several keys"):
            self._objects.delete(bucket, keys)

    def check(self) -> Iterator[Check]:
        """As every storage's; but one whose file is not there yet is tried beside it, as a check leaves nothing."""
        place = Path(self.options.path)
        if place.exists():
            return super().check()
        try:
            with tempfile.TemporaryDirectory(prefix="wren-template-", dir=place.parent) as folder:
                return iter(list(try_storage(TemplateStorage(replace(self.options, path=f"{folder}/objects.db")))))
        except OSError as error:
            cure = "set path in section [template] to a file in a directory that you may write to"
            return iter([Check("open", ok=False, detail=f"no file can be made: {error}", cure=cure)])

    def worker(self) -> Handle:
        return Handle("wren_template.objects:Objects", {"path": self.options.path})


def _errors(bucket: str, key: str) -> AbstractContextManager[None]:
    return storage_errors("template", bucket, key, sqlite3.Error)


@hookimpl
def wren_storage() -> type[TemplateStorage]:
    """The plugin."""
    return TemplateStorage
