"""`wren.Storage`: the same in a program and in functions, on every storage that is here."""

import array
import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import wren
from wren.errors import (
    CallError,
    ConfigError,
    NoSuchKey,
    PluginNotFound,
    PreconditionFailed,
    SerializationError,
    StorageError,
)

MIB: Final = 1 << 20
MISSING: Final = r"no object \S+/nothing in the \w+ storage"


def config_of(name: str, request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Of a storage, or of a real S3 server, which is started when a test is the first to ask for it."""
    if name == "ibm_cos":
        return {name: request.getfixturevalue("s3").options(request.getfixturevalue("s3_bucket"))}
    return {} if name == "memory" else {name: {"path": str(request.getfixturevalue("tmp_path") / "storage")}}


@pytest.fixture(params=["localhost", "memory", "template", "ibm_cos"])
def storage(request: pytest.FixtureRequest) -> Iterator[wren.Storage]:
    """A program's own."""
    with wren.Storage(config_of(request.param, request), request.param) as opened:
        yield opened


@pytest.fixture(params=["localhost", "template", "ibm_cos"])
def executor(request: pytest.FixtureRequest) -> Iterator[wren.FunctionExecutor]:
    name = request.param
    backend = "localhost" if name == "ibm_cos" else name
    config = {**config_of(name, request), "wren": {"backend": backend, "storage": name, "workers": 2}}
    with wren.FunctionExecutor(config) as made:
        yield made


# ---- what it does


def use(storage: Any) -> list[Any]:
    """All of its methods, and what they gave: to be run in a program and in a function."""
    large = bytes(range(256)) * 4 * 4096 * 3  # 12 MiB, more than a block
    storage.put_object(storage.bucket, "k", b"0123456789")
    storage.put_object(storage.bucket, "text", "caf\u00e9")
    storage.put_object(storage.bucket, "folder/file", io.BytesIO(large))
    storage.put_object(storage.bucket, "folder/chunks", (large[at : at + MIB] for at in range(0, len(large), MIB)))
    storage.put_object(storage.bucket, "empty", b"")
    place = Path(f"{os.environ.get('TMPDIR', '/tmp')}/wren-test-{os.urandom(8).hex()}")
    place.mkdir()
    storage.download_file(storage.bucket, "folder/chunks", place / "down")
    storage.upload_file(str(place / "down"), storage.bucket)
    storage.upload_file(place / "down", storage.bucket, "folder/up")
    named = storage.put_cloudobject(b"named", storage.bucket, "mine")
    nameless = storage.put_cobject("nameless")
    info = storage.head_object(storage.bucket, "k")
    gave = [
        storage.get_object(storage.bucket, "k"),
        storage.get_object(storage.bucket, "k", range=(2, 5)),
        storage.get_object(storage.bucket, "k", range=(-3, None)),
        storage.get_object(storage.bucket, "k", range=(8, 99)),
        storage.get_object(storage.bucket, "k", extra_get_args={"Range": "bytes=2-5"}),
        storage.get_object(storage.bucket, "k", False, {"Range": "bytes=-2"}),
        storage.get_object(storage.bucket, "k", stream=True, range=(1, 4)).read(),
        storage.get_object(storage.bucket, "text").decode(),
        storage.get_object(storage.bucket, "empty"),
        storage.get_object(storage.bucket, "folder/file") == large == storage.get_object(storage.bucket, "folder/up"),
        storage.get_object(storage.bucket, "folder/file", stream=True).read(MIB + 7) == large[: MIB + 7],
        (place / "down").read_bytes() == large,
        sorted(path.name for path in place.iterdir()),
        (info.key, info.size, info in storage.list_objects(storage.bucket)),
        storage.list_keys(storage.bucket, "folder/"),
        [each.size for each in storage.list_objects(storage.bucket, "folder/")],
        storage.list_keys(storage.bucket, "nothing/"),
        named[1:] == (storage.bucket, "mine"),
        (nameless.backend == storage.backend, nameless.bucket == storage.bucket),
        storage.get_cloudobject(named),
        storage.get_cobject(nameless, stream=True).read(),
    ]
    storage.delete_cobject(nameless)
    storage.delete_cloudobjects([named, nameless])
    storage.delete_object(storage.bucket, "folder/file")
    storage.delete_objects(storage.bucket, ["folder/chunks", "nothing"])
    gave += [storage.list_keys(storage.bucket), storage.list_keys(storage.bucket, "wren.objects/")]
    (place / "down").unlink()
    place.rmdir()
    return gave


EXPECTED: Final = [
    b"0123456789",
    b"234",
    b"789",
    b"89",
    b"2345",
    b"89",
    b"123",
    "caf\u00e9",
    b"",
    True,
    True,
    True,
    ["down"],
    ("k", 10, True),
    ["folder/chunks", "folder/file", "folder/up"],
    [12 * MIB] * 3,
    [],
    True,
    (True, True),
    b"named",
    b"nameless",
    ["down", "empty", "folder/up", "k", "text"],
    [],
]


def test_a_program_has_it(storage: wren.Storage) -> None:
    assert use(storage) == EXPECTED


def test_functions_have_it(executor: wren.FunctionExecutor) -> None:
    assert executor.call_async(lambda _, storage: use(storage), 0).result(60) == EXPECTED


def test_an_executor_has_it(executor: wren.FunctionExecutor) -> None:
    assert use(executor.storage) == EXPECTED


def test_a_function_gets_what_its_annotation_may_say(executor: wren.FunctionExecutor) -> None:
    def inside(x: int, storage: wren.Storage) -> tuple[bool, str, str]:
        same = wren.Storage()  # that of the call
        return type(storage) is type(same) is wren.Storage, same.backend, repr(storage)

    name = executor.storage.backend
    expected = (True, name, f"<wren.Storage {name}, bucket {executor.storage.bucket}>")
    assert executor.call_async(inside, 1).result(30) == expected


def test_an_executor_within_a_function_has_that_of_the_call(executor: wren.FunctionExecutor) -> None:
    def inside(key: str, storage: Any) -> bytes:
        storage.put_object(storage.bucket, key, b"content")
        content: bytes = wren.local_executor().storage.get_object(storage.bucket, key)
        return content

    assert executor.call_async(inside, "k").result(30) == b"content"


def test_what_one_call_returns_others_and_the_program_get(executor: wren.FunctionExecutor) -> None:
    def make(number: int, storage: Any) -> wren.CloudObject:
        made: wren.CloudObject = storage.put_cloudobject(str(number))
        return made

    def together(made: list[wren.CloudObject], storage: Any) -> bytes:
        return b" ".join(storage.get_cloudobject(each) for each in made)

    futures = executor.map_reduce(make, range(3), together)
    assert executor.get_result(futures) == b"0 1 2"
    assert [executor.storage.get_cloudobject(each.result()) for each in futures[:-1]] == [b"0", b"1", b"2"]


def test_the_configuration_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_CONFIG_FILE", str(tmp_path / "none.toml"))
    (tmp_path / "none.toml").write_text("")
    assert wren.Storage().backend == "localhost"
    (tmp_path / "none.toml").write_text('[wren]\nstorage = "memory"\n[memory]\nbucket = "mine"\n')
    assert (wren.Storage().backend, wren.Storage().bucket) == ("memory", "mine")
    assert wren.Storage(backend="localhost").backend == "localhost"
    assert wren.Storage({"memory": {"bucket": "other"}}).bucket == "other"
    with pytest.raises(PluginNotFound, match="no storage 'shelf'"):
        wren.Storage(backend="shelf")
    with pytest.raises(ConfigError, match="unknown key 'buket' in section"):
        wren.Storage({"memory": {"buket": "other"}})


@pytest.mark.parametrize(
    "body",
    [b"data", bytearray(b"data"), memoryview(b"data"), memoryview(b"d.a.t.a.")[::2], array.array("B", b"data"), "data"],
    ids=lambda body: type(body).__name__,
)
def test_whatever_has_bytes_is_put(storage: wren.Storage, body: Any) -> None:
    storage.put_object(storage.bucket, "k", body)
    storage.put_object(storage.bucket, "chunks", [body if not isinstance(body, str) else b"data", b"", b"!"])
    assert (storage.get_object(storage.bucket, "k"), storage.get_object(storage.bucket, "chunks")) == (
        b"data",
        b"data!",
    )


def test_an_array_of_numpy_is_its_bytes(storage: wren.Storage) -> None:
    numpy = pytest.importorskip("numpy")
    values = numpy.arange(6, dtype="float64").reshape(2, 3)
    for body in (values, values.T, values[:0]):
        storage.put_object(storage.bucket, "k", body)
        assert storage.get_object(storage.bucket, "k") == body.tobytes()


def test_a_file_is_read_from_where_it_is(storage: wren.Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"head and body")
    with (tmp_path / "file").open("rb") as file:
        file.seek(9)
        storage.put_object(storage.bucket, "k", file)
    assert storage.get_object(storage.bucket, "k") == b"body"


def test_a_missing_object_is_one_kind_of_error_everywhere(storage: wren.Storage, tmp_path: Path) -> None:
    asked: list[Callable[[], Any]] = [
        lambda: storage.get_object(storage.bucket, "nothing"),
        lambda: storage.get_object(storage.bucket, "nothing", range=(3, 3)),
        lambda: storage.get_object(storage.bucket, "nothing", range=(-3, None)),
        lambda: storage.get_object(storage.bucket, "nothing", stream=True),
        lambda: storage.head_object(storage.bucket, "nothing"),
        lambda: storage.download_file(storage.bucket, "nothing", tmp_path / "down"),
        lambda: storage.get_cloudobject(wren.CloudObject(storage.backend, storage.bucket, "nothing")),
    ]
    for ask in asked:
        with pytest.raises(wren.StorageNoSuchKey, match=MISSING):
            ask()
    assert wren.StorageNoSuchKey is NoSuchKey
    assert not (tmp_path / "down").exists()
    storage.delete_object(storage.bucket, "nothing")


def test_functions_are_told_so_too(executor: wren.FunctionExecutor) -> None:
    def ask(how: str, storage: Any) -> Any:
        return getattr(storage, how)(storage.bucket, "nothing")

    for how in ("get_object", "head_object", "download_file"):
        with pytest.raises(wren.StorageNoSuchKey, match=MISSING):
            executor.call_async(ask, how).result(30)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda s: s.put_object(s.bucket, "k", 5), TypeError, r"^what is .* \S+/k is of type int: give bytes, text"),
        (lambda s: s.put_object(s.bucket, "k", None), TypeError, r"/k is of type NoneType: give bytes"),
        (lambda s: s.put_object(s.bucket, "k", {}), TypeError, r"/k is of type dict: give bytes"),
        (lambda s: s.put_object(s.bucket, "k", [b"1", 2]), TypeError, "a part of .*/k is of type int: give"),
        (lambda s: s.put_object(s.bucket, "k", io.StringIO("x")), TypeError, "a part of .* is of type str: giv"),
        (lambda s: s.put_object(s.bucket, "", b""), ValueError, "^key is '': give one"),
        (lambda s: s.put_object("", "k", b""), ValueError, "^bucket is '': give one"),
        (lambda s: s.get_object(None, "k"), TypeError, "^bucket is of type NoneType: give a str$"),
        (lambda s: s.get_object(s.bucket, b"k"), TypeError, "^key is of type bytes: give a str$"),
        (lambda s: s.get_object(s.bucket, "there", range=(5, 2)), ValueError, r"^range is \(5, 2\): give \(sta"),
        (lambda s: s.get_object(s.bucket, "there", range=(-5, 2)), ValueError, r"^range is \(-5, 2\): give"),
        (lambda s: s.get_object(s.bucket, "there", range="0-5"), ValueError, r"^range is '0-5': give"),
        (lambda s: s.get_object(s.bucket, "there", range=(9, None)), StorageError, "begins at 9, and it has 4"),
        (lambda s: s.get_object(s.bucket, "there", range=(9, 12)), StorageError, "there begins at"),
        (lambda s: s.get_object(s.bucket, "there", True, range=(9, 12)), StorageError, "begins at 9, and it"),
        (lambda s: s.get_object(s.bucket, "k", False, {"Range": "5-6"}), ValueError, "'5-6': give it as bytes="),
        (lambda s: s.get_object(s.bucket, "k", False, {"IfMatch": "x"}), ValueError, "has 'IfMatch': give"),
        (lambda s: s.delete_objects(s.bucket, "abc"), TypeError, "^key_list is 'abc': give a list of keys$"),
        (lambda s: s.delete_objects(s.bucket, [1]), TypeError, "^key is of type int: give a str$"),
        (lambda s: s.list_objects(1), TypeError, "^bucket is of type int: give a str$"),
        (lambda s: s.upload_file("/nonexistent/file", s.bucket), FileNotFoundError, "/nonexistent/file"),
        (lambda s: s.upload_file("/", s.bucket), IsADirectoryError, "/"),
        (lambda s: s.download_file(s.bucket, "there", "/nonexistent/f"), FileNotFoundError, "no such directory"),
        (lambda s: s.download_file(s.bucket, "there", "/dev/null"), OSError, "it is no file: '/dev/null'"),
        (lambda s: s.download_file(s.bucket, "there/"), ValueError, "'there/' ends without the name of a file"),
        (lambda s: s.get_cloudobject("b/k"), TypeError, "^the cloud object is 'b/k': give what put_c"),
        (lambda s: s.get_cloudobject(wren.CloudObject("x", s.bucket, "k")), StorageError, "in another storage"),
    ],
)  # fmt: skip
def test_bad_input_is_one_plain_error(
    storage: wren.Storage, ask: Callable[[wren.Storage], Any], error: type[Exception], message: str
) -> None:
    storage.put_object(storage.bucket, "there", b"four")
    with pytest.raises(error, match=message):
        ask(storage)
    assert storage.list_keys(storage.bucket) == ["there"]


