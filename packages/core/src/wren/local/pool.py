"""Schedules calls over warm worker processes: one thread owns everything here.

    submit ─▶ inbox ─▶ queue of tasks ─▶ batches ─▶ workers ─▶ results ─▶ report
                         ▲                  │
                         └── taken back ────┘   a worker is idle while another has calls that it has not begun,
                                                a worker died, or a call is cancelled

Batches adapt: the first has one call, later ones as many as take about 10 ms, never more than a fair share of what is
left.  What a batch must not cost: a crash is put down to the call that ran, what had not begun goes elsewhere, each
call has its own timeout, and what is not begun can be taken back.
"""

import itertools
import logging
import os
import pickle
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final

from wren.errors import BackendError, CallCancelled, CallTimeout, WorkerLost
from wren.local.process import Results, WorkerProcess
from wren.spi import Invocation, Outcomes, Report, Stored
from wren.wire import Buffer, CallStatus
from wren.worker import stream

_log = logging.getLogger("wren.local")

BATCH_SECONDS: Final = 0.010  # how long a batch should take
BATCH_CALLS: Final = 2_048  # at most: all their claims must fit in a pipe
BATCH_BYTES: Final = 1 << 20  # of arguments in a batch of more than one call
OVERHEAD: Final = 3e-6  # seconds that a call costs besides the function
SHORT: Final = 0.002  # seconds; calls that are shorter are sent before the worker has finished those that it has
PATIENCE: Final = 0.002  # seconds that an idle worker waits before calls are taken from a busy one
FUNCTIONS: Final = 16  # kept by a worker
LARGE: Final = 1 << 20  # bytes of a function that is not kept once its job is over
STARTS: Final = 2  # workers that may end before they are ready, in a row


class Task:
    """An invocation in the pool, and its calls that no worker has."""

    __slots__ = ("invocation", "left", "number", "report", "seconds", "waiting")

    def __init__(self, number: int, invocation: Invocation, report: Report) -> None:
        self.number, self.invocation, self.report = number, invocation, report
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

    def remove(self, call: int) -> bool:
        """Take one call out; False if it is not waiting."""
        for index, calls in enumerate(self.waiting):
            if call in calls:
                at = calls.index(call)
                del self.waiting[index]
                self.waiting.extendleft(part for part in (calls[at + 1 :], calls[:at]) if len(part))
                return True
        return False


class Batch:
    """Calls of a task that a worker has."""

    __slots__ = ("calls", "done", "task", "token")

    def __init__(self, token: int, task: Task, calls: Sequence[int]) -> None:
        self.token, self.task, self.calls = token, task, calls
        self.done = 0


class Worker:
    """A process and what the pool knows that it has."""

    __slots__ = ("batches", "context", "forget", "functions", "jobs", "process", "stale", "token", "verdict")

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.batches: deque[Batch] = deque()
        self.token = 0
        self.stale = 0  # batches taken back whole, whose frames it has not passed yet
        self.context: stream.Context | None = None
        self.jobs: set[int] = set()
        self.functions: dict[str, int] = {}  # blob id: size, least recently used first
        self.forget: list[int] = []  # jobs to be named in the next job's frame
        self.verdict: Exception | None = None  # why the pool killed it

    def outstanding(self) -> int:
        """How many calls it has."""
        return sum(len(batch.calls) - batch.done for batch in self.batches)

    def running(self) -> tuple[Task, int] | None:
        """The call that it runs, or will run next."""
        for batch in self.batches:
            if batch.done < len(batch.calls):
                return batch.task, batch.calls[batch.done]
        return None


