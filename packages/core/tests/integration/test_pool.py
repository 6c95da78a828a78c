"""What the pool decides must never keep a call waiting, whatever it is that it saves by it.

Each test stands for a way in which an earlier state of the code failed.
"""

import contextlib
import ctypes
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import wren
from wren.errors import CallTimeout

Eventually = Callable[[Callable[[], bool]], None]

LARGE = 5 << 20  # bytes of a function that not each worker loads for a few short calls


def warm(executor: wren.FunctionExecutor) -> None:
    """Have both workers ready."""
    executor.get_result(executor.map(lambda _: time.sleep(0.02), range(2)))


def meet(folder: Path, name: str, other: str) -> bool:
    """Say that a call has begun, and wait until the other one has, too."""
    (folder / name).touch()
    deadline = time.monotonic() + 10
    while not (folder / other).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


# ---- a large function goes to one worker first


def test_long_calls_of_a_large_function_run_at_the_same_time(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    warm(executor)
    table = bytes(LARGE)
    calls = executor.map(lambda a, b: len(table) > 0 and meet(tmp_path, a, b), [("a", "b"), ("b", "a")])
    assert executor.get_result(calls) == [True, True]


def test_so_do_those_behind_calls_that_were_short(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    # Given a large function of which the first call says that its calls are short
    warm(executor)
    table = bytes(LARGE)

    def call(a: str, b: str) -> bool:
        return a == b or (len(table) > 0 and meet(tmp_path, a, b))

    # When two that are long come behind it, Then neither waits behind the other
    calls = executor.map(call, [("x", "x"), ("a", "b"), ("b", "a"), ("x", "x")])
    assert executor.get_result(calls) == [True] * 4


def test_a_large_functions_calls_go_to_the_worker_that_has_it_when_both_have_nothing(
    executor: wren.FunctionExecutor, eventually: Eventually, tmp_path: Path
) -> None:
    # Given a large function that only the second of two workers has, as the first was busy
    warm(executor)
    table = os.urandom(LARGE)
    for attempt in range(10):
        go, began = tmp_path / f"go {attempt}", tmp_path / f"began {attempt}"

        def block(go: Path = go, began: Path = began) -> bool:
            return meet(began.parent, began.name, go.name)

        def look(index: int, go: Path = go) -> int:
            time.sleep(0.003)
            if index == 2:
                go.touch()
            return table[index]

        busy = executor.call_async(block, ())
        eventually(began.exists)
        # When the first is free again while there are too few calls left for it to load the function
        futures = executor.map(look, range(6))
        executor.wait(futures, timeout=10)
        # Then they do not wait for ever
        assert [future.result(10) for future in futures] == list(table[:6])
        assert busy.result(10)


# ---- time


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("before", [0, 1, 50])
def test_the_call_that_takes_too_long_is_ended_and_no_other(
    executor: wren.FunctionExecutor, before: int, busy: bool
) -> None:
    # Given calls of which one never ends, behind others that may be in its batch, and maybe many of another job
    warm(executor)
    others = executor.map(lambda x: x, range(100_000)) if busy else []
    calls = executor.map(lambda x: time.sleep(60 * x), [0] * before + [1] + [0] * 3, timeout=0.5)
    # Then that one is ended, by its timeout
    executor.wait(calls, timeout=20, throw_except=False)
    assert isinstance(calls.pop(before).exception(0), CallTimeout)
    assert [call.exception(0) for call in calls] == [None] * (before + 3)
    assert executor.get_result(others) == list(range(len(others)))


def test_a_pool_that_has_nothing_to_do_wakes_no_more(executor: wren.FunctionExecutor, eventually: Eventually) -> None:
    def wakes() -> int:
        found = 0
        for thread in threading.enumerate():
            if thread.name == "wren-local":
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends just then
                    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
                    found += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status)))
        return found

    def still() -> bool:
        before = wakes()
        time.sleep(0.3)  # longer than any interval of the pool's
        return wakes() == before

    # Given calls of all kinds
    warm(executor)
    executor.get_result(executor.map(lambda x: x, range(1000), timeout=10))
    assert executor.call_async(len, ("abc",)).result(10) == 3
    # Then
    eventually(still)
    assert executor.call_async(len, ("abc",)).result(10) == 3