class Own(Exception):
    """A program's own."""


@pytest.mark.parametrize("error", [Own("mine"), FileNotFoundError("mine"), StorageError("mine")], ids=repr)
def test_what_a_body_raises_comes_out_as_it_is_and_nothing_is_written(storage: wren.Storage, error: Exception) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(type(error), match=r"^mine$"):
        storage.put_object(storage.bucket, "k", chunks())
    assert storage.list_keys(storage.bucket) == []


def test_a_closed_one_says_so(storage: wren.Storage) -> None:
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match=r"^<wren.Storage \w+, bucket \S+> is closed, and \S+/k was asked for"):
        storage.get_object(storage.bucket, "k")
    with pytest.raises(StorageError, match="is closed"):
        storage.put_object(storage.bucket, "k", b"")


def test_that_of_an_executor_can_be_closed_and_the_executor_used(executor: wren.FunctionExecutor) -> None:
    with executor.storage as mine:
        mine.put_object(mine.bucket, "k", b"content")
    assert executor.storage.get_object(mine.bucket, "k") == b"content"


def test_it_cannot_be_pickled_and_says_what_to_do(executor: wren.FunctionExecutor) -> None:
    storage = executor.storage
    message = "cannot be pickled: give the function a parameter named storage"
    with pytest.raises(TypeError, match=message):
        pickle.dumps(storage)
    with pytest.raises(SerializationError, match=message):
        executor.map(lambda x: storage, [1])
    with pytest.raises(SerializationError, match=message):
        executor.call_async(lambda x, storage: storage, 1).result(30)


