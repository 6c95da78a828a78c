"""What `check()` tries by itself: each step that can fail is told, and in no case is anything left."""

import math
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren import trials
from wren.errors import BackendError, ConfigError, StorageError
from wren.local.memory import MemoryOptions, MemoryStorage
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.polling import StorageMonitor, StorageMonitorOptions
from wren.spi import Check, Compute, Deployment, Feature, Invocation, Outcomes, Receipt, Report, Runtime, RuntimeInfo
from wren.wire import CallStatus, Failure, State

# ---- storages


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(MemoryOptions("mine"))


def test_a_storage_that_works_has_two_checks(storage: MemoryStorage) -> None:
    objects, clock = storage.check()
    assert (objects.name, objects.ok) == ("objects", True)
    assert objects.detail.startswith("an object was written, read, listed and removed in bucket mine in ")
    assert (clock.name, clock.ok, clock.detail) == ("clock", True, "as here")
    assert list(storage.list("mine")) == []


@pytest.mark.parametrize(
    ("verb", "step"), [("put", "write"), ("head", "read"), ("get", "read"), ("list", "list"), ("delete", "remove")]
)
def test_the_step_that_fails_is_told_with_the_reason(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch, verb: str, step: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StorageError("403")

    monkeypatch.setattr(storage, verb, fail)
    (check,) = storage.check()
    assert (check.name, check.ok, check.detail) == (step, False, "403")
    assert check.cure == "see that the service runs, and that section [memory] is right: `wren config show`"
    if verb != "delete":
        monkeypatch.undo()
        assert list(storage.list("mine")) == []


def test_what_comes_back_changed_is_a_failure(storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "get", lambda *_: b"something else")
    objects, _ = storage.check()
    assert not objects.ok
    assert "did not come back as it was written" in objects.detail


def test_a_foreign_exception_comes_out_and_leaves_nothing(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "get", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(storage.check())
    assert list(storage.list("mine")) == []


@given(st.floats(0, 4e9), st.floats(0, 100), st.floats(-1e6, 1e6))
def test_a_clock_is_off_by_what_is_between_it_and_the_time_around(before: float, took: float, off: float) -> None:
    after = before + took
    end = after if off > 0 else before
    check = trials.clock(before, end + off, after)
    assert check.ok == (abs(end + off - end) <= trials.SKEW)
    assert check.warning != check.ok
    assert bool(check.cure) != check.ok
    assert check.ok or ("ahead of" in check.detail) == (off > 0)


@given(st.floats(0, 4e9), st.floats(0, 100), st.floats(0, 1))
def test_a_clock_that_tells_a_time_between_is_right(before: float, took: float, part: float) -> None:
    assert trials.clock(before, before + took * part, before + took).ok


# ---- the localhost storage's directories


def test_directories_that_were_not_there_are_removed_and_others_stay(tmp_path: Path) -> None:
    # Given a directory of the user's that is empty, and one below it that is not there
    (tmp_path / "mine").mkdir()
    storage = LocalStorage(LocalhostOptions(path=str(tmp_path / "mine" / "not" / "yet"), bucket="a/b"))
    # When
    checks = list(storage.check())
    # Then
    assert [(check.name, check.ok) for check in checks] == [("objects", True), ("clock", True), ("space", True)]
    assert list((tmp_path / "mine").iterdir()) == []


def test_objects_of_others_stay(tmp_path: Path) -> None:
    storage = LocalStorage(LocalhostOptions(path=str(tmp_path / "mine")))
    storage.put("wren", "wren/checks/other", [b"x"])
    list(storage.check())
    assert storage.get("wren", "wren/checks/other") == b"x"


def test_a_directory_that_another_check_has_removed_again_has_the_room_of_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tried = tmp_path / "above" / "objects", trials.try_storage

    def remove_then(storage: Any) -> Any:
        checks = list(tried(storage))
        shutil.rmtree(path)
        return iter(checks)

    monkeypatch.setattr("wren.local.trial.try_storage", remove_then)
    *_, room = LocalStorage(LocalhostOptions(path=str(path))).check()
    assert (room.name, room.ok) == ("space", True)
    assert not path.parent.exists()


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wren.local.trial.ROOM", 1 << 80)
    *_, space = LocalStorage(LocalhostOptions(path=str(tmp_path))).check()
    assert (space.name, space.ok, space.warning) == ("space", False, True)


# ---- the storage monitor


@pytest.mark.parametrize("interval", [1.0, 0.05])
def test_the_storage_monitor_says_how_often_it_lists(interval: float) -> None:
    (check,) = StorageMonitor(StorageMonitorOptions(interval)).check()
    assert check == Check("interval", True, f"statuses are listed every {interval:g} s")


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan])
def test_a_storage_monitor_that_would_list_without_a_pause_cannot_be_made(interval: float) -> None:
    with pytest.raises(ConfigError, match=r"interval in section \[storage\] is .*: give seconds above 0"):
        StorageMonitor(StorageMonitorOptions(interval))


