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
MISSING: Final = r"no object b/nothing in the \w+ storage"


def config_of(name: str, folder: Path) -> Mapping[str, Any]:
    return {} if name == "memory" else {name: {"path": str(folder / "storage")}}


@pytest.fixture(params=["localhost", "memory", "template"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[wren.Storage]:
    """A program's own."""
    with wren.Storage(config_of(request.param, tmp_path), request.param) as opened:
        yield opened


@pytest.fixture(params=["localhost", "template"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[wren.FunctionExecutor]:
    name = request.param
    config = {**config_of(name, tmp_path), "wren": {"backend": name, "storage": name, "workers": 2}}
    with wren.FunctionExecutor(config) as made:
        yield made


# ---- what it does


def use(storage: Any) -> list[Any]:
    """All of its methods, and what they gave: to be run in a program and in a function."""
    large = bytes(range(256)) * 4 * 4096 * 3  # 12 MiB, more than a block
    storage.put_object("b", "k", b"0123456789")
    storage.put_object("b", "text", "caf\u00e9")
    storage.put_object("b", "folder/file", io.BytesIO(large))
    storage.put_object("b", "folder/chunks", (large[at : at + MIB] for at in range(0, len(large), MIB)))
    storage.put_object("b", "empty", b"")
    place = Path(f"{os.environ.get('TMPDIR', '/tmp')}/wren-test-{os.urandom(8).hex()}")
    place.mkdir()
    storage.download_file("b", "folder/chunks", place / "down")
    storage.upload_file(str(place / "down"), "b")
    storage.upload_file(place / "down", "b", "folder/up")
    named = storage.put_cloudobject(b"named", "b", "mine")
    nameless = storage.put_cobject("nameless")
    info = storage.head_object("b", "k")
    gave = [
        storage.get_object("b", "k"),
        storage.get_object("b", "k", range=(2, 5)),
        storage.get_object("b", "k", range=(-3, None)),
        storage.get_object("b", "k", range=(8, 99)),
        storage.get_object("b", "k", extra_get_args={"Range": "bytes=2-5"}),
        storage.get_object("b", "k", False, {"Range": "bytes=-2"}),
        storage.get_object("b", "k", stream=True, range=(1, 4)).read(),
        storage.get_object("b", "text").decode(),
        storage.get_object("b", "empty"),
        storage.get_object("b", "folder/file") == large == storage.get_object("b", "folder/up"),
        storage.get_object("b", "folder/file", stream=True).read(MIB + 7) == large[: MIB + 7],
        (place / "down").read_bytes() == large,
        sorted(path.name for path in place.iterdir()),
        (info.key, info.size, info in storage.list_objects("b")),
        storage.list_keys("b", "folder/"),
        [each.size for each in storage.list_objects("b", "folder/")],
        storage.list_keys("elsewhere"),
        named[1:],
        (nameless.backend == storage.backend, nameless.bucket == storage.bucket),
        storage.get_cloudobject(named),
        storage.get_cobject(nameless, stream=True).read(),
    ]
    storage.delete_cobject(nameless)
    storage.delete_cloudobjects([named, nameless])
    storage.delete_object("b", "folder/file")
    storage.delete_objects("b", ["folder/chunks", "nothing"])
    gave += [storage.list_keys("b"), storage.list_keys(storage.bucket, "wren.objects")]
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
    ("b", "mine"),
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
        storage.put_object("b", key, b"content")
        content: bytes = wren.local_executor().storage.get_object("b", key)
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
    storage.put_object("b", "k", body)
    storage.put_object("b", "chunks", [body if not isinstance(body, str) else b"data", b"", b"!"])
    assert (storage.get_object("b", "k"), storage.get_object("b", "chunks")) == (b"data", b"data!")


def test_an_array_of_numpy_is_its_bytes(storage: wren.Storage) -> None:
    numpy = pytest.importorskip("numpy")
    values = numpy.arange(6, dtype="float64").reshape(2, 3)
    for body in (values, values.T, values[:0]):
        storage.put_object("b", "k", body)
        assert storage.get_object("b", "k") == body.tobytes()


def test_a_file_is_read_from_where_it_is(storage: wren.Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"head and body")
    with (tmp_path / "file").open("rb") as file:
        file.seek(9)
        storage.put_object("b", "k", file)
    assert storage.get_object("b", "k") == b"body"


def test_a_missing_object_is_one_kind_of_error_everywhere(storage: wren.Storage, tmp_path: Path) -> None:
    asked: list[Callable[[], Any]] = [
        lambda: storage.get_object("b", "nothing"),
        lambda: storage.get_object("b", "nothing", range=(3, 3)),
        lambda: storage.get_object("b", "nothing", range=(-3, None)),
        lambda: storage.get_object("b", "nothing", stream=True),
        lambda: storage.head_object("b", "nothing"),
        lambda: storage.download_file("b", "nothing", tmp_path / "down"),
        lambda: storage.get_cloudobject(wren.CloudObject(storage.backend, "b", "nothing")),
    ]
    for ask in asked:
        with pytest.raises(wren.StorageNoSuchKey, match=MISSING):
            ask()
    assert wren.StorageNoSuchKey is NoSuchKey
    assert not (tmp_path / "down").exists()
    storage.delete_object("b", "nothing")


def test_functions_are_told_so_too(executor: wren.FunctionExecutor) -> None:
    def ask(how: str, storage: Any) -> Any:
        return getattr(storage, how)("b", "nothing")

    for how in ("get_object", "head_object", "download_file"):
        with pytest.raises(wren.StorageNoSuchKey, match=MISSING):
            executor.call_async(ask, how).result(30)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda storage: storage.put_object("b", "k", 5), TypeError, "b/k is of type int: give bytes, text, a binary"),
        (lambda storage: storage.put_object("b", "k", None), TypeError, "b/k is of type NoneType: give bytes"),
        (lambda storage: storage.put_object("b", "k", {}), TypeError, "b/k is of type dict: give bytes"),
        (lambda storage: storage.put_object("b", "k", [b"1", 2]), TypeError, "a part of .* b/k is of type int: give"),
        (lambda storage: storage.put_object("b", "k", io.StringIO("x")), TypeError, "a part of .* is of type str: giv"),
        (lambda storage: storage.put_object("b", "", b""), ValueError, "^key is '': give one that is not empty$"),
        (lambda storage: storage.put_object("", "k", b""), ValueError, "^bucket is '': give one that is not empty$"),
        (lambda storage: storage.get_object(None, "k"), TypeError, "^bucket is of type NoneType: give a str$"),
        (lambda storage: storage.get_object("b", b"k"), TypeError, "^key is of type bytes: give a str$"),
        (lambda storage: storage.get_object("b", "there", range=(5, 2)), ValueError, r"^range is \(5, 2\): give \(sta"),
        (lambda storage: storage.get_object("b", "there", range=(-5, 2)), ValueError, r"^range is \(-5, 2\): give"),
        (lambda storage: storage.get_object("b", "there", range="0-5"), ValueError, r"^range is '0-5': give"),
        (lambda storage: storage.get_object("b", "there", range=(9, None)), StorageError, "begins at 9, and it has 4"),
        (lambda storage: storage.get_object("b", "there", range=(9, 12)), StorageError, "range of b/there begins at"),
        (lambda storage: storage.get_object("b", "there", True, range=(9, 12)), StorageError, "begins at 9, and it"),
        (lambda storage: storage.get_object("b", "k", False, {"Range": "5-6"}), ValueError, "'5-6': give it as bytes="),
        (lambda storage: storage.get_object("b", "k", False, {"IfMatch": "x"}), ValueError, "has 'IfMatch': give"),
        (lambda storage: storage.delete_objects("b", "abc"), TypeError, "^key_list is 'abc': give a list of keys$"),
        (lambda storage: storage.delete_objects("b", [1]), TypeError, "^key is of type int: give a str$"),
        (lambda storage: storage.list_objects(1), TypeError, "^bucket is of type int: give a str$"),
        (lambda storage: storage.upload_file("/nonexistent/file", "b"), FileNotFoundError, "/nonexistent/file"),
        (lambda storage: storage.upload_file("/", "b"), IsADirectoryError, "/"),
        (lambda storage: storage.download_file("b", "there", "/nonexistent/f"), FileNotFoundError, "no such directory"),
        (lambda storage: storage.download_file("b", "there", "/dev/null"), OSError, "it is no file: '/dev/null'"),
        (lambda storage: storage.download_file("b", "there/"), ValueError, "'there/' ends without the name of a file"),
        (lambda storage: storage.get_cloudobject("b/k"), TypeError, "^the cloud object is 'b/k': give what put_c"),
        (lambda storage: storage.get_cloudobject(wren.CloudObject("x", "b", "k")), StorageError, "in another storage"),
    ],
)  # fmt: skip
def test_bad_input_is_one_plain_error(
    storage: wren.Storage, ask: Callable[[wren.Storage], Any], error: type[Exception], message: str
) -> None:
    storage.put_object("b", "there", b"four")
    with pytest.raises(error, match=message):
        ask(storage)
    assert storage.list_keys("b") == ["there"]


class Own(Exception):
    """A program's own."""


@pytest.mark.parametrize("error", [Own("mine"), FileNotFoundError("mine"), StorageError("mine")], ids=repr)
def test_what_a_body_raises_comes_out_as_it_is_and_nothing_is_written(storage: wren.Storage, error: Exception) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(type(error), match=r"^mine$"):
        storage.put_object("b", "k", chunks())
    assert storage.list_keys("b") == []


def test_a_closed_one_says_so(storage: wren.Storage) -> None:
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match=r"^<wren.Storage \w+, bucket \w+> is closed, and b/k was asked for"):
        storage.get_object("b", "k")
    with pytest.raises(StorageError, match="is closed"):
        storage.put_object("b", "k", b"")


