"""The kit's own side of `wren.spi`: invocations that no executor made, and a report that keeps what a backend says."""

import hashlib
import os
import pickle
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wren import wire
from wren.serialize import load_failure
from wren.spi import Feature, Invocation, Outcomes, Pickled, Receipt, Storage, Stored
from wren.testing.threads import wait_for
from wren.wire import Blob, CallStatus, Failure, Header
from wren.worker.stream import cloudpickle_chunks

__all__ = ["Ended", "Inline", "Recorder", "make_invocation"]


class Inline:
    """Arguments that travel; see `wren.spi.Arguments`."""

    def __init__(self, args: Sequence[tuple[Any, ...]]) -> None:
        self._pickles = [cloudpickle_chunks((each, {})) for each in args]
        self.mean_size = max((sum(map(len, each)) for each in self._pickles), default=0)

    def __len__(self) -> int:
        return len(self._pickles)

    def pickled(self, call: int) -> Sequence[bytes]:
        return self._pickles[call]

    def stored(self, call: int) -> None:
        return None

    def plain(self, calls: Sequence[int]) -> None:
        return None


def make_invocation(
    features: Feature,
    storage: Storage[Any],
    function: Callable[..., Any],
    args: Sequence[tuple[Any, ...]],
    *,
    timeout: float | None = None,
    heartbeat: float | None = None,
) -> Invocation:
    """A job of its own in one invocation; it stores its statuses where the backend has no channel for them."""
    stores = Feature.DIRECT not in features
    code = cloudpickle_chunks(function)
    header = Header(
        executor=uuid.uuid4().hex,
        job="A000",
        mac_key=os.urandom(32),
        function=Blob(hashlib.sha256(b"".join(code)).hexdigest(), sum(map(len, code))),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        storage=storage.worker() if stores else None,
        bucket=storage.bucket if stores else "",
        timeout=timeout,
        persist=stores,
        heartbeat=heartbeat,
    )
    return Invocation(header, range(len(args)), Inline(args), code, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a call; a value is not unpickled yet where it came so."""

    call: int
    at: float  # `time.monotonic` of the report
    value: Any = None
    error: BaseException | None = None
    logs: str = ""

    def result(self) -> Any:
        """The value, or raises the error."""
        if self.error is not None:
            raise self.error
        return pickle.loads(self.value.data) if isinstance(self.value, Pickled) else self.value  # noqa: S301 - of its job


class Recorder:
    """The `wren.spi.Report` of one invocation: keeps all that is said, and finds what its workers have stored."""

    def __init__(self, invocation: Invocation, storage: Storage[Any], patience: float) -> None:
        self.invocation = invocation
        self._storage, self._patience = storage, patience
        self._lock = threading.Lock()
        self.receipts: list[tuple[float, Receipt]] = []  # each with the time of its report, as below
        self.heartbeats: list[float] = []
        self.ended: list[Ended] = []
        self.strays: list[object] = []  # what was said of anything else

    # ---- wren.spi.Report

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        self.receipts.append((time.monotonic(), receipt))

    def heartbeat(self, invocation: Invocation, *, receiving: bool = False) -> None:
        self.heartbeats.append(time.monotonic())

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        for call, value in zip(outcomes.calls, outcomes.values, strict=True):
            self._add(invocation, Ended(call, time.monotonic(), value, logs=outcomes.logs.get(call, "")))

    def status(self, invocation: Invocation, status: CallStatus) -> None:
        header = invocation.header
        if (status.executor, status.job, status.attempt) != (header.executor, header.job, invocation.attempt):
            self.strays.append(status)
            return
        self._add(invocation, _ended(status))

    def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        for call in calls:
            self._add(invocation, Ended(call, time.monotonic(), error=error, logs=logs))

    def _add(self, invocation: Invocation, ended: Ended) -> None:
        with self._lock:
            mine = invocation is self.invocation and ended.call in self.invocation.calls
            (self.ended if mine else self.strays).append(ended)

    # ---- for the checks

    def receipt(self) -> Receipt:
        """What the platform calls the invocation, once it says so."""
        wait_for(lambda: bool(self.receipts), "the backend reports that the invocation was accepted", self._patience)
        return self.receipts[0][1]

    def find(self, call: int = 0) -> Ended | None:
        """What became of a call, None as long as it is not known."""
        with self._lock:
            found = next((ended for ended in self.ended if ended.call == call), None)
        return found or self._stored(call)

    def wait(self, call: int = 0) -> Ended:
        """What became of a call, once it has ended."""
        wait_for(lambda: self.find(call) is not None, f"what became of call {call} is known", self._patience)
        found = self.find(call)
        assert found is not None
        return found

    def results(self) -> list[Any]:
        """The values of all calls, once they have ended; raises the first error."""
        return [self.wait(call).result() for call in self.invocation.calls]

    def _stored(self, call: int) -> Ended | None:
        header = self.invocation.header
        if not header.persist:
            return None
        prefix = wire.status_prefix(header.executor, header.job, call // wire.SHARD)
        for info in self._storage.list(header.bucket, prefix):
            number, attempt, state = wire.parse_status_key(info.key)
            if number != call:
                continue
            identity = (header.executor, header.job, call, attempt)
            sealed = self._storage.get(header.bucket, info.key)
            ended = _ended(wire.unseal_status(header.mac_key, *identity, state, sealed))
            if state == "err":
                return ended
            sealed = self._storage.get(header.bucket, wire.result_key(*identity))
            value = Pickled(wire.unseal(header.mac_key, *identity, "ok", sealed))
            return Ended(call, ended.at, value, logs=ended.logs)
        return None


def _ended(status: CallStatus) -> Ended:
    if status.state == "err":
        failure = status.failure or Failure("lost", "WorkerLost", "no reason was given", "")
        return Ended(status.call, time.monotonic(), error=load_failure(failure), logs=status.logs)
    value = Stored(status.attempt) if status.result is None else Pickled(status.result)
    return Ended(status.call, time.monotonic(), value, logs=status.logs)
