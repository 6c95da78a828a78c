"""Modules that come with a function: unpacked once in each container, and imported from there.

A folder that only this user can write to has one for each archive, called by the archive's hash.  It appears whole or
not at all, so that any number of processes may unpack the same at the same time.  The file system may be read-only but
for one place, /tmp or /dev/shm.
"""

import contextlib
import importlib
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from wren.wire import Blob, Buffer

PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm")  # where a folder of this user's is looked for, after TMPDIR
KEPT: Final = 7 * 86_400.0  # seconds that an archive's modules are kept after a process has last begun to use them


def take_in(blob: Blob, fetch: Callable[[], Buffer]) -> None:
    """Have the modules of an archive importable, before any others; `fetch` gets the archive where it is not there yet.

    Raises what `fetch` raises, and OSError where no folder can be written to.
    """
    places = filter(None, (os.environ.get("TMPDIR"), *PLACES))
    folders = [os.path.join(place, f"wren-modules-{os.getuid()}") for place in places]
    there = (os.path.join(folder, blob.id) for folder in folders if _is_private(folder))
    place = next(filter(os.path.isdir, there), None)
    if place is None:
        place = _unpack_somewhere(fetch(), blob.id, folders)
    with contextlib.suppress(OSError):
        os.utime(place)
    sys.path.insert(0, place)
    importlib.invalidate_caches()


def _is_private(folder: str) -> bool:
    """Whether the folder is there and this user's alone: who can write to it can run code."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _unpack_somewhere(data: Buffer, name: str, folders: Sequence[str]) -> str:
    refused: OSError | None = None
    for folder in folders:
        place = os.path.join(folder, name)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            if not _is_private(folder):
                raise PermissionError(f"{folder} is not a folder of this user alone")
            _unpack(data, place)
        except OSError as error:
            refused = error
            continue
        _tidy(folder)
        return place
    raise OSError(f"there is no folder for the function's modules, set TMPDIR to one: {refused}")


def _unpack(data: Buffer, place: str) -> None:
    """Unpack beside the place, then be there at once."""
    import io
    import shutil
    import zipfile

    beside = f"{place}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                path = archive.extract(info, beside)  # never outside of it
                os.chmod(path, stat.S_IMODE(info.external_attr >> 16) or 0o644)
        os.makedirs(beside, exist_ok=True)
        os.rename(beside, place)
    except OSError:
        if not os.path.isdir(place):  # else another process was sooner
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _tidy(folder: str) -> None:
    """Remove what nobody has used for long: on a machine that stays, functions change and change."""
    import shutil

    with contextlib.suppress(OSError):  # another process tidies up, too
        for entry in list(os.scandir(folder)):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > KEPT:
                gone = f"{entry.path}.{os.urandom(4).hex()}"
                os.rename(entry.path, gone)  # nobody finds half of it
                shutil.rmtree(gone, ignore_errors=True)
