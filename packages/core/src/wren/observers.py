"""Tells observers of jobs and calls: plugins that are named in `[wren] observers`, for traces, metrics and the like.

    engine ─▶ submitted, closed ─┐
    table  ─▶ the job's watch ───┴─▶ the observers' thread of wren.callbacks ─▶ hooks

Whoever settles calls does no more than wake the watch, as it wakes others that wait for the job.  What has ended is
read from the table's columns in the observers' thread: when the job is over, and now and then before.  So calls that
come by thousands in a second are told of when they are through.  The engine imports this if there are observers.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from wren import callbacks, plugins
from wren.errors import StorageError
from wren.job import Job
from wren.logs import Log
from wren.serialize import load_failure
from wren.spi import CallInfo, JobInfo
from wren.table import CANCELLED, FAILED, OK, RUNNING, CallTable
from wren.watches import Waiter
from wren.wire import Failure

if TYPE_CHECKING:
    from pluggy import HookRelay

__all__ = ["Observers"]

_log: Final = Log("wren.observers")

PAUSE: Final = 0.5  # seconds between two looks at a job that runs

_STATES: Final[dict[int, Literal["done", "failed", "cancelled"]]] = {
    OK: "done",
    FAILED: "failed",
    CANCELLED: "cancelled",
}


class Observers:
    """Those of one executor.  Thread-safe.  Raises the family of `PluginError` for names that cannot be loaded."""

    def __init__(self, names: Sequence[str], executor_id: str, backend: str) -> None:
        self._executor_id, self._backend = executor_id, backend
        # Each has a manager of its own: in a shared one the others are not called once one has raised.
        self._hooks = {name: plugins.load_observer(name).hook for name in names}
        self._watches: set[_JobWatch] = set()
        self._used = False  # since it was closed

    def submitted(self, jobs: Iterable[Job]) -> None:
        """Jobs were submitted, and may have ended already."""
        callbacks.start_clock()
        for job in jobs:
            if not self._hooks:
                return
            self._used = True
            table = job.table
            info = JobInfo(self._executor_id, table.job_id, job.name, self._backend, len(table), table.submitted)
            callbacks.observe(partial(self._job_submitted, info))
            watch = _JobWatch(table, info, self._call_finished, self._watches.discard)
            self._watches.add(watch)
            watch.begin()

    def closed(self) -> None:
        """The executor was closed, and nothing of it runs.  Idempotent."""
        if self._used:
            self._used = False
            callbacks.observe(self._executor_closed)

    def flush(self) -> None:
        """The program ends: have what has ended told of, also of jobs that have not."""
        for watch in list(self._watches):
            callbacks.observe(watch.look)

    def forked(self, executor_id: str) -> None:
        """In a forked child: what runs is the parent's, who tells of it; the executor has another id here."""
        self._executor_id = executor_id
        self._watches.clear()
        self._used = False

    # ---- in the observers' thread

    def _job_submitted(self, job: JobInfo) -> None:
        self._tell(lambda hooks: hooks.wren_job_submitted(job=job))

    def _executor_closed(self) -> None:
        self._tell(lambda hooks: hooks.wren_executor_closed(executor_id=self._executor_id))

    def _call_finished(self, call: CallInfo) -> None:
        self._tell(lambda hooks: hooks.wren_call_finished(call=call))

    def _tell(self, tell: "Callable[[HookRelay], object]") -> None:
        for name, hooks in list(self._hooks.items()):
            try:
                tell(hooks)
            except BaseException:  # noqa: BLE001 - a stranger's code: it must not cost the others, nor the thread
                del self._hooks[name]
                _log.exception(
                    "the observer %r has raised and is told no more by executor %s", name, self._executor_id,
                    executor=self._executor_id,
                )  # fmt: skip
        if not self._hooks:
            for watch in list(self._watches):
                watch.stop()


class _JobWatch(Waiter):
    """Waits for the calls of one job in the name of the observers."""

    __slots__ = ("_due", "_info", "_over", "_table", "_tell", "_told")

    def __init__(
        self, table: CallTable, info: JobInfo, tell: Callable[[CallInfo], None], over: "Callable[[_JobWatch], None]"
    ) -> None:
        super().__init__(None)
        self._table, self._info, self._tell, self._over = table, info, tell, over
        self._told = bytearray(len(table))  # 1: observers know
        self._due = False  # there will be a look

    def begin(self) -> None:
        """Be woken from now on, and look after what has ended already."""
        self._table.watch_any(self)
        if self._table.unfinished < len(self._table) or not self._told:
            self.wake()

    def wake(self) -> None:
        """A call has settled; under the tables' lock, in a thread that has others to settle."""
        if not self._table.unfinished:
            callbacks.observe(self.look)
        elif not self._due:
            self._due = True
            callbacks.after(PAUSE, partial(callbacks.observe, self.look))

    def look(self) -> None:
        """Tell of the calls that have ended since the last look; in the observers' thread."""
        self._due = False  # before the states are read: what settles meanwhile asks for another look
        first = max(0, self._told.find(0))
        states = self._table.states[first:]
        for call, state in enumerate(states, first):
            if state > RUNNING and not self._told[call]:
                self._told[call] = 1
                self._tell(self._describe(call, state))
        if 0 not in self._told:
            self.stop()

    def stop(self) -> None:
        """All is told, or nobody listens any more.  Idempotent."""
        self._told = bytearray(b"\1") * len(self._told)
        self._table.unwatch(self)
        self._over(self)

    def _describe(self, call: int, state: int) -> CallInfo:
        table = self._table
        error = message = ""
        try:
            table.read_details(call)  # where only the name of a status was listed
            if state == FAILED:
                error, message = _words(table.failure(call))
        except StorageError as unread:
            _log.info(
                "not all of a call could be read for observers: %s", unread,
                executor=table.executor_id, job=table.job_id, call=call,
            )  # fmt: skip
        return CallInfo(
            self._info,
            call,
            _STATES[state],
            table.retried.get(call, 0) + (state != CANCELLED),
            table.started[call] or None,
            table.stopped[call],
            (table.argument_sizes[call] if table.argument_sizes else 0) or None,
            table.result_size(call) or None,
            table.peaks.get(call),
            error,
            message,
        )


def _words(failure: BaseException | Failure) -> tuple[str, str]:
    """The name of an exception's type and what it says; one that was not loaded yet stays so: that is its caller's."""
    if isinstance(failure, Failure):
        if failure.kind == "exception":
            return failure.name, failure.message
        failure = load_failure(failure)
    # Who runs `wren.Executor` gets subclasses, which are the same to everybody else.
    kind = next(kind for kind in type(failure).__mro__ if kind.__module__ != "wren.broken")
    try:
        return kind.__name__, str(failure)
    except Exception:  # noqa: BLE001 - it is the user's
        return kind.__name__, ""