def test_a_call_without_a_storage_says_how_to_get_one() -> None:
    with wren.local_executor(workers=1) as executor, pytest.raises(CallError, match="a parameter named storage"):
        executor.call_async(lambda x: wren.Storage(), 1).result(30)


# ---- threads and forks


def test_threads_may_share_it(storage: wren.Storage) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            data = bytes([number]) * (2 * MIB)
            storage.put_object(storage.bucket, f"{number}", data)
            assert storage.get_object(storage.bucket, f"{number}", stream=True).read() == storage.get_object(
                storage.bucket, f"{number}"
            )
            assert storage.get_object(storage.bucket, f"{number}") == data
        except BaseException as error:  # noqa: BLE001 - said below
            failed.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert storage.list_keys(storage.bucket) == [f"{number}" for number in range(6)]


def test_a_forked_child_may_use_it_too(storage: wren.Storage) -> None:
    if storage.backend == "memory":
        pytest.skip("what a child puts there is its own")
    large = bytes(20 * MIB)
    storage.put_object(storage.bucket, "large", large)
    assert storage.get_object(storage.bucket, "large") == large  # by several threads
    child = os.fork()
    if not child:
        try:
            storage.put_object(storage.bucket, "child's", storage.get_object(storage.bucket, "large", stream=True))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert storage.head_object(storage.bucket, "child's").size == len(large)


