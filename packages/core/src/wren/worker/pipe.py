"""The shell of a local worker: batches come on a pipe, results leave on another.

Before each call the worker *claims* it: it reads a token from the claim pipe, which says what batch the next call
belongs to.  The client takes unstarted calls back by reading the same pipe, so the kernel decides who has a call, and
after a death the tokens that are left say exactly which calls had not begun.  Each result has left this process before
the next call is claimed: a crash costs the one call that was running.

Three more descriptors: `output`, an anonymous file that is stdout and stderr and outlives the process, for the last
words of a crash; `page`, one float64 of shared memory, the time the running call began (0: none), for its timeout; and
`lifeline`, which kills the process the moment the client is gone.
"""

import mmap
import os
import pickle
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BufferedReader
from itertools import repeat
from typing import Any, Final, NamedTuple

from wren.wire import Header
from wren.worker import stream
from wren.worker.isolation import Isolation
from wren.worker.lifeline import guard
from wren.worker.memory import OwnMemory
from wren.worker.nested import process
from wren.worker.output import Output
from wren.worker.run import (
    Arguments,
    Result,
    WorkerStorage,
    call_status,
    failure,
    load_arguments,
    opener,
    run,
    run_call,
    store_status,
)
from wren.worker.stream import FAILED

PAGE: Final = struct.Struct("<d")
WEIGHED: Final = 0.001  # seconds that a call takes for its memory to be looked at, which costs 8 us


Calls = Iterator[
    tuple[int, Callable[..., Result], tuple[Any, ...]]
]  # those to come: the id, what runs it, and with what
Loader = Callable[[], Arguments]  # gives args and kwargs when the call's turn has come


class Times(NamedTuple):
    """When a call ran (`time.monotonic`)."""

    started: float
    stopped: float


class _Job(NamedTuple):
    header: Header
    storage: Callable[[], WorkerStorage]  # opened when it is first needed


