"""A warm worker process as the client sees it: how it is started, and what goes over its pipes.

client                                          worker (`wren.worker.pipe`)
tasks    ──▶ frames: contexts, jobs, batches
claims   ──▶ one token for each call; either side may take it
results  ◀── frames: one for each call
output   ◀── an anonymous file: stdout and stderr
shared   ◀─▶ memory: when the running call began, and what is large, in each direction
lifeline ──▶ nothing; its closing kills the worker
"""

import array
import fcntl
import mmap
import os
import pickle
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wren import wire
from wren.spi import Pickled, Stored
from wren.worker import output, stream
from wren.worker.shared import LEAST, Shared

_ROOT: Final = str(Path(__file__).parents[2])  # the folder that `wren` is imported from
# `-c` rather than `-m`: runpy would be a third of the start.  Of the folder only `wren` is wanted, before the handshake
# brings the client's own path.
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import wren; del sys.path[0]; "
    "from wren.worker.pipe import main; main(sys.argv[2:])"
)
# A process that is forked while a worker is started would hold the pipe ends that only the worker may have.
_forking = threading.Lock()
os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)

_BUFFER: Final = 1 << 18  # bytes read at once
_PIPE: Final = 1 << 18  # bytes that a pipe holds, where the system lets us: each user has a budget


@dataclass(frozen=True, slots=True)
class NestedCalls:
    """What a function returned that has futures in it: an encoded `wire.Returned`; None: it is stored."""

    returned: bytes | None


class Results:
    """What one read brought, in columns.  `apart` are those that are no results: `Failure` and `NestedCalls`."""

    __slots__ = ("apart", "eof", "logs", "peaks", "ready", "received", "started", "stopped", "values")

    def __init__(self) -> None:
        self.received = 0  # bytes
        self.ready = self.eof = False
        self.values: list[Any] = []
        self.started: list[float] = []
        self.stopped: list[float] = []
        self.logs: dict[int, str] = {}  # by position
        self.peaks: dict[int, int] = {}  # likewise
        self.apart: list[int] = []  # positions


