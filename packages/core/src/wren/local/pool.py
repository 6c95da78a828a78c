"""Schedules calls over warm worker processes: one thread owns everything here.

    submit ─▶ inbox ─▶ queue of tasks ─▶ batches ─▶ workers ─▶ results ─▶ report
                         ▲                  │
                         └── taken back ────┘   a worker is idle while another has calls that it has not begun,
                                                a worker died, or a call is cancelled

Batches adapt: the first has one call, later ones as many as take about 10 ms, never more than a fair share of what is
left.  What a batch must not cost: a crash is put down to the call that ran, what had not begun goes elsewhere, each
call has its own timeout, and what is not begun can be taken back.  It is one room, if a large one, as all of it shares
the state that the one thread owns; what it decides is in `policy`, what it moves in `batches`.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Final

from wren import callbacks
from wren.errors import BackendError, CallCancelled, CallTimeout, OutOfMemory
from wren.local import policy
from wren.local.batches import Batch, Task, Worker, batch_frame, context_frame
from wren.local.loop import Loop
from wren.local.process import Results, WorkerProcess
from wren.local.reports import lost, outcomes, status
from wren.spi import Invocation, Receipt, Report
from wren.wire import Buffer
from wren.worker import stream
from wren.worker.deaths import ending

STARTS: Final = 3  # workers that may end by themselves before they are ready, in a row: the third needs no zygote


class Pool:
    """At most `size` workers, started when there is something to do and kept.  `memory`: MiB that each may use."""

    def __init__(self, size: int, memory: int | None = None) -> None:
        self.size, self.memory = size, memory
        self._numbers = itertools.count(1)
        self._queue: deque[Task] = deque()
        self._tasks: dict[int, Task] = {}  # all that are not wholly reported, by number
        self._workers: list[Worker] = []
        self._failed_starts = 0  # in a row, of workers that ended by themselves
        self._failing_since: float | None = None  # when the first of a row of starts failed, for whatever reason
        self._steal_at = inf
        self._opening: list[tuple[Task, threading.Lock]] = []  # what those wait for who have just come with many calls
        self._handing: tuple[Task, Worker] | None = None  # what another thread is about, or was when it was interrupted
        self._acted = 0.0  # when something was last handed over by another thread (`time.monotonic`)
        self._look_at = inf  # when the time of calls and of starts is to be looked at (`time.monotonic`)
        self._loop = Loop("wren-local", self)

    # ---- from any thread

    def submit(self, invocations: Sequence[Invocation], report: Report, context: stream.Context) -> None:
        """Run the calls of some invocations; what becomes of each goes to `report`."""
        if len(invocations) == 1 and len(invocations[0].calls) == 1:
            task = Task(next(self._numbers), invocations[0], report, context)
            if self._loop.here(partial(self._hand_over, task)):
                return

        gate = threading.Lock()
        tasks = [Task(next(self._numbers), invocation, report, context) for invocation in invocations]

        def enter() -> None:
            self._tasks.update((task.number, task) for task in tasks)
            self._queue += tasks
            if wait:
                self._opening.append((tasks[-1], gate))

        # Who makes thousands of calls has much to do when this returns, and the interpreter would not let this pool's
        # thread run beside that: so it returns when the workers have something to do, too.
        many = len(invocations[-1].calls) >= policy.MANY and not callbacks.in_own_thread()
        wait = many and any(worker.process.ready for worker in self._workers)
        if wait:
            gate.acquire()
        self._loop.do(enter)
        if wait:
            gate.acquire(timeout=policy.OPENING)

    def withdraw(self, invocation: Invocation, calls: Sequence[int]) -> list[int]:
        """Take calls back: those that no worker had begun."""
        return self._loop.ask(lambda: self._withdraw(invocation, calls))

    def kill(self, invocation: Invocation, calls: Sequence[int]) -> list[int]:
        """Kill the workers that run any of the calls: those that ran."""
        return self._loop.ask(lambda: self._kill(invocation, calls))

    def worker_ids(self) -> list[int]:
        """The process ids of the workers."""
        return self._loop.ask(lambda: [worker.process.pid for worker in self._workers])

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors.  Those of the workers `wren.local.start` has closed."""
        self._loop.close()

    # ---- wren.local.loop.Owner

    def timeout(self) -> float | None:
        """Seconds until a call may have run too long, or an idle worker has waited long enough."""
        due, now = min(self._look_at, self._steal_at), time.monotonic()
        if now < self._acted + policy.LINGER:  # there may be more of that soon, which then need not wake anybody
            due = min(due, now + policy.NOTICED)
        return None if due == inf else max(0.0, due - now)

    def step(self) -> float:
        """See what is due, and give out what waits; a pause where taking in every result by itself would cost most."""
        now = time.monotonic()
        if self._handing is not None:
            self._undo(*self._handing)
        if now >= self._steal_at:
            self._steal_at = inf
            self._steal()
        if now >= self._look_at:
            self._look(now)
        self._dispatch()
        if self._opening:
            self._open()
        return policy.PAUSE if policy.plenty(self._workers) else 0.0

    def broken(self, error: Exception) -> None:
        """A bug here must fail the calls, not leave them waiting."""
        if not isinstance(error, BackendError):
            error = BackendError(f"the localhost backend has a bug, please report it: {type(error).__name__}: {error}")
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._queue.clear()
        for task in tasks:
            task.waiting.clear()
            task.report.failed(task.invocation, task.invocation.calls, error)  # those that are settled stay so
        for worker in self._workers:
            worker.end()

    def _open(self) -> None:
        """Let those go on whose calls' length is known by now, so that the workers have batches of many."""
        for task, gate in self._opening:
            if (task.seconds is not None or not task.left) and gate.locked():
                gate.release()
        self._opening = [(task, gate) for task, gate in self._opening if gate.locked()]

    # ---- giving calls out

    def _hand_over(self, task: Task) -> float | None:
        """Give the one call of a new task to a worker that has nothing, in another thread than the loop's.

        Until it is done `_handing` says what the loop has to undo.
        """
        worker = policy.idle(self._workers)
        if worker is None or self._queue or self._handing is not None:
            return None
        self._handing = task, worker
        self._tasks[task.number] = task
        self._assign(worker, task, task.take(1))
        self._acted = time.monotonic()
        self._handing = None
        return self._look_at

    def _undo(self, task: Task, worker: Worker) -> None:
        """The thread that handed a call over was interrupted: whoever wanted the call was, too, and has no future."""
        self._handing = None
        self._tasks.pop(task.number, None)
        task.waiting.clear()
        worker.end()
        error = BackendError(f"job {task.invocation.header.job} was interrupted while it was handed over")
        task.report.failed(task.invocation, task.invocation.calls, error)

    def _dispatch(self) -> None:
        passed = 0  # tasks in a row that are better off without the worker that there is
        while passed < len(self._queue):
            task = self._queue[0]
            if not task.waiting:
                self._queue.popleft()
                continue
            worker = self._free_worker()
            if worker is None:
                break
            if not policy.worth_loading(task, worker, self._workers):
                others = policy.having(task, self._workers)
                self._look_at = min(self._look_at, policy.worth_at(task, others))
                worker = next((each for each in others if each.free), None) or policy.soon_free(others)
            if worker is None:
                passed += 1
            else:
                passed = 0
                self._assign(worker, task, task.take(policy.batch_size(task, worker, self.size)))
            self._queue.rotate(-1)  # no job waits for the end of another
        if self._queue or not policy.unbalanced(self._workers):
            self._steal_at = inf
        elif self._steal_at == inf:
            self._steal_at = time.monotonic() + policy.PATIENCE

    def _free_worker(self) -> Worker | None:
        """One that can be given calls; starts another where all have some and there may be more."""
        worker = policy.free(self._workers)
        if worker is None and policy.may_start(self._workers, self.size):
            started = self._start_worker()
            return started if policy.all_starting(self._workers) else policy.soon_free(self._workers)
        return worker or policy.soon_free(self._workers)

    def _assign(self, worker: Worker, task: Task, calls: Sequence[int]) -> None:
        batch = worker.add(task, calls)
        buffers: list[Buffer] = []
        if worker.context is not task.context:
            worker.context = task.context
            buffers += context_frame(task.context)
        buffers += batch_frame(worker, batch)
        task.began = task.began or time.monotonic()
        sent = worker.process.send(buffers)
        worker.process.claim(batch.token, len(calls))  # the frame is there when this wakes it
        if not sent:
            self._watch_writing(worker)
        self._look_at = min(self._look_at, time.monotonic() + policy.first_look(task))

    def _watch_writing(self, worker: Worker) -> None:
        fd = worker.process.tasks
        if not worker.process.writing:
            self._loop.unwatch(fd)
        elif not self._loop.watches(fd):
            self._loop.watch(fd, lambda: self._writable(worker), writing=True)

    def _writable(self, worker: Worker) -> None:
        worker.process.flush()
        self._watch_writing(worker)

    # ---- results

    def _readable(self, worker: Worker) -> bool:
        """Take in what has come; whether anything has."""
        if not self._loop.watches(worker.process.results):
            return False
        results = worker.process.read()
        if results.ready:
            self._failed_starts, self._failing_since = 0, None
        if results.values:
            self._settle(worker, results)
        if results.eof:  # it is dying, or its call closed the pipe: either way no result can come
            self._loop.unwatch(worker.process.results)
            worker.end()
        return results.received > 0

    def _settle(self, worker: Worker, results: Results) -> None:
        """Report results, which come in the order of the batches."""
        at = 0
        while at < len(results.values):
            batch = worker.batches[0]
            count = min(len(batch.calls) - batch.done, len(results.values) - at)
            self._report(worker, batch, results, at, count)
            batch.done += count
            at += count
            if batch.done == len(batch.calls):
                worker.remove(batch)

    def _report(self, worker: Worker, batch: Batch, results: Results, first: int, count: int) -> None:
        task, stop = batch.task, first + count
        if count == 1:
            took = results.stopped[first] - results.started[first]
        else:
            took = (sum(results.stopped[first:stop]) - sum(results.started[first:stop])) / count
        task.seconds = took if task.seconds is None else (task.seconds + took) / 2
        calls = batch.calls[batch.done : batch.done + count]
        apart = [at for at in results.apart if first <= at < stop] if results.apart else []
        start = first
        for at in [*apart, stop]:
            if at > start:
                task.report.succeeded(
                    task.invocation, outcomes(results, calls[start - first : at - first], start, at, task.invocation)
                )
            if at < stop:
                ended = status(results, calls[at - first], at, task.invocation)
                if ended.failure is not None and ended.failure.kind == "function":
                    worker.functions.pop(task.invocation.header.function.id, None)  # next time it may be loaded
                task.report.status(task.invocation, ended)
            start = at + 1
        self._done(task, count)

    def _done(self, task: Task, count: int) -> None:
        task.left -= count
        if not task.left:
            self._tasks.pop(task.number, None)
            for worker in self._workers:
                if worker.jobs.pop(task.number, None) is not None:
                    worker.forget.append(task.number)

    def _fail(self, task: Task, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        if len(calls):
            task.report.failed(task.invocation, calls, error, logs)
            self._done(task, len(calls))

    # ---- taking calls back

    def _take_back(self, worker: Worker, count: int) -> None:
        """Take at most `count` calls that the worker has not begun, and queue them first."""
        tokens = worker.process.take_back(count)
        for batch in reversed(list(worker.batches)):
            taken = tokens.count(batch.token)
            if not taken:
                continue
            kept = len(batch.calls) - taken
            back, batch.calls = batch.calls[kept:], batch.calls[:kept]
            if batch.done == kept:
                worker.remove(batch)
            if batch.task.number not in self._tasks:
                continue  # it was failed as a whole
            batch.task.waiting.appendleft(back)
            if batch.task not in self._queue:
                self._queue.appendleft(batch.task)

    def _steal(self) -> None:
        """Halve the largest pile of calls that have not begun."""
        worker = max(self._workers, key=lambda worker: worker.process.unclaimed(), default=None)
        if worker is not None:
            self._take_back(worker, -(-worker.process.unclaimed() // 2))

    def _withdraw(self, invocation: Invocation, calls: Sequence[int]) -> list[int]:
        task = self._find(invocation)
        if task is None:
            return []
        for worker in self._workers:
            if any(batch.task is task and not set(calls).isdisjoint(batch.calls) for batch in worker.batches):
                self._take_back(worker, worker.process.unclaimed())
        taken = task.remove(calls)
        self._done(task, len(taken))
        return taken

    def _kill(self, invocation: Invocation, calls: Sequence[int]) -> list[int]:
        task = self._find(invocation)
        killed = []
        for worker in list(self._workers):
            if not self._runs(worker, task, calls):
                continue
            self._settle_down(worker)
            if self._runs(worker, task, calls):
                _, call = worker.running() or (None, 0)
                worker.end(CallCancelled(f"call {call} of job {invocation.header.job} was killed"))
                killed.append(call)
        return killed

    def _runs(self, worker: Worker, task: Task | None, calls: Sequence[int]) -> bool:
        running = worker.running()
        return running is not None and running[0] is task and running[1] in calls

    def _settle_down(self, worker: Worker) -> None:
        """Leave a worker nothing but the call that it runs, so that killing it hits no other, if that ends just now."""
        self._take_back(worker, worker.process.unclaimed())
        while self._readable(worker):
            pass  # until the pipe is empty: something that the worker started may hold it open

    def _find(self, invocation: Invocation) -> Task | None:
        return next((task for task in self._tasks.values() if task.invocation is invocation), None)

    # ---- time

    def _look(self, now: float) -> None:
        """See to what takes long."""
        for worker in self._workers:
            self._expire(worker, now)
            self._notice(worker, now)
            if self.memory is not None:
                self._weigh(worker, self.memory)
        self._look_at = min((policy.next_look(worker, now, self.memory) for worker in self._workers), default=inf)

    def _expire(self, worker: Worker, now: float) -> None:
        """Kill the worker if its call, or its start, has taken too long."""
        if not policy.late(worker, now):
            return
        self._settle_down(worker)
        if not policy.late(worker, now):
            return
        running = worker.running()
        if running is None or not worker.process.ready:
            worker.end()
            return
        task, call = running
        limit = task.invocation.timeout
        worker.end(
            CallTimeout(
                f"call {call} of job {task.invocation.header.job} ran longer than its timeout of {limit:g} s "
                "and was killed"
            )
        )

    def _weigh(self, worker: Worker, memory: int) -> None:
        """Kill the worker if its call has taken more memory than it may."""
        if worker.ending or not self._is_too_large(worker, memory):
            return
        self._settle_down(worker)
        running = worker.running()
        if running is None or not self._is_too_large(worker, memory):
            return  # its call has just ended
        name = f"call {running[1]} of job {running[0].invocation.header.job}"
        worker.end(
            OutOfMemory(f"{name} used more than its runtime_memory of {memory} MiB and was killed: give it more")
        )

    def _is_too_large(self, worker: Worker, memory: int) -> bool:
        """Whether its call has begun, which else would go to the next worker for ever, and there is too much of it."""
        return bool(worker.process.began) and worker.process.resident() > memory << 20

    def _notice(self, worker: Worker, now: float) -> None:
        """Report a call that runs, once it has done so for a while."""
        at = policy.noticing(worker)
        if at is None or now < at or not worker.process.began:
            return
        while self._readable(worker):
            pass  # so that it is not an earlier call, whose result is on its way
        running = worker.running()
        if running is not None:
            worker.noticed = worker.process.began
            task, call = running
            invocation = task.invocation._replace(calls=[call])
            task.report.accepted(invocation, Receipt(str(worker.process.pid)))

    # ---- the beginning and the end of a worker

    def _start_worker(self) -> Worker | None:
        """A new worker, None if the system has no room for one and there are others."""
        try:
            worker = Worker(WorkerProcess())
        except (OSError, RuntimeError) as error:  # no room for a process, or the interpreter is about to end
            if self._workers:
                return None  # those that there are will do
            raise BackendError(f"a local worker cannot be started: {error}") from error
        self._workers.append(worker)
        self._look_at = min(self._look_at, policy.next_look(worker, time.monotonic(), self.memory))
        self._loop.watch(worker.process.results, partial(self._readable, worker))
        self._loop.watch(worker.process.ended, lambda: self._exited(worker))
        return worker

    def _exited(self, worker: Worker) -> None:
        """A worker is gone: its last results count, the running call is lost, the rest goes elsewhere."""
        process = worker.process
        self._settle_down(worker)  # it may yet run: of two from one process, only that has gone
        for fd in (process.results, process.tasks, process.ended):
            self._loop.unwatch(fd)
        self._workers.remove(worker)
        code, output = process.reap()
        for batch in worker.batches:
            calls = batch.calls[batch.done :]
            error = worker.verdict or lost(process.pid, batch.task.invocation.header.job, calls, code, output)
            self._fail(batch.task, calls, error, output)
        if not process.ready:
            self._failed_start(code, output)

    def _failed_start(self, code: int, output: str) -> None:
        """A worker ended before it was ready; one that was killed may have had bad luck, but not for ever."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self._failed_starts += code >= 0
        if self._failed_starts >= STARTS or now - self._failing_since > policy.START_SECONDS:
            self._failed_starts, self._failing_since = 0, None
            self.broken(BackendError(f"local workers do not start, the last one ended so: {ending(code, output)}"))
