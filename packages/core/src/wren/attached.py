"""Futures in another process than their client's: what a pickled one becomes, which reads the results in the storage.

Nobody tells a reader of failures that only the client has seen, so the client stores those when the job is over:
`wren.verdicts`.  A client that is gone before has ended the calls of a backend whose channel it held; their futures
fail then.  A future that was done brings its result along, whether its job persists or not.
"""

import os
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from threading import Lock, RLock
from typing import Any, Final, NoReturn

from wren import callbacks, plugins
from wren.config import Config
from wren.errors import CallLost, StorageUnavailable, WrenError
from wren.futures import Future
from wren.references import Reference, Role
from wren.spi import Listed, Outcomes, Pickled, Storage, Stored
from wren.stored import fetch, list_statuses, read_status
from wren.table import RUNNING, CallTable, Details
from wren.verdicts import BY_CLIENT
from wren.watches import Callback, Waiter, Watch
from wren.wire import SHARD, Blob, CallStatus, Failure, Header

__all__ = ["AttachedFuture", "SettledFuture", "attach", "settled"]

FIRST_PAUSE: Final = 0.05  # seconds between two listings at first
PAUSE: Final = 1.0  # and in the end
PATIENCE: Final = 60.0  # seconds that a storage may not answer while somebody waits


def attach(reference: Reference, call: int) -> "AttachedFuture":
    """The future of a call; those of the same job share a table."""
    key = reference.executor, reference.job_id
    with _lock:
        table = _tables.get(key)
        if table is None:
            table = _tables[key] = AttachedTable(reference)
    return AttachedFuture(table, call)


def _after_fork() -> None:
    """The threads that watched are not in the child, and the locks may be taken."""
    global _lock  # noqa: PLW0603 - the one lock of the process, for a new process
    _lock = Lock()
    for table in list(_tables.values()):
        table.forked()


os.register_at_fork(after_in_child=_after_fork)

_tables: "Final[weakref.WeakValueDictionary[tuple[str, str], AttachedTable]]" = weakref.WeakValueDictionary()
_lock = Lock()


class AttachedTable(CallTable):
    """The calls of a job of another process, as far as the storage knows of them.

    Nothing is asked before somebody asks for a result, and once somebody has, a thread lists until all calls are over.
    """

    __slots__ = ("_source", "_watched")

    def __init__(self, reference: Reference) -> None:
        self._source = _Source(reference)
        super().__init__(reference.executor_id, reference.job_id, reference.calls, self._source, self._source.header)
        self.submitted = reference.submitted
        self.single, self.reduced_by = reference.role
        self.reference = lambda: reference
        self._watched = False

    def look(self) -> None:
        """Take in what is stored, the first time; from then on what comes is."""
        with self._source.lock:
            if self._watched or not self.unfinished:
                return
            try:
                self._source.take_in(self)
            except Exception as error:  # noqa: BLE001 - of a plugin, too: who asks for a result is told
                self._source.give_up(self, error)
            if self.unfinished:
                # One request is cheap; those of a large job, one a thousand calls, are made once a second at most.
                pause = FIRST_PAUSE if len(self) <= SHARD else PAUSE
                callbacks.apart(partial(_watch, weakref.ref(self), self._source, pause), "wren-attached")
            self._watched = True  # not before: what an interrupt has ended must be begun again

    def forked(self) -> None:
        """In a forked child: whoever asks there begins anew."""
        self._source.lock, self._watched = RLock(), False

    def wait(self, call: int, timeout: float | None, *, until_failure: bool = False) -> bool:
        self.look()
        return super().wait(call, timeout, until_failure=until_failure)

    def watch(self, call: int, future: Any) -> Watch:
        self.look()
        return super().watch(call, future)

    def watch_any(self, waiter: Waiter) -> None:
        self.look()
        super().watch_any(waiter)

    def add_callback(self, call: int, future: Any, callback: Callback) -> None:
        self.look()
        super().add_callback(call, future, callback)


class AttachedFuture(Future[Any]):
    """A future of another process's call: it can be waited for and read, and not be cancelled."""

    __slots__ = ()
    table: AttachedTable

    def done(self) -> bool:
        self.table.look()
        return super().done()


