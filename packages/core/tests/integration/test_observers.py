"""Observers: what they are told of jobs and calls, in which order, and that nothing waits for them."""

import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

import wren
from wren.errors import PluginError, PluginNotFound
from wren.spi import CallInfo, JobInfo
from wren.testing import plugged
from wren.testing.functions import add, die, fail

# An observer that keeps what it is told, and does what a test has it do besides.
SPY = """
import threading
import pluggy

hookimpl = pluggy.HookimplMarker("wren")
told, threads, gate = [], set(), threading.Event()
gate.set()

def keep(what):
    gate.wait(60)
    threads.add(threading.current_thread().name)
    told.append(what)

@hookimpl
def wren_job_submitted(job):
    keep(job)

@hookimpl
def wren_call_finished(call):
    keep(call)

@hookimpl
def wren_executor_closed(executor_id):
    keep(executor_id)
"""
# One that raises when it is told of a call.
SORE = """
import pluggy

hookimpl = pluggy.HookimplMarker("wren")
told = []

@hookimpl
def wren_job_submitted():
    told.append("job")

@hookimpl
def wren_call_finished():
    told.append("call")
    raise SystemExit("enough")
"""
OBSERVED: dict[str, Any] = {"wren": {"observers": ["spy"]}}


class Spy(Protocol):
    """The module above."""

    told: list[JobInfo | CallInfo | str]
    threads: set[str]
    gate: threading.Event


Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder with both observers, installed."""
    points = {"wren.observer": {"spy": "wren_spy", "sore": "wren_sore"}, "wren.compute": {}}
    points["wren.compute"] = {name: f"wren.testing.fakes:{name}" for name in ("scripted", "posting")}
    with plugged(tmp_path / "site", points, subprocesses=True) as folder:
        (folder / "wren_spy.py").write_text(SPY, encoding="utf-8")
        (folder / "wren_sore.py").write_text(SORE, encoding="utf-8")
        yield folder


@pytest.fixture
def spy(site: Path) -> Spy:
    module: Any = importlib.import_module("wren_spy")
    return module  # type: ignore[no-any-return]


def jobs(spy: Spy) -> list[JobInfo]:
    return [told for told in spy.told if isinstance(told, JobInfo)]


def calls(spy: Spy) -> list[CallInfo]:
    return [told for told in spy.told if isinstance(told, CallInfo)]


def over(spy: Spy) -> bool:
    """Whether the last word was said."""
    return bool(spy.told) and isinstance(spy.told[-1], str)


# ---- what they are told


def test_a_job_its_calls_and_the_end_of_their_executor_come_in_order(spy: Spy, eventually: Eventually) -> None:
    # Given
    before = time.time()
    # When
    with wren.local_executor(OBSERVED, workers=2) as executor:
        executor.map(add, [1, 2, 3])
        assert executor.get_result() == [2, 3, 4]
    eventually(lambda: over(spy))
    # Then
    job, *ended, closed = spy.told
    assert isinstance(job, JobInfo)
    assert job[:-1] == (executor.executor_id, "M000", "add", "localhost", 3)
    assert before <= job.submitted <= time.time()
    assert closed == executor.executor_id
    assert [call.call for call in calls(spy)] == [0, 1, 2]
    assert len(ended) == 3
    for call in calls(spy):
        assert call.job is job
        assert (call.state, call.attempts, call.error, call.message) == ("done", 1, "", "")
        assert call.started is not None
        assert job.submitted <= call.started <= call.stopped <= time.time()
        assert call.result_bytes
        assert call.argument_bytes
    assert spy.threads == {"wren-observers"}


def test_a_reducer_and_nested_calls_are_jobs_of_their_own(spy: Spy, eventually: Eventually) -> None:
    with wren.local_executor(OBSERVED, workers=2) as executor:
        executor.map_reduce(add, [1, 2], sum)
        assert executor.get_result() == 5
        nested: Any = executor.call_async(describe_more, ()).result()
        assert nested == [2, 3]
    eventually(lambda: over(spy))
    told = [(job.job_id, job.function, job.calls) for job in jobs(spy)]
    assert told[:3] == [("M000", "add", 2), ("R000", "sum", 1), ("A001", "describe_more", 1)]
    assert [(function, count) for _, function, count in told[3:]] == [("called in describe_more", 2)]
    assert len(calls(spy)) == sum(job.calls for job in jobs(spy))


def describe_more() -> list[wren.Future[int]]:
    return wren.local_executor().map(add, [1, 2])


def test_a_job_without_calls_is_told_of(spy: Spy, eventually: Eventually) -> None:
    with wren.local_executor(OBSERVED, workers=2) as executor:
        executor.map(add, [])
        executor.map_reduce(add, [], len)
        assert executor.get_result() == 0
    eventually(lambda: over(spy))
    assert [(job.job_id, job.calls) for job in jobs(spy)] == [("M000", 0), ("M001", 0), ("R001", 1)]
    assert [call.job.job_id for call in calls(spy)] == ["R001"]


def test_failures_are_told_with_their_types_and_what_they_say(spy: Spy, eventually: Eventually, tmp_path: Path) -> None:
    # Given calls that fail in their own way, are lost, and are cancelled before they start
    with wren.Executor(1, config=OBSERVED) as executor:
        future = executor.submit(fail, "no")
        assert isinstance(future.exception(20), KeyError)
        executor.submit(die, "exit").exception(20)
        executor.submit(appear, str(tmp_path / "signal"))
        assert executor.submit(add, 1).cancel()
        (tmp_path / "signal").touch()
    eventually(lambda: over(spy))
    # Then
    failed, lost, done, cancelled = sorted(calls(spy), key=lambda call: call.job.job_id)
    assert (failed.state, failed.error, failed.message, failed.result_bytes) == ("failed", "KeyError", "'no'", None)
    assert (lost.state, lost.error, lost.attempts) == ("failed", "WorkerLost", 1)
    assert "exit code 3" in lost.message
    assert done.state == "done"
    assert (cancelled.state, cancelled.attempts, cancelled.started) == ("cancelled", 0, None)


def test_a_failure_that_was_loaded_is_told_alike(spy: Spy, eventually: Eventually) -> None:
    # Given an observer that looks when the caller has the exception already
    spy.gate.clear()
    with wren.Executor(1, config=OBSERVED) as executor:
        executor.submit(die, "exit").exception(20)
        executor.submit(fail, "no").exception(20)
        spy.gate.set()
    eventually(lambda: over(spy))
    assert {call.error for call in calls(spy)} == {"WorkerLost", "KeyError"}


@pytest.mark.parametrize("backend", ["scripted", "posting"])
def test_a_call_that_ran_again_is_told_of_once(spy: Spy, eventually: Eventually, tmp_path: Path, backend: str) -> None:
    # Given a backend whose statuses come back directly, and one where they are found in the storage
    config: Mapping[str, Any] = {
        **OBSERVED,
        backend: {"script": {"0": ["lost"], "1": ["lost", "lost"]}},
        "storage": {"interval": 0.02},
        "localhost": {"path": str(tmp_path / "storage")},
    }
    # When
    with wren.FunctionExecutor(config, backend=backend, retries=1) as executor:
        futures = executor.map(add, [1, 2, 3])
        executor.wait(futures, throw_except=False, timeout=60)
    eventually(lambda: over(spy))
    # Then
    told = {call.call: call for call in calls(spy)}
    assert len(calls(spy)) == len(told) == 3
    assert [told[call].attempts for call in range(3)] == [2, 2, 1]
    assert [told[call].state for call in range(3)] == ["done", "failed", "done"]
    assert told[1].error == "WorkerLost"
    assert told[1].message
    assert told[0].started is not None
    assert told[0].started <= told[0].stopped


def test_calls_of_a_job_that_goes_on_are_told_of(spy: Spy, eventually: Eventually, tmp_path: Path) -> None:
    # Given a job whose second call waits for somebody who was told of the first
    with wren.local_executor(OBSERVED, workers=2) as executor:
        first, second = executor.map(appear, [str(tmp_path), str(tmp_path / "signal")])
        first.result(20)
        # When
        eventually(lambda: bool(calls(spy)))
        # Then
        assert not second.done()
        (tmp_path / "signal").touch()


def appear(path: str) -> None:
    import os

    while not os.path.exists(path):  # noqa: PTH110 - in a worker
        time.sleep(0.005)


def test_an_executor_that_is_used_again_is_closed_again(spy: Spy, eventually: Eventually) -> None:
    executor = wren.local_executor(OBSERVED, workers=2)
    for times in (1, 2):
        with executor:
            executor.call_async(add, 1).result()
        eventually(lambda times=times: spy.told.count(executor.executor_id) == times)  # type: ignore[misc]
    with wren.local_executor(OBSERVED, workers=2) as unused:
        pass
    executor.call_async(add, 1).result()
    eventually(lambda: len(calls(spy)) == 3)
    assert unused.executor_id not in spy.told


# ---- what they cannot do


def test_an_observer_that_waits_holds_no_call_up(spy: Spy, eventually: Eventually) -> None:
    # Given one that takes no end
    spy.gate.clear()
    # When very many calls run
    with wren.local_executor(OBSERVED, workers=2) as executor:
        futures = executor.map(abs, range(100_000))
        # Then they end, with all that is called then, while it has not even been told of their job
        called = threading.Event()
        futures[-1].add_done_callback(lambda _: called.set())
        assert executor.get_result() == list(range(100_000))
        assert called.wait(20)
        assert not spy.told
    spy.gate.set()
    eventually(lambda: over(spy))
    assert [call.call for call in calls(spy)] == list(range(100_000))


def test_one_that_raises_is_logged_and_left_out(
    spy: Spy, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    sore: Any = importlib.import_module("wren_sore")
    # When
    with wren.local_executor({"wren": {"observers": "sore, spy"}}, workers=2) as executor:
        executor.map(add, [1, 2])
        executor.get_result()
        executor.map(add, [3])
        assert executor.get_result() == [4]
    eventually(lambda: over(spy))
    # Then
    assert sore.told == ["job", "call"]
    assert len(calls(spy)) == 3
    (record,) = [record for record in caplog.records if record.name == "wren.observers"]
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("the observer 'sore' has raised")
    assert record.__dict__["executor"] == executor.executor_id


def test_when_all_have_raised_nothing_is_made_for_them(site: Path, eventually: Eventually) -> None:
    sore: Any = importlib.import_module("wren_sore")
    with wren.local_executor({"wren": {"observers": ["sore"]}}, workers=2) as executor:
        executor.map(add, range(10))
        executor.get_result()
        watches = executor._engine._observers._watches  # type: ignore[union-attr]
        eventually(lambda: bool(sore.told == ["job", "call"] and not watches))
        assert executor.call_async(add, 1).result() == 2
        assert not watches
    assert sore.told == ["job", "call"]


def test_without_observers_there_is_nothing_of_them(run_python: Callable[[str], str]) -> None:
    said = run_python("""if True:
        import sys, threading, wren
        with wren.local_executor(workers=1) as executor:
            executor.map(abs, range(10))
            executor.get_result()
            print("wren.observers" in sys.modules, [t.name for t in threading.enumerate() if "observers" in t.name])
    """)
    assert said == "False []\n"


# ---- the end of a program

WRITER = """
import os, time
import pluggy

