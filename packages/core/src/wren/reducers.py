"""Starts reducers when their inputs are there.

A reducer that waited inside the cloud would burn paid time, and deadlock on few workers; so it starts when the calls
are done whose results it gets, those of an object or of the whole map job, and reads the results from the storage
rather than through the client, which may be far away.  Where workers cannot reach the storage, or the caller says so
(`reducer_wait_local`), the results do go through the client, when the map job is over.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from wren import callbacks
from wren.binding import Bound
from wren.errors import CallCancelled
from wren.job import Job, Work
from wren.serialize import GatheredArguments, pickle_arguments
from wren.spi import Arguments, Feature
from wren.table import CANCELLED, FAILED, RUNNING
from wren.watches import Waiter
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
    spans: Sequence[range] | None = None,
    outer: Job | None = None,
) -> tuple[Job, Job]:
    """A map job and its reducers, which start when their inputs are there; to be launched together.

    `spans`: the calls of the map whose results each reducer gets; None: one gets them all.  The reducer's `parameter`
    (None: its first) gets the results; what arguments its work has are no matter.
    """
    through_client = through_client or Feature.WORKER not in engine.storage.features
    stored = not through_client
    mapping = engine.maker.make(f"M{number}", mapping_work, gathered=stored, outer=outer)
    header = mapping.header
    spans = [range(len(mapping.table))] if spans is None else spans
    shared = header.executor, header.job, header.mac_key, header.bucket
    inputs = [Gather(*shared, span.start, span.stop, mapping.attempts, parameter) for span in spans]
    try:
        gathering = reducing_work._replace(arguments=GatheredArguments(inputs))
        reducing = engine.maker.make(f"R{number}", gathering, reads_storage=stored, beside=mapping_work, outer=outer)
    except BaseException:  # neither will be launched, whatever it is
        engine.leftovers.discard(mapping)
        raise
    mapping.table.reduced_by, reducing.table.single = reducing.header.job, len(spans) == 1
    if reducing.table.on_read is not None:  # what the map has stored is the reducer's to read
        reducing.table.on_read = partial(engine.leftovers.read, [mapping.header.job, reducing.header.job])
        mapping.table.on_read = None
    reducing.inputs, reducing.held = mapping, set(range(len(spans)))
    reduction = _Reduction(engine, mapping, reducing, spans, parameter, through_client)
    # Results that go through this process are loaded here, by the user's code, which may take its time or use wren.
    mapping.then = partial(callbacks.apart, reduction.finish, "wren-reducer") if through_client else reduction.finish
    if stored and len(spans) > 1:
        mapping.table.watch_any(reduction)
    return mapping, reducing


class _Reduction(Waiter):
    """Reducers that wait for calls of their map job."""

    def __init__(
        self,
        engine: "Engine",
        mapping: Job,
        reducing: Job,
        spans: Sequence[range],
        parameter: str | None,
        through_client: bool,
    ) -> None:
        super().__init__(None)
        self._engine, self._mapping, self._reducing = engine, mapping, reducing
        self._waiting = dict(enumerate(spans))
        self._parameter, self._through_client = parameter, through_client
        self._looking = False

    def wake(self) -> None:
        """Some calls of the map have settled; under the tables' lock."""
        if not self._looking:
            self._looking = True
            callbacks.later(self._look)

    def finish(self) -> None:
        """The map job is over: start all reducers that wait yet, or fail them.

        In a thread of wren's own, as all that may raise in `launch` must not be interrupted.
        """
        self._mapping.table.unwatch(self)
        self._begin(list(self._waiting))

    def _look(self) -> None:
        self._looking = False
        states = self._mapping.table.states
        self._begin([number for number, span in self._waiting.items() if min(states[span.start : span.stop]) > RUNNING])

    def _begin(self, numbers: Sequence[int]) -> None:
        """The inputs of these reducers have settled: start each, or fail it with the first exception among them."""
        spans = {number: self._waiting.pop(number) for number in numbers}
        errors = {number: error for number, span in spans.items() if (error := self._failure(span)) is not None}
        for number, error in errors.items():
            if self._reducing.release(number):
                self._reducing.table.fail(number, error)
        ready = [number for number in spans if number not in errors and self._reducing.release(number)]
        if not ready:
            return
        try:
            if self._through_client:
                self._reducing.arguments = self._arguments(spans, ready)
            self._engine.launch(self._reducing, calls=ready)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reducers' futures must not wait for ever
            for number in ready:
                self._reducing.table.fail(number, error)

    def _failure(self, span: range) -> BaseException | None:
        """Why a reducer of these calls cannot run."""
        table = self._mapping.table
        for call in span:
            if table.states[call] in (FAILED, CANCELLED):
                error: BaseException | None = table.outcome(call)[1]
                return error or CallCancelled(
                    f"call {call} of job {table.job_id}, whose result this reducer needs, was cancelled"
                )
        return None

    def _arguments(self, spans: Mapping[int, range], ready: Sequence[int]) -> Arguments:
        """The map's results as the reducers' arguments; of those that do not run there are none."""
        lists = [self._results(spans[number]) if number in ready else [] for number in range(len(self._reducing.table))]
        if self._parameter is None:
            return pickle_arguments(Bound([(results,) for results in lists], None))
        return pickle_arguments(Bound([()] * len(lists), [{self._parameter: results} for results in lists]))

    def _results(self, span: range) -> list[Any]:
        table = self._mapping.table
        results = []
        for call in span:
            state, value = table.outcome(call)
            if state == FAILED:  # it came, but cannot be unpickled here
                raise value
            results.append(value)
        return results
