"""What the pool moves: tasks wait, batches of their calls are with workers; and the frames that carry them."""

import pickle
from collections import deque
from collections.abc import Sequence
from typing import Final

from wren.local.process import WorkerProcess
from wren.spi import Invocation, Report
from wren.wire import Buffer
from wren.worker import stream

FUNCTIONS: Final = 16  # kept by a worker
LARGE: Final = 1 << 20  # bytes of a function that is not kept once its job is over


class Task:
    """An invocation in the pool, and its calls that no worker has."""

    __slots__ = ("context", "invocation", "left", "number", "report", "seconds", "waiting")

    def __init__(self, number: int, invocation: Invocation, report: Report, context: stream.Context) -> None:
        self.number, self.invocation, self.report, self.context = number, invocation, report, context
        self.waiting: deque[Sequence[int]] = deque([invocation.calls])
        self.left = len(invocation.calls)  # not reported yet
        self.seconds: float | None = None  # what a call takes, of late

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

    __slots__ = ("calls", "done", "task", "token")

    def __init__(self, token: int, task: Task, calls: Sequence[int]) -> None:
        self.token, self.task, self.calls = token, task, calls
        self.done = 0


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

    def end(self, verdict: Exception | None = None) -> None:
        """Kill it; `verdict` is what its running call is told."""
        self.ending = True
        self.verdict = self.verdict or verdict
        self.process.kill()

    def outstanding(self) -> int:
        """How many calls it has."""
        return sum(len(batch.calls) - batch.done for batch in self.batches)

    def running(self) -> tuple[Task, int] | None:
        """The call that it runs, or will run next."""
        for batch in self.batches:
            if batch.done < len(batch.calls):
                return batch.task, batch.calls[batch.done]
        return None


def job_frame(worker: Worker, task: Task) -> list[Buffer]:
    """The frame of a job, with its function if the worker has it not, and what the worker may forget."""
    header = task.invocation.header
    blob = header.function
    known = worker.functions.pop(blob.id, None) is not None
    unused = [name for name in worker.functions if name not in worker.jobs.values()]
    excess = max(0, len(worker.functions) - FUNCTIONS + 1)
    old = [name for at, name in enumerate(unused) if at < excess or worker.functions[name] > LARGE]
    for name in old:
        del worker.functions[name]
    worker.functions[blob.id] = blob.size
    worker.jobs[task.number] = blob.id
    job = stream.Job(header, worker.forget, old)
    worker.forget = []
    return stream.frame(
        stream.JOB, [pickle.dumps(job, 5)], () if known else task.invocation.function, number=task.number
    )


def batch_frame(batch: Batch) -> list[Buffer]:
    """The frame of a batch, its arguments in the cheapest form that they allow."""
    task, calls = batch.task, batch.calls
    arguments, attempt = task.invocation.arguments, task.invocation.attempt
    pickles: list[Buffer] = []
    if (plain := arguments.plain(calls)) is not None:
        body = stream.Batch(attempt, calls, plain=plain)
    elif arguments.stored(calls[0]) is not None:
        body = stream.Batch(attempt, calls, stored=[inputs for call in calls if (inputs := arguments.stored(call))])
    else:
        chunks = [arguments.pickled(call) for call in calls]
        pickles = [chunk for some in chunks for chunk in some]
        body = stream.Batch(attempt, calls, sizes=[sum(map(len, some)) for some in chunks])
    return stream.frame(stream.BATCH, [pickle.dumps(body, 5)], pickles, tag=batch.token, number=task.number)
