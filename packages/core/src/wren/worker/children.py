"""The http shell's child processes: how they are forked, ended and reaped.

As the first process of a container the shell inherits every orphan, and reaps those, too.
"""

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Collection


class Forked(BaseException):
    """Leaves the shell's stack in a process that was forked from it, with what that process does instead.

    All that the shell holds is let go on the way: its sockets are closed, the memory of its requests is free.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self.work = work


class Children:
    """The processes that were forked here and are not reaped yet, so that their ids are theirs."""

    def __init__(self) -> None:
        self._ended: dict[int, Callable[[int], None]] = {}

    def __len__(self) -> int:
        return len(self._ended)

    def fork(self, work: Callable[[], None], ended: Callable[[int], None]) -> int:
        """The id of a new process that does `work`; its end calls `ended` with the exit code (negative: signal)."""
        pid = os.fork()
        if pid == 0:
            raise Forked(work)
        self._ended[pid] = ended
        return pid

    def kill(self, pid: int) -> None:
        """Kill one of them, and its group.  Idempotent."""
        if pid in self._ended:
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # not yet leader of a group
                os.killpg(pid, signal.SIGKILL)

    def reap(self) -> None:
        """After SIGCHLD: bury all that have ended."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            self.kill(info.si_pid)  # what it left running; as long as it is not reaped the group's number is its own
            os.waitid(os.P_PID, info.si_pid, os.WEXITED)
            ended = self._ended.pop(info.si_pid, None)
            if ended is not None:
                ended(exit_code(info))


def exit_code(info: os.waitid_result) -> int:
    """How a process ended, as `subprocess` says it: negative for a signal."""
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def settle(keep: Collection[int]) -> None:
    """In a process that has left the shell's stack: its own session, no descriptors but those, signals as usual."""
    gc.collect()  # closes what is closed by its end, before other descriptors have those numbers
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):  # the one of the listing itself
                os.close(fd)
