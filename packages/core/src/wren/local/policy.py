"""What the pool decides: which worker gets calls, how many at once, and what is late.  Only looks, changes nothing."""

import time
from collections.abc import Sequence
from math import inf
from typing import Final

from wren.local.batches import LARGE, Task, Worker

BATCH_SECONDS: Final = 0.010  # how long a batch should take
BATCH_CALLS: Final = 2_048  # at most
BATCH_BYTES: Final = 1 << 20  # of arguments in a batch of more than one call
OVERHEAD: Final = 3e-6  # seconds that a call costs besides the function
SHORT: Final = 0.002  # seconds; calls that are shorter are sent before the worker has finished those that it has
PATIENCE: Final = 0.002  # seconds that an idle worker waits before calls are taken from a busy one
WEIGHED: Final = 0.02  # seconds between two looks at the memory of workers that have a limit
NOTICED: Final = 0.02  # seconds that a call runs before its future says so: shorter ones have better things to do
PAUSE: Final = 0.001  # seconds in which results may gather
MANY: Final = 64  # calls of a job for whose first ones it is worth to wait
OPENING: Final = 0.003  # seconds that those may take at most
LOADED: Final = 5e8  # bytes of a function that a worker loads in a second
LINGER: Final = 0.5  # seconds after a call in which the next one is expected, from who makes one after the other
START_SECONDS: Final = 60.0  # that a worker may take to be ready, and in which one must be however many are killed


def idle(workers: Sequence[Worker]) -> Worker | None:
    """One that is ready and has nothing."""
    for worker in workers:
        if not worker.batches and worker.process.ready and not worker.ending:
            return worker
    return None


def free(workers: Sequence[Worker]) -> Worker | None:
    """One that has nothing.

    One that is starting counts only while none is ready: a start takes longer than many calls do.
    """
    ready = [worker for worker in workers if worker.process.ready and not worker.ending]
    return next((worker for worker in ready or workers if worker.free), None)


def has_function(task: Task, worker: Worker) -> bool:
    """Whether a worker need not load the function first."""
    return task.invocation.header.function.id in worker.functions


def worth_loading(task: Task, worker: Worker, workers: Sequence[Worker]) -> bool:
    """Whether a worker should be given calls of a task, though it may have to load a large function for them.

    Not while another is loading it, which may be done with all calls before this one has it; unless they are long.
    """
    if task.invocation.header.function.size <= LARGE or has_function(task, worker):
        return True
    others = having(task, workers)
    if not others or time.monotonic() >= worth_at(task, others):
        return True
    size = task.invocation.header.function.size
    return task.seconds is not None and task.count() * (task.seconds + OVERHEAD) / len(others) > size / LOADED


def having(task: Task, workers: Sequence[Worker]) -> list[Worker]:
    """Those that need not load a task's function first."""
    return [worker for worker in workers if has_function(task, worker) and not worker.ending]


def worth_at(task: Task, others: Sequence[Worker]) -> float:
    """When those that have a task's function, or load it, will have taken as long as that takes (`time.monotonic`).

    For the function, as long as no call has ended, and later for the calls that they run.
    """
    loading = task.invocation.header.function.size / LOADED
    if task.seconds is None:
        return task.began + loading  # long ago if this is another attempt, whose function another worker has
    return (max(other.process.began for other in others) or time.monotonic()) + loading


def soon_free(workers: Sequence[Worker]) -> Worker | None:
    """One that will soon have done what it has, and should not have to wait for more."""
    short = [
        worker
        for worker in workers
        if worker.process.ready
        and not worker.ending
        and len(worker.batches) == 1
        and (worker.batches[0].task.seconds or SHORT) < SHORT
    ]
    return min(short, key=Worker.outstanding, default=None)


def all_starting(workers: Sequence[Worker]) -> bool:
    """Whether none is ready."""
    return not any(worker.process.ready and not worker.ending for worker in workers)


def may_start(workers: Sequence[Worker], size: int) -> bool:
    """Whether another may be started: one after the other once there are some that can do calls meanwhile."""
    return len(workers) < size and (all_starting(workers) or all(worker.process.ready for worker in workers))


def plenty(workers: Sequence[Worker]) -> bool:
    """Whether each worker that has calls has short ones for a while yet."""
    busy = False
    for worker in workers:
        if worker.batches:
            busy = True
            seconds = worker.batches[0].task.seconds
            if seconds is None or worker.outstanding() * (seconds + OVERHEAD) < 2 * PAUSE:
                return False
    return busy


def unbalanced(workers: Sequence[Worker]) -> bool:
    """Whether one is idle while another has calls besides the one that it runs."""
    idle = piled = False
    for worker in workers:
        if not worker.batches:
            idle = idle or (worker.process.ready and not worker.ending)
        elif not piled:
            piled = worker.outstanding() > worker.process.ready
    return idle and piled


def batch_size(task: Task, worker: Worker, size: int) -> int:
    """How many of a task's calls one of `size` workers should get: one at first, later as many as take 10 ms."""
    if task.seconds is None:
        return 1
    share = -(-task.count() // (2 * size))
    affordable = int(BATCH_SECONDS / (task.seconds + OVERHEAD))
    fitting = BATCH_BYTES // max(1, task.invocation.arguments.mean_size)
    claimable = worker.process.claimable // 2  # it may have two batches, and claiming must not wait for room
    return max(1, min(share, affordable, fitting, claimable, BATCH_CALLS))


def deadline(worker: Worker) -> float | None:
    """When its call will have run too long, or its start (`time.monotonic`); None if it may go on."""
    if worker.ending:
        return None
    if not worker.process.ready:
        return worker.process.started + START_SECONDS
    running = worker.running()
    if running is None or running[0].invocation.timeout is None:
        return None
    return (worker.process.began or time.monotonic()) + running[0].invocation.timeout


def noticing(worker: Worker) -> float | None:
    """When its call will have run long enough to be called running (`time.monotonic`); None once it was."""
    if worker.ending or not worker.batches:
        return None
    began = worker.process.began
    return None if began and began == worker.noticed else (began or time.monotonic()) + NOTICED


def next_look(worker: Worker, now: float, memory: int | None) -> float:
    """When there is next something to see of a worker, if it goes on as it does now (`time.monotonic`)."""
    due = [at for at in (deadline(worker), noticing(worker)) if at is not None]
    if worker.batches and memory is not None:
        due.append(now + WEIGHED)
    if worker.outstanding() > 1:  # the next call may begin at any time, and nobody would see that
        due += [now + first_look(batch.task) for batch in worker.batches]
    return min(due, default=inf)


def first_look(task: Task) -> float:
    """Seconds in which there is nothing to see of a call that is to begin."""
    limit = task.invocation.timeout
    return NOTICED if limit is None else min(NOTICED, limit)


def late(worker: Worker, now: float) -> bool:
    """Whether its deadline has passed."""
    at = deadline(worker)
    return at is not None and now >= at
