"""The contracts: what compute, storage and monitor plugins implement, and what wren hands to them and to observers.

A simple compute backend writes `deploy`, `invoke` and `undeploy`; a fast one overrides `submit`.  Policy (how many
calls at once, pacing, retries, deadlines) is not a backend's business: it says what happened with the errors of
`wren.errors` and core decides.

Within a major version these contracts only grow, and only behind `Feature` flags.  All of them are one page: what an
author of a plugin reads.
"""

import enum
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

from wren import wire
from wren.errors import BackendError, CallError, PluginFault, Unsupported
from wren.worker.listing import ObjectInfo

__all__ = [
    "Alive",
    "Arguments",
    "CallInfo",
    "Check",
    "Compute",
    "Deployment",
    "Exited",
    "Feature",
    "Invocation",
    "JobInfo",
    "Limits",
    "Listed",
    "Monitor",
    "ObjectInfo",
    "Outcomes",
    "Pickled",
    "Receipt",
    "Report",
    "Runtime",
    "RuntimeInfo",
    "Shell",
    "Storage",
    "Stored",
    "fingerprint",
]

Options = TypeVar("Options")


class Shell(enum.Enum):
    """How a backend talks to its workers: which shell of `wren.worker` runs there."""

    PIPE = "pipe"
    HTTP = "http"
    OPENWHISK = "openwhisk"


class Feature(enum.Flag):
    """Optional abilities; asking for one that is not declared raises `Unsupported`."""

    NONE = 0
    # compute
    QUEUE = enum.auto()  # takes any number of calls in one invocation, and queues, batches and balances them itself
    DIRECT = enum.auto()  # statuses and results come back on the backend's own channel
    HEARTBEAT = enum.auto()  # says when a call is accepted, and every `Header.heartbeat` seconds that its worker lives
    WITHDRAW = enum.auto()
    KILL = enum.auto()
    LOGS = enum.auto()
    PROBE = enum.auto()
    LIST = enum.auto()
    REMOTE_INVOKE = enum.auto()
    # storage
    WORKER = enum.auto()  # workers can open it


class Limits(NamedTuple):
    """What a backend can take; None is no limit."""

    payload: int | None = None  # bytes of an encoded payload
    result: int | None = None  # bytes of a result that comes back directly
    concurrency: int | None = None  # activations at once
    timeout: float | None = None  # seconds a call may run
    memory: tuple[int, int] | None = None  # MiB, least and most


class Runtime(NamedTuple):
    """What calls run in."""

    name: str | None = None  # an image, where the backend has images
    memory: int | None = None  # MiB; None: the backend's default
    timeout: float | None = None  # seconds that the longest call may take
    workers: int | None = None  # most calls at once; None: the backend's own number


class RuntimeInfo(NamedTuple):
    """What a runtime has: decides what a function must bring along.

    `wren.worker.inventory` finds it out where it runs.  `modules` are names of modules beside the standard library;
    each stands for all that is in it.  With none it is not known what is there, and no import is found missing.
    """

    python: str  # "3.12"
    platform: str  # as `sysconfig.get_platform()` has it
    modules: frozenset[str] = frozenset()
    digest: str = ""

    @classmethod
    def read(cls, said: str | bytes) -> "RuntimeInfo":
        """What `python -m wren.worker.inventory` has printed; ValueError if this is something else."""
        import json

        raw = json.loads(said)
        try:
            return cls(raw["python"], raw["platform"], frozenset(raw["modules"]))
        except (TypeError, LookupError) as error:
            raise ValueError(f"{raw!r} says nothing of a runtime") from error

    def has(self, module: str) -> bool:
        """Whether it has the module of that dotted name, or may have it, as nothing is known of its modules."""
        parts = module.split(".")
        return not self.modules or any(".".join(parts[:length]) in self.modules for length in range(1, len(parts) + 1))


@dataclass(frozen=True, slots=True)
class Deployment:
    """A runtime that is ready to be invoked.

    `tag` travels beside each payload; shells refuse any other.  `url` and `headers` are where the http shell answers
    and what each request to it needs besides.
    """

    name: str
    runtime: Runtime
    tag: str = field(default="", repr=False)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    reply_delay: float = 0.0  # seconds that a reply's first byte must wait where a proxy would cut it
    state: Any = field(default=None, repr=False, compare=False)  # the backend's own


def fingerprint(runtime: Runtime, secrets: Mapping[str, str], key: bytes) -> str:
    """16 hex digits that tell deployments apart, secrets included, of which nobody learns anything without the key."""
    import hashlib
    import json

    identity = json.dumps([runtime, sorted(secrets.items())]).encode()
    return hashlib.blake2b(identity, key=key, digest_size=8).hexdigest()


