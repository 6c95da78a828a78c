"""Checks of `ComputeConformance`: calls that end their process, never end, or must not run twice."""

from typing import Any

import pytest

import wren
from wren.errors import CallTimeout, WorkerLost
from wren.testing import functions
from wren.testing.computes_base import ComputeChecks, Traces
from wren.testing.functions import Whereabouts
from wren.testing.threads import wait_for

__all__ = ["FaultChecks"]


class FaultChecks(ComputeChecks):
    """Crashes, timeouts, and how often a call runs."""

    # ---- crashes

    @pytest.mark.parametrize(("how", "said"), [("exit", "exit code 3"), ("kill", "SIGKILL"), ("segfault", "SIGSEGV")])
    def test_a_crash_fails_its_call_and_the_next_ones_run(
        self, executor: wren.FunctionExecutor, how: str, said: str
    ) -> None:
        with pytest.raises(WorkerLost, match=said):
            executor.call_async(functions.die, how).result(self.patience)
        self.still_works(executor)

    def test_a_crash_tells_the_last_output(self, executor: wren.FunctionExecutor) -> None:
        with pytest.raises(WorkerLost, match="last words"):
            executor.call_async(functions.die, "kill").result(self.patience)

    def test_a_crash_costs_no_other_call(self, executor: wren.FunctionExecutor) -> None:
        crashing = executor.call_async(functions.die, "exit")
        others = executor.map(functions.late, [(number, 0.05) for number in range(8)])
        assert [future.result(self.patience) for future in others] == list(range(8))
        assert isinstance(crashing.exception(self.patience), WorkerLost)

    def test_leaving_by_sys_exit_is_no_crash_of_the_next_call(self, executor: wren.FunctionExecutor) -> None:
        with pytest.raises(WorkerLost, match=r"SystemExit: 7|exit code 7"):
            executor.call_async(functions.die, "sys.exit").result(self.patience)
        self.still_works(executor)

    # ---- timeouts

    @pytest.mark.parametrize("how", ["sleep", "python", "C"])
    def test_a_call_over_its_timeout_is_ended(self, executor: wren.FunctionExecutor, traces: Traces, how: str) -> None:
        future = executor.call_async(
            functions.hang, (traces.place, "hanging", how, 2 * self.patience), timeout=2.0 * self.slow
        )
        with pytest.raises(CallTimeout):
            future.result(self.patience)
        process = Whereabouts.decode(traces.wait("hanging"))
        wait_for(lambda: process.lives() is not True, "the process of the call is gone", self.patience)
        self.still_works(executor)

    def test_a_call_within_its_timeout_is_left_alone(self, executor: wren.FunctionExecutor) -> None:
        future = executor.call_async(functions.late, (1, 0.3), timeout=self.patience)
        assert future.result(self.patience) == 1

    # ---- how often a call runs

    def test_every_call_runs_once(self, executor: wren.FunctionExecutor, traces: Traces) -> None:
        names = [f"call{number}" for number in range(12)]
        futures = executor.map(functions.leave, [(traces.place, name) for name in names])
        assert [future.result(self.patience) for future in futures] == names
        assert {name: traces.count(name) for name in names} == dict.fromkeys(names, 1)

    def test_a_lost_call_runs_once_without_retries(self, executor: wren.FunctionExecutor, traces: Traces) -> None:
        future = executor.call_async(functions.leave_and_die, (traces.place, "lost"))
        assert isinstance(future.exception(self.patience), WorkerLost)
        self.still_works(executor)
        assert traces.count("lost") == 1

    def test_a_lost_call_runs_again_as_often_as_it_may(self, executor: wren.FunctionExecutor, traces: Traces) -> None:
        arguments = [(traces.place, f"call{deaths}", deaths) for deaths in range(3)]
        futures = executor.map(functions.die_at_first, arguments, retries=2)
        assert [future.result(2 * self.patience) for future in futures] == [0, 1, 2]

    def test_a_call_that_is_lost_each_time_fails_after_its_last_retry(
        self, executor: wren.FunctionExecutor, traces: Traces
    ) -> None:
        future = executor.call_async(functions.leave_and_die, (traces.place, "lost"), retries=1)
        assert isinstance(future.exception(2 * self.patience), WorkerLost)
        assert traces.count("lost") == 2

    def test_an_exception_is_no_reason_to_run_again(self, executor: wren.FunctionExecutor, traces: Traces) -> None:
        def fail(place: Any) -> None:
            place.leave("failing")
            raise ValueError("as it should")

        future = executor.call_async(fail, {"place": traces.place}, retries=2)
        assert isinstance(future.exception(self.patience), ValueError)
        assert traces.count("failing") == 1
