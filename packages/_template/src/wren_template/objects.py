"""Objects in an SQLite file, for both sides: workers open it, too, so it needs the standard library only."""

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from wren.wire import Buffer

LARGEST: Final = 2**31 - 1  # bytes that SQLite can keep in an object
_SETUP: Final = (
    "CREATE TABLE IF NOT EXISTS objects (bucket, key CHECK (key <> ''), data, mtime, etag, PRIMARY KEY (bucket, key))"
)


class Objects:
    """One table, opened anew for each request: SQLite sees to threads, processes and crashes."""

    def __init__(self, path: str) -> None:
        self._path = path

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        """Write an object; FileExistsError with `if_absent` when there is one."""
        row = (bucket, key, b"".join(chunks), time.time(), uuid.uuid4().hex)
        with self._open() as database:
            how = "IGNORE" if if_absent else "REPLACE"
            if not database.execute(f"INSERT OR {how} INTO objects VALUES (?, ?, ?, ?, ?)", row).rowcount:
                raise FileExistsError(key)

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        """Bytes of an object; FileNotFoundError, or PreconditionFailed when `if_match` is not its etag."""
        size = max(0, stop - start) if stop is not None else LARGEST
        query = "SELECT substr(data, ?, ?), etag FROM objects WHERE bucket = ? AND key = ?"
        with self._open() as database:
            row = database.execute(query, (start + 1, size, bucket, key)).fetchone()
        if row is None:
            raise FileNotFoundError(key)
        if if_match is not None and row[1] != if_match:
            from wren.errors import PreconditionFailed

            raise PreconditionFailed(f"the object {bucket}/{key} has changed meanwhile")
        return row[0] or b""  # SQLite has no part of nothing

    def list(self, bucket: str, prefix: str = "", after: str = "") -> list[tuple[str, int, float, str]]:
        """Key, size, mtime and etag of each object whose key begins so and sorts behind `after`, by their bytes."""
        query = "SELECT key, length(data), mtime, etag FROM objects WHERE bucket = ? AND key > ?"
        with self._open() as database:
            rows = database.execute(
                f"{query} AND substr(key, 1, ?) = ? ORDER BY key", (bucket, after, len(prefix), prefix)
            )
            return rows.fetchall()

    def head(self, bucket: str, key: str) -> tuple[str, int, float, str]:
        """The same of one object; FileNotFoundError."""
        for found in self.list(bucket, key):  # it sorts before all that begin so
            if found[0] == key:
                return found
            break
        raise FileNotFoundError(key)

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove those of them that are there."""
        with self._open() as database:
            database.executemany("DELETE FROM objects WHERE bucket = ? AND key = ?", ((bucket, key) for key in keys))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=60)
        try:
            database.execute("PRAGMA synchronous = OFF")  # what is lost with the power runs again
            database.execute(_SETUP)
            with database:
                yield database
        finally:
            database.close()
