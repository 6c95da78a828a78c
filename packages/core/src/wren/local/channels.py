"""What a client and one of its worker processes talk over.

client                                          worker (`wren.worker.pipe`)
tasks    ──▶ frames: contexts, batches
claims   ──▶ one token for each call; either side may take it
results  ◀── frames: one for each call
output   ◀── an anonymous file: stdout and stderr
shared   ◀─▶ memory: when the running call began, and what is large, in each direction
lifeline ──▶ nothing; its closing kills the worker
"""

import fcntl
import os
import select
from contextlib import ExitStack
from typing import Final

from wren.worker import stream
from wren.worker.shared import Shared

__all__ = ["PIPE", "Channels", "memory", "pipe"]

PIPE: Final = 1 << 18  # bytes that a pipe holds, where the system lets us: each user has a budget


class Channels:
    """This side's ends, and the numbers of the worker's; one stack each closes them."""

    def __init__(self, theirs: ExitStack, ours: ExitStack) -> None:
        tasks, self.tasks = pipe(theirs, ours)
        claims, self.claims = pipe(theirs, ours)
        self.results, results = pipe(ours, theirs)
        self._lifeline = ours.enter_context(ExitStack())
        lifeline, _ = pipe(theirs, self._lifeline)
        self.output = memory("wren-output", ours)
        shared = memory("wren-shared", theirs)
        Shared.make(shared)
        self.shared = Shared(shared)
        ours.callback(self.shared.close)
        fcntl.fcntl(self.output, fcntl.F_SETFL, os.O_APPEND)
        for fd in (self.tasks, self.results):
            _enlarge(fd)
        for fd in (self.tasks, self.results, self.claims):
            os.set_blocking(fd, False)
        self.claimable = fcntl.fcntl(claims, fcntl.F_GETPIPE_SZ) // stream.CLAIM.size
        # Both sides read the claims.  A descriptor opened anew does not share the worker's blocking mode.
        self.taken_back = os.open(f"/proc/self/fd/{claims}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        ours.callback(os.close, self.taken_back)
        self.theirs = [tasks, results, claims, self.output, shared, lifeline]

    def cut(self) -> None:
        """Have the kernel kill the worker, and its group.  Idempotent."""
        self._lifeline.close()

    def ended(self) -> bool:
        """Whether nobody can send results any more."""
        poll = select.poll()
        poll.register(self.results, 0)
        return bool(poll.poll(0))


def pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
    """A pipe's two ends, each to be closed by one of the stacks."""
    reading, writing = map(_not_standard, os.pipe())
    readers.callback(os.close, reading)
    writers.callback(os.close, writing)
    return reading, writing


def _not_standard(fd: int) -> int:
    """The descriptor under a number above 2: in a client without stdin, stdout or stderr it may have one of theirs."""
    if fd > 2:
        return fd
    other = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return other


def memory(name: str, stack: ExitStack) -> int:
    """An anonymous file, to be closed by the stack."""
    fd = _not_standard(os.memfd_create(name))
    stack.callback(os.close, fd)
    return fd


def _enlarge(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE)
    except OSError:  # the user's share of pipe memory is used up: the default size works too
        return
