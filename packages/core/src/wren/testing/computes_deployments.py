"""Checks of `ComputeConformance`: deployments, secrets, errors of the platform, and what is left behind."""

import contextlib
import http.client
import logging
import os
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import BackendError, PluginFault, WrenError
from wren.spi import Compute, Deployment, Feature, Runtime, Shell, Storage
from wren.testing import functions
from wren.testing.computes_base import ComputeChecks, Traces
from wren.testing.computes_spi import make_invocation
from wren.testing.threads import wait_for
from wren.worker import frames

__all__ = ["DeploymentChecks"]

SECRET = "WREN_CONFORMANCE_SECRET"


class DeploymentChecks(ComputeChecks):
    """What is deployed, how it is removed, and who can see or use it."""

    # ---- deploy and undeploy

    def test_deploying_twice_gives_the_same_deployment(self, compute: Compute[Any]) -> None:
        first = compute.deploy(Runtime(workers=1), {SECRET: "twice"})
        second = compute.deploy(Runtime(workers=1), {SECRET: "twice"})
        assert (first.name, first.tag, first.url) == (second.name, second.tag, second.url)
        compute.undeploy(first)

    def test_undeploying_twice_is_no_error(self, compute: Compute[Any]) -> None:
        deployment = compute.deploy(Runtime(workers=1), {SECRET: "gone"})
        compute.undeploy(deployment)
        compute.undeploy(deployment)

    def test_what_was_undeployed_can_be_deployed_again(self, compute: Compute[Any], storage: Storage[Any]) -> None:
        secrets = {**storage.secrets(), SECRET: "again"}
        compute.undeploy(compute.deploy(Runtime(workers=1), secrets))
        deployment = compute.deploy(Runtime(workers=1), secrets)
        assert self.submit(compute, deployment, storage, functions.add, (41, 1)).results() == [42]
        compute.undeploy(deployment)

    def test_calls_of_what_was_undeployed_run_or_fail_in_words(
        self, compute: Compute[Any], storage: Storage[Any]
    ) -> None:
        deployment = compute.deploy(Runtime(workers=1), {**storage.secrets(), SECRET: "gone"})
        compute.undeploy(deployment)
        ended = self.submit(compute, deployment, storage, functions.add, (41, 1)).wait()
        if ended.error is not None:
            assert isinstance(ended.error, BackendError)
            assert not isinstance(ended.error, PluginFault), ended.error

    def test_describe_tells_the_python_that_calls_run_on(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        version, _ = self.submit(compute, deployment, storage, functions.python, ()).results()[0]
        assert compute.describe(deployment.runtime).python == version

    def test_check_leaves_the_deployments_of_others_alone(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        list(compute.check())
        assert self.submit(compute, deployment, storage, functions.add, (41, 1)).results() == [42]

    # ---- secrets

    def test_other_secrets_give_another_deployment(self, compute: Compute[Any]) -> None:
        deployments = [compute.deploy(Runtime(workers=1), {SECRET: value}) for value in ("one", "two")]
        assert deployments[0].name != deployments[1].name
        for deployment in deployments:
            compute.undeploy(deployment)

    def test_secrets_reach_the_environment_of_calls(self, compute: Compute[Any], storage: Storage[Any]) -> None:
        deployment = compute.deploy(Runtime(workers=1), {**storage.secrets(), SECRET: "known"})
        found = self.submit(compute, deployment, storage, functions.variables, ([SECRET],)).results()
        compute.undeploy(deployment)
        assert found == [["known"]]

    def test_secrets_are_seen_nowhere_else(
        self, compute: Compute[Any], storage: Storage[Any], traces: Traces, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = os.urandom(16).hex()
        with caplog.at_level(logging.DEBUG):
            deployment = compute.deploy(Runtime(workers=1), {**storage.secrets(), SECRET: secret})
            recorder = self.submit(
                compute, deployment, storage, functions.leave, (traces.place, "running", 1.0 * self.slow)
            )
            traces.wait("running")
            commands = _command_lines()
            recorder.results()
            compute.undeploy(deployment)
        assert not [command for command in commands if secret in command], "a secret is in a command line"
        assert secret not in f"{deployment!r} {deployment.name} {compute!r} {compute.__dict__.get('options')!r}"
        assert secret not in " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)

    def test_a_payload_without_the_deployments_tag_is_refused(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any], traces: Traces
    ) -> None:
        if self.plugin.shell is not Shell.HTTP or not deployment.url:
            pytest.skip("there is no http shell that anybody could reach")
        args = [(traces.place, "forged", 0.0)]
        payload = make_invocation(compute.features | Feature.DIRECT, storage, functions.leave, args).payload()
        for tags in ({}, {frames.TAG: "wrong"}, {frames.TAG: deployment.tag[:-1]}):
            assert _post(deployment, payload, tags, self.patience) == 403
        assert self.submit(compute, deployment, storage, functions.add, (1, 1)).results() == [2]
        assert traces.count("forged") == 0

    # ---- errors

    def test_an_unreachable_platform_is_told_in_words(
        self, config: Mapping[str, Any], unreachable: Mapping[str, Any] | None
    ) -> None:
        if unreachable is None:
            pytest.skip("the author gave no options with which the platform cannot be reached")
        away = {**config, "wren": {"start_timeout": 1.0}, self.plugin.name: unreachable}
        with self.executing(away) as executor, pytest.raises(WrenError) as raised:
            executor.call_async(functions.add, 1).result(2 * self.patience)
        assert not isinstance(raised.value, PluginFault), raised.value

    def test_methods_of_an_unreachable_platform_raise_errors_of_wren(
        self, unreachable: Mapping[str, Any] | None
    ) -> None:
        if unreachable is None:
            pytest.skip("the author gave no options with which the platform cannot be reached")
        compute: Compute[Any] = self.make(unreachable)
        gone = Deployment(f"{self.plugin.name}-gone", Runtime(), tag="none", url="http://127.0.0.1:9/")
        attempts: list[Callable[[], object]] = [
            lambda: compute.deploy(Runtime(), {}),
            lambda: compute.undeploy(gone),
            lambda: compute.describe(Runtime()),
            lambda: list(compute.deployments()),
        ]
        for attempt in attempts:
            with contextlib.suppress(WrenError):  # anything else comes out
                attempt()
        compute.close()

    # ---- the end

    def test_what_is_used_again_after_close_is_opened_again(
        self, compute: Compute[Any], deployment: Deployment, storage: Storage[Any]
    ) -> None:
        assert self.submit(compute, deployment, storage, functions.add, (1, 1)).results() == [2]
        compute.close()
        compute.close()
        deployment = compute.deploy(deployment.runtime, storage.secrets())
        assert self.submit(compute, deployment, storage, functions.add, (2, 1)).results() == [3]

    def test_an_executor_may_be_left_twice(self, config: Mapping[str, Any]) -> None:
        with self.executing(config) as executor:
            with executor:
                future = executor.call_async(functions.add, 1)
            assert future.result(self.patience) == 2

    def test_executors_leave_nothing_behind(self, config: Mapping[str, Any]) -> None:
        """Pools that a process keeps are there after the first executor; what each further one adds is a leak."""

        def use() -> None:
            with wren.FunctionExecutor(config, backend=self.plugin.name, storage_backend=self.storage_name) as executor:
                executor.map(functions.add, range(4))
                executor.get_result(timeout=self.patience)

        use()
        use()
        wait_for(lambda: not _busy_threads(self.plugin.name), "threads of the calls have ended", self.patience)
        before = _belongings()
        for _ in range(3):
            use()
        wait_for(lambda: _belongings() <= before, f"no more threads, children and files than {before}", self.patience)


class _Belongings(tuple[int, int, int]):
    """How many threads, child processes and open files this process has; `<=` holds where none is more."""

    __slots__ = ()

    def __le__(self, other: tuple[int, ...]) -> bool:
        return all(mine <= theirs for mine, theirs in zip(self, other, strict=True))


def _belongings() -> _Belongings:
    children = {child for file in Path("/proc/self/task").glob("*/children") for child in _read(file).split()}
    files = len(list(Path("/proc/self/fd").iterdir()))
    return _Belongings((threading.active_count(), len(children), files))


def _busy_threads(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == f"wren-{name}"]


def _command_lines() -> list[str]:
    return [_read(file) for file in Path("/proc").glob("[0-9]*/cmdline")]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # the process is gone meanwhile
        return ""


def _post(deployment: Deployment, payload: bytes, tag: Mapping[str, str], timeout: float) -> int:
    url = urllib.parse.urlsplit(deployment.url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout)
    try:
        connection.request("POST", url.path or "/", payload, {**deployment.headers, **tag})
        return connection.getresponse().status
    finally:
        connection.close()
