"""Partitions as others read them: pandas and gzip take `data_stream` for the file that it is."""

import gzip
import hashlib
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.fixtures import Endpoint

import wren
from wren.partition import ranges
from wren.worker.lines import Lines

CELLS = st.sampled_from(["0", "1.5", "-7", "text", '"quoted, with comma"', "ü"])


def opened(data: bytes, chunk_n: int, block: int) -> list[io.BufferedReader]:
    def read(start: int, stop: int) -> bytes:
        return data[start:stop]

    bounds = ranges(len(data), None, chunk_n)
    return [io.BufferedReader(Lines(read, len(data), *each, block, ahead=2), 64) for each in bounds]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=60),
    newline=st.sampled_from(["\n", "\r\n"]),
    ended=st.booleans(),
    chunk_n=st.integers(1, 9),
    block=st.integers(1, 200),
)
def test_pandas_reads_the_rows_of_each_part(
    rows: list[tuple[str, ...]], newline: str, ended: bool, chunk_n: int, block: int
) -> None:
    text = newline.join(map(",".join, rows)) + newline * ended
    frames = [
        pd.read_csv(part, header=None, dtype=str, names=["a", "b", "c"])
        for part in opened(text.encode(), chunk_n, block)
        if part.peek(1)
    ]
    whole = pd.read_csv(io.StringIO(text), header=None, dtype=str, names=["a", "b", "c"])
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5_000), st.integers(1, 200))
def test_gzip_reads_an_object_that_is_one_part(data: bytes, block: int) -> None:
    (part,) = opened(gzip.compress(data), 1, block)
    with gzip.open(part) as file:
        assert file.read() == data


@pytest.mark.parametrize("compressed", [False, True])
def test_pandas_reads_partitions_in_workers(tmp_path: Path, compressed: bool) -> None:
    table = pd.DataFrame({"number": range(50_000), "text": [f"row {row}" for row in range(50_000)]})
    path = tmp_path / "table.csv"
    table.to_csv(path, header=False, index=False, compression="gzip" if compressed else None)

    def frame(obj: Any) -> pd.DataFrame:
        how = "gzip" if compressed else None
        return pd.read_csv(obj.data_stream, header=None, names=["number", "text"], compression=how)

    config = {"localhost": {"path": str(tmp_path / "storage")}}
    with wren.local_executor(config, workers=2) as executor:
        frames = executor.get_result(executor.map(frame, [path], chunk_n=1 if compressed else 5))
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), table)


def sizes(obj: Any) -> tuple[str, int, bytes]:
    data: bytes = obj.data_stream.read()
    return obj.key, len(data), hashlib.sha256(data).digest()


@pytest.mark.parametrize("backend", ["localhost", "template"])
def test_partitions_of_a_bucket_are_read_by_every_shell(
    backend: str, s3: Endpoint, s3_bucket: str, tmp_path: Path
) -> None:
    # Given objects of which the larger ones take several requests, and calls that are forked where the shell does so
    texts = {f"text/{number}": b"line %d\n" % number * 1_000_000 for number in range(3)}
    config = {"ibm_cos": s3.options(s3_bucket), "template": {"path": str(tmp_path / "unused.db"), "idle_exit": 5.0}}
    with wren.FunctionExecutor(backend=backend, storage_backend="ibm_cos", config=config, workers=2) as executor:
        for key, text in texts.items():
            executor.storage.put_object(s3_bucket, key, text)
        # When they are read whole, and by partitions that are counted object by object
        whole = executor.get_result(executor.map(sizes, [f"cos://{s3_bucket}/text/"]))
        futures = executor.map_reduce(
            lambda obj: (obj.key, sum(map(len, obj.data_stream))),
            [f"{s3_bucket}/text/*"],
            lambda parts: (parts[0][0], sum(size for _, size in parts)),
            chunk_n=3,
            reducer_one_per_object=True,
        )
        reduced = executor.get_result(futures)
    # Then not a byte is lost
    assert whole == [(key, len(text), hashlib.sha256(text).digest()) for key, text in texts.items()]
    assert reduced == [(key, len(text)) for key, text in texts.items()]
