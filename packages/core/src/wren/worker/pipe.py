"""The shell of a local worker: batches come on a pipe, results leave on another.

Before each call the worker *claims* it: it reads a token from the claim pipe, which says what batch the next call
belongs to.  The client takes unstarted calls back by reading the same pipe, so the kernel decides who has a call, and
after a death the tokens that are left say exactly which calls had not begun.  Each result has left this process before
the next call is claimed: a crash costs the one call that was running.

Three more descriptors: `output`, an anonymous file that is stdout and stderr and outlives the process, for the last
words of a crash; `shared`, memory with the time the running call began, for its timeout, and with what is too large for
a pipe; and `lifeline`, which kills the process the moment the client is gone.
"""

import contextlib
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BufferedReader
from itertools import repeat
from time import monotonic
from typing import Any, Final, NamedTuple, NoReturn

from wren.wire import Header
from wren.worker import stream
from wren.worker.forks import parents_mark
from wren.worker.isolation import Isolation
from wren.worker.lifeline import guard
from wren.worker.memory import OwnMemory
from wren.worker.nested import process
from wren.worker.output import BASE, Output
from wren.worker.run import (
    Arguments,
    Result,
    WorkerStorage,
    call_status,
    encode,
    failure,
    load_arguments,
    opener,
    run_call,
    run_loaded,
    store_status,
)
from wren.worker.shared import LEAST, Shared
from wren.worker.stream import CONSTANT, CONSTANTS, FAILED, FLOAT, INT, WORD_FRAME

_LEAST: Final = -(1 << 63)  # of the numbers that a word holds
_MOST: Final = (1 << 63) - 1
WEIGHED: Final = 0.001  # seconds that a call takes for its memory to be looked at, which costs 8 us
SOON: Final = 0.0002  # seconds in which the next call may come, from who makes one after the other


Outcome = tuple[int, Any]  # a `Result`, or kind and value of a frame of words
Calls = Iterator[
    tuple[int, Callable[..., Outcome], tuple[Any, ...]]
]  # those to come: the id, what runs it, and with what
Loader = Callable[[], Arguments]  # gives args and kwargs when the call's turn has come


class Times(NamedTuple):
    """When a call ran (`time.monotonic`)."""

    started: float
    stopped: float


class _Terms(NamedTuple):
    """How the calls of a job are run, beside calling the function."""

    header: Header
    storage: Callable[[], WorkerStorage]  # opened when it is first needed


class _Job(NamedTuple):
    function: str  # its id
    terms: _Terms | None