# ---- compute backends

Tell = Callable[[Invocation, Report], None]


def succeed(invocation: Invocation, report: Report) -> None:
    report.succeeded(invocation, Outcomes([0], ["3.11"], [0.0], [1.0]))


def status(failure: Failure | None) -> Tell:
    def tell(invocation: Invocation, report: Report) -> None:
        header = invocation.header
        state: State = "err" if failure else "ok"
        report.status(invocation, CallStatus(header.executor, header.job, 0, 0, state, 0.0, 1.0, b"", failure))

    return tell


def fail(invocation: Invocation, report: Report) -> None:
    report.failed(invocation, [0], BackendError("502"))


def say_nothing(invocation: Invocation, report: Report) -> None:
    report.heartbeat(invocation)


@dataclass(frozen=True, slots=True)
class NoOptions:
    pass


class Platform(Compute[NoOptions]):
    """One that does as a test says, and knows what is deployed."""

    name: ClassVar[str] = "platform"
    options_type: ClassVar[type] = NoOptions
    features: ClassVar[Feature] = Feature.DIRECT

    def __init__(self, tell: Tell = succeed, *, python: str | None = None, broken: str = "") -> None:
        super().__init__(NoOptions())
        self.tell, self.broken = tell, broken
        self.python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
        self.deployed: list[Mapping[str, str]] = []

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        self._break("deploy")
        self.deployed.append(secrets)
        return Deployment("one", runtime, state=secrets)

    def undeploy(self, deployment: Deployment) -> None:
        self.deployed.remove(deployment.state)
        self._break("undeploy")

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        self._break("call")
        (invocation,) = invocations
        report.accepted(invocation, Receipt("one"))
        self.tell(invocation, report)

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        self._break("runtime")
        return RuntimeInfo(self.python, sysconfig.get_platform())

    def _break(self, step: str) -> None:
        if step == self.broken:
            raise BackendError("401")


def names(checks: Iterable[Any]) -> list[tuple[str, bool]]:
    return [(check.name, check.ok or check.warning) for check in checks]


@pytest.mark.parametrize("tell", [succeed, status(None)])
def test_a_backend_that_works_has_run_a_call_and_kept_no_deployment(tell: Tell) -> None:
    platform = Platform(tell)
    assert names(platform.check()) == [("runtime", True), ("call", True), ("clock", True)]
    assert platform.deployed == []


def test_the_call_of_a_check_has_a_deployment_that_nobody_else_has() -> None:
    used: list[Mapping[str, str]] = []

    def look(invocation: Invocation, report: Report) -> None:
        used.extend(platform.deployed)
        succeed(invocation, report)

    platform = Platform(look)
    list(platform.check())
    list(platform.check())
    assert len({each[trials.NONCE] for each in used}) == 2


@pytest.mark.parametrize("step", ["runtime", "deploy", "call", "undeploy"])
def test_the_step_of_a_backend_that_fails_is_told(step: str) -> None:
    platform = Platform(broken=step)
    *_, last = platform.check()
    assert (last.name, last.ok, last.detail) == (step, False, "401")
    assert "section [platform]" in last.cure
    assert platform.deployed == []


@pytest.mark.parametrize(
    ("tell", "said"),
    [
        (fail, "502"),
        (status(Failure("lost", "WorkerLost", "exit code 3", "")), "WorkerLost: exit code 3"),
        (say_nothing, "a call has not ended after 0.05 s"),
    ],
)
def test_a_call_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tell: Tell, said: str) -> None:
    monkeypatch.setattr(trials, "WAIT", 0.05)
    platform = Platform(tell)
    *_, last = platform.check()
    assert (last.name, last.ok, last.detail) == ("call", False, said)
    assert platform.deployed == []


def test_a_runtime_of_another_python_is_a_failure_and_nothing_is_deployed() -> None:
    (check,) = Platform(python="3.9", broken="deploy").check()
    assert not check.ok
    assert check.detail.startswith("Python 3.9 on ")
    assert check.cure.startswith("run this program with Python 3.9, or use a runtime with 3.")


def test_where_results_do_not_come_directly_only_the_runtime_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Platform, "features", Feature.NONE)
    assert names(Platform(broken="deploy").check()) == [("runtime", True)]
