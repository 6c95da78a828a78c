"""wren and `pywren_ibm_cloud` have what the reference documents, and its usage runs: `reference.toml` is the list.

The reference is the document "PyWren API Details"; `reference.py` beside this file compares the list with it.
"""

import ast
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import pywren_ibm_cloud
import wren
from wren.errors import PluginNotFound
from wren.plugins import installed

HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Entry:
    """An executor or a method; a parameter is its name and the text of its default."""

    positional: list[str]
    parameters: list[tuple[str, str]]
    usage: str


@dataclass(frozen=True, slots=True)
class Reference:
    executors: dict[str, Entry]
    methods: dict[str, Entry]


REFERENCE: Final = msgspec.convert(tomllib.loads((HERE / "reference.toml").read_text(encoding="utf-8")), Reference)
EXECUTORS: Final = REFERENCE.executors
METHODS: Final = REFERENCE.methods
MODULES: Final = (wren, pywren_ibm_cloud)

# The names of the signatures that the tables spell otherwise.
SPELLINGS: Final = {
    "map": {"func": "map_function", "iterdata": "map_iterdata"},
    "map_reduce": {"map_func": "map_function", "iterdata": "map_iterdata", "reduce_func": "reduce_function"},
}

# What an executor's line needs: the plugin's name and the package that has it.
BACKENDS: Final = {
    "ibm_cf_executor": ("ibm_cf", "wren-backend-ibmcf"),
    "knative_executor": ("knative", "wren-backend-knative"),
    "openwhisk_executor": ("openwhisk", "wren-backend-openwhisk"),
    "function_executor": ("ibm_cf", "wren-backend-ibmcf"),
    "local_executor": ("localhost", "wren-core"),
    "docker_executor": ("docker", "wren-backend-docker"),
}
INSTALLED: Final = {info.name for info in installed("compute")}

MODULE_IDS: Final = [module.__name__ for module in MODULES]


def foo(x: int) -> int:
    return 10 * x


