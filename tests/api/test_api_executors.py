"""docs/api.md, "Executors": how they are made and configured, and what they are called."""

import inspect
import logging
import os
import pickle
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pluggy
import pytest

import pywren_ibm_cloud
import wren
from wren.errors import BindingError, CallCancelled, ConfigError, PluginNotFound
from wren.local.storage import LocalStorage
from wren.spi import Compute, Deployment, Invocation, Limits, Report, Runtime, RuntimeInfo
from wren.testing import plugged

Eventually = Callable[[Callable[[], bool]], None]

FACTORIES = (
    "ibm_cf_executor",
    "knative_executor",
    "openwhisk_executor",
    "function_executor",
    "local_executor",
    "docker_executor",
)
MISSING = {
    "ibm_cf_executor": "wren-backend-ibmcf",
    "knative_executor": "wren-backend-knative",
    "openwhisk_executor": "wren-backend-openwhisk",
    "docker_executor": "wren-backend-docker",
    "function_executor": "wren-backend-ibmcf",
}


def add_one(x: int) -> int:
    return x + 1


def wait_for(path: Path) -> str:
    """Until the file is there, but no longer than a test waits for it."""
    path.with_suffix(".started").touch()
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return path.name


# ---- a backend that runs nothing, but has limits and remembers what it is given


@dataclass(frozen=True, slots=True)
class NoOptions:
    """None."""


class Bounded(Compute[NoOptions]):
    """Takes calls of 50 s and 128 to 256 MiB, and never answers."""

    name: ClassVar[str] = "bounded"
    options_type: ClassVar[type] = NoOptions
    limits = Limits(timeout=50.0, memory=(128, 256))
    given: ClassVar[list[Invocation]] = []
    runtimes: ClassVar[list[Runtime]] = []

    def deploy(self, runtime: Runtime, secrets: Any) -> Deployment:
        self.runtimes.append(runtime)
        return Deployment(f"bounded-{runtime.memory}", runtime)

    def undeploy(self, deployment: Deployment) -> None:
        """Nothing is there."""

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        return RuntimeInfo("3.11", "any")

    def submit(self, deployment: Deployment, invocations: Any, report: Report) -> None:
        self.given.extend(invocations)
        for invocation in invocations:
            report.failed(invocation, invocation.calls, wren.errors.BackendError("it runs nothing"))


class Hook:
    @pluggy.HookimplMarker("wren")
    def wren_compute(self) -> type[Bounded]:
        return Bounded


bounded = Hook()


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Bounded, "given", [])
    monkeypatch.setattr(Bounded, "runtimes", [])
    with plugged(tmp_path / "site", {"wren.compute": {"bounded": f"{__name__}:bounded"}}):
        yield Bounded


# ---- factories


@pytest.mark.api("`local_executor()` and `docker_executor()` all return a `wren.FunctionExecutor`.")
@pytest.mark.parametrize("name", FACTORIES)
def test_factories_return_a_function_executor(name: str) -> None:
    # By its name in the factory that imports the class when it is called.
    assert inspect.signature(getattr(wren, name)).return_annotation in (wren.FunctionExecutor, "FunctionExecutor")
    with wren.local_executor() as executor:
        assert type(executor) is wren.FunctionExecutor


@pytest.mark.api(
    "(`config`, `runtime`, `runtime_memory=256`, `storage_backend`, `rabbitmq_monitor=False`, `log_level`, "
    "`remote_invoker=False`) and override the configuration;"
)
def test_an_argument_overrides_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a configuration that names what is not there
    monkeypatch.setenv("WREN_WREN__BACKEND", "nowhere")
    monkeypatch.setenv("WREN_WREN__STORAGE", "nowhere")
    with pytest.raises(PluginNotFound, match="nowhere"):
        wren.function_executor()
    # Then arguments that name something else go before it
    with wren.function_executor(backend="localhost", storage_backend="memory", workers=1) as executor:
        assert executor.call_async(add_one, 1).result(20) == 2


@pytest.mark.api(
    "`config` is a mapping, may be partial, and is merged key by key over the config file", "[they: it replaces it]."
)
def test_config_is_merged_key_by_key_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file with two keys of a section, of which the argument has one
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".wren.toml").write_text(f'[localhost]\npath = "{tmp_path / "store"}"\nbucket = "of-the-file"\n')
    # When something is stored
    with wren.local_executor({"localhost": {"bucket": "mine"}}, workers=1, persist=True) as executor:
        executor.map_reduce(add_one, [1], len)
        assert executor.get_result(timeout=20) == 1
    # Then the other key is the file's
    assert [folder.name for folder in (tmp_path / "store").iterdir()] == ["mine"]


