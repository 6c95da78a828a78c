"""The storages that wren brings along, against the contract: each test runs on both."""

import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren.errors import NoSuchKey, PreconditionFailed, StorageError, Unsupported
from wren.local.memory import MemoryOptions, MemoryStorage
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.spi import Feature, Storage
from wren.worker.run import open_handle

AnyStorage = Storage[Any]
New = Callable[[], AnyStorage]


@pytest.fixture(params=["localhost", "memory"], scope="module")
def new_storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> New:
    """Makes an empty storage."""

    def localhost() -> AnyStorage:
        return LocalStorage(LocalhostOptions(path=str(tmp_path_factory.mktemp("storage"))))

    def memory() -> AnyStorage:
        return MemoryStorage(MemoryOptions())

    return localhost if request.param == "localhost" else memory


@pytest.fixture
def storage(new_storage: New) -> AnyStorage:
    return new_storage()


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    return LocalStorage(LocalhostOptions(path=str(tmp_path / "storage")))


def keys(storage: AnyStorage, prefix: str = "", after: str = "", bucket: str = "b") -> list[str]:
    return [info.key for info in storage.list(bucket, prefix, after)]


def in_threads(*works: Callable[[], None]) -> None:
    """Runs all at once, and raises what the first of them raised."""
    failed: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads take turns a thousand times as often, so that a race is met in a short test."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


# ---------------------------------------------------------------- put, get, head, delete


def test_what_was_put_is_got(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"some ", bytearray(b"more "), memoryview(b"bytes")])
    assert storage.get("b", "k") == b"some more bytes"


def test_chunks_may_be_a_generator_or_none_at_all(storage: AnyStorage) -> None:
    storage.put("b", "generated", (b"%d" % number for number in range(3)))
    storage.put("b", "empty", [])
    assert (storage.get("b", "generated"), storage.get("b", "empty")) == (b"012", b"")


def test_a_second_put_replaces_the_object(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"longer content"])
    storage.put("b", "k", [b"short"])
    assert storage.get("b", "k") == b"short"
    assert storage.head("b", "k").size == 5


@pytest.mark.parametrize(
    ("start", "stop"), list(itertools.product([0, 1, 5, 9, 10, 11, 99], [None, 0, 1, 5, 10, 11, 99]))
)
def test_a_range_is_a_slice(storage: AnyStorage, start: int, stop: int | None) -> None:
    storage.put("b", "k", [b"0123456789"])
    assert storage.get("b", "k", start, stop) == b"0123456789"[start:stop]


def test_head_says_size_time_and_etag(storage: AnyStorage) -> None:
    before = time.time()
    storage.put("b", "k", [b"content"])
    info = storage.head("b", "k")
    assert (info.key, info.size) == ("k", 7)
    assert before - 1 <= info.mtime <= time.time() + 1  # a file system's clock is coarse
    assert info.etag
    assert list(storage.list("b")) == [info]


@pytest.mark.parametrize("key", ["k", "folder/k", "k/deeper", ""])
def test_what_is_not_there_is_no_such_key(storage: AnyStorage, key: str) -> None:
    storage.put("b", "folder/other", [b""])
    for read in (storage.get, storage.head):
        with pytest.raises(NoSuchKey, match=f"^no object b/{key} in the {storage.name} storage$"):
            read("b", key)


def test_a_folder_is_no_object(storage: AnyStorage) -> None:
    storage.put("b", "folder/k", [b"content"])
    for key in ("folder", "folder/"):
        with pytest.raises(NoSuchKey):
            storage.get("b", key)


def test_delete_removes_those_named_and_no_others(storage: AnyStorage) -> None:
    for key in ("a", "a/b", "a/c", "b"):
        storage.put("b", key, [key.encode()])
    storage.delete("b", ["a", "a/c"])
    assert keys(storage) == ["a/b", "b"]
    with pytest.raises(NoSuchKey):
        storage.get("b", "a")


def test_deleting_what_is_not_there_is_no_error(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"content"])
    storage.delete("b", (key for key in ("missing", "k", "k", "folder/missing")))
    storage.delete("other bucket", ["k"])
    assert keys(storage) == []


