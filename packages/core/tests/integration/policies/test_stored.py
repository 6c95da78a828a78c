"""Results that lie in the storage: read many at a time, in their order, and what cannot be read takes nothing along."""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import wren
from wren.errors import BindingError, NoSuchKey, StorageError
from wren.spi import Feature
from wren.wire import result_key

if TYPE_CHECKING:
    from integration.policies.conftest import Platform

PATIENCE = 20.0


class Unloadable(Exception):
    """Of the functions below."""


def listed(value: int) -> list[int]:
    if value == 13:
        raise Unloadable(value)
    return [value]


class Reads:
    """The reads of results: how often each, and how many at the same time."""

    def __init__(self, together: int = 1) -> None:
        self.keys: list[str] = []
        self.refused: set[str] = set()
        self.failing: type[Exception] = StorageError
        self._barrier = threading.Barrier(together, timeout=PATIENCE)  # so many, or none is answered

    def __call__(self, operation: str, key: str) -> None:
        if operation == "get" and "/result/" in key:
            self.keys.append(key)
            if key in self.refused:
                raise self.failing(f"no {key}")
            self._barrier.wait()


@pytest.fixture
def executor(platform: "Platform") -> Iterator[wren.FunctionExecutor]:
    """One whose calls store what they return, and whose statuses are listed."""
    with platform.executor(features=Feature.NONE, storage="flaky") as made:
        yield made


def run(platform: "Platform", executor: wren.FunctionExecutor, count: int) -> "list[wren.Future[list[int]]]":
    futures = executor.map(listed, range(count), calls_per_activation=count)
    delivery = platform.next()
    delivery.accept()
    delivery.run()
    executor.wait(futures, throw_except=False, timeout=PATIENCE)
    return futures


def test_as_many_are_read_at_the_same_time_as_was_asked_for(
    platform: "Platform", executor: wren.FunctionExecutor
) -> None:
    futures = run(platform, executor, 12)
    platform.on_storage = reads = Reads(together=4)
    assert executor.get_result(futures, THREADPOOL_SIZE=4) == [[value] for value in range(12)]
    assert len(set(reads.keys)) == len(reads.keys) == 12
    # What was read is kept
    assert [future.result(0) for future in futures] == [[value] for value in range(12)]
    assert len(reads.keys) == 12


def test_a_future_may_be_given_twice(platform: "Platform", executor: wren.FunctionExecutor) -> None:
    futures = run(platform, executor, 3)
    assert executor.get_result([*futures, futures[1], futures[0]]) == [[0], [1], [2], [1], [0]]


def test_waiting_brings_results_where_that_is_asked_for(platform: "Platform", executor: wren.FunctionExecutor) -> None:
    futures = run(platform, executor, 15)
    platform.on_storage = reads = Reads()
    executor.wait(futures, throw_except=False, download_results=True, THREADPOOL_SIZE=4)
    assert len(reads.keys) == 14
    assert executor.get_result(throw_except=False) == [[value] if value != 13 else None for value in range(15)]
    assert len(reads.keys) == 14


def test_a_result_that_cannot_be_read_is_an_error_in_its_place(
    platform: "Platform", executor: wren.FunctionExecutor
) -> None:
    # Given a storage that has lost one, or does not give it
    futures = run(platform, executor, 15)
    platform.on_storage = reads = Reads()
    header = platform.deliveries[0].header
    reads.refused, reads.failing = {result_key(header.executor, header.job, 5, 0)}, NoSuchKey
    # Then the others are here
    found = executor.get_result(futures, throw_except=False)
    assert found == [[value] if value not in (5, 13) else None for value in range(15)]
    with pytest.raises(NoSuchKey):
        executor.get_result(futures)
    with pytest.raises(NoSuchKey):
        futures[5].result(0)
    assert isinstance(futures[13].exception(0), Unloadable)


def test_what_was_not_answered_is_asked_for_again(platform: "Platform", executor: wren.FunctionExecutor) -> None:
    futures = run(platform, executor, 3)
    platform.on_storage = reads = Reads()
    header = platform.deliveries[0].header
    reads.refused = {result_key(header.executor, header.job, 1, 0)}
    with pytest.raises(StorageError):
        executor.get_result(futures)
    reads.refused = set()
    assert executor.get_result(futures) == [[0], [1], [2]]


@pytest.mark.parametrize("given", [0, -1, None, "many", float("nan")])
def test_a_number_of_threads_is_one_or_more(executor: wren.FunctionExecutor, given: object) -> None:
    with pytest.raises(BindingError, match=r"THREADPOOL_SIZE is .*: give how many threads may read results, 1 or more"):
        executor.get_result(THREADPOOL_SIZE=given)  # type: ignore[arg-type]  # that it is wrong is the point