class _Source:
    """Where an attached job's results come from; the table's owner, which it therefore does not know."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.lock = RLock()  # reentrant, for signal handlers
        self._opened: Storage[Any] | None = None
        self._failed_since: float | None = None
        self._tried_again: set[Listed] = set()  # failures that need not be the last word, as they were seen
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.header = Header(
            reference.executor, reference.job_id, reference.mac_key, Blob("", 0), python, bucket=reference.bucket
        )

    @property
    def storage(self) -> Storage[Any]:
        """The storage, opened with the secrets that this process has for it."""
        if self._opened is None:
            name = self._reference.storage
            kind = plugins.load_storage(name)
            self._opened = kind(Config.load({name: self._reference.options}).options(name, kind.options_type))
        return self._opened

    def take_in(self, table: CallTable) -> None:
        """Settle what is known to be over.  Raises what the storage does."""
        client = self._reference.client
        # Before the listing, which then has all that there will be.
        gone = client is not None and client.gone()
        failed = {}
        for listed in self._new(table):
            if listed.state == "ok":
                stored = Stored(listed.attempt)
                table.listed[listed.call] = stored
                table.succeed(Outcomes([listed.call], [stored], [0.0], [listed.stopped]))
            elif listed.state == "err":
                failed[listed.call] = listed  # the last attempt is listed last
        for call, listed in failed.items():
            stored = Stored(listed.attempt, "err")
            if listed in self._tried_again and not gone:
                continue
            status = read_status(self.storage, self.header, call, stored)
            if gone or listed.attempt >= self._reference.retries or status.worker == BY_CLIENT:
                table.fail(call, stored, Details.of(status))
            else:
                self._tried_again.add(listed)
        if client is not None and gone:
            for call in _pending(table):
                name = f"call {call} of job {table.executor_id}/{table.job_id}"
                table.fail(call, CallLost(f"{name} had not ended when its client, process {client.pid}, did"))

    def _new(self, table: CallTable) -> Iterator[Listed]:
        """The stored statuses of calls that are not over, by attempt."""
        for shard in sorted({call // SHARD for call in _pending(table)}):
            listed = list_statuses(self.storage, self.header, shard)
            for each in sorted(listed, key=lambda each: (each.call, each.attempt)):
                if each.call < len(table) and table.states[each.call] <= RUNNING:
                    yield each

    def look_again(self, table: CallTable) -> None:
        """The same, for who may wait until the storage answers again."""
        try:
            self.take_in(table)
            self._failed_since = None
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not leave somebody waiting
            now = time.monotonic()
            self._failed_since = self._failed_since or now
            if now - self._failed_since > PATIENCE:
                self.give_up(table, error)

    def give_up(self, table: CallTable, error: Exception) -> None:
        """Nobody will know of what is not over."""
        if not isinstance(error, WrenError):
            error = StorageUnavailable(f"the {self._reference.storage} storage cannot be listed: {error}")
        for call in _pending(table):
            table.fail(call, error)

    # ---- wren.table.Owner

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        """The calls are another process's."""

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return ()

    def fetch(self, job: Header, call: int, stored: Stored) -> Pickled | Failure:
        return fetch(self.storage, job, call, stored)

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        return read_status(self.storage, job, call, stored)

    def finished(self, job: str) -> None:
        """The watching ends by itself."""


def _pending(table: CallTable) -> list[int]:
    return [call for call, state in enumerate(table.states) if state <= RUNNING]


def _watch(watched: "weakref.ref[AttachedTable]", source: _Source, pause: float) -> None:
    """List again and again, while there is somebody who may ask."""
    while True:
        time.sleep(pause)
        pause = min(PAUSE, 1.5 * pause)
        table = watched()
        if table is None or not table.unfinished:
            return
        source.look_again(table)
        del table


# ---- what was done when it was pickled


class SettledFuture(Future[Any]):
    """A future that was done when it was pickled: it has brought its result along."""

    __slots__ = ("_number", "_stats")

    def __init__(self, table: CallTable, number: int, stats: Mapping[str, float]) -> None:
        super().__init__(table, 0)
        self._number, self._stats = number, stats

    @property
    def stats(self) -> Mapping[str, float]:
        """As they were: its table knows nothing of the submission."""
        return dict(self._stats)

    @property
    def call_id(self) -> str:
        return f"{self._number:05d}"


class _Nobody:
    """The owner of a table in which all is settled."""

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None: ...

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return ()

    def fetch(self, job: Header, call: int, stored: Stored) -> NoReturn:
        raise AssertionError("it has brought its result along")

    read_status = fetch

    def finished(self, job: str) -> None: ...


def settled(
    executor_id: str,
    job_id: str,
    number: int,
    state: int,
    value: Any,
    details: Details,
    stats: Mapping[str, float],
    role: Role,
) -> SettledFuture:
    """A future that is done."""
    table = CallTable(executor_id, job_id, 1, _Nobody())
    table.single, table.reduced_by = role
    table.settle(0, state, value, details)
    return SettledFuture(table, number, stats)