def test_buckets_do_not_share_their_objects(storage: AnyStorage) -> None:
    buckets = ["b", "B", "b/c", "..", ".", "b@", "%", "b b"]
    for bucket in buckets:
        storage.put(bucket, "k", [bucket.encode()])
    for bucket in buckets:
        assert storage.get(bucket, "k") == bucket.encode()
        assert keys(storage, bucket=bucket) == ["k"]
    storage.delete("b", ["k"])
    assert keys(storage, bucket="b/c") == ["k"]


# ---------------------------------------------------------------- conditions


def test_if_absent_puts_only_where_nothing_is(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"first"], if_absent=True)
    with pytest.raises(PreconditionFailed, match=r"^the object b/k exists already$"):
        storage.put("b", "k", [b"second"], if_absent=True)
    assert storage.get("b", "k") == b"first"
    assert keys(storage) == ["k"]


def test_if_absent_puts_again_what_was_deleted(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"first"], if_absent=True)
    storage.delete("b", ["k"])
    storage.put("b", "k", [b"second"], if_absent=True)
    assert storage.get("b", "k") == b"second"


@pytest.mark.usefixtures("many_switches")
def test_of_many_that_put_if_absent_one_wins(storage: AnyStorage) -> None:
    won: list[int] = []

    def put(number: int) -> None:
        try:
            storage.put("b", "k", [b"%d" % number], if_absent=True)
        except PreconditionFailed:
            return
        won.append(number)

    in_threads(*(lambda number=number: put(number) for number in range(8)))
    assert len(won) == 1
    assert storage.get("b", "k") == b"%d" % won[0]


def test_if_match_gets_the_object_that_was_meant(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"first"])
    etag = storage.head("b", "k").etag
    assert storage.get("b", "k", 1, 3, if_match=etag) == b"ir"
    storage.put("b", "k", [b"other"])
    with pytest.raises(PreconditionFailed, match=r"^the object b/k has changed meanwhile$"):
        storage.get("b", "k", 1, 3, if_match=etag)


def test_if_match_of_what_is_gone_is_no_such_key(storage: AnyStorage) -> None:
    storage.put("b", "k", [b"first"])
    etag = storage.head("b", "k").etag
    storage.delete("b", ["k"])
    with pytest.raises(NoSuchKey):
        storage.get("b", "k", if_match=etag)


def test_versions_that_follow_each_other_at_once_have_etags_of_their_own(storage: AnyStorage) -> None:
    etags = set()
    for version in range(100):
        storage.put("b", "k", [b"%03d" % version])
        etags.add(storage.head("b", "k").etag)
    assert len(etags) == 100


# ---------------------------------------------------------------- list


NAMES = ["a", "a/", "a/b", "a/b/c", "a//b", "a-b", "ab", "b", "é", "日本/語", "~", "A"]


def test_keys_are_listed_in_their_order(storage: AnyStorage) -> None:
    for key in reversed(NAMES):
        storage.put("b", key, [b""])
    assert keys(storage) == sorted(NAMES, key=str.encode)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "a//", "é", "日", "/", "c", "a/b/c/d", ".."])
@pytest.mark.parametrize("after", ["", "a", "a/b", "a-b", "zzz", "é"])
def test_a_listing_has_what_begins_with_the_prefix_and_sorts_behind_after(
    storage: AnyStorage, prefix: str, after: str
) -> None:
    for key in NAMES:
        storage.put("b", key, [b""])
    assert keys(storage, prefix, after) == [key for key in sorted(NAMES) if key.startswith(prefix) and key > after]


def test_a_bucket_that_nobody_wrote_to_is_empty(storage: AnyStorage) -> None:
    assert keys(storage) == []


def test_objects_may_go_while_they_are_listed(storage: AnyStorage) -> None:
    for number in range(5):
        storage.put("b", f"{number}", [b""])
    listed = []
    for info in storage.list("b"):
        listed.append(info.key)
        storage.delete("b", ["3", "4"])
    assert listed[:3] == ["0", "1", "2"]


# ---------------------------------------------------------------- keys

ODD_KEYS = [
    "with space",
    " leading and trailing ",
    "unicode é 日本 \U0001f426",
    "a+b",
    "100%",
    "%41",
    "%2E%2E",
    "%",
    "@",
    "a@",
    "a@/b",
    "@1-0",
    "/leading slash",
    "//two",
    "trailing slash/",
    "..",
    "../escape",
    "a/../b",
    "a/..",
    ".",
    "./a",
    "...",
    "a//b",
    "/",
    "-rf",
    "*?[a]",
    "back\\slash",
    "new\nline",
    "tab\t",
    "\x00",
    "\x7f",
    "a:b",
    '"quoted"',
    "~",
    "COM1",
]