@pytest.mark.api("Also `workers=N` (most calls in flight), `retries`, `persist`, `data_cleaner`.")
@pytest.mark.parametrize("name", FACTORIES)
def test_factories_have_wrens_own_arguments_too(name: str) -> None:
    found = inspect.signature(getattr(wren, name)).parameters
    assert {"workers", "retries", "persist"} <= set(found)


@pytest.mark.parametrize("memory", [0, -5, 1.5, "256", True])
def test_a_memory_that_is_none_is_an_error_when_the_executor_is_made(memory: Any) -> None:
    with pytest.raises(ConfigError, match=rf"runtime_memory is {memory!r}: give a number of MiB, 1 or more"):
        wren.FunctionExecutor(runtime_memory=memory)


@pytest.mark.parametrize("config", [{3: {}}, {"wren": {3: 4}}])
def test_what_is_no_name_in_a_configuration_is_an_error(config: Any) -> None:
    with pytest.raises(ConfigError, match="3 in the argument config is no name of a section or a key"):
        wren.local_executor(config)


@pytest.mark.parametrize("argument", ["backend", "storage_backend"])
def test_what_is_no_name_of_a_plugin_is_not_found(argument: str) -> None:
    given: Any = {argument: 5}
    with pytest.raises(PluginNotFound, match=r"no (compute backend|storage) 5;"):
        wren.FunctionExecutor(**given)


