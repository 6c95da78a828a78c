"""docs/api.md, "Errors": how a call fails, and that nothing hangs."""

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import wren
from wren.errors import CallTimeout, RemoteError, RemoteTraceback, SerializationError, WorkerLost


def add_one(x: int) -> int:
    return x + 1


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("it stays where it is")


class Unloadable(Exception):
    """Pickled as a class with an argument that it does not take."""

    def __init__(self) -> None:
        super().__init__("too", "many")


class EndsItsPickling(Exception):
    def __reduce__(self) -> NoReturn:
        raise SystemExit(4)


class EndsItsLoading(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (4,)


def failure(executor: wren.FunctionExecutor, function: Callable[..., Any], *args: Any) -> BaseException:
    future = executor.call_async(function, args)
    error = future.exception(20)
    assert error is not None
    executor.get_result(throw_except=False)
    return error


# ---- the user's exception


@pytest.mark.api("The user's exception arrives as itself (classes defined in `__main__` too: `except MyError` works),")
def test_an_exception_of_the_program_is_caught_by_its_class(run_python: Callable[[str], str]) -> None:
    program = """
import wren
class MyError(Exception):
    def __init__(self, code, **more):
        super().__init__(f"code {code}")
        self.code, self.more = code, more
    def __reduce__(self):
        return _made, (self.code, self.more)
def _made(code, more):
    return MyError(code, **more)
class Plain(LookupError):
    pass
def fail(x):
    if x:
        raise MyError(7, reason="mine")
    raise Plain("plain")
with wren.local_executor(workers=1) as executor:
    try:
        executor.call_async(fail, 1).result(20)
    except MyError as error:
        print(error, error.code, error.more)
    try:
        executor.call_async(fail, 0).result(20)
    except Plain as error:
        print(error.args)
    executor.get_result(throw_except=False)
"""
    assert run_python(program).splitlines() == ["code 7 7 {'reason': 'mine'}", "('plain',)"]


@pytest.mark.api("`__cause__` holding the remote traceback's text,")
def test_the_cause_is_the_remote_traceback(executor: wren.FunctionExecutor) -> None:
    def inner(x: int) -> NoReturn:
        raise KeyError(x)

    def outer(x: int) -> None:
        try:
            inner(x)
        except KeyError as error:
            raise ValueError("outer") from error

    error = failure(executor, outer, 3)
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, RemoteTraceback)
    text = str(error.__cause__)
    # With the user's own chain and lines, and nothing of the worker's
    assert "KeyError: 3" in text
    assert 'raise ValueError("outer") from error' in text
    assert text.rstrip().endswith("ValueError: outer")
    assert "wren/worker" not in text


@pytest.mark.api("and with a note (`__notes__`) that names executor, job and call;")
def test_a_note_names_the_call(executor: wren.FunctionExecutor) -> None:
    def fail(x: int) -> NoReturn:
        error = ValueError(x)
        error.add_note("the user's own")
        raise error

    future = executor.map(fail, [1, 2])[1]
    error = future.exception(20)
    for _ in range(2):  # asked again it is the same
        assert getattr(error, "__notes__", []) == [
            "the user's own",
            f"wren: this was call 1 of job {executor.executor_id}/M000",
        ]
        error = future.exception()
    executor.get_result(throw_except=False)


@pytest.mark.api("the printed output is in `.logs`.")
def test_what_a_failed_call_printed_is_in_its_logs(executor: wren.FunctionExecutor) -> None:
    def fail() -> NoReturn:
        print("before")
        raise ValueError("no")

    future = executor.call_async(fail, ())
    assert isinstance(future.exception(20), ValueError)
    assert future.logs == "before\n"
    executor.get_result(throw_except=False)


@pytest.mark.api(
    "An exception that cannot be pickled or loaded arrives as `RemoteError` with type name, message and traceback."
)
@pytest.mark.parametrize(
    ("make", "name", "message"), [(Unpicklable, "Unpicklable", "stays"), (Unloadable, "Unloadable", "('too', 'many')")]
)
def test_an_exception_that_cannot_travel_is_described(
    executor: wren.FunctionExecutor, make: type[Exception], name: str, message: str
) -> None:
    def fail() -> NoReturn:
        raise make() if make is Unloadable else make("it stays")

    error = failure(executor, fail)
    assert isinstance(error, RemoteError)
    assert name in str(error)
    assert message in str(error)
    assert "raise make()" in f"{error}{error.__cause__}"


@pytest.mark.parametrize("make", [EndsItsPickling, EndsItsLoading])
def test_an_exception_that_would_end_the_process_is_described(
    executor: wren.FunctionExecutor, make: type[Exception]
) -> None:
    def fail() -> NoReturn:
        raise make("not like this")

    error = failure(executor, fail)
    assert isinstance(error, RemoteError)
    assert f"{make.__name__}: not like this" in str(error)


# ---- lost workers


def exit_by_system_exit() -> NoReturn:
    raise SystemExit(3)


def exit_by_sys_exit() -> NoReturn:
    sys.exit("with a message")


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def exit_at_once() -> NoReturn:
    print("last words", flush=True)
    os._exit(42)


def segfault() -> None:
    ctypes.string_at(0)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def abort() -> None:
    os.abort()


