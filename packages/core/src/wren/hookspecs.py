"""What a plugin's entry point must offer: a module (or object) with one of these hooks; an observer any of the last."""

from typing import Any

import pluggy

from wren.spi import CallInfo, Compute, JobInfo, Monitor, Storage

PROJECT = "wren"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def wren_compute() -> type[Compute[Any]]:  # type: ignore[empty-body]
    """The class of a compute backend; core constructs it with its parsed options."""


@hookspec
def wren_storage() -> type[Storage[Any]]:  # type: ignore[empty-body]
    """The class of a storage."""


@hookspec
def wren_monitor() -> type[Monitor[Any]]:  # type: ignore[empty-body]
    """The class of a monitor."""


# Of observers.  All are called in one thread, which is not one that runs or settles calls: they may take their time.
# What they raise is logged, and the observer left out from then on.


@hookspec
def wren_job_submitted(job: JobInfo) -> None:
    """A job was submitted; some of its calls may have ended already, of which the observer is told next."""


@hookspec
def wren_call_finished(call: CallInfo) -> None:
    """A call has ended for good; told soon after its job is over, and about twice a second while that runs."""


@hookspec
def wren_executor_closed(executor_id: str) -> None:
    """An executor that had jobs was closed, and all of its calls were told of; it may be used again."""
