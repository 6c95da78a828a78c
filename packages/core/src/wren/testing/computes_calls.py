"""Checks of `ComputeConformance`: what comes back from calls that go well, and from those that raise."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import wren
from wren.errors import RemoteError, RemoteTraceback, SerializationError, WrenError
from wren.spi import Compute, Feature
from wren.testing import functions
from wren.testing.computes_base import ComputeChecks

__all__ = ["CallChecks"]

MIB = 1 << 20


class CallChecks(ComputeChecks):
    """Results, exceptions, output, environment and amounts of data."""

    # ---- results

    def test_a_call_has_its_functions_result(self, executor: wren.FunctionExecutor) -> None:
        assert executor.call_async(functions.add, 41).result(self.patience) == 42

    def test_arguments_come_by_position_and_by_keyword(self, executor: wren.FunctionExecutor) -> None:
        future = executor.call_async(functions.bound, {"first": [1], "second": {"two": 2}})
        assert future.result(self.patience) == ([1], {"two": 2}, "default")

    def test_a_function_may_be_defined_anywhere_and_bring_what_it_refers_to(
        self, executor: wren.FunctionExecutor
    ) -> None:
        offset = 100
        futures = executor.map(lambda x: functions.add(x, offset), range(3))
        assert [future.result(self.patience) for future in futures] == [100, 101, 102]

    def test_results_come_in_the_order_of_the_data(self, executor: wren.FunctionExecutor) -> None:
        # Given calls of which the first ones take longest
        pauses = [(number, 0.2 if number % 10 == 0 else 0.0) for number in range(100)]
        futures = executor.map(functions.late, pauses)
        assert executor.get_result(futures, timeout=4 * self.patience) == list(range(100))

    def test_every_call_of_a_large_map_has_its_result(self, executor: wren.FunctionExecutor) -> None:
        calls = 20 * self.many if Feature.QUEUE in self.plugin.features else self.many
        futures = executor.map(functions.add, range(calls))
        assert executor.get_result(futures, timeout=10 * self.patience) == list(range(1, calls + 1))

    def test_a_reducer_has_all_results(self, executor: wren.FunctionExecutor) -> None:
        futures = executor.map_reduce(functions.add, range(10), functions.total)
        assert futures[-1].result(self.patience) == sum(range(1, 11))

    def test_results_are_not_unpickled_before_they_are_asked_for(self, executor: wren.FunctionExecutor) -> None:
        # Given a result whose unpickling fails, When its call is waited for, Then
        future = executor.call_async(functions.make_touchy, ())
        executor.wait([future], throw_except=False, timeout=self.patience)
        assert future.done()
        with pytest.raises(SerializationError, match="does not want to be unpickled"):
            future.result(self.patience)
        self.still_works(executor)

    def test_two_executors_share_a_deployment(self, config: Mapping[str, Any]) -> None:
        with self.executing(config) as first, self.executing(config) as second:
            futures = [executor.call_async(functions.echo, name) for executor, name in ((first, "a"), (second, "b"))]
            assert [future.result(self.patience) for future in futures] == ["a", "b"]

    # ---- how many at once

    def test_no_more_calls_run_at_once_than_the_executor_allows(self, config: Mapping[str, Any]) -> None:
        with self.executing(config, workers=2) as executor:
            periods = executor.get_result(executor.map(functions.period, [0.3] * 8), timeout=2 * self.patience)
        assert _most_at_once(periods) <= 2

    def test_calls_run_at_the_same_time(self, config: Mapping[str, Any]) -> None:
        with self.executing(config, workers=2) as executor:
            futures = executor.map(functions.period, [1.0 * self.slow] * 2)
            periods = executor.get_result(futures, timeout=2 * self.patience)
        assert _most_at_once(periods) == 2

    def test_no_more_calls_run_at_once_than_the_limit_says(
        self, compute: Compute[Any], executor: wren.FunctionExecutor
    ) -> None:
        limit = compute.limits.concurrency
        if limit is None or limit > 100:
            pytest.skip(f"limits.concurrency is {limit}: nothing that a check can reach")
        futures = executor.map(functions.period, [0.3] * (2 * limit + 2))
        assert _most_at_once(executor.get_result(futures, timeout=4 * self.patience)) <= limit

    # ---- exceptions

    def test_an_exception_comes_as_itself(self, executor: wren.FunctionExecutor) -> None:
        future = executor.call_async(functions.fail, "no such luck")
        with pytest.raises(KeyError, match="no such luck") as raised:
            future.result(self.patience)
        assert type(raised.value) is KeyError

    def test_an_exception_has_the_remote_traceback_as_its_cause(self, executor: wren.FunctionExecutor) -> None:
        error = executor.call_async(functions.fail, "no such luck").exception(self.patience)
        assert error is not None
        assert isinstance(error.__cause__, RemoteTraceback)
        assert "in fail" in str(error.__cause__)

    def test_an_exception_class_may_be_defined_anywhere(self, executor: wren.FunctionExecutor) -> None:
        class Own(Exception):
            pass

        def fail(text: str) -> None:
            raise Own(text)

        with pytest.raises(Own, match="mine"):
            executor.call_async(fail, "mine").result(self.patience)

    def test_an_exception_that_cannot_be_unpickled_is_told(self, executor: wren.FunctionExecutor) -> None:
        with pytest.raises(RemoteError, match=r"Demanding: 1 and 2"):
            executor.call_async(functions.demand, ()).result(self.patience)

    def test_a_result_that_cannot_be_pickled_is_told(self, executor: wren.FunctionExecutor) -> None:
        with pytest.raises(SerializationError, match="lock"):
            executor.call_async(functions.make_lock, ()).result(self.patience)
        self.still_works(executor)

    # ---- output and environment

    def test_what_a_call_prints_is_in_its_logs(self, executor: wren.FunctionExecutor) -> None:
        first, second = executor.map(functions.say, ["one", "two"])
        for future in (first, second):
            future.result(self.patience)
        assert {"stdout one", "stderr one", "descriptor one"} <= set(first.logs.splitlines())
        assert "one" not in second.logs
        assert "stdout two" in second.logs

    def test_what_a_child_process_of_a_call_prints_is_in_its_logs(self, executor: wren.FunctionExecutor) -> None:
        future = executor.call_async(functions.say, "one")
        future.result(self.patience)
        assert "child one" in future.logs

    def test_what_a_call_that_raises_has_printed_is_in_its_logs(self, executor: wren.FunctionExecutor) -> None:
        def fail(text: str) -> None:
            functions.say(text)
            raise ValueError(text)

        future = executor.call_async(fail, "before")
        assert isinstance(future.exception(self.patience), ValueError)
        assert "stdout before" in future.logs

    def test_a_call_has_the_variables_that_it_was_given(self, executor: wren.FunctionExecutor) -> None:
        names = ["WREN_CONFORMANCE", "PATH"]
        future = executor.call_async(functions.variables, (names,), extra_env={"WREN_CONFORMANCE": "1", "PATH": None})
        assert future.result(self.patience) == ["1", None]

    def test_variables_of_a_call_are_not_those_of_the_next(self, config: Mapping[str, Any]) -> None:
        with self.executing(config, workers=1) as executor:
            names = ["WREN_CONFORMANCE", "PATH"]
            executor.call_async(
                functions.variables, (names,), extra_env={"WREN_CONFORMANCE": "1", "PATH": None}
            ).result(self.patience)
            own, path = executor.call_async(functions.variables, (names,)).result(self.patience)
        assert own is None
        assert path is not None

    # ---- amounts

    def test_a_large_argument_arrives_whole(self, executor: wren.FunctionExecutor) -> None:
        data = os.urandom(8 * MIB)
        assert executor.call_async(functions.digest, data).result(2 * self.patience) == hashlib.sha256(data).hexdigest()

    def test_a_large_result_arrives_whole(self, executor: wren.FunctionExecutor) -> None:
        future = executor.call_async(functions.make_bytes, (7, 8 * MIB))
        assert functions.digest(future.result(2 * self.patience)) == functions.digest(functions.make_bytes(7, 8 * MIB))

    def test_a_function_may_close_over_much(self, executor: wren.FunctionExecutor) -> None:
        data = os.urandom(4 * MIB)
        futures = executor.map(lambda salt: functions.digest(data + salt), [b"a", b"b"])
        results = [future.result(2 * self.patience) for future in futures]
        assert results == [hashlib.sha256(data + salt).hexdigest() for salt in (b"a", b"b")]

    def test_arguments_above_the_limit_go_by_the_storage(
        self, compute: Compute[Any], executor: wren.FunctionExecutor
    ) -> None:
        data = os.urandom(_limit(compute.limits.payload, "payload") + 1)
        assert executor.call_async(functions.digest, data).result(2 * self.patience) == hashlib.sha256(data).hexdigest()

    def test_a_function_above_the_limit_goes_by_the_storage(
        self, compute: Compute[Any], executor: wren.FunctionExecutor
    ) -> None:
        data = os.urandom(_limit(compute.limits.payload, "payload") + 1)
        future = executor.call_async(lambda: functions.digest(data), ())
        assert future.result(2 * self.patience) == hashlib.sha256(data).hexdigest()

    def test_a_result_above_the_limit_goes_by_the_storage(
        self, compute: Compute[Any], executor: wren.FunctionExecutor
    ) -> None:
        size = _limit(compute.limits.result, "result") + 1
        assert len(executor.call_async(functions.make_bytes, (7, size)).result(2 * self.patience)) == size

    def test_what_is_above_the_limit_without_such_a_storage_names_the_limit(
        self, compute: Compute[Any], config: Mapping[str, Any]
    ) -> None:
        limit = _limit(compute.limits.payload, "payload")
        data = os.urandom(limit + 1)
        with self.executing(config, storage="memory") as executor, pytest.raises(WrenError) as raised:
            executor.call_async(functions.digest, data).result(self.patience)
        assert str(limit) in str(raised.value).replace(",", "").replace("_", "")


def _limit(limit: int | None, name: str) -> int:
    if limit is None or limit > 64 * MIB:
        pytest.skip(f"limits.{name} is {limit}: nothing that a check can reach")
    return limit


def _most_at_once(periods: Sequence[tuple[float, float]]) -> int:
    """How many of the periods overlap, at most."""
    return max(sum(began <= at < ended for began, ended in periods) for at, _ in periods)