def test_that_of_an_executor_can_be_closed_and_the_executor_used(executor: wren.FunctionExecutor) -> None:
    with executor.storage as mine:
        mine.put_object("b", "k", b"content")
    assert executor.storage.get_object("b", "k") == b"content"


def test_it_cannot_be_pickled_and_says_what_to_do(storage: wren.Storage, executor: wren.FunctionExecutor) -> None:
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
            storage.put_object("b", f"{number}", data)
            assert storage.get_object("b", f"{number}", stream=True).read() == storage.get_object("b", f"{number}")
            assert storage.get_object("b", f"{number}") == data
        except BaseException as error:  # noqa: BLE001 - said below
            failed.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert storage.list_keys("b") == [f"{number}" for number in range(6)]


@pytest.mark.parametrize("name", ["localhost", "template"])
def test_a_forked_child_may_use_it_too(name: str, tmp_path: Path) -> None:
    storage = wren.Storage(config_of(name, tmp_path), name)
    large = bytes(20 * MIB)
    storage.put_object("b", "large", large)
    assert storage.get_object("b", "large") == large  # by several threads
    child = os.fork()
    if not child:
        try:
            storage.put_object("b", "child's", storage.get_object("b", "large", stream=True))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert storage.head_object("b", "child's").size == len(large)


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
    storage.put_object("b", "large", bytes(32 * MIB))
    broken = wren.Storage.over(Broken(storage._primitives, error), "localhost", "wren")
    for name in ("new", "old"):
        with pytest.raises(type(error)):
            broken.download_file("b", "large", folder / name)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("old", b"old")]


class Overwriting(Broken):
    """One that has every object overwritten when its second half is read."""

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Any:
        if start >= 16 * MIB:
            self._inner.put(bucket, key, [bytes(32 * MIB)])
        return self._inner.get(bucket, key, start, stop, if_match=if_match)


def test_what_is_overwritten_meanwhile_is_an_error_and_never_mixed(storage: wren.Storage, tmp_path: Path) -> None:
    over = wren.Storage.over(Overwriting(storage._primitives, KeyboardInterrupt()), "localhost", "wren")
    reads: list[Callable[[], Any]] = [
        lambda: over.download_file("b", "k", tmp_path / "down"),
        lambda: over.get_object("b", "k"),
        lambda: over.get_object("b", "k", stream=True).read(),
    ]
    for read in reads:
        storage.put_object("b", "k", b"\1" * (32 * MIB))
        with pytest.raises(PreconditionFailed, match="b/k has changed"):
            read()
    assert not (tmp_path / "down").exists()
