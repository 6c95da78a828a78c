"""Executors inside functions: what was once wrong with them, found by somebody who wished them ill."""

import concurrent.futures
import contextlib
import os
import pickle
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import wren
from wren.errors import CallCancelled, WaitTimeout

PATIENCE: Final = 10.0  # seconds until a test gives up

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


# ---- functions, and the marks that they leave


def mark(folder: Path | str, name: str = "mark") -> None:
    (Path(folder) / f"{name}-{uuid.uuid4().hex}").touch()


def marks(folder: Path, name: str = "mark") -> int:
    return len(list(folder.glob(f"{name}-*")))


def double(x: int) -> int:
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


def numbered(folder: str, x: int) -> int:
    """Say which one runs, in the order in which they do."""
    with (Path(folder) / "order").open("a") as file:
        file.write(f"{x} ")
    if x == 0:
        raise Own("the first one")
    return x


def order(folder: str) -> str:
    return (Path(folder) / "order").read_text().strip()


# ---- what is asked for inside


def test_get_result_inside_runs_nothing_after_a_failure(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def function(folder: str) -> str:
        inside = wren.local_executor()
        inside.map(numbered, [(folder, number) for number in range(5)])
        with pytest.raises(Own):
            inside.get_result()
        return order(folder)

    assert executor.call_async(function, str(tmp_path)).result(PATIENCE) == "0"


def test_get_result_inside_waits_as_long_as_it_says(local: wren.FunctionExecutor, tmp_path: Path) -> None:
    # Given calls of which one alone takes longer than the time that there is
    def slow(folder: str, x: int) -> None:
        numbered(folder, x)
        time.sleep(0.8)

    def function(folder: str) -> str:
        inside = wren.local_executor()
        inside.map(slow, [(folder, number) for number in range(1, 6)])
        with pytest.raises(WaitTimeout):
            inside.get_result(timeout=0.4)
        return order(folder)

    # Then no other is begun
    assert local.call_async(function, str(tmp_path)).result(PATIENCE) == "1"


def test_wait_inside_waits_as_long_as_it_says(local: wren.FunctionExecutor, tmp_path: Path) -> None:
    def slow(folder: str, x: int) -> None:
        numbered(folder, x)
        time.sleep(0.8)

    def function(folder: str) -> tuple[int, int, str]:
        inside = wren.local_executor()
        inside.map(slow, [(folder, number) for number in range(1, 6)])
        done, not_done = inside.wait(timeout=0.4)
        return len(done), len(not_done), order(folder)

    assert local.call_async(function, str(tmp_path)).result(PATIENCE) == (1, 4, "1")


SHARED: Final[list[wren.FunctionExecutor]] = []  # of a worker


def with_shared(x: int) -> Any:
    """A function of a module that makes its executor once."""
    if not SHARED:
        SHARED.append(wren.local_executor())
    futures = SHARED[0].map(double, range(x))
    return futures if x % 2 else SHARED[0].get_result()


def test_an_executor_of_a_module_does_not_mix_up_the_calls_of_its_worker() -> None:
    # Given a worker that has returned futures of an executor that it keeps
    with wren.local_executor(workers=1) as executor:
        assert executor.call_async(with_shared, 3).result(PATIENCE) == [0, 2, 4]
        # When the next call asks it for its results, Then it gets its own
        assert executor.call_async(with_shared, 2).result(PATIENCE) == [0, 2]


def shared_jobs(x: int) -> int:
    return len(SHARED[0]._results._jobs)


def test_an_executor_of_a_module_keeps_nothing_of_what_was_returned() -> None:
    with wren.local_executor(workers=1) as executor:
        for _ in range(100):
            executor.call_async(with_shared, 1).result(PATIENCE)
        assert executor.call_async(shared_jobs, 0).result(PATIENCE) < 50


# ---- values


class Wrapped:
    """An object that has a pickle of its own within."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return _unwrap, (pickle.dumps(self.value),)


def _unwrap(data: bytes) -> Wrapped:
    return Wrapped(pickle.loads(data))  # noqa: S301 - made above


def test_a_future_may_be_in_an_object_that_pickles_what_it_has_by_itself(executor: wren.FunctionExecutor) -> None:
    def function(x: int) -> Any:
        return Wrapped([wren.local_executor().call_async(double, x)])

    assert executor.call_async(function, 4).result(PATIENCE).value == [8]


# ---- the ends of an outer call


def map_reduce_behind_gate(folder: str, count: int) -> Any:
    return wren.local_executor().map_reduce(behind_gate, [(folder, number) for number in range(count)], sum)[-1]


def test_a_cancelled_outer_call_with_a_reducer_is_over_when_its_map_is(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    future = executor.call_async(map_reduce_behind_gate, (str(tmp_path), 10))
    eventually(lambda: marks(tmp_path) == 2)
    assert not future.cancel()
    assert not concurrent.futures.wait([future], timeout=0.3).done
    (tmp_path / "gate").touch()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)
    assert marks(tmp_path) == 2


def gated(folder: str, count: int) -> Any:
    return wren.local_executor().map(behind_gate, [(folder, number) for number in range(count)])


def test_an_outer_call_that_is_killed_when_its_calls_are_about_to_start_ends_them(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an outer call that is killed just before what it returned is launched
    engine, futures = executor._engine, list[wren.Future[Any]]()
    launch, killed = engine.launch, threading.Event()  # type: ignore[union-attr]

    def kill_and_launch(job: Any, *expected: Any) -> None:
        if job.depth:
            futures[0].kill()
            killed.set()
        launch(job, *expected)

    (tmp_path / "start").mkdir()

    def function(folder: str) -> Any:
        behind_gate(f"{folder}/start", 0)
        return gated(folder, 10)

    monkeypatch.setattr(engine, "launch", kill_and_launch)
    futures.append(executor.call_async(function, str(tmp_path)))
    (tmp_path / "start" / "gate").touch()
    with pytest.raises((CallCancelled, concurrent.futures.CancelledError)):  # nothing of it may have begun
        futures[0].result(PATIENCE)
    assert killed.wait(PATIENCE)
    # Then the workers are free, although nobody has opened the gate
    assert executor.map(double, [1, 2])[1].result(PATIENCE) == 4
    eventually(lambda: not engine._tracker.unfinished())  # type: ignore[union-attr]


def test_an_interrupt_in_kill_leaves_no_call_without_an_end(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an interrupt that comes when calls were taken back and are not settled yet
    future = executor.call_async(gated, (str(tmp_path), 10))
    eventually(lambda: marks(tmp_path) == 2)
    engine: Any = executor._engine
    withdraw = engine._invoker.withdraw

    def interrupted(*args: Any) -> Any:
        taken = withdraw(*args)
        if taken and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return taken

    monkeypatch.setattr(engine._invoker, "withdraw", interrupted)
    # (only what the caller's own thread does can be interrupted, and what only asks takes nothing back there)
    monkeypatch.setattr(engine, "cancel", lambda table, calls: None)
    with contextlib.suppress(KeyboardInterrupt):
        future.kill()
    monkeypatch.undo()
    future.kill()
    # Then all of them end
    with pytest.raises(CallCancelled):
        future.result(PATIENCE)
    eventually(lambda: not engine._tracker.unfinished())


# ---- what functions do to their process


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_child_that_a_function_forks_has_no_say_in_its_result(tmp_path: Path, eventually: Eventually) -> None:
    # Given a child that returns when its parent's result is stored
    def function(folder: str) -> Any:
        child = os.fork()
        if child:
            return child
        deadline = time.monotonic() + PATIENCE
        while not list(Path(folder).rglob("result@/*")):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return "the child"

    config = {"localhost": {"path": str(tmp_path / "storage")}}
    with wren.local_executor(config, workers=1) as executor:
        futures = executor.map_reduce(function, [str(tmp_path)], lambda results: results)
        (child,) = futures[-1].result(PATIENCE)
        eventually(lambda: has_ended(child))
        stored = [path.read_bytes() for path in tmp_path.rglob("result@/*")]
        assert stored
        assert not any(b"the child" in data for data in stored)


def test_a_forked_child_computes_what_a_thread_of_its_parent_runs(executor: wren.FunctionExecutor) -> None:
    # Given a function that forks while another thread of it runs a call
    def function(folder: str) -> int:
        future = wren.local_executor().call_async(behind_gate, (folder, 4))
        thread = threading.Thread(target=future.result)
        thread.start()
        while not marks(Path(folder)):
            time.sleep(0.005)
        pid = os.fork()
        (Path(folder) / "gate").touch()
        if pid == 0:
            os._exit(future.result())
        thread.join()
        deadline = time.monotonic() + PATIENCE / 2
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return -1

    with tempfile.TemporaryDirectory() as folder:
        assert executor.call_async(function, folder).result(PATIENCE) == 4
