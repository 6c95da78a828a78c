"""Backends that are simpler than the local one: what core does for them, on the client's side of every contract."""

import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pluggy
import pytest

import wren
from wren import wire
from wren.errors import BackendError, NotDeployed, StorageError, Throttled, Unavailable, Undecided, WorkerLost
from wren.spi import Compute, Deployment, Feature, Invocation, Limits, Receipt, Runtime, RuntimeInfo
from wren.wire import CallStatus
from wren.worker import run, stream

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class ToyOptions:
    """None."""


class Toy(Compute[ToyOptions]):
    """Runs calls in the client, from what would cross to a worker."""

    options_type: ClassVar[type] = ToyOptions
    limits = Limits(concurrency=3)
    most: ClassVar[int] = 0  # calls at once, seen
    _running: ClassVar[int] = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        return Deployment(self.name, runtime)

    def undeploy(self, deployment: Deployment) -> None:
        pass

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        return RuntimeInfo("3.11", sys.platform)

    def perform(self, invocation: Invocation) -> tuple[CallStatus, list[bytes]]:
        """Run the one call of an invocation."""
        with self._lock:
            Toy._running += 1
            Toy.most = max(Toy.most, Toy._running)
        try:
            payload = wire.decode(invocation.payload())
            header, (call,) = payload.header, payload.calls
            assert isinstance(call.args, bytes)
            args, kwargs = pickle.loads(call.args)  # noqa: S301 - our own
            started = time.time()
            tag, chunks = run.run(pickle.loads(b"".join(invocation.function)), args, kwargs)  # noqa: S301 - our own
            failed = tag == stream.FAILED
            status = CallStatus(
                header.executor,
                header.job,
                call.id,
                payload.attempt,
                "err" if failed else "ok",
                started,
                time.time(),
                result=None if failed else b"".join(chunks),
                failure=pickle.loads(b"".join(chunks)) if failed else None,  # noqa: S301 - our own
                logs="heard",
            )
            return status, chunks
        finally:
            with self._lock:
                Toy._running -= 1


class Answering(Toy):
    """The platform answers with the status."""

    name: ClassVar[str] = "answering"
    features: ClassVar[Feature] = Feature.DIRECT

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Sequence[CallStatus]:
        return [self.perform(invocation)[0]]


class Posting(Toy):
    """The platform answers with a receipt, and the worker stores result and status."""

    name: ClassVar[str] = "posting"

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Receipt:
        threading.Thread(target=self._work, args=(invocation,), daemon=True).start()
        return Receipt(f"activation-{invocation.calls[0]}")

    def _work(self, invocation: Invocation) -> None:
        status, chunks = self.perform(invocation)
        assert invocation.header.storage is not None
        storage = run.open_handle(invocation.header.storage)
        if status.state == "ok":
            run.store(storage, invocation.header, status.call, status.attempt, chunks)
        run.store_status(storage, invocation.header, status)


class Refusing(Toy):
    """The platform raises what it is told to."""

    name: ClassVar[str] = "refusing"
    features: ClassVar[Feature] = Feature.DIRECT
    error: ClassVar[Exception] = BackendError("no")

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Receipt:
        raise self.error


class Moody(Toy):
    """The platform raises what the script says at each delivery of a call, then answers."""

    name: ClassVar[str] = "moody"
    features: ClassVar[Feature] = Feature.DIRECT
    script: ClassVar[Mapping[int, Sequence[Exception]]] = {}  # by call
    deliveries: ClassVar[dict[int, int]] = {}
    deployed: ClassVar[int] = 0

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        Moody.deployed += 1
        return super().deploy(runtime, secrets)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Sequence[CallStatus]:
        (call,) = invocation.calls
        with self._lock:
            delivery = self.deliveries.get(call, 0)
            self.deliveries[call] = delivery + 1
        errors = self.script.get(call, ())
        if delivery < len(errors):
            raise errors[delivery]
        return [self.perform(invocation)[0]]


class Hooks:
    """The plugins: an entry point may name any object that has the hook."""

    def __init__(self, kind: type[Toy]) -> None:
        self.kind = kind

    @hookimpl
    def wren_compute(self) -> type[Toy]:
        return self.kind


