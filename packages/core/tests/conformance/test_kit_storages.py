"""The kit's teeth: storages and monitors with one defect each, and the test of the kit that must catch it.

The plugins and their conformance classes are in this file; a pytest of its own runs the tests named in the tables, on
each defect and on the sound plugins that they were made from.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

import pytest

from wren.errors import PreconditionFailed, StorageError, Unsupported
from wren.local.files import Files  # noqa: F401 - the worker half of one of them
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.polling import StorageMonitor
from wren.spi import Check, Feature, Listed, ObjectInfo, Storage
from wren.testing import MonitorConformance, SocketMonitor, StorageConformance, plugged
from wren.testing.socket_reporter import SocketReporter
from wren.testing.sockets import SocketMonitorOptions
from wren.wire import Buffer, Handle, Header, read_sealed

# ---------------------------------------------------------------- storages


class RangeEndsOneLater(LocalStorage):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return super().get(bucket, key, start, stop and stop + 1, if_match=if_match)


class RangePastTheEndIsAnError(LocalStorage):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        if start and start >= self.head(bucket, key).size:
            raise StorageError("416")
        return super().get(bucket, key, start, stop, if_match=if_match)


class IfMatchIsIgnored(LocalStorage):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return super().get(bucket, key, start, stop)


class MissingIsForeign(LocalStorage):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return self._files.get(bucket, key, start, stop)


class MissingIsEmpty(LocalStorage):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        try:
            return super().get(bucket, key, start, stop, if_match=if_match)
        except StorageError:
            return b""


class WritesBackwards(LocalStorage):
    """Reads what it wrote, but nobody else does."""

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        super().put(bucket, key, [b"".join(chunks)[::-1]], if_absent=if_absent)

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return super().get(bucket, key, if_match=if_match)[::-1][start:stop]


class ListsBackwards(LocalStorage):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        return iter([*super().list(bucket, prefix, after)][::-1])


class ListsInTheOrderOfJava(LocalStorage):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        return iter(sorted(super().list(bucket, prefix, after), key=lambda info: info.key.encode("utf-16-be")))


class ListsAtAfter(LocalStorage):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(bucket, prefix) if info.key >= after)


class ListsOnePage(LocalStorage):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        return itertools.islice(super().list(bucket, prefix, after), 1000)


class ListsFolders(LocalStorage):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        return super().list(bucket, prefix if prefix.endswith("/") else f"{prefix}/", after)


class ListsOtherEtags(LocalStorage):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        return (info._replace(etag=f'"{info.etag}"') for info in super().list(bucket, prefix, after))


class KeysAreUrls(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        super().put(bucket, key.replace("//", "/"), chunks, if_absent=if_absent)


class IfAbsentIsIgnored(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        super().put(bucket, key, chunks)


class IfAbsentLooksFirst(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        if if_absent and self._files.path(bucket, key).exists():
            raise PreconditionFailed("there is one")
        super().put(bucket, key, chunks)


class WritesInPlace(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        super().put(bucket, key, [], if_absent=if_absent)
        with self._files.path(bucket, key).open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                file.flush()


class KeepsHalf(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        failed: list[Exception] = []

        def source() -> Iterator[Buffer]:
            try:
                yield from chunks
            except Exception as error:  # noqa: BLE001 - the defect
                failed.append(error)

        super().put(bucket, key, source(), if_absent=if_absent)
        if failed:
            raise failed[0]


class SwallowsTheSourcesError(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        try:
            parts = list(chunks)
        except Exception:  # noqa: BLE001 - the defect
            return
        super().put(bucket, key, parts, if_absent=if_absent)


class WrapsTheSourcesError(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        try:
            parts = list(chunks)
        except Exception as error:
            raise StorageError("a source failed") from error
        super().put(bucket, key, parts, if_absent=if_absent)


class Hoards(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        super().put(bucket, key, [b"".join(chunks)], if_absent=if_absent)


class SharesABuffer(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        self._parts: list[Buffer] = []
        for chunk in chunks:
            self._parts.append(chunk)
            time.sleep(0.0001)
        super().put(bucket, key, self._parts, if_absent=if_absent)


class DeletesOnlyWhatIsThere(LocalStorage):
    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:
            self.head(bucket, key)
            super().delete(bucket, [key])


class DeletesFolders(LocalStorage):
    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:
            super().delete(bucket, [key, *(info.key for info in self.list(bucket, f"{key}/"))])


class DeletesAThousand(LocalStorage):
    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        super().delete(bucket, itertools.islice(keys, 1000))


class OneEtag(LocalStorage):
    def head(self, bucket: str, key: str) -> ObjectInfo:
        return super().head(bucket, key)._replace(etag="etag")


class TellsMilliseconds(LocalStorage):
    def head(self, bucket: str, key: str) -> ObjectInfo:
        info = super().head(bucket, key)
        return info._replace(mtime=info.mtime * 1000)


class DeclaresAWorkersHalfItHasNot(LocalStorage):
    def worker(self) -> Handle:
        raise Unsupported("workers cannot open it")


class HasAWorkersHalfItDoesNotDeclare(LocalStorage):
    features: ClassVar[Feature] = Feature.NONE


class WorkersWriteElsewhere(LocalStorage):
    def worker(self) -> Handle:
        return Handle("wren.local.files:Files", {"root": f"{self._files.root}-of-workers"})


class WorkersNeedMoreThanWren(LocalStorage):
    def worker(self) -> Handle:
        return Handle(f"{__name__}:Files", {"root": str(self._files.root)})


class NotWhatIsInstalled(LocalStorage):
    pass


class ClosesOnce(LocalStorage):
    def __init__(self, options: LocalhostOptions) -> None:
        super().__init__(options)
        self._connections = ["connection"]

    def close(self) -> None:
        self._connections.pop()


class ChecksAndLeaves(LocalStorage):
    def check(self) -> Iterator[Check]:
        self.put(self.bucket, "wren-doctor", [b"was here"])
        yield Check("write", ok=True)


class ChecksWithoutACure(LocalStorage):
    def check(self) -> Iterator[Check]:
        yield Check("write", ok=not self.options.path.startswith("/proc"))


class ChecksNothing(LocalStorage):
    def check(self) -> Iterator[Check]:
        yield from ()


class ChecksByRaising(LocalStorage):
    def check(self) -> Iterator[Check]:
        self.put(self.bucket, "wren-doctor", [b"was here"])
        self.delete(self.bucket, ["wren-doctor"])
        yield Check("write", ok=True)


class ChecksAndTidiesLater(LocalStorage):
    def check(self) -> Iterator[Check]:
        key = f"wren-doctor-{os.urandom(8).hex()}"
        self.put(self.bucket, key, [b"was here"])
        yield Check("write", ok=True)
        self.delete(self.bucket, [key])


class ChecksAndTidiesWhatItCouldRead(LocalStorage):
    def check(self) -> Iterator[Check]:
        key = f"wren-doctor-{os.urandom(8).hex()}"
        try:
            self.put(self.bucket, key, [b"was here"])
            self.get(self.bucket, key)
            self.delete(self.bucket, [key])
        except StorageError as error:
            yield Check("write", ok=False, detail=str(error), cure="mend it")
        else:
            yield Check("write", ok=True)


class ChecksAlone(LocalStorage):
    def check(self) -> Iterator[Check]:
        try:
            self.put(self.bucket, "wren-doctor", [b"was here"], if_absent=True)
        except StorageError as error:
            yield Check("write", ok=False, detail=str(error), cure="wait")
            return
        time.sleep(0.2)
        self.delete(self.bucket, ["wren-doctor"])
        yield Check("write", ok=True)


@dataclass(frozen=True, slots=True)
class HasAPassword:
    path: str = ""
    bucket: str = "wren"
    workers: int | None = None
    password: str = field(default="", repr=False)


class ChecksAloud(LocalStorage):
    options_type: ClassVar[type] = HasAPassword
    options: Any

    def check(self) -> Iterator[Check]:
        yield Check("login", ok=True, detail=f"as shelf with {self.options.password}")


class AwayIsForeign(LocalStorage):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        self._files.put(bucket, key, chunks, if_absent=if_absent)


@dataclass(frozen=True, slots=True)
class ShowsItsPassword:
    path: str = ""
    bucket: str = "wren"
    workers: int | None = None
    password: str = ""


class ShowsASecret(LocalStorage):
    options_type: ClassVar[type] = ShowsItsPassword


@dataclass(slots=True)
class Thawed:
    path: str = ""
    bucket: str = "wren"


class OptionsThatChange(LocalStorage):
    options_type: ClassVar[type] = Thawed


class HandsOutASecret(LocalStorage):
    def secrets(self) -> Mapping[str, str]:
        return {"SHELF_PASSWORD": "hunter2"}

    def worker(self) -> Handle:
        return Handle("wren.local.files:Files", {"root": f"{self._files.root}?password=hunter2"})


class HandsOutASecretToFunctions(LocalStorage):
    def secrets(self) -> Mapping[str, str]:
        return {"SHELF_PASSWORD": "hunter2"}

    def client(self) -> Handle:
        return Handle("shelf_sdk:connect", {"password": "hunter2"})


class HandsOutNoHandle(LocalStorage):
    def client(self) -> Handle:
        return Handle("shelf_sdk", {"paths": ("a", "b")})


class HalfBroken(LocalStorage):
    """Workers use a class of `broken_halves`, which lies beside this file."""

    half: ClassVar[str]

    def worker(self) -> Handle:
        return Handle(f"broken_halves:{self.half}", {"root": str(self._files.root)})


def half_broken(half: str) -> type[LocalStorage]:
    return type(f"Workers{half}", (HalfBroken,), {"half": half})


STORAGES: dict[type[LocalStorage], str] = {
    HandsOutASecretToFunctions: "test_functions_can_be_given_a_client_or_it_says_that_they_cannot",
    HandsOutNoHandle: "test_functions_can_be_given_a_client_or_it_says_that_they_cannot",
    half_broken("ListsFromTheBeginning"): "test_workers_see_the_same_objects",
    half_broken("QuotesEtags"): "test_workers_see_the_same_objects",
    half_broken("ReadsAnyVersion"): "test_workers_read_one_version_of_an_object",
    half_broken("ReadsOneMore"): "test_workers_read_what_is_there",
    half_broken("RemovesAThousand"): "test_workers_remove_objects",
    half_broken("RemovesOnlyWhatIsThere"): "test_workers_remove_objects",
    half_broken("MissingIsForeign"): "test_workers_are_told_what_is_missing",
    half_broken("WritesInPlace"): "test_what_workers_write_is_there_wholly_or_not_at_all",
    RangeEndsOneLater: "test_a_range_is_a_slice",
    RangePastTheEndIsAnError: "test_a_range_is_a_slice",
    IfMatchIsIgnored: "test_if_match_gets_the_object_that_was_meant",
    MissingIsForeign: "test_what_is_not_there_is_no_such_key",
    MissingIsEmpty: "test_what_is_not_there_is_no_such_key",
    WritesBackwards: "test_what_was_put_is_there",
    ListsBackwards: "test_keys_are_listed_in_the_order_of_their_bytes",
    ListsInTheOrderOfJava: "test_keys_are_listed_in_the_order_of_their_bytes",
    ListsAtAfter: "test_a_listing_begins_behind_after",
    ListsOnePage: "test_a_listing_of_many_pages_loses_nothing",
    ListsFolders: "test_a_prefix_need_not_be_a_folder",
    ListsOtherEtags: "test_a_listing_says_what_head_says",
    KeysAreUrls: "test_odd_keys_are_keys_like_any_other",
    IfAbsentIsIgnored: "test_if_absent_puts_only_where_nothing_is",
    IfAbsentLooksFirst: "test_of_many_that_put_if_absent_one_wins",
    WritesInPlace: "test_an_object_is_not_there_before_its_last_chunk",
    KeepsHalf: "test_a_put_whose_source_fails_changes_nothing_and_raises_its_error",
    SwallowsTheSourcesError: "test_a_put_whose_source_fails_changes_nothing_and_raises_its_error",
    WrapsTheSourcesError: "test_a_put_whose_source_fails_changes_nothing_and_raises_its_error",
    Hoards: "test_a_large_object_is_streamed",
    SharesABuffer: "test_threads_do_not_disturb_each_other",
    DeletesOnlyWhatIsThere: "test_delete_removes_those_named_and_no_others",
    DeletesFolders: "test_delete_removes_those_named_and_no_others",
    DeletesAThousand: "test_many_objects_are_deleted_at_once",
    OneEtag: "test_versions_of_an_object_have_etags_of_their_own",
    TellsMilliseconds: "test_head_says_size_time_and_etag",
    DeclaresAWorkersHalfItHasNot: "test_workers_can_open_it_or_it_says_that_they_cannot",
    HasAWorkersHalfItDoesNotDeclare: "test_workers_can_open_it_or_it_says_that_they_cannot",
    WorkersWriteElsewhere: "test_what_workers_write_is_there",
    WorkersNeedMoreThanWren: "test_workers_read_what_is_there",
    HandsOutASecret: "test_workers_can_open_it_or_it_says_that_they_cannot",
    NotWhatIsInstalled: "test_its_entry_point_gives_this_class",
    ClosesOnce: "test_close_may_come_twice_and_ends_its_threads",
    ChecksAndLeaves: "test_check_leaves_nothing_behind",
    ChecksNothing: "test_check_finds_nothing_wrong_with_what_works",
    ChecksAndTidiesLater: "test_check_that_is_stopped_leaves_nothing_behind",
    ChecksAndTidiesWhatItCouldRead: "test_check_leaves_nothing_behind_when_something_fails",
    ChecksByRaising: "test_check_names_the_cure_when_the_service_is_away",
    ChecksAlone: "test_checks_at_the_same_time_do_not_disturb_each_other",
    ChecksAloud: "test_check_shows_no_secret",
    ChecksWithoutACure: "test_check_names_the_cure_when_the_service_is_away",
    AwayIsForeign: "test_a_service_that_is_away_is_an_error_of_wrens",
    ShowsASecret: "test_nothing_shows_a_secret",
    OptionsThatChange: "test_it_says_what_it_is",
}


class SoundStorage(StorageConformance):
    plugin = LocalStorage

    @pytest.fixture(autouse=True)
    def halves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(Path(__file__).parent)

    @pytest.fixture
    def options(self, tmp_path: Path) -> Mapping[str, Any]:
        self.root = tmp_path / "objects"
        return {"path": str(self.root)}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"path": "/proc/wren-nowhere"}

    def file(self, bucket: str, key: str) -> Path:
        *folders, name = key.split("/")
        return self.root.joinpath(bucket, *(f"{folder}@" for folder in folders), name)

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        self.file(bucket, key).parent.mkdir(parents=True, exist_ok=True)
        self.file(bucket, key).write_bytes(data)

    def raw_get(self, bucket: str, key: str) -> bytes:
        return self.file(bucket, key).read_bytes()


class PlantedImportsAnSdk(SoundStorage):
    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        source = "import shelf_sdk\nfrom wren.local.storage import LocalStorage, wren_storage\n"
        with plugged(tmp_path / "site", {"wren.storage": {"shelf": "shelf"}}) as site:
            (site / "shelf.py").write_text(source)
            (site / "shelf_sdk.py").touch()
            monkeypatch.setattr(LocalStorage, "name", "shelf")
            yield


# ---------------------------------------------------------------- monitors


class WaitsTooLong(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        return super().events(timeout + 6)


class DoesNotWait(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        return super().events(0)


class WaitsInSpiteOfMessages(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        time.sleep(timeout)
        return super().events(0)


class DropsOneInAThousand(SocketMonitor):
    def __init__(self, options: SocketMonitorOptions) -> None:
        super().__init__(options)
        self._count = itertools.count(1)

    def _take(self, job: str, message: bytes) -> None:
        if next(self._count) % 1000:
            super()._take(job, message)


class TruncatesMessages(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        return [event[: 1 << 20] for event in super().events(timeout) if isinstance(event, bytes)]


class RewritesMessages(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        return [event.replace(b"\\u00e9", b"e") for event in super().events(timeout) if isinstance(event, bytes)]


class Invents(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        return [*super().events(timeout), b"an event"]


class ChokesOnGarbage(SocketMonitor):
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        events = super().events(timeout)
        for event in events:
            assert isinstance(event, bytes)
            read_sealed(event)
        return events


class WatchesTheLastJob(SocketMonitor):
    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle:
        self._jobs.clear()
        return super().open_job(header, calls, storage)


class ClosesAllJobs(SocketMonitor):
    def close_job(self, header: Header) -> None:
        self._jobs.clear()


class ClosesAJobOnce(SocketMonitor):
    def close_job(self, header: Header) -> None:
        self._jobs.remove(f"{header.executor}/{header.job}")


class ClosesInSilence(SocketMonitor):
    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.end()


class AwayIsForeignToo(SocketMonitor):
    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle:
        if not self.options.host.startswith("127."):
            raise OSError("cannot listen")
        return super().open_job(header, calls, storage)


class HandsOutBytes(SocketMonitor):
    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle:
        handle = super().open_job(header, calls, storage)
        return Handle(handle.target, {**handle.options, "job": handle.options["job"].encode()})


class SilentReporter(SocketReporter):
    def report(self, message: bytes) -> None:
        try:
            super().report(message)
        except OSError:
            return


class HandsOutASecretToFunctionsToo(SocketMonitor):
    def secrets(self) -> Mapping[str, str]:
        return {"SHELF_PASSWORD": "hunter2"}

    def client(self) -> Handle:
        return Handle("shelf_sdk:connect", {"password": "hunter2"})


class ReportsToNobody(SocketMonitor):
    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle:
        return Handle(f"{__name__}:SilentReporter", super().open_job(header, calls, storage).options)


class ListsTheFirstShard(StorageMonitor):
    def events(self, timeout: float) -> Sequence[Listed]:
        return [listed for listed in super().events(timeout) if listed.call < 1000]


class ListsWhatNobodySaid(StorageMonitor):
    def events(self, timeout: float) -> Sequence[Listed]:
        return [*(found := super().events(timeout)), *(listed._replace(call=9999) for listed in found)]


MONITORS: dict[type[SocketMonitor | StorageMonitor], str] = {
    WaitsTooLong: "test_nothing_comes_when_nothing_was_said",
    DoesNotWait: "test_nothing_comes_when_nothing_was_said",
    WaitsInSpiteOfMessages: "test_events_returns_when_something_comes",
    DropsOneInAThousand: "test_many_messages_arrive",
    TruncatesMessages: "test_a_large_message_comes_whole",
    RewritesMessages: "test_what_a_worker_reports_comes_out_as_it_was",
    Invents: "test_nothing_is_invented",
    ChokesOnGarbage: "test_garbage_does_no_harm",
    WatchesTheLastJob: "test_several_jobs_at_once_lose_nothing",
    ClosesAllJobs: "test_a_job_may_be_opened_and_closed_again",
    ClosesAJobOnce: "test_a_job_may_be_opened_and_closed_again",
    ClosesInSilence: "test_close_ends_the_waiting",
    AwayIsForeignToo: "test_a_service_that_is_away_is_an_error_of_wrens",
    HandsOutBytes: "test_a_handle_can_travel_and_has_no_secret",
    HandsOutASecretToFunctionsToo: "test_functions_can_be_given_a_client_or_it_says_that_they_cannot",
    ReportsToNobody: "test_a_report_to_nobody_is_an_error",
    ListsTheFirstShard: "test_many_messages_arrive",
    ListsWhatNobodySaid: "test_nothing_is_invented",
}


class SoundMonitor(MonitorConformance):
    plugin: ClassVar[type[SocketMonitor | StorageMonitor]] = SocketMonitor

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {"interval": 0.02} if issubclass(self.plugin, StorageMonitor) else {}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"host": "192.0.2.1"}

    def inject(self, handle: Handle, message: bytes) -> None:
        reporter = SocketReporter(**handle.options)
        reporter.report(message)
        reporter.close()


class SoundStorageMonitor(SoundMonitor):
    plugin = StorageMonitor


# ---------------------------------------------------------------- and who runs them


def conformance(plugin: type[Any]) -> type[Any]:
    """The conformance class of a plugin with a defect."""
    base = SoundStorage if issubclass(plugin, LocalStorage) else SoundMonitor
    return type(f"Planted{plugin.__name__}", (base,), {"plugin": plugin, "patience": 1.0})


DEFECTS = {conformance(plugin).__name__: test for plugin, test in (STORAGES | MONITORS).items()} | {
    "PlantedImportsAnSdk": "test_importing_it_imports_no_sdk"
}
globals().update({f"Planted{plugin.__name__}": conformance(plugin) for plugin in [*STORAGES, *MONITORS]})
SOUND = [
    *(("SoundStorage", test) for test in sorted({*STORAGES.values(), DEFECTS["PlantedImportsAnSdk"]})),
    *(("SoundMonitor", test) for test in sorted({test for plugin, test in MONITORS.items()})),
    *(("SoundStorageMonitor", MONITORS[plugin]) for plugin in (ListsTheFirstShard, ListsWhatNobodySaid)),
]

Outcomes = dict[tuple[str, str], list[str]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What became of each test of each class: `passed`, or the kind of failure and its text, for each of its cases."""
    report = tmp_path_factory.mktemp("teeth") / "report.xml"
    tests = [f"{__file__}::{name}::{test}" for name, test in [*SOUND, *DEFECTS.items()]]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "python_classes=Planted* Sound*"]
    done = subprocess.run(
        [*command, "-q", f"--junitxml={report}", *tests],
        cwd=request.config.rootpath,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # some tests failed, and nothing worse
    found: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):
        place = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        ends = [f"{end.tag}: {end.get('message')}" for end in case if end.tag in {"failure", "error", "skipped"}]
        found.setdefault(place, []).extend(ends or ["passed"])
    return found


@pytest.mark.parametrize(("name", "test"), DEFECTS.items(), ids=DEFECTS)
def test_the_kit_catches_it(outcomes: Outcomes, name: str, test: str) -> None:
    assert any(end.startswith("failure") for end in outcomes[name, test]), outcomes[name, test]


@pytest.mark.parametrize(("name", "test"), SOUND)
def test_what_is_sound_passes(outcomes: Outcomes, name: str, test: str) -> None:
    assert set(outcomes[name, test]) == {"passed"}
