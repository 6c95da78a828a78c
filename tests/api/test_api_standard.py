"""docs/api.md, "The standard interface"; CPython's own tests are in `tests/cpython`."""

import concurrent.futures
import inspect
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import WorkerLost

Eventually = Callable[[Callable[[], bool]], None]


def divide(a: int, b: int = 1) -> float:
    return a / b


def numbered(x: int, id: int) -> tuple[int, int]:
    return x, id


def same(x: Any) -> Any:
    return x


def wait_for(path: Path) -> str:
    """Until the file is there, but no longer than a test waits for it."""
    path.with_suffix(".started").touch()
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return path.name


@pytest.fixture
def pool() -> Iterator[wren.Executor]:
    with wren.Executor(max_workers=2) as executor:
        yield executor


@pytest.mark.api(
    "`wren.Executor(max_workers=None, *, backend=None, storage_backend=None, retries=None, config=None)` is a "
    "`concurrent.futures.Executor`:"
)
def test_the_executor_is_one_of_the_standards_with_the_documented_parameters() -> None:
    assert issubclass(wren.Executor, concurrent.futures.Executor)
    signature = inspect.signature(wren.Executor)
    assert [(each.name, each.default, each.kind.name) for each in signature.parameters.values()] == [
        ("max_workers", None, "POSITIONAL_OR_KEYWORD"),
        ("backend", None, "KEYWORD_ONLY"),
        ("storage_backend", None, "KEYWORD_ONLY"),
        ("retries", None, "KEYWORD_ONLY"),
        ("config", None, "KEYWORD_ONLY"),
    ]


@pytest.mark.api("`submit(fn, *args, **kwargs)`, `map(fn, *iterables, timeout=, chunksize=)`,")
def test_submit_and_map_are_the_standards(pool: wren.Executor) -> None:
    assert pool.submit(divide, 6, b=3).result(20) == 2
    assert list(pool.map(divide, [6, 8], [3, 2])) == [2, 4]
    assert list(pool.map(divide, range(10), timeout=20, chunksize=4)) == list(range(10))
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(divide, [1], chunksize=0)


@pytest.mark.api("`shutdown(wait=, cancel_futures=)`, `with`.")
def test_shutdown_is_the_standards(tmp_path: Path, eventually: Eventually) -> None:
    pool = wren.Executor(max_workers=1)
    running = pool.submit(wait_for, tmp_path / "a")
    eventually((tmp_path / "a.started").exists)
    queued = pool.submit(wait_for, tmp_path / "b")
    pool.shutdown(wait=False, cancel_futures=True)
    assert queued.cancelled()
    assert not running.done()
    (tmp_path / "a").touch()
    pool.shutdown()  # again, and now it waits
    assert running.done()


@pytest.mark.api("It never binds, injects or follows futures,")
def test_arguments_arrive_as_they_are(pool: wren.Executor) -> None:
    def optional(x: int, id: str = "its own", storage: str = "too") -> tuple[int, str, str]:
        return x, id, storage

    for value in [(1, 2), [1, 2], {"x": 1}, {}, ()]:
        assert pool.submit(same, value).result(20) == value
    assert pool.submit(optional, 1).result(20) == (1, "its own", "too")
    with pytest.raises(TypeError, match="'id'"):
        pool.submit(numbered, 1).result(20)  # type: ignore[call-arg]  # on purpose


@pytest.mark.api("Code written for `ProcessPoolExecutor` runs unchanged.", "Same engine, same futures.")
@pytest.mark.parametrize("make", [concurrent.futures.ProcessPoolExecutor, wren.Executor])
def test_a_program_for_a_process_pool_runs_on_either(
    make: Callable[..., Any], run_python: Callable[[str], str]
) -> None:
    program = f"""
import concurrent.futures, math, warnings, {make.__module__.partition(".")[0]}
warnings.simplefilter("ignore", DeprecationWarning)
from {make.__module__} import {make.__name__} as Pool
def prime(n):
    return n > 1 and all(n % each for each in range(2, math.isqrt(n) + 1))
if __name__ == "__main__":
    with Pool(max_workers=2) as pool:
        print([n for n, is_prime in zip(range(20), pool.map(prime, range(20))) if is_prime])
        futures = {{pool.submit(pow, base, 2): base for base in range(5)}}
        print(sorted((futures[each], each.result()) for each in concurrent.futures.as_completed(futures)))
        future = pool.submit(divmod, 1, 0)
        print(type(future.exception()).__name__)
        done, not_done = concurrent.futures.wait(futures)
        print(len(done), len(not_done))
"""
    assert run_python(program).splitlines() == [
        "[2, 3, 5, 7, 11, 13, 17, 19]",
        "[(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]",
        "ZeroDivisionError",
        "5 0",
    ]


@pytest.mark.api("Same engine, same futures.")
def test_futures_are_wrens(pool: wren.Executor) -> None:
    future = pool.submit(same, 1)
    assert type(future) is wren.Future
    assert future.job_id == "A000"


@pytest.mark.api("As the standard says, leaving its `with` waits for the calls, also by an exception,")
@pytest.mark.parametrize("error", [None, LookupError])
def test_leaving_waits_for_the_calls(error: type[Exception] | None) -> None:
    futures: list[Any] = []

    def use() -> None:
        with wren.Executor(max_workers=1) as pool:
            futures.extend(pool.submit(time.sleep, 0.1) for _ in range(3))
            if error:
                raise error

    if error:
        with pytest.raises(error):
            use()
    else:
        use()
    assert [future.exception(0) for future in futures] == [None] * 3


@pytest.mark.api("and after it `submit` and `map` raise RuntimeError.")
def test_after_its_with_nothing_is_accepted() -> None:
    with wren.Executor(max_workers=1) as pool:
        """Nothing to do."""
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(same, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(same, [1])


@pytest.mark.api("Only Ctrl-C does not wait: it drops what has not started and kills what runs.")
def test_leaving_by_ctrl_c_does_not_wait(tmp_path: Path, eventually: Eventually) -> None:
    def leave() -> tuple[Any, Any]:
        with pytest.raises(KeyboardInterrupt), wren.Executor(max_workers=1) as pool:  # noqa: PT012
            futures = pool.submit(wait_for, tmp_path / "a"), pool.submit(wait_for, tmp_path / "b")
            eventually((tmp_path / "a.started").exists)
            raise KeyboardInterrupt
        return futures

    running, queued = leave()
    assert queued.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        running.result(20)
    assert not (tmp_path / "b.started").exists()


@pytest.mark.api("A worker that is lost costs the call that it ran, not the executor.")
def test_a_lost_worker_costs_one_call(pool: wren.Executor) -> None:
    futures = [pool.submit(os._exit, 3), *(pool.submit(same, number) for number in range(5))]
    error = futures[0].exception(20)
    assert isinstance(error, WorkerLost)
    assert isinstance(error, concurrent.futures.BrokenExecutor)
    assert [future.result(20) for future in futures[1:]] == list(range(5))
    assert pool.submit(same, "more").result(20) == "more"


@pytest.mark.api("`initializer`, `initargs`, `mp_context` and `max_tasks_per_child` do not exist.")
@pytest.mark.parametrize("name", ["initializer", "initargs", "mp_context", "max_tasks_per_child"])
def test_parameters_of_process_pools_do_not_exist(name: str) -> None:
    make: Any = wren.Executor
    with pytest.raises(TypeError, match=f"'{name}'"):
        make(1, **{name: None})
