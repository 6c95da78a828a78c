"""Forks, executors that are left or forgotten, and programs that end: nothing runs twice, is lost, or stays behind."""

import gc
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wren
from wren.engine import Engine
from wren.errors import CallCancelled, Unavailable, Undecided, WorkerLost
from wren.spi import Feature

if TYPE_CHECKING:
    from integration.policies.conftest import Platform

Eventually = Callable[[Callable[[], bool]], None]
RunPython = Callable[[str], str]

DIRECT = Feature.DIRECT | Feature.HEARTBEAT
PATIENCE = 20.0


def same(value: int) -> int:
    return value


# ---- forks, in processes of their own


FORK = """
import os, pathlib, signal, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
import wren

def note(name, wait_for=None):
    with open("ran", "a") as file:
        file.write(name + " ")
    while wait_for and not os.path.exists(wait_for):
        time.sleep(0.005)

executor = wren.function_executor(backend="scripted", workers=1)
futures = executor.map(note, [("a", "go"), "b", "c"])
while not os.path.exists("ran"):
    time.sleep(0.005)
HOW_TO_FORK
if child == 0:
    signal.alarm(30)  # ends it if it hangs
    executor.call_async(note, "child").result(20)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
pathlib.Path("go").touch()
assert executor.get_result(futures, timeout=20) == [None] * 3
print(sorted(pathlib.Path("ran").read_text().split()))
"""


@pytest.mark.parametrize(
    "how",
    [
        "child = os.fork()",
        # As another thread holds it for microseconds.
        "with executor._engine._tracker._flights._lock:\n    child = os.fork()",
    ],
    ids=["at any time", "while the flights are locked"],
)
@pytest.mark.usefixtures("platform")
def test_a_forked_child_does_not_run_what_waits_in_its_parent(how: str, run_python: RunPython) -> None:
    assert run_python(FORK.replace("HOW_TO_FORK", how)) == "['a', 'b', 'c', 'child']\n"


# ---- leaving an executor


def test_a_kill_that_fails_keeps_no_other_call_alive_and_hides_no_exception(
    platform: "Platform", eventually: Eventually
) -> None:
    # Given a backend that cannot kill one of three calls
    killed: list[int] = []

    def kill(calls: Sequence[int]) -> None:
        if 0 in calls:
            raise Unavailable("connection refused")
        killed.extend(calls)

    def leave() -> None:
        with platform.executor(features=DIRECT | Feature.KILL) as executor:
            for _ in executor.map(same, range(3)):
                platform.next().accept()
            raise LookupError("the user's")

    platform.on_kill = kill
    # When the executor is left by an exception, Then
    with pytest.raises(LookupError, match="the user's"):
        leave()
    assert killed == [1, 2]
    for delivery in platform.deliveries:
        delivery.fail(CallCancelled("killed"))
    eventually(lambda: platform.closed)


def test_ctrl_c_while_an_executor_waits_at_its_end_drops_what_was_not_invoked(
    platform: "Platform", eventually: Eventually
) -> None:
    # Given an executor that waits for a call that runs, with others that wait for their turn
    killed: list[int] = []
    futures: list[wren.Future[int]] = []

    def leave() -> None:
        with platform.executor(features=DIRECT | Feature.KILL, workers=1) as executor:
            futures.extend(executor.map(same, range(10)))
            first = platform.next()
            first.accept()
            threading.Thread(target=interrupt, args=(threading.get_ident(),), daemon=True).start()

    def interrupt(thread: int) -> None:
        eventually(lambda: waits_at_end(thread))
        signal.pthread_kill(thread, signal.SIGINT)

    platform.on_kill = killed.extend
    # When it is interrupted
    with pytest.raises(KeyboardInterrupt):
        leave()
    # Then
    assert killed == [0]
    assert all(future.cancelled() for future in futures[1:])
    platform.deliveries[0].fail(CallCancelled("killed"))
    assert isinstance(futures[0].exception(PATIENCE), CallCancelled)
    eventually(lambda: platform.closed)
    assert len(platform.deliveries) == 1


def waits_at_end(thread: int) -> bool:
    """Whether the thread is in `Engine.wait`."""
    stack = traceback.walk_stack(sys._current_frames()[thread])
    return any(frame.f_code is Engine.wait.__code__ for frame, _ in stack)


