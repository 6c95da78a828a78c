"""Deadlines and signs of life: no call waits for ever, and none is lost for a silence that is not its worker's."""

import ctypes
import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wren import callbacks
from wren.errors import CallLost, ConfigError, OutOfMemory, StorageError, Throttled, Undecided, WorkerLost
from wren.spi import Exited, Feature

if TYPE_CHECKING:
    from integration.policies.conftest import Delivery, Platform

Eventually = Callable[[Callable[[], bool]], None]

DIRECT = Feature.DIRECT | Feature.HEARTBEAT
PATIENCE = 20.0


def same(value: int) -> int:
    return value


def no_examiner() -> bool:
    return not any(thread.name == "wren-examiner" for thread in threading.enumerate())


# ---- the clock


@pytest.mark.parametrize("timeout", [1e10, 10**400], ids=["1e10", "10**400"])
def test_a_timeout_beyond_any_clock_stops_no_other_deadline(platform: "Platform", timeout: float) -> None:
    # Given a call that may run as long as it likes
    with platform.executor(features=Feature.DIRECT) as executor:
        future = executor.call_async(same, 1, timeout=timeout)
        unlimited = platform.next()
        # When another is throttled, Then it is handed over again
        throttled = executor.call_async(same, 2)
        platform.next().fail(Throttled("429"))
        platform.next().answer()
        assert throttled.result(PATIENCE) == 2
        unlimited.answer()
        assert future.result(PATIENCE) == 1


def test_a_start_timeout_beyond_any_clock_stops_no_other_deadline(platform: "Platform") -> None:
    with platform.executor(options={"start_timeout": 1e10}) as executor:
        future = executor.call_async(same, 1)
        platform.next().fail(Throttled("429"))
        platform.next().answer()
        assert future.result(PATIENCE) == 1


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
@pytest.mark.parametrize("key", ["heartbeat", "start_timeout", "sweep"])
def test_an_interval_that_is_not_above_0_is_an_error_of_the_configuration(
    platform: "Platform", key: str, value: float
) -> None:
    with pytest.raises(ConfigError, match=rf"{key} .* is {re.escape(str(value))}: give seconds above 0"):
        platform.executor(options={key: value})


# ---- who is examined