@pytest.mark.api(
    "`SystemExit`, `KeyboardInterrupt`, `os._exit`, a segfault, the out-of-memory killer, a killed container:",
    "the future fails promptly with `WorkerLost` (exit code or signal, last output) or `OutOfMemory`;",
)
@pytest.mark.parametrize(
    ("end", "says"),
    [
        (exit_by_system_exit, "3"),
        (exit_by_sys_exit, "with a message"),
        (interrupt, "KeyboardInterrupt"),
        (exit_at_once, "exit code 42"),
        (exit_at_once, "last words"),
        (segfault, "SIGSEGV"),
        (kill_itself, "SIGKILL"),
        (abort, "SIGABRT"),
    ],
)
def test_a_call_that_ends_its_process_is_lost_promptly(
    executor: wren.FunctionExecutor, end: Callable[[], Any], says: str
) -> None:
    started = time.monotonic()
    error = failure(executor, end)
    assert time.monotonic() - started < 10
    assert isinstance(error, WorkerLost)
    assert says in str(error)
    # And the executor goes on
    assert executor.call_async(add_one, 1).result(20) == 2
    executor.get_result()


@pytest.mark.api("nothing hangs, ever.")
@pytest.mark.parametrize("end", [exit_by_system_exit, exit_at_once, kill_itself])
def test_a_lost_map_fails_its_reducer_and_a_lost_reducer_itself(
    executor: wren.FunctionExecutor, end: Callable[[], Any]
) -> None:
    def end_with(_: Any) -> Any:
        return end()

    executor.map_reduce(end_with, [1, 2], sum)
    with pytest.raises(WorkerLost):
        executor.get_result(timeout=20)
    executor.map_reduce(add_one, [1, 2], end_with)
    with pytest.raises(WorkerLost):
        executor.get_result(timeout=20)
    executor.wait(throw_except=False, timeout=20)


# ---- timeouts


class SlowToLoad:
    """A function whose unpickling takes longer than anybody waits."""

    def __reduce__(self) -> tuple[Any, ...]:
        return time.sleep, (1000,)

    def __call__(self, x: int) -> int:
        return x


@pytest.mark.api("Loading the function, where the call is its first in a worker, has the same limit.")
def test_a_function_that_is_loaded_for_ever_is_over_its_timeout_too(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(SlowToLoad(), 1, timeout=0.5)
    with pytest.raises(CallTimeout):
        future.result(20)
    executor.get_result(throw_except=False)


def gone(pid: int) -> bool:
    """Whether there is no process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.api("`timeout` (seconds a call may run) kills the call: `CallTimeout`, a `TimeoutError`.")
@pytest.mark.parametrize("start", ["call_async", "map"])
def test_a_call_over_its_timeout_is_killed(
    executor: wren.FunctionExecutor, start: str, tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    def stay(path: Path) -> NoReturn:
        path.write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                time.sleep(1000)
            except BaseException:  # noqa: BLE001 - it is as stubborn as it can be
                continue

    path = tmp_path / "pid"
    future = (
        executor.call_async(stay, path, timeout=0.9)
        if start == "call_async"
        else executor.map(stay, [path], timeout=0.9)[0]
    )
    error = future.exception(20)
    assert isinstance(error, CallTimeout)
    assert isinstance(error, TimeoutError)
    assert "0.9" in str(error)
    # One of the first two workers is its parent's until that one has been told that it may go
    eventually(lambda: gone(int(path.read_text())))
    executor.get_result(throw_except=False)


@pytest.mark.api("`map_reduce`'s timeout holds for reducers too.")
def test_a_reducer_has_the_timeout_too(executor: wren.FunctionExecutor) -> None:
    def stay(results: list[int]) -> None:
        time.sleep(1000)

    # `abs`, as the time in which a worker imports the module of a function is the call's
    futures = executor.map_reduce(abs, [-1, -2], stay, timeout=2)
    assert isinstance(futures[-1].exception(20), CallTimeout)
    assert [future.result() for future in futures[:-1]] == [1, 2]
    executor.get_result(throw_except=False)


# ---- what cannot be pickled


@pytest.mark.api(
    "Arguments that cannot be pickled: an error at the call, naming the argument and why; nothing is invoked."
)
@pytest.mark.parametrize(
    ("element", "says"),
    [
        (("fine", threading.Lock()), r"argument 1 .*of call 1.*lock"),
        ({"first": "fine", "second": threading.Lock()}, r"argument .*second.* of call 1.*lock"),
        ((sys._getframe(), 1), r"argument 0 .*of call 1.*frame"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named(
    executor: wren.FunctionExecutor, element: Any, says: str, tmp_path: Path
) -> None:
    def touch(first: Any, second: Any) -> None:
        (tmp_path / "touched").touch()

    with pytest.raises(SerializationError, match=says):
        executor.map(touch, [(1, 2), element])
    assert executor.get_result() == []
    assert not list(tmp_path.iterdir())


def test_an_error_of_pickling_is_a_type_error() -> None:
    assert issubclass(SerializationError, TypeError)


@pytest.mark.api("Results that cannot be pickled (pickle, then cloudpickle): an error saying what in it cannot.")
def test_a_result_that_cannot_be_pickled_is_an_error_that_says_what_in_it(executor: wren.FunctionExecutor) -> None:
    def locked() -> dict[str, list[Any]]:
        return {"fine": [1], "deep": [2, threading.Lock()]}

    error = failure(executor, locked)
    assert isinstance(error, SerializationError)
    assert "result" in str(error)
    assert "lock" in str(error)


@pytest.mark.api("(pickle, then cloudpickle):")
def test_what_only_cloudpickle_can_pickle_is_a_result(executor: wren.FunctionExecutor) -> None:
    def make(x: int) -> Callable[[int], int]:
        return lambda y: x + y

    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(make(1))
    assert executor.call_async(make, 1).result(20)(2) == 3
    executor.get_result()
