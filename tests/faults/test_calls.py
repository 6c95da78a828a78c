"""What goes wrong in a call, on both backends: that call fails promptly, once, and leaves nothing behind."""

import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import cloudpickle
import pytest

import wren
from wren.errors import CallTimeout, OutOfMemory, RemoteError, SerializationError, WorkerLost

# Workers need not import this module, which would take them longer than some timeouts on a busy machine.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROMPTLY: Final = 10.0  # seconds; a busy machine needs most of them


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("not me")


class Demanding(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def note(path: Path) -> None:
    """Leave a trace of this execution."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%d\n" % os.getpid())
    os.close(fd)
    print("last words", flush=True)


def traces(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def kill_itself(path: Path, number: int) -> None:
    note(path)
    os.kill(os.getpid(), number)
    time.sleep(1000)


def segfault(path: Path) -> None:
    note(path)
    ctypes.string_at(0)


def leave(path: Path, code: int) -> NoReturn:
    note(path)
    os._exit(code)


def leave_by_sys_exit(path: Path, code: int) -> NoReturn:
    note(path)
    sys.exit(code)


def close_descriptors(path: Path) -> None:
    note(path)
    os.closerange(0, 1024)
    time.sleep(1000)


def busy(path: Path) -> NoReturn:
    note(path)
    while True:
        pass


def busy_in_c(path: Path) -> None:
    note(path)
    re.match(r"(a+)+$", "a" * 64 + "b")


def same(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("function", "arguments", "how"),
    [
        pytest.param(kill_itself, (signal.SIGKILL,), r"killed by SIGKILL.*last words", id="SIGKILL"),
        pytest.param(kill_itself, (signal.SIGTERM,), r"killed by SIGTERM", id="SIGTERM"),
        pytest.param(segfault, (), r"killed by SIGSEGV", id="SIGSEGV"),
        pytest.param(leave, (3,), r"exit code 3", id="os._exit"),
        pytest.param(leave, (0,), r"exit code 0", id="os._exit(0)"),
        pytest.param(leave_by_sys_exit, (7,), r"ended by SystemExit: 7", id="sys.exit"),
        pytest.param(close_descriptors, (), r"gone|closed its channel", id="closed descriptors"),
    ],
)
def test_a_lost_call_fails_promptly_and_once(
    executor: wren.FunctionExecutor,
    tmp_path: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    how: str,
    eventually: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
) -> None:
    # Given calls around it that are none of its business
    others = executor.map(same, range(20))
    # When a call loses its process
    start = time.monotonic()
    future = executor.call_async(function, (tmp_path / "trace", *arguments))
    error = future.exception(PROMPTLY)
    # Then it fails as lost, in words that say how, and the rest goes on
    assert time.monotonic() - start < PROMPTLY
    assert isinstance(error, WorkerLost)
    assert not isinstance(error, OutOfMemory)
    assert re.search(how, str(error), re.DOTALL), str(error)
    assert executor.get_result(others) == list(range(20))
    assert executor.call_async(same, 5).result(PROMPTLY) == 5
    (pid,) = traces(tmp_path / "trace")
    eventually(lambda: not alive(pid) or function is leave_by_sys_exit)


@pytest.mark.parametrize("function", [busy, busy_in_c])
def test_a_call_over_its_timeout_is_killed(
    executor: wren.FunctionExecutor,
    tmp_path: Path,
    function: Callable[..., Any],
    eventually: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
) -> None:
    future = executor.call_async(function, tmp_path / "trace", timeout=1.0)
    error = future.exception(PROMPTLY)
    assert isinstance(error, CallTimeout)
    assert "timeout of 1 s" in str(error)
    (pid,) = traces(tmp_path / "trace")
    eventually(lambda: not alive(pid))
    assert executor.call_async(same, 5).result(PROMPTLY) == 5


def a_generator(path: Path) -> Any:
    note(path)
    return (character for character in "abc")


def test_a_result_that_cannot_be_pickled_says_what(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    future = executor.call_async(a_generator, tmp_path / "trace")
    with pytest.raises(SerializationError, match="the result, of type generator, cannot be pickled"):
        future.result(PROMPTLY)
    assert len(traces(tmp_path / "trace")) == 1


def raise_unpicklable(path: Path) -> NoReturn:
    note(path)
    raise Unpicklable("a lock inside")


def raise_demanding(path: Path) -> NoReturn:
    note(path)
    raise Demanding(1, 2)


@pytest.mark.parametrize(
    ("function", "said"), [(raise_unpicklable, "Unpicklable: a lock inside"), (raise_demanding, "1 and 2")]
)
def test_an_exception_that_cannot_travel_arrives_in_words(
    executor: wren.FunctionExecutor, tmp_path: Path, function: Callable[..., Any], said: str
) -> None:
    future = executor.call_async(function, tmp_path / "trace")
    with pytest.raises(RemoteError, match=said) as caught:
        future.result(PROMPTLY)
    assert function.__name__ in str(caught.value.__cause__)
    assert future.logs == "last words\n"
    assert len(traces(tmp_path / "trace")) == 1


def loud(megabytes: int) -> str:
    for _ in range(megabytes):
        print("x" * ((1 << 20) - 1))
    print("the end")
    return "done"


def test_output_of_50_mb_is_cut_in_the_middle(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(loud, 50)
    assert future.result(60) == "done"
    assert future.logs.startswith("xxx")
    assert future.logs.endswith("the end\n")
    assert "bytes left out" in future.logs
    assert len(future.logs) < 2 << 20


def second_time_lucky(folder: Path, index: int) -> int:
    first = folder / str(index)
    if first.exists():
        return index
    first.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


def test_with_retries_a_lost_call_runs_again(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    futures = executor.map(second_time_lucky, [(marks, index) for index in range(5)], retries=1)
    assert executor.get_result(futures, timeout=30) == list(range(5))
