"""What goes wrong in a local worker fails the one call that it belongs to, promptly, and the executor goes on."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import wren
from wren.errors import CallTimeout, OutOfMemory, RemoteError, RemoteTraceback, SerializationError, WorkerLost

Eventually = Callable[[Callable[[], bool]], None]


def same(value: Any) -> Any:
    return value


def kill_itself(number: int) -> None:
    print("last words")
    os.kill(os.getpid(), number)


def segfault() -> None:
    ctypes.string_at(0)


def leave(code: int) -> NoReturn:
    os._exit(code)


def sys_exit(code: Any) -> NoReturn:
    sys.exit(code)


def busy() -> NoReturn:
    while True:
        pass


def busy_in_c() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


def close_descriptors() -> None:
    os.closerange(3, 1024)


def fork_and_return() -> int:
    if os.fork() == 0:
        return -1  # the child comes back through the call, too
    os.wait()
    return 1


def loud(megabytes: int) -> str:
    for _ in range(megabytes):
        print("x" * ((1 << 20) - 1))
    print("the end")
    return "done"


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("not me")


class Demanding(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def raise_it(kind: str) -> NoReturn:
    if kind == "unpicklable":
        raise Unpicklable("a lock inside")
    if kind == "demanding":
        raise Demanding(1, 2)
    raise KeyError("ordinary")


@pytest.mark.parametrize(
    ("function", "args", "how"),
    [
        (kill_itself, (signal.SIGKILL,), "killed by SIGKILL; its last output: last words"),
        (kill_itself, (signal.SIGTERM,), "killed by SIGTERM"),
        (segfault, (), "killed by SIGSEGV"),
        (leave, (3,), "exit code 3"),
        (leave, (0,), "exit code 0"),
        (close_descriptors, (), "gone"),
        (sys_exit, (7,), "ended by SystemExit: 7"),
    ],
)
def test_a_lost_worker_fails_its_call_and_the_executor_goes_on(
    executor: wren.FunctionExecutor, function: Callable[..., Any], args: tuple[Any, ...], how: str
) -> None:
    future = executor.call_async(function, args)
    with pytest.raises(WorkerLost, match=how):
        future.result(20)
    assert executor.call_async(same, 5).result(20) == 5


def test_a_worker_killed_from_outside_fails_its_call_at_once(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    def run(path: Path) -> NoReturn:
        path.write_text(str(os.getpid()))
        busy()

    marker = tmp_path / "pid"
    future = executor.call_async(run, marker)
    eventually(lambda: marker.exists() and bool(marker.read_text()))
    killed = time.monotonic()
    os.kill(int(marker.read_text()), signal.SIGKILL)
    with pytest.raises(WorkerLost, match="SIGKILL"):
        future.result(20)
    assert time.monotonic() - killed < 10  # and not at a deadline
    assert executor.call_async(same, 5).result(20) == 5


def test_in_a_batch_only_the_call_that_ran_is_lost_and_no_other_runs_twice(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def count(index: int) -> int:
        with (tmp_path / str(index)).open("a") as file:
            file.write("x")
        if index % 100 == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    futures = executor.map(count, range(500))
    executor.wait(futures, throw_except=False)
    lost = {index for index, future in enumerate(futures) if future.exception() is not None}
    assert lost == set(range(50, 500, 100))
    assert all(isinstance(futures[index].exception(), WorkerLost) for index in lost)
    assert [future.result() for index, future in enumerate(futures) if index not in lost] == [
        index for index in range(500) if index not in lost
    ]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"x"}


def test_a_lost_call_runs_again_when_it_may(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def second_time_lucky(index: int) -> int:
        marker = tmp_path / str(index)
        if marker.exists():
            return index
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
        return -1

    futures = executor.map(second_time_lucky, range(5), retries=1)
    assert executor.get_result(futures) == [0, 1, 2, 3, 4]


def test_a_reducer_reads_the_attempts_that_succeeded(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def second_time_lucky(index: int) -> bytes:
        marker = tmp_path / str(index)
        if index % 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return bytes([index]) * (1 << 17)

    futures = executor.map_reduce(
        second_time_lucky, range(6), lambda results: [(len(result), result[0]) for result in results], retries=1
    )
    assert futures[-1].result(20) == [(1 << 17, index) for index in range(6)]
    assert futures[3].result(20) == bytes([3]) * (1 << 17)  # read back from the storage, the second attempt's


@pytest.mark.parametrize("function", [busy, busy_in_c])
def test_a_call_over_its_timeout_is_killed(executor: wren.FunctionExecutor, function: Callable[[], Any]) -> None:
    future = executor.call_async(function, (), timeout=0.2)
    with pytest.raises(CallTimeout, match=r"timeout of 0\.2 s"):
        future.result(20)
    assert isinstance(future.exception(), TimeoutError)
    assert executor.call_async(same, 5).result(20) == 5


def test_a_stopped_worker_is_killed_at_its_calls_timeout(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(kill_itself, (signal.SIGSTOP,), timeout=0.2)
    with pytest.raises(CallTimeout):
        future.result(20)


def test_each_call_of_a_batch_has_its_own_timeout(executor: wren.FunctionExecutor) -> None:
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    naps = [0.15 if index % 5 == 0 else 0.0 for index in range(40)]  # together far longer than the timeout
    futures = executor.map(nap, naps, timeout=1.0)
    assert executor.get_result(futures) == naps


def test_a_call_that_forks_returns_once(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(lambda _: fork_and_return(), range(4))
    assert executor.get_result(futures) == [1, 1, 1, 1]


def test_what_a_call_started_ends_with_its_lost_worker(
    executor: wren.FunctionExecutor, tmp_path: Path, eventually: Eventually
) -> None:
    def start_and_die(path: Path) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        path.write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    future = executor.call_async(start_and_die, tmp_path / "pid")
    with pytest.raises(WorkerLost):
        future.result(20)
    child = int((tmp_path / "pid").read_text())
    eventually(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter if it goes between opening and reading
        return False
    return state != "Z"


def test_output_of_50_mb_is_cut_in_the_middle(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(loud, 50)
    assert future.result(60) == "done"
    assert future.logs.startswith("xxx")
    assert future.logs.endswith("the end\n")
    assert "bytes left out" in future.logs
    assert len(future.logs) < 2 << 20


def test_a_result_that_cannot_be_pickled_is_an_error_that_says_so(executor: wren.FunctionExecutor) -> None:
    def generator() -> Any:
        return (character for character in "abc")

    future = executor.call_async(generator, ())
    with pytest.raises(SerializationError, match="the result, of type generator, cannot be pickled"):
        future.result(20)


@pytest.mark.parametrize(("kind", "name"), [("unpicklable", "Unpicklable: a lock inside"), ("demanding", "1 and 2")])
def test_an_exception_that_cannot_travel_arrives_as_remote_error(
    executor: wren.FunctionExecutor, kind: str, name: str
) -> None:
    future = executor.call_async(raise_it, kind)
    with pytest.raises(RemoteError, match=name) as caught:
        future.result(20)
    assert "raise_it" in str(caught.value.__cause__)


def test_the_users_exception_arrives_as_itself_with_the_remote_traceback(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(raise_it, "ordinary")
    with pytest.raises(KeyError, match="ordinary") as caught:
        future.result(20)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert 'raise KeyError("ordinary")' in str(cause)
    assert "wren/worker" not in str(cause)


CLIENT = """
import os, sys, time
import wren
executor = wren.local_executor(workers=2)
def run(path):
    open(path, "w").write(str(os.getpid()))
    import re; re.match(r"(a+)+$", "a" * 64 + "b")   # busy in C
