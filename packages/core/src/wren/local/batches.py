"""What the pool moves: tasks wait, batches of their calls are with workers; and the frames that carry them."""

import pickle
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from wren.local.process import WorkerProcess
from wren.spi import Invocation, Report
from wren.wire import Buffer
from wren.worker import stream

FUNCTIONS: Final = 16  # kept by a worker
LARGE: Final = 1 << 20  # bytes of a function that is not kept once its job is over


class Task:
    """An invocation in the pool, and its calls that no worker has."""

    __slots__ = ("began", "context", "invocation", "left", "number", "report", "seconds", "waiting")

    def __init__(self, number: int, invocation: Invocation, report: Report, context: stream.Context) -> None:
        self.number, self.invocation, self.report, self.context = number, invocation, report, context
        self.waiting: deque[Sequence[int]] = deque([invocation.calls])
        self.left = len(invocation.calls)  # not reported yet
        self.seconds: float | None = None  # what a call takes, of late
        self.began = 0.0  # when its first calls were given to a worker (`time.monotonic`)

    def count(self) -> int:
        """How many calls wait."""
        return sum(map(len, self.waiting))

    def take(self, count: int) -> Sequence[int]:
        """At most `count` of the waiting calls, adjacent ones."""
        calls = self.waiting[0]
        if len(calls) > count:
            self.waiting[0] = calls[count:]
            return calls[:count]
        return self.waiting.popleft()

    def remove(self, calls: Sequence[int]) -> list[int]:
        """Take calls out: those of them that were waiting."""
        unwanted = set(calls)
        taken = [call for some in self.waiting for call in some if call in unwanted]
        if taken:
            kept = ([call for call in some if call not in unwanted] for some in self.waiting)
            self.waiting = deque(some for some in kept if some)
        return taken


class Batch:
    """Calls of a task that a worker has."""

    __slots__ = ("calls", "done", "place", "task", "token")

    def __init__(self, token: int, task: Task, calls: Sequence[int]) -> None:
        self.token, self.task, self.calls = token, task, calls
        self.done = 0
        self.place: int | None = None  # of its arguments in the memory that the worker shares


class Worker:
    """A process and what the pool knows that it has."""

    __slots__ = (
        "batches", "context", "ending", "forget", "functions", "jobs", "noticed", "process", "token", "verdict"
    )  # fmt: skip

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.batches: deque[Batch] = deque()
        self.token = 0
        self.context: stream.Context | None = None
        self.jobs: dict[int, str] = {}  # those with calls to come, and the ids of their functions
        self.functions: dict[str, int] = {}  # blob id: size, least recently used first
        self.forget: list[int] = []  # jobs to be named in the next job's frame
        self.noticed = 0.0  # when the call began that was reported as running
        self.ending = False
        self.verdict: Exception | None = None  # why the pool killed it

    @property
    def free(self) -> bool:
        """Whether it has no calls and can be given some."""
        return not self.batches and not self.ending

    def add(self, task: Task, calls: Sequence[int]) -> Batch:
        """A new batch, behind those that it has."""
        self.token = (self.token + 1) % (1 << 32)
        batch = Batch(self.token, task, calls)
        self.batches.append(batch)
        return batch

    def remove(self, batch: Batch) -> None:
        """It has no calls left here."""
        self.batches.remove(batch)
        if batch.place is not None:
            places = (each.place for each in self.batches if each.place is not None)
            self.process.unshare(min(places, default=None))

    def end(self, verdict: Exception | None = None) -> None:
        """Kill it; `verdict` is what its running call is told."""
        self.ending = True
        self.verdict = self.verdict or verdict
        self.process.kill()

    def outstanding(self) -> int:
        """How many calls it has."""
        count = 0
        for batch in self.batches:
            count += len(batch.calls) - batch.done
        return count

    def running(self) -> tuple[Task, int] | None:
        """The call that it runs, or will run next."""
        for batch in self.batches:
            if batch.done < len(batch.calls):
                return batch.task, batch.calls[batch.done]
        return None


def context_frame(context: stream.Context) -> list[Buffer]:
    """The frame of what a worker takes over from this process."""
    return stream.frame(stream.CONTEXT, [pickle.dumps(tuple(context), 5)])


def _job(worker: Worker, task: Task) -> stream.Job:
    """What a worker needs to know of a job that is new to it, and what it may forget."""
    header = task.invocation.header
    blob = header.function
    known = worker.functions.pop(blob.id, None) is not None
    old = _superfluous(worker) if worker.functions else []
    worker.functions[blob.id] = blob.size
    worker.jobs[task.number] = blob.id
    forget, worker.forget = worker.forget, []
    special = header.env or header.inject or header.gathered or header.persist or header.storage is not None
    terms = pickle.dumps(header, 5) if special or header.inline is not None else b""
    return stream.Job(blob.id, 0 if known else blob.size, terms, forget, old)


def _superfluous(worker: Worker) -> list[str]:
    """The functions that a worker need not keep, which are taken from the list of those that it has."""
    unused = [name for name in worker.functions if name not in worker.jobs.values()]
    excess = max(0, len(worker.functions) - FUNCTIONS + 1)
    old = [name for at, name in enumerate(unused) if at < excess or worker.functions[name] > LARGE]
    for name in old:
        del worker.functions[name]
    return old


def batch_frame(worker: Worker, batch: Batch) -> list[Buffer]:
    """The frame of a batch, its arguments in the cheapest form that they allow; with its job if that is new."""
    task, calls = batch.task, batch.calls
    arguments, attempt = task.invocation.arguments, task.invocation.attempt
    job = _job(worker, task) if task.number not in worker.jobs else None
    extra: list[Buffer] = [*task.invocation.function] if job is not None and job.size else []
    named = (calls.start, calls.stop) if type(calls) is range and calls.step == 1 else calls
    known = attempt, named, job and tuple(job)
    if (plain := arguments.plain(calls)) is not None:
        body: tuple[Any, ...] = (*known, plain)
    elif arguments.stored(calls[0]) is not None:
        body = (*known, None, None, [inputs for call in calls if (inputs := arguments.stored(call))])
    else:
        chunks = [arguments.pickled(call) for call in calls]
        pickles = [chunk for some in chunks for chunk in some]
        sizes = [sum(map(len, some)) for some in chunks]
        batch.place = worker.process.share(pickles, sum(sizes))
        extra += pickles if batch.place is None else ()
        body = (*known, None, sizes, None, batch.place)
    return stream.frame(stream.BATCH, [pickle.dumps(body, 5)], extra, tag=batch.token, number=task.number)