class WorkerProcess:
    """One process and its pipes.  Not thread-safe: the pool's thread owns it."""

    def __init__(self) -> None:
        with _forking, ExitStack() as theirs, ExitStack() as ours:
            tasks, self._tasks = _pipe(theirs, ours)
            claims, self._claims = _pipe(theirs, ours)
            self.results, results = _pipe(ours, theirs)
            lifeline, _ = _pipe(theirs, ours)
            self._output = _memory("wren-output", ours)
            shared = _memory("wren-shared", theirs)
            Shared.make(shared)
            self._shared = Shared(shared)
            fcntl.fcntl(self._output, fcntl.F_SETFL, os.O_APPEND)
            for fd in (self._tasks, self.results):
                _enlarge(fd)
            for fd in (self._tasks, self.results, self._claims):
                os.set_blocking(fd, False)
            self.claimable = fcntl.fcntl(claims, fcntl.F_GETPIPE_SZ) // stream.CLAIM.size
            # Both sides read the claims.  A descriptor opened anew does not share the worker's blocking mode.
            self._taken_back = os.open(f"/proc/self/fd/{claims}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            ours.callback(os.close, self._taken_back)
            inherited = (tasks, results, claims, self._output, shared, lifeline)
            self._process = subprocess.Popen(
                [sys.executable, "-P", *_flags(), "-c", _BOOT, _ROOT, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=inherited,
                start_new_session=True,
            )
            self.pid = self._process.pid
            self.pidfd = os.pidfd_open(self.pid)
            ours.callback(os.close, self.pidfd)
            self._descriptors = ours.pop_all()
        self.ready = False
        self.started = time.monotonic()
        self._pending: deque[memoryview] = deque()
        self._buffer = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0

    # ---- to the worker

    @property
    def writing(self) -> bool:
        """Whether something waits for room in the pipe."""
        return bool(self._pending)

    def claim(self, token: int, count: int) -> None:
        """Offer `count` calls of the batch `token`, whose frame was sent, or waits to be written."""
        os.write(self._claims, stream.CLAIM.pack(token) * count)

    def send(self, buffers: Sequence[wire.Buffer]) -> None:
        """Queue buffers behind those that wait, and write what there is room for."""
        self._pending.extend(memoryview(buffer) for buffer in buffers if len(buffer))
        self.flush()

    def flush(self) -> None:
        """Write what there is room for."""
        while self._pending:
            some = [self._pending[index] for index in range(min(len(self._pending), 256))]
            try:
                written = os.writev(self._tasks, some)
            except BlockingIOError:
                return
            except OSError:  # the worker is gone: its pidfd says so
                self._pending.clear()
                return
            while self._pending and written >= len(self._pending[0]):
                written -= len(self._pending.popleft())
            if written:
                self._pending[0] = self._pending[0][written:]

    def share(self, chunks: Sequence[wire.Buffer], size: int) -> int | None:
        """The place of a copy that the worker can see; None if it is small, or there is no room."""
        return self._shared.tasks.put(chunks, size) if size >= LEAST else None

    def unshare(self, place: int | None) -> None:
        """What was shared before that place is not needed any more; None: nothing is."""
        self._shared.tasks.free(place)

    @property
    def tasks(self) -> int:
        """The descriptor to wait on while `writing`."""
        return self._tasks

    def unclaimed(self) -> int:
        """How many calls it has not begun."""
        count = array.array("i", [0])
        fcntl.ioctl(self._taken_back, termios.FIONREAD, count)
        return count[0] // stream.CLAIM.size

    def take_back(self, count: int) -> list[int]:
        """Take back at most `count` calls that it has not begun: the batch token of each."""
        try:
            claims = os.read(self._taken_back, count * stream.CLAIM.size) if count else b""
        except BlockingIOError:
            return []
        return [token for (token,) in stream.CLAIM.iter_unpack(claims)]

    # ---- from the worker

    def read(self) -> Results:
        """What has come, as far as it is complete."""
        found = Results()
        try:
            count = os.readv(self.results, [self._buffer[self._end :]])
        except BlockingIOError:
            return found
        found.eof = not count
        found.received = count
        self._end += count
        self._parse(found)
        return found

    def _parse(self, found: Results) -> None:
        buffer, start, end = self._buffer, self._start, self._end
        needed = 0
        while end - start >= stream.HEAD.size:
            if buffer[start] == stream.SMALL:
                count = self._parse_small(found, start)
                start += count * stream.SMALL_RESULT.size
                if count:
                    continue
                break
            kind, tag, _, size, extra, started, stopped, peak = stream.HEAD.unpack_from(buffer, start)
            body = start + stream.HEAD.size
            if body + size + extra > end:
                needed = stream.HEAD.size + size + extra
                break
            start = body + size + extra
            if kind == stream.READY:
                self.ready = found.ready = True
                continue
            if extra:
                found.logs[len(found.values)] = str(buffer[body + size : start], "utf-8", "replace")
            if peak:
                found.peaks[len(found.values)] = peak
            self._take(found, tag, buffer[body : body + size])
            found.started.append(started)
            found.stopped.append(stopped)
        self._make_room(start, end, needed)

    def _parse_small(self, found: Results, start: int) -> int:
        """Take in the SMALL frames that begin at `start`, in columns: how many."""
        size = stream.SMALL_RESULT.size
        most = (self._end - start) // size
        if not most:
            return 0
        frames = stream.SMALL_RESULT.iter_unpack(self._buffer[start : start + most * size])
        kinds, _, _, _, _, started, stopped, peaks, bodies = zip(*frames, strict=True)
        # From the first that is another on, what was unpacked are no frames.
        count = next((at for at, kind in enumerate(kinds) if kind != stream.SMALL), most)
        if count < most:
            started, stopped, peaks, bodies = started[:count], stopped[:count], peaks[:count], bodies[:count]
        if any(peaks):
            found.peaks.update((at, peak) for at, peak in enumerate(peaks, len(found.values)) if peak)
        found.values += map(pickle.loads, bodies)
        found.started += started
        found.stopped += stopped
        return count

    def _take(self, found: Results, tag: int, body: memoryview) -> None:
        """Take in what a call has ended with."""
        end = None
        if tag & stream.SHARED:
            place, size = stream.PLACE.unpack(body)
            tag, body, end = tag & ~stream.SHARED, self._shared.results.get(place, size), place + size
        if tag == stream.PICKLED:
            # What has a buffer of its own keeps it; anything else is copied out of one that is used again.
            value: Any = Pickled(body if end is None and len(body) > _BUFFER else bytes(body))
        elif tag == stream.STORED:
            value = Stored(0, size=stream.SIZE.unpack(body)[0])
        elif tag == stream.NESTED:
            value = NestedCalls(bytes(body) if body else None)
        else:  # a plain result, or a failure
            value = pickle.loads(body)  # noqa: S301 - from our own child
        if tag in (stream.NESTED, stream.FAILED):
            found.apart.append(len(found.values))
        found.values.append(value)
        if end is not None:
            self._shared.taken[0] = end

    def _make_room(self, start: int, end: int, needed: int) -> None:
        """Move what is incomplete to the front of a buffer that the whole frame fits in, unless it is there already."""
        self._start, self._end = 0, end - start
        size = max(needed, _BUFFER)
        if start == end and len(self._buffer) == _BUFFER:
            return
        if start == 0 and len(self._buffer) == size:
            return
        rest = bytes(self._buffer[start:end])
        if len(self._buffer) != size:
            self._buffer = memoryview(bytearray(size))
        self._buffer[: len(rest)] = rest

    @property
    def began(self) -> float:
        """When the running call began (`time.monotonic`), 0.0 if none runs."""
        return self._shared.began[0]

    def resident(self) -> int:
        """Bytes of memory that it uses beside what it shares with this process, 0 when it is gone."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * mmap.PAGESIZE - self._shared.used
        except OSError:
            return 0

    # ---- its end

    def kill(self) -> None:
        """Kill it and what it started.  Its end is seen as any other."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone, or not yet leader of its session
            self._process.kill()

    def reap(self) -> tuple[int, str]:
        """After its end: exit code (negative: signal) and last output; closes everything."""
        self.kill()  # also what it left running
        code = self._process.wait()
        size = os.lseek(self._output, 0, os.SEEK_END)
        words = output.read(self._output, size).decode("utf-8", "replace")
        self.close()
        return code, words

    def close(self) -> None:
        """Close all descriptors; the worker ends by that."""
        self._descriptors.close()
        self._shared.close()


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
