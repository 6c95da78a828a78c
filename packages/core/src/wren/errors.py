"""Every exception that wren raises.

Flat families, one for each question that a caller asks: is my program or configuration wrong (`ConfigError`,
`BindingError` ...), did the platform refuse (`BackendError` and its kin, which backends raise), or did a call fail
(`CallError` and its kin, which futures raise)?  A user's own exception is none of these: it arrives as itself.
"""

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager

from wren.wire import WireMismatch

__all__ = [
    "BackendError",
    "BindingError",
    "CallCancelled",
    "CallError",
    "CallLost",
    "CallTimeout",
    "ConfigError",
    "ModuleError",
    "MonitorError",
    "NoSuchJob",
    "NoSuchKey",
    "NotDeployed",
    "OutOfMemory",
    "PluginConflict",
    "PluginError",
    "PluginFault",
    "PluginNotFound",
    "PreconditionFailed",
    "RemoteError",
    "RemoteTraceback",
    "SerializationError",
    "StorageError",
    "StorageNoSuchKey",
    "StorageUnavailable",
    "Throttled",
    "Unavailable",
    "Undecided",
    "Unsupported",
    "WaitTimeout",
    "WireMismatch",
    "WorkerLost",
    "WrenError",
    "storage_errors",
]


class WrenError(Exception):
    """The root of what wren itself raises."""


# ---- what is wrong before anything is invoked


class ConfigError(WrenError):
    """A configuration key or value that cannot be used; the text names the key and its section."""


class PluginError(WrenError):
    """An installed plugin that cannot be used, with the distribution that it comes from."""


class PluginNotFound(PluginError):
    """No installed distribution offers the plugin asked for; the text says what to install."""


class PluginConflict(PluginError):
    """Several installed distributions offer a plugin of the same name; the text names them."""


class NoSuchJob(WrenError, LookupError):
    """There is no record of a job of that name, or of what reads its results; the text names near ones."""


class Unsupported(WrenError):
    """An ability that this backend, storage or platform does not have."""


class BindingError(WrenError, TypeError):
    """An element of iterdata that does not fit the function's parameters."""


class SerializationError(WrenError, TypeError):
    """A function, an argument or a result that cannot be pickled; the text names it and the reason."""


class ModuleError(WrenError):
    """A module that the function needs can neither travel nor is in the runtime; the text names it and the cure."""


# ---- what a backend says (the errors that `wren.spi.Compute` may raise or report)


class BackendError(WrenError):
    """The platform refused for good.  The family's others say what may be done about it."""


class Throttled(BackendError):
    """Certainly not delivered, for the platform is busy; `delay`: seconds that it asks to wait, if it says so."""

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class Unavailable(BackendError):
    """Certainly not delivered: connection refused, name not resolved, 503 before acceptance."""


class Undecided(BackendError):
    """The call may be running: the channel broke after the request was sent."""


class NotDeployed(BackendError):
    """The platform does not know the deployment (any more)."""


class PluginFault(BackendError):
    """A backend let a foreign exception escape, which is the `__cause__`: tell the plugin's author."""


# ---- what storages and monitors say


class StorageError(WrenError):
    """A storage could not do what was asked."""


class StorageUnavailable(StorageError):
    """A storage did not answer, when it was asked several times: what it has is still there."""


class NoSuchKey(StorageError, KeyError):
    """There is no object of that key in that bucket."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would print the repr


StorageNoSuchKey = NoSuchKey  # what it is called where there are other keys, too


class PreconditionFailed(StorageError):
    """The object is there already (`if_absent`), or is another one by now (`if_match`)."""


@contextmanager
def storage_errors(storage: str, bucket: str, key: str, *foreign: type[Exception]) -> Iterator[None]:
    """Turn the errors of files, and `foreign` ones, into those of storages."""
    others: tuple[type[Exception], ...] = (OSError, *foreign)
    try:
        yield
    except FileNotFoundError as error:
        raise NoSuchKey(f"no object {bucket}/{key} in the {storage} storage") from error
    except FileExistsError as error:
        raise PreconditionFailed(f"the object {bucket}/{key} exists already") from error
    except others as error:
        raise StorageError(f"the {storage} storage cannot use {bucket}/{key}: {error}") from error


class MonitorError(WrenError):
    """A monitor could not do what was asked; statuses are found by the sweep of the storage then."""


# ---- how a call can fail, other than by the user's own exception


class CallError(WrenError):
    """A call that has no result, for a reason that is not an exception of the function."""


class WorkerLost(CallError, BrokenExecutor):
    """The process or container that ran the call is gone; the text has the exit code or signal and the last output.

    It is a `concurrent.futures.BrokenExecutor`, so that code written for ProcessPoolExecutor recognises it; but only
    the one call is lost, the executor goes on.
    """


class OutOfMemory(WorkerLost):
    """The call, or its whole container, was killed at its memory limit."""


class CallTimeout(CallError, TimeoutError):
    """The call ran longer than its `timeout` (seconds) and was killed."""


class CallLost(CallError):
    """The call never started, or its status never came."""


class CallCancelled(CallError, CancelledError):
    """The call was running and was killed by its owner."""


class RemoteError(CallError):
    """An exception of the function that could not be brought here: its type's name, message and traceback."""


class WaitTimeout(WrenError, TimeoutError):
    """Waiting took longer than the caller's `timeout`; the calls go on."""


class RemoteTraceback(Exception):
    """The text of a traceback in a worker, the `__cause__` of the exception that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text.rstrip()
