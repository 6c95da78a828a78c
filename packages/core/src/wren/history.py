"""What the records in the state directory say of the jobs of this user's clients; `wren.recorder` writes them.

The commands `jobs` and `logs` ask for them, and `wren.attach`.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from wren import state
from wren.errors import NoSuchJob
from wren.futures import Future
from wren.recorder import recorder
from wren.references import Client, Reference

__all__ = ["Failed", "JobRecord", "attach", "find", "jobs", "together"]

State: TypeAlias = Literal["running", "done", "failed", "cancelled", "lost"]

LAST: Final = "last"  # names the newest job
NAMED: Final = 5  # jobs that an error names


class Failed(NamedTuple):
    """A call that has failed, in words."""

    call: int
    type: str
    message: str
    traceback: str  # its end


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of a job; or of the single calls `job` to `last` of a loop, one job each."""

    job: str  # executor_id/job_id
    calls: int
    function: str
    backend: str
    storage: str
    submitted: float  # epoch seconds
    done: int = 0  # calls with a result
    failed: int = 0
    cancelled: int = 0
    last: str = ""  # job_id
    ended: float | None = None  # epoch seconds
    started: Sequence[int | None] = ()  # by call, microseconds after `submitted`; empty where nobody has noted it
    took: Sequence[int | None] = ()  # by call, microseconds
    failures: Sequence[Failed] = ()  # the first of them
    logs: Mapping[int, str] = field(default_factory=dict)  # the end of what calls have printed, by call
    unlogged: int = 0  # calls that have printed something, too, which there was no room for
    reference: Reference | None = None  # of a job that persists
    lost: bool = False  # its client ended before it did

    @property
    def settled(self) -> int:
        """How many calls are over, in whatever way."""
        return self.done + self.failed + self.cancelled

    @property
    def state(self) -> State:
        """How it is; "lost": its client ended before it did."""
        if self.ended is None:
            return "lost" if self.lost else "running"
        if self.failed:
            return "failed"
        return "cancelled" if self.cancelled else "done"

    @property
    def seconds(self) -> float | None:
        """How long it took, or goes on; None where nobody knows."""
        if self.ended is None:
            return None if self.lost else time.time() - self.submitted
        return self.ended - self.submitted

    def of_call(self, number: int) -> "JobRecord":
        """The single job of a loop of them, from 0 on; submitted when it has started, if that is known."""
        executor_id, _, first = self.job.partition("/")
        one = replace(self, job=f"{executor_id}/{first[0]}{int(first[1:]) + number:03d}", last="", calls=1, done=1)
        began = self.started[number] if self.started else None
        took = self.took[number] if self.took else None
        if began is None or took is None:
            return replace(one, started=(), took=())
        submitted = self.submitted + began / 1e6
        return replace(one, submitted=submitted, ended=submitted + took / 1e6, started=(0,), took=(took,))


class _Header(msgspec.Struct, frozen=True):
    """The first line of a file."""

    version: int
    client: Client


_header: Final = msgspec.json.Decoder(_Header)
_line: Final = msgspec.json.Decoder(JobRecord)


def jobs() -> list[JobRecord]:
    """All jobs that there are records of, oldest first.  OSError where these cannot be read."""
    found, clients = _read()
    open_ones = {process for (process, _), record in found.items() if record.ended is None}
    gone = {process for process in open_ones if clients[process].gone()}
    if gone:  # by now they have written all that they will
        found, _ = _read()
    oldest = time.time() - state.KEPT
    records = [
        replace(record, lost=True) if record.ended is None and process in gone else record
        for (process, _), record in found.items()
    ]
    kept = (each for each in records if each.state == "running" or (each.ended or each.submitted) >= oldest)
    return sorted(kept, key=lambda record: record.submitted)


def _read() -> tuple[dict[tuple[str, str], JobRecord], dict[str, Client]]:
    """What is written of each job, by process and name; and the processes.  What cannot be read of it is left out."""
    found: dict[tuple[str, str], JobRecord] = {}
    clients: dict[str, Client] = {}
    for process, (first, *lines) in state.files():
        with contextlib.suppress(msgspec.MsgspecError):
            header = _header.decode(first)
            if header.version == state.VERSION:
                clients[process] = header.client
        for line in lines if process in clients else ():
            with contextlib.suppress(msgspec.MsgspecError):
                record = _line.decode(line)
                key = process, record.job
                found[key] = _continued(found[key], record) if key in found else record
    return found, clients