class Arguments(Protocol):
    """The arguments of all calls of a job, serialised as late as is safe."""

    @property
    def mean_size(self) -> int:
        """About how many bytes a call's arguments take."""

    def __len__(self) -> int:
        """How many calls."""

    def pickled(self, call: int) -> Sequence[wire.Buffer]:
        """The pickle of `(args, kwargs)` of one call, in chunks."""

    def stored(self, call: int) -> wire.Span | wire.Gather | None:
        """Where the worker finds what does not travel: the argument, or the results that a reducer's is made of."""

    def plain(self, calls: Sequence[int]) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]] | None] | None:
        """Args and kwargs of these calls when they are scalars throughout, else None."""


class Invocation(NamedTuple):
    """Some calls of one job, handed to a backend together.  Each is equal to itself only."""

    header: wire.Header
    calls: Sequence[int]
    arguments: Arguments
    function: Sequence[wire.Buffer]  # the pickled function, in chunks; see `payload`
    attempt: int = 0
    timeout: float | None = None  # seconds each call may run
    modules: Sequence[wire.Buffer] = ()  # packed, in chunks, where they ride along; see `payload`
    delivery: int = 0  # how often it was handed over before: each time it was certainly not delivered
    since: float = 0.0  # when it was handed over first (`time.monotonic`)
    redeployed: bool = False  # since then

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        return wire.without(self, "function", "modules")

    def payload(self) -> bytes:
        """The invocation in wire v1's JSON: the function and its modules go along unless they are stored."""
        calls = [
            wire.Call(call, self.arguments.stored(call) or b"".join(self.arguments.pickled(call)))
            for call in self.calls
        ]
        code = b"".join(self.function) if self.header.function.key is None else None
        archive = b"".join(self.modules) or None
        return wire.encode(wire.Payload(self.header, self.attempt, calls, code, archive))


class Receipt(NamedTuple):
    """What a platform calls an invocation that it took: for logs, probe and kill."""

    id: str


class Pickled(NamedTuple):
    """A result as it came, not unpickled before somebody asks for it."""

    data: wire.Buffer


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies in the job's storage, sealed: a result (`wire.result_key`), or the status of a failure."""

    attempt: int
    state: wire.State = "ok"
    size: int = field(default=0, compare=False)  # bytes of the result; 0: not known


class Outcomes(NamedTuple):
    """Calls of an invocation that succeeded, in columns: 100,000 records would cost more than the calls.

    `values` has the result itself where that is a scalar, else `Pickled` or `Stored`.  Times are epoch seconds.
    """

    calls: Sequence[int]
    values: Sequence[Any]
    started: Sequence[float]
    stopped: Sequence[float]
    logs: Mapping[int, str] = wire.NOTHING
    peaks: Mapping[int, int] = wire.NOTHING  # bytes of memory at most, by call, where they are known


class Report(Protocol):
    """How a backend says what became of an invocation.  Every method is thread-safe and returns at once."""

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        """The platform has it and starts it (or queues it, where it cannot tell)."""

    def heartbeat(self, invocation: Invocation, *, receiving: bool = False) -> None:
        """Its worker is alive; `receiving`: the call is over and its status on the way."""

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        """These calls have results.  May be called many times, for some of the calls each time."""

    def status(self, invocation: Invocation, status: wire.CallStatus) -> None:
        """One call has ended, in whatever way; `status` is authenticated by its channel, or says only how it ended."""

    def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        """These calls have no result: a `BackendError`, or a `CallError` when the backend saw how they ended."""


@dataclass(frozen=True, slots=True)
class Alive:
    """`probe`: it runs, or waits to."""


class Exited(NamedTuple):
    """`probe`: it is over; `reason` is for people."""

    reason: str
    out_of_memory: bool = False  # it was killed at its memory limit


class Check(NamedTuple):
    """One thing that `wren doctor` tried; `cure` says what to do where it failed.  Each text is one line."""

    name: str
    ok: bool
    detail: str = ""
    cure: str = ""
    warning: bool = False  # where it is not ok: calls run all the same


