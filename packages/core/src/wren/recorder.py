"""Writes down what becomes of jobs, for `wren jobs`, `wren logs` and `wren.attach`: some time after it has happened.

    engine ─▶ stir ─── a second later, in the cleaner's thread ──▶ which jobs run? ─┐
       └────▶ ended ─▶ queue ───────────────────────────────────▶ which are over? ──┴─▶ lines ─▶ wren.state

A single call takes 0.1 ms, so nothing is written on its way: its job costs a step on a queue when it is over.  What has
begun and ended by the time that the queue is looked at is one line, a loop of single calls one line for many.  A job
that goes on is looked at again, the longer it runs the more seldom, and gets a line where something has changed: so its
record says how far it was when its client is killed.

A record never has arguments, results or the values of `extra_env`.  It has what functions print and the texts of their
exceptions, of each job as much as is useful; and the job's key only where the caller wants the results to persist.

What makes lines of it is imported when the first are made: this is in the client's way to its first result.
"""

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from wren import callbacks
from wren.job import Job
from wren.logs import Log

if TYPE_CHECKING:
    from wren.entries import Entry, Place
    from wren.state import Journal

__all__ = ["Recorder", "Source", "recorder"]

_log: Final = Log("wren.state")

DELAY: Final = 1.0  # seconds from a change to its line: who has short calls should not be disturbed by each
LOOK, SELDOM = 1.0, 30.0  # seconds between two looks at a job that runs: at first, and in the end


class Source(Protocol):
    """Who knows jobs that run: an engine."""

    def running(self) -> Iterable[tuple[Job, "Place"]]:
        """Those that are not over, with the names of their backend and storage."""


class Recorder:
    """The one of this process.  Thread-safe."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Begin anew: in a forked child, too, where what has ended is the parent's to write."""
        self._lock = threading.RLock()  # reentrant, for signal handlers
        self._sources: weakref.WeakSet[Source] = weakref.WeakSet()
        # What is over.  A tuple is `Columns` and the time, which as a record would take a call twice as long.
        self._queue: deque[Entry | tuple[Any, ...]] = deque()
        self._running: list[Entry] = []  # what was not when it was looked at last
        self._journal: Journal | None = None
        self._due = inf  # when that is looked at again, by the monotonic clock
        self._given_up = False
        self.stirred = False  # what happens now will be looked at soon

    def follow(self, source: Source) -> None:
        """Ask an engine for jobs that run, whenever somebody has stirred."""
        self._sources.add(source)

    def stir(self) -> None:
        """Something has happened: look in a moment."""
        self.stirred = True
        with contextlib.suppress(RuntimeError):  # the interpreter is about to end: then its end looks
            callbacks.after(DELAY, self._hand_over)

    def ended(self, job: Job, place: "Place") -> None:
        """Every call of the job has settled.  To be called once."""
        table, entry = job.table, job.entry
        if entry is None and not table.failures and table.reference is None:
            self._queue.append((
                table.executor_id, table.job_id, table.submitted, job.name, place, table.states, table.started,
                table.stopped, table.logs, time.time(),
            ))  # fmt: skip
        else:
            from wren.entries import Columns, Entry

            entry = entry or Entry(Columns.of(job, place), table)
            entry.end(table)
            self._queue.append(entry)
        if not self.stirred:
            self.stir()

    def _hand_over(self) -> None:
        callbacks.clean(self.flush)  # a disk may take its time

    def _look_again(self) -> None:
        """At what runs, when its time has come."""
        due = min((entry.next for entry in self._running), default=inf)
        if due < self._due:
            self._due = due
            with contextlib.suppress(RuntimeError):
                callbacks.after(max(0.0, due - time.monotonic()), self._look)

    def _look(self) -> None:
        self._due = inf
        self._hand_over()

    def flush(self) -> None:
        """Write what has changed."""
        self.stirred = False
        with self._lock:
            if self._given_up:
                self._queue.clear()
                return
            self._write()
            self._look_again()

    def _write(self) -> None:
        import json

        from wren.entries import Entry, loop, runs

        lines = list(self._of_running())
        over = set()
        for run in runs(self._queue):
            if isinstance(run, Entry):
                over.add(run)
                lines.append(run.line())
            else:
                lines.append(loop(run))
        if over:
            self._running = [entry for entry in self._running if entry not in over]
        if lines:
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            self._append(text.encode())

    def _of_running(self) -> Iterator[dict[str, Any]]:
        """Lines of what runs and has changed."""
        from wren.entries import Columns, Entry

        for source in list(self._sources):
            for job, place in source.running():
                if job.entry is None:
                    job.entry = Entry(Columns.of(job, place), job.table)
                    if job.table.unfinished:  # else its end may have come before, and is in the queue
                        self._running.append(job.entry)
        now = time.monotonic()
        for entry in self._running:
            if entry.ended is None and now >= entry.next:
                entry.next = now + min(max(LOOK, 0.2 * (time.time() - entry.job.submitted)), SELDOM)
                if entry.counts != entry.written:
                    yield entry.line()

    def _append(self, lines: bytes) -> None:
        from wren import state

        self._journal = self._journal or state.Journal()
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
        """In a forked child, whose engines are new as well."""
        sources = list(self._sources)
        self._forget()
        for source in sources:
            self._sources.add(source)


recorder: Final = Recorder()

os.register_at_fork(after_in_child=recorder.forked)
atexit.register(recorder.flush)  # after the engine's own, which waits for the calls: it is registered later
