"""What a user of FunctionExecutor sees, on real local workers."""

import concurrent.futures
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import wren
from wren.errors import BindingError, ConfigError, PluginNotFound, SerializationError, WaitTimeout

Eventually = Callable[[Callable[[], bool]], None]


def add_one(x: int) -> int:
    return x + 1


def total(results: list[int]) -> int:
    return sum(results)


def fail_at(bad: int, index: int) -> int:
    if index == bad:
        raise ValueError(f"no {index}")
    return index


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.002)
    return path.name


class Touching:
    """Makes a file of the path when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


class Unloadable:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return eval, ("1 / 0",)


# ---- the reference's usage lines


def test_call_async_gives_one_value(executor: wren.FunctionExecutor) -> None:
    executor.call_async(add_one, 3)
    assert executor.get_result() == 4


def test_map_gives_a_list_in_order(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(add_one, [1, 2, 3, 4])
    assert len(futures) == 4
    assert executor.get_result() == [2, 3, 4, 5]


def test_map_reduce_gives_the_reducers_value(executor: wren.FunctionExecutor) -> None:
    futures = executor.map_reduce(add_one, [1, 2, 3, 4], total)
    assert len(futures) == 5
    assert executor.get_result() == 14
    assert executor.get_result(futures) == 14
    assert executor.get_result() == []


# ---- results


def test_results_of_several_jobs_come_flat_in_order_and_once(executor: wren.FunctionExecutor) -> None:
    executor.call_async(add_one, 0)
    executor.map(add_one, [1, 2])
    executor.map_reduce(add_one, [1, 2], total)
    assert executor.get_result() == [1, 2, 3, 5]
    assert executor.get_result() == []


def test_none_is_a_result_and_keeps_its_place(executor: wren.FunctionExecutor) -> None:
    executor.map(lambda x: x, [1, None, 3])
    assert executor.get_result() == [1, None, 3]


def test_nothing_to_map_is_an_empty_list_at_once(executor: wren.FunctionExecutor) -> None:
    assert executor.map(add_one, []) == []
    assert executor.get_result() == []
    assert executor.wait() == ([], [])


def test_reducing_nothing_reduces_an_empty_list(executor: wren.FunctionExecutor) -> None:
    executor.map_reduce(add_one, [], total)
    assert executor.get_result(timeout=20) == 0


def test_the_first_failure_in_order_is_raised_and_the_rest_stays(executor: wren.FunctionExecutor) -> None:
    executor.map(fail_at, [(1, 0), (1, 1), (1, 2)])
    with pytest.raises(ValueError, match="no 1"):
        executor.get_result()
    assert executor.get_result() == [0, 2]


def test_without_throwing_a_failure_is_none_in_its_place(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_at, [(1, 0), (1, 1), (1, 2)])
    assert executor.get_result(throw_except=False) == [0, None, 2]
    assert isinstance(futures[1].exception(), ValueError)


def test_a_failure_is_raised_before_later_calls_end(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def fail_or_wait(path: Path | None) -> str:
        if path is None:
            raise ValueError("first")
        return wait_for(path)

    futures = executor.map(fail_or_wait, [None, tmp_path / "go"])
    with pytest.raises(ValueError, match="first"):
        executor.get_result(futures, timeout=20)
    assert not futures[1].done()
    (tmp_path / "go").touch()
    assert executor.get_result() == ["go"]


def test_some_results_do_not_disturb_the_others(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(add_one, range(5))
    assert executor.get_result(futures[1:3]) == [2, 3]
    assert executor.get_result(futures[4]) == 5
    assert executor.get_result() == [1, 4]


def test_waiting_too_long_says_how_many_are_missing_and_loses_nothing(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    future = executor.call_async(wait_for, tmp_path / "go")
    with pytest.raises(WaitTimeout, match=r"1 of 1 calls have not ended after 0\.02 s"):
        executor.get_result(timeout=0.02)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.02)
    assert executor.wait(timeout=0.02) == ([], [future]) or not future.done()
    (tmp_path / "go").touch()
    assert executor.get_result(timeout=20) == "go"


@pytest.mark.parametrize("early", [0, 2])
def test_results_are_unpickled_while_other_calls_run(
    executor: wren.FunctionExecutor, tmp_path: Path, early: int
) -> None:
    def work(number: int) -> object:
        if number == 2:
            time.sleep(0.7)  # longer than it takes to show a bar, for which the waiting is begun again
        if number == 3:
            wait_for(tmp_path / "go")
        return Touching(tmp_path / "go") if number == early else [number]

    futures = executor.map(work, range(4))
    assert executor.get_result(futures, timeout=20) == [None if n == early else [n] for n in range(4)]


def test_a_result_that_cannot_be_unpickled_is_raised_in_its_turn(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(lambda number: Unloadable() if number == 2 else [number], range(9))
    with pytest.raises(SerializationError, match=r"call 2 .* ZeroDivisionError"):
        executor.get_result(futures)
    assert executor.get_result(futures, throw_except=False) == [
        None if number == 2 else [number] for number in range(9)
    ]


def test_wait_for_any_and_always_consume_nothing(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    futures = executor.map(wait_for, [tmp_path / "a", tmp_path / "b"])
    assert executor.wait(futures, return_when="ALWAYS") == ([], futures)
    (tmp_path / "b").touch()
    done, not_done = executor.wait(futures, return_when=wren.ANY_COMPLETED, timeout=20)
    assert (done, not_done) == ([futures[1]], [futures[0]])
    (tmp_path / "a").touch()
    assert executor.wait(futures, timeout=20) == (futures, [])
    assert executor.get_result() == ["a", "b"]


def test_wait_raises_the_first_failure_once_waiting_is_over(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_at, [(1, 0), (1, 1), (1, 2)])
    with pytest.raises(ValueError, match="no 1"):
        executor.wait(futures)
    assert all(future.done() for future in futures)
    executor.get_result(throw_except=False)


# ---- reducers


@pytest.mark.parametrize("through_client", [False, True])
def test_a_failed_map_fails_its_reducer_with_the_same_exception(
    executor: wren.FunctionExecutor, through_client: bool
) -> None:
    futures = executor.map_reduce(fail_at, [(1, 0), (1, 1), (1, 2)], total, reducer_wait_local=through_client)
    with pytest.raises(ValueError, match="no 1"):
        futures[-1].result(20)
    executor.get_result(throw_except=False)


def test_a_reducer_gets_large_results_from_the_storage(executor: wren.FunctionExecutor) -> None:
    def large(size: int) -> bytes:
        return b"x" * size

    futures = executor.map_reduce(large, [1 << 20, 0, 3 << 20], lambda results: [len(result) for result in results])
    assert futures[-1].result(20) == [1 << 20, 0, 3 << 20]
    assert futures[2].result() == b"x" * (3 << 20)  # from the storage, too
    executor.get_result()


def test_what_a_map_stored_for_its_reducer_is_removed_when_nobody_can_ask_for_it(
    tmp_path: Path, eventually: Eventually
) -> None:
    def large(size: int) -> bytes:
        return b"x" * size

    with wren.local_executor({"localhost": {"path": str(tmp_path)}}) as executor:
        futures = executor.map_reduce(large, [1 << 20, 1], len)
        assert executor.get_result() == 2
        assert len(list(tmp_path.rglob("*.0"))) == 2
        assert futures[0].result() == b"x" * (1 << 20)
        del futures
        eventually(lambda: not any(files for _, _, files in os.walk(tmp_path)))


def test_it_is_removed_at_the_programs_end_too(tmp_path: Path, run_python: Callable[..., str]) -> None:
    program = """