executor.map(run, [sys.argv[1] + "/a", sys.argv[1] + "/b"])
print("started", flush=True)
time.sleep(1000)
"""


def test_a_killed_client_leaves_no_worker(tmp_path: Path, eventually: Eventually) -> None:
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(tmp_path)], stdout=subprocess.PIPE) as client:
        eventually(lambda: {path.name for path in tmp_path.iterdir() if path.read_text()} == {"a", "b"})
        workers = [int(path.read_text()) for path in tmp_path.iterdir()]
        assert all(map(alive, workers))
        client.kill()
    eventually(lambda: not any(map(alive, workers)))


def test_ctrl_c_interrupts_the_caller_and_ends_what_runs(tmp_path: Path, eventually: Eventually) -> None:
    program = """
import os, sys, time, wren
def run(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(1000)
with wren.local_executor(workers=1) as executor:
    executor.map(run, [sys.argv[1] + "/pid", sys.argv[1] + "/never"])
    executor.get_result()
"""
    client = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    eventually(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    worker = int((tmp_path / "pid").read_text())
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=20)
    assert said.rstrip().endswith("KeyboardInterrupt")
    eventually(lambda: not alive(worker))
    assert not (tmp_path / "never").exists()


def test_a_limit_below_what_a_worker_needs_fails_the_call_promptly(executor: wren.FunctionExecutor) -> None:
    # Seen with 1 MiB: the worker was killed before it had claimed the call, which went to the next one, for ever.
    future = executor.call_async(time.sleep, 5, runtime_memory=1)
    with pytest.raises(OutOfMemory, match="runtime_memory of 1 MiB"):
        future.result(20)


def test_a_call_that_stays_below_its_limit_is_left_alone(executor: wren.FunctionExecutor) -> None:
    assert executor.call_async(same, 5, runtime_memory=512).result(20) == 5
