"""What calls print: stdout and stderr of a local worker are one anonymous file, which outlives the process.

By descriptor, so that what C code and child processes print is there, too; whatever a call does to `sys.stdout` or to
the descriptors, the next one finds them as they should be.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

LIMIT: Final = 1 << 20  # bytes kept of a call's output: the first and the last halves
# The output file of a local worker has so many bytes before what is printed, a hole.  Nothing else that a call may have
# made of its stdout is as long, and so one look at the length says that it is the file and that nothing was printed.
BASE: Final = 40_009


class Output:
    """The output file of a worker, emptied after each call."""

    def __init__(self, fd: int, base: int = 0) -> None:
        self._fd, self._base = fd, base
        if base:
            os.ftruncate(fd, base)
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
        if self._base and _length(1) == self._base:
            return ()
        if not self._is_standard():  # the call closed the descriptors, and what it opened then has their numbers
            self._streams = self._open()
        logs = printed(self._fd, self._base)
        if logs or self._base:
            os.ftruncate(self._fd, self._base)
        return (logs,) if logs else ()

    def _is_standard(self) -> bool:
        try:
            found = os.fstat(1)
        except OSError:
            return False
        return found.st_ino == self._inode and found.st_dev == self._device

    def _open(self) -> tuple[TextIO, TextIO]:
        """New stdout and stderr; a line that is complete is in the file, also when the process dies."""
        for fd in (1, 2):
            os.dup2(self._fd, fd)
        sys.stdout, sys.stderr = _text(1), _text(2)
        return sys.stdout, sys.stderr


def _text(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _length(fd: int) -> int:
    """Bytes of a file, -1 of anything else."""
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        return -1


def printed(fd: int, base: int = 0) -> bytes:
    """What is in an output file behind `base`, its middle left out where it is longer than LIMIT."""
    end = os.fstat(fd).st_size
    start = base if end >= base else 0  # it was never set up, or a program that the call ran has emptied it
    if end - start <= LIMIT:
        return os.pread(fd, end - start, start)
    half = LIMIT // 2
    gap = f"\n... {end - start - LIMIT} bytes left out ...\n".encode()
    return os.pread(fd, half, start) + gap + os.pread(fd, half, end - half)
