"""A platform that does, step by step, what a test says, and a storage that fails when it says so."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Final

import pluggy
import pytest

import wren
from wren import wire
from wren.errors import BackendError
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.spi import (
    Alive,
    Compute,
    Deployment,
    Exited,
    Feature,
    Invocation,
    Limits,
    ObjectInfo,
    Receipt,
    Report,
    Runtime,
    RuntimeInfo,
)
from wren.testing import plugged
from wren.wire import CallStatus, Failure
from wren.worker.run import (
    WorkerStorage,
    call_status,
    load_arguments,
    load_function,
    open_handle,
    run_call,
    store_status,
)

hookimpl = pluggy.HookimplMarker("wren")

PATIENCE: Final = 20.0  # seconds until a test gives up
DIRECT: Final = Feature.DIRECT | Feature.HEARTBEAT


@dataclass(frozen=True, slots=True)
class Delivery:
    """An invocation that was handed over, and what a platform may say of it."""

    deployment: Deployment
    invocation: Invocation
    report: Report

    @property
    def call(self) -> int:
        """The first call."""
        return self.invocation.calls[0]

    @property
    def header(self) -> wire.Header:
        """The job's."""
        return self.invocation.header

    @property
    def attempt(self) -> str:
        """As job/call.attempt."""
        return f"{self.header.job}/{self.call}.{self.invocation.attempt}"

    # ---- what the worker does

    def storage(self) -> WorkerStorage:
        """The job's, as workers open it."""
        assert self.header.storage is not None
        storage: WorkerStorage = open_handle(self.header.storage)
        return storage

    def run(self) -> list[CallStatus]:
        """Run the calls, and store what their job stores."""
        payload = wire.decode(self.invocation.payload())
        header, function = payload.header, load_function(payload, self.storage)
        statuses = []
        for call in payload.calls:
            started, load = time.time(), partial(load_arguments, call.args, self.storage)
            result = run_call(header, call.id, payload.attempt, function, load, self.storage)
            statuses.append(call_status(header, call.id, payload.attempt, result, started, time.time(), "", "fake"))
        if header.persist:
            self.store(*statuses)
        return statuses

    def store(self, *statuses: CallStatus) -> None:
        """Store statuses where the storage monitor finds them."""
        for status in statuses:
            store_status(self.storage(), self.header, status)

    def put(self, key: str, content: wire.Buffer) -> None:
        """Put into the bucket what no worker would."""
        self.storage().put(self.header.bucket, key, [content])

    def lost(self) -> CallStatus:
        """The status of the first call, whose worker was lost."""
        failure = Failure("lost", "WorkerLost", "its container was taken away", "")
        identity = self.header.executor, self.header.job, self.call, self.invocation.attempt
        return CallStatus(*identity, "err", time.time(), time.time(), failure=failure)

    # ---- what the platform says

    def accept(self) -> None:
        """It has it."""
        self.report.accepted(self.invocation, Receipt(self.attempt))

    def answer(self) -> None:
        """It runs it and answers with the statuses."""
        for status in self.run():
            self.report.status(self.invocation, status)

    def fail(self, error: Exception) -> None:
        """It has no result for any of its calls."""
        self.report.failed(self.invocation, self.invocation.calls, error)