class PipeShell:
    """The state of a worker: functions, jobs and the batch that calls are claimed from."""

    def __init__(self, tasks: BufferedReader, results: int, claims: int, output: int, page: int) -> None:
        self._tasks = tasks
        self._results, self._claims = results, claims
        self._output = Output(output)
        self._page = mmap.mmap(page, mmap.PAGESIZE)
        self._pid = os.getpid()
        self._isolation = Isolation()
        self._memory = OwnMemory()
        self._functions: dict[str, Callable[..., Any] | list[bytes]] = {}  # a list: the failure to load it
        self._jobs: dict[int, _Job] = {}
        self._persist: Callable[..., Result] | None = None  # stores the statuses of the calls to come

    def serve(self) -> None:
        """Run calls until the client is gone."""
        self._output.take()  # what was printed on the way here is of no call
        stream.write(self._results, stream.frame(stream.READY, number=self._pid))
        claimed = b""
        calls: Calls = iter(())
        while claim := os.read(self._claims, stream.CLAIM.size):
            PAGE.pack_into(self._page, 0, time.monotonic())  # loading the function may take for ever, too
            if claim != claimed:
                claimed = claim
                calls = self._next_batch(*stream.CLAIM.unpack(claim))
            self._run(*next(calls))

    def _run(self, call: int, work: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        started = time.monotonic()
        PAGE.pack_into(self._page, 0, started)
        result = work(*arguments)
        stopped = time.monotonic()
        if os.getpid() != self._pid:
            os._exit(0)  # the function forked, and this is the child: the call is the parent's
        logs = self._output.take()
        peak = self._memory.peak() if stopped - started >= WEIGHED else 0
        if self._persist is not None:
            result = self._persist(call, result, Times(started, stopped), b"".join(logs), peak)
        # Before the client can know the result: it may not take this for the next call's time.
        PAGE.pack_into(self._page, 0, 0.0)
        self._isolation.restore()
        tag, chunks = result
        frame = stream.frame(
            stream.RESULT, chunks, logs, tag=tag, number=call, started=started, stopped=stopped, peak=peak
        )
        stream.write(self._results, frame)

    # ---- what the client sends

    def _next_batch(self, token: int) -> Calls:
        """Read frames up to the batch of `token`; batches before it were taken back whole."""
        while True:
            head = stream.HEAD.unpack(stream.read_exactly(self._tasks, stream.HEAD.size))
            kind, tag, number, size, extra, *_ = head
            body = pickle.loads(stream.read_exactly(self._tasks, size))  # noqa: S301 - from the client's pipe
            if kind == stream.JOB:
                self._add_job(number, body, extra)
            elif kind == stream.CONTEXT:
                sys.path[:] = body.path
                self._isolation.take_over(body.env, body.cwd)
            elif kind == stream.BATCH:
                arguments = memoryview(stream.read_exactly(self._tasks, extra))
                if tag == token:
                    return self._calls(self._jobs[number], body, arguments)

    def _add_job(self, number: int, job: stream.Job, extra: int) -> None:
        for old in job.forget_jobs:
            self._jobs.pop(old, None)
        for name in job.forget_functions:
            self._functions.pop(name, None)
        if extra:
            reader = stream.BoundedReader(self._tasks, extra)
            self._functions[job.header.function.id] = _load_function(reader)
            reader.drain()
            self._isolation.restore()
        self._jobs[number] = _Job(job.header, opener(job.header))

    # ---- calls

    def _calls(self, job: _Job, batch: stream.Batch, arguments: memoryview) -> Calls:
        header = job.header
        function = self._functions[header.function.id]
        self._persist = partial(self._store_status, job, batch.attempt) if header.persist else None
        simple = not (header.env or header.inject or header.gathered or header.persist)
        if simple and batch.plain is not None and batch.plain[1] is None and not isinstance(function, list):
            process.storage = None
            # The shape of a map over scalars: nothing but built-in iterators between two calls.
            return zip(batch.calls, repeat(run), zip(repeat(function), batch.plain[0]))
        loaders = _loaders(batch, arguments, job.storage)
        return (
            (call, self._call, (job, batch.attempt, call, load))
            for call, load in zip(batch.calls, loaders, strict=True)
        )

    def _call(self, job: _Job, attempt: int, call: int, load: Loader) -> Result:
        """One call with all that its job asks for."""
        header = job.header
        function = self._functions[header.function.id]
        if isinstance(function, list):
            return FAILED, function
        self._isolation.apply(header.env)
        return run_call(header, call, attempt, function, load, job.storage)

    def _store_status(
        self, job: _Job, attempt: int, call: int, result: Result, times: Times, logs: bytes, peak: int
    ) -> Result:
        """Store the status of a call that has ended: its result, or why it has none for that."""
        epoch, text, worker = time.time() - time.monotonic(), logs.decode("utf-8", "replace"), f"process {self._pid}"
        started, stopped = times.started + epoch, times.stopped + epoch
        status = call_status(job.header, call, attempt, result, started, stopped, text, worker, peak)
        try:
            store_status(job.storage(), job.header, status)
        except Exception as error:  # noqa: BLE001 - whatever the storage raises is why nobody will find the status
            return FAILED, failure(error, kind="storage", message="the status cannot be stored")
        return result


def _load_function(reader: stream.BoundedReader) -> Callable[..., Any] | list[bytes]:
    """The function, or the failure that each of its calls then has."""
    try:
        function: Callable[..., Any] = pickle.load(reader)  # noqa: S301 - from the client's pipe
    except BaseException as error:  # noqa: BLE001 - importing the user's modules may raise anything
        return failure(error, kind="function", message="the function cannot be loaded by the worker")
    return function


def _loaders(batch: stream.Batch, arguments: memoryview, storage: Callable[[], WorkerStorage]) -> Iterator[Loader]:
    """What loads the arguments of each call of a batch."""
    if batch.plain is not None:
        args, kwargs = batch.plain
        for index, values in enumerate(args):
            yield partial(_plain, values, kwargs[index] if kwargs else {})
    elif batch.stored is not None:
        for place in batch.stored:
            yield partial(load_arguments, place, storage)
    else:
        start = 0
        for size in batch.sizes or ():
            yield partial(pickle.loads, arguments[start : start + size])
            start += size


def _plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    return args, kwargs


def main(arguments: Sequence[str]) -> None:
    """Run as a local worker on the inherited descriptors named by the arguments."""
    descriptors = [int(argument) for argument in arguments]
    for fd in descriptors:
        os.set_inheritable(fd, False)
    *channels, lifeline = descriptors
    guard(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to handle
    tasks, *others = channels
    process.is_worker = True
    code = 1
    try:
        with open(tasks, "rb") as reader:
            PipeShell(reader, *others).serve()
        code = 0
    except EOFError:
        code = 0  # the client is gone
    except BaseException:  # noqa: BLE001 - the process ends below; its last output is what the client is told
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # threads that calls have left must not hold it up
