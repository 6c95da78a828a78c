"""Jobs whose storage is an S3 server: what is large goes by it, results stay in it, and no secret is in any of it."""

import contextlib
import operator
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from tests.services.fixtures import Endpoint

import wren
from wren.errors import CallError, StorageError

Stored: TypeAlias = Callable[[], dict[str, bytes]]

SIZE: Final = 12 << 20  # bytes: more than one part of an upload


@pytest.fixture
def config(s3: Endpoint, s3_bucket: str, tmp_path: Path) -> Mapping[str, Any]:
    return {"ibm_cos": s3.options(s3_bucket), "template": {"path": str(tmp_path / "unused.db"), "idle_exit": 5.0}}


@pytest.fixture(params=["localhost", "template"])
def executor(request: pytest.FixtureRequest, config: Mapping[str, Any]) -> Iterator[wren.FunctionExecutor]:
    backend: str = request.param
    with wren.FunctionExecutor(backend=backend, storage_backend="ibm_cos", config=config, workers=2) as made:
        yield made


@pytest.fixture
def stored(s3: Endpoint, s3_bucket: str) -> Iterator[Stored]:
    """All that is in the bucket, read without wren."""
    client = s3.client()

    def read() -> dict[str, bytes]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=s3_bucket)
        found = {}
        for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
            with contextlib.suppress(client.exceptions.NoSuchKey):  # removed meanwhile, as a job's arguments are
                found[key] = client.get_object(Bucket=s3_bucket, Key=key)["Body"].read()
        return found

    yield read
    client.close()


def size_of(data: bytes) -> int:
    return len(data)


def zeros(size: int) -> bytes:
    return bytes(size)


def opener_is_loaded(_: int) -> bool:
    return "wren_storage_cos.objects" in sys.modules


def test_arguments_and_results_may_be_large(executor: wren.FunctionExecutor) -> None:
    assert executor.call_async(size_of, zeros(SIZE)).result() == SIZE
    assert executor.map(zeros, [SIZE, 3])[0].result() == zeros(SIZE)


def test_a_map_is_reduced_by_way_of_the_storage(executor: wren.FunctionExecutor) -> None:
    executor.map_reduce(abs, range(-20, 0), sum)
    assert executor.get_result() == sum(range(1, 21))


def test_results_stay_and_are_read_by_others(
    executor: wren.FunctionExecutor,
    stored: Callable[[], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    s3: Endpoint,
) -> None:
    """Whose configuration has the keys."""
    futures = executor.map(operator.neg, range(5), persist=True)
    assert executor.get_result(futures) == [0, -1, -2, -3, -4]
    assert sum("/result/" in key for key in stored()) == 5
    pickled = pickle.dumps(futures)
    assert s3.secret_key.encode() not in pickled
    monkeypatch.setenv("WREN_IBM_COS__ACCESS_KEY", s3.access_key)
    monkeypatch.setenv("WREN_IBM_COS__SECRET_KEY", s3.secret_key)
    assert [future.result() for future in pickle.loads(pickled)] == [0, -1, -2, -3, -4]  # noqa: S301 - made here
    attached = wren.attach(f"{executor.executor_id}/{futures[0].job_id}")
    assert [future.result() for future in attached] == [0, -1, -2, -3, -4]


def test_no_secret_is_stored_or_recorded(executor: wren.FunctionExecutor, stored: Stored, s3: Endpoint) -> None:
    executor.map(zeros, [SIZE, 1], persist=True)
    executor.map_reduce(zeros, [3], len)
    executor.get_result()
    records = {str(path): path.read_bytes() for path in Path(os.environ["XDG_STATE_HOME"]).rglob("*") if path.is_file()}
    for name, data in {**stored(), **records}.items():
        assert s3.secret_key.encode() not in data, name


@pytest.mark.parametrize("persist", [False, True])
def test_calls_that_store_results_are_forked_with_what_that_needs(config: Mapping[str, Any], persist: bool) -> None:
    with wren.FunctionExecutor(backend="template", storage_backend="ibm_cos", config=config) as executor:
        assert executor.call_async(opener_is_loaded, 0, persist=persist).result() is persist


def test_a_bucket_that_is_missing_is_told_before_anything_runs(config: Mapping[str, Any]) -> None:
    given = {**config, "ibm_cos": {**config["ibm_cos"], "bucket": "wren-nowhere"}}
    with (
        wren.FunctionExecutor(backend="template", storage_backend="ibm_cos", config=given) as executor,
        pytest.raises(StorageError, match=r"no bucket 'wren-nowhere'.*bucket in section \[ibm_cos\]"),
    ):
        executor.call_async(size_of, zeros(SIZE))


def test_a_bucket_that_goes_in_mid_job_fails_its_calls(
    executor: wren.FunctionExecutor, s3: Endpoint, s3_bucket: str
) -> None:
    client = s3.client()
    client.delete_bucket(Bucket=s3_bucket)
    client.close()
    future = executor.call_async(zeros, SIZE, persist=True)
    with pytest.raises((CallError, StorageError), match=f"no bucket '{s3_bucket}'"):
        future.result(timeout=60)