answering, posting, refusing, moody = Hooks(Answering), Hooks(Posting), Hooks(Refusing), Hooks(Moody)


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the toys as a distribution of their own."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "toys-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {__name__}:{name}" for name in ("answering", "posting", "refusing", "moody"))
    (metadata / "entry_points.txt").write_text(f"[wren.compute]\n{points}\n")
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture(params=["answering", "posting"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[wren.FunctionExecutor]:
    config = {"localhost": {"path": str(tmp_path)}, "storage": {"interval": 0.01}}
    with wren.function_executor(config, backend=request.param) as made:
        yield made


def add_one(x: int) -> int:
    return x + 1


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def test_results_come_back_by_the_backends_channel_or_by_the_storage(executor: wren.FunctionExecutor) -> None:
    executor.map(add_one, range(50))
    assert executor.get_result(timeout=20) == list(range(1, 51))


def test_failures_come_back_too(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(fail, 3)
    with pytest.raises(ValueError, match="no 3"):
        future.result(20)
    executor.get_result(throw_except=False)


def test_no_more_calls_are_in_flight_than_the_backend_takes() -> None:
    Toy.most = 0
    with wren.function_executor(backend="answering") as executor:
        executor.map(lambda _: time.sleep(0.005), range(30))
        executor.get_result(timeout=20)
    assert 1 < Toy.most <= 3


def test_the_callers_limit_of_calls_in_flight_holds() -> None:
    Toy.most = 0
    with wren.function_executor(backend="answering", workers=1) as executor:
        executor.map(lambda _: time.sleep(0.001), range(10))
        executor.get_result(timeout=20)
    assert Toy.most == 1


@pytest.mark.parametrize(
    "error", [BackendError("forbidden"), Unavailable("refused"), Throttled("busy", 1.0), OSError("escaped")]
)
def test_what_a_backend_raises_fails_its_calls(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusing, "error", error)
    with wren.function_executor({"wren": {"start_timeout": 0.5}}, backend="refusing") as executor:
        futures = executor.map(add_one, range(2_000))
        executor.wait(futures, throw_except=False, timeout=60)
        for future in futures:
            assert isinstance(future.exception(0), BackendError)
            assert str(error) in str(future.exception(0))


def test_a_forged_result_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    # Given a result that somebody who can write to the bucket has put in the place of the worker's
    monkeypatch.setattr(run, "store", lambda *_: None)
    config = {"localhost": {"path": str(tmp_path)}, "storage": {"interval": 0.01}}
    with wren.function_executor(config, backend="posting") as executor:
        future = executor.call_async(add_one, 1)
        executor.wait(timeout=20, throw_except=False, return_when="ALWAYS")
        eventually(future.done)
        (status,) = (path for path in tmp_path.rglob("*.ok"))
        place = status.parents[2] / "result@"
        place.mkdir()
        (place / "00000000.0").write_bytes(b"\0" * wire.SEAL_SIZE + b"cos\nsystem\n(S'touch /forged'\ntR.")
        # When it is asked for, Then
        with pytest.raises(StorageError, match="was not written by its worker"):
            future.result(20)


def test_a_status_of_another_job_settles_nothing(executor: wren.FunctionExecutor) -> None:
    first = executor.call_async(add_one, 1)
    second = executor.call_async(add_one, 2)
    assert (first.result(20), second.result(20)) == (2, 3)
    assert first.logs in {"heard", ""}  # by the storage they are not read with the state
    executor.get_result()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[int, Sequence[Exception]]], None]:
    """Says what the moody platform raises at each delivery of a call."""

    def write(errors: Mapping[int, Sequence[Exception]]) -> None:
        monkeypatch.setattr(Moody, "script", errors)
        monkeypatch.setattr(Moody, "deliveries", {})
        monkeypatch.setattr(Moody, "deployed", 0)
        monkeypatch.setattr("wren.invoker.FIRST_DELAY", 0.01)

    return write


Script = Callable[[Mapping[int, Sequence[Exception]]], None]


def test_what_was_not_delivered_is_handed_over_again(script: Script) -> None:
    script({0: [Unavailable("refused")] * 3, 1: [Throttled("busy", 0.02)], 2: []})
    with wren.function_executor(backend="moody") as executor:
        executor.map(add_one, range(3))
        assert executor.get_result(timeout=20) == [1, 2, 3]
    assert Moody.deliveries == {0: 4, 1: 2, 2: 1}


def test_what_a_platform_asks_to_wait_is_waited(script: Script) -> None:
    script({0: [Throttled("busy", 0.3)]})
    with wren.function_executor(backend="moody") as executor:
        start = time.monotonic()
        assert executor.call_async(add_one, 1).result(20) == 2
        assert time.monotonic() - start >= 0.3


def test_after_the_start_timeout_the_platforms_last_answer_is_the_error(script: Script) -> None:
    script({0: [Unavailable(f"refused {number}") for number in range(1_000)]})
    with wren.function_executor({"wren": {"start_timeout": 0.3}}, backend="moody") as executor:
        future = executor.call_async(add_one, 1)
        with pytest.raises(Unavailable):
            future.result(20)
        assert str(future.exception()) == f"refused {Moody.deliveries[0] - 1}"


def test_an_unknown_deployment_is_deployed_again_once(script: Script) -> None:
    script({0: [NotDeployed("gone")], 1: [NotDeployed("gone"), NotDeployed("gone again")]})
    with wren.function_executor(backend="moody", workers=1) as executor:
        first, second = executor.map(add_one, [1, 2])
        assert first.result(20) == 2
        with pytest.raises(NotDeployed, match="gone again"):
            second.result(20)
    assert Moody.deployed == 3


@pytest.mark.parametrize(
    ("error", "seen", "said"),
    [
        (Undecided("reset"), WorkerLost, "reset; it may have run"),
        (BackendError("forbidden"), BackendError, "forbidden"),
    ],
)
def test_what_may_run_or_never_will_is_not_handed_over_again(
    error: Exception, seen: type[Exception], said: str, script: Script
) -> None:
    script({0: [error]})
    with wren.function_executor(backend="moody") as executor, pytest.raises(seen, match=said):
        executor.call_async(add_one, 1).result(20)
    assert Moody.deliveries == {0: 1}


def test_a_call_that_waits_to_be_handed_over_again_can_be_cancelled(
    script: Script, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    script({0: [Throttled("busy", 100.0)]})
    with wren.function_executor(backend="moody") as executor:
        future = executor.call_async(add_one, 1)
        eventually(lambda: Moody.deliveries.get(0) == 1)
        eventually(future.cancel)
        assert future.cancelled()