hookimpl = pluggy.HookimplMarker("wren")

def write(what):
    with open(os.environ["TOLD"], "a") as file:
        print(what, file=file)

@hookimpl
def wren_job_submitted(job):
    write(f"{os.getpid()} job {job.job_id}")

@hookimpl
def wren_call_finished(call):
    write(f"{os.getpid()} call {call.call} {call.state}")

@hookimpl
def wren_executor_closed():
    write(f"{os.getpid()} closed")
"""


@pytest.fixture
def told(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that an observer of another process writes to."""
    (site / "wren_spy.py").write_text(WRITER, encoding="utf-8")
    monkeypatch.setenv("WREN_WREN__OBSERVERS", "spy")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    return tmp_path / "told"


def test_a_program_that_ends_has_told_all_before(told: Path, run_python: Callable[[str], str]) -> None:
    run_python("import wren; wren.local_executor(workers=1).map(abs, range(3))")
    lines = [line.partition(" ")[2] for line in told.read_text(encoding="utf-8").splitlines()]
    assert lines == ["job M000", "call 0 done", "call 1 done", "call 2 done", "closed"]


def test_what_has_ended_before_an_interrupt_is_told(told: Path, run_python: Callable[..., str]) -> None:
    # Given a program that was interrupted while a call runs, and another has ended
    program = """if True:
        import sys, time, wren
        executor = wren.local_executor(workers=2)
        first, second = executor.map(time.sleep, [0, 600])
        first.result()
        sys.last_type = KeyboardInterrupt  # as the interpreter leaves it
    """
    # When
    run_python(program, measured=False)
    # Then
    assert "call 0 done" in told.read_text(encoding="utf-8")