def test_odd_keys_are_keys_like_any_other(storage: AnyStorage) -> None:
    # Given an object under each of them, all at once
    for key in ODD_KEYS:
        storage.put("b", key, [key.encode()])
    # Then each is found by its key and listed by it
    assert [storage.get("b", key) for key in ODD_KEYS] == [key.encode() for key in ODD_KEYS]
    assert keys(storage) == sorted(ODD_KEYS)
    # And is gone when it is deleted
    for number, key in enumerate(ODD_KEYS, 1):
        storage.delete("b", [key])
        assert keys(storage) == sorted(ODD_KEYS[number:])


def test_an_empty_key_is_refused(storage: AnyStorage) -> None:
    with pytest.raises(StorageError, match=r"key cannot be empty"):
        storage.put("b", "", [b"content"])
    assert keys(storage) == []


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_may_be_another_ones_folder(storage: AnyStorage, order: int) -> None:
    nested = ["a", "a/b", "a/b/c", "a/"]
    for key in nested[::order]:
        storage.put("b", key, [key.encode()])
    assert [storage.get("b", key) for key in nested] == [key.encode() for key in nested]
    storage.delete("b", ["a"])
    assert keys(storage) == ["a/", "a/b", "a/b/c"]


def test_upper_and_lower_case_are_different_keys(storage: AnyStorage) -> None:
    storage.put("b", "key", [b"lower"])
    storage.put("b", "KEY", [b"upper"])
    assert (storage.get("b", "key"), storage.get("b", "KEY")) == (b"lower", b"upper")


