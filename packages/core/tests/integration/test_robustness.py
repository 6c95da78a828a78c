"""Nothing hangs, nothing is lost and nobody else is hit, whatever happens at whatever moment.

Each test stands for a way in which an earlier state of the code failed.
"""

import concurrent.futures
import contextlib
import gc
import os
import pickle
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import wren
from wren.errors import (
    BackendError,
    BindingError,
    CallCancelled,
    CallTimeout,
    ConfigError,
    RemoteError,
    WaitTimeout,
    WorkerLost,
)
from wren.spi import Pickled, Stored
from wren.wire import Failure

Eventually = Callable[[Callable[[], bool]], None]


def same(value: Any) -> Any:
    return value


def wait_for(path: Path) -> str:
    path.with_suffix(".started").touch()
    while not path.exists():
        time.sleep(0.002)
    return path.name


def pool_of(size: int) -> Any:
    from wren.local import compute

    return compute._pools[size, None]


# ---- workers under a load of jobs


def test_a_worker_keeps_the_functions_of_all_jobs_that_have_calls_to_come() -> None:
    table = os.urandom(2 << 20)

    def look(index: int) -> int:
        time.sleep(0.0005)
        return table[index]

    with wren.local_executor(workers=2) as executor:
        large = executor.map(look, range(300))
        others = [executor.map(lambda x, n=number: x + n, range(40)) for number in range(20)]
        assert executor.get_result(large) == list(table[:300])
        for number, futures in enumerate(others):
            assert executor.get_result(futures) == list(range(number, number + 40))


def test_workers_killed_at_any_moment_cost_only_the_calls_that_ran(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def count(index: int) -> int:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"%d\n" % index)
        os.close(fd)
        return index

    chance = random.Random(7)
    with wren.local_executor(workers=3) as executor:
        futures = executor.map(count, range(6_000))
        killed = 0
        while not futures[-1].done() and killed < 25:
            for pid in pool_of(3).worker_ids()[:1]:
                with contextlib.suppress(ProcessLookupError):  # it has just ended by the kill before
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
            executor.wait(futures[chance.randrange(6_000)], throw_except=False, timeout=0.02)
        executor.wait(futures, throw_except=False, timeout=60)
    errors = [future.exception(0) for future in futures]
    assert all(error is None or isinstance(error, WorkerLost) for error in errors)
    assert sum(error is not None for error in errors) <= killed
    assert all(future.result() == index for index, future in enumerate(futures) if errors[index] is None)
    ran = log.read_text().split()
    assert len(ran) == len(set(ran))


def test_calls_that_were_failed_as_a_whole_do_not_run_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    # Given a pool that breaks while its worker has calls that it has not begun
    def mark(path: Path) -> None:
        if path.name != "ran-0":  # the first is short: the next come as a batch
            wait_for(tmp_path / "go")
            path.touch()

    with wren.local_executor(workers=1) as executor:
        executor.map(same, range(100))
        executor.get_result()
        futures = executor.map(mark, [tmp_path / f"ran-{index}" for index in range(10)])
        eventually((tmp_path / "go.started").exists)
        pool_of(1)._loop.do(lambda: pool_of(1).broken(RuntimeError("on purpose")))
        # When its calls have failed and other ones run, Then
        assert futures[0].result(20) is None
        for future in futures[1:]:
            with pytest.raises(BackendError, match="on purpose"):
                future.result(20)
        (tmp_path / "go").touch()
        assert executor.call_async(same, 1).result(20) == 1
    assert not list(tmp_path.glob("ran-*"))


def test_many_calls_cancelled_while_the_worker_starts_do_not_wedge_it() -> None:
    with wren.Executor(max_workers=1) as pool:
        with pytest.raises(WorkerLost):
            pool.submit(os._exit, 1).result(20)  # one that other tests have left would be faster than cancelling
        cancelled = 0
        for _ in range(300):
            cancelled += pool.submit(same, 1).cancel()
        assert cancelled
        assert pool.submit(same, 2).result(20) == 2


def test_a_function_that_could_not_be_loaded_may_be_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moody_module.py").write_text(
        "import os\n"
        "def function(x): return x\n"
        "if os.environ.get('MOOD') == 'bad': raise RuntimeError('not in the mood')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import moody_module  # type: ignore[import-not-found]

    with wren.local_executor(workers=1) as executor:
        monkeypatch.setenv("MOOD", "bad")
        with pytest.raises(RemoteError, match="not in the mood"):
            executor.call_async(moody_module.function, 1).result(20)
        monkeypatch.setenv("MOOD", "good")
        assert executor.call_async(moody_module.function, 1).result(20) == 1