def bar(results: list[int]) -> int:
    return sum(results)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration but the test's own."""
    for name in ("WREN_CONFIG_FILE", "PYWREN_CONFIG_FILE", "PYWREN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def documented(text: str) -> object:
    """A default as a value; a bare word of the tables is a name."""
    if not text:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


# ---- names, order and defaults


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    return parameters


def cases() -> Iterator[Any]:
    """Each function and method of both packages with its entry."""
    for module in MODULES:
        for name, entry in EXECUTORS.items():
            yield pytest.param(getattr(module, name), entry, id=f"{module.__name__}.{name}")
        for name, entry in METHODS.items():
            method = getattr(module.FunctionExecutor, name)
            yield pytest.param(method, entry, id=f"{module.__name__}.FunctionExecutor.{name}")


CASES: Final = list(cases())


@pytest.mark.parametrize(("function", "entry"), CASES)
def test_every_documented_parameter_is_there_with_its_default(function: Callable[..., Any], entry: Entry) -> None:
    found = parameters_of(function)
    for name, default in entry.parameters:
        assert name in found, f"{function.__name__} has no parameter {name}"
        expected = documented(default)
        if expected is inspect.Parameter.empty:
            assert found[name].default is expected
        else:
            # Equal to the documented value, though `timeout` left out can be told from 600
            assert found[name].default == expected
            assert isinstance(found[name].default, type(expected))


@pytest.mark.parametrize(("function", "entry"), CASES)
def test_they_stand_in_the_documents_order_and_before_wrens_own(function: Callable[..., Any], entry: Entry) -> None:
    # Given the parameters in the order of the signature, then in that of the table
    spelled = SPELLINGS.get(function.__name__, {})
    first = [spelled.get(name, name) for name in entry.positional]
    names = first + [name for name, _ in entry.parameters if name not in first]
    # Then those come first, by position or keyword, and what wren adds is for keywords only and can be left out
    found = list(parameters_of(function).values())
    assert [parameter.name for parameter in found[: len(names)]] == names
    assert {parameter.kind for parameter in found[: len(names)]} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    for parameter in found[len(names) :]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", ["call_async", "map", "map_reduce"])
def test_a_default_that_is_a_list_cannot_be_changed_by_a_call(name: str) -> None:
    # Given two defaults that are mutable as documented
    defaults = [
        parameters_of(getattr(wren.FunctionExecutor, name))[key] for key in ("include_modules", "exclude_modules")
    ]
    # When calls were made
    with wren.local_executor(workers=1) as executor:
        executor.map_reduce(foo, [1], bar)
        executor.call_async(foo, 1)
        executor.get_result()
    # Then
    assert [parameter.default for parameter in defaults] == [[], []]


@pytest.mark.parametrize("module", MODULES, ids=MODULE_IDS)
@pytest.mark.parametrize("method", list(SPELLINGS))
def test_the_names_of_the_signatures_are_keywords_as_those_of_the_tables_are(module: Any, method: str) -> None:
    # Given what is spelled in two ways
    values = {"func": foo, "map_func": foo, "iterdata": [1, 2], "reduce_func": bar}
    of_signature = {name: values[name] for name in METHODS[method].positional}
    of_table = {SPELLINGS[method][name]: value for name, value in of_signature.items()}
    # When both are used, then both do the same
    with module.local_executor(workers=1) as executor:
        for keywords in (of_signature, of_table):
            getattr(executor, method)(**keywords)
            assert executor.get_result() == (30 if method == "map_reduce" else [10, 20])


@pytest.mark.parametrize("method", list(SPELLINGS))
def test_the_documented_parameters_can_all_be_given_at_their_defaults(method: str) -> None:
    # Given every parameter of the table that has a default, with the value that is documented
    given = {name: documented(default) for name, default in METHODS[method].parameters if default}
    # Then a call with them is one without them
    positional: list[Any] = [foo, [1, 2], bar][: len(METHODS[method].positional)]
    with wren.local_executor(workers=1) as executor:
        getattr(executor, method)(*positional, **given)
        assert executor.get_result() == (30 if method == "map_reduce" else [10, 20])


@pytest.mark.parametrize("method", ["wait", "get_result"])
def test_waiting_takes_every_documented_parameter_at_its_default(method: str) -> None:
    given = {name: documented(default) for name, default in METHODS[method].parameters}
    with wren.local_executor(workers=1) as executor:
        futures = executor.map(foo, [1, 2])
        assert getattr(executor, method)(**given) == ((futures, []) if method == "wait" else [10, 20])


def test_an_executor_takes_every_documented_parameter_at_its_default() -> None:
    given = {name: documented(default) for name, default in EXECUTORS["local_executor"].parameters}
    with wren.local_executor(**given) as executor:  # type: ignore[arg-type]  # they are of the types that are documented
        assert executor.map(foo, [1])[0].result() == 10


def test_the_table_of_backends_has_every_executor() -> None:
    assert set(BACKENDS) == set(EXECUTORS)


# ---- usage


@pytest.mark.parametrize("name", [name for name, (backend, _) in BACKENDS.items() if backend in INSTALLED])
def test_an_executors_usage_runs_as_it_stands_where_its_backend_is_installed(name: str) -> None:
    variables: dict[str, Any] = {}
    exec(EXECUTORS[name].usage, variables)
    with variables["pw"] as executor:
        executor.call_async(foo, 1)
        assert executor.get_result() == 10


@pytest.mark.parametrize("name", [name for name, (backend, _) in BACKENDS.items() if backend not in INSTALLED])
def test_an_executors_usage_says_what_to_install_where_its_backend_is_not(name: str) -> None:
    backend, package = BACKENDS[name]
    with pytest.raises(PluginNotFound, match=rf"^no compute backend '{backend}'; pip install {package}\b"):
        exec(EXECUTORS[name].usage, {})


# What each method's usage leaves behind: the names that it assigns, and what `get_result()` has then.
LEFT: Final[dict[str, tuple[set[str], Any]]] = {
    "call_async": ({"futures"}, 30),
    "map": ({"iterdata", "futures"}, [10, 20, 30, 40]),
    "map_reduce": ({"iterdata", "futures"}, 100),
    "wait": ({"iterdata", "futures"}, [10, 20, 30, 40]),
    "get_result": ({"iterdata", "futures", "results"}, []),
    "create_execution_plots": ({"iterdata", "results"}, []),
    "clean": ({"iterdata", "futures", "results"}, []),
}


@pytest.mark.parametrize("module", MODULES, ids=MODULE_IDS)
@pytest.mark.parametrize("method", list(METHODS))
def test_a_methods_usage_runs_on_local_workers(module: Any, method: str, tmp_path: Path) -> None:
    # Given the document's lines; the one change is a folder of this test's for the one in somebody's home
    usage = METHODS[method].usage.replace("/home/user", str(tmp_path))
    given = {"foo": foo, "bar": bar, "data": 3}
    variables: dict[str, Any] = dict(given)
    # When they run
    with module.local_executor() as variables["pw"]:
        exec(usage, variables)
        # Then they leave what the document says
        assigned, left = LEFT[method]
        assert set(variables) - set(given) - {"pw", "__builtins__"} == assigned
        assert variables["pw"].get_result() == left
    if "results" in assigned:
        assert variables["results"] == [10, 20, 30, 40]
    if method == "create_execution_plots":
        plots = {path.name for path in (tmp_path / "pywren_plots").iterdir()}
        assert plots == {"test_timeline.png", "test_histogram.png"}


def test_after_wait_everything_is_done() -> None:
    variables: dict[str, Any] = {"foo": foo}
    with wren.local_executor() as variables["pw"]:
        exec(METHODS["wait"].usage, variables)
        assert all(future.done() for future in variables["futures"])


# ---- what the document says that each method returns


def test_call_async_returns_one_future_map_a_list_of_them_and_wait_two_lists() -> None:
    with wren.local_executor() as executor:
        assert isinstance(executor.call_async(foo, 1), wren.Future)
        futures = executor.map(foo, [1, 2, 3])
        assert len(futures) == 3
        assert executor.wait(futures) == (futures, [])


# ---- the script

SAMPLE: Final = r"""
# Details

**some_executor(\*\*kwargs)**

Makes one.

|Parameter | Default | Description|
|---|---|---|
|config | None | Settings |
|storage |  here | Where (as `this`) |

Usage:
```python
import it
pw = it.some_executor()
```

## Executor.call()
Does it.

**call**(func, data, \*\*kwargs)

|Parameter| Default |Description|
|---|---|---|
|func | |The function |
|data |  |A value |
|modules| [] |Which |

* **Returns**: One.

* **Usage**:
    ```python
    data = [1]
    future = pw.call(foo, data)
    ```
"""
SAMPLE_DATA: Final = """
[executors.some_executor]
positional = []
parameters = [["config", "None"], ["storage", "here"]]
usage = '''
import it
pw = it.some_executor()
'''
[methods.call]
positional = ["func", "data"]
parameters = [["func", ""], ["data", ""], ["modules", "[]"]]
usage = '''
data = [1]
future = pw.call(foo, data)
'''
"""


def compare(folder: Path, document: str, data: str) -> tuple[int, list[str]]:
    """Run the script on a document and a TOML file: its exit code and the lines that it prints."""
    (folder / "document.md").write_text(document, encoding="utf-8")
    (folder / "data.toml").write_text(data, encoding="utf-8")
    command = [sys.executable, str(HERE / "reference.py"), "document.md", "data.toml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_the_script_finds_no_difference_where_there_is_none(tmp_path: Path) -> None:
    assert compare(tmp_path, SAMPLE, SAMPLE_DATA) == (0, ["no differences"])


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("|config | None |", "|config | {} |", "some_executor: parameters is [['config', 'None']"),
        ("|modules| [] |Which |\n", "", "call: parameters is [['func', '']"),
        ("|data |  |A value |", "|date |  |A value |", "call: parameters is [['func', '']"),
        ("(func, data, ", "(data, func, ", "call: positional is ['func', 'data'], in the document ['data', 'func']"),
        ("    future = pw.call", "    futures = pw.call", "call: usage is 'data = [1]"),
        ("**call**(", "**call_off**(", "method call is only in the TOML file"),
    ],
)
def test_the_script_names_what_differs(before: str, after: str, says: str, tmp_path: Path) -> None:
    assert before in SAMPLE
    code, lines = compare(tmp_path, SAMPLE.replace(before, after), SAMPLE_DATA)
    assert code == 1
    assert lines[0].startswith(says)


def test_the_script_names_what_only_the_document_has(tmp_path: Path) -> None:
    more = SAMPLE + "\n**other**(\\*\\*kwargs)\n"
    assert compare(tmp_path, more, SAMPLE_DATA) == (1, ["method other is only in the document"])
