"""Handing calls over: each is sent once and no more, whatever a platform says twice, late or in between."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

import wren
from wren.errors import NotDeployed, Throttled, Unavailable, WorkerLost
from wren.spi import Feature, Invocation
from wren.wire import CallStatus

if TYPE_CHECKING:
    from integration.policies.conftest import Delivery, Platform

Eventually = Callable[[Callable[[], bool]], None]

DIRECT = Feature.DIRECT | Feature.HEARTBEAT
PATIENCE = 20.0


def same(value: int) -> int:
    return value


# ---- places in flight


def test_an_attempt_that_succeeds_late_is_not_tried_again_and_keeps_no_place(platform: "Platform") -> None:
    # Given a call that was given up, and whose next attempt waits behind another call
    with platform.executor(workers=1, retries=1) as executor:
        first, second = executor.call_async(same, 1), executor.call_async(same, 2)
        lost = platform.next()
        lost.fail(WorkerLost("its channel broke"))
        other = platform.next()
        # When it succeeds after all, Then
        lost.answer()
        other.answer()
        assert (first.result(PATIENCE), second.result(PATIENCE)) == (1, 2)
        third = executor.call_async(same, 3)
        platform.next().answer()
        assert third.result(PATIENCE) == 3
    assert [delivery.attempt for delivery in platform.deliveries] == ["A000/0.0", "A001/0.0", "A002/0.0"]


def test_a_call_that_was_withdrawn_makes_room_for_those_that_wait(platform: "Platform") -> None:
    # Given a platform that has one call, which it has not begun
    with platform.executor(features=DIRECT | Feature.WITHDRAW, workers=1) as executor:
        futures = executor.map(same, range(3))
        platform.next()
        # When that is cancelled, Then
        assert futures[0].cancel()
        for number in (1, 2):
            platform.next().answer()
            assert futures[number].result(PATIENCE) == number


def test_a_waiting_call_is_cancelled_at_no_greater_cost_among_many(platform: "Platform") -> None:
    # Given a place for one call, and many that wait
    def cost(waiting: int) -> float:
        with platform.executor(workers=1) as executor:
            futures = executor.map(same, range(waiting))
            first = platform.next()
            first.accept()
            # When they are cancelled one by one
            start = time.process_time()
            cancelled = sum(future.cancel() for future in futures)
            took = time.process_time() - start
            first.answer()
        assert cancelled == waiting - 1
        return took / waiting

    # Then
    assert cost(20_000) < 3 * cost(2_000)


# ---- what a platform refuses


def test_a_call_that_was_throttled_before_is_deployed_again(platform: "Platform") -> None:
    with platform.executor() as executor:
        future = executor.call_async(same, 1)
        platform.next().fail(Throttled("429"))
        platform.next().fail(NotDeployed("gone"))
        platform.next().answer()
        assert future.result(PATIENCE) == 1
    assert platform.deployed == 2


def test_a_call_that_is_throttled_to_the_end_is_unavailable(platform: "Platform") -> None:
    def throttle(delivery: "Delivery") -> None:
        delivery.fail(Throttled("429: too many"))

    platform.serve = throttle
    with platform.executor(options={"start_timeout": 0.3}) as executor:
        error = executor.call_async(same, 1).exception(PATIENCE)
    assert type(error) is Unavailable
    assert str(error) == "429: too many"


def test_a_refusal_of_an_earlier_delivery_is_dropped(platform: "Platform") -> None:
    # Given a call that was refused, and was accepted when it was handed over again
    with platform.executor() as executor:
        future = executor.call_async(same, 1)
        refused = platform.next()
        refused.fail(Throttled("429"))
        again = platform.next()
        again.accept()
        # When the refusal is said once more, Then
        refused.fail(Throttled("429, said twice"))
        assert not future.done()
        again.answer()
        assert future.result(PATIENCE) == 1
    assert len(platform.deliveries) == 2


def test_what_submit_raises_is_said_of_no_call_that_was_taken(platform: "Platform") -> None:
    # Given a backend that posts what it is handed one by one, and raises at one of them
    def serve(delivery: "Delivery") -> None:
        if delivery.call == 1 and not delivery.invocation.delivery:
            raise Throttled("429")
        platform.hand_over(delivery)

    platform.serve = serve
    with platform.executor() as executor:
        # When
        executor.map(same, range(3))
        taken = [platform.next() for _ in range(3)]
        # Then
        assert sorted(delivery.call for delivery in taken) == [0, 1, 2]
        for delivery in taken:
            delivery.answer()
        assert executor.get_result(timeout=PATIENCE) == [0, 1, 2]


def test_a_thread_that_cannot_be_started_fails_no_call_that_runs(
    platform: "Platform", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that can have two threads more, until one call is over
    start, refused = threading.Thread.start, threading.Event()
    started: list[threading.Thread] = []
    ran: list[int] = []

    def start_thread(thread: threading.Thread) -> None:
        if thread.name == "wren-fake":
            started.append(thread)
            if len(started) == 3:
                refused.set()
                raise RuntimeError("can't start new thread")
        start(thread)

    def invoke(invocation: Invocation) -> Sequence[CallStatus]:
        ran.extend(invocation.calls)
        refused.wait(PATIENCE)
        header = invocation.header
        identity = header.executor, header.job, invocation.calls[0], invocation.attempt
        return [CallStatus(*identity, "ok", 1.0, 2.0, b"K\x07.")]

    monkeypatch.setattr(threading.Thread, "start", start_thread)
    platform.invoke = invoke
    with platform.executor() as executor:
        executor.map(same, range(5))
        # When, Then
        assert executor.get_result(timeout=PATIENCE) == [7] * 5
    assert sorted(ran) == [0, 1, 2, 3, 4]


# ---- deployments


def test_reports_return_at_once_while_the_backend_is_deployed_again(platform: "Platform") -> None:
    # Given a platform that has forgotten its deployment while a call runs, and takes its time to make it again
    deploying, go_on, ended = threading.Event(), threading.Event(), []

    def deploy(number: int) -> None:
        if number > 1:
            deploying.set()
            ended.append(go_on.wait(PATIENCE))

    platform.on_deploy = deploy
    with platform.executor() as executor:
        futures = executor.map(same, range(3))
        running, second, third = (platform.next() for _ in futures)
        running.accept()
        second.fail(NotDeployed("gone"))
        assert deploying.wait(PATIENCE)
        # When it says so of another call, in the one thread in which it reports
        third.fail(NotDeployed("gone"))
        # Then the first one's end is told meanwhile
        running.answer()
        assert futures[0].result(PATIENCE) == 0
        assert not ended
        go_on.set()
        platform.next().answer()
        platform.next().answer()
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]
    assert platform.deployed == 2


def test_leaving_by_ctrl_c_does_not_wait_for_a_deployment(platform: "Platform", eventually: Eventually) -> None:
    # Given a backend that is being deployed again
    deploying, go_on, ended = threading.Event(), threading.Event(), []

    def deploy(number: int) -> None:
        if number > 1:
            deploying.set()
            ended.append(go_on.wait(PATIENCE))

    def leave() -> None:
        with platform.executor() as executor:
            futures.append(executor.call_async(same, 1))
            platform.next().fail(NotDeployed("gone"))
            assert deploying.wait(PATIENCE)
            raise KeyboardInterrupt

    platform.on_deploy = deploy
    futures: list[wren.Future[int]] = []
    # When the executor is left, Then
    with pytest.raises(KeyboardInterrupt):
        leave()
    assert futures[0].cancelled()
    assert not ended
    go_on.set()
    eventually(lambda: ended == [True])


def test_a_function_that_is_gone_from_the_storage_is_put_there_again(platform: "Platform") -> None:
    # Given a function that was stored for a job
    ballast = b"x" * 300_000

    def function(value: int) -> tuple[int, int]:
        return value, len(ballast)

    with platform.executor() as executor:
        first = executor.call_async(function, 1)
        platform.next().answer()
        assert first.result(PATIENCE) == (1, len(ballast))
        # When it is cleaned away, Then
        (stored,) = (path for path in platform.objects() if path.parent.name.startswith("functions"))
        stored.unlink()
        second = executor.call_async(function, 2)
        platform.next().answer()
        assert second.result(PATIENCE) == (2, len(ballast))
