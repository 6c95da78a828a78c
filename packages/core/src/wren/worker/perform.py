"""One call from its payload's record to its status: what the shells `once` and `http` do where the call runs."""

import os
import time
from collections.abc import Callable
from typing import Any

from wren.wire import Call, CallStatus, Header
from wren.worker.isolation import Isolation
from wren.worker.memory import peak_memory
from wren.worker.output import Output
from wren.worker.run import (
    Result,
    WorkerStorage,
    call_status,
    failure,
    load_arguments,
    run_call,
    store_status,
)
from wren.worker.stream import FAILED

__all__ = ["Function", "perform"]

Function = Callable[..., Any] | list[bytes]  # a list: the failure to load it, which each of its calls then has


def perform(
    header: Header,
    attempt: int,
    call: Call,
    function: Function,
    storage: Callable[[], WorkerStorage],
    isolation: Isolation,
    output: Output,
    worker: str,
) -> CallStatus:
    """Run the call in its environment, and store its status where the job's are stored.

    A status that cannot be stored says so itself, for the channels that are left.
    """
    pid = os.getpid()
    peak_memory()  # what was before is no matter of this call's
    isolation.apply(header.env)
    started = time.time()
    result: Result
    if isinstance(function, list):
        result = FAILED, function
    else:
        result = run_call(header, call.id, attempt, function, lambda: load_arguments(call.args, storage), storage)
    stopped = time.time()
    if os.getpid() != pid:
        os._exit(0)  # the function forked, and this is the child: the call is the parent's
    logs = b"".join(output.take()).decode("utf-8", "replace")
    told = started, stopped, logs, worker, peak_memory()
    status = call_status(header, call.id, attempt, result, *told)
    if not header.persist:
        return status
    try:
        store_status(storage(), header, status)
    except Exception as error:  # noqa: BLE001 - whatever the storage raises is why nobody will find the status
        failed = FAILED, failure(error, kind="storage", message="the status cannot be stored")
        return call_status(header, call.id, attempt, failed, *told)
    return status
