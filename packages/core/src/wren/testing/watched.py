"""A job that the kit has a monitor watch, from the side of its workers; and what events say, whatever their kind."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from wren.spi import Listed, Storage
from wren.wire import CallStatus, Handle, Header, seal_status
from wren.worker.run import open_handle, store_status

__all__ = ["Event", "Job", "identity"]

Event: TypeAlias = bytes | tuple[str, str, int, int, str]  # a message, or of which attempt a status was listed


def identity(event: bytes | Listed) -> Event:
    """What two events have in common that say the same."""
    if isinstance(event, Listed):
        return event.executor, event.job, event.call, event.attempt, event.state
    assert isinstance(event, bytes), f"an event is a message, in bytes, or Listed, not {event!r}"
    return event


@dataclass(frozen=True, slots=True)
class Job:
    """Its workers report by the handle, or store their statuses where there is none."""

    header: Header
    handle: Handle | None
    storage: Storage[Any]

    def status(self, call: int, logs: str = "") -> CallStatus:
        """The status of a call that succeeded."""
        return CallStatus(self.header.executor, self.header.job, call, 0, "ok", 1.0, 2.0, logs=logs)

    def event(self, status: CallStatus) -> Event:
        """What the monitor is to make of it."""
        if self.handle is None:
            return status.executor, status.job, status.call, status.attempt, status.state
        return seal_status(self.header.mac_key, status)

    def expected(self, calls: Iterable[int]) -> set[Event]:
        """The events of calls that nobody has told yet."""
        return {self.event(self.status(call)) for call in calls}

    def tell_calls(self, calls: Iterable[int]) -> set[Event]:
        """Say that these calls are over, as a worker does: the events that are to come of it."""
        return self.tell([self.status(call) for call in calls])

    def tell(self, statuses: Iterable[CallStatus]) -> set[Event]:
        """The same with statuses."""
        told = {self.event(status): status for status in statuses}
        if self.handle is None:
            store = open_handle(self.storage.worker())
            for status in told.values():
                store_status(store, self.header, status)
            return set(told)
        with contextlib.closing(open_handle(self.handle)) as reporter:
            for message in told:
                reporter.report(message)
        return set(told)
