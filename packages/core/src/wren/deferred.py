"""What executors are in a worker: they describe calls, and run none by themselves.

A function that returns futures of them leaves the calls to its client: `wren.returned` describes them in its result,
and `wren.nested` follows that there.  Who asks for a result instead has the call run in this process, at that moment
and once: `wren.inline`.  Never both: a call that was described cannot be run here any more, and one that ran here is
returned as what it gave.

`wren.executor` imports this where the process is a worker; it starts no thread.
"""

import itertools
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from wren.binding import Bound, reducer_parameter
from wren.errors import CallError, Unsupported
from wren.futures import Future
from wren.inline import DeferredFuture, DeferredTable, lock
from wren.job import CallOptions
from wren.results import ALWAYS, ANY_COMPLETED, Futures, Results
from wren.returned import Recorder
from wren.spi import Limits
from wren.table import CANCELLED, FAILED, PENDING, CallTable
from wren.worker.nested import process

if TYPE_CHECKING:
    from wren.partition import Parts
    from wren.worker.objects import Storage

__all__ = ["DeferredEngine", "InlineResults"]

_executors: Final = itertools.count()


class DeferredEngine:
    """What an executor holds in a worker: see `wren.engine.Engine`.

    `memory`: MiB for calls that ask for none; all else that an executor is given is its client's to say.
    """

    def __init__(self, memory: int | None) -> None:
        self.id = f"deferred-{next(_executors)}"
        self.limits = Limits()  # the client knows them
        self._memory = memory
        self._numbers = itertools.count()
        self._tables: weakref.WeakSet[DeferredTable] = weakref.WeakSet()
        process.recorder = process.recorder or Recorder()

    def explain(self, *_: object) -> NoReturn:
        """Which modules travel is the client's to say."""
        raise Unsupported("a worker cannot say which modules travel to it: call explain() where its client runs")

    def objects(self) -> "Storage":
        """The storage of the call that runs here."""
        from wren.worker.objects import Storage

        return Storage()

    def number(self) -> str:
        return f"{next(self._numbers):03d}"

    def expand(self, bound: Bound, chunk_size: int | None, chunk_n: int | None) -> "Parts":
        raise Unsupported(f"a function cannot map over objects or URLs itself: give it {bound.parted} as a parameter")

    def start(
        self, job_id: str, function: Callable[..., Any], bound: Bound, options: CallOptions, *, follows: bool = True
    ) -> CallTable:
        """Pickle everything.  Raises SerializationError."""
        return self._keep(DeferredTable(self, self.id, job_id, function, bound, self._with_memory(options)))

    def map_reduce(
        self,
        map_function: Callable[..., Any],
        bound: Bound,
        reduce_function: Callable[..., Any],
        options: CallOptions,
        reduce_options: CallOptions,
        *,
        through_client: bool,
        spans: Sequence[range] | None = None,
    ) -> tuple[CallTable, CallTable]:
        """The same for a map and its reducer; there are no `spans`, as there are no parts of objects."""
        parameter, inject = reducer_parameter(reduce_function)
        number, reduce_options = self.number(), self._with_memory(reduce_options)
        mapping = DeferredTable(self, self.id, f"M{number}", map_function, bound, self._with_memory(options))
        nothing = Bound([], None, inject)
        reducing = DeferredTable(
            self, self.id, f"R{number}", reduce_function, nothing, reduce_options, inputs=mapping, parameter=parameter
        )
        mapping.reduced_by, reducing.single = reducing.job_id, True
        return self._keep(mapping), self._keep(reducing)

    def futures(self, table: CallTable) -> list[Future[Any]]:
        return [DeferredFuture(table, call) for call in range(len(table))]

    def _with_memory(self, options: CallOptions) -> CallOptions:
        return options._replace(memory=self._memory) if options.memory is None else options

    def _keep(self, table: DeferredTable) -> DeferredTable:
        self._tables.add(table)
        return table

    def wait(self) -> None:
        """Leaving an executor runs nothing."""

    def end(self) -> None:
        """Leaving it by an exception: what was not asked for will not be."""
        for table in list(self._tables):
            self.cancel(table, range(len(table)))

    def close(self) -> None:
        """There is nothing to let go of."""

    def clean(self, wanted: Collection[str] | None = None) -> None:
        """Nothing was stored."""

    def clean_remotely(self, wanted: Collection[str] | None = None) -> None:
        """Likewise."""

    # ---- wren.table.Owner

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        with lock:
            for call in calls:
                if table.states[call] == PENDING:
                    table.cancelled(call)

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return ()

    def fetch(self, *_: object) -> NoReturn:
        raise CallError("what ran here has stored nothing")

    read_status = fetch

    def finished(self, job: str) -> None:
        """Nothing waits for it."""


class InlineResults(Results):
    """Who waits here has the calls run first, in order of submission."""

    def wait(
        self, fs: Futures, throw_except: bool, return_when: str, timeout: float | None
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        futures = self._unread(inputs=True) if fs is None else _listed(fs)
        # ALWAYS: who asks again and again gets on
        if return_when == ALWAYS or (return_when == ANY_COMPLETED and not any(map(_is_done, futures))):
            self._wait_all([future for future in futures if _is_waiting(future)][:1], timeout)
        return super().wait(futures, throw_except, return_when, timeout)

    def _wait_all(
        self, futures: list[Future[Any]], timeout: float | None, *, until_failure: bool = False, load: bool = False
    ) -> None:
        """Run those that are deferred, one after the other, and begin none when the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for future in futures:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            future.table.wait(future.call, left)
            if until_failure and future.table.states[future.call] in (FAILED, CANCELLED):
                return


def _listed(fs: Any) -> list[Any]:
    return list(fs) if isinstance(fs, Iterable) else [fs]


def _is_done(future: object) -> bool:
    return isinstance(future, Future) and future.done()


def _is_waiting(future: object) -> bool:
    return isinstance(future, DeferredFuture) and not future.done()
