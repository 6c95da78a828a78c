"""`wren.Future` is a `concurrent.futures.Future` in every respect, and more: docs/api.md, "Futures and results"."""

import asyncio
import concurrent.futures
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Manager
from pathlib import Path
from pickle import PicklingError, UnpicklingError
from queue import Queue
from typing import Any, NoReturn

import pytest

import wren
from wren.errors import CallCancelled, SerializationError, WaitTimeout, WorkerLost
from wren.spi import Pickled, Stored
from wren.table import CallTable
from wren.wire import CallStatus, Header

Eventually = Callable[[Callable[[], bool]], None]


def run_until(path: Path) -> str:
    """Say that it runs, and wait for the file; not for ever, so that a failing test ends, too."""
    path.with_suffix(".started").touch()
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"nobody made {path}"
        time.sleep(0.002)
    return path.name


def fail_to_load() -> NoReturn:
    raise UnpicklingError("not here")


_loaded: list[float] = []


def note_loading() -> None:
    _loaded.append(time.time())


def leave() -> NoReturn:
    sys.exit(3)


class Unloadable:
    """Its pickle does something else on the client."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return self.action, ()


class Unpicklable:
    def __reduce__(self) -> NoReturn:
        raise TypeError("it has a lock inside")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Large:
    """Something to hold a weak reference to."""


def make_large(_: int) -> Large:
    return Large()


def put(queue: "Queue[int]", value: int) -> None:
    queue.put(value)


@pytest.fixture
def pool() -> Iterator[wren.Executor]:
    with wren.Executor(max_workers=2) as executor:
        yield executor


@pytest.fixture
def started(tmp_path: Path, eventually: Eventually) -> Callable[[wren.Executor, str], "wren.Future[str]"]:
    """Submit a call and wait until it runs; it ends when the file of its name is there."""

    def start(pool: wren.Executor, name: str) -> "wren.Future[str]":
        future = pool.submit(run_until, tmp_path / name)
        eventually((tmp_path / f"{name}.started").exists)
        return future

    return start


Started = Callable[[wren.Executor, str], "wren.Future[str]"]


# ---- cancel and kill


def test_cancel_takes_back_what_is_queued_and_nothing_else(started: Started, tmp_path: Path) -> None:
    with wren.Executor(max_workers=1) as pool:
        running = started(pool, "a")
        queued = pool.submit(abs, -1)
        assert queued.cancel()
        assert queued.cancel()  # once more is still true
        assert queued.cancelled()
        assert queued.done()
        assert not queued.running()
        for ask in (queued.result, queued.exception):
            with pytest.raises(concurrent.futures.CancelledError):
                ask(20)
        assert not running.cancel()
        (tmp_path / "a").touch()
        assert running.result(20) == "a"
        assert not running.cancel()
        assert not running.cancelled()


def test_a_cancelled_call_does_not_run(started: Started, tmp_path: Path) -> None:
    with wren.Executor(max_workers=1) as pool:
        started(pool, "a")
        assert pool.submit((tmp_path / "ran").touch).cancel()
        (tmp_path / "a").touch()
    assert not (tmp_path / "ran").exists()


def test_kill_ends_a_running_call_and_no_other(pool: wren.Executor, started: Started, tmp_path: Path) -> None:
    killed, other = started(pool, "killed"), started(pool, "other")
    queued = pool.submit(abs, -3)
    assert killed.kill()
    with pytest.raises(CallCancelled, match="was killed"):
        killed.result(20)
    assert isinstance(killed.exception(), concurrent.futures.CancelledError)
    assert not killed.kill()
    (tmp_path / "other").touch()
    assert other.result(20) == "other"
    assert queued.result(20) == 3


def test_kill_cancels_a_call_that_has_not_started(started: Started, tmp_path: Path) -> None:
    with wren.Executor(max_workers=1) as pool:
        running, queued = started(pool, "a"), pool.submit(abs, -1)
        assert queued.kill()
        assert queued.cancelled()
        (tmp_path / "a").touch()
        assert running.result(20) == "a"
        assert not running.kill()


def test_kill_of_one_call_leaves_the_rest_of_its_map(tmp_path: Path, eventually: Eventually) -> None:
    with wren.FunctionExecutor(backend="localhost", workers=2) as executor:
        futures = executor.map(run_until, [tmp_path / name for name in "abc"])
        eventually((tmp_path / "a.started").exists)
        assert futures[0].kill()
        assert isinstance(futures[0].exception(20), CallCancelled)
        (tmp_path / "b").touch()
        (tmp_path / "c").touch()
        assert [future.result(20) for future in futures[1:]] == ["b", "c"]


# ---- callbacks


def test_callbacks_have_been_called_when_cancel_returns(started: Started, tmp_path: Path) -> None:
    with wren.Executor(max_workers=1) as pool:
        started(pool, "a")
        queued, called = pool.submit(abs, -1), list[tuple[bool, threading.Thread]]()
        queued.add_done_callback(lambda future: called.append((future.cancelled(), threading.current_thread())))
        assert queued.cancel()
        assert called == [(True, threading.current_thread())]
        (tmp_path / "a").touch()
    assert len(called) == 1


def test_callbacks_are_called_once_though_many_threads_cancel(started: Started, tmp_path: Path) -> None:
    with wren.Executor(max_workers=1) as pool, concurrent.futures.ThreadPoolExecutor(8) as threads:
        started(pool, "a")
        for _ in range(20):
            queued, called = pool.submit(abs, -1), list[object]()
            queued.add_done_callback(called.append)
            assert all(threads.map(lambda queued: queued.cancel(), [queued] * 8))
            assert called == [queued]
        (tmp_path / "a").touch()


def test_callbacks_have_been_called_when_shutdown_returns() -> None:
    called: list[int] = []

    def slowly(future: "concurrent.futures.Future[int]") -> None:
        time.sleep(0.01)
        called.append(future.result())

    with wren.Executor(max_workers=2) as pool:
        for number in range(10):
            pool.submit(abs, number).add_done_callback(slowly)
    assert sorted(called) == list(range(10))


def test_a_callback_may_shut_the_executor_down() -> None:
    pool, done = wren.Executor(max_workers=1), threading.Event()

    def end(_: object) -> None:
        pool.shutdown()
        done.set()

    pool.submit(abs, -1).add_done_callback(end)
    assert done.wait(20)


def test_callbacks_are_called_in_the_order_in_which_they_were_added(started: Started, tmp_path: Path) -> None:
    called: list[int] = []
    with wren.Executor(max_workers=1) as pool:
        future = started(pool, "a")
        for number in range(20):
            future.add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc]  # of a default
        (tmp_path / "a").touch()
    assert called == list(range(20))


def test_what_a_callback_raises_is_logged_where_the_standard_library_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def callback(future: object) -> None:
        raise ValueError("mine")

    with wren.Executor(max_workers=1) as pool:
        future = pool.submit(abs, -1)
        future.add_done_callback(callback)
    assert [record.name for record in caplog.records] == ["concurrent.futures"]
    assert caplog.records[0].getMessage() == f"exception calling callback for {future!r}"


# ---- asyncio


def test_futures_can_be_awaited_with_all_that_may_become_of_them(started: Started, tmp_path: Path) -> None:
    async def main(pool: wren.Executor) -> None:
        running = started(pool, "a")
        queued, failing, last = pool.submit(abs, -1), pool.submit(divmod, 1, 0), pool.submit(abs, -2)
        assert queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(running)), 0.01)
        (tmp_path / "a").touch()
        assert await running == "a"
        with pytest.raises(ZeroDivisionError):
            await failing
        assert await last == 2
        assert await last == 2  # again

    with wren.Executor(max_workers=1) as pool:
        asyncio.run(main(pool))


def test_cancelling_what_awaits_a_queued_call_cancels_the_call(started: Started, tmp_path: Path) -> None:
    async def main(pool: wren.Executor) -> None:
        started(pool, "a")
        queued = pool.submit(abs, -1)
        waiting = asyncio.wrap_future(queued)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)  # asyncio passes it on in the loop's next round
        assert queued.cancelled()
        (tmp_path / "a").touch()

    with wren.Executor(max_workers=1) as pool:
        asyncio.run(main(pool))


def test_an_event_loop_runs_calls_in_the_executor(pool: wren.Executor) -> None:
    async def main() -> Sequence[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, abs, -number) for number in range(200)))

    assert asyncio.run(main()) == list(range(200))


# ---- many, and the standard library's own among them

MANY = 100_000


def test_wait_and_as_completed_over_100000_futures_mixed_with_the_standards() -> None:
    with (
        wren.FunctionExecutor(backend="localhost", workers=2) as executor,
        concurrent.futures.ThreadPoolExecutor(2) as threads,
    ):
        for collect in (_by_wait, _by_as_completed):
            ours: list[concurrent.futures.Future[int]] = list(executor.map(abs, range(MANY)))
            theirs = [threads.submit(abs, number) for number in range(1_000)]
            mixed = [future for pair in zip(theirs, ours, strict=False) for future in pair] + ours[len(theirs) :]
            assert collect(mixed) == MANY + len(theirs)
            assert ours[-1].result() == MANY - 1


def _by_wait(futures: "Sequence[concurrent.futures.Future[int]]") -> int:
    return len(concurrent.futures.wait(futures, timeout=60).done)


def _by_as_completed(futures: "Sequence[concurrent.futures.Future[int]]") -> int:
    return sum(future.done() for future in concurrent.futures.as_completed(futures, timeout=60))


# ---- results that cannot be brought here


@pytest.mark.parametrize(("action", "said"), [(fail_to_load, "UnpicklingError: not here"), (leave, "SystemExit: 3")])
def test_a_result_that_cannot_be_loaded_is_the_exception_of_its_call(action: Callable[[], object], said: str) -> None:
    with wren.FunctionExecutor(backend="localhost", workers=1) as executor:
        future = executor.call_async(Unloadable, (action,))
        error = future.exception(20)
        assert isinstance(error, SerializationError)
        assert str(error).endswith(f"cannot be loaded here: {said}")
        assert isinstance(error.__cause__, UnpicklingError | SystemExit)
        with pytest.raises(SerializationError) as raised:
            future.result()
        assert raised.value is error


def test_waiting_loads_no_result() -> None:
    before = len(_loaded)
    with wren.FunctionExecutor(backend="localhost", workers=1) as executor:
        future: concurrent.futures.Future[Any] = executor.call_async(Unloadable, (note_loading,))
        for return_when in ("ALL_COMPLETED", "FIRST_EXCEPTION", "FIRST_COMPLETED"):
            assert concurrent.futures.wait([future], timeout=20, return_when=return_when).done == {future}
        assert list(concurrent.futures.as_completed([future])) == [future]
        executor.wait()
        assert len(_loaded) == before
        assert future.exception() is None
        assert future.exception() is None
        assert len(_loaded) == before + 1


# ---- what is settled by hand


class NoEngine:
    """The owner of a call that nothing runs."""

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        for call in calls:
            table.cancelled(call)

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return []

    def fetch(self, job: Header, call: int, stored: Stored) -> Any:
        raise AssertionError("nothing was stored")

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        raise AssertionError("nothing was stored")

    def finished(self, job: str) -> None:
        pass


@pytest.fixture
def future() -> "wren.Future[Any]":
    return wren.Future(CallTable("tests", "A000", 1, NoEngine()), 0)


def test_a_test_may_settle_a_future_as_one_of_the_standards(future: "wren.Future[Any]") -> None:
    called: list[object] = []
    future.add_done_callback(called.append)
    assert future.set_running_or_notify_cancel()
    assert future.running()
    assert not future.cancel()
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_running_or_notify_cancel()
    value = Pickled(b"what the function returned, of whatever type")
    future.set_result(value)
    assert called == [future]
    assert future.result() is value
    with pytest.raises(concurrent.futures.InvalidStateError, match="FINISHED"):
        future.set_result(2)
    with pytest.raises(concurrent.futures.InvalidStateError, match="FINISHED"):
        future.set_exception(ValueError())


def test_a_test_may_have_a_future_fail(future: "wren.Future[Any]") -> None:
    error = ValueError("mine")
    future.set_exception(error)
    assert future.exception() is error
    with pytest.raises(ValueError, match="mine"):
        future.result()


def test_a_cancelled_future_is_not_to_be_run(future: "wren.Future[Any]") -> None:
    assert future.cancel()
    assert not future.set_running_or_notify_cancel()
    with pytest.raises(concurrent.futures.InvalidStateError, match="CANCELLED"):
        future.set_result(1)


def test_what_is_awaited_too_long_says_which_call_it_is(future: "wren.Future[Any]") -> None:
    for ask in (future.result, future.exception):
        with pytest.raises(WaitTimeout, match=r"call tests/A000/00000 has not ended after 0\.01 s"):
            ask(0.01)
        with pytest.raises(concurrent.futures.TimeoutError):
            ask(timeout=0)


# ---- code that was written for ProcessPoolExecutor


def test_a_lost_worker_is_a_broken_process_pool_to_its_call_only(pool: wren.Executor) -> None:
    future = pool.submit(kill_itself)
    with pytest.raises(BrokenProcessPool, match="SIGKILL") as raised:
        future.result(20)
    assert isinstance(raised.value, WorkerLost)
    assert future.exception() is raised.value
    assert pool.submit(abs, -1).result(20) == 1


def test_what_cannot_be_exchanged_is_a_broken_process_pool_or_a_pickling_error(pool: wren.Executor) -> None:
    assert isinstance(pool.submit(id, Unloadable(fail_to_load)).exception(20), BrokenProcessPool)
    assert isinstance(pool.submit(Unloadable, leave).exception(20), BrokenProcessPool)
    with pytest.raises(PicklingError, match="it has a lock inside") as raised:
        pool.submit(Unpicklable).result(20)
    assert isinstance(raised.value, SerializationError)
    assert "it has a lock inside" in str(raised.value.__cause__)  # the worker's traceback
    assert any("this was call 0 of job" in note for note in raised.value.__notes__)


def test_what_the_function_raises_is_not_taken_for_a_broken_pool(pool: wren.Executor) -> None:
    assert type(pool.submit(divmod, 1, 0).exception(20)) is ZeroDivisionError


def test_workers_may_use_a_managers_queue(pool: wren.Executor) -> None:
    with Manager() as manager:
        queue = manager.Queue()
        pool.submit(put, queue, 1).result(20)
        list(pool.map(put, [queue] * 3, range(2, 5)))
        assert sorted(queue.get(timeout=20) for _ in range(4)) == [1, 2, 3, 4]


def test_map_keeps_no_result_that_it_has_handed_out(pool: wren.Executor) -> None:
    results, seen = pool.map(make_large, range(5)), 0
    for result in results:
        reference = weakref.ref(result)
        del result
        gc.collect()
        assert reference() is None
        seen += 1
    assert seen == 5


@pytest.mark.parametrize("number", [0, -1])
def test_there_is_at_least_one_worker(number: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        wren.Executor(max_workers=number)


def test_an_executor_that_was_not_shut_down_does_its_calls_and_lets_go(tmp_path: Path, eventually: Eventually) -> None:
    pool = wren.Executor(max_workers=1)
    reference, future = weakref.ref(pool), pool.submit(run_until, tmp_path / "a")
    del pool
    eventually(lambda: gc.collect() >= 0 and reference() is None)
    (tmp_path / "a").touch()
    assert future.result(20) == "a"
