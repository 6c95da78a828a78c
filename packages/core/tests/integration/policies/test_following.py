"""A call whose function has returned futures: its attempt is over, and nothing else that comes of it counts."""

import gc
import pickle
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

import wren
from wren import wire
from wren.errors import CallCancelled, WorkerLost
from wren.spi import Feature
from wren.wire import CallStatus, Nested, Returned
from wren.worker.nested import Place

if TYPE_CHECKING:
    from integration.policies.conftest import Delivery, Platform

Eventually = Callable[[Callable[[], bool]], None]

DIRECT = Feature.DIRECT | Feature.HEARTBEAT
PATIENCE = 20.0


def same(value: Any) -> Any:
    return value


def returned(*values: int) -> Returned:
    """What a function returned that has asked for `same(value)` of each."""
    calls = [pickle.dumps(((value,), {})) for value in values]
    places = [(0, call) for call in range(len(values))]
    return Returned(pickle.dumps([Place(call) for call in range(len(values))]), places, [Nested(CODE, calls)])


CODE = pickle.dumps(same)


def nested(delivery: "Delivery", result: bytes) -> CallStatus:
    """The status of a delivery's call that says so."""
    identity = delivery.header.executor, delivery.header.job, delivery.call, delivery.invocation.attempt
    return CallStatus(*identity, "nested", time.time(), time.time(), result, logs="printed")


def encoded(what: Returned) -> bytes:
    return b"".join(wire.encode_returned(what))


GARBAGE: Sequence[bytes] = [
    b"",
    b"garbage",
    encoded(returned(1, 2))[:-1],
    encoded(returned(1, 2)).replace(b'"v":1', b'"v":2'),
    encoded(Returned(pickle.dumps(1), [], [])),
    encoded(Returned(pickle.dumps(1), [(1, 0)], returned(1).jobs)),
    encoded(Returned(pickle.dumps(1), [(0, 7)], returned(1).jobs)),
    encoded(Returned(b"", [(0, 0)], [Nested(CODE, [], inputs=3)])),
    encoded(Returned(b"", [(0, 0)], [Nested(CODE, returned(1).jobs[0].calls, retry_on=b"no pickle")])),
]


@pytest.mark.parametrize("result", GARBAGE)
def test_what_cannot_be_followed_fails_its_call_and_no_other(platform: "Platform", result: bytes) -> None:
    with platform.executor() as executor:
        first, second = executor.map(same, [1, 2])
        delivery = platform.next()
        platform.serve = lambda each: each.answer()
        delivery.report.status(delivery.invocation, nested(delivery, result))
        platform.next().answer()
        assert first.exception(PATIENCE) is not None
        assert first.logs == "printed"
        assert second.result(PATIENCE) == 2


def test_what_comes_after_it_is_dropped(platform: "Platform") -> None:
    # Given a call of which it was said that it returned futures
    with platform.executor() as executor:
        future = executor.call_async(same, "of the function itself")
        delivery = platform.next()
        delivery.report.status(delivery.invocation, nested(delivery, encoded(returned(1, 2))))
        inner = [platform.next(), platform.next()]
        # When it is said again, and that it has a result, and that it was lost
        delivery.report.status(delivery.invocation, nested(delivery, encoded(returned(3, 4))))
        delivery.answer()
        delivery.fail(WorkerLost("it was not"))
        assert not future.done()
        # Then the first counts, once
        for each in inner:
            each.answer()
        assert future.result(PATIENCE) == [1, 2]
        assert future.logs == "printed"
    assert [each.header.job for each in platform.deliveries] == ["A000", "M001", "M001"]


def test_it_may_be_said_late_by_an_attempt_that_was_given_up(platform: "Platform", eventually: Eventually) -> None:
    # Given a call that is tried again
    killed: list[Sequence[int]] = []
    platform.on_kill = killed.append
    with platform.executor(features=DIRECT | Feature.KILL, retries=1) as executor:
        future = executor.call_async(same, 1)
        first = platform.next()
        first.fail(WorkerLost("it seems"))
        second = platform.next()
        # When the first attempt has returned futures after all
        first.report.status(first.invocation, nested(first, encoded(returned(5))))
        inner = platform.next()
        # Then the second is ended, and what it says is dropped
        eventually(lambda: killed == [[0]])
        second.answer()
        inner.answer()
        assert future.result(PATIENCE) == [5]


def test_an_executor_that_nobody_has_is_closed_when_the_nested_calls_are_done(
    platform: "Platform", eventually: Eventually
) -> None:
    executor = platform.executor()
    future = executor.call_async(same, 1)
    delivery = platform.next()
    # Given an executor that is garbage before its function has ended
    del executor
    gc.collect()
    delivery.report.status(delivery.invocation, nested(delivery, encoded(returned(5))))
    inner = platform.next()
    assert not platform.closed
    # When the nested call is done, Then
    inner.answer()
    assert future.result(PATIENCE) == [5]
    eventually(lambda: platform.closed)


def test_an_executor_that_was_ended_follows_nothing_more(platform: "Platform") -> None:
    # Given a backend that cannot end a call that runs
    futures: list[wren.Future[int]] = []

    def leave_by_an_exception() -> None:
        with platform.executor() as executor:
            futures.append(executor.call_async(same, 1))
            delivery = platform.next()
            delivery.accept()
            platform.hand_over(delivery)
            raise LookupError

    with pytest.raises(LookupError):
        leave_by_an_exception()
    # When it returns futures later on, Then
    delivery = platform.next()
    delivery.report.status(delivery.invocation, nested(delivery, encoded(returned(5))))
    with pytest.raises(CallCancelled, match="when its executor was ended"):
        futures[0].result(PATIENCE)
    assert len(platform.deliveries) == 1
