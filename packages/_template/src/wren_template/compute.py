"""The compute backend: a deployment is a process of this machine that runs wren's http shell."""

import os
import secrets
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pluggy

from wren.errors import BackendError, NotDeployed, Unavailable
from wren.http import HttpCompute
from wren.spi import Deployment, Feature, Invocation, Limits, Runtime, RuntimeInfo, fingerprint
from wren_template.options import TemplateOptions

hookimpl = pluggy.HookimplMarker("wren")


class TemplateCompute(HttpCompute[TemplateOptions]):
    """Deploying starts a shell; `HttpCompute` sends it the calls."""

    name: ClassVar[str] = "template"
    options_type: ClassVar[type] = TemplateOptions
    features: ClassVar[Feature] = HttpCompute.features | Feature.LIST
    limits = Limits(payload=32 << 20, concurrency=64)

    def __init__(self, options: TemplateOptions) -> None:
        super().__init__(options)
        self._lock = threading.Lock()
        self._deployed: dict[str, Deployment] = {}  # by name; the state of each is its process
        self._key = os.urandom(16)

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        name = f"template-{fingerprint(runtime, secrets, self._key)}"
        with self._lock:
            if name not in self._deployed or _exited(self._deployed[name]):
                self._deployed[name] = self._start(name, runtime, secrets)
            return self._deployed[name]

    def _start(self, name: str, runtime: Runtime, environment: Mapping[str, str]) -> Deployment:
        tag = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            own = {
                "WREN_TAG": tag,
                "WREN_LISTEN": f"fd:{listener.fileno()}",
                "WREN_MAX_PAYLOAD": str(self.limits.payload),
                "WREN_IDLE_EXIT": str(self.options.idle_exit),
            }
            shell = [self._python, "-P", "-c", "from wren.worker.http import main; main()"]
            try:
                process = subprocess.Popen(
                    shell, env={**os.environ, **environment, **own}, pass_fds=[listener.fileno()]
                )
            except OSError as error:
                raise BackendError(f"the shell {name} cannot be started: {error}") from error
            return Deployment(name, runtime, tag, f"http://127.0.0.1:{listener.getsockname()[1]}/", state=process)

    def unavailable(self, deployment: Deployment, error: Unavailable) -> BackendError:
        return NotDeployed(f"the shell {deployment.name} is gone") if _exited(deployment) else error

    def undeploy(self, deployment: Deployment) -> None:
        with self._lock:
            if self._deployed.get(deployment.name) is deployment:
                del self._deployed[deployment.name]
        deployment.state.kill()  # it takes its calls with it
        deployment.state.wait()

    def deployments(self) -> Iterator[Deployment]:
        with self._lock:
            known = list(self._deployed.values())
        yield from (deployment for deployment in known if not _exited(deployment))

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        killed = super().kill(deployment, invocation, calls)
        if not _answers(deployment):  # it was stopped: nothing that runs there will ever end
            self.undeploy(deployment)
        return killed

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        ask = [self._python, "-P", "-m", "wren.worker.inventory"]  # of an image this would be asked when it is built
        try:
            return RuntimeInfo.read(subprocess.run(ask, capture_output=True, timeout=60, check=True).stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise BackendError(
                f"python in section [template] cannot be used: {error}; name an interpreter that has wren-core"
            ) from error

    @property
    def _python(self) -> str:
        return self.options.python or sys.executable

    def close(self) -> None:
        for deployment in self.deployments():
            self.undeploy(deployment)
        super().close()


def _exited(deployment: Deployment) -> bool:
    return deployment.state.poll() is not None


def _answers(deployment: Deployment) -> bool:
    try:
        with urllib.request.urlopen(deployment.url, timeout=1.0):
            return True
    except OSError:
        return False


@hookimpl
def wren_compute() -> type[TemplateCompute]:
    """The plugin."""
    return TemplateCompute
