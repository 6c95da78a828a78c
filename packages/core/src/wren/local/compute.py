"""The localhost backend: calls run in warm processes of this machine, shared by the executors of a process."""

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

import pluggy

from wren.errors import ConfigError, Unsupported
from wren.local.options import LocalhostOptions
from wren.local.pool import Pool
from wren.local.start import prepare
from wren.spi import Compute, Deployment, Feature, Invocation, Report, Runtime, RuntimeInfo, Shell, fingerprint
from wren.worker.stream import Context

hookimpl = pluggy.HookimplMarker("wren")

_LINUX: Final = hasattr(os, "memfd_create") and hasattr(os, "pidfd_open")
_KEY: Final = os.urandom(16)  # deployments end with this process
_seen: tuple[dict[bytes, bytes], dict[str, str]] = {}, {}  # the environment, as it is and decoded
_last = Context([], "", {})  # what workers were told last, without secrets
_pools: dict[tuple[int, int | None], Pool] = {}  # by size and memory: executors that ask for the same share workers


class _State(NamedTuple):
    """What a deployment is here."""

    size: int
    memory: int | None  # MiB
    secrets: Mapping[str, str]


def _after_fork() -> None:
    for pool in _pools.values():
        pool.abandon()
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)


class LocalCompute(Compute[LocalhostOptions]):
    """Deploying is nothing, and the pool does the rest."""

    name: ClassVar[str] = "localhost"
    options_type: ClassVar[type] = LocalhostOptions
    shell: ClassVar[Shell] = Shell.PIPE
    features: ClassVar[Feature] = Feature.QUEUE | Feature.DIRECT | Feature.WITHDRAW | Feature.KILL

    def __init__(self, options: LocalhostOptions) -> None:
        super().__init__(options)
        if not _LINUX:  # `deploy` says so
            return
        prepare(min(2, options.workers or len(os.sched_getaffinity(0))))

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        if not _LINUX:
            raise Unsupported(f"the localhost backend needs Linux; this is {sys.platform}: use a remote backend")
        if runtime.name is not None:
            raise ConfigError(f"runtime is {runtime.name!r}, and the localhost backend has no images: leave it out")
        size = runtime.workers or self.options.workers or len(os.sched_getaffinity(0))
        if size < 1:
            raise ConfigError(f"workers in section [localhost] is {size}: give 1 or more")
        name = f"localhost-{size}-{fingerprint(runtime, secrets, _KEY)}" if secrets else f"localhost-{size}"
        return Deployment(name, runtime, state=_State(size, runtime.memory, dict(secrets)))

    def undeploy(self, deployment: Deployment) -> None:
        """The workers stay for other executors; they end with this process."""

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        _pool(deployment).submit(invocations, report, _context(deployment))

    def withdraw(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        return _pool(deployment).withdraw(invocation, calls)

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        return _pool(deployment).kill(invocation, calls)

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        return RuntimeInfo(f"{sys.version_info.major}.{sys.version_info.minor}", sysconfig.get_platform())


def _pool(deployment: Deployment) -> Pool:
    """Looked up each time: a forked child has none of its parent's."""
    state: _State = deployment.state
    key = state.size, state.memory
    return _pools.get(key) or _pools.setdefault(key, Pool(*key))


def _context(deployment: Deployment) -> Context:
    """What workers take over from this process as it is now, and the deployment's secrets."""
    global _last  # noqa: PLW0603 - of the process
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = ""
    path: Sequence[str] = _last.path
    if sys.path != path:
        path = [each for each in sys.path if isinstance(each, str)]  # type: ignore[redundant-expr]  # users put others in
    context = Context(path, cwd, _environment())
    if deployment.state.secrets:
        return context._replace(env={**context.env, **deployment.state.secrets})
    if context != _last:  # of equal ones the first, by which it is told that nothing has changed
        _last = context
    return _last


def _environment() -> dict[str, str]:
    """The environment, decoded anew only when it has changed: that takes longer than handing a call over."""
    global _seen  # noqa: PLW0603 - the one environment of the process
    raw: Mapping[bytes, bytes] | None = getattr(os.environ, "_data", None)  # what os.environ decodes one by one
    if raw is None:  # the program has put something else in its place
        return dict(os.environ)
    if _seen[0] != raw:
        encoded = dict(raw)
        _seen = encoded, {os.fsdecode(name): os.fsdecode(value) for name, value in encoded.items()}
    return _seen[1]


@hookimpl
def wren_compute() -> type[LocalCompute]:
    """The plugin."""
    return LocalCompute
