"""wren's conformance kit over the plugin: what an author writes is fixtures."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from wren.spi import Compute, Storage
from wren.testing import ComputeConformance, StorageConformance
from wren_template.compute import TemplateCompute
from wren_template.storage import TemplateStorage


class TestCompute(ComputeConformance):
    plugin: ClassVar[type[Compute[Any]]] = TemplateCompute
    storage_name: ClassVar[str] = "template"

    @pytest.fixture
    def options(self, tmp_path: Path) -> Mapping[str, Any]:
        return {"path": str(tmp_path / "objects.db"), "idle_exit": 5.0}

    @pytest.fixture
    def storage_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return options


class TestStorage(StorageConformance):
    plugin: ClassVar[type[Storage[Any]]] = TemplateStorage
    xfails: ClassVar[Mapping[str, str]] = {
        "test_a_large_object_is_streamed": "SQLite takes an object as a whole",
    }

    @pytest.fixture
    def options(self, tmp_path: Path) -> Mapping[str, Any]:
        self.file = tmp_path / "objects.db"
        return {"path": str(self.file)}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"path": "/nonexistent/objects.db"}

    def test_check_makes_no_file(self, options: Mapping[str, Any]) -> None:
        assert self.checked(options)
        assert list(self.file.parent.iterdir()) == []

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        with closing(sqlite3.connect(self.file)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS objects (bucket, key, data, mtime, etag, PRIMARY KEY (bucket, key))"
            )
            database.execute("REPLACE INTO objects VALUES (?, ?, ?, 0.0, 'raw')", (bucket, key, data))

    def raw_get(self, bucket: str, key: str) -> bytes:
        with closing(sqlite3.connect(self.file)) as database:
            row = database.execute("SELECT data FROM objects WHERE bucket = ? AND key = ?", (bucket, key)).fetchone()
        return bytes(row[0])