class PipeShell:
    """The state of a worker: functions, jobs and the batch that calls are claimed from."""

    def __init__(self, tasks: BufferedReader, results: int, claims: int, output: int, shared: int) -> None:
        self._tasks = tasks
        self._results, self._claims = results, claims
        self._poll = select.poll()
        self._poll.register(claims, select.POLLIN)
        self._single = 0  # jobs of one call each that have come in a row
        self._output = Output(output, BASE)
        self._shared = Shared(shared)
        self._began = self._shared.began
        self._pid = os.getpid()
        self._mark = parents_mark()
        self._isolation = Isolation()
        self._memory = OwnMemory()
        self._functions: dict[str, Callable[..., Any] | list[bytes]] = {}  # a list: the failure to load it
        self._jobs: dict[int, _Job] = {}
        self._persist: Callable[..., Result] | None = None  # stores the statuses of the calls to come

    def serve(self) -> None:
        """Run calls until the client is gone."""
        self._output.take()  # what was printed on the way here is of no call
        stream.write(self._results, stream.frame(stream.READY, number=self._pid))
        if not self._claimable():
            with contextlib.suppress(ImportError):  # then no function needs it
                import cloudpickle  # noqa: F401 - while there is time: most functions are loaded with it
        claimed = b""
        calls: Calls = iter(())
        while claim := self._claim():
            if claim != claimed:
                self._began[0] = monotonic()  # loading the function may take for ever, too
                claimed = claim
                calls = self._next_batch(*stream.CLAIM.unpack(claim))
            self._run(*next(calls))

    def _claim(self) -> bytes:
        """The token of the next call; empty when there will be none.

        Who makes one call after the other is about to make the next: to be woken for that takes as long as the call.
        """
        if self._single > 1:
            until = monotonic() + SOON
            while not self._claimable() and monotonic() < until:
                os.sched_yield()
        return os.read(self._claims, stream.CLAIM.size)

    def _claimable(self) -> bool:
        """Whether there is a call already."""
        return bool(self._poll.poll(0))

    def _run(self, call: int, work: Callable[..., Outcome], arguments: tuple[Any, ...]) -> None:
        began = self._began
        began[0] = started = monotonic()
        result = work(*arguments)
        stopped = monotonic()
        if not self._mark[0]:
            os._exit(0)  # the function forked, and this is the child: the call is the parent's
        logs = self._output.take()
        peak = self._memory.peak() if stopped - started >= WEIGHED else 0
        if self._persist is not None:
            result = self._persist(call, result, Times(started, stopped), b"".join(logs), peak)
        # Before the client can know the result: it may not take this for the next call's time.
        began[0] = 0.0
        if self._isolation.touched:
            self._isolation.restore()
        tag, chunks = result
        if tag in WORD_FRAME:
            if not logs:
                os.write(self._results, WORD_FRAME[tag].pack(tag, call, started, stopped, peak, chunks))
                return
            tag, chunks = encode(stream.CONSTANTS[chunks] if tag == CONSTANT else chunks)
        tag, chunks = self._share(tag, chunks)
        frame = stream.frame(
            stream.RESULT, chunks, logs, tag=tag, number=call, started=started, stopped=stopped, peak=peak
        )
        stream.write(self._results, frame)

    def _share(self, tag: int, chunks: list[bytes]) -> Result:
        """The body of a RESULT, or if it is large where it is in the shared memory."""
        size = sum(map(len, chunks))
        if size < LEAST:
            return tag, chunks
        ring = self._shared.results
        ring.free(self._shared.taken[0])
        place = ring.put(chunks, size)
        return (tag, chunks) if place is None else (tag | stream.SHARED, [stream.PLACE.pack(place, size)])

    # ---- what the client sends

    def _next_batch(self, token: int) -> Calls:
        """Read frames up to the batch of `token`; batches before it were taken back whole."""
        while True:
            head = stream.HEAD.unpack(stream.read_exactly(self._tasks, stream.HEAD.size))
            kind, tag, number, size, extra, *_ = head
            body = pickle.loads(stream.read_exactly(self._tasks, size))  # noqa: S301 - from the client's pipe
            if kind == stream.CONTEXT:
                context = stream.Context(*body)
                sys.path[:] = context.path
                self._isolation.take_over(context.env, context.cwd)
                continue
            batch = stream.Batch(*body)
            self._single = self._single + 1 if batch.job is not None and batch.calls == (0, 1) else 0
            if batch.job is not None:
                job = stream.Job(*batch.job)
                self._add_job(number, job)
                extra -= job.size
            arguments = memoryview(stream.read_exactly(self._tasks, extra)) if extra else memoryview(b"")
            if tag == token:
                return self._calls(self._jobs[number], batch, arguments)

    def _add_job(self, number: int, job: stream.Job) -> None:
        for old in job.forget_jobs:
            self._jobs.pop(old, None)
        for name in job.forget_functions:
            self._functions.pop(name, None)
        if job.size:
            reader = stream.BoundedReader(self._tasks, job.size)
            self._functions[job.function] = _load_function(reader)
            reader.drain()
            self._isolation.restore()
        terms = None
        if job.header:
            header: Header = pickle.loads(job.header)  # noqa: S301 - from the client's pipe
            terms = _Terms(header, opener(header))
        self._jobs[number] = _Job(job.function, terms)

    # ---- calls

    def _calls(self, job: _Job, batch: stream.Batch, arguments: memoryview) -> Calls:
        terms, calls = job.terms, range(*batch.calls) if type(batch.calls) is tuple else batch.calls
        function = self._functions[job.function]
        self._persist = None
        if terms is not None and terms.header.persist:
            self._persist = partial(self._store_status, terms, batch.attempt)
        if terms is None and batch.plain is not None and batch.plain[1] is None and not isinstance(function, list):
            # The shape of a map over scalars: nothing but built-in iterators between two calls.
            return zip(calls, repeat(_run_plainly), zip(repeat(function), batch.plain[0]))
        if batch.place is not None:
            arguments = self._shared.tasks.get(batch.place, sum(batch.sizes or ()))
        loaders = _loaders(batch, arguments, terms)
        return ((call, self._call, (job, batch.attempt, call, load)) for call, load in zip(calls, loaders, strict=True))

    def _call(self, job: _Job, attempt: int, call: int, load: Loader) -> Result:
        """One call with all that its job asks for."""
        function = self._functions[job.function]
        if isinstance(function, list):
            return FAILED, function
        if job.terms is None:
            return run_loaded(function, load)
        header, storage = job.terms
        self._isolation.apply(header.env)
        return run_call(header, call, attempt, function, load, storage)

    def _store_status(
        self, terms: _Terms, attempt: int, call: int, result: Result, times: Times, logs: bytes, peak: int
    ) -> Result:
        """Store the status of a call that has ended: its result, or why it has none for that."""
        epoch, text, worker = time.time() - time.monotonic(), logs.decode("utf-8", "replace"), f"process {self._pid}"
        started, stopped = times.started + epoch, times.stopped + epoch
        status = call_status(terms.header, call, attempt, result, started, stopped, text, worker, peak)
        try:
            store_status(terms.storage(), terms.header, status)
        except Exception as error:  # noqa: BLE001 - whatever the storage raises is why nobody will find the status
            return FAILED, failure(error, kind="storage", message="the status cannot be stored")
        return result


