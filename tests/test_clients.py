"""Clients of SDKs, which functions ask for by a parameter's name: `ibm_cos` and `rabbitmq`, of plugins of this file."""

import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import wren
from wren.errors import BindingError, CallError, ConfigError, StorageError, Unsupported
from wren.testing import plugged

REAL: Final = ("wren-storage-cos", "wren-monitor-rabbitmq")
SECRET: Final = "kept-in-the-environment"

PLUGINS: Final = """
import os
from dataclasses import dataclass, field

import pluggy

from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.spi import Monitor
from wren.wire import Handle

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class Options:
    path: str = ""
    bucket: str = "wren"
    endpoint: str = ""
    secret_key: str = field(default="", repr=False)


class Cos(LocalStorage):
    name = "ibm_cos"
    options_type = Options

    def client(self):
        return Handle("clients_of_sdks:connect", {"endpoint": self.options.endpoint})

    def secrets(self):
        return {"WREN_TEST_SECRET_KEY": self.options.secret_key}


class Rabbit(Monitor):
    name = "rabbitmq"
    options_type = Options

    def open_job(self, header, calls, storage):
        return None

    def events(self, timeout):
        return []

    def close_job(self, header):
        pass

    def client(self):
        return Handle("clients_of_sdks:Connection", {"path": self.options.path})


@hookimpl
def wren_storage():
    return Cos
"""
MONITOR: Final = """
from fake_plugins import Rabbit, hookimpl


@hookimpl
def wren_monitor():
    return Rabbit
"""
CLIENTS: Final = """
import os


class Client:
    def __init__(self, endpoint):
        self.endpoint, self.secret = endpoint, os.environ.get("WREN_TEST_SECRET_KEY")


def connect(endpoint):
    if endpoint == "refused":
        raise ConnectionRefusedError("nobody listens")
    return Client(endpoint)


class Connection:
    def __init__(self, path):
        self.path, self.open = path, False

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *_):
        self.open = False
        if self.path == "stuck":
            raise OSError("cannot be closed")
        with open(self.path, "a") as file:
            file.write("closed ")
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the place of the packages that really have these names, should they be installed."""
    found: Any = importlib.metadata.entry_points

    def of_others(**asked: str) -> list[importlib.metadata.EntryPoint]:
        return [each for each in found(**asked) if each.dist and not each.dist.name.startswith(REAL)]

    monkeypatch.setattr(importlib.metadata, "entry_points", of_others)
    points = {"wren.storage": {"ibm_cos": "fake_plugins"}, "wren.monitor": {"rabbitmq": "fake_monitor"}}
    with plugged(tmp_path / "site", points, subprocesses=True) as site:
        (site / "fake_plugins.py").write_text(PLUGINS)
        (site / "fake_monitor.py").write_text(MONITOR)
        (site / "clients_of_sdks.py").write_text(CLIENTS)
        yield


@pytest.fixture
def sections(tmp_path: Path) -> Mapping[str, Any]:
    return {
        "ibm_cos": {"path": str(tmp_path / "cos"), "endpoint": "https://cos", "secret_key": SECRET},
        "rabbitmq": {"path": str(tmp_path / "log")},
        "scripted": {"script": {}},
    }


@pytest.fixture(params=["localhost", "template", "scripted"])
def executor(
    request: pytest.FixtureRequest, sections: Mapping[str, Any], tmp_path: Path
) -> Iterator[wren.FunctionExecutor]:
    """Workers of all three shells, pipe, http and once."""
    name = request.param
    storage = "template" if name == "template" else "localhost"
    config = {**sections, storage: {"path": str(tmp_path / "storage")}, "wren": {"workers": 2}}
    points = {"wren.compute": {"scripted": "wren.testing.fakes:scripted"}}
    with (
        plugged(tmp_path / "fakes", points, subprocesses=True),
        wren.FunctionExecutor(config, backend=name, storage_backend=storage) as made,
    ):
        yield made


def use_cos(x: int, ibm_cos: Any) -> tuple[int, str, str, str]:
    return x, type(ibm_cos).__name__, ibm_cos.endpoint, ibm_cos.secret


USED: Final = ("Client", "https://cos", SECRET)


def test_a_function_gets_the_client_of_the_section_of_its_name(executor: wren.FunctionExecutor) -> None:
    executor.map(use_cos, [1, 2])
    assert executor.get_result() == [(1, *USED), (2, *USED)]


def test_so_it_is_after_other_calls(executor: wren.FunctionExecutor) -> None:
    """The secrets come with the first function that needs them: workers that have none are told, or replaced."""
    assert executor.call_async(abs, -1).result(30) == 1
    assert executor.call_async(lambda x: os.environ.get("WREN_TEST_SECRET_KEY"), 1).result(30) is None
    assert executor.call_async(use_cos, 3).result(30) == (3, *USED)
    assert executor.call_async(abs, -1).result(30) == 1


def test_reducers_have_it(executor: wren.FunctionExecutor) -> None:
    def together(ibm_cos: Any, results: list[Any], storage: Any) -> tuple[str, int, str]:
        return ibm_cos.secret, len(results), type(storage).__name__

    executor.map_reduce(use_cos, [1, 2], together)
    assert executor.get_result() == (SECRET, 2, "Storage")


