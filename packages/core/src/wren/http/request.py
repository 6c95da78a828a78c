"""A request to a shell as the threads that take part in it see it: `submit`, `kill`, and the client's own."""

import asyncio

from wren.spi import Deployment, Invocation, Report


class Request:
    """One invocation on its way; each of its calls is told of once.

    Taking a call is one operation on a dict, so that the threads need no lock, which a signal handler could find taken.
    """

    __slots__ = ("_pending", "accepted", "deployment", "invocation", "report", "sent", "size", "task")

    def __init__(self, deployment: Deployment, invocation: Invocation, report: Report) -> None:
        self.deployment = deployment
        self.invocation = invocation
        self.report = report
        self.sent = False  # whether some of it may have reached the other side
        self.accepted = False
        self.size = 0  # bytes of the payload
        self.task: asyncio.Task[None] | None = None
        self._pending = dict.fromkeys(invocation.calls)

    @property
    def over(self) -> bool:
        """Whether all calls have been told of."""
        return not self._pending

    def unfinished(self) -> set[int]:
        """The calls that nothing was told of yet."""
        return set(self._pending.copy())

    def take(self, call: int) -> bool:
        """Whether the caller is the one to tell of this call."""
        return self._pending.pop(call, self) is not self

    def fail(self, error: Exception) -> None:
        """Tell of all calls that are unfinished."""
        calls = [call for call in self.invocation.calls if self.take(call)]
        if calls:
            self.report.failed(self.invocation, calls, error)

    def cancel(self) -> None:
        """Close it; in the client's thread."""
        if self.task is not None:
            self.task.cancel()
