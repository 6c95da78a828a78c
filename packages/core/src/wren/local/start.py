"""Starts worker processes: one by itself, or the first ones together and before they are needed.

It imports as little as it can, so that workers can be on their way before their client is.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

from wren.local.channels import Channels, memory, pipe
from wren.worker import output, stream
from wren.worker.nested import process as here

__all__ = ["Child", "Forked", "Started", "prepare", "start"]

_ROOT: Final = __file__.rsplit("/", 3)[0]  # the folder that `wren` is imported from
# `-c` rather than `-m`: runpy would be a third of the start.  Of the folder only `wren` is wanted, before the handshake
# brings the client's own path.
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import wren; del sys.path[0]; "
    "from wren.worker.{} import main; main(sys.argv[2:])"
)

# A process that is forked while a worker is started would hold the pipe ends that only the worker may have.
_forking = threading.Lock()
os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)


class Child:
    """A process that was started by itself.  `ended` can be read when it has ended."""

    def __init__(self, channels: Channels, stack: ExitStack) -> None:
        self._output = channels.output
        self._process = _popen("pipe", channels.theirs, channels.output)
        self.pid = self._process.pid
        self.ended = os.pidfd_open(self.pid)
        stack.callback(os.close, self.ended)

    def kill(self) -> None:
        """Kill it and what it started.  Its end is seen as any other."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone, or not yet leader of its session
            self._process.kill()

    def wait(self) -> tuple[int, bytes]:
        """After its end: exit code (negative: signal) and last output."""
        return self._process.wait(), output.printed(self._output, output.BASE)

    @property
    def child(self) -> "subprocess.Popen[bytes]":
        """The client's child: the worker itself."""
        return self._process

    def release(self) -> None:
        """Nobody asks for it any more."""


class Forked:
    """A process that a zygote forks.  `pid` is 0 until the worker has said it; whoever reads that sets it."""

    def __init__(self, zygote: "_Zygote", channels: Channels, ended: int) -> None:
        self._zygote, self._channels, self.ended = zygote, channels, ended
        self.pid = 0

    def kill(self) -> None:
        """Kill it and what it started.  Its end is seen as any other."""
        self._channels.cut()
        zygote = self._zygote.process
        if self.pid and zygote.poll() is None:  # which keeps the number from being another's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        elif not self._channels.ended():  # it has not come so far that it would end by that
            zygote.kill()
        zygote.send_signal(signal.SIGCONT)  # it may have been stopped, and is to say how this one ended

    def wait(self) -> tuple[int, bytes]:
        """After its end: exit code (negative: signal) and last output."""
        told = os.read(self.ended, stream.ENDED.size)
        words = output.printed(self._channels.output, output.BASE)
        if told:
            return stream.ENDED.unpack(told)[0], words
        return self._zygote.process.wait(), words + output.printed(self._zygote.output)

    @property
    def child(self) -> "subprocess.Popen[bytes]":
        """The client's child: the worker's parent."""
        return self._zygote.process

    def release(self) -> None:
        """Nobody asks for it any more."""
        self._zygote.release()


class Started(NamedTuple):
    """A worker that is on its way."""

    channels: Channels
    process: Child | Forked
    stack: ExitStack  # closes its descriptors

    def close(self) -> None:
        """Close all descriptors; the worker ends by that."""
        with _forking:
            self.stack.close()
            _open.discard(self)
        self.process.release()


class _Zygote:
    """The parent of the first workers: it forks them, and says how they ended (`wren.worker.zygote`)."""

    def __init__(self, count: int) -> None:
        with _forking, ExitStack() as theirs, ExitStack() as ours:
            inherited: list[int] = []
            self.workers: list[Started] = []
            for _ in range(count):
                stack = ours.enter_context(ExitStack())
                channels = Channels(theirs, stack)
                ended, telling = pipe(stack, theirs)
                inherited += [*channels.theirs, telling]
                self.workers.append(Started(channels, Forked(self, channels, ended), stack))
            self.output = memory("wren-output", ours)
            self.process = _popen("zygote", inherited, self.output)
            self._wanted = count
            _open.update(self.workers)
            ours.pop_all()

    def release(self) -> None:
        """One of its workers is not asked for any more; after the last it ends."""
        self._wanted -= 1
        if not self._wanted:
            self.process.wait()
            os.close(self.output)


_open: Final[set[Started]] = set()  # all that this process has, changed with `_forking`
_spares: Final[list[Started]] = []
_first = True  # nobody has needed a worker yet


def prepare(count: int) -> None:
    """Have so many workers on their way, if this process will need its first ones: they start while it gets ready."""
    if not _first or _spares or here.is_worker:
        return
    with contextlib.suppress(OSError, RuntimeError):  # who needs them will meet that, too
        _spares.extend([_alone()] if count < 2 else _Zygote(count).workers)


def start() -> Started:
    """A worker that was started just now, or in advance.  OSError, RuntimeError when the system has no room for it."""
    global _first  # noqa: PLW0603 - of the process
    _first = False
    try:
        return _spares.pop(0)
    except IndexError:
        return _alone()


def _alone() -> Started:
    with _forking, ExitStack() as theirs, ExitStack() as ours:
        channels = Channels(theirs, ours)
        started = Started(channels, Child(channels, ours), ours.pop_all())
        _open.add(started)
        return started


def _after_fork() -> None:
    """In a forked child: the parent's workers end with the parent, and are nothing that this process could wait for.

    If their descriptors stayed open here, the zygote would wait for that, and the parent for the zygote.
    """
    global _first  # noqa: PLW0603 - of the process
    for started in list(_open):
        started.process.child.returncode = 0
        started.close()
    _spares.clear()
    _first = True


os.register_at_fork(after_in_child=_after_fork)


def _popen(main: str, inherited: Sequence[int], printing: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", *_flags(), "-c", _BOOT.format(main), _ROOT, *map(str, inherited)],
        stdin=subprocess.DEVNULL,
        stdout=printing,
        stderr=printing,
        pass_fds=inherited,
        start_new_session=True,
    )


def _flags() -> list[str]:
    """The interpreter flags that change what user code does."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    if sys.flags.utf8_mode:
        flags += ["-X", "utf8"]
    for option in sys.warnoptions:
        flags += ["-W", option]
    return flags