# ---- large ones

LARGE: Final = """
import os, sys, resource, wren
folder, megabytes = sys.argv[1], int(sys.argv[2])
storage = wren.Storage({"localhost": {"path": folder + "/storage"}}, "localhost")
import wren.worker.content, wren.local.files
def chunks():
    for number in range(megabytes):
        yield bytes([number % 251]) * (1 << 20)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
storage.put_object("b", "large", chunks())
storage.download_file("b", "large", folder + "/down")
storage.upload_file(folder + "/down", "b", "up")
size = sum(map(len, iter(lambda s=storage.get_object("b", "up", stream=True): s.read(1 << 20), b"")))
print(peak() - before, size)
"""


def test_300_mib_go_up_and_down_and_few_of_them_are_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LARGE, str(tmp_path), "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    grown, size = map(int, done.stdout.split())
    assert size == 300 * MIB
    assert grown < 120  # MiB: 64 of them may be on their way

    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    assert digest(tmp_path / "down") == digest(tmp_path / "storage" / "b" / "up")


class Broken:
    """A storage that raises when a byte is read of an object's second half."""

    def __init__(self, inner: Any, error: BaseException) -> None:
        self._inner, self._error = inner, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Any:
        if start >= 16 * MIB:
            raise self._error
        return self._inner.get(bucket, key, start, stop, if_match=if_match)


