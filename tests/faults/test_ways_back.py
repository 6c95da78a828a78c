"""The ways back: direct, by listings of the storage, by a monitor; mixed, twice, late, forged, and when one dies."""

import logging
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import pluggy
import pytest

import wren
from wren import wire
from wren.engine import Engine
from wren.errors import StorageError
from wren.spi import Deployment, Feature, Invocation, Outcomes, Report
from wren.testing import SocketMonitor, plugged
from wren.testing.socket_reporter import SocketReporter
from wren.tracker import Tracker
from wren.wire import CallStatus
from wren_template.compute import TemplateCompute
from wren_template.objects import Objects

hookimpl = pluggy.HookimplMarker("wren")
Eventually = Callable[[Callable[[], bool]], None]
PROMPTLY: Final = 30.0


class Muted:
    """A report to which statuses do not get through."""

    def __init__(self, report: Report) -> None:
        self.accepted, self.heartbeat, self.failed = report.accepted, report.heartbeat, report.failed

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        pass

    def status(self, invocation: Invocation, status: CallStatus) -> None:
        pass


class SilentCompute(TemplateCompute):
    """Its channel says that calls run, and not what became of them."""

    name: ClassVar[str] = "silent"
    features: ClassVar[Feature] = TemplateCompute.features & ~Feature.DIRECT

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        super().submit(deployment, invocations, Muted(report))


class KnownMonitor(SocketMonitor):
    """The socket monitor, of which the tests get hold."""

    made: ClassVar[list[SocketMonitor]] = []

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.made.append(self)


class Silent:
    @hookimpl
    def wren_compute(self) -> type[SilentCompute]:
        return SilentCompute


class Known:
    @hookimpl
    def wren_monitor(self) -> type[SocketMonitor]:
        return KnownMonitor


silent, known = Silent(), Known()


@contextmanager
def using(
    config: dict[str, dict[str, Any]], tmp_path: Path, backend: str, **options: Any
) -> Iterator[wren.FunctionExecutor]:
    """An executor on `backend` with these keys in section `[wren]`."""
    plugins = {"wren.compute": {"silent": f"{__name__}:silent"}, "wren.monitor": {"socket": f"{__name__}:known"}}
    sections = {**config, "silent": config["template"], "wren": {**config.get("wren", {}), **options}}
    KnownMonitor.made.clear()
    with (
        plugged(tmp_path / "site", plugins),
        wren.function_executor(sections, backend=backend, storage_backend="template", workers=4) as made,
    ):
        yield made


def work(value: int) -> int:
    print("working")
    if value < 0:
        raise ValueError(f"no {value}")
    return value + 1


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.005)
    return "done"


def check_all_kinds(executor: wren.FunctionExecutor) -> None:
    """Results small and large, failures, logs, and a reducer."""
    futures = executor.map(work, range(20))
    assert executor.get_result(futures, timeout=PROMPTLY) == list(range(1, 21))
    assert futures[7].logs == "working\n"
    assert futures[7].stats["seconds"] >= 0
    failed = executor.call_async(work, -3)
    with pytest.raises(ValueError, match="no -3"):
        failed.result(PROMPTLY)
    assert failed.logs == "working\n"
    data = bytes(range(256)) * 8192
    assert executor.call_async(bytes.upper, data).result(PROMPTLY) == data.upper()
    assert executor.map_reduce(work, range(5), sum)[-1].result(PROMPTLY) == 15


def test_direct(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "template") as executor:
        check_all_kinds(executor)


def test_by_listing_the_storage(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "silent") as executor:
        check_all_kinds(executor)


def test_by_a_monitor(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "silent", monitor="socket", sweep=1000.0, heartbeat=5.0) as executor:
        check_all_kinds(executor)


def test_all_at_once_and_each_call_counts_once(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "template", monitor="socket") as executor:
        check_all_kinds(executor)


