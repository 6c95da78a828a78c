"""What functions get besides their arguments, and what futures tell of calls: the same on each kind of backend."""

import pickle
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import CallError, NoSuchKey, Unsupported

MIB = 1 << 20


@pytest.fixture(params=["localhost", "template"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """Local workers, and the http shell with a storage of its own."""
    name = request.param
    folder = str(tmp_path / "storage")
    return {name: {"path": folder}, "wren": {"backend": name, "storage": name, "workers": 2}}


@pytest.fixture
def executor(config: Mapping[str, Any]) -> Iterator[wren.FunctionExecutor]:
    with wren.FunctionExecutor(config) as made:
        yield made


# ---- the storage


def put(key: str, data: Any, storage: Any) -> str:
    storage.put_object(storage.bucket, key, data)
    return key


def get(key: str, storage: Any) -> bytes:
    content: bytes = storage.get_object(storage.bucket, key)
    return content


@pytest.mark.parametrize("data", [b"", b"some", bytearray(b"some"), memoryview(b"some"), bytes(3 * MIB)])
def test_what_one_function_puts_another_gets(executor: wren.FunctionExecutor, data: Any) -> None:
    if not isinstance(data, memoryview):  # which cannot be pickled
        assert executor.call_async(put, ("mine/key", data)).result(30) == "mine/key"
    else:
        executor.call_async(lambda key, storage: put(key, memoryview(b"some"), storage), "mine/key").result(30)
    assert executor.call_async(get, "mine/key").result(30) == bytes(data)


def test_reducers_get_it_too(executor: wren.FunctionExecutor) -> None:
    def together(results: list[str], internal_storage: Any, id: int) -> tuple[bytes, int]:
        return b"".join(get(key, internal_storage) for key in results), id

    futures = executor.map_reduce(put, [("a", b"1"), ("b", b"2")], together)
    assert executor.get_result(futures) == (b"12", 0)
    inner = executor.map_reduce(put, [("a", b"3")], together, reducer_wait_local=True)
    assert executor.get_result(inner) == (b"3", 0)


def test_what_is_given_by_name_is_not_filled_in(executor: wren.FunctionExecutor) -> None:
    def which(x: int, storage: Any) -> Any:
        return x, storage

    assert executor.call_async(which, {"x": 1, "storage": "mine"}).result(30) == (1, "mine")


def test_there_is_no_such_object(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(NoSuchKey, match=r"there is no object .*/nothing"):
        executor.call_async(get, "nothing").result(30)


def test_what_is_no_data_is_an_error_of_the_call(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(TypeError, match=r"what is to be put into .*/key is of type int: give bytes"):
        executor.call_async(put, ("key", 5)).result(30)


def test_calls_that_are_followed_get_it(executor: wren.FunctionExecutor) -> None:
    def outer(x: int) -> Any:
        return wren.local_executor().map_reduce(put, [("n", b"nested")], lambda keys, storage: get(keys[0], storage))[
            -1
        ]

    assert executor.call_async(outer, 1).result(30) == b"nested"


def test_calls_that_run_within_get_that_of_the_outer_one(executor: wren.FunctionExecutor) -> None:
    def asks(x: int, storage: Any) -> Any:
        return wren.local_executor().call_async(put, ("n", b"nested")).result(), get("n", storage)

    def asks_without(x: int) -> Any:
        return wren.local_executor().call_async(put, ("n", b"nested")).result()

    assert executor.call_async(asks, 1).result(30) == ("n", b"nested")
    without = executor.map(asks_without, [1])[0]
    if isinstance(without.exception(30), CallError):  # it may have one all the same, where large results go there
        with pytest.raises(CallError, match="a parameter named storage, or return the future"):
            without.result()


def test_one_that_workers_cannot_open_is_an_error_before_anything_is_invoked() -> None:
    with (
        wren.local_executor(storage_backend="memory", workers=1) as executor,
        pytest.raises(Unsupported, match="workers cannot open the memory storage"),
    ):
        executor.map(get, ["key"])


# ---- what futures tell


def test_sizes_memory_and_attempts(executor: wren.FunctionExecutor) -> None:
    def grow(data: bytes) -> bytes:
        room = bytearray(64 * MIB)
        room[::4096] = b"x" * (len(room) // 4096)
        time.sleep(0.01)
        return data * 2

    small, large = executor.map(grow, [b"x" * 10_000, b"x" * 2 * MIB])
    assert (small.stats["argument_bytes"] > 10_000, large.stats["attempts"]) == (True, 1)
    executor.wait()
    before = [future.stats["result_bytes"] for future in (small, large)]
    assert executor.get_result() == [b"x" * 20_000, b"x" * 4 * MIB]
    assert before == [future.stats["result_bytes"] for future in (small, large)]
    assert before == [len(pickle.dumps(value, 5)) for value in (b"x" * 20_000, b"x" * 4 * MIB)]
    assert large.stats["argument_bytes"] > 2 * MIB
    assert all(64 * MIB < future.stats["peak_memory"] < 1024 * MIB for future in (small, large))


def test_the_memory_of_one_call_is_not_the_next_ones(executor: wren.FunctionExecutor) -> None:
    def use(size: int) -> None:
        room = bytearray(size)
        room[::4096] = b"x" * (len(room) // 4096)
        time.sleep(0.01)

    peaks = []
    for size in (256 * MIB, MIB):
        future = executor.call_async(use, size)
        future.result(30)
        peaks.append(future.stats["peak_memory"])
    assert peaks[1] < peaks[0] - 128 * MIB


def test_attempts_are_counted(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def third_time(folder: str) -> int:
        tries = len(list(Path(folder).iterdir()))
        Path(folder, f"try-{tries}").touch()
        if tries < 2:
            raise LookupError("not yet")
        return tries

    (tmp_path / "tries").mkdir()
    future = executor.call_async(third_time, str(tmp_path / "tries"), retries=5, retry_on=LookupError)
    assert future.result(30) == 2
    assert future.stats["attempts"] == 3


def test_a_failure_has_no_result_and_no_size(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(lambda x: 1 / x, 0)
    assert isinstance(future.exception(30), ZeroDivisionError)
    assert "result_bytes" not in future.stats
    assert future.stats["seconds"] >= 0
