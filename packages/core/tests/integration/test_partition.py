"""Maps over objects, files and URLs: what each call gets, and what is said of what cannot be mapped over."""

import gzip
import http.server
import itertools
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wren
from wren.binding import bind
from wren.errors import BindingError, NoSuchKey, PreconditionFailed, StorageError, Unsupported
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.partition import expand, ranges
from wren.spi import Feature, ObjectInfo
from wren.worker.nested import process
from wren.worker.partition import Partition, StorageObject

MIB = 1 << 20
TEXT = b"".join(b"line %d of many\r\n" % number for number in range(200_000))  # 4 MiB
Put = Callable[[str, str, bytes], None]


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wren.FunctionExecutor]:
    path = tmp_path_factory.mktemp("storage")
    with wren.local_executor({"localhost": {"path": str(path)}}, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def put(executor: wren.FunctionExecutor) -> Put:
    storage = executor._engine.storage  # type: ignore[union-attr]  # nobody has a storage of their own yet
    return lambda bucket, key, data: storage.put(bucket, key, [data])


def read(obj: Any, beside: object = None) -> tuple[str, int, int, bytes, object]:
    return obj.key, obj.part, obj.total_parts, obj.data_stream.read(), beside


def content(obj: Any) -> bytes:
    data: bytes = obj.data_stream.read()
    return data


def fetched(url: Any) -> bytes:
    data: bytes = url.data_stream.read()
    return data


# ---- which objects, which parts


@given(st.integers(0, 10_000), st.one_of(st.none(), st.integers(1, 5_000)), st.one_of(st.none(), st.integers(1, 99)))
def test_parts_cover_an_object_without_a_gap(size: int, chunk_size: int | None, chunk_n: int | None) -> None:
    parts = ranges(size, chunk_size, chunk_n)
    assert (parts[0][0], parts[-1][1]) == (0, size)
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(parts))
    assert all(start < stop for start, stop in parts) or parts == [(0, 0)]
    if chunk_n is not None:
        assert len(parts) == max(1, min(chunk_n, size))
    elif chunk_size is not None:
        assert all(stop - start == chunk_size for start, stop in parts[:-1])


def test_an_object_is_one_call_and_its_parts_put_together_are_the_object(
    executor: wren.FunctionExecutor, put: Put
) -> None:
    put("books", "long.txt", TEXT)
    assert executor.get_result(executor.map(content, ["books/long.txt"])) == [TEXT]
    for size, number, count in ((MIB, None, 4), (None, 7, 7), (MIB, 3, 3)):
        futures = executor.map(read, ["books/long.txt"], chunk_size=size, chunk_n=number)
        parts = executor.get_result(futures)
        assert [part[:3] for part in parts] == [("long.txt", number, count) for number in range(count)]
        assert b"".join(part[3] for part in parts) == TEXT
        assert all(part[3].endswith(b"\r\n") for part in parts)


