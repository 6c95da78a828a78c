"""docs/api.md, "Futures and results"."""

import asyncio
import concurrent.futures
import fractions
import functools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import pywren_ibm_cloud
import wren
from wren.errors import BindingError, CallCancelled, CallError, CallTimeout, WaitTimeout, WorkerLost

Eventually = Callable[[Callable[[], bool]], None]


def add_one(x: int) -> int:
    return x + 1


def total(results: list[int]) -> int:
    return sum(results)


def fail_if(bad: bool, x: int) -> int:
    if bad:
        raise ValueError(f"no {x}")
    return x


def wait_for(path: Path) -> str:
    """Until the file is there, but no longer than a test waits for it."""
    path.with_suffix(".started").touch()
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return path.name


FAILING = [(False, 0), (True, 1), (False, 2), (True, 3), (False, 4)]  # arguments of `fail_if`


# ---- what map and map_reduce give back


@pytest.mark.api("`map` returns a list of futures, one for each element, also for one element.")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_map_returns_a_list_of_futures(executor: wren.FunctionExecutor, count: int) -> None:
    futures = executor.map(add_one, range(count))
    assert isinstance(futures, list)
    assert [type(future) for future in futures] == [wren.Future] * count
    assert executor.get_result() == list(range(1, count + 1))


@pytest.mark.api("`map_reduce` returns the map futures and then the reducer's")
def test_map_reduce_returns_the_maps_futures_and_the_reducers(executor: wren.FunctionExecutor) -> None:
    futures = executor.map_reduce(add_one, [1, 2, 3], total)
    assert [future.job_id[0] for future in futures] == ["M", "M", "M", "R"]
    assert [future.result(20) for future in futures] == [2, 3, 4, 9]


@pytest.mark.api("`get_result()` gives the reducer's value only, a list when there are several reducers.")
def test_results_of_map_reduce_are_the_reducers(executor: wren.FunctionExecutor) -> None:
    executor.map_reduce(add_one, [1, 2, 3], total)
    assert executor.get_result() == 9
    executor.map_reduce(add_one, [1], total)
    executor.map_reduce(add_one, [2], total)
    assert executor.get_result() == [2, 3]


@pytest.mark.api("A reducer gets the list of results as its first parameter that is not injected, whatever its name.")
@pytest.mark.parametrize("wait_local", [False, True])
@pytest.mark.parametrize(
    "reducer",
    [
        lambda results: results,
        lambda whatever: whatever,
        lambda x, y=1: x,
        lambda id, x: x,
        lambda x, *, id: x,
        lambda *, x: x,
        lambda *x: x[0],
        list,
    ],
)
def test_a_reducer_gets_the_list_as_its_first_parameter(
    executor: wren.FunctionExecutor, reducer: Callable[..., Any], wait_local: bool
) -> None:
    executor.map_reduce(add_one, [1, 2], reducer, reducer_wait_local=wait_local)
    assert executor.get_result(timeout=20) == [2, 3]


# ---- get_result