class Compute(ABC, Generic[Options]):
    """A platform that runs calls.

    Constructed by core with its parsed options, once for each executor.  Every method may be called from any thread.
    Methods raise the errors of `wren.errors.BackendError`'s family, each `from` the SDK's own, and nothing else.
    """

    name: ClassVar[str]
    options_type: ClassVar[type]
    shell: ClassVar[Shell] = Shell.HTTP
    features: ClassVar[Feature] = Feature.NONE
    limits: Limits = Limits()

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        """Make the runtime ready.  Idempotent: the same runtime and secrets give the same deployment."""

    @abstractmethod
    def undeploy(self, deployment: Deployment) -> None:
        """Remove it.  Idempotent: what is gone already is no error."""

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        """Hand over invocations and return before they end; what becomes of each goes to `report`.

        What it raises is said of all of them.  Core hands over one at a time, and to a backend with QUEUE one of all
        calls.

        This one runs `invoke` in a thread for each; core bounds how many there are at once.
        """
        for invocation in invocations:
            arguments = (self, deployment, invocation, report)
            try:
                threading.Thread(target=_invoke, args=arguments, name=f"wren-{self.name}", daemon=True).start()
            except RuntimeError:  # there are too many, or the interpreter is about to end: then here
                _invoke(*arguments)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Receipt | Sequence[wire.CallStatus]:
        """Hand over one invocation, blocking.

        Returns the statuses of its calls when the platform answers with them, else a receipt, and the statuses come by
        the monitor.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must implement invoke or submit")

    def withdraw(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        """Take back calls: those of them that had certainly not started, and will not.  Feature.WITHDRAW."""
        raise _unsupported(self, "withdraw calls")

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        """End running calls: those of them that were running; each is reported as `CallCancelled`.  Feature.KILL."""
        raise _unsupported(self, "kill calls")

    def logs(self, deployment: Deployment, receipt: Receipt) -> str:
        """What the platform kept of an invocation's output.  Feature.LOGS."""
        raise _unsupported(self, "read logs")

    def probe(self, deployment: Deployment, receipt: Receipt) -> Alive | Exited:
        """Whether an invocation that was accepted still runs.  Feature.PROBE."""
        raise _unsupported(self, "probe calls")

    def deployments(self) -> Iterator[Deployment]:
        """What wren has deployed there.  Feature.LIST."""
        raise _unsupported(self, "list deployments")

    @abstractmethod
    def describe(self, runtime: Runtime) -> RuntimeInfo:
        """What the runtime has.

        Asked once by an executor, before the first job that needs something which may not be there; raises as `deploy`.
        """

    def check(self) -> Iterator[Check]:
        """Try the configured service, for `wren doctor`; leaves nothing behind, also when what it tries fails.

        What fails is a check, with its cure, and not an exception.  This one asks `describe`, and with Feature.DIRECT
        runs a call in a deployment of its own.
        """
        from wren.trials import try_compute

        return try_compute(self)

    def close(self) -> None:
        """Let go of connections, and of what only this object needs.

        Idempotent.  Core calls it when no call of the executor runs; what is used again is opened again.
        """


# Not methods: their names would be those that the authors of backends may not use.


def _unsupported(compute: Compute[Any], what: str) -> Unsupported:
    return Unsupported(f"the {compute.name} backend cannot {what}")


def _invoke(compute: Compute[Any], deployment: Deployment, invocation: Invocation, report: Report) -> None:
    """Have a backend invoke, blocking, and report what came of it."""
    try:
        answer = compute.invoke(deployment, invocation)
    except (BackendError, CallError) as error:
        report.failed(invocation, invocation.calls, error)
    except Exception as error:  # noqa: BLE001 - a backend's bug must fail its calls, not leave them waiting
        report.failed(invocation, invocation.calls, escaped(compute.name, error))
    else:
        if isinstance(answer, Receipt):
            report.accepted(invocation, answer)
            return
        for status in answer:
            report.status(invocation, status)
        header = invocation.header
        mine = (header.executor, header.job, invocation.attempt)
        told = {status.call for status in answer if (status.executor, status.job, status.attempt) == mine}
        missing = [call for call in invocation.calls if call not in told]
        if missing:
            wrong = f"the {compute.name} backend gave no status of call {missing[0]} of job {header.job}"
            report.failed(invocation, missing, PluginFault(wrong))


def escaped(name: str, error: Exception) -> PluginFault:
    """What a foreign exception that escapes from a backend becomes."""
    wrong = PluginFault(f"the {name} backend has a bug, tell its authors: {type(error).__name__}: {error}")
    wrong.__cause__ = error
    return wrong