@pytest.mark.api("Also `workers=N` (most calls in flight)")
def test_no_more_calls_run_at_once_than_workers(tmp_path: Path, eventually: Eventually) -> None:
    with wren.local_executor(workers=2) as executor:
        futures = executor.map(wait_for, [tmp_path / name for name in "abcd"])
        eventually(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        (tmp_path / "a").touch()
        futures[0].result(20)
        eventually(lambda: len(list(tmp_path.glob("*.started"))) == 3)
        assert sum(future.running() for future in futures) <= 2
        for name in "bcd":
            (tmp_path / name).touch()
        assert executor.get_result(futures, timeout=20) == ["a", "b", "c", "d"]


@pytest.mark.api("`function_executor()` takes the configuration's backend and storage,")
def test_function_executor_takes_the_configurations_backend(
    monkeypatch: pytest.MonkeyPatch, run_python: Callable[[str], str]
) -> None:
    monkeypatch.setenv("WREN_WREN__BACKEND", "localhost")
    monkeypatch.setenv("WREN_WREN__STORAGE", "memory")
    assert run_python("import wren\nprint(wren.function_executor().call_async(abs, -1).result(20))") == "1\n"


@pytest.mark.api("else `ibm_cf` and `ibm_cos` as the reference says.")
def test_function_executor_is_on_ibm_with_nothing_configured() -> None:
    with pytest.raises(PluginNotFound, match=r"'ibm_cf'; pip install wren-backend-ibmcf"):
        wren.function_executor()
    with pytest.raises(ConfigError, match=r"section \[ibm_cos\] of the configuration needs the key 'endpoint'"):
        wren.local_executor(storage_backend="ibm_cos")


@pytest.mark.api("take the configuration's, else localhost: with nothing configured at all they work.")
@pytest.mark.parametrize("make", ["FunctionExecutor().call_async(abs, -1)", "Executor().submit(abs, -1)"])
def test_with_nothing_configured_calls_run_on_localhost(make: str, run_python: Callable[[str], str]) -> None:
    assert run_python(f"import wren\nprint(wren.{make}.result(20))") == "1\n"


@pytest.mark.api("`FunctionExecutor()` and `wren.Executor()` take the configuration's,")
@pytest.mark.parametrize("make", [wren.FunctionExecutor, wren.Executor])
def test_both_executors_take_the_configurations_backend(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WREN_WREN__BACKEND", "knative-of-mine")
    with pytest.raises(PluginNotFound, match="knative-of-mine"):
        make()


@pytest.mark.api("`local_executor()` runs calls on localhost whatever the configuration says,")
def test_local_executor_is_local_whatever_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_WREN__BACKEND", "nowhere")
    with wren.local_executor(workers=1) as executor:
        assert executor.call_async(os.getppid, ()).result(20) == os.getpid()


@pytest.mark.api("and takes its storage.")
def test_local_executor_takes_the_configurations_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_WREN__STORAGE", "nowhere")
    with pytest.raises(PluginNotFound, match="nowhere"):
        wren.local_executor()


@pytest.mark.api("Both spellings of the reference work as keywords")
def test_a_parameter_in_both_its_spellings_is_an_error(executor: wren.FunctionExecutor) -> None:
    # `test_reference.py` has those that work
    both: Any = {"func": add_one, "map_function": add_one, "map_iterdata": [1]}
    with pytest.raises(TypeError, match="func and map_function"):
        executor.map(**both)


@pytest.mark.api("(least time between two listings) and `invoke_pool_threads`", "are accepted everywhere.")
def test_parameters_of_other_implementations_are_accepted(executor: wren.FunctionExecutor) -> None:
    executor.map(add_one, [1], invoke_pool_threads=2)
    executor.map_reduce(add_one, [1], sum, invoke_pool_threads=2)
    executor.wait(THREADPOOL_SIZE=2, WAIT_DUR_SEC=0.1)
    assert executor.get_result(THREADPOOL_SIZE=2, WAIT_DUR_SEC=0.1) == [2, 2]


@pytest.mark.api("Results that lie in the storage are read by `THREADPOOL_SIZE` threads at the same time.")
def test_stored_results_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given results that lie in the storage, and reads that wait for two others
    with wren.local_executor({"localhost": {"path": str(tmp_path)}}, persist=True) as executor:
        futures = executor.map(add_one, range(6))
        executor.wait()
        others = [pickle.loads(pickle.dumps(future)) for future in futures]  # noqa: S301 - made by this line
        assert all(future.done() for future in others)
        three, read = threading.Barrier(3, timeout=20), LocalStorage.get

        def together(*args: Any, **kwargs: Any) -> bytes:
            three.wait()
            return read(*args, **kwargs)

        monkeypatch.setattr(LocalStorage, "get", together)
        assert executor.get_result(others, THREADPOOL_SIZE=3) == list(range(1, 7))


# ---- defaults


@pytest.mark.api("`runtime_memory` not given means the executor's.")
def test_memory_that_is_not_given_is_the_executors(limited: type[Bounded]) -> None:
    with wren.function_executor(backend="bounded", runtime_memory=128) as executor:
        executor.map(add_one, [1])
        executor.map(add_one, [1], runtime_memory=256)  # equal to the default, and still the caller's own
        executor.get_result(throw_except=False)
    assert [runtime.memory for runtime in limited.runtimes] == [128, 256]


@pytest.mark.api("`timeout` left at its default is min(600, the backend's maximum),")
@pytest.mark.parametrize(("most", "timeout"), [(50.0, 50), (900.0, 600), (None, 600)])
def test_a_timeout_that_is_left_out_is_as_long_as_the_backend_allows(
    limited: type[Bounded], monkeypatch: pytest.MonkeyPatch, most: float | None, timeout: int
) -> None:
    monkeypatch.setattr(limited, "limits", Limits(timeout=most))
    with wren.function_executor(backend="bounded") as executor:
        executor.call_async(add_one, 1)
        executor.get_result(throw_except=False)
    assert [invocation.timeout for invocation in limited.given] == [timeout]


@pytest.mark.api("or what `timeout` in section `[wren]` says;")
def test_a_timeout_that_is_left_out_is_what_the_configuration_says(
    limited: type[Bounded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "limits", Limits(timeout=50.0))
    with wren.function_executor({"wren": {"timeout": 7.5}}, backend="bounded") as executor:
        executor.map(add_one, [1])
        executor.call_async(add_one, 1, timeout=3)
        executor.map_reduce(add_one, [1], sum, timeout=None)
        executor.get_result(throw_except=False)
    assert [invocation.timeout for invocation in limited.given] == [7.5, 3, None]
    with (
        wren.function_executor({"wren": {"timeout": 51}}, backend="bounded") as executor,
        pytest.raises(BindingError, match="timeout is 51 s, and the backend allows 50 s at most"),
    ):
        executor.call_async(add_one, 1)


@pytest.mark.api("and its calls have no timeout.")
def test_calls_of_the_standard_interface_have_no_timeout(limited: type[Bounded]) -> None:
    with wren.Executor(backend="bounded") as pool:
        pool.submit(add_one, 1).exception(20)
    assert [invocation.timeout for invocation in limited.given] == [None]


@pytest.mark.api("only an explicit value out of range is an error.")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"timeout": 600}, r"timeout is 600 s, and the backend allows 50 s at most"),
        ({"runtime_memory": 512}, r"runtime_memory is 512 MiB, and the backend allows 128 to 256 MiB"),
    ],
)
def test_an_explicit_value_out_of_range_is_an_error(limited: type[Bounded], given: Any, says: str) -> None:
    with wren.function_executor(backend="bounded") as executor:
        with pytest.raises(BindingError, match=says):
            executor.map(add_one, [1], **given)
        assert executor.get_result() == []
    assert not limited.given