class Pool:
    """At most `size` workers, started when there is something to do and kept."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._numbers = itertools.count(1)
        self._queue: deque[Task] = deque()
        self._tasks: dict[int, Task] = {}  # all that are not wholly reported, by number
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._steal_at: float | None = None
        self._context = stream.Context((), "", {})
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, self._awoken)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # of starting the thread, nothing else

    # ---- called from any thread

    def submit(self, invocations: Sequence[Invocation], report: Report, context: stream.Context) -> None:
        """Run the calls of some invocations; what becomes of each goes to `report`."""

        def enter() -> None:
            self._context = context
            for invocation in invocations:
                task = Task(next(self._numbers), invocation, report)
                self._tasks[task.number] = task
                self._queue.append(task)

        self._do(enter)

    def withdraw(self, invocation: Invocation, call: int) -> bool:
        """Take a call back; True if no worker had begun it."""
        return self._ask(lambda: self._withdraw(invocation, call))

    def kill(self, invocation: Invocation, call: int) -> bool:
        """Kill the worker that runs a call; True if one did."""
        return self._ask(lambda: self._kill(invocation, call))

    def worker_ids(self) -> list[int]:
        """The process ids of the workers."""
        return self._ask(lambda: [worker.process.pid for worker in self._workers])

    def _do(self, command: Callable[[], None]) -> None:
        self._inbox.put(command)
        os.eventfd_write(self._wake, 1)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="wren-local", daemon=True)
                    self._thread.start()

    def _ask(self, question: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._thread:
            return question()
        answer: SimpleQueue[Any] = SimpleQueue()
        self._do(lambda: answer.put(question()))
        return answer.get()

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors, so that the workers end with the parent."""
        self._selector.close()
        os.close(self._wake)
        for worker in self._workers:
            worker.process.close()

    # ---- the loop

    def _run(self) -> None:
        while True:
            try:
                for key, _ in self._selector.select(self._timeout()):
                    key.data()
                self._expire()
                self._dispatch()
            except Exception as error:  # a bug here must fail the calls, not leave them waiting
                _log.exception("the local pool failed")
                self._fail_all(BackendError(f"the local pool failed: {type(error).__name__}: {error}"))

    def _awoken(self) -> None:
        os.eventfd_read(self._wake)
        while not self._inbox.empty():
            self._inbox.get()()

    def _dispatch(self) -> None:
        """Give waiting calls to workers, and see whether an idle one should be given what others have."""
        while self._queue:
            worker = self._free_worker()
            if worker is None:
                break
            task = self._queue.popleft()
            if not task.waiting:
                continue
            self._assign(worker, task, task.take(self._batch_size(task)))
            if task.waiting:
                self._queue.append(task)  # behind the others: no job waits for another one's end
        imbalance = not self._queue and any(not w.batches for w in self._workers) and any(
            worker.outstanding() > 1 for worker in self._workers
        )
        if not imbalance:
            self._steal_at = None
        elif self._steal_at is None:
            self._steal_at = time.monotonic() + PATIENCE

    def _free_worker(self) -> Worker | None:
        idle = [worker for worker in self._workers if not worker.batches and worker.stale < 100]  # noqa: PLR2004 - of 256 tokens
        if idle:
            return next((worker for worker in idle if worker.process.ready), idle[0])
        if len(self._workers) < self.size:
            return self._start_worker()
        short = [
            worker
            for worker in self._workers
            if len(worker.batches) == 1 and worker.stale < 100 and (worker.batches[0].task.seconds or SHORT) < SHORT  # noqa: PLR2004
        ]
        return min(short, key=Worker.outstanding, default=None)

    def _batch_size(self, task: Task) -> int:
        if task.seconds is None:
            return 1
        share = -(-task.count() // (2 * self.size))
        affordable = int(BATCH_SECONDS / (task.seconds + OVERHEAD))
        fitting = BATCH_BYTES // max(1, task.invocation.arguments.mean_size)
        return max(1, min(share, affordable, fitting, BATCH_CALLS))

    def _assign(self, worker: Worker, task: Task, calls: Sequence[int]) -> None:
        buffers: list[Buffer] = []
        if worker.context != self._context:
            worker.context = self._context
            buffers += stream.frame(stream.CONTEXT, [pickle.dumps(self._context, 5)])
        if task.number not in worker.jobs:
            buffers += _job_frame(worker, task)
        worker.token = (worker.token + 1) % 256
        buffers += _batch_frame(worker.token, task, calls)
        worker.batches.append(Batch(worker.token, task, calls))
        worker.process.claim(worker.token, len(calls))
        worker.process.send(buffers)
        self._watch_writing(worker)

    def _watch_writing(self, worker: Worker) -> None:
        fd = worker.process.tasks
        watched = fd in self._selector.get_map()
        if worker.process.writing and not watched:
            self._selector.register(fd, selectors.EVENT_WRITE, lambda: self._writable(worker))
        elif watched and not worker.process.writing:
            self._selector.unregister(fd)

    def _writable(self, worker: Worker) -> None:
        worker.process.flush()
        self._watch_writing(worker)

    # ---- results

    def _readable(self, worker: Worker) -> None:
        results = worker.process.read()
        if results.ready:
            self._failed_starts = 0
        if results.values:
            self._settle(worker, results)
        if results.eof:  # it is dying, or its call closed the pipe: either way no result can come
            self._selector.unregister(worker.process.results)
            worker.process.kill()

    def _settle(self, worker: Worker, results: Results) -> None:
        """Report results, which come in the order of the batches."""
        worker.stale = 0
        at = 0
        while at < len(results.values):
            batch = worker.batches[0]
            count = min(len(batch.calls) - batch.done, len(results.values) - at)
            self._report(batch, results, at, count)
            batch.done += count
            at += count
            if batch.done == len(batch.calls):
                worker.batches.popleft()

    def _report(self, batch: Batch, results: Results, first: int, count: int) -> None:
        task, stop = batch.task, first + count
        took = (sum(results.stopped[first:stop]) - sum(results.started[first:stop])) / count
        task.seconds = took if task.seconds is None else (task.seconds + took) / 2
        calls = batch.calls[batch.done : batch.done + count]
        failed = [at for at in results.failures if first <= at < stop]
        start = first
        for at in [*failed, stop]:
            if at > start:
                task.report.succeeded(
                    task.invocation, _outcomes(results, calls[start - first : at - first], start, at, task.invocation)
                )
            if at < stop:
                task.report.status(task.invocation, _status(results, calls[at - first], at, task.invocation))
            start = at + 1
        self._done(task, count)

    def _done(self, task: Task, count: int) -> None:
        task.left -= count
        if not task.left:
            self._tasks.pop(task.number, None)
            for worker in self._workers:
                if task.number in worker.jobs:
                    worker.jobs.remove(task.number)
                    worker.forget.append(task.number)

    def _fail(self, task: Task, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        if len(calls):
            task.report.failed(task.invocation, calls, error, logs)
            self._done(task, len(calls))

    def _fail_all(self, error: Exception) -> None:
        for worker in self._workers:
            worker.process.kill()
        for task in list(self._tasks.values()):
            for calls in task.waiting:
                self._fail(task, calls, error)
            task.waiting.clear()
        self._queue.clear()

    # ---- taking calls back

    def _take_back(self, worker: Worker, count: int) -> None:
        """Take at most `count` calls that the worker has not begun, and queue them first."""
        tokens = worker.process.take_back(count)
        for batch in reversed(list(worker.batches)):
            taken = tokens.count(batch.token)
            if not taken:
                continue
            kept = len(batch.calls) - taken
            batch.task.waiting.appendleft(batch.calls[kept:])
            batch.calls = batch.calls[:kept]
            if batch.done == kept:
                worker.batches.remove(batch)
                worker.stale += 1
            if batch.task not in self._queue:
                self._queue.appendleft(batch.task)

    def _steal(self) -> None:
        """Halve the largest pile of calls that have not begun."""
        piles = {worker.process.unclaimed(): worker for worker in self._workers}
        most = max(piles)
        if most:
            self._take_back(piles[most], -(-most // 2))

    def _withdraw(self, invocation: Invocation, call: int) -> bool:
        task = self._find(invocation)
        if task is None:
            return False
        if not task.remove(call):
            holder = self._holder(task, call)
            if holder is None:
                return False
            self._take_back(holder, holder.process.unclaimed())
            if not task.remove(call):
                return False
        self._done(task, 1)
        return True

    def _kill(self, invocation: Invocation, call: int) -> bool:
        task = self._find(invocation)
        for worker in self._workers:
            if task is not None and worker.running() == (task, call):
                worker.verdict = CallCancelled(f"call {call} of job {invocation.header.job} was killed")
                worker.process.kill()
                return True
        return False

    def _find(self, invocation: Invocation) -> Task | None:
        return next((task for task in self._tasks.values() if task.invocation is invocation), None)

    def _holder(self, task: Task, call: int) -> Worker | None:
        for worker in self._workers:
            if any(batch.task is task and call in batch.calls[batch.done :] for batch in worker.batches):
                return worker
        return None

    # ---- time

    def _timeout(self) -> float | None:
        """Seconds until something is due."""
        due = [at for worker in self._workers if (at := self._deadline(worker)) is not None]
        if self._steal_at is not None:
            due.append(self._steal_at)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _deadline(self, worker: Worker) -> float | None:
        running = worker.running()
        if running is None or running[0].invocation.timeout is None or worker.verdict is not None:
            return None
        return (worker.process.began or time.monotonic()) + running[0].invocation.timeout

    def _expire(self) -> None:
        now = time.monotonic()
        if self._steal_at is not None and now >= self._steal_at:
            self._steal_at = None
            self._steal()
        for worker in self._workers:
            at = self._deadline(worker)
            if at is None or now < at:
                continue
            self._readable(worker)  # it may have ended just now
            running, at = worker.running(), self._deadline(worker)
            if running is not None and at is not None and now >= at:
                task, call = running
                worker.verdict = CallTimeout(
                    f"call {call} of job {task.invocation.header.job} ran longer than its timeout of "
                    f"{task.invocation.timeout:g} s and was killed"
                )
                worker.process.kill()

    # ---- the beginning and the end of a worker

    def _start_worker(self) -> Worker:
        worker = Worker(WorkerProcess())
        self._workers.append(worker)
        self._selector.register(worker.process.results, selectors.EVENT_READ, lambda: self._readable(worker))
        self._selector.register(worker.process.pidfd, selectors.EVENT_READ, lambda: self._exited(worker))
        return worker

    def _exited(self, worker: Worker) -> None:
        """A worker is gone: its last results count, the running call is lost, the rest goes elsewhere."""
        process = worker.process
        while process.results in self._selector.get_map():
            before = worker.outstanding()
            self._readable(worker)
            if worker.outstanding() == before and process.results in self._selector.get_map():
                break  # nothing more in the pipe, which something that it started holds open
        for fd in (process.results, process.tasks, process.pidfd):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        self._workers.remove(worker)
        self._take_back(worker, process.unclaimed())
        code, output = process.reap()
        if not process.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                self._failed_starts = 0
                self._fail_all(BackendError(f"local workers cannot start: {_ending(code)}; output: {output.strip()[-2000:]}"))
        for batch in worker.batches:
            lost = batch.calls[batch.done :]
            self._fail(batch.task, lost, worker.verdict or _lost(process.pid, code, output), output)


_EPOCH: Final = time.time() - time.monotonic()  # what makes a monotonic time one since the epoch


def _outcomes(results: Results, calls: Sequence[int], start: int, stop: int, invocation: Invocation) -> Outcomes:
    values = results.values[start:stop]
    if invocation.header.gathered or invocation.header.persist:
        values = [Stored(invocation.attempt) if isinstance(value, Stored) else value for value in values]
    return Outcomes(
        calls,
        values,
        [at + _EPOCH for at in results.started[start:stop]],
        [at + _EPOCH for at in results.stopped[start:stop]],
        {calls[at - start]: text for at, text in results.logs.items() if start <= at < stop} if results.logs else {},
    )


def _status(results: Results, call: int, at: int, invocation: Invocation) -> CallStatus:
    return CallStatus(
        executor=invocation.header.executor,
        job=invocation.header.job,
        call=call,
        attempt=invocation.attempt,
        state="err",
        started=results.started[at] + _EPOCH,
        stopped=results.stopped[at] + _EPOCH,
        failure=results.values[at],
        logs=results.logs.get(at, ""),
    )


def _job_frame(worker: Worker, task: Task) -> list[Buffer]:
    """The frame of a job, with its function if the worker has it not, and what the worker may forget."""
    header = task.invocation.header
    blob = header.function
    known = worker.functions.pop(blob.id, None) is not None
    in_use = {batch.task.invocation.header.function.id for batch in worker.batches}
    unused = [name for name in worker.functions if name not in in_use]
    excess = max(0, len(worker.functions) - FUNCTIONS + 1)
    old = [name for at, name in enumerate(unused) if at < excess or worker.functions[name] > LARGE]
    for name in old:
        del worker.functions[name]
    worker.functions[blob.id] = blob.size
    worker.jobs.add(task.number)
    job = stream.Job(header, worker.forget, old)
    worker.forget = []
    return stream.frame(
        stream.JOB, [pickle.dumps(job, 5)], () if known else task.invocation.function, number=task.number
    )


def _batch_frame(token: int, task: Task, calls: Sequence[int]) -> list[Buffer]:
    arguments, attempt = task.invocation.arguments, task.invocation.attempt
    pickles: list[Buffer] = []
    if (plain := arguments.plain(calls)) is not None:
        batch = stream.Batch(attempt, calls, plain=plain)
    elif arguments.gathered(calls[0]) is not None:
        batch = stream.Batch(attempt, calls, gather=[inputs for call in calls if (inputs := arguments.gathered(call))])
    else:
        chunks = [arguments.pickled(call) for call in calls]
        pickles = [chunk for some in chunks for chunk in some]
        batch = stream.Batch(attempt, calls, sizes=[sum(map(len, some)) for some in chunks])
    return stream.frame(stream.BATCH, [pickle.dumps(batch, 5)], pickles, tag=token, number=task.number)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _lost(pid: int, code: int, output: str) -> WorkerLost:
    words = output.strip()
    last = f"; its last output: {words[-2000:]}" if words else ""
    return WorkerLost(f"the worker process {pid} that ran the call is gone: {_ending(code)}{last}")
