"""One call as the http shell sees it: from when its turn has come until it has a status and its process is gone.

`container` begins and ends these, and knows when they are what.
"""

import contextlib
import fcntl
import os
import pickle
import signal
from collections.abc import Callable
from typing import Final

from wren.wire import Call, Failure, Payload
from wren.worker import output
from wren.worker.loop import Timer
from wren.worker.template import SIZE, Task, memory_file

_READ: Final = 1 << 18  # bytes read at once
_TURN: Final = 1 << 24  # bytes read before others have a turn


class RunningCall:
    """A call, the descriptors of its process, and what has come of its status.

    `settle` gets the encoded status, or why there is none and what the call printed; once.
    """

    def __init__(self, payload: Payload, call: Call, settle: Callable[[bytes | Failure, str], None]) -> None:
        self.payload, self.call = payload, call
        self._settle = settle
        self.settled = False
        self.began = 0.0  # epoch seconds; 0: not yet
        self.serial = 0  # what its template knows it by
        self.cause: Failure | None = None  # why the shell killed it
        self.timer: Timer | None = None  # its timeout
        self.grace: Timer | None = None  # ends it when it should have ended by itself
        self.kills = 0  # at the memory limit, when it began
        self.pid = 0  # 0: not known
        self.result = -1
        self._process = self._lifeline = self._output = -1
        self._buffer = bytearray()

    def rewind(self) -> None:
        """It has not begun after all."""
        self.began = 0.0
        if self.timer is not None:
            self.timer.cancel()

    # ---- its descriptors

    def open(self) -> list[int]:
        """Make its descriptors: those that its process gets, in a CALL's order, to be closed by `unshare` once sent."""
        theirs: list[int] = []
        try:
            task = Task(self.payload.header, self.payload.attempt, self.call)
            theirs.append(memory_file("wren-task", pickle.dumps(task, 5)))
            self.result, writing = os.pipe()
            theirs.append(writing)
            os.set_blocking(self.result, False)
            self._output = os.memfd_create("wren-output")
            fcntl.fcntl(self._output, fcntl.F_SETFL, os.O_APPEND)
            theirs.append(self._output)
            reading, self._lifeline = os.pipe()
            theirs.append(reading)
        except OSError:
            self.unshare(theirs)
            self.close()
            raise
        return theirs

    def unshare(self, theirs: list[int]) -> None:
        """Close what its process has by now; the output is both sides'."""
        for fd in theirs:
            if fd != self._output:
                os.close(fd)

    def started(self, pid: int, process: int) -> None:
        """Its process is there (-1: it is the template itself)."""
        self.pid, self._process = pid, process
        if self.cause is not None:
            self.kill()

    def kill(self) -> None:
        """Kill its process and that one's group; never another, also when it has ended.

        The lifeline reaches a process that is not known yet, and the group; the descriptor one that has closed it.
        """
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def printed(self) -> str:
        """What it has printed."""
        if self._output < 0:
            return ""
        return output.printed(self._output).decode("utf-8", "replace")

    def close(self) -> None:
        """Close all descriptors.  Idempotent."""
        for fd in (self.result, self._process, self._lifeline, self._output):
            if fd >= 0:
                os.close(fd)
        self.result = self._process = self._lifeline = self._output = -1
        if self.grace is not None:
            self.grace.cancel()

    # ---- its status

    def read(self) -> bool:
        """Read what has come of its status; True: nothing more will come."""
        if self.result < 0:
            return True
        for _ in range(_TURN // _READ):
            try:
                data = os.read(self.result, _READ)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._buffer += data
        return False

    @property
    def status(self) -> bytes | None:
        """Its status, once that is complete."""
        if len(self._buffer) < SIZE.size:
            return None
        end = SIZE.size + SIZE.unpack_from(self._buffer)[0]
        return bytes(memoryview(self._buffer)[SIZE.size : end]) if len(self._buffer) >= end else None

    def settle(self, outcome: bytes | Failure) -> None:
        """Say what became of it; the first word counts."""
        if self.settled:
            return
        self.settled = True
        if self.timer is not None:
            self.timer.cancel()
        self._settle(outcome, self.printed() if isinstance(outcome, Failure) else "")
