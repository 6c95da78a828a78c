"""The memory that a client and one local worker share: two words, and a ring in each direction for what is large.

A pipe moves a mebibyte in many small steps, each of which wakes the other side.  Through a ring it takes one copy in
and one out, of memory that is in the processor's cache, for what both sides are done with is used again first.

Who writes into a ring gives out places in order; they are free again in order, too, and never waited for: what finds no
room goes through the pipe.
"""

import contextlib
import mmap
import os
from collections.abc import Sequence
from typing import Final

from wren.wire import Buffer

RING: Final = 1 << 24  # bytes, of which only those take memory that were used
LEAST: Final = 1 << 16  # bytes of what is large: as many as a pipe holds where nobody has enlarged it


class Ring:
    """Places in some memory.  Positions only grow, over all rounds."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._head = self._freed = 0

    def put(self, chunks: Sequence[Buffer], size: int) -> int | None:
        """The position of a copy of `size` bytes in chunks; None if there is no room."""
        whole = len(self._memory)
        if self._freed >= self._head:  # empty: from its beginning, which was used last
            self._head = self._freed = -(-self._head // whole) * whole
        start = self._head
        if start % whole + size > whole:
            start += whole - start % whole
        if start + size - self._freed > whole:
            return None
        at = start % whole
        for chunk in chunks:
            self._memory[at : at + len(chunk)] = chunk
            at += len(chunk)
        self._head = start + size
        return start

    def get(self, position: int, size: int) -> memoryview:
        """What was put there; to be copied before it is free."""
        at = position % len(self._memory)
        return self._memory[at : at + size]

    def free(self, position: int | None) -> None:
        """What was put before that position is not needed any more; None: nothing is."""
        self._freed = max(self._freed, self._head if position is None else position)

    @property
    def used(self) -> int:
        """Bytes that it takes of the machine's memory."""
        return min(self._head, len(self._memory))

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.release()


class Shared:
    """One side's view of the memory behind a descriptor, which `make` has prepared."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, 0)
        view, ring = memoryview(self._memory), (len(self._memory) - mmap.PAGESIZE) // 2
        # Views of one element each: unlike what the struct module packs, that is written and read whole.
        self.began = view[:8].cast("d")  # when the running call began (`time.monotonic`), 0.0 if none runs
        self.taken = view[8:16].cast("Q")  # the position up to which the client has taken in results
        self.tasks = Ring(view[mmap.PAGESIZE : mmap.PAGESIZE + ring])
        self.results = Ring(view[mmap.PAGESIZE + ring :])
        view.release()

    @staticmethod
    def make(fd: int) -> None:
        """Give the descriptor of an empty file its size."""
        try:
            os.ftruncate(fd, mmap.PAGESIZE + 2 * RING)
        except OSError:  # larger than the user's files may be, `ulimit -f`: then pipes have to do
            os.ftruncate(fd, mmap.PAGESIZE + 2 * LEAST)

    @property
    def used(self) -> int:
        """Bytes that the rings take of the machine's memory, as the client knows it."""
        return self.tasks.used + min(self.taken[0], RING)

    def close(self) -> None:
        """Unmap it."""
        for each in (self.began, self.taken):
            each.release()
        self.tasks.close()
        self.results.close()
        with contextlib.suppress(BufferError):  # somebody still looks at a result: then with the last of them
            self._memory.close()
