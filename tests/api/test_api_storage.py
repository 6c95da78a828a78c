"""docs/api.md, "Storage": what a storage has, in a program, of an executor and in a function.

That it is the same in all three places, and on every storage, is in tests/test_storage.py.
"""

import inspect
import io
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import NoSuchKey, StorageError


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[wren.Storage]:
    with wren.Storage({"localhost": {"path": str(tmp_path / "storage")}}, "localhost") as opened:
        yield opened


@pytest.mark.api(
    "`wren.Storage(config=None, backend=None)` is a storage for a program: that of the name, else the configuration's, "
    "else localhost."
)
def test_a_program_has_a_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*inspect.signature(wren.Storage).parameters] == ["config", "backend"]
    assert wren.Storage().backend == "localhost"
    monkeypatch.setenv("WREN_WREN__STORAGE", "memory")
    assert wren.Storage().backend == "memory"
    assert wren.Storage(backend="localhost").backend == "localhost"


@pytest.mark.api("A function's parameter `storage` is one, and so is `executor.storage`: the executor's.")
def test_a_functions_parameter_and_the_executors_are_the_same(executor: wren.FunctionExecutor) -> None:
    def put(key: str, storage: wren.Storage) -> str:
        storage.put_object(storage.bucket, key, b"content")
        return type(storage).__name__

    assert executor.call_async(put, "api/k").result(30) == "Storage"
    assert isinstance(executor.storage, wren.Storage)
    assert executor.storage.get_object(executor.storage.bucket, "api/k") == b"content"
    executor.storage.delete_object(executor.storage.bucket, "api/k")


@pytest.mark.api(
    "They have the same methods:",
    "put_object(bucket, key, body)",
    "get_object(bucket, key, stream=False, extra_get_args=None, *, range=None)",
    "head_object(bucket, key)",
    "delete_object(bucket, key)",
    "delete_objects(bucket, key_list)",
    "list_objects(bucket, prefix=None)",
    "list_keys(bucket, prefix=None)",
    "upload_file(file_name, bucket, key=None)",
    "download_file(bucket, key, file_name=None)",
    "put_cloudobject(body, bucket=None, key=None)",
    "get_cloudobject(cloudobject, stream=False)",
    "delete_cloudobject(cloudobject)",
    "delete_cloudobjects(cloudobjects)",
)
@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("put_object", "(bucket, key, body)"),
        ("get_object", "(bucket, key, stream=False, extra_get_args=None, *, range=None)"),
        ("head_object", "(bucket, key)"),
        ("delete_object", "(bucket, key)"),
        ("delete_objects", "(bucket, key_list)"),
        ("list_objects", "(bucket, prefix=None)"),
        ("list_keys", "(bucket, prefix=None)"),
        ("upload_file", "(file_name, bucket, key=None)"),
        ("download_file", "(bucket, key, file_name=None)"),
        ("put_cloudobject", "(body, bucket=None, key=None)"),
        ("get_cloudobject", "(cloudobject, stream=False)"),
        ("delete_cloudobject", "(cloudobject)"),
        ("delete_cloudobjects", "(cloudobjects)"),
    ],
)
def test_methods_have_these_parameters(storage: wren.Storage, name: str, signature: str) -> None:
    found = inspect.signature(getattr(storage, name))
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    assert str(inspect.Signature(bare)) == signature


@pytest.mark.api(
    "A `body` is bytes or anything else with a buffer, text (UTF-8), a binary file, which is read from where it is, or "
    "an iterable of bytes."
)
def test_bodies(storage: wren.Storage) -> None:
    file = io.BytesIO(b"skipped and read")
    file.seek(12)
    for body in (b"read", memoryview(b"read"), "read", file, iter([b"re", b"ad"])):
        storage.put_object("b", "k", body)
        assert storage.get_object("b", "k") == b"read"
    storage.put_object("b", "k", "\u00e9")
    assert storage.get_object("b", "k") == b"\xc3\xa9"


@pytest.mark.api("An object is written wholly or not at all; what a body raises comes out as it is.")
def test_a_body_that_raises_writes_nothing(storage: wren.Storage) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise LookupError("my own")

    with pytest.raises(LookupError, match="my own"):
        storage.put_object("b", "k", chunks())
    assert storage.list_keys("b") == []


@pytest.mark.api("`get_object` gives bytes; with `stream=True` an `io.BufferedReader` that can be sought in.")
def test_a_stream_is_a_buffered_reader(storage: wren.Storage) -> None:
    storage.put_object("b", "k", b"one\ntwo\nthree")
    assert type(storage.get_object("b", "k")) is bytes
    with storage.get_object("b", "k", stream=True) as stream:
        assert isinstance(stream, io.BufferedReader)
        assert [*stream] == [b"one\n", b"two\n", b"three"]
        assert stream.seek(-5, io.SEEK_END) == 8
        assert stream.read() == b"three"


