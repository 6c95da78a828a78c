"""What monitors bring: nothing is lost by what fails beside it, and nothing forged counts or ends the watching."""

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from wren import wire
from wren.errors import StorageError
from wren.spi import Feature
from wren.worker.run import open_handle

if TYPE_CHECKING:
    from integration.policies.conftest import Delivery, Platform

Eventually = Callable[[Callable[[], bool]], None]

DIRECT = Feature.DIRECT | Feature.HEARTBEAT
PATIENCE = 20.0


def same(value: int) -> int:
    return value


def look_twice(platform: "Platform", eventually: Eventually) -> None:
    """Wait until what is in the storage now has been told, which the second listing from now on comes after."""
    seen = platform.listings
    eventually(lambda: platform.listings >= seen + 2)


# ---- what fails


def test_statuses_that_were_found_before_a_listing_failed_are_told(platform: "Platform") -> None:
    # Given a job of two listings, and all its statuses
    stored = threading.Event()
    refused: list[str] = []

    def fail_once(operation: str, key: str) -> None:
        if operation == "list":
            assert stored.wait(PATIENCE)
            if "status/00001" in key and not refused:
                refused.append(key)
                raise StorageError("503 slow down")

    platform.on_storage = fail_once
    with platform.executor(features=Feature.NONE, storage="flaky") as executor:
        executor.map(same, range(1_001), calls_per_activation=1_001)
        delivery = platform.next()
        delivery.accept()
        delivery.run()
        # When the second listing fails in the round in which the first one finds them
        stored.set()
        # Then
        assert executor.get_result(timeout=PATIENCE) == list(range(1_001))
    assert refused


def test_a_status_that_cannot_be_read_does_not_end_the_watching(platform: "Platform", eventually: Eventually) -> None:
    # Given a storage with a bug, which is met where the failure of a call is read
    failed: list[str] = []

    def raise_foreign(operation: str, key: str) -> None:
        if operation == "get" and "/A000/" in key:
            failed.append(key)
            raise ConnectionResetError("which this storage should have translated")

    platform.on_storage = raise_foreign
    with platform.executor(features=Feature.NONE, storage="flaky", retries=1) as executor:
        first = executor.call_async(same, 1)
        lost = platform.next()
        lost.accept()
        lost.store(lost.lost())
        eventually(lambda: bool(failed))
        # When a call of another job ends, Then
        second = executor.call_async(same, 2)
        ended = platform.next()
        ended.accept()
        ended.run()
        assert second.result(PATIENCE) == 2
        assert isinstance(first.exception(PATIENCE), StorageError)


def test_a_lost_call_is_tried_again_although_its_status_could_not_be_read_at_first(platform: "Platform") -> None:
    refused: list[str] = []

    def fail_once(operation: str, key: str) -> None:
        if operation == "get" and "/status/" in key and not refused:
            refused.append(key)
            raise StorageError("503 slow down")

    platform.on_storage = fail_once
    with platform.executor(features=Feature.NONE, storage="flaky", retries=1) as executor:
        future = executor.call_async(same, 7)
        lost = platform.next()
        lost.accept()
        # When it is lost, and the storage fails once where that is read, Then
        lost.store(lost.lost())
        again = platform.next()
        again.accept()
        again.run()
        assert future.result(PATIENCE) == 7
    assert refused


# ---- what is forged


def status_of(header: wire.Header, **changed: object) -> bytes:
    """A status as JSON, of which anything may be anything."""
    status = {"v": 1, "executor": header.executor, "job": header.job, "call": 0, "attempt": 0, "state": "ok"}
    return json.dumps(status | {"started": 1, "stopped": 1, "result": None, "failure": None} | changed).encode()


@pytest.mark.parametrize(
    "forge",
    [lambda header: status_of(header, job=[]), lambda header: status_of(header, call=None), lambda _: b"[" * 200_000],
    ids=["a job that is a list", "a call that is nothing", "deep"],
)
def test_a_forged_message_does_not_end_the_watching(
    platform: "Platform", forge: Callable[[wire.Header], bytes]
) -> None:
    # Given a call that reports by a monitor
    with platform.executor(features=Feature.NONE, options={"monitor": "socket"}) as executor:
        future = executor.call_async(same, 7)
        delivery = platform.next()
        delivery.accept()
        header = delivery.header
        assert header.reporter is not None
        reporter = open_handle(header.reporter)
        # When somebody else reports before it
        reporter.report(b"\0" * wire.SEAL_SIZE + forge(header))
        status = wire.CallStatus(header.executor, header.job, 0, 0, "ok", 1.0, 2.0, b"K\x07.")
        reporter.report(wire.seal_status(header.mac_key, status))
        reporter.close()
        # Then
        assert future.result(PATIENCE) == 7


def forge_status(delivery: "Delivery", attempt: int, state: wire.State) -> None:
    """Put a status of call 0 into the bucket."""
    header = delivery.header
    delivery.put(wire.status_key(header.executor, header.job, 0, attempt, state), b"forged")


def test_a_forged_status_of_an_attempt_that_never_was_is_no_status(
    platform: "Platform", eventually: Eventually
) -> None:
    with platform.executor(features=Feature.NONE, storage="flaky") as executor:
        future = executor.call_async(same, 7)
        delivery = platform.next()
        delivery.accept()
        forge_status(delivery, 999_999, "ok")
        look_twice(platform, eventually)
        assert not future.done()
        delivery.run()
        assert future.result(PATIENCE) == 7


def test_a_forged_status_does_not_break_the_logs_of_a_call_that_answers(
    platform: "Platform", eventually: Eventually
) -> None:
    with platform.executor(storage="flaky", options={"monitor": "storage"}) as executor:
        future = executor.call_async(same, 7)
        delivery = platform.next()
        delivery.accept()
        forge_status(delivery, 77, "err")
        look_twice(platform, eventually)
        delivery.answer()
        assert future.result(PATIENCE) == 7
        assert future.logs == ""


def test_what_was_sealed_as_a_status_is_not_unpickled_as_a_result(platform: "Platform", eventually: Eventually) -> None:
    # Given a call whose status somebody who can write to the bucket has put in the place of its result
    with platform.executor(features=Feature.NONE, storage="flaky") as executor:
        future = executor.call_async(same, 7)
        delivery = platform.next()
        delivery.accept()
        delivery.run()
        header = delivery.header
        identity = header.executor, header.job, 0, 0
        status = delivery.storage().get(header.bucket, wire.status_key(*identity, "ok"))
        delivery.put(wire.result_key(*identity), status)
        eventually(future.done)
        # When it is asked for, Then
        with pytest.raises(StorageError, match="was not written by its worker"):
            future.result(PATIENCE)