def test_objects_come_as_they_are_listed_with_what_rides_along(executor: wren.FunctionExecutor, put: Put) -> None:
    keys = [
        "a b",
        "a%20b",
        "a+b",
        "deep/er/x",
        "empty",
        "ümlaut",
        "/slash",
        "two//slashes",
        "new\nline",
        "[x]*?",
        "..",
        ".",
    ]
    for key in keys:
        put("odd", key, b"" if key == "empty" else key.encode())
    put("odd", "deep/", b"")  # as consoles mark a folder
    listed = sorted(keys, key=str.encode)
    found = executor.get_result(executor.map(read, [{"obj": "odd/", "beside": 1}, ("odd/a+b", 2)]))
    assert [(key, beside) for key, *_, beside in found] == [*((key, 1) for key in listed), ("a+b", 2)]
    assert [data for _, _, _, data, _ in found] == [
        *(b"" if key == "empty" else key.encode() for key in listed), b"a+b"
    ]  # fmt: skip
    assert [key for key, *_ in executor.get_result(executor.map(read, ["odd//slash"]))] == ["/slash"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("logs/*.csv", ["logs/1.csv", "logs/2.csv"]),
        ("logs/**", ["logs/1.csv", "logs/2.csv", "logs/[x].csv", "logs/old/3.csv", "logs/readme"]),
        ("logs/**/*.csv", ["logs/1.csv", "logs/2.csv", "logs/[x].csv", "logs/old/3.csv"]),
        ("logs/[13].csv", ["logs/1.csv"]),
        ("logs/[!1].csv", ["logs/2.csv"]),
        ("logs/[x].csv", ["logs/[x].csv"]),
        ("logs/?.csv", ["logs/1.csv", "logs/2.csv"]),
    ],
)
def test_a_glob_means_the_keys_that_match(
    executor: wren.FunctionExecutor, put: Put, pattern: str, expected: list[str]
) -> None:
    for key in ["logs/1.csv", "logs/2.csv", "logs/[x].csv", "logs/old/3.csv", "logs/readme"]:
        put("globbed", key, b"x")
    found = [key for key, *_ in executor.get_result(executor.map(read, [f"globbed/{pattern}"]))]
    if pattern == "logs/*.csv":
        expected = sorted([*expected, "logs/[x].csv"])
    assert found == expected