def _continued(before: JobRecord, after: JobRecord) -> JobRecord:
    """What two lines say of a job: what calls have left is told once, the rest each time."""
    return replace(after, failures=[*before.failures, *after.failures], logs={**before.logs, **after.logs})


def together(records: Sequence[JobRecord]) -> Iterator[JobRecord]:
    """The same, but for single calls of one function that follow each other, which are one: as a loop has made them."""
    for _, group in itertools.groupby(records, key=_loop()):
        run = list(group)
        if len(run) == 1:
            yield run[0]
            continue
        first, last = run[0], run[-1]
        yield replace(
            first,
            last=last.last or last.job.rpartition("/")[2],
            ended=last.ended,
            **{name: sum(getattr(each, name) for each in run) for name in ("calls", "done", "failed", "cancelled")},
        )


def _loop() -> Any:
    """A key for `groupby`, equal for records of one loop."""
    before: JobRecord | None = None
    number = 0

    def key(record: JobRecord) -> int:
        nonlocal before, number
        if before is None or not _follows(before, record):
            number += 1
        before = record
        return number

    return key


def _follows(before: JobRecord, record: JobRecord) -> bool:
    """Whether a single call that is over was called after another one of its function."""
    executor_id, _, job_id = record.job.partition("/")
    other, _, first = before.job.partition("/")
    over = before.ended is not None and record.ended is not None
    alike = executor_id == other and record.function == before.function and job_id[:1] == first[:1] == "A"
    return over and alike and int(job_id[1:]) == int((before.last or first)[1:]) + 1


# ---- names


def find(name: str) -> JobRecord:
    """The job of that name: `executor_id/job_id`, as much of its beginning as no other job has, or `last`.

    Raises NoSuchJob, which says what there is.
    """
    records = jobs()
    if not records:
        raise NoSuchJob(f"there is no record of job {name!r}, nor of any other, in {state.folder()}")
    if name == LAST:
        return _newest(records[-1])
    for record in reversed(records):  # ids are short: the newest of that name
        member = _member(record, name)
        if member is not None:
            return member
    begun = [record for record in records if record.job.startswith(name)]
    if len(begun) == 1 and not begun[0].last:
        return begun[0]
    raise NoSuchJob(_near(name, begun, records))


def _newest(record: JobRecord) -> JobRecord:
    return record.of_call(record.calls - 1) if record.last else record


def _member(record: JobRecord, name: str) -> JobRecord | None:
    """The job of that name, if this is its record."""
    if not record.last:
        return record if record.job == name else None
    executor_id, _, job_id = name.partition("/")
    owner, _, first = record.job.partition("/")
    if executor_id != owner or job_id[:1] != first[:1] or not job_id[1:].isdecimal():
        return None
    number = int(job_id[1:]) - int(first[1:])
    if not 0 <= number < record.calls:
        return None
    member = record.of_call(number)
    return member if member.job == name else None  # A1 may be the beginning of A100


def _near(name: str, begun: Sequence[JobRecord], records: Sequence[JobRecord]) -> str:
    import difflib

    if begun:
        some = ", ".join(_named(record) for record in begun[-NAMED:])
        count = sum(record.calls if record.last else 1 for record in begun)
        return f"{count:,} jobs begin with {name!r}: say which, of {some}{' ...' if len(begun) > NAMED else ''}"
    near = difflib.get_close_matches(name, [record.job for record in reversed(records)], 1)
    guess = f"did you mean {near[0]}?" if near else f"the newest is {_named(records[-1])}, and `wren jobs` lists all"
    return f"there is no record of job {name!r}: {guess}"


def _named(record: JobRecord) -> str:
    return f"{record.job} to {record.last}" if record.last else record.job


# ---- futures


def attach(job: str) -> list[Future[Any]]:
    """The futures of a job that persists, of another process or of one that has ended, in the calls' order.

    `job`: its name, `executor_id/job_id`, as much of its beginning as no other job has, or `last`.  Results are read in
    the job's storage, with the secrets that this process has in its own configuration.  Raises NoSuchJob.
    """
    from wren import attached

    recorder.flush()  # it may be a job of this process
    record = find(job)
    if record.reference is None:
        raise NoSuchJob(f"job {record.job} does not persist, so nobody else can read its results: use persist=True")
    reference = record.reference
    return [attached.attach(reference, call) for call in range(reference.calls)]