@pytest.mark.api(
    "`get_result()` with no futures: the results not yet collected of this executor, in submission order: one value "
    "after one `call_async`, a list after `map`, several jobs flat in order."
)
def test_results_come_in_the_order_of_submission(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    executor.call_async(add_one, 1)
    assert executor.get_result() == 2
    executor.map(add_one, [1])
    assert executor.get_result() == [2]
    # Also when a later job is done first
    executor.call_async(wait_for, tmp_path / "go")
    later = executor.map(add_one, [1, 2])
    executor.call_async(add_one, 10)
    executor.wait(later, timeout=20)
    (tmp_path / "go").touch()
    assert executor.get_result() == ["go", 2, 3, 11]


@pytest.mark.api("`None` is a result and keeps its place", "[they: drop it].")
def test_none_keeps_its_place(executor: wren.FunctionExecutor) -> None:
    executor.map(lambda x: x, [None, 1, None])
    assert executor.get_result() == [None, 1, None]
    executor.call_async(lambda: None, ())
    assert executor.get_result() is None
    executor.map_reduce(lambda x: x, [None, None], len)
    assert executor.get_result() == 2
    executor.map_reduce(lambda x: x, [1], lambda _: None)
    assert executor.get_result() is None


@pytest.mark.api("A second `get_result()` has nothing left: `[]`.")
@pytest.mark.parametrize("start", ["call_async", "map", "map_reduce"])
def test_a_second_get_result_has_nothing_left(executor: wren.FunctionExecutor, start: str) -> None:
    if start == "call_async":
        executor.call_async(add_one, 1)
    elif start == "map":
        executor.map(add_one, [1])
    else:
        executor.map_reduce(add_one, [1], total)
    executor.get_result()
    assert executor.get_result() == []
    assert executor.wait() == ([], [])


@pytest.mark.api(
    "With `throw_except` the first failure in submission order is raised and only that future is marked as reported; "
    "unread successes come with the next `get_result()`",
    "[they: sticky].",
)
def test_each_failure_is_raised_once_and_successes_come_after(executor: wren.FunctionExecutor) -> None:
    executor.map(fail_if, FAILING)
    for failure in ("no 1", "no 3"):
        with pytest.raises(ValueError, match=failure):
            executor.get_result()
    assert executor.get_result() == [0, 2, 4]
    assert executor.get_result() == []


@pytest.mark.api("`throw_except=False`: failed calls give `None` in place; `future.exception()` has the error.")
def test_failures_are_none_where_nothing_is_to_be_raised(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_if, FAILING)
    assert executor.get_result(throw_except=False) == [0, None, 2, None, 4]
    assert [str(future.exception()) for future in futures] == ["None", "no 1", "None", "no 3", "None"]
    assert executor.get_result() == []
    executor.call_async(fail_if, (True, 5))
    assert executor.get_result(throw_except=False) is None


@pytest.mark.api(
    "`get_result(fs=some)` never disturbs the others: the rest of the job keeps running and stays readable",
    "[they: hang].",
)
def test_results_of_some_do_not_disturb_the_others(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    futures = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
    (tmp_path / "b").touch()
    assert executor.get_result(fs=[futures[1]], timeout=20) == ["b"]
    assert not futures[0].done()
    (tmp_path / "a").touch()
    assert executor.get_result(timeout=20) == ["a"]
    assert executor.get_result(futures) == ["a", "b"]


@pytest.mark.api("`fs=None` means, for `wait` and `get_result`, what was not yet collected;")
def test_fs_of_none_is_what_was_not_yet_collected(executor: wren.FunctionExecutor) -> None:
    first, second = executor.map(add_one, [1, 2])
    executor.get_result(first)
    assert executor.wait() == ([second], [])
    assert executor.get_result() == [3]


# ---- wait


@pytest.mark.api("`wait(...)` returns `(done, not_done)` and consumes nothing.")
def test_wait_consumes_nothing(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    futures = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").touch()
    futures[0].exception(20)
    assert executor.wait(return_when="ALWAYS") == ([futures[0]], [futures[1]])
    (tmp_path / "b").touch()
    assert executor.wait(timeout=20) == executor.wait() == (futures, [])
    assert executor.get_result() == ["a", "b"]


@pytest.mark.api("`return_when` takes the strings of the reference or the enum members of the same names")
@pytest.mark.parametrize("name", ["ALL_COMPLETED", "ANY_COMPLETED", "ALWAYS"])
def test_return_when_is_a_string_or_an_enum_member(executor: wren.FunctionExecutor, name: str) -> None:
    futures = executor.map(add_one, [1])
    assert getattr(wren, name) is wren.ReturnWhen[name]
    for when in (name, getattr(wren, name)):
        done, not_done = executor.wait(futures, return_when=when)
        assert [*done, *not_done] == futures
        assert done or name == "ALWAYS"
    with pytest.raises(BindingError, match="ALL_COMPLETED, ANY_COMPLETED, ALWAYS"):
        executor.wait(futures, return_when=name.lower())


@pytest.mark.api("in `pywren_ibm_cloud` also the ints 1, 2, 3 of old).")
def test_the_ints_of_old_are_for_the_package_of_old(executor: wren.FunctionExecutor) -> None:
    when: Any = 1
    with pywren_ibm_cloud.local_executor(workers=1) as of_old:
        futures = of_old.map(add_one, [1])
        assert of_old.wait(return_when=when) == (futures, [])
    with pytest.raises(BindingError, match="return_when is 1"):
        executor.wait(return_when=when)


@pytest.mark.api("It never raises on timeout: it returns what is done.")
@pytest.mark.parametrize("when", ["ALL_COMPLETED", "ANY_COMPLETED"])
def test_wait_returns_what_is_done_in_time(executor: wren.FunctionExecutor, when: str, tmp_path: Path) -> None:
    future = executor.call_async(wait_for, tmp_path / "go")
    assert executor.wait(return_when=when, timeout=0.02) == ([], [future])
    assert executor.wait(return_when=when, timeout=0) == ([], [future])
    (tmp_path / "go").touch()
    assert executor.wait(return_when=when, timeout=20) == ([future], [])


@pytest.mark.api("`throw_except=True` raises the first failure once waiting is over.")
def test_wait_raises_the_first_failure_when_all_are_done(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_if, FAILING)
    for _ in range(2):  # it consumes nothing
        with pytest.raises(ValueError, match="no 1"):
            executor.wait()
        assert all(future.done() for future in futures)
    assert executor.wait(throw_except=False) == (futures, [])
    executor.get_result(throw_except=False)


def test_wait_with_download_results_has_them_here_when_it_returns(tmp_path: Path) -> None:
    # Given results that lie in the storage
    with wren.local_executor({"localhost": {"path": str(tmp_path)}}, workers=1) as executor:
        *inputs, reducer = executor.map_reduce(bytes, [1 << 20, 1 << 20], len)
        # When they are downloaded while waiting, then they are here though they are there no more
        executor.wait([*inputs, reducer], download_results=True, timeout=20)
        for path in tmp_path.rglob("*"):
            if path.is_file():
                path.unlink()
        assert [len(future.result()) for future in inputs] == [1 << 20, 1 << 20]
        executor.get_result()


# ---- reading futures


@pytest.mark.api("What is read by `future.result()` counts as read: `get_result()` does not bring it again.")
def test_what_result_has_read_get_result_does_not_bring(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_if, FAILING)
    assert futures[2].result(20) == 2
    with pytest.raises(ValueError, match="no 1"):
        futures[1].result(20)
    with pytest.raises(ValueError, match="no 3"):
        executor.get_result()
    assert executor.get_result() == [0, 4]


@pytest.mark.api("`future.exception()` reads nothing.")
def test_exception_reads_nothing(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_if, FAILING[:2])
    assert futures[0].exception(20) is None
    assert str(futures[1].exception(20)) == "no 1"
    with pytest.raises(ValueError, match="no 1"):
        executor.get_result()
    assert executor.get_result() == [0]


@pytest.mark.api("`timeout` is a float, in any thread.")
def test_timeouts_hold_in_any_thread(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    executor.call_async(wait_for, tmp_path / "go")
    found: list[object] = []

    def use() -> None:
        started = time.monotonic()
        try:
            executor.get_result(timeout=0.05)
        except WaitTimeout as error:
            found.append(error)
        found.append(time.monotonic() - started)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(20)
    (tmp_path / "go").touch()
    error, seconds = found
    assert isinstance(error, WaitTimeout)
    assert isinstance(seconds, float)
    assert 0.04 < seconds < 10
    executor.get_result()


@pytest.mark.api(
    "`get_result` raises `WaitTimeout` (a `TimeoutError` and a `concurrent.futures.TimeoutError`), which is not "
    "`CallTimeout` (the call was killed).",
    "Nothing is thrown away: a later wait goes on.",
)
def test_waiting_too_long_is_no_timeout_of_the_call(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    assert issubclass(WaitTimeout, TimeoutError)
    assert issubclass(WaitTimeout, concurrent.futures.TimeoutError)
    assert not issubclass(WaitTimeout, CallTimeout)
    assert not issubclass(CallTimeout, WaitTimeout)
    futures = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").touch()
    futures[0].exception(20)
    for _ in range(2):
        with pytest.raises(WaitTimeout, match=r"1 of 2 calls have not ended after 0\.02 s"):
            executor.get_result(timeout=0.02)
    (tmp_path / "b").touch()
    assert executor.get_result(timeout=20) == ["a", "b"]


# ---- wren.Future as a future of the standard library


@pytest.mark.api(
    "`wren.Future` is a `concurrent.futures.Future` in every respect:",
    "`result(timeout)`, `exception`, `done`, `running`,",
)
def test_a_future_is_one_of_the_standards(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    future = executor.call_async(wait_for, tmp_path / "go")
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError):
            ask(0.01)
    (tmp_path / "go").touch()
    assert future.result(20) == "go"
    assert (future.exception(), future.done(), future.running(), future.cancelled()) == (None, True, False, False)
    executor.get_result()


@pytest.mark.api("`done`, `running`,")
def test_a_call_that_runs_says_so(tmp_path: Path, eventually: Eventually) -> None:
    with wren.local_executor(workers=1) as executor:
        first, second = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
        eventually((tmp_path / "a.started").exists)
        eventually(first.running)
        assert not second.running()
        (tmp_path / "a").touch()
        (tmp_path / "b").touch()
        eventually(second.done)
        assert not second.running()


@pytest.mark.api("`cancel` (queued calls only, as the standard says),")
def test_only_queued_calls_can_be_cancelled(tmp_path: Path, eventually: Eventually) -> None:
    with wren.local_executor(workers=1) as executor:
        running, queued = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
        eventually((tmp_path / "a.started").exists)
        assert not running.cancel()
        assert queued.cancel()
        assert queued.cancelled()
        assert queued.done()
        (tmp_path / "a").touch()
        assert running.result(20) == "a"
        assert not running.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            queued.result()
    assert not (tmp_path / "b.started").exists()


@pytest.mark.api("`add_done_callback`, `concurrent.futures.wait` and `as_completed`.")
def test_callbacks_wait_and_as_completed_of_the_standard(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    called: list[object] = []
    futures = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
    futures[1].add_done_callback(called.append)
    completed = concurrent.futures.as_completed(futures, timeout=20)
    (tmp_path / "b").touch()
    assert next(completed) is futures[1]
    done, not_done = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
    assert (done, not_done) == ({futures[1]}, {futures[0]})
    (tmp_path / "a").touch()
    assert next(completed) is futures[0]
    assert concurrent.futures.wait(futures).done == set(futures)
    eventually(lambda: called == [futures[1]])
    futures[0].add_done_callback(called.append)  # it is done: called at once
    assert called == [futures[1], futures[0]]
    executor.get_result()


@pytest.mark.api("Besides: `await future`;")
def test_futures_can_be_awaited(executor: wren.FunctionExecutor) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*executor.map(add_one, [1, 2]))

    assert asyncio.run(main()) == [2, 3]


@pytest.mark.api("`kill()` stops a running call (`CallCancelled`) where the backend can;")
def test_kill_stops_a_running_call_and_no_other(tmp_path: Path, eventually: Eventually) -> None:
    with wren.local_executor(workers=2) as executor:
        futures = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
        eventually(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        assert futures[0].kill()
        error = futures[0].exception(20)
        assert isinstance(error, CallCancelled)
        assert isinstance(error, concurrent.futures.CancelledError)
        assert not futures[0].kill()
        (tmp_path / "b").touch()
        assert futures[1].result(20) == "b"
        with pytest.raises(CallCancelled):
            executor.get_result()


@pytest.mark.api("`.stats` (timestamps, durations,")
def test_stats_have_times_and_durations(executor: wren.FunctionExecutor) -> None:
    before = time.time()
    future = executor.call_async(time.sleep, 0.02)
    assert future.stats.keys() == {"submitted", "argument_bytes", "attempts"}
    future.result(20)
    stats = future.stats
    assert before - 0.1 <= stats["submitted"] <= stats["started"] <= stats["stopped"] <= time.time() + 0.1
    assert 0.02 <= stats["seconds"] == stats["stopped"] - stats["started"]


@pytest.mark.api("sizes, peak memory, attempts:")
def test_stats_have_sizes_memory_and_attempts(executor: wren.FunctionExecutor) -> None:
    def allocate(data: bytes) -> bytes:
        return bytes(bytearray(64 << 20))[: len(data) * 2]

    future = executor.call_async(allocate, b"x" * 100_000)
    future.result(20)
    stats = future.stats
    # Sizes in bytes, of the pickled arguments and result; peak memory in bytes; attempts from 1
    assert 100_000 <= stats["argument_bytes"] < 101_000
    assert 200_000 <= stats["result_bytes"] < 201_000
    assert stats["peak_memory"] > 64 << 20
    assert stats["attempts"] == 1
    executor.get_result()


@pytest.mark.api("`.logs` (what the function printed, which does not appear on the terminal;")
def test_what_a_function_prints_is_in_its_logs_and_not_on_the_terminal(run_python: Callable[[str], str]) -> None:
    program = """
import os, sys, wren
def speak(word):
    print("out", word)
    print("err", word, file=sys.stderr)
    os.write(1, f"raw {word}\\n".encode())
    os.system(f"echo child {word}")
with wren.local_executor(workers=1) as executor:
    futures = executor.map(speak, ["a", "b"])
    executor.get_result()
    print([sorted(future.logs.split("\\n")) for future in futures])
"""
    lines = [["", f"child {word}", f"err {word}", f"out {word}", f"raw {word}"] for word in "ab"]
    assert run_python(program) == f"{lines}\n"


@pytest.mark.api("of more than 1 MiB the first and the last half),")
def test_of_long_logs_the_ends_are_kept(executor: wren.FunctionExecutor) -> None:
    def speak() -> None:
        print("first")
        for _ in range(300):
            print("x" * 9_999)
        print("last")

    future = executor.call_async(speak, ())
    future.result(20)
    logs = future.logs
    assert logs.startswith("first\n")
    assert logs.endswith("last\n")
    assert (1 << 20) - 1_000 < len(logs) < (1 << 20) + 1_000
    executor.get_result()


@pytest.mark.api("`.call_id`, `.job_id`, `.executor_id`.")
def test_a_future_says_whose_it_is(executor: wren.FunctionExecutor) -> None:
    future = executor.map(add_one, [1, 2])[1]
    assert (future.executor_id, future.job_id, future.call_id) == (executor.executor_id, "M000", "00001")
    executor.get_result()


# ---- retries


def attempt(folder: Path) -> int:
    """Counts, by files, how often it was called before."""
    number = len(list(folder.iterdir()))
    (folder / str(number)).touch()
    return number


@pytest.mark.api("`retries=0` by default;", "Without retries a call runs at most once, with them at least once.")
def test_without_retries_a_lost_call_has_run_once(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def die(folder: Path) -> NoReturn:
        attempt(folder)
        os._exit(3)

    assert isinstance(executor.call_async(die, tmp_path).exception(20), WorkerLost)
    assert len(list(tmp_path.iterdir())) == 1
    executor.get_result(throw_except=False)


@pytest.mark.api("`retries=N` with `retry_on=(WorkerLost, CallLost)` by default;")
def test_a_lost_call_is_retried_and_a_failed_one_is_not(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def die_twice(folder: Path) -> int:
        number = attempt(folder)
        if number < 2:
            os._exit(3)
        return number

    def fail(folder: Path) -> NoReturn:
        raise ValueError(attempt(folder))

    (tmp_path / "lost").mkdir()
    (tmp_path / "failed").mkdir()
    assert executor.call_async(die_twice, tmp_path / "lost", retries=2).result(20) == 2
    assert isinstance(executor.call_async(fail, tmp_path / "failed", retries=2).exception(20), ValueError)
    assert len(list((tmp_path / "failed").iterdir())) == 1
    executor.get_result(throw_except=False)


@pytest.mark.parametrize("wrong", [5, "ValueError", [ValueError()], (int,)])
def test_what_is_no_exception_cannot_be_retried(executor: wren.FunctionExecutor, wrong: Any) -> None:
    with pytest.raises(BindingError, match=r"retry_on has .*: give classes of exceptions"):
        executor.map(add_one, [1], retries=1, retry_on=wrong)


@pytest.mark.api("name your own exceptions to retry those.")
@pytest.mark.parametrize("retry_on", [ValueError, (ValueError, WorkerLost), [LookupError, ValueError]])
def test_exceptions_that_are_named_are_retried(executor: wren.FunctionExecutor, tmp_path: Path, retry_on: Any) -> None:
    def fail_twice(folder: Path) -> int:
        number = attempt(folder)
        if number < 2:
            raise ValueError(number)
        return number

    assert executor.call_async(fail_twice, tmp_path, retries=2, retry_on=retry_on).result(20) == 2
    executor.get_result()


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("it stays where it is")


class Unloadable(Exception):
    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}:{line}")


class Ending(BaseException):
    pass


@pytest.mark.api(
    "One that cannot be pickled or loaded, and one that is no `Exception`, is known by the name of its very class."
)
@pytest.mark.parametrize("error", [Unpicklable("no"), Unloadable("a", 1), Ending("no"), SystemExit(3)], ids=repr)
def test_exceptions_that_cannot_be_brought_here_are_retried_by_name(
    executor: wren.FunctionExecutor, tmp_path: Path, error: BaseException
) -> None:
    kind = type(error)

    def fail_twice(folder: Path) -> int:
        number = attempt(folder)
        if number < 2:
            raise kind("a", 1) if kind is Unloadable else kind("no")
        return number

    assert executor.call_async(fail_twice, tmp_path, retries=2, retry_on=kind).result(20) == 2
    others = [Ending, Unloadable, Unpicklable, SystemExit]
    others.remove(kind)
    (tmp_path / "others").mkdir()
    failed = executor.call_async(fail_twice, tmp_path / "others", retries=2, retry_on=others)
    assert isinstance(failed.exception(20), CallError)
    assert len(list((tmp_path / "others").iterdir())) == 1
    executor.get_result(throw_except=False)


@pytest.mark.api("with them at least once.")
def test_the_last_failure_is_the_calls_when_retries_are_used_up(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def fail(folder: Path) -> NoReturn:
        raise ValueError(f"attempt {attempt(folder)}")

    with pytest.raises(ValueError, match="attempt 2"):
        executor.map(fail, [tmp_path], retries=2, retry_on=ValueError)[0].result(20)
    assert len(list(tmp_path.iterdir())) == 3
    executor.get_result(throw_except=False)


@pytest.mark.parametrize("timeout", ["5", float("nan")])
def test_a_timeout_of_waiting_that_is_no_number_is_named(executor: wren.FunctionExecutor, timeout: Any) -> None:
    for ask in (executor.wait, executor.get_result):
        with pytest.raises(
            BindingError, match=r"^timeout is .*: give a number of seconds, or None to wait until the end"
        ):
            ask(timeout=timeout)


@pytest.mark.parametrize("timeout", [np.float32(20), fractions.Fraction(39, 2), float("inf")])
def test_a_timeout_of_waiting_is_any_number(executor: wren.FunctionExecutor, timeout: Any) -> None:
    executor.call_async(time.sleep, 0.1)
    assert len(executor.wait(timeout=timeout)[0]) == 1
    executor.call_async(time.sleep, 0.1)
    assert executor.get_result(timeout=timeout) == [None, None]


@pytest.mark.parametrize("fs", [5, "x", [5]])
def test_what_is_no_future_is_named(executor: wren.FunctionExecutor, tmp_path: Path, fs: Any) -> None:
    for ask in (
        executor.wait,
        executor.get_result,
        executor.clean,
        functools.partial(executor.create_execution_plots, tmp_path, "x"),
    ):
        with pytest.raises(BindingError, match=r"^fs has an object of type (int|str): give futures of an executor"):
            ask(fs=fs)
