"""The conformance of storages: what an author subclasses; the checks of objects are here.

Those of listings and of the worker's half are in rooms of their own, `wren.testing.listings` and `wren.testing.halves`.
"""

import contextlib
import hashlib
import itertools
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest

from wren.errors import NoSuchKey, PreconditionFailed, StorageError
from wren.spi import Storage
from wren.testing.halves import WorkerHalfConformance
from wren.testing.listings import ListingConformance
from wren.testing.threads import Running, at_once, many_switches

__all__ = ["StorageConformance"]

CHUNK: Final = 256 * 1024  # bytes
CHUNKS: Final = 256  # of a large object, 64 MiB
HELD: Final = 32 * 1024 * 1024  # bytes of it that may be in memory at once: parts of multipart uploads are some MiB
WRITERS: Final = 8


class Source(Exception):
    """What the source of a put raises: it must come out as it is."""


class StorageConformance(ListingConformance, WorkerHalfConformance):
    """The tests of a storage.

    Subclass it, set `plugin`, and write the fixture `options` and two helpers that bypass the plugin:

        class TestShelf(StorageConformance):
            plugin = ShelfStorage

            @pytest.fixture
            def options(self, server):
                self.client = server.client()
                return {"url": server.url}

            def raw_put(self, bucket, key, data):
                self.client.write(f"{bucket}/{key}", data)

            def raw_get(self, bucket, key):
                return self.client.read(f"{bucket}/{key}")

    They bypass it so that a fault in reading cannot hide one in writing.  The fixture `bucket` may name another bucket
    than the plugin's own, `worker_env` the environment that workers need besides `Storage.secrets`.  Everything is put
    below one prefix, which is emptied afterwards.
    """

    # ---- put and get

    def test_what_was_put_is_there(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}folder/k", [b"some ", bytearray(b"more "), memoryview(b"many bytes")[5:]])
        assert self.raw_get(bucket, f"{prefix}folder/k") == b"some more bytes"

    def test_what_is_there_is_got(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        everything = bytes(range(256)) * 3
        self.raw_put(bucket, f"{prefix}folder/k", everything)
        assert storage.get(bucket, f"{prefix}folder/k") == everything

    def test_a_second_put_replaces_the_object(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}k", [b"longer content"])
        storage.put(bucket, f"{prefix}k", [b"short"])
        assert self.raw_get(bucket, f"{prefix}k") == b"short"
        assert storage.head(bucket, f"{prefix}k").size == 5

    def test_an_object_may_be_empty(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}none", [])
        storage.put(bucket, f"{prefix}empty", [b"", b""])
        for key in (f"{prefix}none", f"{prefix}empty"):
            assert self.raw_get(bucket, key) == storage.get(bucket, key) == storage.get(bucket, key, 0, 5) == b""
            assert storage.head(bucket, key).size == 0

    def test_a_range_is_a_slice(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        """Empty, beyond the end and the wrong way round as well: services answer some of these with an error."""
        self.raw_put(bucket, f"{prefix}k", b"0123456789")
        for start, stop in itertools.product([0, 1, 9, 10, 99], [None, 0, 1, 5, 10, 99]):
            assert storage.get(bucket, f"{prefix}k", start, stop) == b"0123456789"[start:stop], (start, stop)

    def test_a_large_object_is_streamed(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        digest = hashlib.sha256()

        def source() -> Iterator[bytes]:
            for number in range(CHUNKS):
                chunk = bytes([number]) * CHUNK
                digest.update(chunk)
                yield chunk

        tracemalloc.start()
        try:
            storage.put(bucket, f"{prefix}large", source())
            held = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert storage.head(bucket, f"{prefix}large").size == CHUNK * CHUNKS
        assert hashlib.sha256(self.raw_get(bucket, f"{prefix}large")).digest() == digest.digest()
        assert storage.get(bucket, f"{prefix}large", CHUNK - 1, CHUNK + 1) == b"\0\1"
        assert held < HELD, f"{held} bytes were in memory at once"

    # ---- check

    @pytest.mark.parametrize("verb", ["get", "head", "list"])
    def test_check_leaves_nothing_behind_when_something_fails(
        self, storage: Storage[Any], monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise StorageError("the conformance kit has broken it")

        before = set(self.keys(storage, storage.bucket, ""))
        with monkeypatch.context() as patch:
            patch.setattr(storage, verb, fail)
            list(storage.check())
        assert set(self.keys(storage, storage.bucket, "")) == before

    # ---- wholly or not at all

    @pytest.mark.parametrize("error", [Source("mine"), FileNotFoundError("mine"), StorageError("mine")], ids=repr)
    def test_a_put_whose_source_fails_changes_nothing_and_raises_its_error(
        self, storage: Storage[Any], bucket: str, prefix: str, error: Exception
    ) -> None:
        def source() -> Iterator[bytes]:
            yield b"half" * CHUNK
            raise error

        storage.put(bucket, f"{prefix}old", [b"old"])
        for key in (f"{prefix}old", f"{prefix}new"):
            with pytest.raises(type(error)) as caught:
                storage.put(bucket, key, source())
            assert caught.value is error
        assert self.keys(storage, bucket, prefix) == [f"{prefix}old"]
        assert self.raw_get(bucket, f"{prefix}old") == b"old"

    def test_an_object_is_not_there_before_its_last_chunk(
        self, storage: Storage[Any], bucket: str, prefix: str
    ) -> None:
        seen: list[tuple[list[str], bytes]] = []

        def look() -> tuple[list[str], bytes]:
            return self.keys(storage, bucket, f"{prefix}new"), bytes(storage.get(bucket, f"{prefix}old"))

        def source() -> Iterator[bytes]:
            for chunk in (b"one" * CHUNK, b"two"):
                seen.append(Running(look).result("reading while something is put"))
                yield chunk

        storage.put(bucket, f"{prefix}old", [b"old"])
        storage.put(bucket, f"{prefix}new", source())
        storage.put(bucket, f"{prefix}old", source())
        assert seen[:2] == [([], b"old")] * 2
        assert [old for _, old in seen[2:]] == [b"old"] * 2
        assert storage.get(bucket, f"{prefix}old") == b"one" * CHUNK + b"two"

    def test_a_reader_never_sees_half_an_object(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        versions = [bytes([65 + number]) * 4096 * (1 + number % 3) for number in range(26)]
        storage.put(bucket, f"{prefix}k", [versions[0]])
        written = threading.Event()

        def write() -> None:
            try:
                for content in versions * 2:
                    storage.put(bucket, f"{prefix}k", (content[at : at + 1000] for at in range(0, len(content), 1000)))
            finally:
                written.set()

        def read() -> None:
            while not written.is_set():
                assert storage.get(bucket, f"{prefix}k") in versions
                assert storage.head(bucket, f"{prefix}k").size in {4096, 8192, 12288}

        with many_switches():
            at_once("reading what is replaced", write, read, read)

    def test_threads_do_not_disturb_each_other(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        def work(name: str) -> None:
            mine = f"{prefix}shared folder/{name}"
            for content in (b"%d" % number for number in range(25)):
                storage.put(bucket, mine, [content, b"."])
                assert storage.get(bucket, mine) == content + b"."
                assert storage.head(bucket, mine).size == len(content) + 1
                assert mine in self.keys(storage, bucket, prefix)
                storage.delete(bucket, [mine])

        with many_switches():
            at_once("work in eight threads", *(lambda name=name: work(name) for name in "abcdefgh"))
        assert self.keys(storage, bucket, prefix) == []

    # ---- conditions

    def test_if_absent_puts_only_where_nothing_is(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}k", [b"first"], if_absent=True)
        with pytest.raises(PreconditionFailed):
            storage.put(bucket, f"{prefix}k", [b"second"], if_absent=True)
        assert self.raw_get(bucket, f"{prefix}k") == b"first"
        storage.delete(bucket, [f"{prefix}k"])
        storage.put(bucket, f"{prefix}k", [b"third"], if_absent=True)
        assert self.raw_get(bucket, f"{prefix}k") == b"third"

    def test_of_many_that_put_if_absent_one_wins(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        """All are on the way before the first is done: a plugin that looks first and writes then lets all win."""
        together = threading.Barrier(WRITERS)

        def source(number: int) -> Iterator[bytes]:
            yield b"number "
            with contextlib.suppress(threading.BrokenBarrierError):  # a plugin may well take one after the other
                together.wait(2)
            yield b"%d" % number

        def put(number: int) -> bool:
            try:
                storage.put(bucket, f"{prefix}k", source(number), if_absent=True)
            except PreconditionFailed:
                return False
            return True

        won = at_once("putting if absent", *(lambda number=number: put(number) for number in range(WRITERS)))
        assert won.count(True) == 1
        assert self.raw_get(bucket, f"{prefix}k") == b"number %d" % won.index(True)

    def test_if_match_gets_the_object_that_was_meant(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}k", [b"first"])
        etag = storage.head(bucket, f"{prefix}k").etag
        assert storage.get(bucket, f"{prefix}k", 1, 3, if_match=etag) == b"ir"
        storage.put(bucket, f"{prefix}k", [b"other"])
        with pytest.raises(PreconditionFailed):
            storage.get(bucket, f"{prefix}k", 1, 3, if_match=etag)
        storage.delete(bucket, [f"{prefix}k"])
        with pytest.raises(NoSuchKey):
            storage.get(bucket, f"{prefix}k", 1, 3, if_match=etag)

    # ---- head and delete

    def test_head_says_size_time_and_etag(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}k", [b"content"])
        info = storage.head(bucket, f"{prefix}k")
        assert (info.key, info.size) == (f"{prefix}k", 7)
        assert abs(info.mtime - time.time()) < 15 * 60, "seconds since the epoch, by a clock that is nearly right"
        assert info.etag

    def test_versions_of_an_object_have_etags_of_their_own(
        self, storage: Storage[Any], bucket: str, prefix: str
    ) -> None:
        etags = []
        for content in (b"one", b"two", b"six", b"seven"):
            storage.put(bucket, f"{prefix}k", [content])
            etags.append(storage.head(bucket, f"{prefix}k").etag)
        assert len(set(etags)) == 4
        assert storage.head(bucket, f"{prefix}k").etag == etags[-1]

    def test_what_is_not_there_is_no_such_key(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        storage.put(bucket, f"{prefix}folder/k", [b"content"])
        for key in (f"{prefix}missing", f"{prefix}folder", f"{prefix}folder/", f"{prefix}folder/k/deeper"):
            with pytest.raises(NoSuchKey):
                storage.get(bucket, key)
            with pytest.raises(NoSuchKey):
                storage.get(bucket, key, 1, 2)
            with pytest.raises(NoSuchKey):
                storage.head(bucket, key)

    def test_delete_removes_those_named_and_no_others(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        for name in ("a", "a/b", "a/c", "ab"):
            storage.put(bucket, prefix + name, [b"content"])
        storage.delete(bucket, (prefix + name for name in ("a", "a/c", "missing", "a")))
        storage.delete(bucket, [])
        assert self.keys(storage, bucket, prefix) == [f"{prefix}a/b", f"{prefix}ab"]
        with pytest.raises(NoSuchKey):
            storage.get(bucket, f"{prefix}a")

    # ---- errors

    def test_what_cannot_be_is_an_error_of_wrens(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        with pytest.raises(StorageError):
            storage.put(bucket, "", [b"an object without a key"])
        try:
            storage.put(bucket, prefix + "long/" * 4000, [b"content"])
        except StorageError as error:
            assert not isinstance(error, NoSuchKey | PreconditionFailed)  # noqa: PT017 - it may be possible as well

    def test_a_service_that_is_away_is_an_error_of_wrens(self, unreachable: Mapping[str, Any] | None) -> None:
        if unreachable is None:
            pytest.skip("no options in the fixture `unreachable`: nothing of this plugin can be away")
        storage = self.make(unreachable)
        with pytest.raises(StorageError) as caught:
            Running(lambda: storage.put("wren", "k", [b"content"])).result("a put to what is away", 300)
        assert not isinstance(caught.value, NoSuchKey | PreconditionFailed)
        others: list[Callable[[], object]] = [
            lambda: storage.get("wren", "k"),
            lambda: storage.head("wren", "k"),
            lambda: list(storage.list("wren")),
            lambda: storage.delete("wren", ["k"]),
        ]
        for method in others:
            with contextlib.suppress(StorageError):  # or none: a folder that is not there is an empty one
                Running(method).result("asking what is away", 300)
        storage.close()
