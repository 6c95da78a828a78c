"""Writes down what becomes of jobs, for `wren jobs`, `wren logs` and `wren.attach`: some time after it has happened.

    engine ─▶ begun, ended ─▶ queue ─── 50 ms later, in the cleaner's thread ──▶ lines ─▶ wren.state

A single call takes 0.1 ms, so nothing is written on its way: a job costs two steps on a queue.  What was begun and has
ended by the time that the queue is looked at is one line, a loop of single calls one line for many.  A job that goes on
is looked at again, the longer it runs the more seldom, and gets a line where something has changed: so its record says
how far it was when its client is killed.

A record never has arguments, results or the values of `extra_env`.  It has what functions print and the texts of their
exceptions, of each job as much as is useful; and the job's key only where the caller wants the results to persist.
"""

import atexit
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from wren import callbacks, state
from wren.job import Job
from wren.references import Role
from wren.spi import Stored
from wren.table import CANCELLED, FAILED, OK, CallTable
from wren.wire import Failure
from wren.worker.run import str_of

__all__ = ["Entry", "recorder"]

_log: Final = logging.getLogger("wren.state")

DELAY: Final = 0.05  # seconds from a change to its line
LOOK, SELDOM = 1.0, 30.0  # seconds between two looks at a job that runs: at first, and in the end
FAILURES: Final = 100  # of a job that are told in words
LOGS: Final = 200_000  # characters of what a job's calls have printed
PRINTED: Final = 4_000  # of those of one call, at most: its last ones; likewise of a traceback
MESSAGE: Final = 2_000  # characters of an exception's message, its first ones
# Times of each call are kept of jobs of so many calls, which have taken so many seconds for each: writing takes 1 %.
TIMED, WORTH = 10_000, 1e-4


class Entry:
    """What there is to write of a job: its columns, and none of its results once it is over."""

    __slots__ = (
        "ended", "executor_id", "failures", "job_id", "logged", "logs", "name", "next", "over", "place", "queued",
        "room", "started", "states", "stopped", "submitted", "table", "told", "values", "written",
    )  # fmt: skip

    def __init__(self, table: CallTable, name: str, place: tuple[str, str]) -> None:
        self.executor_id, self.job_id, self.submitted = table.executor_id, table.job_id, table.submitted
        self.name, self.place = name, place  # of the function; of the backend and the storage
        self.states, self.started, self.stopped, self.logs = table.states, table.started, table.stopped, table.logs
        self.values: Sequence[Any] = table.values  # until it is over
        self.table = table if table.reference is not None else None  # of a job that persists
        self.failures: list[tuple[int, Any]] = []  # when it is over: the first of them, by call
        self.ended = 0.0
        self.over = False
        self.queued = True
        self.written: tuple[bool, int, int, int] | None = None  # what the last line said
        self.next = 0.0  # when it is to be looked at again, by the monotonic clock
        self.told: set[int] = set()  # calls whose failures are written
        self.logged: set[int] = set()  # likewise of what they have printed
        self.room = LOGS

    @property
    def counts(self) -> tuple[bool, int, int, int]:
        """Whether it is over; and how many calls have succeeded, failed, and were cancelled."""
        over = self.over  # first: what is counted then is all
        states = self.states
        return over, states.count(OK), states.count(FAILED), states.count(CANCELLED)