@pytest.mark.api("Defaults are typed sentinels whose documented value is the reference's:")
def test_a_default_that_the_user_gives_as_a_value_is_a_value(limited: type[Bounded]) -> None:
    default = inspect.signature(wren.FunctionExecutor.map).parameters["timeout"].default
    assert default == 600
    with wren.function_executor(backend="bounded") as executor, pytest.raises(BindingError):
        executor.map(add_one, [1], timeout=int(default))


@pytest.mark.api("On localhost memory is limited only when asked for explicitly (in a worker of its own).")
def test_local_memory_is_limited_only_when_asked_for(executor: wren.FunctionExecutor) -> None:
    def limit() -> tuple[int, bool]:
        import resource

        taken = bytearray(600 << 20)
        return os.getpid(), bool(taken) and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY

    # Given a call that takes more than the 256 MiB of the documented default
    worker, unlimited = executor.call_async(limit, ()).result(20)
    assert unlimited
    # When it asks for as much, then it is killed or fails for it, and not in that worker
    error = executor.call_async(limit, (), runtime_memory=256).exception(20)
    assert isinstance(error, MemoryError | wren.errors.OutOfMemory)
    assert executor.call_async(os.getpid, (), runtime_memory=256).result(20) != worker
    executor.get_result(throw_except=False)


@pytest.mark.api("`calls_per_activation=N`: that many calls share one activation.")
def test_so_many_calls_share_an_activation(limited: type[Bounded]) -> None:
    with wren.function_executor(backend="bounded") as executor:
        executor.map(add_one, range(7), calls_per_activation=3)
        executor.get_result(throw_except=False)
    assert sorted(list(invocation.calls) for invocation in limited.given) == [[0, 1, 2], [3, 4, 5], [6]]


# ---- errors


@pytest.mark.api("`PluginNotFound: no compute backend 'knative'; pip install wren-backend-knative`")
@pytest.mark.parametrize("name", [name for name in FACTORIES if name in MISSING])
def test_a_backend_that_is_not_installed_says_what_to_install(name: str) -> None:
    with pytest.raises(PluginNotFound, match=rf"^no compute backend '\w+'; pip install {MISSING[name]}\b"):
        getattr(wren, name)()


@pytest.mark.api("with the installed names.")
def test_a_backend_that_is_not_installed_names_those_that_are() -> None:
    with pytest.raises(PluginNotFound, match=r"installed: .*\blocalhost\b"):
        wren.knative_executor()


@pytest.mark.api("A misspelt configuration key: an error naming the key, the section and the nearest known key.")
def test_a_misspelt_key_is_named_with_section_and_the_nearest_key() -> None:
    with pytest.raises(ConfigError, match=r"'bukket' in section \[localhost\].*did you mean 'bucket'"):
        wren.local_executor({"localhost": {"bukket": "mine"}})


@pytest.mark.api(
    "A section that is nearly a known one is an error, too;", "may be of a plugin that is not installed here."
)
def test_a_section_that_is_nearly_known_is_an_error_and_an_unknown_one_is_not() -> None:
    with pytest.raises(ConfigError, match=r"did you mean \[localhost\]"):
        wren.local_executor({"localhots": {"workers": 1}})
    with wren.local_executor({"my_own_cloud": {"token": "t"}}):
        """It is not looked at."""


# ---- logging


@pytest.mark.api("`log_level` sets the level of the `wren` logger only, never the root logger's.")
def test_log_level_is_that_of_wrens_logger_alone() -> None:
    ours, root = logging.getLogger("wren"), logging.getLogger()
    before = ours.level, root.level, root.handlers[:]
    try:
        with wren.local_executor(log_level="DEBUG"):
            assert ours.level == logging.DEBUG
        assert (root.level, root.handlers) == before[1:]
    finally:
        ours.setLevel(before[0])