def test_one_that_never_returns_does_not_keep_the_program(
    told: Path, site: Path, run_python: Callable[[str], str]
) -> None:
    (site / "wren_spy.py").write_text(WRITER.replace("with open", "time.sleep(600)\n    with open"), encoding="utf-8")
    run_python("import wren; wren.local_executor(workers=1).map(abs, range(3))")
    assert not told.exists()


def test_a_forked_child_tells_of_its_own_jobs(told: Path, run_python: Callable[[str], str]) -> None:
    said = run_python("""if True:
        import os, sys, warnings, wren
        warnings.simplefilter("ignore")  # of forking with threads
        executor = wren.local_executor(workers=1)
        executor.call_async(abs, -1).result()
        child = os.fork()
        if not child:
            executor.map(abs, [-1, -2])
            executor.get_result()
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        print(child)
    """)
    lines = [line.split(" ", 1) for line in told.read_text(encoding="utf-8").splitlines()]
    of_the_child = [what for process, what in lines if process == said.strip()]
    assert of_the_child == ["job M001", "call 0 done", "call 1 done", "closed"]
    assert [what for process, what in lines if process != said.strip()] == ["job A000", "call 0 done", "closed"]


# ---- which they are


def test_an_unknown_observer_is_an_error_that_names_the_nearest(site: Path) -> None:
    with pytest.raises(PluginNotFound, match=r"no observer 'spi'; did you mean 'spy'\? \(installed: sore, spy\)"):
        wren.local_executor({"wren": {"observers": ["spi"]}})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param("raise RuntimeError('bad day')", "cannot be loaded: RuntimeError: bad day", id="raises"),
        pytest.param("", "implements none of the hooks wren_job_submitted, wren_call_finished", id="nothing"),
        pytest.param(SPY.replace("wren_call_finished", "wren_call_ended"), "unknown hook 'wren_call_end", id="unknown"),
        pytest.param(SPY.replace("(call)", "(result)"), "result", id="arguments"),
    ],
)
def test_an_observer_that_is_wrong_is_an_error_that_names_its_distribution(site: Path, source: str, said: str) -> None:
    (site / "wren_spy.py").write_text(source, encoding="utf-8")
    with pytest.raises(PluginError, match=r"^the observer 'spy' of plugged-\S+ ") as caught:
        wren.local_executor(OBSERVED)
    assert said in str(caught.value)


def test_a_class_is_no_observer(tmp_path: Path) -> None:
    source = SPY + "class Observer:\n    wren_job_submitted = hookimpl(lambda self, job: None)\n"
    with plugged(tmp_path, {"wren.observer": {"spy": "wren_spy_class:Observer"}}) as folder:
        (folder / "wren_spy_class.py").write_text(source, encoding="utf-8")
        with pytest.raises(PluginError, match="is a class: name an object of it in the entry point"):
            wren.local_executor(OBSERVED)


def test_an_object_is_an_observer(tmp_path: Path, eventually: Eventually) -> None:
    source = (
        "import pluggy\nclass Observer:\n    told = 0\n    @pluggy.HookimplMarker('wren')\n"
        "    def wren_job_submitted(self):\n        self.told += 1\nobserver = Observer()\n"
    )
    with plugged(tmp_path, {"wren.observer": {"spy": "wren_spy_object:observer"}}) as folder:
        (folder / "wren_spy_object.py").write_text(source, encoding="utf-8")
        with wren.local_executor(OBSERVED, workers=2) as executor:
            executor.call_async(add, 1).result()
        eventually(lambda: bool(sys.modules["wren_spy_object"].observer.told == 1))
