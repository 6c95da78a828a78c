"""Starts worker processes: their descriptors, their command, and the one that is started before it is needed.

client                                          worker (`wren.worker.pipe`)
tasks    ──▶ frames: contexts, batches
claims   ──▶ one token for each call; either side may take it
results  ◀── frames: one for each call
output   ◀── an anonymous file: stdout and stderr
shared   ◀─▶ memory: when the running call began, and what is large, in each direction
lifeline ──▶ nothing; its closing kills the worker

It imports as little as it can, so that a worker can be on its way before its client is.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import Final

from wren.worker import stream
from wren.worker.nested import process
from wren.worker.shared import Shared

_ROOT: Final = __file__.rsplit("/", 3)[0]  # the folder that `wren` is imported from
# `-c` rather than `-m`: runpy would be a third of the start.  Of the folder only `wren` is wanted, before the handshake
# brings the client's own path.
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import wren; del sys.path[0]; "
    "from wren.worker.pipe import main; main(sys.argv[2:])"
)
_PIPE: Final = 1 << 18  # bytes that a pipe holds, where the system lets us: each user has a budget

# A process that is forked while a worker is started would hold the pipe ends that only the worker may have.
_forking = threading.Lock()
os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)

_spares: Final[list["Started"]] = []
_first = True  # nobody has needed a worker yet


class Started:
    """A process that was started, and this side of its descriptors."""

    def __init__(self) -> None:
        with _forking, ExitStack() as theirs, ExitStack() as ours:
            tasks, self.tasks = _pipe(theirs, ours)
            claims, self.claims = _pipe(theirs, ours)
            self.results, results = _pipe(ours, theirs)
            lifeline, _ = _pipe(theirs, ours)
            self.output = _memory("wren-output", ours)
            shared = _memory("wren-shared", theirs)
            Shared.make(shared)
            self.shared = Shared(shared)
            fcntl.fcntl(self.output, fcntl.F_SETFL, os.O_APPEND)
            for fd in (self.tasks, self.results):
                _enlarge(fd)
            for fd in (self.tasks, self.results, self.claims):
                os.set_blocking(fd, False)
            self.claimable = fcntl.fcntl(claims, fcntl.F_GETPIPE_SZ) // stream.CLAIM.size
            # Both sides read the claims.  A descriptor opened anew does not share the worker's blocking mode.
            self.taken_back = os.open(f"/proc/self/fd/{claims}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            ours.callback(os.close, self.taken_back)
            inherited = (tasks, results, claims, self.output, shared, lifeline)
            self.process = subprocess.Popen(
                [sys.executable, "-P", *_flags(), "-c", _BOOT, _ROOT, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                pass_fds=inherited,
                start_new_session=True,
            )
            self.pidfd = os.pidfd_open(self.process.pid)
            ours.callback(os.close, self.pidfd)
            self._descriptors = ours.pop_all()
        self.at = time.monotonic()

    def close(self) -> None:
        """Close all descriptors; the worker ends by that."""
        if self.process.returncode is None:  # this is a forked child, whose parent will wait for it
            self.process.returncode = 0
        self._descriptors.close()
        self.shared.close()


def prepare(count: int = 1) -> None:
    """Have so many workers on their way, if this process will need its first ones: they start while it gets ready."""
    with contextlib.suppress(OSError, RuntimeError):  # who needs them will meet that, too
        while _first and len(_spares) < count and not process.is_worker:
            _spares.append(Started())


def start() -> Started:
    """A worker that was started just now, or in advance.  OSError, RuntimeError when the system has no room for it."""
    global _first  # noqa: PLW0603 - of the process
    _first = False
    try:
        started = _spares.pop(0)
    except IndexError:
        return Started()
    started.at = time.monotonic()  # nobody has looked at it until now
    return started


def _after_fork() -> None:
    """In a forked child: the parent's worker ends with the parent."""
    global _first  # noqa: PLW0603 - of the process
    for started in _spares:
        started.close()
    _spares.clear()
    _first = True


os.register_at_fork(after_in_child=_after_fork)


def _pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
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


def _memory(name: str, stack: ExitStack) -> int:
    """An anonymous file, to be closed by the stack."""
    fd = _not_standard(os.memfd_create(name))
    stack.callback(os.close, fd)
    return fd


def _enlarge(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
    except OSError:  # the user's share of pipe memory is used up: the default size works too
        return


def _flags() -> list[str]:
    """The interpreter flags that change what user code does."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    if sys.flags.utf8_mode:
        flags += ["-X", "utf8"]
    for option in sys.warnoptions:
        flags += ["-W", option]
    return flags
