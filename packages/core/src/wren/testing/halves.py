"""The conformance of storages: the checks of the worker's half, which runs in a Python that has nothing but wren."""

import base64
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

import pytest

from wren.errors import Unsupported
from wren.spi import Feature, Monitor, Storage
from wren.testing import interpreters
from wren.testing.listings import ObjectsConformance
from wren.wire import Handle

__all__ = ["WorkerHalfConformance", "check_client", "check_handle"]

TARGET: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")
SECRET: Final = re.compile("secret|password|token|(api|access|private)_?key")

AsWorker: TypeAlias = Callable[[Sequence[Any]], list[Any]]


class WorkerHalfConformance(ObjectsConformance):
    """What workers do with a storage that declares Feature.WORKER."""

    # Top-level packages that a runtime needs besides wren-core and the handle's own.
    worker_packages: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def worker_env(self) -> Mapping[str, str]:
        """Environment variables that workers need besides those of `Storage.secrets`."""
        return {}

    @pytest.fixture
    def as_worker(self, storage: Storage[Any], worker_env: Mapping[str, str], tmp_path: Path) -> AsWorker:
        """Answers steps of `wren.testing.apart.use_storage` where a worker would run."""
        if Feature.WORKER not in storage.features:
            pytest.skip("workers cannot open this storage: it does not declare Feature.WORKER")
        handle, env = storage.worker(), {**storage.secrets(), **worker_env}
        place = tmp_path / "worker"
        return lambda steps: interpreters.as_worker(place, "use_storage", handle, steps, env, self.worker_packages)

    def test_workers_can_open_it_or_it_says_that_they_cannot(self, storage: Storage[Any]) -> None:
        if Feature.WORKER in storage.features:
            check_handle(storage.worker(), storage.secrets(), storage.options)
        else:
            with pytest.raises(Unsupported):
                storage.worker()

    def test_functions_can_be_given_a_client_or_it_says_that_they_cannot(self, storage: Storage[Any]) -> None:
        check_client(storage)

    def test_workers_read_what_is_there(self, as_worker: AsWorker, bucket: str, prefix: str) -> None:
        self.raw_put(bucket, f"{prefix}k", b"0123456789")
        ranges = [(0, None), (2, 5), (5, 99), (10, None), (3, 3), (10, 12), (11, 12), (11, None)]
        steps = [["get", bucket, f"{prefix}k", *bounds] for bounds in ranges]
        answers = as_worker(steps)
        assert [base64.b64decode(answer) for answer in answers] == [b"0123456789"[slice(*bounds)] for bounds in ranges]

    def test_workers_see_the_same_objects(
        self, storage: Storage[Any], as_worker: AsWorker, bucket: str, prefix: str
    ) -> None:
        names = ["a", "b c", "b/d", "b/é+%", "z"]
        for name in names:
            storage.put(bucket, prefix + name, [name.encode()])
        listed = [list(info) for info in storage.list(bucket, prefix)]
        assert as_worker([["list", bucket, prefix, ""]]) == [listed]
        assert as_worker([["list", bucket, f"{prefix}b", f"{prefix}b c"]]) == [listed[2:4]]
        heads = [list(storage.head(bucket, prefix + name)) for name in names]
        assert as_worker([["head", bucket, prefix + name] for name in names]) == heads
        assert [[key, size, etag] for key, size, _, etag in heads] == [
            [key, size, etag] for key, size, _, etag in listed
        ]

    def test_workers_read_one_version_of_an_object(
        self, storage: Storage[Any], as_worker: AsWorker, bucket: str, prefix: str
    ) -> None:
        key = f"{prefix}k"
        storage.put(bucket, key, [b"old bytes"])
        etag = storage.head(bucket, key).etag
        assert as_worker([["get", bucket, key, 4, 9, etag]]) == [base64.b64encode(b"bytes").decode()]
        storage.put(bucket, key, [b"new bytes"])
        assert as_worker([["get", bucket, key, 4, 9, etag]]) == ["PreconditionFailed"]

    def test_workers_remove_objects(self, storage: Storage[Any], as_worker: AsWorker, bucket: str, prefix: str) -> None:
        for name in "abc":
            storage.put(bucket, prefix + name, [b"1"])
        missing = [f"{prefix}missing-{number}" for number in range(1200)]  # more than S3 takes in a request
        assert as_worker([["delete", bucket, [f"{prefix}a", *missing, f"{prefix}c"]]]) == [None]
        assert self.keys(storage, bucket, prefix) == [f"{prefix}b"]

    def test_what_workers_write_is_there(
        self, storage: Storage[Any], as_worker: AsWorker, bucket: str, prefix: str
    ) -> None:
        storage.put(bucket, f"{prefix}folder/old", [b"longer than what replaces it"])
        chunks = _encoded([b"some ", b"", b"bytes"])
        steps = [["put", bucket, f"{prefix}folder/{name}", chunks] for name in ("old", "new")]
        assert as_worker(steps) == [None, None]
        for name in ("old", "new"):
            assert self.raw_get(bucket, f"{prefix}folder/{name}") == b"some bytes"
        assert self.keys(storage, bucket, prefix) == [f"{prefix}folder/new", f"{prefix}folder/old"]

    def test_workers_are_told_what_is_missing(self, as_worker: AsWorker, bucket: str, prefix: str) -> None:
        """By FileNotFoundError: any other error is a service's bad moment, and asked again."""
        self.raw_put(bucket, f"{prefix}missing/not", b"1")
        steps = [["get", bucket, f"{prefix}missing", *bounds] for bounds in [(0, None), (1, 2)]]
        assert as_worker([*steps, ["head", bucket, f"{prefix}missing"]]) == ["FileNotFoundError"] * 3
        assert as_worker([["list", bucket, f"{prefix}nothing", ""]]) == [[]]

    def test_what_workers_write_is_there_wholly_or_not_at_all(
        self, storage: Storage[Any], as_worker: AsWorker, bucket: str, prefix: str
    ) -> None:
        storage.put(bucket, f"{prefix}old", [b"old"])
        chunks = _encoded([b"half" * 100_000])
        steps = [["break", bucket, prefix + name, chunks] for name in ("old", "new")]
        assert as_worker(steps) == ["Source", "Source"]
        assert self.keys(storage, bucket, prefix) == [f"{prefix}old"]
        assert self.raw_get(bucket, f"{prefix}old") == b"old"


def check_client(plugin: Storage[Any] | Monitor[Any]) -> None:
    """What functions are given for a parameter that is named as the plugin: a handle, or Unsupported."""
    try:
        handle = plugin.client()
    except Unsupported:
        return
    check_handle(handle, plugin.secrets(), plugin.options)


def check_handle(handle: Handle, secrets: Mapping[str, str], options: Any) -> None:
    """A handle travels in payloads: it is JSON, and has no secret."""
    assert TARGET.match(handle.target), "a handle's target is module:attribute"
    text = json.dumps(dict(handle.options))
    assert json.loads(text) == handle.options, "a handle's options are what JSON can carry, and come back as they were"
    fields = [field.name for field in dataclasses.fields(options) if SECRET.search(field.name)]
    hidden = [*secrets.values(), *(value for name in fields if isinstance(value := getattr(options, name), str))]
    if any(secret in text for secret in hidden if secret):  # an assert would show which
        raise AssertionError("a secret is in the handle's options: give it by `secrets`")


def _encoded(chunks: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(chunk).decode() for chunk in chunks]