@pytest.mark.api(
    "`range=(start, stop)` is as in a slice: `(100, None)` goes to the end, `(-100, None)` are the last bytes; "
    '`extra_get_args={"Range": "bytes=0-99"}` says the same.',
    "One that begins behind the object's end is an error.",
)
def test_ranges(storage: wren.Storage) -> None:
    data = bytes(range(250))
    storage.put_object("b", "k", data)
    assert storage.get_object("b", "k", range=(10, 20)) == data[10:20]
    assert storage.get_object("b", "k", range=(100, None)) == data[100:]
    assert storage.get_object("b", "k", range=(-100, None)) == data[-100:]
    assert storage.get_object("b", "k", extra_get_args={"Range": "bytes=0-99"}) == data[:100]
    with pytest.raises(StorageError, match="begins at 300, and it has 250 bytes"):
        storage.get_object("b", "k", range=(300, None))


@pytest.mark.api(
    "`download_file` writes a file wholly or not at all, by default one of the key's last part in the working "
    "directory."
)
def test_files(storage: wren.Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.put_object("b", "folder/name", b"content")
    storage.download_file("b", "folder/name")
    storage.upload_file("name", "b")
    assert storage.get_object("b", "name") == b"content"
    with pytest.raises(NoSuchKey):
        storage.download_file("b", "nothing", tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b"content"


@pytest.mark.api(
    "`head_object` and `list_objects` give records with `key`, `size`, `mtime` (epoch seconds) and `etag`, in the "
    "order of keys."
)
def test_records_of_objects(storage: wren.Storage) -> None:
    for key in ("b", "a/2", "a/1"):
        storage.put_object("b", key, b"content")
    found = storage.list_objects("b")
    assert [each.key for each in found] == storage.list_keys("b") == ["a/1", "a/2", "b"]
    assert storage.list_keys("b", "a/") == ["a/1", "a/2"]
    head = storage.head_object("b", "b")
    assert head == found[2]
    assert (head.size, bool(head.etag)) == (7, True)
    assert abs(head.mtime - time.time()) < 60


@pytest.mark.api(
    "A missing object is `wren.StorageNoSuchKey`, which is `wren.errors.NoSuchKey`; to delete one is no error."
)
def test_a_missing_object(storage: wren.Storage) -> None:
    assert wren.StorageNoSuchKey is NoSuchKey
    with pytest.raises(wren.StorageNoSuchKey, match="no object b/nothing"):
        storage.get_object("b", "nothing")
    storage.delete_object("b", "nothing")


@pytest.mark.api(
    "A `wren.CloudObject` (`backend`, `bucket`, `key`) says where an object is: `put_cloudobject` makes one, by "
    "default under a new key in wren's own bucket, and a function may return it.",
    "They stay until they are deleted.",
    "`storage.bucket` is the bucket of wren's own objects, `storage.backend` the storage's name.",
)
def test_cloud_objects(tmp_path: Path) -> None:
    def make(x: int, storage: wren.Storage) -> wren.CloudObject:
        return storage.put_cloudobject(b"content")

    config = {"localhost": {"path": str(tmp_path), "bucket": "own"}}
    with wren.local_executor(config, workers=1) as executor:
        made = executor.call_async(make, 1).result(30)
        other = executor.call_async(make, 1).result(30)
        executor.clean()
    assert isinstance(made, wren.CloudObject)
    assert (made.backend, made.bucket) == ("localhost", "own")
    assert made.key != other.key
    with wren.Storage(config, "localhost") as storage:
        assert (storage.bucket, storage.backend) == ("own", "localhost")
        assert storage.get_cloudobject(made) == b"content"
        storage.delete_cloudobjects([made, other])
        with pytest.raises(NoSuchKey):
            storage.get_cloudobject(made)


@pytest.mark.api("`put_cobject`, `get_cobject`, `delete_cobject` and `delete_cobjects` are other names of the same.")
def test_short_names_of_cloud_objects(storage: wren.Storage) -> None:
    made = [storage.put_cobject(b"content") for _ in range(3)]
    assert storage.get_cobject(made[0], stream=True).read() == b"content"
    storage.delete_cobject(made[0])
    storage.delete_cobjects(made[1:])
    assert storage.list_keys(storage.bucket) == []


@pytest.mark.api(
    "A storage may be shared by threads, and is a context manager, which closes it.",
    "It cannot be pickled: a function has a parameter for it.",
)
def test_threads_the_end_and_pickles(storage: wren.Storage) -> None:
    threads = [threading.Thread(target=storage.put_object, args=("b", str(at), b"1")) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(storage.list_keys("b")) == 8
    with pytest.raises(TypeError, match="cannot be pickled: give the function a parameter named storage"):
        pickle.dumps(storage)
    with storage as same:
        assert same is storage
    failed: list[Any] = []
    try:
        storage.list_keys("b")
    except StorageError as error:
        failed.append(str(error))
    assert "is closed" in failed[0]
