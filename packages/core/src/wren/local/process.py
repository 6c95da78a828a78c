"""A warm worker process as the client sees it: what goes over its pipes, and its end."""

import array
import fcntl
import mmap
import os
import pickle
import termios
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wren import wire
from wren.local.start import start
from wren.spi import Pickled, Stored
from wren.worker import stream
from wren.worker.shared import LEAST

_WORD_FRAME_SIZE: Final = 8 * stream.WORDS
_FEW: Final = 32  # frames that are looked at first: where kinds take turns, looking at all would take their square
_BUFFER: Final = 1 << 18  # bytes read at once


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
        its, self._process, _ = self._its = start()
        self.started = time.monotonic()  # one that was started in advance nobody has looked at until now
        self.results, self.ended, self.claimable = its.results, self._process.ended, its.claimable
        self._tasks, self._claims, self._taken_back, self._shared = its.tasks, its.claims, its.taken_back, its.shared
        self.ready = False
        self._pending: deque[memoryview] = deque()
        self._buffer = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0

    @property
    def pid(self) -> int:
        """Its process id; 0 if that is not known yet."""
        return self._process.pid

    # ---- to the worker

    @property
    def writing(self) -> bool:
        """Whether something waits for room in the pipe."""
        return bool(self._pending)

    def claim(self, token: int, count: int) -> None:
        """Offer `count` calls of the batch `token`, whose frame was sent, or waits to be written."""
        os.write(self._claims, stream.CLAIM.pack(token) * count)

    def send(self, buffers: Sequence[wire.Buffer]) -> bool:
        """Queue buffers behind those that wait, and write what there is room for; whether that was all at once."""
        if len(buffers) == 1 and not self._pending:  # the one of a short call is in a hurry
            try:
                written = os.write(self._tasks, buffers[0])
            except OSError:  # no room, or the worker is gone: as below
                written = 0
            if written == len(buffers[0]):
                return True
            buffers = [memoryview(buffers[0])[written:]]
        self._pending.extend(memoryview(buffer) for buffer in buffers if len(buffer))
        self.flush()
        return False

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
        while end - start >= _WORD_FRAME_SIZE:
            if buffer[start] in stream.WORD_FRAME:
                alone = end - start == _WORD_FRAME_SIZE
                start = self._parse_word(found, start) if alone else self._parse_words(found, start)
                continue
            if end - start < stream.HEAD.size:
                break
            kind, tag, number, size, extra, started, stopped, peak = stream.HEAD.unpack_from(buffer, start)
            body = start + stream.HEAD.size
            if body + size + extra > end:
                needed = stream.HEAD.size + size + extra
                break
            start = body + size + extra
            if kind == stream.READY:
                self.ready = found.ready = True
                self._process.pid = number
                continue
            if extra:
                found.logs[len(found.values)] = str(buffer[body + size : start], "utf-8", "replace")
            if peak:
                found.peaks[len(found.values)] = peak
            self._take(found, tag, buffer[body : body + size])
            found.started.append(started)
            found.stopped.append(stopped)
        if start == end and len(buffer) == _BUFFER:  # as most often
            self._start = self._end = 0
        else:
            self._make_room(start, end, needed)

    def _parse_words(self, found: Results, start: int) -> int:
        """Take in the frames of words that begin at `start` and are all of one kind: where they end."""
        whole = (self._end - start) // _WORD_FRAME_SIZE
        count = self._alike(start, min(whole, _FEW))
        if count == _FEW:
            count = self._alike(start, whole)
        kind = self._buffer[start]
        words = self._buffer[start : start + count * _WORD_FRAME_SIZE]
        times, numbers = words.cast("d"), words.cast("q")
        peaks = numbers[3 :: stream.WORDS].tolist()
        if any(peaks):
            found.peaks.update((at, peak) for at, peak in enumerate(peaks, len(found.values)) if peak)
        values: list[Any] = (times if kind == stream.FLOAT else numbers)[4 :: stream.WORDS].tolist()
        found.values += map(stream.CONSTANTS.__getitem__, values) if kind == stream.CONSTANT else values
        found.started += times[1 :: stream.WORDS].tolist()
        found.stopped += times[2 :: stream.WORDS].tolist()
        return start + count * _WORD_FRAME_SIZE

    def _alike(self, start: int, most: int) -> int:
        """How many frames of words that begin at `start` are of one kind; from the next on, they may be no frames."""
        kinds = self._buffer[start : start + most * _WORD_FRAME_SIZE : _WORD_FRAME_SIZE].tobytes()
        return most - len(kinds.lstrip(kinds[:1]))

    def _parse_word(self, found: Results, start: int) -> int:
        """The same for one, of a call that somebody waits for."""
        kind = self._buffer[start]
        _, _, started, stopped, peak, value = stream.WORD_FRAME[kind].unpack_from(self._buffer, start)
        if peak:
            found.peaks[len(found.values)] = peak
        found.values.append(stream.CONSTANTS[value] if kind == stream.CONSTANT else value)
        found.started.append(started)
        found.stopped.append(stopped)
        return start + _WORD_FRAME_SIZE

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
        self._process.kill()

    def reap(self) -> tuple[int, str]:
        """After its end: exit code (negative: signal) and last output; closes everything."""
        self.kill()  # also what it left running
        code, words = self._process.wait()
        self._its.close()
        return code, words.decode("utf-8", "replace")