def test_a_thread_that_a_call_has_left_does_not_hold_up_the_end_of_its_worker() -> None:
    def leave_a_thread() -> None:
        threading.Thread(target=time.sleep, args=(1000,)).start()

    def break_the_shell() -> None:
        os.closerange(3, 100)

    with wren.local_executor(workers=1) as executor:
        executor.call_async(leave_a_thread, ()).result(20)
        with pytest.raises(WorkerLost):
            executor.call_async(break_the_shell, ()).result(20)


# ---- timeouts and kills hit nobody else


def test_a_timeout_that_comes_as_the_call_ends_does_not_hit_the_next() -> None:
    with wren.local_executor(workers=1) as executor:
        for _ in range(10):
            late = executor.map(time.sleep, [0.05] * 2, timeout=0.05)
            innocent = executor.map(same, range(50))
            assert executor.get_result(innocent, timeout=20) == list(range(50))
            assert all(isinstance(future.exception(20), CallTimeout | None) for future in late)


def test_leaving_one_executor_does_not_hit_calls_of_another() -> None:
    with wren.local_executor(workers=2) as other:
        for _ in range(30):
            innocent = other.map(same, range(100))
            with pytest.raises(KeyError), wren.local_executor(workers=2) as executor:  # noqa: PT012
                executor.map(time.sleep, [0.0005] * 20)
                raise KeyError
            assert other.get_result(innocent, timeout=20) == list(range(100))


@pytest.mark.parametrize("timeout", [1e7, 1e300, float("inf")])
def test_a_timeout_may_be_long(executor: wren.FunctionExecutor, timeout: float) -> None:
    assert executor.call_async(same, 1, timeout=timeout).result(1e300) == 1
    assert executor.get_result(timeout=timeout) == []


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_an_error(executor: wren.FunctionExecutor, timeout: float) -> None:
    with pytest.raises(BindingError, match="timeout is"):
        executor.call_async(same, 1, timeout=timeout)


@pytest.mark.parametrize("workers", [0, -1, 2.5, True, "4"])
def test_workers_must_be_a_number_above_0(workers: Any) -> None:
    with pytest.raises(ConfigError, match="workers is"):
        wren.local_executor(workers=workers)


# ---- what users do in callbacks, and what their objects do


def test_a_callback_may_wait_for_a_reducer(executor: wren.FunctionExecutor) -> None:
    futures = executor.map_reduce(same, [1, 2], sum)
    seen = threading.Event()

    def callback(_: object) -> None:
        assert futures[-1].result(20) == 3
        seen.set()

    futures[0].add_done_callback(callback)
    assert seen.wait(20)
    executor.get_result()


def test_a_callback_that_exits_ends_only_itself(executor: wren.FunctionExecutor) -> None:
    executor.call_async(same, 1).add_done_callback(lambda _: sys.exit(1))
    executor.map_reduce(same, [1, 2], sum)
    assert executor.get_result(timeout=20) == [1, 3]
    seen = threading.Event()
    executor.call_async(same, 1).add_done_callback(lambda _: seen.set())
    assert seen.wait(20)
    executor.get_result()


def test_an_abandoned_iterator_may_be_collected_in_any_thread(tmp_path: Path) -> None:
    with wren.Executor(max_workers=1) as pool:
        for number in range(20):
            results = pool.map(same, range(1_000))
            assert next(results) == 0
            loop: list[Any] = [results]
            loop.append(loop)  # a cycle: the collector finds it, in whatever thread
            del results, loop
            pool_of(1)._loop.do(gc.collect)
            assert pool.submit(same, number).result(20) == number


@pytest.mark.parametrize("value", [Pickled(b"x"), Stored(0), Failure("exception", "E", "m", "t")])
def test_wrens_own_records_are_results_like_any_other(executor: wren.FunctionExecutor, value: Any) -> None:
    future = executor.call_async(same, (value,))
    for _ in range(2):
        got = future.result(20)
        assert type(got) is type(value)
        assert getattr(got, "data", 0) == getattr(value, "data", 0)
    executor.get_result()


class RefusingError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} cannot be set")


def test_an_exception_that_refuses_attributes_arrives_as_itself(executor: wren.FunctionExecutor) -> None:
    def fail() -> NoReturn:
        raise RefusingError(5)

    error = executor.call_async(fail, ()).exception(20)
    assert isinstance(error, RefusingError)
    assert error.args == (5,)
    assert "raise RefusingError(5)" in str(error.__cause__)
    executor.get_result(throw_except=False)