# ---- a function that forks, and returns in both


def forked() -> bool:
    return os.fork() > 0


def forked_by_c() -> bool:
    return bool(ctypes.PyDLL(None).fork())


@pytest.mark.parametrize("fork", [forked, forked_by_c])
def test_the_child_of_a_function_that_forks_returns_nothing(fork: Callable[[], bool]) -> None:
    with wren.local_executor(workers=1) as one:
        calls = [one.call_async(do, ()) for do in (fork, os.getpid, fork, os.getpid)]
        first, pid, second, again = one.get_result(calls)
        # Whether no child is left: each has ended, and is its parent's to wait for
        left = one.call_async(lambda: [os.waitpid(-1, 0)[1] for _ in range(2)], ()).result(10)
    assert (first, second, pid == again, left) == (True, True, True, [0, 0])


# ---- a single call is handed over by its caller, who may be interrupted: in a process of its own

INTERRUPTS = """
import os, sys, time
import wren

opcodes = sys.version_info < (3, 12)  # later ones have no events of single steps for code that has run before
data = os.urandom(SIZE)
at = count = 0

def watch(frame, event, arg):
    if any(name in frame.f_code.co_filename for name in FILES):
        frame.f_trace_lines, frame.f_trace_opcodes = not opcodes, opcodes
        return step

def step(frame, event, arg):
    global count
    if event in ("opcode", "line"):
        count += 1
        if count == at:
            raise KeyboardInterrupt
    return step

def interrupted(executor):
    global count
    count = 0
    try:
        sys.settrace(watch)
        executor.call_async(lambda: len(data), ())
        sys.settrace(None)
    except KeyboardInterrupt:
        sys.settrace(None)
        return True
    return False

def both_ready():
    workers = compute._pools[2, None]._workers
    return sum(worker.process.ready and not worker.ending for worker in workers) == 2

def look():
    pool = compute._pools[2, None]
    return len(pool._tasks), len(pool._queue), pool._handing, sum(len(worker.batches) for worker in pool._workers)

with wren.local_executor(workers=2) as executor:
    from wren.local import compute
    executor.get_result(executor.map(time.sleep, [0.01] * 2))
    other = executor.call_async(time.sleep, (0.1,))
    at = FIRST
    rounds = 1
    while interrupted(executor):
        # No other call is lost, and the next ones run
        if other.done():
            assert other.result() is None
            other = executor.call_async(time.sleep, (0.1,))
        assert executor.call_async(len, ("abc",)).result(20) == 3
        while not compute._pools[2, None]._loop.ask(both_ready):
            executor.get_result(executor.map(time.sleep, [0.01] * 2))
        at += EVERY if opcodes else max(1, EVERY // 12)
        rounds += 1
    executor.wait(timeout=20, throw_except=False)
    assert other.result(20) is None
    assert compute._pools[2, None]._loop.ask(look) == (0, 0, None, 0)
    print("interrupted", rounds > (20 if opcodes else 5))
"""


@pytest.mark.parametrize(
    ("files", "size", "first", "every"),
    [
        (("wren/local/loop.py",), 10, 1, 1),
        (("wren/local/loop.py",), 3 << 20, 1, 1),  # what is larger than a pipe waits, so the pipe is watched, too
        (("wren/local/", "wren/worker/stream.py", "wren/worker/shared.py"), 10, 5, 23),
        (("wren/local/", "wren/worker/stream.py", "wren/worker/shared.py"), 3 << 20, 3, 71),
    ],
)
def test_a_caller_who_is_interrupted_between_any_two_steps_costs_nobody_else_a_call(
    run_python: Callable[..., str], files: tuple[str, ...], size: int, first: int, every: int
) -> None:
    program = INTERRUPTS.replace("FILES", repr(files)).replace("SIZE", str(size))
    program = program.replace("FIRST", str(first)).replace("EVERY", str(every))
    assert run_python(program, measured=False).strip() == "interrupted True"