def test_a_call_that_is_accepted_before_its_examination_begins_is_left_alone(
    platform: "Platform", monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    # Given two calls that are late together, for the engine's thread is busy that long, and one examiner
    def serve(delivery: "Delivery") -> None:
        if delivery.call == 1:
            time.sleep(0.2)

    def kill(calls: Sequence[int]) -> None:
        killed.extend(calls)
        platform.deliveries[1].accept()  # while the first is examined

    killed: list[int] = []
    monkeypatch.setattr("wren.flights.EXAMINERS", 1)
    platform.serve, platform.on_kill = serve, kill
    with platform.executor(features=DIRECT | Feature.KILL, options={"start_timeout": 0.1}) as executor:
        futures = executor.map(same, range(2))
        # When the examiner is through with both
        assert isinstance(futures[0].exception(PATIENCE), CallLost)
        eventually(no_examiner)
        # Then
        assert not futures[1].done()
        platform.deliveries[1].answer()
        assert futures[1].result(PATIENCE) == 1
    assert killed == [0]


def test_many_silent_calls_are_examined_at_the_same_time(platform: "Platform") -> None:
    # Given a platform in which killing a call takes as long as killing seven others
    together = threading.Barrier(8)

    def kill(calls: Sequence[int]) -> None:
        together.wait(PATIENCE)

    platform.on_kill = kill
    platform.serve = lambda delivery: delivery.accept()
    with platform.executor(features=DIRECT | Feature.KILL, options={"heartbeat": 0.1}) as executor:
        # When many workers fall silent
        futures = executor.map(same, range(16))
        executor.wait(throw_except=False, timeout=PATIENCE)
        # Then
        assert {type(future.exception(0)) for future in futures} == {WorkerLost}
        assert not together.broken
        assert all("no sign of life" in str(future.exception(0)) for future in futures)


# ---- silences of this process


CLIENT = """
import sys, time, pluggy, wren
from wren.testing import plugged
from wren.testing.fakes import ScriptedCompute

class Behind:
    # Brings signs of life a moment later than the clock runs.
    def __init__(self, report):
        self._report = report
    def heartbeat(self, invocation, *, receiving=False):
        time.sleep(0.05)
        self._report.heartbeat(invocation, receiving=receiving)
    def __getattr__(self, name):
        return getattr(self._report, name)

class Slow(ScriptedCompute):
    name = "slow"
    def submit(self, deployment, invocations, report):
        super().submit(deployment, invocations, Behind(report))

class Hooks:
    @pluggy.HookimplMarker("wren")
    def wren_compute(self):
        return Slow

hooks = Hooks()
with plugged("client", {"wren.compute": {"slow": "__main__:hooks"}}):
    executor = wren.function_executor({"wren": {"heartbeat": 0.3}}, backend="slow")
    futures = executor.map(time.sleep, [3.0, 3.0])
    while not all(future.running() or future.done() for future in futures):
        time.sleep(0.005)
    print("running", flush=True)
    print([future.exception(20) for future in futures])
"""


def test_a_client_that_was_stopped_does_not_take_its_own_silence_for_its_workers(tmp_path: Path) -> None:
    # Given a client whose calls run and give signs of life
    command = [sys.executable, "-W", "error", "-c", CLIENT]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "running\n"
        # When it is stopped for longer than those may be missed, Then
        client.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        client.send_signal(signal.SIGCONT)
        assert client.communicate(timeout=60)[0] == "[None, None]\n"


def test_a_process_that_was_busy_does_not_take_its_own_silence_for_its_workers(
    platform: "Platform", eventually: Eventually
) -> None:
    # Given a call that runs
    looked = threading.Event()
    with platform.executor(options={"heartbeat": 0.4}) as executor:
        future = executor.call_async(same, 1)
        delivery = platform.next()
        delivery.accept()
        # When this process holds the interpreter's lock for longer than signs of life may be missed
        ctypes.PyDLL(None).usleep(1_700_000)
        # Then the call is not lost, although the clock comes before the next one
        callbacks.after(0, looked.set)
        assert looked.wait(PATIENCE)
        eventually(no_examiner)
        assert not future.done()
        delivery.answer()
        assert future.result(PATIENCE) == 1


# ---- storage is the truth, and somebody is asked


def test_a_stored_result_is_found_although_the_storage_did_not_answer_at_first(platform: "Platform") -> None:
    # Given a call whose channel broke after it had stored its result, and a platform that says that it is over
    broke = threading.Event()
    refused: list[str] = []

    def fail_twice(operation: str, key: str) -> None:
        if operation == "list" and broke.is_set() and len(refused) < 2:
            refused.append(key)
            raise StorageError("503 slow down")

    platform.on_storage = fail_twice
    platform.on_probe = lambda: Exited("completed")
    options = {"persist": True, "heartbeat": 0.1}
    with platform.executor(features=DIRECT | Feature.PROBE, storage="flaky", options=options) as executor:
        future = executor.call_async(same, 7)
        delivery = platform.next()
        delivery.accept()
        delivery.run()
        # When the storage does not answer the first two questions, Then
        broke.set()
        delivery.fail(Undecided("connection reset"))
        assert future.result(PATIENCE) == 7
    assert len(refused) == 2


def test_a_call_without_a_deadline_is_asked_for(platform: "Platform") -> None:
    # Given a backend without signs of life, and a call without a timeout
    asked: list[float] = []

    def probe() -> Exited:
        asked.append(time.monotonic())
        return Exited("exit code 137", out_of_memory=True)

    platform.on_probe = probe
    with platform.executor(features=Feature.PROBE, options={"start_timeout": 0.2}) as executor:
        future = executor.call_async(same, 7, timeout=None)
        # When it is gone without a word, Then
        platform.next().accept()
        with pytest.raises(OutOfMemory, match="exit code 137"):
            future.result(PATIENCE)
    assert asked
