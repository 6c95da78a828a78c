"""Checks of `ComputeConformance`: what a backend declares it can, and what it does not declare it cannot."""

from typing import Any

import pytest

from wren.errors import CallCancelled, CallTimeout, Unsupported
from wren.spi import Alive, Compute, Deployment, Exited, Feature, Receipt, Runtime, Storage
from wren.testing import functions
from wren.testing.computes_base import ComputeChecks, Traces
from wren.testing.computes_spi import make_invocation
from wren.testing.functions import Whereabouts
from wren.testing.threads import Running, at_once, many_switches, wait_for

__all__ = ["FeatureChecks"]


class FeatureChecks(ComputeChecks):
    """`submit` and what goes with it, and the flags of `wren.spi.Feature`."""

    # ---- handing over

    def test_submit_does_not_wait_for_the_end_of_calls(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        recorder = self.submit(compute, deployment, storage, functions.late, (1, 2.0))
        assert recorder.find() is None, "submit came back when the call had ended"
        assert recorder.results() == [1]

    def test_threads_may_submit_at_the_same_time(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        def submit(number: int) -> Any:
            return self.submit(compute, deployment, storage, functions.late, (number, 0.1))

        with many_switches():
            recorders = at_once("submit", *(lambda number=number: submit(number) for number in range(8)))
            assert [recorder.results() for recorder in recorders] == [[number] for number in range(8)]
        assert [recorder.strays for recorder in recorders] == [[]] * 8

    def test_what_becomes_of_a_call_is_reported_once(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        together = 20 if Feature.QUEUE in compute.features else 1
        recorders = [
            self.submit(compute, deployment, storage, functions.add, *((call, job) for call in range(together)))
            for job in range(4)
        ]
        for job, recorder in enumerate(recorders):
            assert recorder.results() == [call + job for call in range(together)]
        # A second report would come with another call's, at the latest
        assert self.submit(compute, deployment, storage, functions.late, (5, 0.3)).results() == [5]
        for recorder in recorders:
            direct = list(range(together)) if Feature.DIRECT in compute.features else []
            assert sorted(ended.call for ended in recorder.ended) == direct
            assert recorder.strays == []

    @pytest.mark.parametrize("how", ["sleep", "C"])
    def test_a_backend_ends_a_call_at_its_timeout(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any], traces: Traces, how: str
    ) -> None:
        """By itself: the client that would do it may be gone."""
        arguments = (traces.place, "hanging", how, 2 * self.patience)
        recorder = self.submit(compute, deployment, storage, functions.hang, arguments, timeout=2.0 * self.slow)
        assert isinstance(recorder.wait().error, CallTimeout)
        process = Whereabouts.decode(traces.wait("hanging"))
        wait_for(lambda: process.lives() is not True, "the process of the call is gone", self.patience)

    # ---- DIRECT and HEARTBEAT

    def test_direct_is_declared_truly(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        # A job of a DIRECT backend has no storage here; of any other one it has, and nothing else may bring its end
        recorder = self.submit(compute, deployment, storage, functions.add, (41, 1))
        assert recorder.results() == [42]
        self.submit(compute, deployment, storage, functions.add, (1, 1)).wait()
        assert bool(recorder.ended) == (Feature.DIRECT in compute.features)

    def test_heartbeat_is_declared_truly(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        seconds = 2.0 * self.slow
        recorder = self.submit(compute, deployment, storage, functions.late, (1, seconds), heartbeat=seconds / 10)
        ended = recorder.wait()
        if Feature.HEARTBEAT not in compute.features:
            assert recorder.heartbeats == [], "heartbeats come, but Feature.HEARTBEAT is not declared"
            return
        assert recorder.receipts, "Feature.HEARTBEAT is declared, but nobody says that the call was accepted"
        assert recorder.receipts[0][0] < ended.at
        while_running = [at for at in recorder.heartbeats if recorder.receipts[0][0] <= at <= ended.at]
        assert 3 <= len(while_running) <= 20, f"{len(while_running)} heartbeats came where about 10 were due"

    # ---- WITHDRAW and KILL

    def test_withdraw_is_declared_truly(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any], traces: Traces
    ) -> None:
        names = [f"call{number}" for number in range(12)]
        args = [(traces.place, name, 1.0 * self.slow) for name in names]
        if Feature.WITHDRAW not in compute.features:
            with pytest.raises(Unsupported):
                compute.withdraw(deployment, make_invocation(compute.features, storage, functions.leave, args), [0])
            return
        recorder = self.submit(compute, deployment, storage, functions.leave, *args)
        wait_for(lambda: any(map(traces.count, names)), "a call has begun", self.patience)
        taken = set(compute.withdraw(deployment, recorder.invocation, range(12)))
        assert taken, "none of twelve calls could be taken back"
        ran = set(range(12)) - taken
        assert [recorder.wait(call).result() for call in sorted(ran)] == [names[call] for call in sorted(ran)]
        self.submit(compute, deployment, storage, functions.add, (1, 1)).wait()
        assert {call for call in range(12) if traces.count(names[call])} == ran
        assert {ended.call for ended in recorder.ended} <= ran
        assert list(compute.withdraw(deployment, recorder.invocation, range(12))) == []

    def test_kill_is_declared_truly(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any], traces: Traces
    ) -> None:
        args = [(traces.place, "victim", "C", 2 * self.patience)]
        if Feature.KILL not in compute.features:
            with pytest.raises(Unsupported):
                compute.kill(deployment, make_invocation(compute.features, storage, functions.hang, args), [0])
            return
        recorder = self.submit(compute, deployment, storage, functions.hang, *args)
        process = Whereabouts.decode(traces.wait("victim"))
        assert list(compute.kill(deployment, recorder.invocation, [0])) == [0]
        assert isinstance(recorder.wait().error, CallCancelled)
        wait_for(lambda: process.lives() is not True, "the process of the killed call is gone", self.patience)
        assert list(compute.kill(deployment, recorder.invocation, [0])) == []
        assert self.submit(compute, deployment, storage, functions.add, (1, 1)).results() == [2]

    # ---- PROBE, LOGS and LIST

    def test_probe_is_declared_truly(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any], traces: Traces
    ) -> None:
        if Feature.PROBE not in compute.features:
            with pytest.raises(Unsupported):
                compute.probe(deployment, Receipt("none"))
            return
        recorder = self.submit(compute, deployment, storage, functions.leave, (traces.place, "probed", 2.0 * self.slow))
        receipt = recorder.receipt()
        traces.wait("probed")
        assert compute.probe(deployment, receipt) == Alive()
        recorder.wait()
        wait_for(
            lambda: isinstance(compute.probe(deployment, receipt), Exited),
            "a probe says that it is over",
            self.patience,
        )

    def test_logs_are_declared_truly(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        if Feature.LOGS not in compute.features:
            with pytest.raises(Unsupported):
                compute.logs(deployment, Receipt("none"))
            return
        recorder = self.submit(compute, deployment, storage, functions.say, ("aloud",))
        recorder.wait()
        receipt = recorder.receipt()
        wait_for(
            lambda: "stdout aloud" in compute.logs(deployment, receipt), "the logs have what was printed", self.patience
        )

    def test_list_is_declared_truly(self, compute: Compute[Any]) -> None:
        if Feature.LIST not in compute.features:
            with pytest.raises(Unsupported):
                list(compute.deployments())
            return
        deployment = compute.deploy(Runtime(workers=1), {"WREN_CONFORMANCE": "listed"})
        same = [each for each in compute.deployments() if each.name == deployment.name]
        assert len(same) == 1, f"{deployment.name} is listed {len(same)} times"

        def remove() -> None:
            for each in compute.deployments():
                if each.name == deployment.name:
                    compute.undeploy(each)

        Running(remove).result("undeploying what is listed, while it is listed", self.patience)
        wait_for(
            lambda: deployment.name not in {each.name for each in compute.deployments()},
            "what was undeployed is listed no more",
            self.patience,
        )
