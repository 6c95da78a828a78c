"""The public fakes do what the script says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import BackendError, ConfigError, Undecided, WorkerLost
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.spi import Feature, Runtime
from wren.testing import plugged
from wren.testing.computes_base import Traces
from wren.testing.computes_spi import Recorder, make_invocation
from wren.testing.fakes import Action, ScriptedCompute, ScriptedOptions
from wren.testing.functions import add, leave

Script = Mapping[str, Sequence[str]]
Make = Callable[[Script], wren.FunctionExecutor]


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(LocalhostOptions(path=str(tmp_path / "storage")))


@pytest.fixture
def traces(storage: LocalStorage) -> Traces:
    return Traces(storage, 20)


@pytest.fixture(params=["scripted", "posting"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes an executor with a script."""
    name = request.param
    points = {"wren.compute": {name: f"wren.testing.fakes:{name}"}}
    config = {"storage": {"interval": 0.02}, "localhost": {"path": str(tmp_path / "storage")}}
    with plugged(tmp_path / "site", points):
        yield lambda script: wren.FunctionExecutor({**config, name: {"script": script}}, backend=name)


def test_what_was_not_delivered_is_handed_over_again(make: Make, traces: Traces) -> None:
    with make({"0": ["throttled", "unavailable"], "M000/1": ["not deployed"], "M001/2": ["refused"]}) as executor:
        names = ["zero", "one", "two"]
        assert executor.get_result(executor.map(leave, [(traces.place, name) for name in names]), timeout=20) == names
    assert [traces.count(name) for name in names] == [1, 1, 1]


def test_a_refused_call_fails_and_others_run(make: Make) -> None:
    with make({"1": ["refused"]}) as executor:
        first, second = executor.map(add, [1, 2])
        assert first.result(20) == 2
        assert type(second.exception(20)) is BackendError


def test_a_lost_call_has_not_run(make: Make, traces: Traces) -> None:
    with make({"0": ["lost"]}) as executor:
        future = executor.call_async(leave, (traces.place, "call"))
        assert isinstance(future.exception(20), WorkerLost)
    assert traces.count("call") == 0


def test_a_lost_call_runs_again_as_its_next_attempt(make: Make, traces: Traces) -> None:
    with make({"0": ["lost", "lost"]}) as executor:
        assert executor.call_async(leave, (traces.place, "call"), retries=2).result(20) == "call"
    assert traces.count("call") == 1


@pytest.mark.parametrize("action", ["twice", "late", "stray"])
def test_odd_statuses_leave_the_result_as_it_is(make: Make, action: str) -> None:
    with make({"0": [action], "1": [action]}) as executor:
        assert executor.get_result(executor.map(add, [1, 2]), timeout=20) == [2, 3]


def test_an_unknown_action_is_an_error_of_the_configuration(make: Make) -> None:
    with pytest.raises(ConfigError, match="script"):
        make({"0": ["explode"]})


@pytest.mark.parametrize(("action", "runs"), [(Action.UNANSWERED, 1), (Action.UNDECIDED, 0)])
def test_an_undecided_call_may_have_run(storage: LocalStorage, traces: Traces, action: Action, runs: int) -> None:
    # Given a platform whose answer is lost, When a call is handed over without an executor, Then
    compute = ScriptedCompute(ScriptedOptions(script={"0": [action]}))
    invocation = make_invocation(Feature.DIRECT, storage, leave, [(traces.place, "call")])
    recorder = Recorder(invocation, storage, 20)
    compute.submit(compute.deploy(Runtime(), {}), [invocation], recorder)
    assert isinstance(recorder.wait().error, Undecided)
    assert traces.count("call") == runs


def test_secrets_are_not_in_what_a_deployment_shows() -> None:
    compute: ScriptedCompute = ScriptedCompute(ScriptedOptions())
    deployment: Any = compute.deploy(Runtime(), {"KEY": "hidden-value"})
    assert "hidden-value" not in repr(deployment)
