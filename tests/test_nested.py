"""Executors inside functions: futures that are returned are followed, results that are asked for are computed there."""

import asyncio
import concurrent.futures
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pluggy
import pytest

import wren
from wren.engine import Engine
from wren.errors import (
    BindingError,
    CallCancelled,
    CallError,
    CallTimeout,
    OutOfMemory,
    PluginNotFound,
    RemoteTraceback,
    SerializationError,
    WorkerLost,
)
from wren.spi import Compute, Limits
from wren.testing import plugged
from wren.testing.fakes import ScriptedCompute, ScriptedOptions

PATIENCE: Final = 30.0  # seconds until a test gives up

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture(params=["localhost", "template"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """Local workers, and the http shell with a storage of its own; two calls at once."""
    name = request.param
    folder = str(tmp_path / "storage")
    return {name: {"path": folder}, "wren": {"backend": name, "storage": name, "workers": 2, "heartbeat": 0.5}}


@pytest.fixture
def executor(config: Mapping[str, Any]) -> Iterator[wren.FunctionExecutor]:
    with wren.FunctionExecutor(config) as made:
        yield made


@pytest.fixture
def local() -> Iterator[wren.FunctionExecutor]:
    with wren.local_executor(workers=2) as made:
        yield made


class Strict(ScriptedCompute):
    """A backend with limits."""

    name: ClassVar[str] = "strict"

    def __init__(self, options: ScriptedOptions) -> None:
        super().__init__(options)
        self.limits = Limits(timeout=300.0)


class _Plugin:
    @pluggy.HookimplMarker("wren")
    def wren_compute(self) -> type[Compute[Any]]:
        return Strict


STRICT: Final = _Plugin()


# ---- functions, and the marks that they leave


def mark(folder: Path | str, name: str = "mark") -> None:
    (Path(folder) / f"{name}-{uuid.uuid4().hex}").touch()


def marks(folder: Path, name: str = "mark") -> int:
    return len(list(folder.glob(f"{name}-*")))


def double(x: int) -> int:
    return 2 * x


def marked_double(folder: str, x: int) -> int:
    mark(folder)
    return 2 * x


def behind_gate(folder: str, x: int) -> int:
    """What runs until the file `gate` is there, and leaves a mark when it begins."""
    mark(folder)
    deadline = time.monotonic() + PATIENCE
    while not (Path(folder) / "gate").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return x


class Own(Exception):
    pass


def fail(x: int) -> int:
    print("about to fail")
    raise Own(f"no {x}")


def one(x: int) -> Any:
    return wren.local_executor().call_async(double, x)


def several(numbers: Sequence[int]) -> Any:
    return wren.local_executor().map(double, numbers)


def sometimes(x: int) -> Any:
    return wren.local_executor().map(double, range(x)) if x % 2 else x


def gated(folder: str, count: int) -> Any:
    print("the outer one")
    return wren.local_executor().map(behind_gate, [(folder, number) for number in range(count)])


# ---- results in the place of futures


def test_a_future_becomes_its_value(executor: wren.FunctionExecutor) -> None:
    assert executor.call_async(one, 21).result(PATIENCE) == 42


def test_a_list_becomes_a_list(executor: wren.FunctionExecutor) -> None:
    assert executor.call_async(several, {"numbers": [1, 2, 3]}).result(PATIENCE) == [2, 4, 6]


def test_futures_may_be_anywhere_in_a_value(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        inside = wren.local_executor()
        future = inside.call_async(double, x)
        return {"one": future, "more": [x, [inside.map(double, [1, 2]), ()], (future,)], "none": None}

    value = executor.call_async(function, 5).result(PATIENCE)
    assert value == {"one": 10, "more": [5, [[2, 4], ()], (10,)], "none": None}


def test_a_future_that_is_returned_twice_is_one_object() -> None:
    def function(x: int) -> Any:
        future = wren.local_executor().call_async(lambda y: [y], x)
        return [future, future]

    with wren.local_executor(workers=2) as executor:
        first, second = executor.call_async(function, 1).result(PATIENCE)
    assert first is second


def test_results_stay_in_their_places_among_others(executor: wren.FunctionExecutor) -> None:
    executor.map(sometimes, range(5))
    assert executor.get_result(timeout=PATIENCE) == [0, [0], 2, [0, 2, 4], 4]
    # Then what was inside is nothing that the executor has to give
    assert executor.get_result() == []


def test_calls_keep_the_number_that_they_had(executor: wren.FunctionExecutor) -> None:
    def numbered(x: str, id: int) -> tuple[str, int]:
        return x, id

    def function(text: str) -> Any:
        return wren.local_executor().map(numbered, list(text))[2:]

    assert executor.call_async(function, "abcd").result(PATIENCE) == [("c", 2), ("d", 3)]


def test_only_what_is_returned_runs(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def function(folder: str) -> Any:
        inside = wren.local_executor()
        inside.map(marked_double, [(folder, number) for number in range(5)])
        return inside.map(marked_double, [(folder, number) for number in range(5)])[1]

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == 2
    assert marks(tmp_path) == 1


def test_large_arguments_and_results_come_through(executor: wren.FunctionExecutor) -> None:
    # Given what is larger than anything that rides along
    def function(size: int) -> Any:
        inside = wren.local_executor()
        data = os.urandom(size)
        return data, inside.call_async(lambda x: x, data), inside.map(bytes.upper, [data, b"a"])

    data, echo, upper = executor.call_async(function, 3 << 20).result(PATIENCE)
    assert data == echo
    assert upper == [data.upper(), b"A"]


def test_a_single_future_of_a_large_result_comes_through(executor: wren.FunctionExecutor) -> None:
    def function(size: int) -> Any:
        return wren.local_executor().call_async(bytes, size)

    assert executor.call_async(function, 3 << 20).result(PATIENCE) == bytes(3 << 20)


def test_many_calls_that_are_asked_for_one_by_one_are_followed(local: wren.FunctionExecutor) -> None:
    def function(count: int) -> Any:
        inside = wren.local_executor()
        return [inside.call_async(double, number) for number in range(count)]

    assert local.call_async(function, 3_000).result(PATIENCE) == [2 * number for number in range(3_000)]


# ---- failures


def test_the_exception_of_a_nested_call_is_that_of_the_outer_one(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        inside = wren.local_executor()
        return [inside.call_async(double, x), inside.call_async(fail, x), inside.call_async(fail, x + 1)]

    future = executor.call_async(function, 1)
    with pytest.raises(Own, match="no 1") as raised:
        future.result(PATIENCE)
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in fail" in str(raised.value.__cause__)


def test_others_are_not_disturbed_by_a_failure(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().call_async(fail if x == 1 else double, x)

    futures = executor.map(function, range(3))
    assert executor.get_result(throw_except=False, timeout=PATIENCE) == [0, None, 4]
    assert type(futures[1].exception()) is Own


def test_a_nested_worker_that_dies_fails_the_outer_call(executor: wren.FunctionExecutor) -> None:
    def function(code: int) -> Any:
        return wren.local_executor().call_async(os._exit, code)

    with pytest.raises(WorkerLost, match="7"):
        executor.call_async(function, 7).result(PATIENCE)


def test_binding_and_pickling_fail_inside_as_elsewhere(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> list[str]:
        inside, said = wren.local_executor(), []
        data: Any
        for data in [(1, 2)], [threading.Lock()]:
            try:
                inside.map(double, data)
            except (BindingError, SerializationError) as error:
                said.append(type(error).__name__)
        return said

    assert executor.call_async(function, 1).result(PATIENCE) == ["BindingError", "SerializationError"]


def test_a_future_is_no_argument(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        inside = wren.local_executor()
        return inside.call_async(double, inside.call_async(double, x))

    with pytest.raises(SerializationError, match=r"pass what it gives, future\.result\(\)"):
        executor.call_async(function, 1).result(PATIENCE)


# ---- options


def test_options_that_are_given_inside_hold(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def second_time(folder: str) -> str:
        mark(folder)
        if marks(Path(folder)) == 1:
            raise Own("the first time")
        return "done"

    def function(folder: str) -> Any:
        inside = wren.local_executor()
        again = inside.call_async(second_time, folder, retries=1, retry_on=Own)
        return [again, inside.call_async(os.getenv, "NESTED", extra_env={"NESTED": "yes"})]

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == ["done", "yes"]
    assert marks(tmp_path) == 2


def test_retries_of_an_executor_inside_are_its_calls(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def dies_once(folder: str) -> str:
        mark(folder)
        if marks(Path(folder)) == 1:
            os._exit(1)
        return "done"

    def function(folder: str) -> Any:
        return wren.local_executor(retries=1).call_async(dies_once, folder)

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == "done"


def test_calls_that_are_given_no_timeout_have_the_outer_executors(config: Mapping[str, Any]) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().call_async(time.sleep, 1000)

    # Given to the caller's executor alone, and not by a file that workers may read, too
    with wren.FunctionExecutor({**config, "wren": {**config["wren"], "timeout": 2.0}}) as executor:
        with pytest.raises(CallTimeout, match="its timeout of 2 s"):
            executor.call_async(function, 1).result(PATIENCE)
        executor.get_result(throw_except=False)


def test_a_timeout_that_is_given_inside_holds(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().call_async(time.sleep, PATIENCE, timeout=0.2)

    with pytest.raises(CallTimeout, match=r"0\.2 s"):
        executor.call_async(function, 1).result(PATIENCE)


def test_the_memory_that_is_given_inside_is_the_limit(local: wren.FunctionExecutor) -> None:
    def greedy(size: int) -> int:
        data = b"x" * size
        time.sleep(PATIENCE)  # it is killed meanwhile
        return len(data)

    def function(size: int) -> Any:
        return wren.FunctionExecutor(runtime_memory=64).call_async(greedy, size)

    with pytest.raises(OutOfMemory, match="runtime_memory of 64 MiB"):
        local.call_async(function, 128 << 20).result(PATIENCE)


def test_what_the_backend_does_not_allow_fails_the_outer_call(tmp_path: Path) -> None:
    # Given a backend whose limits the function cannot know
    def function(x: int) -> Any:
        inside = wren.local_executor()
        return [inside.call_async(double, x), inside.call_async(double, x, timeout=1_000)]

    points = {"wren.compute": {"strict": f"{__name__}:STRICT"}}
    with plugged(tmp_path / "site", points), wren.FunctionExecutor(backend="strict", workers=2) as executor:
        with pytest.raises(BindingError, match="timeout is 1000 s, and the backend allows 300 s at most"):
            executor.call_async(function, 1).result(PATIENCE)
        # Then one that is left out is as long as that allows
        assert executor.call_async(one, 1).result(PATIENCE) == 2


# ---- depth, and many at once


def tree(leaves: int, levels: int) -> Any:
    if not levels:
        return leaves
    return wren.local_executor().map(tree, [(leaves, levels - 1)] * leaves)


def chain(length: int) -> Any:
    return wren.local_executor().call_async(chain, length - 1) if length else "the end"


def lists(depth: int) -> Any:
    return [wren.local_executor().call_async(lists, depth - 1)] if depth else []


def for_ever(x: int) -> Any:
    return wren.local_executor().call_async(for_ever, x)


def test_many_outer_calls_three_levels_deep_do_not_starve_on_two_workers(executor: wren.FunctionExecutor) -> None:
    # Given many more calls than workers, each of which needs others
    calls = 200 if executor.executor_id and _is_local(executor) else 10
    executor.map(tree, [(5, 1)] * calls)
    executor.map(tree, [(2, 3)] * (calls // 10))
    # Then all of them end
    results = executor.get_result(timeout=4 * PATIENCE)
    assert results == [[5] * 5] * calls + [[[[2, 2], [2, 2]], [[2, 2], [2, 2]]]] * (calls // 10)


def _is_local(executor: wren.FunctionExecutor) -> bool:
    return isinstance(executor._engine, Engine) and executor._engine.compute.name == "localhost"


def test_a_hundred_levels_are_followed(local: wren.FunctionExecutor) -> None:
    assert local.call_async(chain, 100).result(PATIENCE) == "the end"
    value, depth = local.call_async(lists, 100).result(PATIENCE), 0
    while value:
        (value,), depth = value, depth + 1
    assert depth == 100


def test_what_has_no_end_is_an_error(local: wren.FunctionExecutor) -> None:
    with pytest.raises(CallError, match="does its function return a future of itself"):
        local.call_async(for_ever, 1).result(PATIENCE)


def test_what_has_no_end_is_an_error_inside_too(local: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().call_async(for_ever, x).result()

    with pytest.raises(CallError, match="runs within 100 others"):
        local.call_async(function, 1).result(PATIENCE)


# ---- reducers


def test_a_map_reduce_inside_gives_the_values_of_its_futures(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().map_reduce(double, range(x), sum)

    assert executor.call_async(function, 4).result(PATIENCE) == [0, 2, 4, 6, 12]


def test_a_reducer_inside_gives_its_value_alone(executor: wren.FunctionExecutor) -> None:
    def total(id: int, results: list[int]) -> int:
        return sum(results) + id

    def function(x: int, here: bool) -> Any:
        future = wren.local_executor().map_reduce(double, range(x), total)[-1]
        return [future, future.result()] if here else future

    assert executor.call_async(function, (4, False)).result(PATIENCE) == 12
    assert executor.call_async(function, (0, False)).result(PATIENCE) == 0
    # Also when it is computed where it was asked for
    assert executor.call_async(function, (4, True)).result(PATIENCE) == [12, 12]


def test_a_map_call_that_fails_inside_fails_all_the_way(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().map_reduce(fail, range(x), sum)[-1]

    with pytest.raises(Own, match="no 0"):
        executor.call_async(function, 2).result(PATIENCE)


def test_a_reducer_gets_the_values_of_futures_that_its_map_returned(executor: wren.FunctionExecutor) -> None:
    # Given a map of which some calls return futures
    futures = executor.map_reduce(sometimes, range(4), list)
    # Then its reducer reads what is in their place, and the map's own futures have it, too
    assert futures[-1].result(PATIENCE) == [0, [0], 2, [0, 2, 4]]
    assert [future.result(PATIENCE) for future in futures[:-1]] == [0, [0], 2, [0, 2, 4]]


def test_a_reducer_gets_large_values_of_futures(executor: wren.FunctionExecutor) -> None:
    # Given descriptions and results that are larger than what rides along
    def function(letter: str) -> Any:
        data = letter * 300_000
        return [wren.local_executor().call_async(str.upper, data), "and"]

    futures = executor.map_reduce(function, ["a", "b"], list)
    assert futures[-1].result(PATIENCE) == [["A" * 300_000, "and"], ["B" * 300_000, "and"]]
    assert futures[0].result(PATIENCE) == ["A" * 300_000, "and"]


def test_a_reducer_through_the_client_gets_the_values_too(executor: wren.FunctionExecutor) -> None:
    futures = executor.map_reduce(sometimes, range(4), list, reducer_wait_local=True)
    assert futures[-1].result(PATIENCE) == [0, [0], 2, [0, 2, 4]]


def test_what_a_reducer_returns_is_followed(executor: wren.FunctionExecutor) -> None:
    futures = executor.map_reduce(double, range(3), lambda results: wren.local_executor().map(double, results))
    assert futures[-1].result(PATIENCE) == [0, 4, 8]


# ---- what is asked for inside


def test_a_result_that_is_asked_for_is_computed_there_and_then_once(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def where(folder: str) -> int:
        mark(folder)
        return os.getpid()

    def function(folder: str) -> tuple[bool, bool, int]:
        future = wren.local_executor().call_async(where, folder)
        before = future.done()
        pids = {future.result(), future.result(), os.getpid()}
        return before, future.done(), len(pids)

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == (False, True, 1)
    assert marks(tmp_path) == 1


def test_results_are_computed_in_order(executor: wren.FunctionExecutor) -> None:
    def function(count: int) -> tuple[Any, list[float]]:
        inside = wren.local_executor()
        futures = inside.map(double, range(count))
        value = inside.get_result()
        return value, [future.stats["started"] for future in futures]

    value, started = executor.call_async(function, 5).result(PATIENCE)
    assert value == [0, 2, 4, 6, 8]
    assert started == sorted(started)


def test_get_result_inside_reads_what_it_reads_elsewhere(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> list[Any]:
        inside = wren.local_executor()
        inside.call_async(double, x)
        single = inside.get_result()
        inside.map_reduce(double, range(x), sum)
        reduced = inside.get_result()
        futures = inside.map(one, range(x))  # whose futures are followed here
        return [single, reduced, inside.get_result(futures[1:]), inside.get_result(), inside.get_result()]

    assert executor.call_async(function, 3).result(PATIENCE) == [6, 6, [2, 4], [0], []]


def test_wait_inside_runs_what_it_waits_for(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def function(folder: str) -> list[int]:
        inside = wren.local_executor()
        futures = inside.map(marked_double, [(folder, number) for number in range(4)])
        counts = []
        for options in ({"return_when": "ALWAYS"}, {"return_when": "ANY_COMPLETED"}, {"timeout": 0}, {}):
            done, _ = inside.wait(futures, **options)
            counts.append(len(done))
        return counts

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == [1, 1, 1, 4]
    assert marks(tmp_path) == 4


def test_the_standard_librarys_ways_of_waiting_work_inside(executor: wren.FunctionExecutor) -> None:
    async def awaited(x: int) -> int:
        return await wren.local_executor().call_async(double, x)

    def function(x: int) -> list[Any]:
        inside, called = wren.local_executor(), list[int]()
        done, not_done = concurrent.futures.wait(inside.map(double, range(x)))
        futures: list[concurrent.futures.Future[int]] = [*inside.map(double, range(x))]
        completed = [future.result() for future in concurrent.futures.as_completed(futures)]
        inside.call_async(double, x).add_done_callback(lambda future: called.append(future.result()))
        return [len(done), len(not_done), sorted(completed), called, asyncio.run(awaited(x))]

    assert executor.call_async(function, 3).result(PATIENCE) == [3, 0, [0, 2, 4], [6], 6]


def test_an_exception_is_raised_inside_as_itself(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> tuple[str, str]:
        inside = wren.local_executor()
        future = inside.call_async(fail, x)
        try:
            future.result()
        except Own as error:
            return str(error), str(error.__cause__)
        return "", ""

    message, cause = executor.call_async(function, 1).result(PATIENCE)
    assert message == "no 1"
    assert "in fail" in cause


def test_an_exit_inside_is_no_exit_of_the_outer_call(executor: wren.FunctionExecutor) -> None:
    def function(code: int) -> str:
        return type(wren.local_executor().call_async(sys.exit, code).exception()).__name__

    assert executor.call_async(function, 3).result(PATIENCE) == "WorkerLost"


def test_a_result_that_cannot_be_pickled_is_an_error_inside_too(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return wren.local_executor().call_async(threading.Lock, ()).result()

    with pytest.raises(SerializationError, match="cannot be pickled"):
        executor.call_async(function, 1).result(PATIENCE)


def test_the_environment_of_a_call_that_is_computed_inside_is_its_own(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> list[str | None]:
        os.environ["NESTED_B"] = "outer"
        env = {"NESTED_A": "inner", "NESTED_B": None}
        both = wren.local_executor().map(os.getenv, ["NESTED_A", "NESTED_B"], extra_env=env)
        return [*(future.result() for future in both), os.getenv("NESTED_A"), os.getenv("NESTED_B")]

    assert executor.call_async(function, 1).result(PATIENCE) == ["inner", None, None, "outer"]


def test_what_was_computed_inside_is_returned_as_its_value_and_does_not_run_again(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def function(folder: str) -> Any:
        futures = wren.local_executor().map(marked_double, [(folder, number) for number in range(4)])
        futures[2].result()
        return futures

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == [0, 2, 4, 6]
    assert marks(tmp_path) == 4


def test_a_failure_that_was_seen_inside_is_that_of_the_outer_call_when_it_is_returned(
    executor: wren.FunctionExecutor,
) -> None:
    def function(x: int) -> Any:
        future = wren.local_executor().call_async(fail, x)
        future.exception()
        return [future]

    with pytest.raises(Own, match="no 5"):
        executor.call_async(function, 5).result(PATIENCE)


def test_a_reducer_of_which_some_inputs_were_computed_inside_runs_once(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def function(folder: str) -> Any:
        futures = wren.local_executor().map_reduce(marked_double, [(folder, number) for number in range(4)], sum)
        futures[1].result()
        return futures[-1]

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == 12
    assert marks(tmp_path) == 4


KEPT: Final[list[wren.Future[Any]]] = []  # of a worker


def keep(folder: str, again: bool) -> Any:
    if not again:
        KEPT.append(wren.local_executor().call_async(marked_double, (folder, 4)))
        return KEPT[0]
    return KEPT[0].result()


def test_a_call_that_was_returned_cannot_be_asked_for_any_more(tmp_path: Path) -> None:
    # Given a worker that keeps a future which one of its calls has returned
    with wren.local_executor(workers=1) as executor:
        assert executor.call_async(keep, (str(tmp_path), False)).result(PATIENCE) == 8
        # When the next call asks for its result, Then
        with pytest.raises(CallError, match="was returned"):
            executor.call_async(keep, (str(tmp_path), True)).result(PATIENCE)
    assert marks(tmp_path) == 1


def test_threads_of_a_function_share_what_is_computed(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def function(folder: str) -> list[int]:
        future = wren.local_executor().call_async(marked_double, (folder, 2))
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            return [each.result() for each in [threads.submit(future.result) for _ in range(4)]]

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == [4] * 4
    assert marks(tmp_path) == 1


def test_leaving_an_executor_inside_runs_nothing(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def function(folder: str) -> Any:
        with wren.local_executor() as inside:
            futures = inside.map(marked_double, [(folder, number) for number in range(3)])
        left = marks(Path(folder))
        return left, futures[0]

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == (0, 0)
    assert marks(tmp_path) == 1


def test_leaving_an_executor_inside_by_an_exception_cancels_its_calls(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        futures = []
        try:
            with wren.local_executor() as inside:
                futures = inside.map(double, range(x))
                raise Own("by an exception")
        except Own:
            return [future.cancelled() for future in futures], futures

    with pytest.raises(CallCancelled, match="call 0 of job M000 was cancelled"):
        executor.call_async(function, 2).result(PATIENCE)


# ---- which executors


def test_every_executor_that_a_function_makes_is_deferred(executor: wren.FunctionExecutor) -> None:
    # Given executors of backends that are not installed here, as their calls are run by the outer one
    def function(x: int) -> Any:
        makers: list[Callable[[], wren.FunctionExecutor]] = [
            wren.FunctionExecutor,
            wren.local_executor,
            wren.function_executor,
            wren.ibm_cf_executor,
            wren.knative_executor,
            wren.openwhisk_executor,
            wren.docker_executor,
        ]
        return [make().call_async(double, x + number) for number, make in enumerate(makers)]

    assert executor.call_async(function, 0).result(PATIENCE) == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(PluginNotFound):
        wren.knative_executor()


def test_an_executor_of_a_module_that_a_worker_imports_is_deferred(
    config: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a module that makes its executor when it is imported
    source = "import wren\ninside = wren.local_executor()\ndef f(x):\n    return inside.map(str, range(x))\n"
    (tmp_path / "makes_executor.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))

    def function(x: int) -> Any:
        import makes_executor  # type: ignore[import-not-found]

        return makes_executor.f(x)

    with wren.FunctionExecutor(config) as executor:
        assert executor.call_async(function, 2).result(PATIENCE) == ["0", "1"]


def test_a_program_that_a_function_starts_is_no_worker(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> str:
        program = "import wren\nwith wren.local_executor(workers=1) as e:\n    print(e.call_async(abs, -1).result())"
        return subprocess.check_output([sys.executable, "-c", program], text=True)

    assert executor.call_async(function, 1).result(PATIENCE) == "1\n"


def test_the_standard_executor_follows_nothing(config: Mapping[str, Any]) -> None:
    with (
        wren.Executor(2, config=config) as standard,
        pytest.raises(SerializationError, match=r"wren\.Executor follows"),
    ):
        standard.submit(one, 1).result(PATIENCE)


def test_the_standard_executor_inside_has_workers_of_its_own(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> tuple[int, bool]:
        with wren.Executor(1) as standard:
            return standard.submit(double, x).result(), standard.submit(os.getpid).result() != os.getpid()

    assert executor.call_async(function, 4).result(2 * PATIENCE) == (8, True)


# ---- what the outer call is meanwhile


def test_an_outer_call_is_unfinished_until_the_nested_ones_are_done(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    # Given a call whose function has ended, and what it returned waits
    future = executor.call_async(gated, (str(tmp_path), 2))
    eventually(lambda: marks(tmp_path) == 2)
    # Then it is not done, for anybody who asks
    assert not future.done()
    assert executor.wait(timeout=0.05) == ([], [future])
    # When the nested calls end, Then
    (tmp_path / "gate").touch()
    assert future.result(PATIENCE) == [0, 1]
    # And its output and its times are its own
    assert future.logs == "the outer one\n"
    assert future.stats["seconds"] < future.stats["stopped"] - future.stats["submitted"]
    first = min(path.stat().st_mtime for path in tmp_path.glob("mark-*"))
    assert future.stats["stopped"] <= first + 0.05


def test_cancelling_an_outer_call_takes_back_what_has_not_started(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    # Given ten nested calls of which two run
    future = executor.call_async(gated, (str(tmp_path), 10))
    eventually(lambda: marks(tmp_path) == 2)
    # When the outer one is cancelled
    assert not future.cancel()
    (tmp_path / "gate").touch()
    # Then it is cancelled as soon as the two have ended, and no other has run
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)
    assert future.cancelled()
    assert executor.call_async(double, 1).result(PATIENCE) == 2
    assert marks(tmp_path) == 2


def test_an_outer_call_is_cancelled_at_once_where_nothing_of_it_runs(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    # Given workers that are busy with other calls, and nested ones that wait
    def slow(folder: str) -> Any:
        behind_gate(folder, 0)
        return wren.local_executor().call_async(marked_double, (folder, 1))

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    outer = executor.call_async(slow, str(tmp_path / "a"))
    busy = executor.map(behind_gate, [(str(tmp_path / "b"), number) for number in range(4)])
    eventually(lambda: marks(tmp_path / "a") == 1 and marks(tmp_path / "b") == 1)
    (tmp_path / "a" / "gate").touch()
    eventually(lambda: marks(tmp_path / "b") == 2)  # the worker has gone on: the outer function is over
    job = executor._engine._tracker.find(outer.job_id)  # type: ignore[union-attr]
    assert job is not None
    eventually(lambda: bool(job.nested and job.nested[0].jobs and job.nested[0].jobs[0].launched))
    # When it is cancelled, Then
    assert outer.cancel()
    assert outer.cancelled()
    (tmp_path / "b" / "gate").touch()
    executor.get_result(busy, timeout=PATIENCE)
    assert marks(tmp_path / "a") == 1


def test_killing_an_outer_call_ends_what_runs_of_it(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    future = executor.call_async(gated, (str(tmp_path), 10))
    eventually(lambda: marks(tmp_path) == 2)
    assert future.kill()
    with pytest.raises(CallCancelled, match="was killed"):
        future.result(PATIENCE)
    # Then the workers are free, although nobody has opened the gate
    assert executor.call_async(double, 1).result(PATIENCE) == 2
    assert marks(tmp_path) == 2


def test_leaving_the_outer_executor_by_an_exception_ends_all(
    config: Mapping[str, Any], tmp_path: Path, eventually: Eventually
) -> None:
    futures = []

    def leave_by_an_exception() -> None:
        with wren.FunctionExecutor(config) as executor:
            futures.append(executor.call_async(gated, (str(tmp_path), 10)))
            eventually(lambda: marks(tmp_path) == 2)
            raise Own("by an exception")

    with pytest.raises(Own):
        leave_by_an_exception()
    with pytest.raises(concurrent.futures.CancelledError):
        futures[0].result(PATIENCE)
    assert marks(tmp_path) == 2


def test_leaving_the_outer_executor_waits_for_all(config: Mapping[str, Any], tmp_path: Path) -> None:
    def function(folder: str) -> Any:
        return wren.local_executor().map(marked_double, [(folder, number) for number in range(5)])

    with wren.FunctionExecutor(config) as executor:
        future = executor.call_async(function, str(tmp_path))
    assert future.done()
    assert marks(tmp_path) == 5


def test_a_program_that_ends_without_waiting_has_its_nested_calls_done(
    run_python: Callable[[str], str], tmp_path: Path
) -> None:
    run_python(f"""
import pathlib, wren
def leaf(x):
    pathlib.Path({str(tmp_path)!r}, f"mark-{{x}}").touch()
def outer(x):
    return wren.local_executor().map(leaf, [2 * x, 2 * x + 1])
executor = wren.local_executor(workers=2)
executor.map_reduce(outer, range(3), lambda results: wren.local_executor().call_async(leaf, 6))
""")
    assert marks(tmp_path) == 7


# ---- attempts


def test_a_retried_outer_call_runs_only_what_its_last_attempt_returned(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    # Given a function that dies in its first attempt, when it has asked for calls
    def function(folder: str) -> Any:
        futures = wren.local_executor().map(marked_double, [(folder, number) for number in range(3)])
        mark(folder, "attempt")
        if marks(Path(folder), "attempt") == 1:
            os._exit(1)
        return futures

    # Then the reducer reads what the second has returned
    futures = executor.map_reduce(function, [str(tmp_path)], list, retries=1)
    assert futures[-1].result(PATIENCE) == [[0, 2, 4]]
    assert futures[0].result(PATIENCE) == [0, 2, 4]
    assert marks(tmp_path, "attempt") == 2
    assert marks(tmp_path) == 3


@pytest.fixture(params=["scripted", "posting"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[Mapping[str, Sequence[str]]], wren.FunctionExecutor]]:
    """Makes an executor whose statuses come twice and late, or by the storage's listings."""
    name = request.param
    points = {"wren.compute": {name: f"wren.testing.fakes:{name}"}}
    config = {"storage": {"interval": 0.02}, "localhost": {"path": str(tmp_path / "storage")}}
    with plugged(tmp_path / "site", points):
        yield lambda script: wren.FunctionExecutor({**config, name: {"script": script, "workers": 2}}, backend=name)


def test_a_status_that_comes_twice_is_followed_once(make: Callable[..., wren.FunctionExecutor], tmp_path: Path) -> None:
    def function(folder: str, x: int) -> Any:
        print("printed")
        return x, wren.local_executor().call_async(marked_double, (folder, x))

    with make({"0": ["twice"], "1": ["late"]}) as executor:
        futures = executor.map(function, [(str(tmp_path), number) for number in range(3)])
        assert executor.get_result(timeout=PATIENCE) == [(0, 0), (1, 2), (2, 4)]
    assert marks(tmp_path) == 3
    assert [future.logs for future in futures] == ["printed\n"] * 3
    assert all(future.stats["seconds"] >= 0 for future in futures)


def test_a_lost_outer_call_is_tried_again_and_followed(
    make: Callable[..., wren.FunctionExecutor], tmp_path: Path
) -> None:
    def function(folder: str) -> Any:
        return wren.local_executor().map(marked_double, [(folder, number) for number in range(3)])

    with make({"M000/0": ["lost"]}) as executor:
        futures = executor.map_reduce(function, [str(tmp_path)], list, retries=1)
        assert futures[-1].result(PATIENCE) == [[0, 2, 4]]
        assert futures[0].result(PATIENCE) == [0, 2, 4]
    assert marks(tmp_path) == 3


def test_what_was_followed_is_kept_where_results_persist(tmp_path: Path) -> None:
    # Given an executor that keeps results
    config = {"localhost": {"path": str(tmp_path)}}
    with wren.local_executor(config, workers=2, persist=True) as executor:
        assert executor.map(sometimes, [3])[0].result(PATIENCE) == [0, 2, 4]
    # Then what the call has is stored, under its own name
    assert [path.name for path in tmp_path.rglob("M000@/result@/*")] == ["00000000.0"]