parts = st.sampled_from(["", ".", "..", "a", "b", "a b", "@", "a@", "%", "%40", "é", "+"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
any_key = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(bool)
buckets = st.sampled_from(["b", "c"])
contents = st.binary(max_size=20)
operations = st.one_of(
    st.tuples(st.just("put"), buckets, any_key, contents),
    st.tuples(st.just("put if absent"), buckets, any_key, contents),
    st.tuples(st.just("delete"), buckets, any_key, st.none()),
    st.tuples(st.just("delete all below"), buckets, any_key, st.none()),
)


@given(st.lists(operations, max_size=12), any_key, any_key)
def test_a_storage_is_a_dictionary_whose_keys_are_sorted(
    new_storage: New, steps: list[tuple[str, str, str, bytes]], prefix: str, after: str
) -> None:
    # Given a storage and a dictionary
    storage, model = new_storage(), dict[tuple[str, str], bytes]()
    # When the same is done to both
    for step, bucket, key, content in steps:
        if step == "put":
            storage.put(bucket, key, [content])
            model[bucket, key] = content
        elif step == "put if absent":
            try:
                storage.put(bucket, key, [content], if_absent=True)
            except PreconditionFailed:
                assert (bucket, key) in model
            else:
                assert (bucket, key) not in model
                model[bucket, key] = content
        elif step == "delete":
            storage.delete(bucket, [key])
            model.pop((bucket, key), None)
        else:
            storage.delete(bucket, [info.key for info in storage.list(bucket, key)])
            model = {place: data for place, data in model.items() if place[0] != bucket or not place[1].startswith(key)}
    # Then both have the same
    for bucket in ("b", "c"):
        expected = sorted(key for place, key in model if place == bucket)
        assert keys(storage, bucket=bucket) == expected
        found = [key for key in expected if key.startswith(prefix) and key > after]
        assert keys(storage, prefix, after, bucket) == found
    for (bucket, key), content in model.items():
        assert storage.get(bucket, key) == content
        assert storage.head(bucket, key).size == len(content)


# ---------------------------------------------------------------- wholly or not at all


@pytest.mark.usefixtures("many_switches")
def test_a_reader_never_sees_half_an_object(storage: AnyStorage) -> None:
    # Given an object that is written again and again, in many chunks
    whole = [bytes([65 + version]) * 4096 * (1 + version % 3) for version in range(26)]
    storage.put("b", "k", [whole[0]])
    written = threading.Event()

    def write() -> None:
        for version in range(300):
            content = whole[version % 26]
            storage.put("b", "k", (content[at : at + 1000] for at in range(0, len(content), 1000)))
        written.set()

    # When it is read all the while, then what is read is always one of the versions
    def read() -> None:
        while not written.is_set():
            assert storage.get("b", "k") in whole
            assert storage.head("b", "k").size in {4096, 8192, 12288}
            assert keys(storage) == ["k"]

    in_threads(write, read, read)


@pytest.mark.usefixtures("many_switches")
def test_if_match_never_gives_another_version(storage: AnyStorage) -> None:
    """Seen in wren.local.storage: the etag was looked up first, and the object that came meanwhile was read."""
    storage.put("b", "k", [b""])
    written = threading.Event()

    def write() -> None:
        for size in range(2000):
            storage.put("b", "k", [bytes(size % 50)])
        written.set()

    def read() -> None:
        while not written.is_set():
            info = storage.head("b", "k")
            try:
                data = storage.get("b", "k", if_match=info.etag)
            except PreconditionFailed:
                continue
            assert len(data) == info.size

    in_threads(write, read)


@pytest.mark.usefixtures("many_switches")
def test_an_object_can_be_put_while_its_neighbours_are_deleted(storage: AnyStorage) -> None:
    """Seen in wren.local.files: the folder that `delete` found empty was gone when the file was to be made."""

    def work(name: str) -> None:
        for _ in range(1000):
            storage.put("b", f"deep/er/folder/{name}", [b"content"])
            assert storage.get("b", f"deep/er/folder/{name}") == b"content"
            storage.delete("b", [f"deep/er/folder/{name}"])

    in_threads(*(lambda name=name: work(name) for name in "xyz"))
    assert keys(storage) == []


class Interrupted(Exception):
    """What the tests' chunks raise."""


@pytest.mark.parametrize("error", [Interrupted("mine"), FileNotFoundError("mine"), FileExistsError("mine")], ids=repr)
def test_a_put_whose_chunks_fail_changes_nothing_and_raises_their_error(storage: AnyStorage, error: Exception) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise error

    storage.put("b", "old", [b"old"])
    for key in ("old", "new"):
        with pytest.raises(type(error), match=r"^mine$"):
            storage.put("b", key, chunks())
    assert keys(storage) == ["old"]
    assert storage.get("b", "old") == b"old"


def test_an_object_is_not_there_before_its_last_chunk(storage: AnyStorage) -> None:
    seen = []

    def chunks() -> Iterator[bytes]:
        for part in (b"one", b"two"):
            seen.append(keys(storage))
            yield part

    storage.put("b", "folder/k", chunks())
    assert seen == [[], []]
    assert keys(storage) == ["folder/k"]


# ---------------------------------------------------------------- what is the local one's own


@pytest.mark.parametrize("key", ["x" * 300, "é" * 100, "a/" * 3000, f"{'x' * 300}/k"], ids=len)
def test_a_key_that_is_too_long_for_the_file_system_is_an_error_and_leaves_nothing(
    local: LocalStorage, key: str
) -> None:
    with pytest.raises(StorageError, match=r"^the localhost storage cannot use b/.*File name too long") as caught:
        local.put("b", key, [b"content"])
    assert not isinstance(caught.value, NoSuchKey)
    assert keys(local) == []
    assert not [path for path in Path(local.options.path).rglob("*") if path.is_file()]


def test_a_directory_that_cannot_be_made_is_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a directory where the system makes none, and somebody who counts how often that is tried
    tried = itertools.count()
    mkdir = Path.mkdir

    def counting(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        assert next(tried) < 10_000, "tried for ever"
        mkdir(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", counting)
    # When an object is put there, then it is the storage that is to blame
    with pytest.raises(StorageError, match=r"^the localhost storage cannot use b/k"):
        LocalStorage(LocalhostOptions(path="/proc/wren-nowhere")).put("b", "k", [b"content"])


def test_every_directory_that_it_makes_is_the_users_alone(tmp_path: Path) -> None:
    # Given a umask that lets everybody in
    before = os.umask(0)
    try:
        LocalStorage(LocalhostOptions(path=str(tmp_path / "deep" / "storage"))).put("b", "x/y/z", [b"content"])
    finally:
        os.umask(before)
    # Then
    made = [path for path in (tmp_path / "deep", *(tmp_path / "deep").rglob("*")) if path.is_dir()]
    assert len(made) == 5
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}


def test_no_key_and_no_bucket_leads_out_of_the_directory(local: LocalStorage, tmp_path: Path) -> None:
    for bucket, key in itertools.product(["b", "..", "../..", "/tmp", "."], [*ODD_KEYS, "../../../k", f"{tmp_path}/k"]):
        local.put(bucket, key, [b"content"])
    assert list(tmp_path.iterdir()) == [tmp_path / "storage"]
    assert len([path for path in (tmp_path / "storage").rglob("*") if path.is_file()]) == 5 * (len(ODD_KEYS) + 2)


def test_deleted_objects_leave_no_folders(local: LocalStorage, tmp_path: Path) -> None:
    for key in ("a/b/c", "a/b/d", "a/e"):
        local.put("b", key, [b""])
    local.delete("b", ["a/b/c", "a/b/d"])
    assert [path.name for path in (tmp_path / "storage" / "b").rglob("*") if path.is_file()] == ["e"]
    local.delete("b", ["a/e"])
    assert list((tmp_path / "storage").rglob("*")) == [tmp_path / "storage" / "b"]


def test_what_a_crashed_writer_left_is_neither_listed_nor_in_the_way(local: LocalStorage, tmp_path: Path) -> None:
    """Process ids come again, in containers at once: the next ones that this process would take are there already."""
    # Given the names of the temporary files that this process writes
    names: list[str] = []

    def chunks() -> Iterator[bytes]:
        names.extend(path.name for path in (tmp_path / "storage" / "b").iterdir() if path.name != "k")
        yield b"content"

    local.put("b", "k", chunks())
    prefix, _, number = names[0].rpartition("-")
    # When files of the next names, had they been counted, are there
    if number.isdecimal():
        for ahead in range(1, 4):
            (tmp_path / "storage" / "b" / f"{prefix}-{int(number) + ahead}").write_bytes(b"half")
    (tmp_path / "storage" / "b" / names[0]).write_bytes(b"half")
    # Then objects can be put all the same, and only they are listed
    local.put("b", "k", [b"new"])
    assert local.get("b", "k") == b"new"
    assert keys(local) == ["k"]


def test_workers_open_the_same_objects(local: LocalStorage) -> None:
    local.put("b", "from/client", [b"1"])
    worker = open_handle(local.worker())
    worker.put("b", "from/worker", [b"2"])
    assert worker.get("b", "from/client") == b"1"
    assert local.get("b", "from/worker") == b"2"
    assert Feature.WORKER in local.features


def test_workers_cannot_open_the_memory_storage() -> None:
    storage = MemoryStorage(MemoryOptions())
    assert Feature.WORKER not in storage.features
    with pytest.raises(Unsupported, match=r"^workers cannot open the memory storage$"):
        storage.worker()


def test_two_storages_of_one_directory_share_their_objects(local: LocalStorage) -> None:
    local.put("b", "k", [b"content"])
    assert LocalStorage(LocalhostOptions(path=local.options.path)).get("b", "k") == b"content"


def test_a_relative_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage(LocalhostOptions(path="here"))
    storage.put("b", "k", [b"content"])
    monkeypatch.chdir("/")
    assert storage.get("b", "k") == b"content"


def test_the_options_name_the_bucket_of_wrens_own_objects() -> None:
    assert LocalStorage(LocalhostOptions(bucket="mine")).bucket == "mine"
    assert MemoryStorage(MemoryOptions(bucket="mine")).bucket == "mine"


# ---------------------------------------------------------------- its directory, where none is configured


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"wren-{os.getuid()}"


def test_the_directory_is_made_when_something_is_stored_and_is_private(temporary: Path) -> None:
    storage = LocalStorage(LocalhostOptions())
    assert not temporary.exists()
    storage.put("b", "k", [b"content"])
    assert temporary.stat().st_mode & 0o777 == 0o700
    assert LocalStorage(LocalhostOptions()).get("b", "k") == b"content"


def test_a_directory_that_others_may_use_is_refused(temporary: Path) -> None:
    temporary.mkdir()
    temporary.chmod(0o755)
    with pytest.raises(StorageError, match=r"is not a private directory of yours: remove it, or set path in section"):
        LocalStorage(LocalhostOptions()).put("b", "k", [b"content"])


def test_a_link_to_a_directory_is_refused(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    temporary.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is not a private directory of yours"):
        LocalStorage(LocalhostOptions()).put("b", "k", [b"content"])
