"""Objects as files: the localhost storage on both sides.  Standard library only, for workers import it.

A key's folders are directories whose names end in `@`, so that `a` and `a/b` can both be objects; everything that is
special in a name is percent-encoded, so that no key can leave the directory.
"""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias
from urllib.parse import quote, unquote

from wren.wire import Buffer

Listing: TypeAlias = tuple[str, int, float, str]  # key, size, mtime, etag: a `wren.spi.ObjectInfo`'s fields

_SAFE: Final = " !#$&'()+,;=[]^{}~"  # of what quote() would encode, but a file name may have
ROUNDS: Final = 100  # how often directories are made before they count as impossible to make


class Files:
    """Buckets and keys below a directory.  A missing object is FileNotFoundError."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def path(self, bucket: str, key: str) -> Path:
        """Where an object lies."""
        *folders, name = key.split("/")
        return self.root.joinpath(_name(bucket), *(_name(folder) + "@" for folder in folders), _name(name) or "%")

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        """Write an object; FileExistsError with `if_absent` when it is there."""
        if not key:
            raise OSError(errno.EINVAL, "an object's key cannot be empty")
        path = self.path(bucket, key)
        temporary = path.with_name(f"@{os.urandom(8).hex()}")
        with _create(temporary) as file:
            try:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                (os.link if if_absent else os.replace)(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)  # after a replace it is the object

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        """Bytes `start` to `stop` of an object; PreconditionFailed when `if_match` is not its etag."""
        with self.path(bucket, key).open("rb") as file:
            if if_match is not None and _etag(os.fstat(file.fileno())) != if_match:
                from wren.errors import PreconditionFailed

                raise PreconditionFailed(f"the object {bucket}/{key} has changed meanwhile")
            file.seek(start)
            return file.read(-1 if stop is None else max(0, stop - start))

    def head(self, bucket: str, key: str) -> Listing:
        """One object's listing."""
        return _listing(key, self.path(bucket, key).stat())

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects, and the directories that they leave empty."""
        top = self.root / _name(bucket)
        for key in keys:
            path = self.path(bucket, key)
            path.unlink(missing_ok=True)
            for parent in itertools.takewhile(lambda folder: folder != top, path.parents):
                try:
                    parent.rmdir()
                except OSError:  # not empty, or gone already
                    break

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listing]:
        """The objects below a prefix, in key order."""
        *folders, _ = prefix.split("/")
        top = self.root.joinpath(_name(bucket), *(_name(folder) + "@" for folder in folders))
        found = _walk(top, "".join(folder + "/" for folder in folders))
        keys = sorted((key.encode(), path) for key, path in found if key.startswith(prefix) and key > after)
        for key, path in keys:
            try:
                yield _listing(key.decode(), path.stat())
            except FileNotFoundError:  # removed meanwhile
                continue


def _listing(key: str, stat: os.stat_result) -> Listing:
    return key, stat.st_size, stat.st_mtime, _etag(stat)


def _etag(stat: os.stat_result) -> str:
    """What tells two versions of an object apart."""
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _create(path: Path) -> BinaryIO:
    """A new file, and the directories above it; others may be removing those, as they are empty, at the same time."""
    for _ in range(ROUNDS):
        with contextlib.suppress(FileNotFoundError):
            return path.open("xb")
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            _make(path.parent)
    raise OSError(errno.ENOTDIR, "the directory cannot be made", str(path.parent))


def _make(folder: Path) -> None:
    """A directory that is the user's alone, and so are those above it that are not there yet."""
    try:
        folder.mkdir(0o700)
    except FileNotFoundError:  # pathlib's `parents` would let everybody into all but the last one
        if folder.parent == folder:
            raise
        with contextlib.suppress(FileExistsError):
            _make(folder.parent)
        folder.mkdir(0o700)


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.endswith("@"):
            yield from _walk(Path(entry.path), f"{prefix}{unquote(entry.name[:-1])}/")
        elif not entry.name.startswith("@"):  # a file that is being written
            yield prefix + ("" if entry.name == "%" else unquote(entry.name)), Path(entry.path)


def _name(part: str) -> str:
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe=_SAFE)
