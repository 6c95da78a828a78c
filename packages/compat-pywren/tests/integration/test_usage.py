"""The usage blocks of the document "PyWren API Details", run by this package on local workers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pywren_ibm_cloud
from wren.errors import PluginNotFound
from wren.plugins import installed

# The backends of the executors' lines, and whether their plugins are installed here.
BACKENDS = {
    "ibm_cf_executor": "ibm_cf",
    "knative_executor": "knative",
    "openwhisk_executor": "openwhisk",
    "function_executor": "ibm_cf",
    "local_executor": "localhost",
    "docker_executor": "docker",
}
INSTALLED = {info.name for info in installed("compute")}

MADE = "import pywren_ibm_cloud as pywren\npw = pywren.local_executor()\n"
BLOCKS = {
    "call_async": "futures = pw.call_async(foo, data)",
    "map": "iterdata = [1, 2, 3, 4]\nfutures = pw.map(foo, iterdata)",
    "map_reduce": "iterdata = [1, 2, 3, 4]\nfutures = pw.map_reduce(foo, iterdata, bar)",
    "wait": "iterdata = [1, 2, 3, 4]\nfutures = pw.map(foo, iterdata)\npw.wait()",
    "get_result": "iterdata = [1, 2, 3, 4]\nfutures = pw.map(foo, iterdata)\nresults = pw.get_result()",
    "create_execution_plots": (
        "iterdata = [1, 2, 3, 4]\npw.map(foo, iterdata)\nresults = pw.get_result()  # or pw.wait()\n"
        "pw.create_execution_plots(folder, 'test')"  # the document's folder is in somebody's home
    ),
    "clean": ("iterdata = [1, 2, 3, 4]\nfutures = pw.map(foo, iterdata)\nresults = pw.get_result()\npw.clean()"),
}


def foo(x: int) -> int:
    return x * 10


def bar(results: list[int]) -> int:
    return sum(results)


def run(block: str, **names: Any) -> dict[str, Any]:
    """Run a block of the document with what it takes for granted; what it has assigned."""
    variables: dict[str, Any] = {"foo": foo, "bar": bar, "data": 3, **names}
    exec(MADE + block, variables)
    return variables


def executor_line(name: str) -> str:
    return f"import pywren_ibm_cloud as pywren\npw = pywren.{name}()"


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend in INSTALLED])
def test_the_line_of_an_executor_runs_where_its_backend_is_installed(name: str) -> None:
    variables: dict[str, Any] = {}
    exec(executor_line(name), variables)
    with variables["pw"] as executor:
        assert executor.wait(fs=[]) == ([], [])


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend not in INSTALLED])
def test_the_line_of_an_executor_says_what_to_install_where_its_backend_is_not(name: str) -> None:
    with pytest.raises(PluginNotFound, match=f"no compute backend '{BACKENDS[name]}'; pip install wren-backend-"):
        exec(executor_line(name), {})


def test_call_async() -> None:
    after = run(BLOCKS["call_async"])
    assert after["pw"].get_result() == 30
    assert after["futures"].result() == 30


def test_map() -> None:
    after = run(BLOCKS["map"])
    assert len(after["futures"]) == 4
    assert after["pw"].get_result() == [10, 20, 30, 40]


def test_map_reduce() -> None:
    assert run(BLOCKS["map_reduce"])["pw"].get_result() == 100


def test_wait() -> None:
    after = run(BLOCKS["wait"])
    assert all(future.done() for future in after["futures"])


def test_get_result() -> None:
    assert run(BLOCKS["get_result"])["results"] == [10, 20, 30, 40]


def test_create_execution_plots(tmp_path: Path) -> None:
    run(BLOCKS["create_execution_plots"], folder=str(tmp_path / "plots"))
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"test_timeline.png", "test_histogram.png"}


def test_plot(tmp_path: Path) -> None:
    run(f"{BLOCKS['get_result']}\npw.plot(dst)", dst=str(tmp_path / "plots" / "test"))
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"test_timeline.png", "test_histogram.png"}


def test_clean() -> None:
    assert run(BLOCKS["clean"])["results"] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("when", "done"), [(1, lambda count: count == 4), (2, lambda count: count >= 1), (3, lambda count: count >= 0)]
)
def test_wait_with_the_integers_of_old(when: int, done: Callable[[int], bool]) -> None:
    with pywren_ibm_cloud.local_executor() as executor:
        futures = executor.map(foo, [1, 2, 3, 4])
        finished, unfinished = executor.wait(return_when=when)
        assert done(len(finished))
        assert {*finished, *unfinished} == {*futures}


def plus(x: int, y: int) -> int:
    return x + y


@pytest.mark.parametrize("extra", [[100], {"y": 100}])
def test_extra_args(extra: Any) -> None:
    after = run("pw.map(plus, [1, 2], extra_args=extra)", plus=plus, extra=extra)
    assert after["pw"].get_result() == [101, 102]


def nested(x: int) -> list[int]:
    import pywren_ibm_cloud as pywren

    with pywren.local_executor(workers=1) as executor:
        executor.map(foo, [x, x + 1])
        results: list[int] = executor.get_result()
    return results


def test_a_function_may_use_an_executor_of_old_itself() -> None:
    with pywren_ibm_cloud.local_executor(workers=1) as executor:
        assert executor.call_async(nested, 1).result() == [10, 20]


@pytest.mark.parametrize("line", ["local_executor(config)", "function_executor(config, backend='localhost')"])
def test_a_configuration_for_containers_does_not_disturb_local_calls(line: str) -> None:
    config = {"pywren": {"compute_backend": "knative", "runtime": "me/image:1", "runtime_memory": 1, "workers": 1}}
    after = run(f"pw = pywren.{line}\nwith pw:\n    pw.map(foo, [1, 2])\n    results = pw.get_result()", config=config)
    assert after["results"] == [10, 20]


def test_the_storage_of_a_configuration_of_old_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a bucket by the configuration of old, and by wren's own where it is
    monkeypatch.setenv("WREN_LOCALHOST__PATH", str(tmp_path / "objects"))
    config = {"pywren": {"storage_backend": "localhost", "storage_bucket": "mine", "workers": 1}}
    # When results go by the storage, to the reducer
    with pywren_ibm_cloud.local_executor(config, persist=True) as executor:
        executor.map_reduce(foo, [1, 2], bar)
        assert executor.get_result() == 30
    # Then
    assert [path.name for path in (tmp_path / "objects").iterdir()] == ["mine"]


def test_importing_it_imports_nothing_but_itself() -> None:
    code = "import sys; before = set(sys.modules); import pywren_ibm_cloud; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in run.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names} == {
        "pywren_ibm_cloud"
    }
