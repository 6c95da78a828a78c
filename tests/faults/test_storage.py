"""A storage that fails in the worker: what passes is tried again, what does not fails the call with its reason."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pluggy
import pytest

import wren
from wren.errors import StorageError
from wren.local.files import Files
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.testing import plugged
from wren.wire import Buffer, Handle

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class FlakyOptions:
    path: str
    counter: str  # a file with one byte for each failure
    failures: int  # how often a worker fails to write; below 0: for ever
    bucket: str = "wren"


class FlakyFiles(Files):
    def __init__(self, root: str, counter: str, failures: int) -> None:
        super().__init__(root)
        self._counter, self._failures = counter, failures

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        with open(self._counter, "ab") as file:  # noqa: PTH123 - the worker's side
            if self._failures < 0 or file.tell() < self._failures:
                file.write(b"x")
                raise OSError(f"the disk is having a moment, says {self._counter}")
        super().put(bucket, key, chunks, if_absent=if_absent)


class FlakyStorage(LocalStorage):
    name: ClassVar[str] = "flaky"
    options_type: ClassVar[type] = FlakyOptions

    def __init__(self, options: FlakyOptions) -> None:
        super().__init__(LocalhostOptions(path=options.path, bucket=options.bucket))
        self._flaky = options

    def worker(self) -> Handle:
        own = {"root": str(Path(self._flaky.path).absolute()), "counter": self._flaky.counter}
        return Handle(f"{__name__}:FlakyFiles", {**own, "failures": self._flaky.failures})


@hookimpl
def wren_storage() -> type[FlakyStorage]:
    return FlakyStorage


@pytest.fixture
def flaky(
    request: pytest.FixtureRequest, backend: str, config: dict[str, dict[str, Any]], tmp_path: Path
) -> Iterator[wren.FunctionExecutor]:
    keys = {"path": str(tmp_path / "flaky"), "counter": str(tmp_path / "failures"), "failures": request.param}
    with (
        plugged(tmp_path / "site", {"wren.storage": {"flaky": __name__}}),
        wren.function_executor({**config, "flaky": keys}, backend=backend, storage_backend="flaky") as made,
    ):
        yield made


def same(value: Any) -> Any:
    return value


def total(results: list[int]) -> int:
    return sum(results)


@pytest.mark.parametrize("flaky", [3], indirect=True)
def test_a_storage_that_fails_three_times_is_asked_a_fourth(flaky: wren.FunctionExecutor, tmp_path: Path) -> None:
    assert flaky.map_reduce(same, [5], total)[-1].result(30) == 5
    assert len((tmp_path / "failures").read_bytes()) == 3


@pytest.mark.parametrize("flaky", [-1], indirect=True)
def test_a_storage_that_fails_for_ever_fails_the_call_with_its_reason(flaky: wren.FunctionExecutor) -> None:
    mapped, reduced = flaky.map_reduce(same, [5], total)
    for future in (mapped, reduced):
        error = future.exception(30)
        assert isinstance(error, StorageError)
        assert "the result cannot be stored: the disk is having a moment" in str(error)
    assert flaky.call_async(same, 5).result(10) == 5  # it stores nothing