class Recorder:
    """The one of this process.  Thread-safe."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Begin anew: in a forked child, too, where what is waited for is the parent's to write."""
        self._lock = threading.RLock()  # reentrant, for signal handlers
        self._queue: deque[Entry] = deque()
        self._running: list[Entry] = []
        self._journal = state.Journal()
        self._soon = self._looking = self._given_up = False

    def begun(self, job: Job, place: tuple[str, str]) -> None:
        """A job was handed over.  `place`: the names of its backend and storage."""
        if job.entry is None:
            job.entry = entry = Entry(job.table, job.name, place)
            self._queue.append(entry)
            if not self._soon:
                self._write_soon()
            if not job.table.unfinished:  # it was quicker
                self.ended(entry, job.table)

    def ended(self, entry: Entry, table: CallTable) -> None:
        """Every call of the job has settled.  Idempotent."""
        if table.failures:
            entry.failures = _first_failures(table)
        entry.values, entry.ended = (), time.time()
        entry.over = True
        if not entry.queued:
            entry.queued = True
            self._queue.append(entry)
        if not self._soon:
            self._write_soon()

    def _write_soon(self) -> None:
        self._soon = True
        with contextlib.suppress(RuntimeError):  # the interpreter is about to end: then its end writes
            callbacks.after(DELAY, self._hand_over)

    def _look_later(self) -> None:
        if self._running and not self._looking:
            self._looking = True
            seconds = max(0.0, min(entry.next for entry in self._running) - time.monotonic())
            with contextlib.suppress(RuntimeError):
                callbacks.after(seconds, self._look)

    def _look(self) -> None:
        self._looking = False
        self._hand_over()

    def _hand_over(self) -> None:
        callbacks.clean(self.flush)  # a disk may take its time

    def flush(self) -> None:
        """Write what has changed."""
        self._soon = False
        with self._lock:
            now = time.monotonic()
            due = [entry for entry in self._running if now >= entry.next and not entry.queued]
            with contextlib.suppress(IndexError):
                while True:
                    entry = self._queue.popleft()
                    entry.queued = False  # from here on its end is news
                    due.append(entry)
            if due and not self._given_up:
                self._write([entry for entry in due if entry.written is None or not entry.written[0]], now)
            self._look_later()

    def _write(self, entries: Sequence[Entry], now: float) -> None:
        import json

        known = set(self._running)
        lines = []
        for run in _runs(entries):
            last = run[-1]
            counts = last.counts
            if counts != last.written:
                lines.append(json.dumps(_line(run, counts), separators=(",", ":")))
            for entry in run:
                entry.written = counts
            last.next = now + min(max(LOOK, 0.2 * (time.time() - last.submitted)), SELDOM)
            if not counts[0] and last not in known:
                self._running.append(last)
        self._running = [entry for entry in self._running if entry.written is not None and not entry.written[0]]
        if lines:
            self._append("\n".join(lines).encode() + b"\n")

    def _append(self, lines: bytes) -> None:
        try:
            self._journal.append(lines)
        except OSError as error:
            self._given_up = True  # said once, and no more is tried
            self._running.clear()
            _log.warning(
                "no job records are written by this program, as %s cannot be used: %s; "
                "records = false in section [wren] goes without",
                state.folder(),
                error,
            )

    def forked(self) -> None:
        """In a forked child."""
        self._forget()


recorder: Final = Recorder()

os.register_at_fork(after_in_child=recorder.forked)
atexit.register(recorder.flush)  # after the engine's own, which waits for the calls: it is registered later


