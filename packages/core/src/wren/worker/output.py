"""What calls print: stdout and stderr of a local worker are one anonymous file, which outlives the process.

By descriptor, so that what C code and child processes print is there, too; whatever a call does to `sys.stdout` or to
the descriptors, the next one finds them as they should be.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

LIMIT: Final = 1 << 20  # bytes kept of a call's output: the first and the last halves


class Output:
    """The output file of a worker, emptied after each call."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        status = os.fstat(fd)
        self._inode, self._device = status.st_ino, status.st_dev
        self._streams = self._open()

    def take(self) -> Sequence[bytes]:
        """What the call printed, and an empty file for the next."""
        out, err = self._streams
        sys.stdout, sys.stderr = out, err
        try:
            out.flush()
            err.flush()
        except (OSError, ValueError):  # the call closed it, or its descriptor
            self._streams = self._open()
        size = self._size()
        if size is None:  # the call closed the descriptors, and what it opened then has their numbers
            self._streams = self._open()
            size = os.fstat(self._fd).st_size
        if not size:
            return ()
        logs = read(self._fd, size)
        os.ftruncate(self._fd, 0)
        return (logs,)

    def _size(self) -> int | None:
        """Bytes that have been printed; None if what is stdout now is not the file."""
        try:
            found = os.fstat(1)
        except OSError:
            return None
        return found.st_size if found.st_ino == self._inode and found.st_dev == self._device else None

    def _open(self) -> tuple[TextIO, TextIO]:
        """New stdout and stderr; a line that is complete is in the file, also when the process dies."""
        for fd in (1, 2):
            os.dup2(self._fd, fd)
        sys.stdout, sys.stderr = _text(1), _text(2)
        return sys.stdout, sys.stderr


def _text(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def read(fd: int, size: int) -> bytes:
    """The content of an output file of `size` bytes, its middle left out where it is longer than LIMIT."""
    if size <= LIMIT:
        return os.pread(fd, size, 0)
    half = LIMIT // 2
    gap = f"\n... {size - LIMIT} bytes left out ...\n".encode()
    return os.pread(fd, half, 0) + gap + os.pread(fd, half, size - half)