@pytest.mark.api("Without it wren is quiet and prints nothing.")
def test_wren_prints_nothing(run_python: Callable[[str], str]) -> None:
    program = """
import contextlib, io, logging, os, sys
import wren
sys.stderr = sys.stdout
with wren.local_executor(workers=1) as executor:
    executor.map_reduce(abs, [-1, 2], sum)
    assert executor.get_result() == 3
    executor.call_async(os._exit, 3)
    executor.get_result(throw_except=False)
    executor.clean()
assert not logging.getLogger().handlers and logging.getLogger("wren").level == logging.NOTSET
"""
    assert run_python(program) == ""


# ---- with


@pytest.mark.api("Executors are context managers: leaving normally waits for unfinished calls,")
def test_leaving_normally_waits(tmp_path: Path) -> None:
    with wren.local_executor(workers=1) as executor:
        future = executor.call_async(time.sleep, 0.2)
        assert not future.done()
    assert future.done()


@pytest.mark.api("leaving by an exception cancels them.")
def test_leaving_by_an_exception_cancels(tmp_path: Path, eventually: Eventually) -> None:
    def run(path: Path) -> NoReturn:
        path.touch()
        while True:
            time.sleep(0.01)

    with pytest.raises(LookupError), wren.local_executor(workers=1) as executor:  # noqa: PT012
        running, queued = executor.map(run, [tmp_path / "a", tmp_path / "b"])
        eventually((tmp_path / "a").exists)
        raise LookupError
    assert queued.cancelled()
    assert isinstance(running.exception(20), CallCancelled)


@pytest.mark.api("A `FunctionExecutor` can be used after its `with`, too.")
def test_an_executor_can_be_used_after_its_with() -> None:
    with wren.local_executor(workers=1) as executor:
        executor.call_async(add_one, 1)
    assert executor.get_result() == 2
    executor.map(add_one, [2, 3])
    assert executor.get_result(timeout=20) == [3, 4]


@pytest.mark.api("Executors cannot be pickled.")
@pytest.mark.parametrize("make", [wren.local_executor, wren.Executor])
def test_executors_cannot_be_pickled(make: Callable[[], Any]) -> None:
    with (
        make() as executor,
        pytest.raises(TypeError, match="an executor cannot be pickled: make one where it is needed"),
    ):
        pickle.dumps(executor)


# ---- names


@pytest.mark.api("`executor_id` (`xxxxxx-0`) is for people.")
def test_executor_ids_have_a_part_of_the_process_and_a_number() -> None:
    with wren.local_executor() as first, wren.local_executor() as second:
        assert re.fullmatch(r"[0-9a-f]{6}-\d+", first.executor_id)
        (one, number), (other, next_number) = (each.executor_id.split("-") for each in (first, second))
        assert one == other
        assert int(next_number) == int(number) + 1


@pytest.mark.api(
    "A `job_id` is `A000` for `call_async`, `M000` for `map`, `R000` for a reducer (same number as its map);"
)
def test_jobs_are_numbered_and_their_letter_says_what_they_are(executor: wren.FunctionExecutor) -> None:
    call = executor.call_async(add_one, 1)
    mapped = executor.map(add_one, [1])
    *inputs, reducer = executor.map_reduce(add_one, [1], sum)
    assert [call.job_id, mapped[0].job_id, inputs[0].job_id, reducer.job_id] == ["A000", "M001", "M002", "R002"]
    executor.get_result()


@pytest.mark.api("call ids are decimal, zero-padded.")
def test_call_ids_are_decimal_and_zero_padded(executor: wren.FunctionExecutor) -> None:
    futures = executor.map(add_one, range(12))
    assert [int(future.call_id) for future in futures] == list(range(12))
    assert {len(future.call_id) for future in futures} == {5}
    executor.get_result()


# ---- the other package


@pytest.mark.api("is importable with the same names, so the reference's usage lines run as they stand:")
def test_pywren_ibm_cloud_has_the_same_names() -> None:
    # `test_reference.py` runs the lines
    assert set(FACTORIES) <= set(dir(pywren_ibm_cloud))


@pytest.mark.api("It also reads `~/.pywren_config` (YAML).")
def test_pywren_ibm_cloud_reads_the_configuration_of_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pywren_config").write_text("pywren:\n    compute_backend: of_old\n")
    with pytest.raises(PluginNotFound, match="of_old"):
        pywren_ibm_cloud.function_executor()
