"""What the pool decides must never keep a call waiting, whatever it is that it saves by it.

Each test stands for a way in which an earlier state of the code failed.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import wren

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