def test_files_of_this_machine(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    assert executor.get_result(executor.map(content, [tmp_path])) == [b"a.txt", b"b.txt", b"deep/c.txt"]
    assert executor.get_result(executor.map(content, [f"{tmp_path}/*.txt", tmp_path / "a.txt"])) == [
        b"a.txt", b"b.txt", b"a.txt"
    ]  # fmt: skip
    assert executor.get_result(executor.map(lambda obj: obj.path, [tmp_path / "a.txt"])) == [str(tmp_path / "a.txt")]
    assert executor.get_result(executor.map(content, [f"{tmp_path}/**"])) == [b"a.txt", b"b.txt", b"deep/c.txt"]


def test_what_may_have_been_meant_is_said(
    executor: wren.FunctionExecutor, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("hinted", "folder/x", b"1")
    with pytest.raises(NoSuchKey, match=r"hinted/folder .*; for all that is below it give hinted/folder/$"):
        executor.map(content, ["hinted/folder"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hinted").mkdir()
    (tmp_path / "hinted" / "file").touch()
    with pytest.raises(NoSuchKey, match=r"; for the file of this machine give \./hinted/file$"):
        executor.map(content, ["hinted/file"])


class Slow:
    """A storage that answers when it was asked by two at the same time."""

    name, features = "slow", Feature.WORKER

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=20)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        self.both.wait()
        return ObjectInfo(key, 10**18, 0.0, "1")


def test_elements_are_looked_up_at_the_same_time() -> None:
    storage: Any = Slow()
    elements = [f"bucket/{number}" for number in range(10)]
    found = expand(bind(content, elements, None), storage, None, None)
    assert [part["obj"].key for part in found.bound.kwargs or []] == [str(number) for number in range(10)]
    with pytest.raises(BindingError, match=r"bucket/0 of 10+ bytes would be more than 1000000 parts: give a larger"):
        expand(bind(content, elements[:2], None), storage, MIB, None)


def test_an_element_that_means_nothing_is_told_before_the_others_have_answered() -> None:
    """A service may take minutes not to answer, and an error, as Ctrl-C, waits for none of that."""
    silent, answered = threading.Event(), list[str]()

    class Slow(LocalStorage):
        def head(self, bucket: str, key: str) -> ObjectInfo:
            if key == "missing":
                raise NoSuchKey("no such object")
            silent.wait(20)
            answered.append(key)
            return ObjectInfo(key, 0, 0.0, "")

    bound = bind(content, [f"b/{key}" for key in ("missing", *"abc")], None)
    with pytest.raises(NoSuchKey, match="no such object"):
        expand(bound, Slow(LocalhostOptions()), None, None)
    assert not answered
    silent.set()


def test_a_storage_that_gives_other_bytes_than_it_was_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        def get_range(self, bucket: str, key: str, start: int, stop: int, etag: str) -> bytes:
            return b"few"

    monkeypatch.setattr(process, "storage", Short)
    part = Partition(StorageObject("bucket", "key", 10, "1"), 0, 1, 0, 10)
    with pytest.raises(StorageError, match="of the object bucket/key 3 bytes came for 0 to 10: it is said to have 10"):
        part.data_stream.read()


def test_parts_travel_without_their_streams(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1\n2\n")
    found = expand(bind(content, [path, path], None), LocalStorage(LocalhostOptions()), None, None)
    part, other = (named["obj"] for named in found.bound.kwargs or [])
    assert part.data_stream.read() == b"1\n2\n"
    part.data_stream.close()
    copy = pickle.loads(pickle.dumps(part))  # noqa: S301 - made here
    assert copy.data_stream.read() == b"1\n2\n"
    assert repr(copy) == repr(other) == f"<part 0 of 1 of {path}, bytes 0 to 4>"
    copy.data_stream.close()
    path.unlink()
    with pytest.raises(NoSuchKey, match=f"the file {path} can be read no more: No such file"):
        other.data_stream.read()


def test_call_async_takes_one_object(executor: wren.FunctionExecutor, put: Put) -> None:
    put("single", "a", b"1")
    put("single", "b", b"2")
    assert executor.get_result(executor.call_async(content, "single/a")) == b"1"
    with pytest.raises(BindingError, match=r"obj is 'single/', which is 2 objects: use map"):
        executor.call_async(content, "single/")


def test_a_reducer_gets_the_results_of_all_parts(executor: wren.FunctionExecutor, put: Put) -> None:
    put("reduced", "text", TEXT)
    futures = executor.map_reduce(lambda obj: len(list(obj.data_stream)), ["reduced/text"], sum, chunk_n=5)
    assert executor.get_result(futures) == 200_000


@pytest.mark.parametrize("through_client", [False, True])
def test_each_object_has_a_reducer(executor: wren.FunctionExecutor, put: Put, through_client: bool) -> None:
    for number in range(4):
        put("each", f"{number}", TEXT[: number * MIB])
    futures = executor.map_reduce(
        lambda obj: (obj.key, obj.data_stream.read()),
        ["each/"],
        lambda parts: ({key for key, _ in parts}, b"".join(data for _, data in parts)),
        chunk_n=3,
        reducer_one_per_object=True,
        reducer_wait_local=through_client,
    )
    assert len(futures) == 1 + 3 * 3 + 4  # the empty object is one part
    assert executor.get_result(futures) == [({f"{number}"}, TEXT[: number * MIB]) for number in range(4)]


def test_a_reducer_starts_when_its_object_is_done(executor: wren.FunctionExecutor, put: Put, tmp_path: Path) -> None:
    for key in "ab":
        put("early", key, b"12")

    def wait(obj: Any) -> bytes:
        while obj.key == "b" and not (tmp_path / "go").exists():
            pass
        return content(obj)

    def reduce(parts: list[bytes]) -> bytes:
        (tmp_path / "go").touch()
        return b"".join(parts)

    futures = executor.map_reduce(wait, ["early/"], reduce, chunk_n=1, reducer_one_per_object=True)
    assert executor.get_result(futures, timeout=20) == [b"12", b"12"]


@pytest.mark.parametrize("through_client", [False, True])
def test_an_object_that_fails_fails_its_reducer_only(
    executor: wren.FunctionExecutor, put: Put, through_client: bool
) -> None:
    for key in "abc":
        put("failing", key, b"12")

    def fail(obj: Any) -> bytes:
        if obj.key == "b" and obj.part == 1:
            raise ValueError(obj.key)
        return content(obj)

    futures = executor.map_reduce(
        fail, ["failing/"], b"".join, chunk_n=2, reducer_one_per_object=True, reducer_wait_local=through_client
    )
    *_, first, second, third = futures
    assert (first.result(20), third.result(20)) == (b"12", b"12")
    with pytest.raises(ValueError, match="b"):
        second.result(20)
    executor.get_result(throw_except=False)


def test_reducers_that_are_held_can_be_cancelled(executor: wren.FunctionExecutor, put: Put, tmp_path: Path) -> None:
    for key in "ab":
        put("held", key, b"1")

    def wait(obj: Any) -> bytes:
        while obj.key == "b" and not (tmp_path / "go").exists():
            pass
        return content(obj)

    *_, first, second = executor.map_reduce(wait, ["held/"], b"".join, reducer_one_per_object=True)
    assert first.result(20) == b"1"
    assert second.cancel()
    (tmp_path / "go").touch()
    assert second.cancelled()
    assert executor.get_result(throw_except=False) == [None]


def test_a_reducer_for_each_object_needs_objects(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="abs has no parameter obj or url, as reducer_one_per_object needs it"):
        executor.map_reduce(abs, [1], sum, reducer_one_per_object=True)


def test_a_part_is_a_binary_stream(executor: wren.FunctionExecutor, put: Put) -> None:
    put("zipped", "text.gz", gzip.compress(TEXT))

    def lines(obj: Any) -> int:
        with gzip.open(obj.data_stream, "rt") as file:
            return sum(1 for _ in file)

    assert executor.get_result(executor.call_async(lines, "zipped/text.gz")) == 200_000


# ---- what goes wrong


def test_an_object_that_changes_in_between_is_an_error(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"old\n")

    def change(obj: Any) -> bytes:
        Path(obj.path).write_bytes(b"newer\n")
        return content(obj)

    with pytest.raises(PreconditionFailed, match=f"the file {path} has changed since it was mapped over"):
        executor.get_result(executor.call_async(change, path))


def test_an_object_of_the_storage_that_changes_is_an_error(
    executor: wren.FunctionExecutor, put: Put, tmp_path: Path
) -> None:
    put("moving", "x", b"old")
    go = tmp_path / "go"

    def wait(obj: Any) -> bytes:
        while not go.exists():
            pass
        return content(obj)

    future = executor.call_async(wait, "moving/x")
    put("moving", "x", b"new")
    go.touch()
    with pytest.raises(PreconditionFailed, match="moving/x has changed"):
        executor.get_result(future)


@pytest.mark.parametrize(
    ("element", "error", "words"),
    [
        ("nobucket", BindingError, "has no bucket: give bucket/key"),
        ("none/there", NoSuchKey, "no object none/there"),
        ("none/", NoSuchKey, "no object for 'none/'"),
        ("none/*.csv", NoSuchKey, "no object for"),
        ("cos://bucket/key", BindingError, 'give storage_backend="ibm_cos"'),
        ("s3://bucket/key", BindingError, "s3:// names no storage"),
        ("/nowhere/at/all", NoSuchKey, "no file '/nowhere/at/all'"),
        ("/nowhere/a**b", NoSuchKey if sys.version_info >= (3, 13) else BindingError, "'/nowhere/a**b'"),
        (
            "http://me:secret@host/x?y",
            BindingError,
            "obj is 'http://host/x': http:// names no storage; ask for a param",
        ),
        (7, BindingError, "obj is 7: give a name"),
    ],
)
def test_what_is_no_object_is_an_error_before_anything_runs(
    executor: wren.FunctionExecutor, element: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        executor.map(content, [element])


def test_what_divides_nothing_is_an_error(executor: wren.FunctionExecutor, put: Put) -> None:
    put("divided", "x", b"1")
    with pytest.raises(
        BindingError, match="abs has no parameter obj or url, whose objects chunk_size and chunk_n would divide"
    ):
        executor.map(abs, [1], chunk_n=2)
    with pytest.raises(BindingError, match="chunk_size is 1000 bytes: give 1 MiB"):
        executor.map(content, ["divided/x"], chunk_size=1_000)
    with pytest.raises(BindingError, match="chunk_n is 0"):
        executor.map(content, ["divided/x"], chunk_n=0)
    with pytest.raises(BindingError, match="parameters obj and url"):
        executor.map(lambda obj, url: 0, [("a/b", "http://x")])


def test_what_workers_cannot_open_cannot_be_mapped_over() -> None:
    with (
        wren.local_executor(storage_backend="memory") as executor,
        pytest.raises(Unsupported, match="workers cannot open the memory storage"),
    ):
        executor.map(content, ["bucket/key"])


# ---- URLs


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves TEXT, with or without ranges; what is asked of it first goes wrong as the path says."""

    asked: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.path = self.path.partition("?")[0]
        self.asked.append(self.path)
        times = self.asked.count(self.path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        status, body, headers = 200, TEXT, {}
        if self.path == "/empty":
            status, body = (416, b"") if wanted else (200, b"")
        elif wanted and not self.path.startswith("/whole"):
            start, stop = int(wanted[1]), int(wanted[2]) + 1
            if self.path == "/lies" and times > 1:
                start += 1
            status, body = 206, TEXT[start:stop]
            headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(TEXT)}", "ETag": '"1"'}
            if self.path == "/changes" and times > 1:
                headers["ETag"] = '"2"'
        if (
            self.path == "/missing"
            or (self.path == "/breaks" and times > 1)
            or (self.path == "/stumbles" and times == 2)
        ):
            status, body = 404 if self.path == "/missing" else 503, b"no"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def pages() -> Iterator[str]:
    Pages.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_read_in_ranges(executor: wren.FunctionExecutor, pages: str) -> None:
    parts = executor.get_result(executor.map(fetched, [f"{pages}/text"], chunk_n=3))
    assert len(parts) == 3
    assert b"".join(parts) == TEXT
    assert executor.get_result(executor.map(lambda url: url.path, [f"{pages}/text"])) == [f"{pages}/text"]
    assert executor.get_result(executor.map(fetched, [f"{pages}/empty"], chunk_n=3)) == [b""]


def test_a_url_without_ranges_is_one_part_with_a_warning(executor: wren.FunctionExecutor, pages: str) -> None:
    with pytest.warns(UserWarning, match=r"/whole cannot be read in ranges, and is one part") as warned:
        futures = executor.map(fetched, [f"{pages}/whole?key=secret"], chunk_n=3)
    assert executor.get_result(futures) == [TEXT]
    assert warned[0].filename == __file__
    assert "secret" not in str(warned[0].message)


def test_a_server_that_stumbles_is_asked_again(executor: wren.FunctionExecutor, pages: str) -> None:
    assert executor.get_result(executor.call_async(fetched, f"{pages}/stumbles")) == TEXT


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/missing?key=secret", NoSuchKey, "/missing cannot be read: it answers 404"),
        ("/breaks", StorageError, "/breaks cannot be read: it answers 503"),
        ("/lies", StorageError, "/lies was asked for bytes .* and gave others"),
        ("/changes", PreconditionFailed, "/changes has changed since it was mapped over"),
    ],
)
def test_what_a_server_does_wrong_is_said(
    executor: wren.FunctionExecutor, pages: str, path: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as raised:
        executor.get_result(executor.call_async(fetched, pages + path))
    assert "secret" not in str(raised.value)


def test_what_is_no_url_and_who_does_not_answer(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="url is 'ftp://x': give one that begins with http"):
        executor.map(fetched, ["ftp://x"])
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:1/x cannot be read: .*refused"):
        executor.map(fetched, ["http://127.0.0.1:1/x"])


def test_a_stream_that_is_closed_leaves_no_descriptor(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")

    def count(obj: Any) -> int:
        obj.data_stream.read()
        obj.data_stream.close()
        return len(list(Path("/proc/self/fd").iterdir()))

    counts = executor.get_result(executor.map(count, [path] * 20))
    assert max(counts[10:]) <= max(counts[:10])
