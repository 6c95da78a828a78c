"""What `check()` of a storage and of a compute backend tries, unless the plugin brings a check of its own.

Both work through the contracts only.  What they make is removed before the first check is given out: whoever asked may
stop asking at any time, as `wren doctor` does when its time is over.
"""

import contextlib
import hashlib
import os
import pickle
import platform
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from wren.errors import CallError, WrenError
from wren.spi import Check, Compute, Deployment, Feature, Invocation, Outcomes, Receipt, Runtime, Storage
from wren.wire import Blob, CallStatus, Header

__all__ = ["PREFIX", "clock", "try_compute", "try_storage"]

PREFIX: Final = "wren/checks/"  # of the keys of what is written to try a storage
WAIT: Final = 30.0  # seconds that a call may take, its worker's start included
SKEW: Final = 5.0  # seconds by which clocks may differ; many services tell whole ones
NONCE: Final = "WREN_CHECK"  # a secret that makes a deployment nobody else's
CONTENT: Final = b"written by wren doctor, to be removed at once\n"


def try_storage(storage: Storage[Any]) -> Iterator[Check]:
    """Write, read, list and remove a small object."""
    key, bucket = f"{PREFIX}{os.urandom(8).hex()}", ""
    step, start = "open", time.time()
    written = False
    checks: list[Check] = []
    try:
        bucket = storage.bucket
        step, written = "write", True
        storage.put(bucket, key, [CONTENT])
        after = time.time()
        step = "read"
        info, read = storage.head(bucket, key), storage.get(bucket, key)
        step = "list"
        listed = [each.key for each in storage.list(bucket, key)]
        step = "remove"
        storage.delete(bucket, [key])
        written = False
    except WrenError as error:
        checks.append(Check(step, ok=False, detail=str(error), cure=_cure(storage.name)))
    else:
        whole = read == CONTENT and listed == [key]
        seconds = time.time() - start
        said = "was written, read, listed and removed" if whole else "did not come back as it was written"
        detail = f"an object {said} in bucket {bucket} in {seconds:.3f} s"
        checks += [Check("objects", whole, detail, _cure(storage.name)), clock(start, info.mtime, after)]
    finally:
        if written:
            with contextlib.suppress(WrenError):  # it is told already that the storage does not work
                storage.delete(bucket, [key])
    yield from checks


def try_compute(compute: Compute[Any]) -> Iterator[Check]:
    """Ask what the runtime is, and where results come directly run a call."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        info = compute.describe(Runtime())
    except WrenError as error:
        yield Check("runtime", ok=False, detail=str(error), cure=_cure(compute.name))
        return
    same = info.python == mine
    detail = f"Python {info.python} on {info.platform}" + ("" if same else f", and this is Python {mine}")
    yield Check("runtime", same, detail, f"run this program with Python {info.python}, or use a runtime with {mine}")
    if same and Feature.DIRECT in compute.features:
        yield from _try_call(compute)


def _try_call(compute: Compute[Any]) -> list[Check]:
    """Run a call in a deployment of its own, which is removed: one that others use has other secrets."""
    cure = _cure(compute.name)
    step, start = "deploy", time.time()
    deployment: Deployment | None = None
    try:
        deployment = compute.deploy(Runtime(), {NONCE: os.urandom(8).hex()})
        step = "call"
        ended = _call(compute, deployment)
        step, removed, deployment = "undeploy", deployment, None
        compute.undeploy(removed)
    except WrenError as error:
        return [Check(step, ok=False, detail=str(error), cure=cure)]
    finally:
        if deployment is not None:
            with contextlib.suppress(WrenError):  # it is told already that the backend does not work
                compute.undeploy(deployment)
    now = time.time()
    return [Check("call", ok=True, detail=f"a call ran in {now - start:.2f} s"), clock(start, ended.started, now)]


def clock(before: float, told: float, after: float) -> Check:
    """Compare clocks: `told` is what the other one said at a moment between two of this one's.  Epoch seconds."""
    ahead = max(told - after, 0.0) - max(before - told, 0.0)
    small = abs(ahead) <= SKEW
    detail = "as here" if small else f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    cure = "set the clocks of both sides, by NTP for example: requests are signed, and objects dated, with them"
    return Check("clock", small, detail, "" if small else cure, warning=not small)


def _cure(section: str) -> str:
    return f"see that the service runs, and that section [{section}] is right: `wren config show`"


# ---- one call without an executor


class _Ended(NamedTuple):
    """A call that has a result."""

    started: float  # epoch seconds, by the worker's clock


def _call(compute: Compute[Any], deployment: Deployment) -> _Ended:
    """Run a function that every Python has.  Raises what the backend or the call failed with."""
    code = pickle.dumps(platform.python_version)
    header = Header(
        executor=os.urandom(16).hex(),
        job="A000",
        mac_key=os.urandom(32),
        function=Blob(hashlib.sha256(code).hexdigest(), len(code)),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        timeout=WAIT,
    )
    invocation = Invocation(header, range(1), _NoArguments(), [code], timeout=WAIT)
    report = _Report()
    compute.submit(deployment, [invocation], report)
    try:
        ended = report.ended.get(timeout=WAIT)
    except queue.Empty:
        raise CallError(f"a call has not ended after {WAIT:g} s") from None
    if isinstance(ended, Exception):
        raise ended
    return ended


class _NoArguments:
    """Those of one call that needs none; see `wren.spi.Arguments`."""

    mean_size: Final = 16

    def __len__(self) -> int:
        return 1

    def pickled(self, call: int) -> Sequence[bytes]:
        return [pickle.dumps(((), {}))]

    def stored(self, call: int) -> None:
        return None

    def plain(self, calls: Sequence[int]) -> None:
        return None


class _Report:
    """The `wren.spi.Report` of the one invocation."""

    def __init__(self) -> None:
        self.ended: queue.SimpleQueue[_Ended | Exception] = queue.SimpleQueue()

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        pass

    def heartbeat(self, invocation: Invocation, *, receiving: bool = False) -> None:
        pass

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        self.ended.put(_Ended(outcomes.started[0]))

    def status(self, invocation: Invocation, status: CallStatus) -> None:
        if status.failure is None:
            self.ended.put(_Ended(status.started))
        else:
            self.ended.put(CallError(f"{status.failure.name}: {status.failure.message}"))

    def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        self.ended.put(error)
