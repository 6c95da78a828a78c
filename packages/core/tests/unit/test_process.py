"""What a worker writes is read back as it was, however the pipe cuts it into pieces."""

import itertools
import os
import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.local import process
from wren.local.process import Results, WorkerProcess
from wren.spi import Pickled
from wren.wire import Failure
from wren.worker import stream
from wren.worker.shared import LEAST, Shared


class Worker:
    """The other side of the descriptors of a process that is none."""

    def __init__(self) -> None:
        self.results, self.writing = os.pipe()
        os.set_blocking(self.results, False)
        fd = os.memfd_create("test")
        Shared.make(fd)
        self.shared, self.theirs = Shared(fd), Shared(fd)
        os.close(fd)

    def started(self) -> Any:
        """As `wren.local.start.start` returns it."""
        channels = SimpleNamespace(
            results=self.results, claimable=1, tasks=-1, claims=-1, taken_back=-1, shared=self.shared
        )
        return channels, SimpleNamespace(pid=0, ended=-1), None

    def close(self) -> None:
        os.close(self.results)
        os.close(self.writing)
        self.shared.close()
        self.theirs.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(worker: Worker) -> Iterator[WorkerProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "start", worker.started)
        yield WorkerProcess()


def word_kind(value: Any) -> int:
    """The kind of frame that has a value as a word; 0: none."""
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return stream.INT
    return stream.FLOAT if type(value) is float else stream.CONSTANT if value in (None, False, True) else 0


class Ended(NamedTuple):
    """How a call ended, and what its frame says besides."""

    value: Any
    logs: str = ""
    peak: int = 0

    def frame(self, worker: Worker, started: float) -> bytes:
        """As the pipe's shell writes it."""
        body, times = pickle.dumps(self.value, 5), (started, started + 0.5)
        if (kind := word_kind(self.value)) and not self.logs:
            word = stream.CONSTANTS.index(self.value) if kind == stream.CONSTANT else self.value
            return stream.WORD_FRAME[kind].pack(kind, 0, *times, self.peak, word)
        tag = stream.FAILED if isinstance(self.value, Failure) else stream.PLAIN
        if isinstance(self.value, list):
            tag = stream.PICKLED
        if len(body) >= LEAST:
            ring = worker.theirs.results
            ring.free(worker.theirs.taken[0])
            place = ring.put([body], len(body))
            assert place is not None
            tag, body = tag | stream.SHARED, stream.PLACE.pack(place, len(body))
        logs = [self.logs.encode()] if self.logs else []
        return b"".join(
            stream.frame(stream.RESULT, [body], logs, tag=tag, started=times[0], stopped=times[1], peak=self.peak)
        )


class Read:
    """What some reads brought, one after the other."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []
        self.started: list[float] = []
        self.stopped: list[float] = []
        self.apart: list[int] = []

    def add(self, results: Results) -> None:
        first = len(self.ended)
        self.apart += [first + at for at in results.apart]
        for at, value in enumerate(results.values):
            plain = pickle.loads(value.data) if isinstance(value, Pickled) else value  # noqa: S301 - of the test
            self.ended.append(Ended(plain, results.logs.get(at, ""), results.peaks.get(at, 0)))
        self.started += results.started
        self.stopped += results.stopped


small = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = (
    small
    | st.lists(st.integers(), max_size=3)
    | st.binary(min_size=20, max_size=60)
    | st.builds(Failure, st.just("raised"), st.just("ValueError"), st.text(max_size=5), st.just(""))
    | st.integers(LEAST, LEAST + 9).map(bytes)
)
ends = st.builds(Ended, values, st.just("") | st.text(max_size=5), st.just(0) | st.integers(1, 1 << 40))
runs = st.lists(st.lists(small.map(Ended), max_size=20) | st.lists(ends, max_size=3), max_size=5)


@settings(max_examples=300, deadline=None)
@given(runs, st.lists(st.integers(1, 200) | st.integers(1, 20_000), min_size=1))
def test_results_arrive_in_order_with_all_that_belongs_to_each(
    worker: Worker, client: WorkerProcess, some: list[list[Ended]], sizes: list[int]
) -> None:
    # Given small results in rows, and others among them
    ended = [each for run in some for each in run]
    written = b"".join(each.frame(worker, float(at)) for at, each in enumerate(ended))
    # When they come in pieces
    read, at, pieces = Read(), 0, itertools.cycle(sizes)
    while at < len(written):
        at += os.write(worker.writing, written[at : at + next(pieces)])
        read.add(client.read())
    # Then they are what they were
    assert read.ended == ended
    assert read.started == [float(at) for at in range(len(ended))]
    assert read.stopped == [at + 0.5 for at in range(len(ended))]
    assert read.apart == [at for at, each in enumerate(ended) if isinstance(each.value, Failure)]


@pytest.mark.parametrize("others", [[1.5], [[1]]], ids=["of another kind", "without a word"])
def test_a_small_result_is_looked_at_few_times_whatever_is_between_them(
    worker: Worker, client: WorkerProcess, monkeypatch: pytest.MonkeyPatch, others: list[Any]
) -> None:
    # Given results of which every second is a number: 100,000 of them once took 22 seconds in place of one
    ended = [Ended(at if at % 2 else others[0]) for at in range(400)]
    written = b"".join(each.frame(worker, 0.0) for each in ended)
    looked, alike = 0, client._alike

    def count(start: int, most: int) -> int:
        nonlocal looked
        looked += most
        return alike(start, most)

    monkeypatch.setattr(client, "_alike", count)
    # When they come together
    os.write(worker.writing, written)
    read = Read()
    read.add(client.read())
    # Then
    assert read.ended == ended
    assert looked <= 400 * process._FEW
