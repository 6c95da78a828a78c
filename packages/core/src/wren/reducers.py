"""Starts reducers when their inputs are there.

A reducer that waited inside the cloud would burn paid time, and deadlock on few workers; so it starts when its map job
is done, and reads the results from the storage rather than through the client, which may be far away.  Where workers
cannot reach the storage, or the caller says so (`reducer_wait_local`), the results do go through the client.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from wren import callbacks
from wren.binding import Bound, reducer_parameter
from wren.engine import Engine
from wren.errors import CallCancelled
from wren.job import CallOptions, Job
from wren.serialize import GatheredArguments, pickle_arguments
from wren.spi import Arguments, Feature
from wren.table import CANCELLED, FAILED, CallTable
from wren.wire import Gather

__all__ = ["map_reduce"]


def map_reduce(
    engine: Engine,
    map_function: Callable[..., Any],
    bound: Bound,
    reduce_function: Callable[..., Any],
    options: CallOptions,
    reduce_options: CallOptions,
    *,
    through_client: bool,
) -> tuple[CallTable, CallTable]:
    """Start a map job, and its reducer when that is done: the tables of both."""
    parameter, inject = reducer_parameter(reduce_function)
    number = engine.number()
    through_client = through_client or Feature.WORKER not in engine.storage.features
    stored = not through_client
    mapping = engine.prepare(
        f"M{number}", map_function, pickle_arguments(bound), options, bound.inject, gathered=stored
    )
    header = mapping.header
    calls = len(mapping.table)
    inputs = Gather(header.executor, header.job, header.mac_key, header.bucket, 0, calls, mapping.attempts, parameter)
    try:
        reducing = engine.prepare(
            f"R{number}", reduce_function, GatheredArguments([inputs]), reduce_options, inject, reads_storage=stored
        )
    except BaseException:
        engine.leftovers.discard(mapping)
        raise
    mapping.table.reduced_by, reducing.table.single = reducing.header.job, True
    reducing.inputs = mapping
    reduction = _Reduction(engine, mapping, reducing, inputs, through_client)
    # Results that go through this process are loaded here, by the user's code, which may take its time or use wren.
    mapping.then = partial(callbacks.apart, reduction.start, "wren-reducer") if through_client else reduction.start
    engine.launch(mapping, reducing)
    return mapping.table, reducing.table


class _Reduction:
    """A reducer that waits for its map job."""

    def __init__(self, engine: Engine, mapping: Job, reducing: Job, inputs: Gather, through_client: bool) -> None:
        self._engine, self._mapping, self._reducing = engine, mapping, reducing
        self._inputs, self._through_client = inputs, through_client

    def start(self) -> None:
        """The map job is over: start the reducer, or fail it with the first exception of the map's calls.

        In a thread of wren's own, as all that may raise in `launch` must not be interrupted.
        """
        table = self._mapping.table
        for call, state in enumerate(table.states):
            if state in (FAILED, CANCELLED):
                error = table.outcome(call)[1] or CallCancelled(f"call {call} of its map job was cancelled")
                self._reducing.table.fail(0, error)
                return
        try:
            if self._through_client:
                self._reducing.arguments = self._results()
            self._engine.launch(self._reducing)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reducer's future must not wait for ever
            self._reducing.table.fail(0, error)

    def _results(self) -> Arguments:
        """The map's results as the reducer's arguments."""
        table = self._mapping.table
        results = []
        for call in range(len(table)):
            state, value = table.outcome(call)
            if state == FAILED:  # it came, but cannot be unpickled here
                raise value
            results.append(value)
        if self._inputs.parameter is None:
            return pickle_arguments(Bound([(results,)], None))
        return pickle_arguments(Bound([()], [{self._inputs.parameter: results}]))