import wren
executor = wren.local_executor({"localhost": {"path": PATH}})
futures = executor.map_reduce(str, range(5), len)
print(executor.get_result())
"""
    assert run_python(program.replace("PATH", repr(str(tmp_path)))).split() == ["5"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_reducers_parameter_may_have_any_name_and_stand_behind_an_injected_one(
    executor: wren.FunctionExecutor,
) -> None:
    def reduce(id: int, whatever: list[int]) -> tuple[int, list[int]]:
        return id, whatever

    executor.map_reduce(add_one, [1, 2], reduce)
    assert executor.get_result() == (0, [2, 3])


def test_many_reducers_at_once_on_two_workers(executor: wren.FunctionExecutor) -> None:
    for start in range(20):
        executor.map_reduce(add_one, range(start, start + 10), total)
    assert executor.get_result(timeout=60) == [sum(range(start + 1, start + 11)) for start in range(20)]


def test_with_a_storage_that_workers_cannot_open_results_go_through_the_client() -> None:
    with wren.local_executor(storage_backend="memory", workers=2) as executor:
        executor.map_reduce(add_one, [1, 2, 3], total)
        assert executor.get_result(timeout=20) == 9


# ---- what calls see


def test_calls_see_the_callers_directory_environment_and_path(
    executor: wren.FunctionExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> tuple[str, str | None, bool]:
        return str(Path.cwd()), os.environ.get("WREN_TEST_SEEN"), "/somewhere/else" in sys.path

    assert executor.call_async(look, ()).result(20)[1:] == (None, False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WREN_TEST_SEEN", "yes")
    monkeypatch.syspath_prepend("/somewhere/else")
    assert executor.call_async(look, ()).result(20) == (str(tmp_path), "yes", True)
    executor.get_result()


def test_calls_see_the_environment_as_it_is_now(
    executor: wren.FunctionExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(name: str) -> str | None:
        return os.environ.get(name)

    seen = []
    for value in ("a", "b", "a", os.fsdecode(b"\xff\xfe")):
        monkeypatch.setenv("WREN_TEST_SEEN", value)
        seen.append(executor.call_async(look, "WREN_TEST_SEEN").result(20))
    monkeypatch.delenv("WREN_TEST_SEEN")
    seen.append(executor.call_async(look, "WREN_TEST_SEEN").result(20))
    monkeypatch.setattr(os, "environ", {**os.environ, "WREN_TEST_SEEN": "another mapping"})
    seen.append(executor.call_async(look, "WREN_TEST_SEEN").result(20))
    assert seen == ["a", "b", "a", os.fsdecode(b"\xff\xfe"), None, "another mapping"]


def test_extra_env_is_for_the_call_alone(executor: wren.FunctionExecutor) -> None:
    def look() -> tuple[str | None, str | None]:
        return os.environ.get("NUMBER"), os.environ.get("HOME")

    assert executor.call_async(look, (), extra_env={"NUMBER": 1, "HOME": None}).result(20) == ("1", None)
    assert executor.call_async(look, ()).result(20) == (None, os.environ.get("HOME"))
    executor.get_result()


def test_what_a_call_changes_the_next_does_not_see(executor: wren.FunctionExecutor) -> None:
    def change() -> None:
        os.environ["LEFT_OVER"] = "1"
        os.chdir("/")

    def look() -> tuple[str | None, str]:
        return os.environ.get("LEFT_OVER"), str(Path.cwd())

    for _ in range(4):
        executor.call_async(change, ())
        executor.call_async(look, ())
    assert executor.get_result() == [None, (None, str(Path.cwd()))] * 4


def test_logs_have_what_the_call_printed(executor: wren.FunctionExecutor) -> None:
    def speak(word: str) -> None:
        print(word)
        print("quietly", word, file=sys.stderr)
        subprocess.run(["echo", "child", word], check=True)

    futures = executor.map(speak, ["a", "b"])
    executor.wait()
    assert [future.logs for future in futures] == ["a\nquietly a\nchild a\n", "b\nquietly b\nchild b\n"]
    executor.get_result()


def test_stats_have_the_times_of_the_call(executor: wren.FunctionExecutor) -> None:
    before = time.time()
    future = executor.call_async(add_one, 1)
    future.result(20)
    stats = future.stats
    assert before - 0.1 <= stats["submitted"] <= stats["started"] <= stats["stopped"] <= time.time() + 0.1
    assert stats["seconds"] == stats["stopped"] - stats["started"]
    executor.get_result()


def test_calls_are_told_their_number(executor: wren.FunctionExecutor) -> None:
    def numbered(id: int, x: str) -> tuple[int, str]:
        return id, x

    executor.map(numbered, ["a", "b"])
    assert executor.get_result() == [(0, "a"), (1, "b")]


def test_an_id_that_the_user_fixed_stays(executor: wren.FunctionExecutor) -> None:
    def numbered(x: str, id: int) -> tuple[str, int]:
        return x, id

    executor.map(functools.partial(numbered, id=7), ["a", "b"])
    assert executor.get_result() == [("a", 7), ("b", 7)]


def test_a_variable_that_cannot_be_set_is_an_error(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="extra_env cannot set the variable 'A=B'"):
        executor.map(add_one, [1], extra_env={"A=B": 1})
    assert executor.get_result() == []


def test_a_variable_that_no_process_can_be_told_is_an_error(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="extra_env cannot set the variable 'NAME': it or its value has characters"):
        executor.call_async(abs, 1, extra_env={"NAME": "\ud800"})


def test_mutable_arguments_are_each_calls_own(executor: wren.FunctionExecutor) -> None:
    shared: list[int] = []

    def append(values: list[int]) -> int:
        values.append(1)
        return len(values)

    executor.map(append, [(shared,)] * 50)
    shared.append(0)  # after the call: not seen
    assert executor.get_result() == [1] * 50


@pytest.mark.parametrize("size", [0, 1, 65_000, 66_000, 262_144, 262_145, 5 << 20])
def test_arguments_and_results_of_any_size(executor: wren.FunctionExecutor, size: int) -> None:
    data = os.urandom(size)
    executor.map(lambda *data: data, [(data, size), (bytearray(data), "x")])
    assert executor.get_result() == [(data, size), (bytearray(data), "x")]


def test_a_function_that_closes_over_much(executor: wren.FunctionExecutor) -> None:
    table = os.urandom(8 << 20)
    executor.map(lambda index: table[index], range(200))
    assert executor.get_result() == list(table[:200])


# ---- cancelling


def test_calls_that_have_not_started_can_be_cancelled(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    def start_and_wait(path: Path) -> str:
        path.with_suffix(".started").touch()
        return wait_for(path)

    running = executor.map(start_and_wait, [tmp_path / "a", tmp_path / "b"])
    eventually(lambda: len(list(tmp_path.glob("*.started"))) == 2)
    queued = executor.map(start_and_wait, [tmp_path / f"q{index}" for index in range(10)])
    assert all(future.cancel() for future in queued)
    assert not running[0].cancel()
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    assert executor.get_result(running, timeout=20) == ["a", "b"]
    assert all(future.cancelled() for future in queued)
    with pytest.raises(concurrent.futures.CancelledError):
        queued[0].result()
    assert len(list(tmp_path.glob("*.started"))) == 2
    executor.get_result(throw_except=False)


def test_leaving_by_an_exception_ends_what_runs(tmp_path: Path, eventually: Eventually) -> None:
    def run(path: Path) -> NoReturn:
        path.touch()
        while True:
            time.sleep(0.01)

    with pytest.raises(RuntimeError, match="stop"), wren.local_executor(workers=1) as executor:  # noqa: PT012
        futures = executor.map(run, [tmp_path / "a", tmp_path / "b"])
        eventually((tmp_path / "a").exists)
        raise RuntimeError("stop")
    with pytest.raises(wren.errors.CallCancelled):
        futures[0].result(20)
    assert futures[1].cancelled()
    assert not (tmp_path / "b").exists()


def test_an_executor_that_is_garbage_goes_on_until_its_calls_are_done(tmp_path: Path) -> None:
    future = wren.local_executor(workers=1).call_async(wait_for, tmp_path / "go")
    (tmp_path / "go").touch()
    assert future.result(20) == "go"


def test_long_calls_do_not_hold_short_ones_back(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def wait_or_not(index: int) -> int:
        if index == 100:
            wait_for(tmp_path / "go")
        return index

    futures = executor.map(wait_or_not, range(400))
    others = [future for future in futures if future.call != 100]
    done, _ = executor.wait(others, timeout=20)
    assert len(done) == 399
    assert not futures[100].done()
    (tmp_path / "go").touch()
    assert executor.get_result() == list(range(400))


def test_threads_may_share_an_executor(executor: wren.FunctionExecutor) -> None:
    found: dict[int, list[int]] = {}

    def use(number: int) -> None:
        futures = executor.map(add_one, range(number, number + 200))
        found[number] = executor.get_result(futures)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: list(range(number + 1, number + 201)) for number in range(8)}


# ---- bad input, each one plain error before anything is invoked


def test_an_unknown_backend_says_what_to_install() -> None:
    with pytest.raises(PluginNotFound, match=r"no compute backend 'knative'; pip install wren-backend-knative"):
        wren.function_executor(backend="knative")


@pytest.mark.parametrize("data", ["text", b"bytes", {"a": 1}])
def test_a_single_thing_as_iterdata_is_an_error(executor: wren.FunctionExecutor, data: Any) -> None:
    with pytest.raises(BindingError, match="put it in a list"):
        executor.map(add_one, data)
    assert executor.get_result() == []


def test_an_argument_that_cannot_be_pickled_is_an_error_before_anything_runs(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def mark(path: Path, _: Any) -> None:
        path.touch()

    with pytest.raises(
        SerializationError, match=r"argument 1 \(lock\) of call 1 cannot be pickled.*nothing was invoked"
    ):
        executor.map(mark, [(tmp_path / "a", 0), (tmp_path / "b", threading.Lock())])
    assert executor.get_result() == []
    assert list(tmp_path.iterdir()) == []


def test_a_function_that_cannot_be_pickled_is_an_error(executor: wren.FunctionExecutor) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="cannot be pickled"):
        executor.map(lambda _: lock, [1])


def test_a_misspelt_option_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'worker' in section \[localhost\].*did you mean 'workers'"):
        wren.local_executor({"localhost": {"worker": 3}})


def test_an_unknown_return_when_is_an_error(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="return_when is 'SOON'"):
        executor.wait(return_when="SOON")


def test_a_misspelt_section_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown section \[localhots\] in the argument config; did you mean \[localhost\]"
    ):
        wren.local_executor({"localhots": {"workers": 1}})
    wren.local_executor({"somebody-elses": {"workers": 1}})


@pytest.mark.parametrize("level", ["chatty", 1.5])
def test_an_unknown_log_level_is_an_error(level: Any) -> None:
    with pytest.raises(ConfigError, match="log_level is"):
        wren.local_executor(log_level=level)


@pytest.mark.parametrize("fs", [3, [3]])
def test_what_is_no_future_is_an_error(executor: wren.FunctionExecutor, fs: Any) -> None:
    with pytest.raises(BindingError, match="fs has an object of type int"):
        executor.get_result(fs)


def test_an_executor_as_an_argument_is_an_error_that_says_what_to_do(executor: wren.FunctionExecutor) -> None:
    elements: list[Any] = [executor]
    with pytest.raises(SerializationError, match="make one where it is needed"):
        executor.map(add_one, elements)


def test_an_exception_says_which_call_it_comes_from(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(fail_at, [(1, 0), (1, 1)])
    error = futures[1].exception(20)
    assert getattr(error, "__notes__", []) == [f"wren: this was call 1 of job {executor.executor_id}/M000"]