def _run_plainly(function: Callable[..., Any], args: Sequence[Any]) -> Outcome:
    """Call the function.  Never raises."""
    try:
        value = function(*args)
    except BaseException as error:  # noqa: BLE001 - whatever ends the function ends this call, and nothing else
        return FAILED, failure(error, skip_frames=1)
    kind = type(value)
    if kind is int:
        if _LEAST <= value <= _MOST:
            return INT, value
    elif kind is float:
        return FLOAT, value
    elif kind is bool or value is None:
        return CONSTANT, CONSTANTS.index(value)
    return encode(value)


def _load_function(reader: stream.BoundedReader) -> Callable[..., Any] | list[bytes]:
    """The function, or the failure that each of its calls then has."""
    try:
        function: Callable[..., Any] = pickle.load(reader)  # noqa: S301 - from the client's pipe
    except BaseException as error:  # noqa: BLE001 - importing the user's modules may raise anything
        return failure(error, kind="function", message="the function cannot be loaded by the worker")
    return function


def _loaders(batch: stream.Batch, arguments: memoryview, terms: _Terms | None) -> Iterator[Loader]:
    """What loads the arguments of each call of a batch."""
    if batch.plain is not None:
        args, kwargs = batch.plain
        for index, values in enumerate(args):
            yield partial(_plain, values, kwargs[index] if kwargs else {})
    elif batch.stored is not None and terms is not None:
        for place in batch.stored:
            yield partial(load_arguments, place, terms.storage)
    else:
        start = 0
        for size in batch.sizes or ():
            yield partial(pickle.loads, arguments[start : start + size])
            start += size


def _plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    return args, kwargs


def main(arguments: Sequence[str]) -> None:
    """Run as a local worker on the inherited descriptors named by the arguments."""
    serve([int(argument) for argument in arguments])


def serve(descriptors: Sequence[int]) -> NoReturn:
    """Be a local worker: descriptors of tasks, results, claims, output, shared memory and lifeline."""
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
