"""What the fault tests share: both backends, short intervals or the defaults, many runs, and a look at what is left.

`nox -s faults` is the long campaign: WREN_FAULT_RUNS=50 repeats each test, WREN_FAULT_DEFAULTS=1 takes wren's own
intervals.  Without them each fault is provoked once, with short ones.
"""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import wren

RUNS: Final = int(os.environ.get("WREN_FAULT_RUNS", "1"))
DEFAULTS: Final = bool(os.environ.get("WREN_FAULT_DEFAULTS"))
BACKENDS: Final = ("localhost", "template")
PATIENCE: Final = 120 if DEFAULTS else 30  # seconds, after which a test that waits has failed

SHORT: Final[Mapping[str, Mapping[str, Any]]] = {
    # A busy machine may keep a shell from saying anything for a second, which is no silence.
    "wren": {"heartbeat": 0.5, "start_timeout": 5.0, "sweep": 0.1},
    "storage": {"interval": 0.02},
    "template": {"idle_exit": 4.0},  # longer than anything waits between two requests
}

Config = dict[str, dict[str, Any]]
Eventually = Callable[[Callable[[], bool]], None]

# Who started the tests may have had Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if RUNS > 1 and "run" in metafunc.fixturenames:
        metafunc.parametrize("run", range(RUNS))


@pytest.fixture
def run() -> int:
    """Which of the runs of a test this is."""
    return 0


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition that another process brings about."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.005)

    return wait


@pytest.fixture
def defaults() -> bool:
    """Whether intervals are wren's own."""
    return DEFAULTS


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The configuration of an executor whose objects are the test's own."""
    sections: dict[str, dict[str, Any]] = {} if DEFAULTS else {name: dict(keys) for name, keys in SHORT.items()}
    sections.setdefault("template", {})["path"] = str(tmp_path / "template.db")
    sections.setdefault("localhost", {})["path"] = str(tmp_path / "objects")
    return sections


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process runs; a zombie does not."""

    def look(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):  # the latter if it goes between opening and reading
            return False

    return look


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """The processes of this test, but for the warm workers of this process."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv("WREN_FAULT_MARK", mark)
    return lambda: [pid for pid in marked(mark.encode()) if not is_warm_worker(pid)]


@pytest.fixture(autouse=True)
def nothing_left(run: int, leftovers: Callable[[], list[int]], eventually: Eventually) -> Iterator[None]:
    """No process of a test is there after it."""
    yield
    eventually(lambda: not leftovers())


def marked(mark: bytes) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # gone meanwhile, or a zombie, or somebody else's
            continue
        if pid != os.getpid() and mark in environment:
            yield pid


def is_warm_worker(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return True  # gone meanwhile
    return b"wren.worker.pipe" in command and int(parent) == os.getpid()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def executor(backend: str, config: Config) -> Iterator[wren.FunctionExecutor]:
    with wren.function_executor(config, backend=backend, storage_backend=backend, workers=4) as made:
        yield made
