"""`wren.Executor` and `wren.Future` beside the standard library's."""

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wren

Eventually = Callable[[Callable[[], bool]], None]


def double(x: int) -> int:
    return 2 * x


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.002)
    return path.name


def divide(a: int, b: int = 1) -> float:
    return a / b


@pytest.fixture
def pool() -> Iterator[wren.Executor]:
    with wren.Executor(max_workers=2) as executor:
        yield executor


def test_submit_passes_arguments_as_they_are(pool: wren.Executor) -> None:
    assert pool.submit(divide, 6, b=3).result(20) == 2
    assert pool.submit(lambda pair: pair, (1, 2)).result(20) == (1, 2)  # nothing is spread
    assert pool.submit(lambda id: id, {"id": 3}).result(20) == {"id": 3}


def test_map_is_lazy_in_results_and_raises_in_place(pool: wren.Executor) -> None:
    assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]
    assert list(pool.map(divide, [6, 6], [2, 3])) == [3, 2]
    assert list(pool.map(double, [])) == []
    results = pool.map(divide, [6, 6, 6], [2, 0, 3])
    assert next(results) == 3
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_raises_when_its_time_is_over(pool: wren.Executor, tmp_path: Path) -> None:
    results = pool.map(wait_for, [tmp_path / "go"], timeout=0.02)
    with pytest.raises(TimeoutError):
        next(results)
    (tmp_path / "go").touch()


def test_after_shutdown_nothing_is_accepted() -> None:
    pool = wren.Executor(max_workers=1)
    future = pool.submit(double, 2)
    pool.shutdown()
    assert future.done()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(double, 2)


def test_shutdown_can_drop_what_has_not_started(tmp_path: Path, eventually: Eventually) -> None:
    def start(path: Path) -> str:
        path.with_suffix(".started").touch()
        return wait_for(path)

    pool = wren.Executor(max_workers=1)
    running = pool.submit(start, tmp_path / "a")
    eventually((tmp_path / "a.started").exists)
    queued = [pool.submit(start, tmp_path / "b") for _ in range(5)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in queued)
    (tmp_path / "a").touch()
    assert running.result(20) == "a"


def test_wait_and_as_completed_mix_with_the_standards_futures(pool: wren.Executor, tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        ours = [pool.submit(double, index) for index in range(20)]
        slow = pool.submit(wait_for, tmp_path / "go")
        theirs = [threads.submit(double, index) for index in range(20)]
        everything: list[concurrent.futures.Future[int]] = [*ours, *theirs]
        mixed: list[concurrent.futures.Future[Any]] = [*everything, slow]
        assert not concurrent.futures.wait(everything, timeout=20).not_done
        done, not_done = concurrent.futures.wait(mixed, timeout=0)
        assert not_done == {slow}
        assert done == set(everything)
        assert {future.result() for future in concurrent.futures.as_completed(everything)} == {
            2 * index for index in range(20)
        }
        (tmp_path / "go").touch()
        first = concurrent.futures.wait([slow], return_when=concurrent.futures.FIRST_COMPLETED, timeout=20)
        assert first.done == {slow}
        failing = pool.submit(divide, 1, 0)
        assert concurrent.futures.wait([failing], return_when="FIRST_EXCEPTION", timeout=20).done == {failing}


def test_threads_waiting_for_overlapping_futures_do_not_deadlock(pool: wren.Executor) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        ours = [pool.submit(double, index) for index in range(200)]
        theirs = [threads.submit(double, index) for index in range(200)]
        mixed = [future for pair in zip(ours, theirs, strict=True) for future in pair]
        waits = [threads.submit(concurrent.futures.wait, mixed[start:], 20) for start in range(0, 200, 10)]
        waits += [threads.submit(concurrent.futures.wait, mixed[start::-1], 20) for start in range(200, 400, 10)]
        assert all(not wait.result(30).not_done for wait in waits)


def test_callbacks_are_called_once_also_late_and_may_wait_themselves(pool: wren.Executor) -> None:
    called = []
    ready = threading.Event()

    def callback(future: "concurrent.futures.Future[int]") -> None:
        called.append(pool.submit(double, future.result()).result(20))
        ready.set()

    first = pool.submit(double, 1)
    first.add_done_callback(callback)
    assert ready.wait(20)
    assert called == [4]
    first.add_done_callback(callback)  # it is done: called here and now
    assert called == [4, 4]


def test_a_callback_that_raises_is_logged_and_harms_nobody(
    pool: wren.Executor, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    def callback(future: object) -> None:
        raise ValueError("mine")

    pool.submit(double, 1).add_done_callback(callback)
    eventually(lambda: "mine" in caplog.text)
    assert pool.submit(double, 2).result(20) == 4


def test_futures_can_be_awaited(pool: wren.Executor) -> None:
    async def both() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        return await pool.submit(double, 2), await loop.run_in_executor(pool, double, 3)

    assert asyncio.run(both()) == (4, 6)


def test_a_forked_child_of_the_client_can_start_anew(pool: wren.Executor) -> None:
    assert pool.submit(double, 1).result(20) == 2
    child = os.fork()
    if child == 0:
        try:
            with wren.Executor(max_workers=2) as own:
                os._exit(own.submit(double, 2).result(20))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert pool.submit(double, 3).result(20) == 6


def test_a_future_says_what_it_is(pool: wren.Executor, tmp_path: Path) -> None:
    future = pool.submit(wait_for, tmp_path / "go")
    assert not future.done()
    assert repr(future) == f"<wren.Future {future.executor_id}/A000/00000 pending>"
    (tmp_path / "go").touch()
    future.result(20)
    assert repr(future).endswith(" done>")
    assert future.exception() is None
    assert not future.cancel()


def test_an_interrupt_inside_of_with_ends_what_runs(tmp_path: Path, eventually: Eventually) -> None:
    def run(path: Path) -> str:
        path.with_suffix(".started").touch()
        return wait_for(path)

    with pytest.raises(KeyboardInterrupt), wren.Executor(max_workers=1) as pool:  # noqa: PT012
        running, queued = pool.submit(run, tmp_path / "never"), pool.submit(run, tmp_path / "never")
        eventually((tmp_path / "never.started").exists)
        raise KeyboardInterrupt
    assert isinstance(running.exception(20), wren.errors.CallCancelled)
    assert queued.cancelled()