class Storage(ABC, Generic[Options]):
    """Objects by bucket and key: primitives only, on which core builds what users see.

    Thread-safe.  Raises `wren.errors.StorageError` and `NoSuchKey`, each `from` the SDK's own.  A reader sees an object
    wholly or not at all.  Secret options are fields with `repr=False`; what the others say holds in other processes of
    the same machine, whatever their working directory: they travel in pickled futures.
    """

    name: ClassVar[str]
    options_type: ClassVar[type]
    features: ClassVar[Feature] = Feature.NONE

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    @abstractmethod
    def bucket(self) -> str:
        """The bucket of wren's own objects."""

    @abstractmethod
    def put(self, bucket: str, key: str, chunks: Iterable[wire.Buffer], *, if_absent: bool = False) -> None:
        """Write an object, atomically; replaces one of the same key, or with `if_absent` PreconditionFailed.

        The chunks are streamed.  What their iterator raises comes out as it is, and nothing is written then.
        """

    @abstractmethod
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> wire.Buffer:
        """Bytes `start` to `stop` (None: to the end) of an object, as a buffer that nobody changes; NoSuchKey.

        PreconditionFailed when `if_match` is given and is not the object's etag.
        """

    @abstractmethod
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose keys begin with `prefix` and sort behind `after`, in key order."""

    @abstractmethod
    def head(self, bucket: str, key: str) -> ObjectInfo:
        """One object's listing; NoSuchKey."""

    @abstractmethod
    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""

    def worker(self) -> wire.Handle:
        """How workers open it: a light module's `wren.worker.run.WorkerStorage`.  Feature.WORKER."""
        raise Unsupported(f"workers cannot open the {self.name} storage")

    def client(self) -> wire.Handle:
        """How workers make a client of the storage's SDK, for functions with a parameter that is named as the storage.

        Its target is called for each call; what is a context manager is entered before the call and left after it.
        """
        raise Unsupported(f"the {self.name} storage has no client that functions could be given")

    def secrets(self) -> Mapping[str, str]:
        """Environment variables that `worker()` and `client()` need: they go by `deploy`, never by a payload."""
        return {}

    def check(self) -> Iterator[Check]:
        """Try the configured service, for `wren doctor`; leaves nothing behind, also when what it tries fails.

        What fails is a check, with its cure, and not an exception.  This one writes, reads, lists and removes a small
        object in the bucket, and compares clocks.
        """
        from wren.trials import try_storage

        return try_storage(self)

    def close(self) -> None:
        """Let go of connections.  Idempotent; what is used again is opened again."""


class Listed(NamedTuple):
    """An attempt of a call has ended, by the name of a stored status: what became of it is in the storage."""

    executor: str
    job: str
    call: int
    attempt: int
    state: wire.State
    stopped: float  # epoch seconds


class Monitor(ABC, Generic[Options]):
    """A way in which statuses come that is not the backend's own.  Storage is the truth, a monitor is a hint.

    One thread calls `events`; `open_job`, `close_job` and `close` may come from any other.  Methods raise
    `wren.errors.MonitorError` from the SDK's own, and nothing else.
    """

    name: ClassVar[str]
    options_type: ClassVar[type]

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def open_job(self, header: wire.Header, calls: int, storage: "Storage[Any]") -> wire.Handle | None:
        """Begin to watch a job; the handle is how its workers report, None when storing the status is enough.

        The handle is that of a `wren.worker.run.Reporter`.
        """

    @abstractmethod
    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        """What came in, waiting at most `timeout` seconds for some: messages of reporters as they are, or listings.

        May repeat.  Messages are sealed statuses, and core believes none that was not sealed with its job's key.
        MonitorError when it is dead.
        """

    @abstractmethod
    def close_job(self, header: wire.Header) -> None:
        """Watch it no more.  Idempotent."""

    def client(self) -> wire.Handle:
        """The same as `Storage.client`, for functions with a parameter that is named as the monitor."""
        raise Unsupported(f"the {self.name} monitor has no client that functions could be given")

    def secrets(self) -> Mapping[str, str]:
        """Environment variables that reporters and `client()` need where they run: they go by `Compute.deploy`."""
        return {}

    def check(self) -> Iterator[Check]:
        """Try the configured service, for `wren doctor`; leaves nothing behind, also when what it tries fails.

        What fails is a check, with its cure, and not an exception.  The conformance kit wants one at least.
        """
        yield from ()

    def close(self) -> None:
        """Let go of connections; an `events` that waits returns.  Idempotent, and final: another one is made then."""


class JobInfo(NamedTuple):
    """A job that was submitted, as observers are told of it."""

    executor_id: str
    job_id: str  # unique within its executor
    function: str  # its name; of a job that a function in a worker has described, in which it was called
    backend: str
    calls: int
    submitted: float  # epoch seconds


class CallInfo(NamedTuple):
    """A call that has ended for good, after all of its attempts, as observers are told of it.  None: not known."""

    job: JobInfo
    call: int  # its number within the job
    state: Literal["done", "failed", "cancelled"]
    attempts: int  # how often it was begun
    started: float | None  # epoch seconds; of the attempt that counts
    stopped: float
    argument_bytes: int | None  # of the pickle; of scalars the job's mean
    result_bytes: int | None
    peak_memory: int | None  # bytes, of the process that ran it, while it did
    error: str = ""  # of one that has failed: the name of the exception's type
    message: str = ""  # and what it says