def test_a_monitor_that_dies_costs_one_warning(
    config: dict[str, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    with caplog.at_level(logging.WARNING, "wren"), using(config, tmp_path, "silent", monitor="socket") as executor:
        futures = executor.map(wait_for, [tmp_path / "go"] * 3)
        eventually(lambda: all(future.running() for future in futures))
        KnownMonitor.made[0].kill()
        (tmp_path / "go").touch()
        assert executor.get_result(futures, timeout=PROMPTLY) == ["done"] * 3
        assert executor.call_async(work, 1).result(PROMPTLY) == 2  # whose reporter has nobody to report to
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "the socket monitor fails, the storage is swept instead" in warnings[0]


# ---- what somebody else wrote


FORGED: Final = pickle.dumps("forged")


def tracker_of(executor: wren.FunctionExecutor) -> Tracker:
    assert isinstance(executor._engine, Engine)
    return executor._engine._tracker


def header_of(executor: wren.FunctionExecutor, future: "wren.Future[Any]") -> wire.Header:
    job = tracker_of(executor).find(future.job_id)
    assert job is not None
    return job.header


def test_a_forged_message_is_dropped_and_counted(
    config: dict[str, dict[str, Any]], tmp_path: Path, eventually: Eventually
) -> None:
    with using(config, tmp_path, "silent", monitor="socket", sweep=1000.0, heartbeat=5.0) as executor:
        future = executor.call_async(wait_for, tmp_path / "go")
        header = header_of(executor, future)
        assert header.reporter is not None
        # When somebody who can reach the monitor says what the call has returned, sealed with a key of their own,
        # with none, or as what another call said
        status = CallStatus(header.executor, header.job, 0, 0, "ok", 1.0, 2.0, FORGED)
        messages = [
            wire.seal_status(b"a key of their own", status),
            b"\0" * wire.SEAL_SIZE + wire.encode_status(status),
            wire.seal_status(header.mac_key, status)[: wire.SEAL_SIZE] + wire.encode_status(status._replace(attempt=1)),
            b"no status at all",
        ]
        reporter = SocketReporter(**header.reporter.options)
        for message in messages:
            reporter.report(message)
        reporter.close()
        tracker = tracker_of(executor)
        eventually(lambda: tracker.dropped["forged"] == len(messages))
        # Then the future waits for the truth
        assert not future.done()
        (tmp_path / "go").touch()
        assert future.result(PROMPTLY) == "done"


def test_a_message_that_comes_again_or_late_is_dropped_and_counted(
    config: dict[str, dict[str, Any]], tmp_path: Path, eventually: Eventually
) -> None:
    with using(config, tmp_path, "template", monitor="socket", sweep=1000.0) as executor:
        first = executor.call_async(wait_for, tmp_path / "first")
        futures = executor.map(wait_for, [tmp_path / "first", tmp_path / "second"])
        header, reporter = header_of(executor, futures[0]), header_of(executor, first).reporter
        tracker = tracker_of(executor)
        (tmp_path / "first").touch()
        assert futures[0].result(PROMPTLY) == first.result(PROMPTLY) == "done"
        eventually(lambda: tracker.dropped["late"] >= 1)  # what the monitor brought after the channel
        before = tracker.dropped["late"]
        assert header.reporter is not None
        assert reporter is not None
        late = wire.seal_status(header.mac_key, CallStatus(header.executor, header.job, 0, 0, "ok", 1.0, 2.0, FORGED))
        for _ in range(3):
            channel = SocketReporter(**header.reporter.options)
            channel.report(late)
            channel.close()
        eventually(lambda: tracker.dropped["late"] >= before + 3)
        assert futures[0].result() == "done"
        (tmp_path / "second").touch()
        assert futures[1].result(PROMPTLY) == "done"


def forge(path: str, header: wire.Header, call: int) -> None:
    """Write what somebody who has the bucket, and not the key, can write."""
    objects = Objects(path)
    identity = (header.executor, header.job, call, 0)
    sealed = wire.seal(b"a key of their own", *identity, "ok", [FORGED])
    objects.put(header.bucket, wire.result_key(*identity), sealed)
    objects.put(header.bucket, wire.status_key(*identity, "ok"), [b""])


def test_a_forged_result_is_not_unpickled(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "silent") as executor:
        future = executor.call_async(work, 1)
        header = header_of(executor, future)
        executor.wait(future, timeout=PROMPTLY, return_when="ALWAYS")
        while not future.done():
            time.sleep(0.005)
        forge(config["template"]["path"], header, 0)
        with pytest.raises(StorageError, match="was not written by its worker"):
            future.result(PROMPTLY)


def test_a_forged_status_cannot_make_a_forged_result_true(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "silent") as executor:
        future = executor.call_async(wait_for, tmp_path / "go")
        forge(config["template"]["path"], header_of(executor, future), 0)
        with pytest.raises(StorageError, match="was not written by its worker"):
            future.result(PROMPTLY)
        (tmp_path / "go").touch()


def test_a_reducer_does_not_load_a_forged_result(config: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with using(config, tmp_path, "template") as executor:
        futures = executor.map_reduce(wait_for, [tmp_path / "first", tmp_path / "second"], len)
        header = header_of(executor, futures[0])
        (tmp_path / "first").touch()
        assert futures[0].result(PROMPTLY) == "done"
        forge(config["template"]["path"], header, 0)
        (tmp_path / "second").touch()
        error = futures[-1].exception(PROMPTLY)
        assert "was not written by its worker" in str(error)


# ---- a function or an argument that is not what was sent


def test_stored_arguments_that_were_changed_are_not_loaded(
    config: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Objects.put

    def changing(self: Objects, bucket: str, key: str, chunks: Any, *, if_absent: bool = False) -> None:
        data = b"".join(chunks)
        if key.endswith("/data") or "/functions/" in key:
            data = data[:-1] + bytes([data[-1] ^ 1])
        original(self, bucket, key, [data], if_absent=if_absent)

    with using(config, tmp_path, "template") as executor:
        monkeypatch.setattr(Objects, "put", changing)
        error = executor.call_async(len, b"x" * (1 << 20)).exception(PROMPTLY)
        assert "are not what the client sent" in str(error)
        data = b"y" * (1 << 20)
        error = executor.call_async(lambda x: len(data) + x, 1).exception(PROMPTLY)
        assert "are not what the client sent" in str(error)
