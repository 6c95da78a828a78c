"""Maps over objects of a real service: the parts put together are the object, whatever its content and its key."""

import gzip
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.fixtures import Endpoint, remove_bucket

import wren
from wren.errors import BindingError, NoSuchKey, PreconditionFailed, StorageError

if TYPE_CHECKING:
    from integration.conftest import Between

MIB = 1 << 20
PIECES = [b"a", b"bc", b"\n", b"\r\n", b"\n\n", b"\0", b"line\n", b"x" * 40]
SERVICE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

Put = Callable[[str, bytes], None]
Part = tuple[int, int, tuple[int, int], bytes]


def by_readinto(stream: Any) -> bytes:
    found, buffer = bytearray(), bytearray(7_001)
    while count := stream.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


WAYS: dict[str, Callable[[Any], bytes]] = {
    "read()": lambda stream: bytes(stream.read()),
    "read(n)": lambda stream: b"".join(iter(lambda: stream.read(10_007), b"")),
    "read1(n)": lambda stream: b"".join(iter(lambda: stream.read1(1_003), b"")),
    "readline": lambda stream: b"".join(iter(stream.readline, b"")),
    "iteration": b"".join,
    "readinto": by_readinto,
}


@pytest.fixture
def executor(s3: Endpoint, s3_bucket: str) -> Iterator[wren.FunctionExecutor]:
    config = {"ibm_cos": dict(s3.options(s3_bucket))}
    with wren.local_executor(config, storage_backend="ibm_cos", workers=2) as made:
        yield made


@pytest.fixture
def put(s3: Endpoint, s3_bucket: str) -> Iterator[Put]:
    client = s3.client()

    def write(key: str, data: bytes) -> None:
        client.put_object(Bucket=s3_bucket, Key=key, Body=data)

    yield write
    client.close()


def part(obj: Any, way: str) -> Part:
    return obj.part, obj.total_parts, obj.data_byte_range, WAYS[way](obj.data_stream)


def content(obj: Any) -> tuple[str, bytes]:
    return obj.key, obj.data_stream.read()


def check(data: bytes, parts: list[Part]) -> None:
    """That they are the object, and that each line is in the part that its first byte is in."""
    assert b"".join(found for *_, found in parts) == data
    assert [(number, count) for number, count, *_ in parts] == [(number, len(parts)) for number in range(len(parts))]
    at = 0
    for _, _, (start, stop), found in parts:
        if found:
            assert start <= at < stop
            at += len(found)
            assert at == len(data) or (at >= stop and found.endswith(b"\n"))


@settings(SERVICE, max_examples=50)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=40),
    times=st.sampled_from([1, 7, 1_000]),
    chunk_n=st.integers(1, 12),
    way=st.sampled_from(sorted(WAYS)),
)
def test_the_parts_are_the_object(
    executor: wren.FunctionExecutor, put: Put, s3_bucket: str, pieces: list[bytes], times: int, chunk_n: int, way: str
) -> None:
    data = b"".join(pieces) * times
    put("object", data)
    found = executor.get_result(executor.map(part, [(f"{s3_bucket}/object", way)], chunk_n=chunk_n))
    assert len(found) == max(1, min(chunk_n, len(data)))
    check(data, found)


