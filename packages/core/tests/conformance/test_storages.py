"""wren's own storages pass the conformance kit as a stranger's do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from wren.local.memory import MemoryStorage, _Object
from wren.local.storage import LocalStorage
from wren.spi import ObjectInfo, Storage
from wren.testing import StorageConformance


class TestLocalStorage(StorageConformance):
    plugin = LocalStorage

    @pytest.fixture
    def options(self, tmp_path: Path) -> Mapping[str, Any]:
        self.root = tmp_path / "objects"
        return {"path": str(self.root), "bucket": "wren", "workers": 3}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"path": "/proc/wren-nowhere"}

    def file(self, bucket: str, key: str) -> Path:
        *folders, name = key.split("/")
        return self.root.joinpath(bucket, *(f"{folder}@" for folder in folders), name)

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        self.file(bucket, key).parent.mkdir(parents=True, exist_ok=True)
        self.file(bucket, key).write_bytes(data)

    def raw_get(self, bucket: str, key: str) -> bytes:
        return self.file(bucket, key).read_bytes()


class TestMemoryStorage(StorageConformance):
    plugin = MemoryStorage
    xfails: ClassVar[Mapping[str, str]] = {
        "test_a_large_object_is_streamed": "memory is where this storage has its objects",
    }

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {"bucket": "mine"}

    @pytest.fixture(autouse=True)
    def objects(self, storage: Storage[Any]) -> None:
        assert isinstance(storage, MemoryStorage)
        self.stored = storage._objects

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        self.stored[bucket, key] = _Object(data, ObjectInfo(key, len(data), 0.0, "raw"))

    def raw_get(self, bucket: str, key: str) -> bytes:
        return self.stored[bucket, key].data
