"""What `wait` and `get_result` do: which calls are meant, waiting for them, and what the caller has seen of them."""

import contextlib
import enum
import math
import time
from collections.abc import Iterable
from typing import Any, TypeAlias

from wren.defaults import number
from wren.errors import BindingError, StorageError, WaitTimeout
from wren.fetching import fetching
from wren.futures import Future, wait_all, wait_any
from wren.progress import waiting
from wren.spi import Pickled
from wren.table import OK, RUNNING, CallTable

__all__ = ["ALL_COMPLETED", "ALWAYS", "ANY_COMPLETED", "Futures", "Results", "ReturnWhen", "checked"]

Futures: TypeAlias = Future[Any] | Iterable[Future[Any]] | None


class ReturnWhen(enum.StrEnum):
    """When `wait` returns."""

    ALL_COMPLETED = "ALL_COMPLETED"
    ANY_COMPLETED = "ANY_COMPLETED"
    ALWAYS = "ALWAYS"


ALL_COMPLETED, ANY_COMPLETED, ALWAYS = ReturnWhen


class Results:
    """The futures of an executor whose results were not all read, in order of submission.

    A map that feeds a reducer stands before it; its results count as read with the reducer's.
    """

    def __init__(self) -> None:
        self._jobs: list[list[Future[Any]]] = []
        self._prune_at = 16  # how many jobs there are before those that were read one by one are looked for

    def add(self, futures: list[Future[Any]]) -> None:
        """A job's futures: the ones that the caller gets, for a call has one future only."""
        if len(self._jobs) >= self._prune_at:
            self._prune()
            self._prune_at = 2 * len(self._jobs) + 16
        if futures:
            self._jobs.append(futures)

    def wait(
        self, fs: Futures, throw_except: bool, return_when: str, timeout: float | None
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """`FunctionExecutor.wait`, but for the results."""
        timeout = _seconds(timeout)
        if return_when not in list(ReturnWhen):  # a list asks for no hash
            raise BindingError(f"return_when is {return_when!r}: give one of {', '.join(ReturnWhen)}")
        futures = self._unread(inputs=True) if fs is None else checked(fs)
        if return_when == ANY_COMPLETED:
            waiting(futures, lambda left: wait_any(futures, left), timeout)
        elif return_when == ALL_COMPLETED:
            self._wait_all(futures, timeout)
        done = [future for future in futures if future.done()]
        if throw_except:
            for future in done:
                # Not `exception()`, which brings the result, to see whether it can be loaded.
                if not future.cancelled() and (error := future._exception) is not None:
                    raise error
        return done, [future for future in futures if not future.done()]

    def get(self, fs: Futures, throw_except: bool, timeout: float | None, threads: int) -> Any:
        """`FunctionExecutor.get_result`."""
        timeout = _seconds(timeout)
        if isinstance(fs, Future):
            return self._collect([fs], throw_except, timeout, threads)[0]
        given = None if fs is None else checked(fs)
        futures = self._unread() if given is None else _without_inputs(given)
        results = self._collect(futures, throw_except, timeout, threads)
        whole = given is None or len(futures) < len(given)
        return results[0] if whole and len(futures) == 1 and futures[0].table.single else results

    def download(self, futures: list[Future[Any]], threads: int) -> None:
        """Have the results of futures that are done here, or why there are none, for whoever asks next."""
        with fetching(futures, threads) as fetched:
            for future in futures:
                with contextlib.suppress(StorageError):  # whoever asks gets it again
                    if fetched is not None:
                        fetched.bring(future)
                    if not future.cancelled():
                        future.table.outcome(future.call)

    def _collect(
        self, futures: list[Future[Any]], throw_except: bool, timeout: float | None, threads: int
    ) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wait_all(futures, timeout, until_failure=throw_except, load=True)
        results = []
        with fetching(futures, threads) as fetched:
            for future in futures:
                table, call = future.table, future.call
                if table.states[call] <= RUNNING and not wait_all([future], _left(deadline)):
                    missing = sum(not each.done() for each in futures)
                    said = f"{missing} of {len(futures)} calls have not ended after {timeout:g} s; they go on"
                    raise WaitTimeout(said)
                try:
                    if fetched is not None:
                        fetched.bring(future)
                    results.append(table.result(call))
                except Exception:  # of the call; a KeyboardInterrupt is the caller's own
                    if throw_except:
                        self._mark([future])
                        raise
                    results.append(None)
        self._mark(futures)
        return results

    def _wait_all(
        self, futures: list[Future[Any]], timeout: float | None, *, until_failure: bool = False, load: bool = False
    ) -> None:
        """Until all are done, or with `until_failure` one has failed, or the time is over.

        `load`: what has come is unpickled meanwhile.
        """
        wait = _wait_and_load if load else wait_all
        waiting(futures, lambda left: wait(futures, left, until_failure=until_failure), timeout)

    def _unread(self, *, inputs: bool = False) -> list[Future[Any]]:
        """The futures that get_result has not read; with `inputs` also those that a reducer reads."""
        return [
            future
            for futures in self._jobs
            if inputs or futures[0].table.reduced_by is None
            for future in futures
            if not future.table.collected[future.call]
        ]

    def _mark(self, futures: Iterable[Future[Any]]) -> None:
        """The caller has read these."""
        tables = set()
        for future in futures:
            future.table.collected[future.call] = 1
            tables.add(future.table)
        for table in tables:
            table.was_read()
        self._prune()

    def _prune(self) -> None:
        """Let go of the jobs that were read, and of the inputs of such reducers."""
        tables = [futures[0].table for futures in self._jobs]
        read = {table.job_id for table in tables if 0 not in table.collected}
        self._jobs = [
            futures
            for futures, table in zip(self._jobs, tables, strict=True)
            if table.job_id not in read and table.reduced_by not in read
        ]


def _wait_and_load(futures: list[Future[Any]], timeout: float | None, *, until_failure: bool) -> bool:
    """As `wait_all`; meanwhile what has come is unpickled: the first half, then half of the rest, and so on."""
    deadline = None if timeout is None else time.monotonic() + timeout
    start, some = 0, len(futures) // 2
    while some:
        half = futures[start : start + some]
        if not wait_all(half, _left(deadline), until_failure=until_failure):
            return False
        if (until_failure and any(future.table.failures for future in half)) or not sum(map(_load, half)):
            break
        start += some
        some = (len(futures) - start) // 2
    return wait_all(futures[start:], _left(deadline), until_failure=until_failure)


def _load(future: Future[Any]) -> bool:
    """Unpickle a result that has come; whether there is, or once was, something to unpickle."""
    table, call = future.table, future.call
    if table.loaded[call]:  # in an earlier round: who waits for long asks again
        return True
    if table.states[call] != OK or type(table.values[call]) is not Pickled:
        return False
    with contextlib.suppress(Exception):  # whatever that raises, it does so again when its turn has come
        table.result(call)
    return True


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _seconds(timeout: object) -> float | None:
    """A timeout of waiting, in seconds; None: none."""
    if timeout is None:
        return None
    seconds = number(timeout)
    if seconds is None or math.isnan(seconds):
        raise BindingError(f"timeout is {timeout!r}: give a number of seconds, or None to wait until the end")
    return seconds


def checked(fs: Any) -> list[Future[Any]]:
    """Futures, or one, that a caller has given as `fs`."""
    futures = [fs] if isinstance(fs, Future) or not isinstance(fs, Iterable) else list(fs)
    for future in futures:
        if not isinstance(future, Future):
            kind = type(future).__qualname__
            raise BindingError(f"fs has an object of type {kind}: give futures of an executor, or None for all")
    return futures


def _without_inputs(futures: list[Future[Any]]) -> list[Future[Any]]:
    """What `map_reduce` returned, without the calls whose results its reducer has."""
    tables = _tables(futures)
    given = {(table.executor_id, table.job_id) for table in tables}
    inputs = {table for table in tables if (table.executor_id, table.reduced_by) in given}
    return [future for future in futures if future.table not in inputs] if inputs else futures


def _tables(futures: list[Future[Any]]) -> set[CallTable]:
    return {future.table for future in futures}
