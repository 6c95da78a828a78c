"""The kit has teeth: each of these backends has a defect that the named check finds, and sound ones pass that check.

The checks run in a pytest of their own, where classes that are called `Case...` are collected: here they are not.
"""

import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final
from xml.etree import ElementTree as ET

import pluggy
import pytest

from wren.errors import BackendError, NotDeployed
from wren.local.compute import LocalCompute
from wren.spi import (
    Alive,
    Check,
    Compute,
    Deployment,
    Exited,
    Feature,
    Invocation,
    Receipt,
    Report,
    Runtime,
    RuntimeInfo,
)
from wren.testing import ComputeConformance, plugged
from wren.testing.activation import Activation
from wren.testing.fakes import PostingCompute, ScriptedCompute
from wren.wire import CallStatus

hookimpl = pluggy.HookimplMarker("wren")

Answer = Receipt | Sequence[CallStatus]


def edited(answer: Answer, edit: Callable[[CallStatus], CallStatus]) -> Answer:
    """An answer whose statuses are changed."""
    return answer if isinstance(answer, Receipt) else [edit(status) for status in answer]


class RunsTwice(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        self._attend(self._start(deployment, invocation, dies=False), lambda: None)
        return super().invoke(deployment, invocation)


class LosesTheLast(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        answer = super().invoke(deployment, invocation)
        last = len(invocation.arguments) - 1
        return answer if isinstance(answer, Receipt) else [each for each in answer if each.call != last]


class SwapsTwo(ScriptedCompute):
    both: ClassVar[threading.Barrier] = threading.Barrier(2)
    results: ClassVar[dict[int, bytes | None]] = {}

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        answer = super().invoke(deployment, invocation)
        call = invocation.calls[0]
        if call > 1 or len(invocation.arguments) < 2 or isinstance(answer, Receipt):
            return answer
        self.results[call] = answer[0].result
        self.both.wait(5)
        return [answer[0]._replace(result=self.results[1 - call])]


class BlocksInSubmit(ScriptedCompute):
    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        before = set(threading.enumerate())
        super().submit(deployment, invocations, report)
        for thread in set(threading.enumerate()) - before:
            thread.join()


class LetsForeignExceptionsEscape(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        try:
            return super().invoke(deployment, invocation)
        except BackendError as error:
            raise error.__cause__ or error from None


class IgnoresTimeouts(ScriptedCompute):
    def _start(self, deployment: Deployment, invocation: Invocation, *, dies: bool) -> Activation:
        return super()._start(deployment, invocation._replace(timeout=None), dies=dies)


class CannotKill(ScriptedCompute):
    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        return calls


class KillsInSilence(ScriptedCompute):
    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        super().kill(deployment, invocation, calls)
        return []


class CanKill(ScriptedCompute):
    features: ClassVar[Feature] = ScriptedCompute.features & ~Feature.KILL


class CannotProbe(ScriptedCompute):
    def probe(self, deployment: Deployment, receipt: Receipt) -> Alive | Exited:
        return Alive()


class HasNoHeartbeat(ScriptedCompute):
    def _attend(self, activation: Activation, beat: Callable[[], None]) -> None:
        super()._attend(activation, lambda: None)


class HasHeartbeat(ScriptedCompute):
    features: ClassVar[Feature] = ScriptedCompute.features & ~Feature.HEARTBEAT


class IsNotDirect(PostingCompute):
    features: ClassVar[Feature] = PostingCompute.features | Feature.DIRECT


class IsDirect(ScriptedCompute):
    features: ClassVar[Feature] = ScriptedCompute.features & ~Feature.DIRECT


class CannotWithdraw(ScriptedCompute):
    features: ClassVar[Feature] = ScriptedCompute.features | Feature.WITHDRAW


class LosesPlatformLogs(ScriptedCompute):
    def logs(self, deployment: Deployment, receipt: Receipt) -> str:
        return ""


class StartsTooManyWorkers(LocalCompute):
    name: ClassVar[str] = "too_many"

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        return super().deploy(runtime._replace(workers=(runtime.workers or 1) + 3), secrets)


class ShowsSecrets(ScriptedCompute):
    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        deployment = super().deploy(runtime, secrets)
        return replace(deployment, url=f"http://{'-'.join(secrets.values())}@127.0.0.1/")


class PassesSecretsInArguments(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        secrets = self._deployed[deployment.name][1]
        command = [sys.executable, "-c", "import time; time.sleep(30)", *secrets.values()]
        with subprocess.Popen(command) as process:
            try:
                return super().invoke(deployment, invocation)
            finally:
                process.kill()


class LogsSecrets(ScriptedCompute):
    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        logging.getLogger("wren.broken").debug("deploying with %s", dict(secrets))
        return super().deploy(runtime, secrets)


class ForgetsSecrets(ScriptedCompute):
    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        return super().deploy(runtime, {})


class DeploysAnew(ScriptedCompute):
    deploys: ClassVar[Iterator[int]] = itertools.count()

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        return super().deploy(runtime._replace(name=str(next(self.deploys))), secrets)


class UndeploysOnce(ScriptedCompute):
    def undeploy(self, deployment: Deployment) -> None:
        if deployment.name not in self._deployed:
            raise NotDeployed(f"{deployment.name} is not there")
        super().undeploy(deployment)


class ListsWhatIsGone(ScriptedCompute):
    def deployments(self) -> Iterator[Deployment]:
        yield from self.made

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.made: list[Deployment] = []

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        self.made.append(super().deploy(runtime, secrets))
        return self.made[-1]


class LosesLogs(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        return edited(super().invoke(deployment, invocation), lambda status: status._replace(logs=""))


class IgnoresEnvironment(ScriptedCompute):
    def _start(self, deployment: Deployment, invocation: Invocation, *, dies: bool) -> Activation:
        bare = invocation._replace(header=invocation.header._replace(env={}))
        return super()._start(deployment, bare, dies=dies)


class ReplacesExceptions(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        def edit(status: CallStatus) -> CallStatus:
            if status.failure is None:
                return status
            pickled = pickle.dumps(RuntimeError(status.failure.message))
            return status._replace(failure=status.failure._replace(pickled=pickled))

        return edited(super().invoke(deployment, invocation), edit)


class DropsTracebacks(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        def edit(status: CallStatus) -> CallStatus:
            return status._replace(failure=status.failure and status.failure._replace(traceback=""))

        return edited(super().invoke(deployment, invocation), edit)


class CutsResults(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        return edited(
            super().invoke(deployment, invocation),
            lambda status: status._replace(result=status.result and status.result[:-1]),
        )


class RetriesByItself(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        first = self._start(deployment, invocation, dies=False)
        self._attend(first, lambda: None)
        return super().invoke(deployment, invocation) if first.lost() else first.statuses()


class DescribesAnotherPython(ScriptedCompute):
    def describe(self, runtime: Runtime) -> RuntimeInfo:
        return super().describe(runtime)._replace(python="3.9")


class DropsModules(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        return super().invoke(deployment, invocation._replace(header=invocation.header._replace(modules=None)))


class DescribesModulesThatItHasNot(ScriptedCompute):
    def describe(self, runtime: Runtime) -> RuntimeInfo:
        return super().describe(runtime)._replace(modules=frozenset({"wren", "wren_conformance_nowhere"}))


class IsNotThreadSafe(ScriptedCompute):
    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        self.current = invocations[-1]
        super().submit(deployment, invocations, report)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        time.sleep(0.02)
        return super().invoke(deployment, self.current)


class HangsOnCrashes(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        answer = super().invoke(deployment, invocation)
        if not isinstance(answer, Receipt) and any(each.failure and each.failure.kind == "lost" for each in answer):
            threading.Event().wait(60)
        return answer


class ReportsTwice(ScriptedCompute):
    def invoke(self, deployment: Deployment, invocation: Invocation) -> Answer:
        answer = super().invoke(deployment, invocation)
        return answer if isinstance(answer, Receipt) else [*answer, *answer]


class CannotBeUsedAgain(ScriptedCompute):
    closed = False

    def close(self) -> None:
        self.closed = True

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        if self.closed:
            raise BackendError("it is closed")
        super().submit(deployment, invocations, report)


class LeaksFiles(ScriptedCompute):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        os.open(os.devnull, os.O_RDONLY)


class ChecksWhatOthersUse(ScriptedCompute):
    def check(self) -> Iterator[Check]:
        self.undeploy(self.deploy(Runtime(workers=4), {}))
        yield Check("deploy", ok=True)


class ChecksAndStaysDeployed(ScriptedCompute):
    def check(self) -> Iterator[Check]:
        self.deploy(Runtime(workers=1), {})
        yield Check("deploy", ok=True)


@dataclass(frozen=True, slots=True)
class Defect:
    """A backend that has one, and the check that finds it."""

    compute: type[Compute[Any]]
    check: str


DEFECTS: Final = [
    Defect(RunsTwice, "test_every_call_runs_once"),
    Defect(LosesTheLast, "test_what_becomes_of_a_call_is_reported_once"),
    Defect(SwapsTwo, "test_results_come_in_the_order_of_the_data"),
    Defect(BlocksInSubmit, "test_submit_does_not_wait_for_the_end_of_calls"),
    Defect(LetsForeignExceptionsEscape, "test_an_unreachable_platform_is_told_in_words"),
    Defect(IgnoresTimeouts, "test_a_backend_ends_a_call_at_its_timeout[sleep]"),
    Defect(CannotKill, "test_kill_is_declared_truly"),
    Defect(KillsInSilence, "test_kill_is_declared_truly"),
    Defect(CanKill, "test_kill_is_declared_truly"),
    Defect(CannotProbe, "test_probe_is_declared_truly"),
    Defect(HasNoHeartbeat, "test_heartbeat_is_declared_truly"),
    Defect(HasHeartbeat, "test_heartbeat_is_declared_truly"),
    Defect(IsNotDirect, "test_direct_is_declared_truly"),
    Defect(IsDirect, "test_direct_is_declared_truly"),
    Defect(CannotWithdraw, "test_withdraw_is_declared_truly"),
    Defect(LosesPlatformLogs, "test_logs_are_declared_truly"),
    Defect(StartsTooManyWorkers, "test_no_more_calls_run_at_once_than_the_executor_allows"),
    Defect(ShowsSecrets, "test_secrets_are_seen_nowhere_else"),
    Defect(PassesSecretsInArguments, "test_secrets_are_seen_nowhere_else"),
    Defect(LogsSecrets, "test_secrets_are_seen_nowhere_else"),
    Defect(ForgetsSecrets, "test_secrets_reach_the_environment_of_calls"),
    Defect(ForgetsSecrets, "test_other_secrets_give_another_deployment"),
    Defect(DeploysAnew, "test_deploying_twice_gives_the_same_deployment"),
    Defect(UndeploysOnce, "test_undeploying_twice_is_no_error"),
    Defect(ListsWhatIsGone, "test_list_is_declared_truly"),
    Defect(LosesLogs, "test_what_a_call_prints_is_in_its_logs"),
    Defect(IgnoresEnvironment, "test_a_call_has_the_variables_that_it_was_given"),
    Defect(ReplacesExceptions, "test_an_exception_comes_as_itself"),
    Defect(DropsTracebacks, "test_an_exception_has_the_remote_traceback_as_its_cause"),
    Defect(CutsResults, "test_a_call_has_its_functions_result"),
    Defect(RetriesByItself, "test_a_lost_call_runs_once_without_retries"),
    Defect(DescribesAnotherPython, "test_describe_tells_the_python_that_calls_run_on"),
    Defect(DropsModules, "test_the_users_modules_travel_with_a_function"),
    Defect(DescribesModulesThatItHasNot, "test_what_is_described_can_be_imported"),
    Defect(IsNotThreadSafe, "test_threads_may_submit_at_the_same_time"),
    Defect(HangsOnCrashes, "test_a_crash_fails_its_call_and_the_next_ones_run[exit-exit code 3]"),
    Defect(ReportsTwice, "test_what_becomes_of_a_call_is_reported_once"),
    Defect(CannotBeUsedAgain, "test_what_is_used_again_after_close_is_opened_again"),
    Defect(ChecksWhatOthersUse, "test_check_leaves_the_deployments_of_others_alone"),
    Defect(ChecksAndStaysDeployed, "test_check_leaves_nothing_behind"),
    Defect(LeaksFiles, "test_executors_leave_nothing_behind"),
]


def sound(kind: type[Compute[Any]]) -> type[Compute[Any]]:
    """The backend that a broken one is made of."""
    return next(base for base in kind.__mro__ if base in {LocalCompute, PostingCompute, ScriptedCompute})


class Hooks:
    """The plugin of a backend."""

    def __init__(self, kind: type[Compute[Any]]) -> None:
        self._kind = kind

    @hookimpl
    def wren_compute(self) -> type[Compute[Any]]:
        return self._kind


class Kit(ComputeConformance):
    many: ClassVar[int] = 10
    slow: ClassVar[float] = 0.5

    @property
    def patience(self) -> float:
        return 6.0  # what is missing never comes

    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path) -> Iterator[None]:
        place = f"{__name__}:{hooks_name(self.plugin)}"
        points = {} if self.plugin is LocalCompute else {"wren.compute": {self.plugin.name: place}}
        with plugged(tmp_path / "site", points):
            yield

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"python": "/nonexistent/python"}


def hooks_name(kind: type[Compute[Any]]) -> str:
    return f"hooks_of_{kind.__name__}"


for each in {kind for defect in DEFECTS for kind in (defect.compute, sound(defect.compute))}:
    case = f"Case{each.__name__}"
    globals()[case] = type(case, (Kit,), {"plugin": each, "__module__": __name__})
    globals()[hooks_name(each)] = Hooks(each)

Outcomes = Mapping[tuple[str, str], str]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What became of each check of each backend: passed, failed, error or skipped."""
    wanted = {(kind.__name__, defect.check) for defect in DEFECTS for kind in (defect.compute, sound(defect.compute))}
    folder = tmp_path_factory.mktemp("kit")
    halves = [sorted(wanted)[part::2] for part in range(2)]
    runs = [start(half, folder / f"report{part}.xml") for part, half in enumerate(halves)]
    said = [run.communicate(timeout=300)[0] for run in runs]
    found = {}
    for part in range(2):
        assert (folder / f"report{part}.xml").exists(), said[part]
        for test in ET.parse(folder / f"report{part}.xml").iter("testcase"):
            key = test.attrib["classname"].rpartition(".Case")[2], test.attrib["name"]
            found[key] = next((child.tag for child in test if not child.tag.startswith("system-")), "passed")
    return found


def start(checks: Sequence[tuple[str, str]], report: Path) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[4]
    options = [
        "-o",
        "python_classes=Case*",
        "-p",
        "no:cacheprovider",
        "-q",
        f"--junitxml={report}",
        f"--rootdir={root}",
    ]
    nodes = [f"{__file__}::Case{name}::{check}" for name, check in checks]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *nodes],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.compute.__name__}-{defect.check}")
def test_a_defect_is_found_by_its_check_which_sound_backends_pass(defect: Defect, outcomes: Outcomes) -> None:
    assert outcomes[sound(defect.compute).__name__, defect.check] == "passed"
    assert outcomes[defect.compute.__name__, defect.check] == "failure"
