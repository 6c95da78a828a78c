"""One invocation in a process of its own: what the fakes of `wren.testing` run calls with."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from wren.spi import Invocation
from wren.wire import CallStatus
from wren.worker.deaths import ending, lost, timed_out
from wren.worker.once import read_statuses

__all__ = ["Activation"]

SHELL: Final = "from wren.worker.once import main; main()"
DEATH: Final = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"


class Activation:
    """A process that answers one payload, in a session of its own.  Raises OSError when it cannot be started.

    Its channels are files without a name: they outlive it, and nothing that it leaves behind can hold them up.
    """

    def __init__(
        self, id: str, invocation: Invocation, data: bytes, python: str, env: Mapping[str, str], *, dies: bool
    ) -> None:
        self.id, self.invocation = id, invocation
        self.started = time.time()
        self.ended: str | None = None  # how, for people
        self.killed = False
        self._late = False
        self._over = threading.Event()
        self._lock = threading.Lock()  # of the next field, and of closing the files
        self._kept: tuple[bytes, bytes] | None = None  # what was in the files
        path = os.pathsep.join(each for each in sys.path if each)
        with contextlib.ExitStack() as files:
            payload, self._statuses, self._output = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            payload.write(data)
            payload.seek(0)
            self._process = subprocess.Popen(
                [python, "-P", "-c", DEATH if dies else SHELL],
                stdin=payload,
                stdout=self._statuses,
                stderr=self._output,
                env={**os.environ, "PYTHONPATH": path, **env},
                start_new_session=True,
            )
            self._files = files.pop_all()  # closed at the process's end

    def attend(self, beat: Callable[[], None]) -> None:
        """Wait for its end, or end it at its timeout; `beat` is called while it lives, as often as the header says."""
        interval = self.invocation.header.heartbeat
        next_beat = time.time() + interval if interval else float("inf")
        pidfd = os.pidfd_open(self._process.pid)
        try:
            while not _readable(pidfd, min(next_beat, self._deadline()) - time.time()):
                now = time.time()
                if now >= self._deadline():
                    self._late = True
                    self._kill_group()
                    continue
                if interval and now >= next_beat:
                    beat()
                    next_beat += interval
            self._kill_group()  # what the calls have left, while the zombie still holds the group's number
        finally:
            os.close(pidfd)
        self.ended = ending(self._process.wait(), "")
        with self._lock:
            self._kept = _content(self._statuses.fileno()), _content(self._output.fileno())
            self._files.close()
        self._over.set()

    def _deadline(self) -> float:
        """When the call that runs has run too long."""
        if self.invocation.timeout is None or self._late:
            return float("inf")
        answered = self.statuses()
        return (answered[-1].stopped if answered else self.started) + self.invocation.timeout

    def runs(self, invocation: Invocation) -> bool:
        """Whether it is that invocation's process."""
        mine, other = self.invocation, invocation
        same_job = (mine.header.executor, mine.header.job) == (other.header.executor, other.header.job)
        return same_job and (mine.calls, mine.attempt) == (other.calls, other.attempt)

    def kill(self, calls: Sequence[int]) -> list[int]:
        """End the process if it runs one of the calls: the one that it ran."""
        running = self._unanswered()[:1]
        if self._over.is_set() or not set(running) & set(calls):
            return []
        self.killed = True
        self._kill_group()
        self._over.wait()
        return running if self._unanswered()[:1] == running else []

    def _kill_group(self) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def statuses(self) -> list[CallStatus]:
        """What it has answered."""
        return read_statuses(self._contents()[0])

    def logs(self) -> str:
        """What its calls have printed."""
        return "".join(each.logs for each in self.statuses()) + self._last_words()

    def _last_words(self) -> str:
        return self._contents()[1].decode("utf-8", "replace")

    def _contents(self) -> tuple[bytes, bytes]:
        with self._lock:
            return self._kept or (_content(self._statuses.fileno()), _content(self._output.fileno()))

    def lost(self) -> list[CallStatus]:
        """After its end: the statuses of the calls that it gave none of, the one that ran and those behind it."""
        return [self._lost(call) for call in self._unanswered()]

    def _lost(self, call: int) -> CallStatus:
        words = ending(self._process.returncode, self._last_words())
        failure = lost(f"the process of {self.id} is gone: {words}")
        if self._late and self.invocation.timeout is not None and call == self._unanswered()[0]:
            failure = timed_out(self.invocation.header.job, call, self.invocation.timeout, loading=False)
        header = self.invocation.header
        identity = header.executor, header.job, call, self.invocation.attempt
        now, words = time.time(), self._last_words()
        return CallStatus(*identity, "err", self.started, now, failure=failure, logs=words, worker=self.id)

    def _unanswered(self) -> list[int]:
        answered = {status.call for status in self.statuses()}
        return [call for call in self.invocation.calls if call not in answered]


def _readable(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds == float("inf") else max(0, seconds) * 1000 + 1))


def _content(fd: int) -> bytes:
    """All of a file, without moving its place: the process has the same one."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