def test_an_executor_that_nobody_has_is_closed_when_its_reducer_is_done(
    platform: "Platform", eventually: Eventually
) -> None:
    # Given an executor that is garbage while its map runs
    def start() -> wren.Future[Any]:
        future: wren.Future[Any] = platform.executor().map_reduce(abs, [-1, -2], sum)[-1]
        return future

    reducer = start()
    gc.collect()
    # When map and reducer are done, Then
    for _ in range(3):
        platform.next().answer()
    assert reducer.result(PATIENCE) == 3
    eventually(lambda: platform.closed)


# ---- what is stored


def test_a_reducer_that_cannot_be_pickled_leaves_nothing_stored(platform: "Platform", eventually: Eventually) -> None:
    lock = threading.Lock()
    with platform.executor() as executor, pytest.raises(TypeError, match="cannot be pickled"):
        executor.map_reduce(len, [b"x" * 200_000], lambda _: lock)
    eventually(lambda: not platform.objects())
    assert not platform.deliveries


def test_a_large_result_whose_answer_was_lost_is_removed(platform: "Platform", eventually: Eventually) -> None:
    # Given a call that has stored its result, and whose answer did not arrive
    def lose() -> BaseException | None:
        with platform.executor() as executor:
            future = executor.call_async(bytes, 3_000_000)
            delivery = platform.next()
            delivery.accept()
            delivery.run()
            assert platform.objects()
            delivery.fail(Undecided("connection reset"))
            return future.exception(PATIENCE)

    # When nobody has its future any more, Then
    assert isinstance(lose(), WorkerLost)
    gc.collect()
    eventually(lambda: not platform.objects())


def test_a_storage_that_is_slow_to_delete_holds_no_other_executor_up(platform: "Platform") -> None:
    # Given an executor whose objects are being removed
    deleting, go_on, ended = threading.Event(), threading.Event(), []

    def delete(operation: str, key: str) -> None:
        if operation == "delete":
            deleting.set()
            ended.append(go_on.wait(PATIENCE))

    def reduce() -> Any:
        with platform.executor(storage="flaky") as executor:
            futures = executor.map_reduce(abs, [-1, -2], sum)
            for _ in futures:
                platform.next().answer()
            return futures[-1].result(PATIENCE)

    platform.on_storage = delete
    assert reduce() == 3
    gc.collect()
    assert deleting.wait(PATIENCE)
    # When another is used meanwhile, Then
    with platform.executor() as executor:
        future = executor.call_async(same, 7)
        platform.next().answer()
        assert future.result(PATIENCE) == 7
    assert not ended
    go_on.set()


# ---- programs that end


@pytest.mark.parametrize(
    ("start", "ran"),
    [
        ("executor.map(note, list('abcd'))", "a b c d"),
        ("executor.map_reduce(note, list('ab'), lambda results: note('reduced'))", "a b reduced"),
    ],
    ids=["map", "map_reduce"],
)
@pytest.mark.usefixtures("platform")
def test_a_program_that_ends_without_waiting_gets_done_what_was_not_handed_over(
    start: str, ran: str, run_python: RunPython, tmp_path: Path
) -> None:
    program = f"""
import wren
def note(name):
    with open("ran", "a") as file:
        file.write(name + " ")
executor = wren.function_executor({{"localhost": {{"path": "store"}}}}, backend="scripted", workers=1)
{start}
print("ended")
"""
    assert run_python(program) == "ended\n"
    assert " ".join(sorted((tmp_path / "ran").read_text().split())) == ran


REFUSED = """
import wren
from wren.engine import _engines
from wren.errors import StorageError
from wren.local.storage import LocalStorage

def refuse(self, bucket, keys):
    raise StorageError("403 forbidden")

def note(name):
    with open("ran", "a") as file:
        file.write(name + " ")

LocalStorage.delete = refuse
made = [wren.function_executor({"localhost": {"path": "store"}}, backend="scripted", workers=1) for _ in range(2)]
first, second = sorted(made, key=lambda executor: list(_engines).index(executor._engine))  # as they have their turns
stored = first.map_reduce(abs, [-1], len)
first.get_result()
second.map(note, ["a", "b"])
print("ended")
"""


@pytest.mark.usefixtures("platform")
def test_an_executor_whose_storage_fails_at_the_end_costs_no_calls_of_others(
    run_python: RunPython, tmp_path: Path
) -> None:
    assert run_python(REFUSED) == "ended\n"
    assert sorted((tmp_path / "ran").read_text().split()) == ["a", "b"]
