"""What the localhost storage's `check()` tries besides an object: directories that were not there are removed again."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from wren.local.files import Files
from wren.spi import Check, Storage
from wren.trials import try_storage

__all__ = ["ROOM", "try_directory"]

ROOM: Final = 256 << 20  # bytes that should be free where objects are, or what is temporary


def try_directory(storage: Storage[Any], path: str) -> Iterator[Check]:
    """Try the storage whose objects are below `path`; empty: below a directory of the user's own, which stays."""
    if not path:
        return try_storage(storage)
    top = Files(path).path(storage.bucket, "object").parent
    missing = list(takewhile(lambda folder: not os.path.exists(folder), (top, *top.parents)))
    checks = list(try_storage(storage))
    if all(check.ok for check in checks):
        checks.append(_room(path))
    for folder in missing:
        with contextlib.suppress(OSError):  # it was never made, or somebody has put something there meanwhile
            folder.rmdir()
    return iter(checks)


def _room(path: str) -> Check:
    free = _free(Path(path))
    cure = "free some space, or set path in section [localhost] to a directory that has some"
    return Check("space", free >= ROOM, f"{free / 2**30:,.1f} GiB are free in {path}", cure, warning=free < ROOM)


def _free(folder: Path) -> int:
    """Bytes free there, or above it: another check may have removed a directory again that was not there before."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            return shutil.disk_usage(each).free
    return 0
