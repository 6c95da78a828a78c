"""What there is to write of a job once it is over, or as far as it is: the lines of `wren.recorder`."""

import binascii
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from wren.job import Job
from wren.logs import Log
from wren.references import Role
from wren.spi import Stored
from wren.table import CANCELLED, FAILED, OK, CallTable
from wren.wire import Failure
from wren.worker.run import str_of

__all__ = ["Columns", "Entry", "Place", "loop", "runs"]

Place: TypeAlias = tuple[str, str]  # the names of a backend and a storage

_log: Final = Log("wren.state")

FAILURES: Final = 100  # of a job that are told in words
LOGS: Final = 200_000  # characters of what a job's calls have printed
PRINTED: Final = 4_000  # of those of one call, at most: its last ones; likewise of a traceback
MESSAGE: Final = 2_000  # characters of an exception's message, its first ones
# Times of each call are kept of jobs of so many calls, which have taken so many seconds for each: writing takes 1 %.
TIMED, WORTH = 10_000, 1e-4

_ONE_DONE: Final = bytes((OK,))


class Columns:
    """What is known of a job, and none of its results.

    No named tuple: this is imported as late as when the program ends, and Python forgets that Ctrl-C has ended it, and
    with it the exit status, where text is evaluated after that, as `namedtuple` does.
    """

    __slots__ = (
        "ended", "executor_id", "job_id", "logs", "name", "place", "started", "states", "stopped", "submitted"
    )  # fmt: skip

    executor_id: str
    job_id: str
    submitted: float
    name: str  # of its function
    place: Place
    states: bytearray
    started: Sequence[float]
    stopped: Sequence[float]
    logs: dict[int, str]
    ended: float | None  # when it was over

    def __init__(self, told: tuple[Any, ...]) -> None:
        (
            self.executor_id, self.job_id, self.submitted, self.name, self.place, self.states, self.started,
            self.stopped, self.logs, self.ended,
        ) = told  # fmt: skip

    @classmethod
    def of(cls, job: Job, place: Place) -> "Columns":
        """Those of a job that runs; they are filled in as it goes on."""
        table = job.table
        times = table.started, table.stopped
        return cls((
            table.executor_id, table.job_id, table.submitted, job.name, place, table.states, *times, table.logs, None
        ))  # fmt: skip

    @property
    def plain(self) -> bool:
        """Whether it is a single call that had a result, and there is nothing else to tell of it."""
        return self.states == _ONE_DONE and not self.logs and self.job_id[0] == "A"

    def goes_on(self, before: "Columns") -> bool:
        """Whether it may be of the same loop."""
        return self.executor_id == before.executor_id and self.name == before.name


def loop(run: Sequence[Columns]) -> dict[str, Any]:
    """The line of single calls that follow each other."""
    first, last = run[0], run[-1]
    line = _head(first, len(run)) | {"done": len(run), "ended": last.ended}
    if len(run) > 1:
        line["last"] = last.job_id
    started, stopped = [each.started[0] for each in run], [each.stopped[0] for each in run]
    return line | _times(first.submitted, last.ended or 0.0, started, stopped)


class Entry:
    """What there is to write of any other job."""

    __slots__ = ("ended", "failures", "job", "logged", "next", "room", "table", "told", "values", "written")

    def __init__(self, job: Columns, table: CallTable | None = None) -> None:
        self.job = job
        self.values: Sequence[Any] = () if table is None else table.values  # until it is over
        self.table = table if table is not None and table.reference is not None else None  # of a job that persists
        self.failures: list[tuple[int, Any]] = []  # when it is over: the first of them, by call
        self.ended = job.ended
        self.written: tuple[int, int, int] | None = None  # the counts in its last line
        self.next = 0.0  # when it is to be looked at again, by the monotonic clock
        self.told: set[int] = set()  # calls whose failures are written
        self.logged: set[int] = set()  # likewise of what they have printed
        self.room = LOGS

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many calls have succeeded, failed, and were cancelled."""
        states = self.job.states
        return states.count(OK), states.count(FAILED), states.count(CANCELLED)

    def end(self, table: CallTable) -> None:
        """It is over: keep what is to be said, and nothing else."""
        if table.failures:
            self.failures = _first_failures(table)
        self.values, self.ended = (), time.time()

    def line(self) -> dict[str, Any]:
        """What is to be said now, and was not said before."""
        ended = self.ended  # first: what is counted then is all
        done, failed, cancelled = self.written = self.counts
        job = self.job
        line = _head(job, len(job.states)) | {"done": done, "failed": failed, "cancelled": cancelled}
        if ended is not None:
            line["ended"] = ended
            line |= _times(job.submitted, ended, job.started, job.stopped)
        if self.table is not None:
            line["reference"] = reference = _reference(self.table)
            if reference is None:  # which is said once
                self.table = None
        if failed:
            line["failures"] = _failures(self)
        if job.logs:
            line["logs"], line["unlogged"] = _logs(self)
        return line


def runs(over: "deque[Entry | tuple[Any, ...]]") -> Iterator[Entry | list[Columns]]:
    """What is over, taken from a queue: jobs one by one, and single calls in loops, as they follow each other."""
    run: list[Columns] = []
    number = 0  # of its last job
    while True:
        try:
            each = over.popleft()
        except IndexError:
            break
        if not isinstance(each, Entry):
            job = Columns(each)
            if job.plain:
                before, number = number, int(job.job_id[1:])
                if run and not (number == before + 1 and job.goes_on(run[-1])):
                    yield run
                    run = []
                run.append(job)
                continue
            each = Entry(job)
        if run:
            yield run
            run = []
        yield each
    if run:
        yield run


def _head(job: Columns, calls: int) -> dict[str, Any]:
    return {
        "job": f"{job.executor_id}/{job.job_id}",
        "calls": calls,
        "function": _text(job.name, MESSAGE),
        "backend": job.place[0],
        "storage": job.place[1],
        "submitted": job.submitted,
    }


def _times(submitted: float, ended: float, started: Sequence[float], stopped: Sequence[float]) -> dict[str, Any]:
    """When calls have started, and how long they took, in microseconds; nothing where that would cost too much."""
    if len(started) > TIMED or ended - submitted < len(started) * WORTH:
        return {}
    spans = list(zip(started, stopped, strict=True))
    return {
        "started": [int((start - submitted) * 1e6) if start else None for start, _ in spans],
        "took": [int((stop - start) * 1e6) if start and stop else None for start, stop in spans],
    }


def _reference(table: CallTable) -> Any:
    """What reads the job's results elsewhere, as JSON has it; None where it cannot."""
    import json

    assert table.reference is not None
    reference = table.reference()._replace(role=Role(table.single, table.reduced_by))
    try:
        return json.loads(json.dumps(reference, default=_plain))
    except TypeError as error:  # an option of a plugin's that is no plain value
        _log.warning("job %s/%s cannot be attached: %s", table.executor_id, table.job_id, error)
        return None


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return binascii.b2a_base64(value, newline=False).decode()
    raise TypeError(f"a value of type {type(value).__qualname__} is none of JSON's")


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
    if entry.ended is None:
        values = entry.values
        found = [(call, _told(values[call])) for call in _failed(entry.job.states)] if values else []
    lines = []
    for call, value in found:
        if call in entry.told or len(entry.told) >= FAILURES:
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
    logs = entry.job.logs.copy()
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