class Platform:
    """What the backend `fake` of one test does and has seen.

    What it is handed waits for `next`, unless `serve` is set, which is called within `submit`.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.serve: Callable[[Delivery], None] = self.hand_over
        self.invoke: Callable[[Invocation], Sequence[CallStatus]] | None = None  # instead of all that
        self.on_deploy: Callable[[int], None] = lambda number: None
        self.on_kill: Callable[[Sequence[int]], None] = lambda calls: None
        self.on_probe: Callable[[], Alive | Exited] = Alive
        self.on_storage: Callable[[str, str], None] = lambda operation, key: None
        self.deliveries: list[Delivery] = []
        self.listings = 0  # of the storage `flaky`
        self.deployed = 0
        self.closed = False
        self._waiting: SimpleQueue[Delivery] = SimpleQueue()
        self._over = False

    def executor(
        self,
        *,
        features: Feature = DIRECT,
        storage: str = "localhost",
        workers: int | None = None,
        retries: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> wren.FunctionExecutor:
        """An executor, patient where `options`, of section [wren], say nothing else."""
        self._monkeypatch.setattr(FakeCompute, "features", features)
        place = {"path": str(self.folder / "objects")}
        config = {
            "wren": {"heartbeat": 60.0, "start_timeout": 60.0, "sweep": 60.0, **(options or {})},
            "storage": {"interval": 0.02},
            "localhost": place,
            "flaky": place,
        }
        return wren.FunctionExecutor(config, backend="fake", storage_backend=storage, workers=workers, retries=retries)

    def hand_over(self, delivery: Delivery) -> None:
        """Have a delivery wait for `next`."""
        self._waiting.put(delivery)

    def next(self) -> Delivery:
        """What was handed over next."""
        try:
            return self._waiting.get(timeout=PATIENCE)
        except Empty:
            raise AssertionError("nothing more was handed over") from None

    def take(self, deployment: Deployment, invocation: Invocation, report: Report) -> None:
        """The backend's `submit`."""
        delivery = Delivery(deployment, invocation, report)
        self.deliveries.append(delivery)
        if self._over:
            delivery.fail(BackendError("the test is over"))
        else:
            self.serve(delivery)

    def objects(self) -> list[Path]:
        """All stored objects, as files of the localhost storage; some may go while they are looked for."""
        return [Path(folder, name) for folder, _, names in os.walk(self.folder / "objects") for name in names]

    def end(self) -> None:
        """Nothing waits for what the test has left open."""
        self._over = True
        for delivery in self.deliveries:
            delivery.fail(BackendError("the test is over"))


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """None."""


class FakeCompute(Compute[FakeOptions]):
    """Asks the platform of the test that runs."""

    name: ClassVar[str] = "fake"
    options_type: ClassVar[type] = FakeOptions
    limits = Limits(concurrency=2_000)
    current: ClassVar[Platform]

    def __init__(self, options: FakeOptions) -> None:
        super().__init__(options)
        self._platform = self.current

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        self._platform.deployed += 1
        number = self._platform.deployed
        self._platform.on_deploy(number)
        return Deployment(f"fake-{number}", runtime)

    def undeploy(self, deployment: Deployment) -> None:
        pass

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        return RuntimeInfo("3.11", "fake")

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        if self._platform.invoke is not None:
            super().submit(deployment, invocations, report)
            return
        for invocation in invocations:
            self._platform.take(deployment, invocation, report)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Sequence[CallStatus]:
        assert self._platform.invoke is not None
        return self._platform.invoke(invocation)

    def withdraw(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        return [call for call in invocation.calls if call in calls]

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        killed = [call for call in invocation.calls if call in calls]
        self._platform.on_kill(killed)
        return killed

    def probe(self, deployment: Deployment, receipt: Receipt) -> Alive | Exited:
        return self._platform.on_probe()

    def close(self) -> None:
        self._platform.closed = True


class FlakyStorage(LocalStorage):
    """Asks the test that runs, which may raise; workers open the same directory without asking."""

    name: ClassVar[str] = "flaky"
    options_type: ClassVar[type] = LocalhostOptions
    current: ClassVar[Platform]

    def __init__(self, options: LocalhostOptions) -> None:
        super().__init__(options)
        self._platform = self.current

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        self._platform.on_storage("get", key)
        return super().get(bucket, key, start, stop, if_match=if_match)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        self._platform.listings += 1
        self._platform.on_storage("list", prefix)
        yield from super().list(bucket, prefix, after)

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        self._platform.on_storage("delete", "")
        super().delete(bucket, keys)


class _Compute:
    @hookimpl
    def wren_compute(self) -> type[FakeCompute]:
        return FakeCompute


class _Storage:
    @hookimpl
    def wren_storage(self) -> type[FlakyStorage]:
        return FlakyStorage


fake, flaky = _Compute(), _Storage()


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """The platform behind the backend `fake`; programs that the test starts find `scripted`."""
    points = {
        "wren.compute": {"fake": f"{__name__}:fake", "scripted": "wren.testing.fakes:scripted"},
        "wren.storage": {"flaky": f"{__name__}:flaky"},
        "wren.monitor": {"socket": "wren.testing.sockets"},
    }
    made = Platform(tmp_path, monkeypatch)
    monkeypatch.setattr(FakeCompute, "current", made, raising=False)
    monkeypatch.setattr(FlakyStorage, "current", made, raising=False)
    with plugged(tmp_path / "plugins", points, subprocesses=True):
        yield made
        made.end()