class Buffered:
    """Pickles a buffer in band, as arrays do."""

    def __init__(self, data: Any) -> None:
        self.data = bytes(data)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffered, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [10, 100_000])
def test_buffers_travel_as_arguments_results_and_in_functions(executor: wren.FunctionExecutor, size: int) -> None:
    value = Buffered(os.urandom(size))
    assert executor.call_async(same, value).result(20).data == value.data
    assert executor.call_async(lambda: value, ()).result(20).data == value.data
    executor.get_result()


@pytest.mark.parametrize("how", ["close", "replace", "close descriptor", "alarm"])
def test_what_a_call_does_to_its_process_the_next_does_not_see(how: str) -> None:
    def spoil(how: str) -> None:
        if how == "close":
            sys.stdout.close()
        elif how == "replace":
            sys.stdout = sys.stderr = None
        elif how == "close descriptor":
            os.close(1)
        else:
            signal.setitimer(signal.ITIMER_PROF, 0.001)

    def speak(path: Path) -> str:
        with path.open("w+") as file:
            print("spoken", flush=True)
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
            return file.read()

    import tempfile

    with tempfile.TemporaryDirectory() as folder, wren.local_executor(workers=1) as executor:
        executor.call_async(spoil, how).result(20)
        future = executor.call_async(speak, Path(folder, "file"))
        assert future.result(20) == ""
        assert future.logs == "spoken\n"


# ---- waiting


