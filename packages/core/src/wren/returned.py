"""What a function returns that has futures of `wren.deferred` in it: described, for the client to follow."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from wren import wire
from wren.errors import CallCancelled, CallError
from wren.inline import DeferredFuture, DeferredTable, here, lock
from wren.job import RETRIED
from wren.table import OK, PENDING, RUNNING
from wren.wire import Nested, Returned
from wren.worker import run
from wren.worker.nested import part, same
from wren.worker.stream import FAILED, NESTED, PICKLED, pickle_chunks

__all__ = ["Recorder"]


class Recorder:
    """`wren.worker.nested.Recorder`."""

    def encode(self, value: object) -> run.Result:
        while True:
            seen = _Seen()
            chunks = seen.pickle(value)
            if seen.error is not None:
                return FAILED, run.failure(seen.error)
            if not seen.futures:
                return PICKLED, chunks
            if here.depth:  # of a call that runs here all is computed here
                for future in seen.futures:
                    future.table.wait(future.call, None)
                continue
            alone = isinstance(value, DeferredFuture)
            described = _describe(seen.futures, b"" if alone else b"".join(chunks))
            if described is not None:
                return NESTED, [bytes(each) for each in wire.encode_returned(described)]


class _Seen:
    """The futures in a result that have no results of their own yet, in the order in which it is pickled."""

    def __init__(self) -> None:
        self.futures: list[DeferredFuture] = []
        self._places: dict[int, int] = {}  # by id: pickling may begin anew
        self.error: BaseException | None = None  # of the first that has failed

    def pickle(self, value: object) -> list[bytes]:
        before, here.seen = here.seen, self
        try:
            return pickle_chunks(value)
        finally:
            here.seen = before

    def reduce(self, future: DeferredFuture) -> tuple[Any, tuple[Any]]:
        """What a future is pickled as: its place, or its value."""
        table, call = future.table, future.call
        inputs = table.inputs
        begun = inputs is not None and inputs.states.count(PENDING) < len(inputs)
        if table.states[call] == RUNNING or begun:  # a reducer whose inputs are here, in part, is computed here
            table.wait(call, None)
        if table.states[call] == PENDING:
            place = self._places.setdefault(id(future), len(self.futures))
            if place == len(self.futures):
                self.futures.append(future)
            return part, (place,)
        state, value = table.outcome(call)
        if state == OK:
            return same, (value,)
        self.error = self.error or value or CallCancelled(f"call {call} of job {table.job_id} was cancelled")
        return same, (None,)


def _describe(futures: Sequence[DeferredFuture], value: bytes) -> Returned | None:
    """The calls of futures for the client, and no more for this process; None if one of them does not wait any more."""
    jobs = _Jobs()
    with lock:
        for future in futures:
            if future.table.inputs is not None:
                jobs.add_reduction(future.table, future.table.inputs)
        places = [jobs.place(future.table, future.call) for future in futures]
        if any(table.states[call] != PENDING for table, call in jobs.places):
            return None
        for table, call in jobs.places:
            table.collected[call] = 1  # an executor that outlives the call must not bring it to the next one
            table.fail(
                call, CallError(f"call {call} of job {table.job_id} was returned: whoever got it has its result")
            )
    return Returned(value, places, jobs.described())


class _Jobs:
    """Described calls; those of the same function and options become one job."""

    def __init__(self) -> None:
        self.places: dict[tuple[DeferredTable, int], tuple[int, int]] = {}
        self._jobs: list[Callable[..., Nested]] = []
        self._calls: list[list[bytes]] = []
        self._alike: dict[Any, int] = {}

    def add_reduction(self, reducer: DeferredTable, inputs: DeferredTable) -> None:
        if (reducer, 0) in self.places:
            return
        mapping = self._add(inputs)
        for call in range(len(inputs)):
            self._add_call(mapping, inputs, call)
        self.places[reducer, 0] = self._add(reducer, inputs=mapping), 0

    def place(self, table: DeferredTable, call: int) -> tuple[int, int]:
        """Job and call that stand for a future."""
        if (table, call) not in self.places:
            options = table.options
            alike = (
                table.code, table.inject, tuple(options.env.items()), options.timeout, options.retries,
                options.retry_on, options.memory, options.per_activation,
            )  # fmt: skip
            if alike not in self._alike:
                self._alike[alike] = self._add(table)
            self._add_call(self._alike[alike], table, call)
        return self.places[table, call]

    def described(self) -> list[Nested]:
        return [job(calls=calls) for job, calls in zip(self._jobs, self._calls, strict=True)]

    def _add(self, table: DeferredTable, inputs: int | None = None) -> int:
        options = table.options
        retry_on = b"" if options.retry_on == RETRIED else b"".join(pickle_chunks(options.retry_on))
        self._jobs.append(
            partial(
                Nested,
                table.code,
                inject=table.inject,
                env=options.env,
                timeout=options.timeout,
                retries=options.retries,
                retry_on=retry_on,
                memory=options.memory,
                per_activation=options.per_activation,
                inputs=inputs,
                parameter=table.parameter,
            )
        )
        self._calls.append([])
        return len(self._jobs) - 1

    def _add_call(self, job: int, table: DeferredTable, call: int) -> None:
        self.places[table, call] = job, len(self._calls[job])
        self._calls[job].append(b"".join(table.arguments.pickled(call)))