def _runs(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries one by one, but together what is a loop of single calls, of which there is nothing to tell."""
    run: list[Entry] = []
    for entry in entries:
        plain = entry.over and entry.states == _ONE_DONE and not entry.logs and entry.table is None
        if plain and entry.written is None and entry.job_id.startswith("A"):
            if run and not _follows(run[-1], entry):
                yield run
                run = []
            run.append(entry)
            continue
        if run:
            yield run
            run = []
        yield [entry]
    if run:
        yield run


_ONE_DONE: Final = bytes((OK,))


def _follows(before: Entry, entry: Entry) -> bool:
    """Whether a single call is the next one of the same loop."""
    return (
        entry.executor_id == before.executor_id
        and entry.name == before.name
        and int(entry.job_id[1:]) == int(before.job_id[1:]) + 1
    )


def _line(run: Sequence[Entry], counts: tuple[bool, int, int, int]) -> dict[str, Any]:
    """What is to be said of a job, or of the single calls of a loop."""
    first, last = run[0], run[-1]
    over, done, failed, cancelled = counts
    calls = len(first.states) if len(run) == 1 else len(run)
    line: dict[str, Any] = {
        "job": f"{first.executor_id}/{first.job_id}",
        "calls": calls,
        "function": _text(first.name, MESSAGE),
        "backend": first.place[0],
        "storage": first.place[1],
        "submitted": first.submitted,
        "done": done if len(run) == 1 else calls,
        "failed": failed,
        "cancelled": cancelled,
    }
    if len(run) > 1:
        line["last"] = last.job_id
    if over:
        line["ended"] = last.ended
        if calls <= TIMED and last.ended - first.submitted >= calls * WORTH:
            line["started"], line["took"] = _times(run)
    if first.table is not None:
        line["reference"] = _reference(first.table)
    if failed:
        line["failures"] = _failures(first)
    if first.logs:
        line["logs"], line["unlogged"] = _logs(first)
    return line


def _times(run: Sequence[Entry]) -> tuple[list[int | None], list[int | None]]:
    """When calls have started, counted from the first submission, and how long they took, in microseconds."""
    began = run[0].submitted
    spans = [span for entry in run for span in zip(entry.started, entry.stopped, strict=True)]
    started = [int((start - began) * 1e6) if start else None for start, _ in spans]
    return started, [int((stop - start) * 1e6) if start and stop else None for start, stop in spans]


def _reference(table: CallTable) -> Any:
    """What reads the job's results elsewhere, as JSON has it; None where it cannot."""
    import msgspec

    assert table.reference is not None
    reference = table.reference()._replace(role=Role(table.single, table.reduced_by))
    try:
        return msgspec.to_builtins(reference)
    except (TypeError, NotImplementedError) as error:  # an option of a plugin's that is no plain value
        _log.warning("job %s/%s cannot be attached: %s", table.executor_id, table.job_id, error)
        return None


# ---- failures and what was printed


def _first_failures(table: CallTable) -> list[tuple[int, Any]]:
    """Those that will be told.  Exceptions become texts at once, as they keep alive what they were raised through."""
    values: Sequence[Any] = table.values
    return [(call, _told(values[call])) for call in _failed(table.states)]


def _failed(states: bytearray) -> Iterator[int]:
    call = -1
    for _ in range(FAILURES):
        call = states.find(FAILED, call + 1)
        if call < 0:
            return
        yield call


def _told(value: Any) -> Any:
    if isinstance(value, BaseException):
        return Failure("", type(value).__qualname__, str_of(value), "")
    return value


def _failures(entry: Entry) -> list[tuple[int, str, str, str]]:
    """Call, type, message and the traceback's end, of those that no line has yet."""
    found = entry.failures
    if not entry.over:
        values = entry.values
        found = [(call, _told(values[call])) for call in _failed(entry.states)] if values else []
    lines = []
    for call, value in found:
        if call in entry.told:
            continue
        entry.told.add(call)
        if isinstance(value, Failure):
            said = _text(value.name, MESSAGE), _text(value.message, MESSAGE), _tail(value.traceback)
            lines.append((call, *said))
        elif isinstance(value, Stored):  # nobody has asked for it yet
            lines.append((call, "", "what it raised is in the storage, and was not read", ""))
    return lines


def _logs(entry: Entry) -> tuple[dict[int, str], int]:
    """What calls have printed, of those that no line has yet: the failed ones first; and of how many there is no room.

    The calls of a table that goes on add to it meanwhile, so it is copied.
    """
    logs = entry.logs.copy()
    lines: dict[int, str] = {}
    order = [*(call for call, _ in entry.failures if call in logs), *logs]
    for call in order:
        if call not in entry.logged and entry.room > 0:
            entry.logged.add(call)
            lines[call] = _tail(logs[call])
            entry.room -= len(lines[call])
    return lines, len(logs) - len(entry.logged)


def _tail(text: str) -> str:
    return _clean(text if len(text) <= PRINTED else "…" + text[-PRINTED:])


def _text(text: str, most: int) -> str:
    return _clean(text if len(text) <= most else text[:most] + "…")


def _clean(text: str) -> str:
    """The same without halves of characters, which JSON's readers refuse."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
