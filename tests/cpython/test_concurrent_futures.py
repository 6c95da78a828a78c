"""CPython's own tests of concurrent.futures pass with `wren.Executor` in the place of ProcessPoolExecutor.

Debian packages them, for its own interpreter; `runner.py` runs them there, and here each is a subtest.
"""

import json
import re
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pytest

HERE: Final = Path(__file__).parent
CORE: Final = HERE.parents[1] / "packages" / "core"
PYTHON: Final = "/usr/bin/python3.11"
DEBIAN: Final = ("python3.11", "python3.11-venv", "libpython3.11-testsuite")

# Run side by side: most of the time they sleep.
GROUPS: Final = (
    ("WrenWaitTest", "WrenAsCompletedTest", "WrenProcessPoolShutdownTest"),
    ("WrenProcessPoolExecutorTest", "WrenExecutorDeadlockTest", "WrenInitializerTest", "WrenFailingInitializerTest"),
    ("WrenFutureTests",),
)


class Install(Protocol):
    def __call__(self, *packages: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one of CPython's tests."""

    name: str
    outcome: str  # passed, skipped, failed
    why: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a test does not apply to wren, and what its failure says as long as that holds."""

    reason: str
    says: str  # a regular expression


NO_INITIALIZER: Final = Exclusion("initializer does not exist (docs/api.md)", "unexpected keyword.* 'initializer'")
NO_TASK_LIMIT: Final = Exclusion("max_tasks_per_child does not exist (docs/api.md)", "keyword.* 'max_tasks_per_child'")
NO_CONTEXT: Final = Exclusion(
    "mp_context does not exist (docs/api.md), and it looks at private attributes", "unexpected keyword.* 'mp_context'"
)
LOGGED: Final = Exclusion("what a call prints is in its future's .logs (docs/api.md)", "b'' != b'apple'")
AT_THE_CALL: Final = Exclusion(
    "arguments that cannot be pickled are an error at the call (docs/api.md)",
    "SerializationError: .* cannot be pickled",
)
OTHER_REPR: Final = Exclusion("the repr names executor, job and call", r"<Future at .*<wren\.Future cpython/")


def private(name: str) -> Exclusion:
    return Exclusion(f"{name} is private to ProcessPoolExecutor", f"object has no attribute '{name}'")


EXCLUDED: Final[Mapping[str, Exclusion]] = {
    "WrenInitializerTest.test_initializer": NO_INITIALIZER,
    "WrenFailingInitializerTest.test_initializer": NO_INITIALIZER,
    "WrenProcessPoolExecutorTest.test_max_tasks_early_shutdown": NO_TASK_LIMIT,
    "WrenProcessPoolExecutorTest.test_max_tasks_per_child": NO_TASK_LIMIT,
    "WrenProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": NO_TASK_LIMIT,
    "WrenProcessPoolExecutorTest.test_max_workers_too_large": Exclusion("CPython runs it on Windows only", "^Windows"),
    "WrenProcessPoolExecutorTest.test_idle_process_reuse_one": private("_max_workers"),
    "WrenProcessPoolExecutorTest.test_idle_process_reuse_multiple": private("_max_workers"),
    "WrenProcessPoolExecutorTest.test_saturation": private("_max_workers"),
    "WrenProcessPoolExecutorTest.test_killed_child": private("_processes"),
    "WrenProcessPoolExecutorTest.test_traceback": Exclusion(
        "the cause is a wren.errors.RemoteTraceback; CPython's own is private", "RemoteTraceback'> is not <class"
    ),
    "WrenProcessPoolShutdownTest.test_context_manager_shutdown": NO_CONTEXT,
    "WrenProcessPoolShutdownTest.test_del_shutdown": NO_CONTEXT,
    "WrenProcessPoolShutdownTest.test_shutdown_no_wait": NO_CONTEXT,
    "WrenProcessPoolShutdownTest.test_processes_terminate": AT_THE_CALL,
    "WrenProcessPoolShutdownTest.test_interpreter_shutdown": LOGGED,
    "WrenProcessPoolShutdownTest.test_hang_gh83386": LOGGED,
    "WrenExecutorDeadlockTest.test_error_at_task_pickle": AT_THE_CALL,
    "WrenExecutorDeadlockTest.test_shutdown_deadlock_pickle": private("_executor_manager_thread"),
    "WrenExecutorDeadlockTest.test_exit_during_func_exec_on_worker": Exclusion(
        "a call that ends by SystemExit is WorkerLost (docs/api.md)", "WorkerLost: the function ended by SystemExit"
    ),
    "WrenExecutorDeadlockTest.test_exit_during_result_pickle_on_worker": Exclusion(
        "a result that cannot be pickled is an error that says so (docs/api.md)",
        r"SerializationError: the result, .* cannot be pickled: 1 \(SystemExit\)",
    ),
    "WrenFutureTests.test_repr": OTHER_REPR,
    "WrenFutureTests.test_multiple_set_result": OTHER_REPR,
    "WrenFutureTests.test_multiple_set_exception": OTHER_REPR,
    "WrenFutureTests.test_cancel": Exclusion(
        "a call that is cancelled is so at once, waiters included: it has no state before that",
        "'CANCELLED_AND_NOTIFIED' != 'CANCELLED'",
    ),
    "WrenFutureTests.test_exception_with_success": Exclusion(
        "it assigns to private attributes of a future, which wren reads from its table", "WaitTimeout: call cpython/"
    ),
}


@pytest.fixture(scope="module")
def python(install_debian: Install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's interpreter in an environment with wren-core of this checkout."""
    install_debian(*DEBIAN)
    folder = tmp_path_factory.mktemp("cpython")
    subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(CORE)], check=True, timeout=300)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "py_version_short": "3.11"}))
    (packages / "wren_in_place.py").write_bytes((HERE / "in_place.py").read_bytes())
    (packages / "wren_in_place.pth").write_text("import wren_in_place\n")
    return python


@pytest.fixture(scope="module")
def results(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Result]:
    """What became of each of CPython's tests, by name."""
    folder = tmp_path_factory.mktemp("run")
    with ThreadPoolExecutor(len(GROUPS)) as threads:
        lines = list(threads.map(lambda group: _run(python, group, folder), GROUPS))
    found = [Result(**json.loads(line)) for some in lines for line in some]
    return {result.name: result for result in found}


def _run(python: Path, group: Sequence[str], folder: Path) -> list[str]:
    command = [str(python), str(HERE / "runner.py"), *group]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()


def test_cpythons_own_tests_pass(results: Mapping[str, Result], subtests: pytest.Subtests) -> None:
    for name in results.keys() - EXCLUDED.keys():
        with subtests.test(name):
            assert results[name].outcome == "passed", results[name].why


def test_each_excluded_test_fails_for_the_reason_that_it_is_excluded_for(
    results: Mapping[str, Result], subtests: pytest.Subtests
) -> None:
    for name, exclusion in EXCLUDED.items():
        with subtests.test(name, reason=exclusion.reason):
            assert results[name].outcome != "passed"
            assert re.search(exclusion.says, results[name].why)


def test_every_kind_of_test_has_run(results: Mapping[str, Result]) -> None:
    assert {name.partition(".")[0] for name in results} == {name for group in GROUPS for name in group}
    assert EXCLUDED.keys() <= results.keys()
    assert len(results.keys() - EXCLUDED.keys()) >= 50