@pytest.mark.parametrize("error", [StorageError("gone"), KeyboardInterrupt()], ids=repr)
def test_a_download_that_ends_early_leaves_nothing(storage: wren.Storage, tmp_path: Path, error: BaseException) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    storage.put_object(storage.bucket, "large", bytes(32 * MIB))
    broken = wren.Storage.over(Broken(storage._primitives, error), "localhost", "wren")
    for name in ("new", "old"):
        with pytest.raises(type(error)):
            broken.download_file(storage.bucket, "large", folder / name)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("old", b"old")]


class Overwriting(Broken):
    """One that has an object overwritten when its second half is read, once: threads read on when all is over."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner, KeyboardInterrupt())
        self._once, self._lock = True, threading.Lock()

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Any:
        if start >= 16 * MIB:
            with self._lock:
                if self._once:
                    self._inner.put(bucket, key, [bytes(32 * MIB)])
                self._once = False
        return self._inner.get(bucket, key, start, stop, if_match=if_match)


def test_what_is_overwritten_meanwhile_is_an_error_and_never_mixed(storage: wren.Storage, tmp_path: Path) -> None:
    reads: list[Callable[[wren.Storage], Any]] = [
        lambda over: over.download_file(storage.bucket, "k", tmp_path / "down"),
        lambda over: over.get_object(storage.bucket, "k"),
        lambda over: over.get_object(storage.bucket, "k", stream=True).read(),
    ]
    for read in reads:
        storage.put_object(storage.bucket, "k", b"\1" * (32 * MIB))
        with pytest.raises(PreconditionFailed, match=r"/k .*has changed"):
            read(wren.Storage.over(Overwriting(storage._primitives), "localhost", "wren"))
    assert not (tmp_path / "down").exists()
