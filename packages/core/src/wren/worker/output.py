"""What calls print: stdout and stderr of a local worker are one anonymous file, which outlives the process.

By descriptor, so that what C code and child processes print is there, too; whatever a call does to `sys.stdout` or to
the descriptors, the next one finds them as they should be.
"""

import functools
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

LIMIT: Final = 1 << 20  # bytes kept of a call's output: the first and the last halves
# The output file of a local worker has so many bytes before what is printed, a hole.  Nothing else that a call may have
# made of its stdout is as long, and so one look at the length says that it is the file and that nothing was printed.
BASE: Final = 40_009


class Output:
    """The output file of a worker, emptied after each call."""

    def __init__(self, fd: int, base: int = 0) -> None:
        self._fd, self._base = fd, base
        self._touched = False  # the call may have closed or replaced stderr
        if base:
            os.ftruncate(fd, base)
            self._watch("close")
            self._watch("dup2")
        status = os.fstat(fd)
        self._inode, self._device = status.st_ino, status.st_dev
        self._streams = self._open()

    def take(self) -> Sequence[bytes]:
        """What the call printed, and an empty file for the next."""
        out, err = self._streams
        if sys.stderr is not err:  # the call's own closes the descriptor when nothing refers to it any more
            self._touched = True
        sys.stdout, sys.stderr = out, err
        try:
            out.flush()
            err.flush()
        except (OSError, ValueError):  # the call closed it, or its descriptor
            self._streams = self._open()
        if self._base and not self._touched and _length(1) == self._base:
            return ()
        if not self._is_standard():  # the call closed the descriptors, and what it opened then has their numbers
            self._streams = self._open()
        self._touched = False
        logs = printed(self._fd, self._base)
        if logs or self._base:
            os.ftruncate(self._fd, 0)  # first, for what a program has written after emptying it is where the hole was
            os.ftruncate(self._fd, self._base)
        return (logs,) if logs else ()

    def _watch(self, name: str) -> None:
        """Have a function of `os` leave a mark when it closes or replaces stderr: looking at it, too, takes longer."""
        function = getattr(os, name)

        @functools.wraps(function)
        def marking(*args: Any, **kwargs: Any) -> Any:
            if 2 in args or kwargs:
                self._touched = True
            return function(*args, **kwargs)

        setattr(os, name, marking)

    def _is_standard(self) -> bool:
        try:
            found = [os.fstat(fd) for fd in (1, 2)]
        except OSError:
            return False
        return all(each.st_ino == self._inode and each.st_dev == self._device for each in found)

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
    # Without the hole it was never set up, or a program that the call ran has emptied it, as `> /dev/stderr` does.
    start = base if end >= base and os.pread(fd, 1, 0) == b"\0" else 0
    if end - start <= LIMIT:
        return os.pread(fd, end - start, start)
    half = LIMIT // 2
    gap = f"\n... {end - start - LIMIT} bytes left out ...\n".encode()
    return os.pread(fd, half, start) + gap + os.pread(fd, half, end - half)