def test_a_timeout_of_get_result_holds_after_a_failure_too(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def fail_or_wait(path: Path | None) -> str:
        if path is None:
            raise ValueError("second")
        return wait_for(path)

    futures = executor.map(fail_or_wait, [tmp_path / "go", None])
    assert isinstance(futures[1].exception(20), ValueError)
    with pytest.raises(WaitTimeout):
        executor.get_result(timeout=0.05)
    (tmp_path / "go").touch()
    with pytest.raises(ValueError, match="second"):
        executor.get_result(timeout=20)


def test_a_call_has_one_future_wherever_it_is_handed_out(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(same, range(5))
    done, not_done = executor.wait()
    assert not not_done
    assert all(mine is theirs for mine, theirs in zip(futures, done, strict=True))
    standard: list[concurrent.futures.Future[Any]] = [*done]
    assert set(concurrent.futures.as_completed(standard)) == set(futures)
    executor.get_result()


def test_results_that_were_read_one_by_one_are_not_kept() -> None:
    with wren.local_executor(workers=1) as executor:
        for _ in range(200):
            executor.call_async(same, (1,)).result(20)
        assert len(executor._results._jobs) < 50
        assert executor.get_result() == []


def test_map_hands_out_results_as_they_come(tmp_path: Path) -> None:
    def wait_or_not(path: Path | None) -> str:
        return "" if path is None else wait_for(path)

    with wren.Executor(max_workers=2) as pool:
        results = pool.map(wait_or_not, [None, tmp_path / "go"])
        assert next(results) == ""
        (tmp_path / "go").touch()
        assert next(results) == "go"


def test_a_reducer_that_has_not_begun_can_be_cancelled(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    *_, reducer = executor.map_reduce(wait_for, [tmp_path / "go"], len)
    assert reducer.cancel()
    (tmp_path / "go").touch()
    executor.wait(timeout=20, throw_except=False)
    assert reducer.cancelled()
    executor.get_result(throw_except=False)


def test_a_reducer_that_cannot_be_pickled_leaves_nothing_to_wait_for() -> None:
    lock = threading.Lock()
    with wren.local_executor(workers=1) as executor:
        with pytest.raises(TypeError, match="cannot be pickled"):
            executor.map_reduce(same, [1], lambda _: lock)
        assert executor.call_async(same, 1).result(20) == 1


def test_a_cancelled_map_cancels_its_reducer(tmp_path: Path, eventually: Eventually) -> None:
    with wren.local_executor(workers=1) as executor:
        running = executor.call_async(wait_for, tmp_path / "go")
        eventually((tmp_path / "go.started").exists)
        first, reducer = executor.map_reduce(same, [1], len)
        assert first.cancel()
        with pytest.raises(CallCancelled):
            reducer.result(20)
        (tmp_path / "go").touch()
        running.result(20)


# ---- Ctrl-C, forks and ends of programs: in processes of their own

INTERRUPTS = """
import signal, sys, time, random, threading
import wren

def same(x): return x

chance = random.Random(3)
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
done = 0
with wren.local_executor(workers=2) as executor:
    ACTION  # once for what it imports: an interrupted import raises what Python likes
    executor.wait()
    for round in range(150):
        future = None
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.choice((0.0003, 0.002)) * chance.uniform(0.03, 1))
                ACTION
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            done += 1
    assert executor.call_async(same, 1).result(30) == 1
    executor.wait(throw_except=False, timeout=30)
print("interrupted", done > 20)
"""


@pytest.mark.parametrize(
    "action",
    [
        "executor.get_result(executor.map(same, range(200)))",
        "executor.call_async(same, (1,)).result()",
        "[future.cancel() for future in executor.map(same, range(20))]",
        "executor.map_reduce(same, range(5), len)[-1].result()",
        "executor.wait(executor.map(time.sleep, [0.0001] * 10), return_when='ANY_COMPLETED')",
    ],
)
def test_an_interrupt_at_any_moment_leaves_the_executor_usable(action: str, run_python: Callable[..., str]) -> None:
    assert run_python(INTERRUPTS.replace("ACTION", action), measured=False).strip() == "interrupted True"


FORKS = """
import os, sys, tempfile, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
import wren

executor = wren.local_executor(workers=1)
assert executor.call_async(abs, -1).result(20) == 1
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.005)

pending = executor.call_async(wait, "go")
child = os.fork()
if child == 0:
    files = [tempfile.TemporaryFile() for _ in range(40)]  # they get the numbers of the parent's closed descriptors
    try:
        assert executor.call_async(abs, -2).result(20) == 2
        assert isinstance(pending.exception(20), wren.errors.CallLost)
        assert not any(os.fstat(file.fileno()).st_size for file in files)
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
open("go", "w").close()
assert pending.result(20) is None
print(executor.call_async(abs, -3).result(20))
"""


def test_a_forked_child_may_use_its_parents_executor(run_python: Callable[[str], str]) -> None:
    assert run_python(FORKS).strip() == "3"


@pytest.mark.parametrize("make", ["wren.Executor(max_workers=2).submit", "wren.local_executor().call_async"])
def test_a_program_that_ends_without_waiting_gets_its_calls_done(
    make: str, run_python: Callable[[str], str], tmp_path: Path
) -> None:
    program = f"""
import pathlib, time
import wren
def touch(path):
    time.sleep(0.2)
    pathlib.Path(path).touch()
made = {make}
for name in "abc":
    made(touch, "made-" + name)
print("ended")
"""
    assert run_python(program).strip() == "ended"
    assert sorted(path.name for path in tmp_path.glob("made-*")) == ["made-a", "made-b", "made-c"]


def test_a_client_without_standard_descriptors_can_have_workers(
    run_python: Callable[[str], str], tmp_path: Path
) -> None:
    run_python(
        """
import os
for fd in (0, 1, 2):
    os.close(fd)
import wren
value = wren.local_executor(workers=1).call_async(abs, -1).result(20)
open("value", "w").write(str(value))
os._exit(0)
"""
    )
    assert (tmp_path / "value").read_text() == "1"


def test_a_thousand_executors_leave_nothing(run_python: Callable[[str], str]) -> None:
    program = """
import os, threading, time
import wren
def count(): return len(os.listdir("/proc/self/fd")), threading.active_count()
with wren.local_executor(workers=1) as executor:
    executor.call_async(abs, -1).result()
while "wren-cleaner" not in {thread.name for thread in threading.enumerate()}:  # which writes the first records
    time.sleep(0.001)
before = count()
for number in range(1000):
    with wren.local_executor(workers=1) as executor:
        assert executor.call_async(abs, -number).result() == number
until = time.monotonic() + 20
while any(now > then for now, then in zip(count(), before)):  # records of jobs may be written just then
    assert time.monotonic() < until, (count(), before)
print("ok")
"""
    assert run_python(program).strip() == "ok"


def test_workers_that_cannot_be_started_cost_no_descriptors(run_python: Callable[[str], str]) -> None:
    program = """
import os, resource, time
import wren
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
executor = wren.local_executor(workers=30)
executor.map(time.sleep, [0.01] * 100)
executor.get_result(timeout=30)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from wren.local import compute
workers = len(compute._pools[30, None].worker_ids())
assert len(os.listdir("/proc/self/fd")) <= 8 * workers + 12
print("ok")
"""
    assert run_python(program).strip() == "ok"


def test_a_call_that_forks_still_has_its_timeout() -> None:
    def fork_and_spin() -> None:
        if os.fork() == 0:
            return  # the child comes back through the call
        os.wait()
        while True:
            pass

    with wren.local_executor(workers=1) as executor, pytest.raises(CallTimeout):
        executor.call_async(fork_and_spin, (), timeout=0.3).result(20)


class Text(str):
    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("not me")


class WordyError(Exception):
    def __str__(self) -> str:
        return Text("wordy")


def test_an_exception_whose_text_is_of_an_odd_type_arrives(executor: wren.FunctionExecutor) -> None:
    def fail() -> NoReturn:
        raise WordyError

    assert isinstance(executor.call_async(fail, ()).exception(20), WordyError)


def test_a_descriptor_that_a_call_closed_is_not_taken_by_a_users_file(tmp_path: Path) -> None:
    def close_by_file() -> None:
        os.fdopen(1, "wb").close()

    def write(path: Path) -> str:
        with path.open("w+") as file:
            print("spoken", flush=True)
            file.write("written")
            file.seek(0)
            return file.read()

    with wren.local_executor(workers=1) as executor:
        executor.call_async(close_by_file, ()).result(20)
        future = executor.call_async(write, tmp_path / "file")
        assert (future.result(20), future.logs) == ("written", "spoken\n")


class SubmitsWhenPickled:
    def __init__(self, pool: wren.Executor) -> None:
        self.pool = pool

    def __reduce__(self) -> Any:
        return int, (self.pool.submit(same, 3).result(20),)


def test_what_is_pickled_may_submit_itself() -> None:
    with wren.Executor(max_workers=1) as pool:
        assert pool.submit(same, SubmitsWhenPickled(pool)).result(20) == 3


def test_a_reducer_has_its_inputs_also_when_nobody_else_has(tmp_path: Path) -> None:
    def slow(results: list[Any]) -> int:
        time.sleep(0.3)
        return sum(results)

    def start() -> Any:
        return wren.local_executor({"localhost": {"path": str(tmp_path)}}, workers=1).map_reduce(same, [1, 2], slow)[-1]

    reducer = start()
    gc.collect()
    assert reducer.result(20) == 3


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        (
            """
import sys
sys.stderr = None
import wren
print(wren.local_executor(workers=1).map(abs, [-1])[0].result(20))
""",
            "1",
        ),
        (
            """
import wren
executor = wren.local_executor(workers=1)
executor.call_async(abs, -1).add_done_callback(lambda future: print("called", future.result(), flush=True))
""",
            "called 1",
        ),
        (
            """
import os, time, wren
def slow(x): time.sleep(0.3); return x
def reduce(results): open("reduced", "w").write(str(sum(results)))
wren.local_executor({"localhost": {"path": "store"}}, workers=2).map_reduce(slow, range(4), reduce)
import atexit
atexit.register(lambda: None)
""",
            "",
        ),
        (
            """
import os, warnings, wren
warnings.simplefilter("ignore", DeprecationWarning)
executor = wren.local_executor({"localhost": {"path": "store"}}, workers=1)
futures = executor.map_reduce(bytes, [1 << 20], len)
futures[-1].result(20)
child = os.fork()
if child == 0:
    raise SystemExit(0)
os.waitpid(child, 0)
print(len(futures[0].result(20)))
""",
            str(1 << 20),
        ),
        (
            """
import signal, time, wren
executor = wren.local_executor(workers=1)
blocker = executor.call_async(time.sleep, 1)
futures = executor.map(abs, range(500))
more = True
def cancel(*_):
    futures[-1].cancel()
    # Set again at the end: where a handler takes longer than the interval, it would begin within itself for ever.
    signal.setitimer(signal.ITIMER_REAL, 0.0005 * more)
signal.signal(signal.SIGALRM, cancel)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
for future in futures:
    future.add_done_callback(lambda future: None)
more = False
executor.wait(futures, throw_except=False, timeout=30)
print(all(future.done() for future in futures))
""",
            "True",
        ),
        (
            """
import resource, wren
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
executor = wren.local_executor(workers=1)
print(len(executor.call_async(bytes, 3 << 20).result(20)))
""",
            str(3 << 20),
        ),
    ],
    ids=[
        "no stderr",
        "callbacks at the end",
        "map_reduce at the end",
        "a child that ends",
        "a handler that cancels",
        "no large files",
    ],
)
def test_programs(program: str, printed: str, run_python: Callable[[str], str], tmp_path: Path) -> None:
    assert run_python(program).strip() == printed
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    if "reduced" in program:
        assert [(path.name, path.read_text()) for path in stored] == [("reduced", "6")]
    else:
        assert not stored
