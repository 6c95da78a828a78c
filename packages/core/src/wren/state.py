"""The client's state directory: files of job records, one after another for each process that runs jobs.

    $XDG_STATE_HOME/wren/jobs/<process>-<number>.jsonl

The first line says whose file it is, each other one something of a job, in JSON; `wren.recorder` makes the lines and
`wren.history` reads them.  Files are only appended to, by their own process, so that any number of clients write at the
same time and whoever reads sees whole lines; one that a crash has torn is the file's last, and is left out.

The directory is the user's alone, and is kept small by whoever comes next.  It is where the XDG base directories have
it on every system, as the configuration file is, and so needs no library that knows the others.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from wren.references import Client

__all__ = ["Journal", "check", "files", "folder"]

VERSION: Final = 1  # of the lines
DAY: Final = 86_400.0  # seconds
KEPT: Final = 7 * DAY  # seconds after its last line that a file is kept
ROTATION: Final = DAY  # seconds after which a process begins another file: else one would never be removed
TIDYING: Final = DAY / 24  # seconds between two looks at all files
FILE_SIZE: Final = 4 << 20  # bytes after which a process begins another file
TOTAL_SIZE: Final = 64 << 20  # bytes of all files, and how many there are: beyond that the oldest go
FILES: Final = 10_000
SUFFIX: Final = ".jsonl"


def folder() -> str:
    """Where the records of this user's clients are."""
    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):  # as the specification of base directories wants it
        home = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "wren", "jobs")


class Journal:
    """The files of this process.  Not thread-safe."""

    def __init__(self) -> None:
        self._process = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._number = 0
        self._begun = time.monotonic()

    def append(self, lines: bytes) -> None:
        """Write whole lines.  OSError where that is not possible.

        No file is kept open in between: a program that becomes a daemon closes what it does not know.
        """
        place = folder()
        _make_private(os.path.dirname(place))
        _make_private(place)
        if time.monotonic() - self._begun > ROTATION:
            self._next()
        path = os.path.join(place, f"{self._process}-{self._number:06d}{SUFFIX}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if not size:  # new, or removed by somebody meanwhile
                lines = _header() + lines
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)
        if not size:
            tidy(place)
        if size + len(lines) > FILE_SIZE:
            self._next()

    def _next(self) -> None:
        self._number, self._begun = self._number + 1, time.monotonic()


def _header() -> bytes:
    import json

    return json.dumps({"version": VERSION, "client": Client.this()}).encode() + b"\n"


def _make_private(path: str) -> None:
    """A directory that nobody else can enter; OSError for one that is there, and is not."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        _make_private(path)  # which another client may have made meanwhile
    except FileExistsError:
        _check_private(path)


def _check_private(path: str) -> None:
    if os.name != "posix":
        return
    stat = os.stat(path)
    if stat.st_uid != os.getuid() or stat.st_mode & 0o077:
        raise PermissionError(f"{path} is not a private directory of yours, as `chmod 700` makes it")


def check() -> str:
    """Where records are, or will be, without making anything; OSError if none can be written there."""
    place = top = folder()
    while not os.path.lexists(top):
        top = os.path.dirname(top)
    if not os.path.isdir(top) or not os.access(top, os.W_OK | os.X_OK):
        raise PermissionError(f"nothing can be written into {top}")
    for path in (os.path.dirname(place), place):
        if os.path.isdir(path):
            _check_private(path)
    return place


def tidy(place: str) -> None:
    """Remove what is too old, and the oldest of what is too much; not more often than once an hour."""
    marker, now = os.path.join(place, ".tidied"), time.time()
    with contextlib.suppress(FileNotFoundError):
        if abs(now - os.stat(marker).st_mtime) < TIDYING:
            return
    os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
    os.utime(marker)
    found = []
    for path in _paths(place):
        with contextlib.suppress(FileNotFoundError):  # somebody else tidies, too
            stat = os.stat(path)
            found.append((stat.st_mtime, stat.st_size, path))
    total = 0
    for number, (changed, size, path) in enumerate(sorted(found, reverse=True)):
        total += size
        if now - changed > KEPT or total > TOTAL_SIZE or number >= FILES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def files() -> Iterator[tuple[str, list[bytes]]]:
    """Each process that has records, and its lines so far, in the order in which they were written.

    A process whose records go on in another file comes again with that.  OSError where they cannot be read.
    """
    for path in sorted(_paths(folder())):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            *lines, _ = file.read().split(b"\n")  # the last is empty, is being written, or was torn by a crash
            if lines:
                yield os.path.basename(path).rpartition("-")[0], lines


def _paths(place: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(place) if entry.name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
