"""The conformance of monitors: what an author subclasses, and the checks of the contract."""

import base64
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from wren.errors import MonitorError
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.spi import Monitor, Storage
from wren.testing.conformance import Conformance
from wren.testing.halves import check_client, check_handle
from wren.testing.interpreters import as_worker
from wren.testing.threads import PATIENCE, Running, at_once
from wren.testing.watched import Event, Job, identity
from wren.wire import Blob, Handle, Header, encode_status, seal_status, status_prefix
from wren.worker.run import open_handle

__all__ = ["MonitorConformance"]

MANY: Final = 2_000  # messages
LARGE: Final = 4 * 1024 * 1024  # bytes of a message


class MonitorConformance(Conformance):
    """The tests of a monitor.

    Subclass it, set `plugin`, and write the fixture `options`; and where the monitor has a channel of its own, which is
    when `open_job` returns a handle, how others write to it, and how what its reporters talk to goes away:

        class TestShelfQueue(MonitorConformance):
            plugin = ShelfQueue

            @pytest.fixture
            def options(self, broker):
                self.broker = broker
                return {"url": broker.url}

            def inject(self, handle, message):
                self.broker.publish(handle.options["queue"], message)

            def cut(self, monitor):
                self.broker.delete_queues()

    `worker_env` names environment variables that reporters need besides `Monitor.secrets`, `worker_packages` packages.
    """

    # Top-level packages that a runtime needs besides wren-core and the handle's own.
    worker_packages: ClassVar[tuple[str, ...]] = ()
    patience: ClassVar[float] = PATIENCE  # seconds after which what has not come is lost

    @pytest.fixture
    def worker_env(self) -> Mapping[str, str]:
        """Environment variables that reporters need besides those of `Monitor.secrets`."""
        return {}

    def inject(self, handle: Handle, message: bytes) -> None:
        """Put a message on a job's channel without its reporter, as somebody else could: the author's."""
        raise NotImplementedError(f"write {type(self).__qualname__}.inject(handle, message), without the reporter")

    def cut(self, monitor: Monitor[Any]) -> None:
        """Make what reporters talk to go away; by default it is the monitor itself, which is closed."""
        monitor.close()

    # ---- for the checks

    @pytest.fixture
    def monitor(self, options: Mapping[str, Any], worker_env: Mapping[str, str]) -> Iterator[Monitor[Any]]:
        """The plugin with the author's options."""
        monitor: Monitor[Any] = self.make(options)
        with pytest.MonkeyPatch.context() as patch:  # reporters are opened in this process, too
            for name, value in {**monitor.secrets(), **worker_env}.items():
                patch.setenv(name, value)
            yield monitor
        monitor.close()

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage[Any]:
        """Where statuses are stored."""
        return LocalStorage(LocalhostOptions(path=str(tmp_path / "objects")))

    @pytest.fixture
    def open_job(self, monitor: Monitor[Any], storage: Storage[Any]) -> Callable[..., Job]:
        """Opens a job of that name and that many calls."""
        executor = uuid.uuid4().hex

        def open_job(name: str = "m000", calls: int = 10) -> Job:
            header = Header(executor, name, b"k" * 32, Blob("0" * 64, 0), "3.11", storage=storage.worker(),
                            bucket=storage.bucket, persist=True)  # fmt: skip
            return Job(header, monitor.open_job(header, calls, storage), storage)

        return open_job

    def collect(self, monitor: Monitor[Any], told: Collection[Event]) -> list[Event]:
        """All events until those told have come."""
        come: list[Event] = []

        def listen() -> None:
            deadline = time.monotonic() + self.patience
            while not come_all(come) and time.monotonic() < deadline:
                come.extend(map(identity, monitor.events(0.5)))

        def come_all(come: list[Event]) -> bool:
            return wanted <= set(come)

        wanted = set(told)
        Running(listen).result("events(0.5)", self.patience + PATIENCE)
        assert come_all(come), f"{len(wanted - set(come))} of {len(wanted)} events never came"
        return come

    # ---- what comes

    def test_what_a_worker_reports_comes_out_as_it_was(
        self, monitor: Monitor[Any], open_job: Callable[..., Job], worker_env: Mapping[str, str], tmp_path: Path
    ) -> None:
        """The reporter runs in a Python that has nothing but wren, as in a worker."""
        job = open_job()
        if job.handle is None:
            told = job.tell_calls(range(3))
        else:
            messages = [seal_status(job.header.mac_key, job.status(call, "é\0\n")) for call in range(3)]
            steps = [base64.b64encode(message).decode() for message in messages]
            env = {**monitor.secrets(), **worker_env}
            assert as_worker(tmp_path / "worker", "report", job.handle, steps, env, self.worker_packages) == 3
            told = set(messages)
        assert set(self.collect(monitor, told)) == told

    def test_a_handle_can_travel_and_has_no_secret(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        job = open_job()
        if job.handle is not None:
            check_handle(job.handle, monitor.secrets(), monitor.options)

    def test_functions_can_be_given_a_client_or_it_says_that_they_cannot(self, monitor: Monitor[Any]) -> None:
        check_client(monitor)

    def test_a_large_message_comes_whole(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        job = open_job()
        told = job.tell([job.status(0, "x" * LARGE), job.status(1)])
        assert set(self.collect(monitor, told)) == told

    def test_many_messages_arrive(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        job = open_job(calls=MANY)
        expected = job.expected(range(MANY))
        listening = Running(lambda: self.collect(monitor, expected))
        at_once("reporting", *(lambda first=first: job.tell_calls(range(first, MANY, 8)) for first in range(8)))
        assert set(listening.result("listening", self.patience + 2 * PATIENCE)) == expected

    def test_several_jobs_at_once_lose_nothing(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        jobs = [open_job(f"m{number:03d}") for number in range(5)]
        told = set[Event]().union(*(job.tell_calls(range(10)) for job in jobs))
        assert len(told) == 50
        assert set(self.collect(monitor, told)) == told

    def test_nothing_is_invented(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        """Duplicates may come, and come late; what nobody said may not."""
        job = open_job(calls=1_500)
        told = job.tell_calls([0, 7, 1_499])
        come = self.collect(monitor, told)
        for _ in range(3):
            come += map(identity, monitor.events(0.1))
        assert set(come) == told

    # ---- waiting

    def test_nothing_comes_when_nothing_was_said(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        for _ in range(2):  # without a job and with one
            started = time.monotonic()
            assert list(Running(lambda: monitor.events(0.3)).result("events(0.3)", 10)) == []
            assert 0.25 < time.monotonic() - started < 5.0, "events waits for about its timeout"
            open_job()

    def test_events_returns_when_something_comes(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        job = open_job()
        awaited = Running(lambda: [identity(event) for event in monitor.events(2 * self.patience)])
        told = job.tell_calls([3])
        assert set(awaited.result("events, something having come", self.patience)) == told

    def test_close_ends_the_waiting(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        open_job()
        waiting = threading.Event()

        def wait() -> None:
            waiting.set()
            with contextlib.suppress(MonitorError):  # it may say so
                assert list(monitor.events(4 * self.patience)) == []

        awaited = Running(wait)
        waiting.wait(PATIENCE)
        monitor.close()
        awaited.result("events of a monitor that was closed", self.patience / 4)

    # ---- jobs

    def test_a_job_may_be_opened_and_closed_again(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        open_job("m001")
        job, other = open_job("m001"), open_job("m002")
        told = job.tell_calls([0])
        assert set(self.collect(monitor, told)) == told
        monitor.close_job(job.header)
        monitor.close_job(job.header)
        told = open_job("m001").tell_calls([1])
        assert told <= set(self.collect(monitor, told))
        monitor.close_job(job.header)
        told = other.tell_calls([2])
        assert set(self.collect(monitor, told)) <= told | job.tell_calls([0, 1])

    def test_jobs_come_and_go_while_events_are_awaited(
        self, monitor: Monitor[Any], open_job: Callable[..., Job]
    ) -> None:
        steady, over = open_job("steady", 200), threading.Event()
        come: list[Event] = []

        def listen() -> None:
            while not over.is_set():
                come.extend(map(identity, monitor.events(0.02)))

        def pass_by(name: str) -> None:
            for number in range(10):
                job = open_job(f"{name}{number}")
                job.tell_calls([0])
                monitor.close_job(job.header)

        listening = Running(listen)
        try:
            works = [lambda name=name: pass_by(name) for name in "abcd"]
            at_once("opening and closing jobs", *works, lambda: steady.tell_calls(range(200)))
        finally:
            over.set()
        listening.result("events")
        told = steady.expected(range(200))
        self.collect(monitor, told - set(come))

    # ---- what is wrong

    def test_garbage_does_no_harm(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        """It comes out as it is or not at all; core authenticates what it believes."""
        job = open_job()
        good = seal_status(job.header.mac_key, job.status(5))
        garbage = [b"", b"\0", b"garbage", b"{}" * 30, bytes(range(256)) * 300, good[:-1], good[40:]]
        if job.handle is None:
            prefix = status_prefix(job.header.executor, job.header.job, 0)
            for name in ("x", "00000001", "00000001.0.maybe", "00000001.0.ok.x", "-0000001.0.ok", "é/00000003"):
                job.storage.put(job.header.bucket, prefix + name, [b"garbage"])
        else:
            for message in garbage:
                self.inject(job.handle, message)
        told = job.tell_calls([0, 1])
        assert set(self.collect(monitor, told)) <= told | set(garbage)

    def test_others_can_be_heard(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        """The helper `inject` reaches the channel, or the check above would say nothing."""
        job = open_job()
        if job.handle is not None:
            message = encode_status(job.status(4))
            self.inject(job.handle, message)
            assert message in self.collect(monitor, [message])

    def test_a_report_to_nobody_is_an_error(self, monitor: Monitor[Any], open_job: Callable[..., Job]) -> None:
        """A worker whose report fails has other channels left; one that is lost silently costs the whole sweep."""
        job = open_job()
        if job.handle is None:
            return
        with contextlib.closing(open_handle(job.handle)) as reporter:
            reporter.report(seal_status(job.header.mac_key, job.status(0)))
            self.cut(monitor)
            with pytest.raises(Exception):  # noqa: B017, PT011 - worker's halves raise what they like
                Running(lambda: reporter.report(b"message")).result("a report to nobody")
        with pytest.raises(Exception):  # noqa: B017, PT011 - worker's halves raise what they like
            Running(lambda: job.tell_calls([1])).result("a report of a new reporter to nobody")

    def test_a_service_that_is_away_is_an_error_of_wrens(
        self, unreachable: Mapping[str, Any] | None, storage: Storage[Any]
    ) -> None:
        if unreachable is None:
            pytest.skip("no options in the fixture `unreachable`: nothing of this plugin can be away")
        monitor = self.make(unreachable)
        header = Header("e", "m000", b"", Blob("0" * 64, 0), "3.11", bucket=storage.bucket)
        with pytest.raises(MonitorError):
            Running(lambda: monitor.open_job(header, 1, storage)).result("a job for what is away", 300)
        monitor.close_job(header)
        monitor.close()