@settings(SERVICE, max_examples=8)
@given(
    line=st.integers(0, 3 * MIB),
    size=st.integers(3 * MIB, 6 * MIB),
    chunk_size=st.integers(MIB, 3 * MIB),
    way=st.sampled_from(sorted(WAYS)),
)
def test_the_parts_of_a_size_are_the_object(
    executor: wren.FunctionExecutor, put: Put, s3_bucket: str, line: int, size: int, chunk_size: int, way: str
) -> None:
    data = ((b"x" * line + b"\r\n") * (size // (line + 2) + 1))[:size]
    put("object", data)
    found = executor.get_result(executor.map(part, [(f"{s3_bucket}/object", way)], chunk_size=chunk_size))
    assert [stop - start for _, _, (start, stop), _ in found[:-1]] == [chunk_size] * (len(found) - 1)
    check(data, found)


def test_one_giant_line_is_in_its_first_part(executor: wren.FunctionExecutor, put: Put, s3_bucket: str) -> None:
    put("giant", b"x" * (20 * MIB))
    parts = executor.get_result(executor.map(part, [(f"{s3_bucket}/giant", "read(n)")], chunk_n=5))
    assert [len(found) for *_, found in parts] == [20 * MIB, 0, 0, 0, 0]


def test_what_is_compressed_is_read_as_a_stream(executor: wren.FunctionExecutor, put: Put, s3_bucket: str) -> None:
    put("text.gz", gzip.compress(b"".join(b"line %d\n" % number for number in range(300_000)), 1))

    def lines(obj: Any) -> int:
        with gzip.open(obj.data_stream) as file:
            return sum(1 for _ in file)

    assert executor.get_result(executor.call_async(lines, f"{s3_bucket}/text.gz")) == 300_000


# ---- which objects


def test_keys_are_what_they_are(executor: wren.FunctionExecutor, put: Put, s3_bucket: str) -> None:
    keys = ["a b", "a%20b", "a+b", "a&b=c#d", "deep/er/x", "ümläut/日本", "[x]*?", "quote'\"", "back\\slash", "~tilde"]
    for key in keys:
        put(key, key.encode())
    listed = [(key, key.encode()) for key in sorted(keys, key=str.encode)]
    assert executor.get_result(executor.map(content, [f"cos://{s3_bucket}"])) == listed
    assert executor.get_result(executor.map(content, [f"{s3_bucket}/"], chunk_n=1)) == listed
    one_by_one = executor.map(content, [f"{s3_bucket}/{key}" for key, _ in listed])
    assert executor.get_result(one_by_one) == listed


def test_empty_objects_are_calls_and_folders_are_none(
    executor: wren.FunctionExecutor, put: Put, s3_bucket: str
) -> None:
    for key, data in (("in/empty", b""), ("in/full", b"x"), ("in/folder/", b"")):
        put(key, data)
    futures = executor.map(content, [f"{s3_bucket}/in/"], chunk_n=3)
    assert executor.get_result(futures) == [("in/empty", b""), ("in/full", b"x")]


def test_keys_of_any_text_are_objects(any_keys: Endpoint) -> None:
    client, bucket = any_keys.client(), f"wren-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=bucket)
    keys = ["/leading", "two//slashes", "a//", "..", "a/./b", "a/../b", "tab\t", "a", "a/b"]
    config = {"ibm_cos": dict(any_keys.options(bucket))}
    with wren.local_executor(config, storage_backend="ibm_cos", workers=2) as executor:
        for key in keys:
            executor.storage.put_object(bucket, key, key)
        found = executor.get_result(executor.map(content, [f"cos://{bucket}"], chunk_n=1))
        assert found == [(key, key.encode()) for key in sorted(keys, key=str.encode)]
        assert executor.get_result(executor.map(content, [f"{bucket}/{key}" for key in keys])) == [
            (key, key.encode()) for key in keys
        ]
    remove_bucket(client, bucket)
    client.close()


def test_thousands_of_objects_are_listed_in_pages_and_not_asked_for_one_by_one(
    s3: Endpoint, s3_bucket: str, put: Put, between: "Between"
) -> None:
    keys = [f"many/{number:04}.csv" for number in range(2_100)]
    for key in keys:
        put(key, b"1")
    config = {"ibm_cos": {**s3.options(s3_bucket), "endpoint": between.url}}
    with wren.local_executor(config, storage_backend="ibm_cos", workers=2) as executor:
        for pattern in ("many/", "many/*.csv"):
            between.asked.clear()
            assert executor.get_result(executor.map(lambda obj: obj.key, [f"{s3_bucket}/{pattern}"])) == keys
            assert len([asked for asked in between.asked if "prefix=many" in asked]) == 3
            assert not [asked for asked in between.asked if "many/" in asked.partition("?")[0]]


# ---- what changes in between

Begin = Callable[[str], tuple[list[Any], Path]]


@pytest.fixture
def begin(executor: wren.FunctionExecutor, tmp_path: Path) -> Begin:
    """Begins a map over an element, whose functions read once the file is there."""

    def started(element: str) -> tuple[list[Any], Path]:
        go = tmp_path / "go"

        def wait(obj: Any) -> tuple[str, bytes]:
            while not go.exists():
                pass
            return content(obj)

        return executor.map(wait, [element], chunk_n=2), go

    return started


def test_an_object_that_was_overwritten_is_an_error(begin: Begin, put: Put, s3_bucket: str) -> None:
    put("moving", b"old\n" * 1_000)
    futures, go = begin(f"{s3_bucket}/moving")
    put("moving", b"new\n" * 1_000)
    go.touch()
    for future in futures:
        with pytest.raises(PreconditionFailed, match=f"{s3_bucket}/moving"):
            future.result(60)


@pytest.mark.parametrize("all_of_the_bucket", [False, True])
def test_an_object_that_has_gone_is_an_error(
    begin: Begin, s3: Endpoint, make_bucket: Callable[[], str], all_of_the_bucket: bool
) -> None:
    client, bucket = s3.client(), make_bucket()
    client.put_object(Bucket=bucket, Key="going", Body=b"old\n" * 1_000)
    futures, go = begin(f"{bucket}/going")
    client.delete_object(Bucket=bucket, Key="going")
    if all_of_the_bucket:
        client.delete_bucket(Bucket=bucket)
    client.close()
    go.touch()
    for future in futures:
        with pytest.raises(StorageError, match=bucket):
            future.result(60)


def test_what_is_not_there_is_an_error_before_anything_runs(
    executor: wren.FunctionExecutor, put: Put, s3_bucket: str
) -> None:
    put("folder/x", b"1")
    cases: list[tuple[str, type[Exception], str]] = [
        (f"{s3_bucket}/none", NoSuchKey, f"{s3_bucket}/none"),
        (f"{s3_bucket}/folder", NoSuchKey, f"for all that is below it give {s3_bucket}/folder/"),
        (f"cos://{s3_bucket}/none/", NoSuchKey, "no object for"),
        (f"{s3_bucket}/*.none", NoSuchKey, "no object for"),
        ("no-such-bucket-of-wren/x", StorageError, "no-such-bucket-of-wren"),
        ("no-such-bucket-of-wren/", StorageError, "no-such-bucket-of-wren"),
        ("/etc/hostname", BindingError, "put the file into the storage"),
    ]
    for element, error, words in cases:
        with pytest.raises(error, match=re.escape(words)):
            executor.map(content, [element])


# ---- reducers


def test_each_object_has_a_reducer(executor: wren.FunctionExecutor, put: Put, s3_bucket: str) -> None:
    texts = [b"line %d\n" % number * (1 + 1_000 * number) for number in range(4)]
    for number, text in enumerate(texts):
        put(f"each/{number}", text)
    futures = executor.map_reduce(
        content,
        [f"cos://{s3_bucket}/each/"],
        lambda parts: (sorted({key for key, _ in parts}), b"".join(data for _, data in parts)),
        chunk_n=3,
        reducer_one_per_object=True,
    )
    assert executor.get_result(futures) == [([f"each/{number}"], text) for number, text in enumerate(texts)]


def test_what_rides_along_goes_to_every_part(executor: wren.FunctionExecutor, put: Put, s3_bucket: str) -> None:
    put("text", b"a\nb\nc\nd\n")

    def count(obj: Any, factor: int, *, offset: int = 0) -> int:
        return factor * len(list(obj.data_stream)) + offset

    element = {"obj": f"{s3_bucket}/text", "factor": 10}
    futures = executor.map_reduce(count, [element], sum, extra_params={"offset": 1}, chunk_n=2)
    assert executor.get_result(futures) == 42
    assert executor.get_result(executor.call_async(count, (f"{s3_bucket}/text", 1))) == 4