def test_calls_that_are_followed_have_it(executor: wren.FunctionExecutor) -> None:
    def outer(x: int) -> Any:
        return wren.local_executor().call_async(use_cos, x)

    assert executor.call_async(outer, 4).result(60) == (4, *USED)


def test_calls_that_run_within_have_it_where_the_outer_one_has(executor: wren.FunctionExecutor) -> None:
    def asks(x: int, ibm_cos: Any) -> Any:
        return wren.local_executor().call_async(use_cos, x).result()

    def asks_without(x: int) -> Any:
        return wren.local_executor().call_async(use_cos, x).result()

    assert executor.call_async(asks, 5).result(60) == (5, *USED)
    with pytest.raises(CallError, match="gets ibm_cos only where that one has a parameter for it, too"):
        executor.call_async(asks_without, 6).result(60)


def test_a_client_that_is_a_context_manager_is_left_when_the_call_is_over(
    executor: wren.FunctionExecutor, tmp_path: Path
) -> None:
    def is_open(x: int, rabbitmq: Any) -> bool:
        if x < 0:
            raise ValueError("as it is")
        opened: bool = rabbitmq.open and not Path(rabbitmq.path).exists()
        return opened

    assert executor.call_async(is_open, 1).result(30) is True
    assert (tmp_path / "log").read_text() == "closed "
    with pytest.raises(ValueError, match="as it is"):
        executor.call_async(is_open, -1).result(30)
    assert (tmp_path / "log").read_text() == "closed closed "


def test_a_child_that_a_function_forks_does_not_leave_it(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def fork(x: int, rabbitmq: Any) -> bool:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return not Path(rabbitmq.path).exists()

    assert executor.call_async(fork, 1).result(30) is True
    assert (tmp_path / "log").read_text() == "closed "


# ---- what is wrong


def local(sections: Mapping[str, Any], **given: Any) -> wren.FunctionExecutor:
    return wren.local_executor(sections, workers=1, **given)


def test_what_leaving_one_raises_is_printed_and_the_result_stands(sections: Mapping[str, Any]) -> None:
    with local({**sections, "rabbitmq": {"path": "stuck"}}) as executor:
        future = executor.call_async(lambda x, rabbitmq: x, 1)
        assert future.result(30) == 1
        assert "cannot be closed" in future.logs


def test_a_client_that_cannot_be_made_fails_the_call(sections: Mapping[str, Any]) -> None:
    refused = {**sections["ibm_cos"], "endpoint": "refused"}
    with (
        local({**sections, "ibm_cos": refused}) as executor,
        pytest.raises(StorageError, match="what its parameters ask for cannot be opened: nobody listens"),
    ):
        executor.call_async(use_cos, 1).result(30)


@pytest.mark.parametrize(("name", "package"), [("ibm_cos", "wren-storage-cos"), ("rabbitmq", "wren-monitor-rabbitmq")])
def test_without_a_section_it_is_an_error_before_anything_is_invoked(
    sections: Mapping[str, Any], tmp_path: Path, name: str, package: str
) -> None:
    def touch(x: int) -> None:
        (tmp_path / "ran").touch()

    asks = eval(f"lambda x, {name}: None")
    with local({key: value for key, value in sections.items() if key != name}) as executor:
        for ask in (
            lambda: executor.map(asks, [1]),
            lambda: executor.call_async(asks, 1),
            lambda: executor.map_reduce(touch, [1], asks),
        ):
            with pytest.raises(BindingError, match=rf"no section \[{name}\] .* with the package {package}"):
                ask()
        assert executor.get_result() == []
    assert not (tmp_path / "ran").exists()


def test_a_section_without_its_package_says_what_to_install(
    sections: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (info,) = (tmp_path / "site").glob("*.dist-info")
    (info / "entry_points.txt").write_text("")
    with (
        local(sections) as executor,
        pytest.raises(BindingError, match=r"section \[ibm_cos\] needs a package: pip install wren-storage-cos$"),
    ):
        executor.map(use_cos, [1])


def test_a_section_that_is_wrong_is_an_error_of_the_configuration(sections: Mapping[str, Any]) -> None:
    with (
        local({**sections, "ibm_cos": {"endpint": "x"}}) as executor,
        pytest.raises(ConfigError, match=r"unknown key 'endpint' in section \[ibm_cos\]"),
    ):
        executor.map(use_cos, [1])


def test_a_storage_that_has_no_client_says_so() -> None:
    from wren.local.memory import MemoryOptions, MemoryStorage

    with pytest.raises(Unsupported, match=r"^the memory storage has no client that functions could be given$"):
        MemoryStorage(MemoryOptions()).client()


def test_the_executors_own_storage_is_taken_where_it_has_the_name(sections: Mapping[str, Any]) -> None:
    with local(sections, storage_backend="ibm_cos") as executor:
        assert executor.call_async(use_cos, 1).result(30) == (1, *USED)
        assert executor.storage.backend == "ibm_cos"


def test_no_payload_and_no_record_has_a_secret(sections: Mapping[str, Any]) -> None:
    with local(sections) as executor:
        future = executor.call_async(use_cos, 1)
        future.result(30)
        header = future.table._header
        assert header is not None
        assert header.clients["ibm_cos"].options == {"endpoint": "https://cos"}
        assert SECRET not in repr(header) + json.dumps(dict(header.clients["ibm_cos"].options)) + repr(executor)
