"""Starts reducers when their inputs are there.

A reducer that waited inside the cloud would burn paid time, and deadlock on few workers; so it starts when its map job
is done, and reads the results from the storage rather than through the client, which may be far away.  Where workers
cannot reach the storage, or the caller says so (`reducer_wait_local`), the results do go through the client.
"""

from functools import partial
from typing import TYPE_CHECKING

from wren import callbacks
from wren.binding import Bound
from wren.errors import CallCancelled
from wren.job import Job, Work
from wren.serialize import GatheredArguments, pickle_arguments
from wren.spi import Arguments, Feature
from wren.table import CANCELLED, FAILED
from wren.wire import Gather

if TYPE_CHECKING:
    from wren.engine import Engine

__all__ = ["prepare_reduction"]


def prepare_reduction(
    engine: "Engine",
    number: str,
    mapping_work: Work,
    reducing_work: Work,
    parameter: str | None,
    *,
    through_client: bool = False,
    outer: Job | None = None,
) -> tuple[Job, Job]:
    """A map job and its reducer, which starts when that is done; to be launched together.

    The reducer's `parameter` (None: its first) gets the results; what arguments its work has are no matter.
    """
    through_client = through_client or Feature.WORKER not in engine.storage.features
    stored = not through_client
    mapping = engine.maker.make(f"M{number}", mapping_work, gathered=stored, outer=outer)
    header = mapping.header
    calls = len(mapping.table)
    inputs = Gather(header.executor, header.job, header.mac_key, header.bucket, 0, calls, mapping.attempts, parameter)
    try:
        gathering = reducing_work._replace(arguments=GatheredArguments([inputs]))
        reducing = engine.maker.make(f"R{number}", gathering, reads_storage=stored, beside=mapping_work, outer=outer)
    except BaseException:  # neither will be launched, whatever it is
        engine.leftovers.discard(mapping)
        raise
    mapping.table.reduced_by, reducing.table.single = reducing.header.job, True
    if reducing.table.on_read is not None:  # what the map has stored is the reducer's to read
        reducing.table.on_read = partial(engine.leftovers.read, [mapping.header.job, reducing.header.job])
        mapping.table.on_read = None
    reducing.inputs = mapping
    reduction = _Reduction(engine, mapping, reducing, inputs, through_client)
    # Results that go through this process are loaded here, by the user's code, which may take its time or use wren.
    mapping.then = partial(callbacks.apart, reduction.start, "wren-reducer") if through_client else reduction.start
    return mapping, reducing


class _Reduction:
    """A reducer that waits for its map job."""

    def __init__(self, engine: "Engine", mapping: Job, reducing: Job, inputs: Gather, through_client: bool) -> None:
        self._engine, self._mapping, self._reducing = engine, mapping, reducing
        self._inputs, self._through_client = inputs, through_client

    def start(self) -> None:
        """The map job is over: start the reducer, or fail it with the first exception of the map's calls.

        In a thread of wren's own, as all that may raise in `launch` must not be interrupted.
        """
        table = self._mapping.table
        for call, state in enumerate(table.states):
            if state in (FAILED, CANCELLED):
                error = table.outcome(call)[1] or CallCancelled(
                    f"call {call} of job {table.job_id}, whose result this reducer needs, was cancelled"
                )
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
