"""docs/api.md, "Modules": on a backend whose workers do not have this process's modules."""

import importlib
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import wren
from wren.errors import ModuleError
from wren.spi import Runtime, RuntimeInfo
from wren_template.compute import TemplateCompute

Write: TypeAlias = Callable[[Mapping[str, str]], Any]
PATIENCE = 30.0


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wren.FunctionExecutor]:
    """Its workers have what is installed here, and nothing else of this process."""
    folder = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.delenv("PYTHONPATH", raising=False)
        config = {"template": {"path": str(folder / "objects.db")}}
        with wren.FunctionExecutor(config, backend="template", storage_backend="template", workers=2) as executor:
            yield executor


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a user's modules, and import the first of them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_all(files: Mapping[str, str]) -> Any:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return importlib.import_module(next(iter(files)).removesuffix("/__init__.py").removesuffix(".py"))

    yield write_all
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.api(
    "By default the user's own modules that the function needs travel with it",
    "What a function needs is what its pickle and its data's refer to,",
)
def test_own_modules_travel(write: Write, remote: wren.FunctionExecutor) -> None:
    code = "import mine_too, pytest\ndef f(d):\n  import mine_late\n  return d.x + mine_too.x + mine_late.x"
    module = write(
        {
            "mine.py": code,
            "mine_too.py": "x = 1",
            "mine_late.py": "x = 10",
            "mine_data.py": "class D:\n  x = 100",
        }
    )
    data = importlib.import_module("mine_data").D()
    assert remote.call_async(module.f, data).result(PATIENCE) == 111


@pytest.mark.api("What is in `__main__` or a notebook's cells goes with the function, as it is now;")
def test_what_is_in_main_goes_as_it_is(
    write: Write, remote: wren.FunctionExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"seen.py": "value = 1"})
    main: dict[str, Any] = {"__name__": "__main__"}
    exec("import seen\nvalue = 1\ndef f(x): return value, seen.value", main)
    main["value"] = main["seen"].value = 2
    assert remote.call_async(main["f"], 0).result(PATIENCE) == (2, 1)


@pytest.mark.api(
    "A package travels whole, with its data files, but for `__pycache__` and what begins with a dot.",
    "Modules that are imported by a name that is made at run time are found where they are in such a package;",
)
def test_a_package_travels_whole(write: Write, remote: wren.FunctionExecutor) -> None:
    code = (
        "import importlib, os\ndef f(name):\n"
        "  module = importlib.import_module(f'whole.{name}')\n"
        "  return module.x, sorted(n for n in os.listdir(os.path.dirname(__file__)) if n != '__pycache__')"
    )
    module = write({"whole/__init__.py": code, "whole/one.py": "x = 1", "whole/data.csv": "", "whole/.env": ""})
    assert remote.call_async(module.f, "one").result(PATIENCE) == (1, ["__init__.py", "data.csv", "one.py"])


@pytest.mark.api(
    "`include_modules` names modules or paths to take in place of what is detected",
    "as the reference says.",
)
def test_modules_can_be_chosen(write: Write, remote: wren.FunctionExecutor, tmp_path: Path) -> None:
    code = "import importlib\ndef f(name): return importlib.import_module(name).x"
    module = write({"chooses.py": code, "named.py": "x = 1", "elsewhere/pathed.py": "x = 2"})
    assert isinstance(remote.call_async(module.f, "named").exception(PATIENCE), ModuleNotFoundError)
    include = ["chooses", "named", tmp_path / "elsewhere" / "pathed.py"]
    for name, found in (("named", 1), ("pathed", 2)):
        future = remote.call_async(module.f, name, include_modules=include, exclude_modules=["chooses"])
        assert future.result(PATIENCE) == found
    for choice in ({"include_modules": None}, {"include_modules": ["named"]}, {"exclude_modules": ["chooses"]}):
        with pytest.raises(ModuleError, match="the module chooses"):
            remote.call_async(module.f, "named", **choice)


@pytest.mark.api(
    "An unconditional import that neither travels nor is in the runtime is an error before invocation,",
    "An import is unconditional in a module that is certain to be imported",
)
@pytest.mark.parametrize(
    ("body", "certain"),
    [
        ("  import {name}\n  return 1", True),
        ("  try: import {name}\n  except ImportError: return 1", False),
        ("  if x: return 1\n  import {name}", False),
        ("  if not x: import {name}\n  return 1", False),
        ("  for _ in (): import {name}\n  return 1", False),
        ("  def g(): import {name}\n  return 1", False),
    ],
)
def test_what_is_missing_is_an_error_where_that_is_certain(
    write: Write, remote: wren.FunctionExecutor, body: str, certain: bool
) -> None:
    module = write({f"needs{abs(hash(body))}.py": f"def f(x):\n{body.format(name='missing_module')}"})
    if not certain:
        assert remote.call_async(module.f, 1).result(PATIENCE) == 1
        return
    with pytest.raises(
        ModuleError, match=r"the module missing_module \(needed by line 2 of f\).*use a runtime.*that has it"
    ):
        remote.call_async(module.f, 1)


@pytest.mark.api("a compiled module of another platform is an error.")
def test_a_compiled_module_of_another_platform_is_an_error(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    # Given one that is looked at, and never loaded
    fast = {"fast_package/__init__.py": "core = 1", f"fast_package/core{suffix}": ""}
    module = write({"uses_fast.py": "from fast_package import core\ndef f(x): ...", **fast})

    def describe(self: TemplateCompute, runtime: Runtime) -> RuntimeInfo:
        return RuntimeInfo(f"{sys.version_info.major}.{sys.version_info.minor}", "linux-riscv64")

    monkeypatch.setattr(TemplateCompute, "describe", describe)
    config = {"template": {"path": str(tmp_path / "objects.db")}}
    with (
        wren.FunctionExecutor(config, backend="template", storage_backend="template") as executor,
        pytest.raises(ModuleError, match=r"fast_package\.core is compiled for .*, and the runtime .* is linux-riscv64"),
    ):
        executor.call_async(module.f, 1)


@pytest.mark.api("Locally nothing is packed: workers import the same files.")
def test_local_workers_import_the_same_files(write: Write, executor: wren.FunctionExecutor) -> None:
    module = write({"same_file.py": "def f(x): return __file__"})
    for choice in ({}, {"include_modules": None}, {"include_modules": ["json"]}, {"exclude_modules": ["same_file"]}):
        assert executor.call_async(module.f, 1, **choice).result(PATIENCE) == module.__file__
    assert "wren.modules.luggage" not in sys.modules or executor._engine.maker._luggage is None  # type: ignore[union-attr]


@pytest.mark.api("Modules travel once: they are unpacked once in each container,")
def test_modules_are_unpacked_once(write: Write, remote: wren.FunctionExecutor) -> None:
    module = write({"once.py": "import os\ndef f(x): return os.stat(__file__).st_ino, __file__\ndef g(x): return f(x)"})
    # When two functions need it, each in a process that has loaded it for itself
    first, second = (remote.call_async(function, 1).result(PATIENCE) for function in (module.f, module.g))
    assert first == second
    assert first[1] != module.__file__


@pytest.mark.api("A reducer gets the modules of its map, too, and calls within calls those of the outer one.")
def test_reducers_and_calls_within_calls_have_them(write: Write, remote: wren.FunctionExecutor) -> None:
    module = write(
        {
            "maps.py": "import wren, inner_one\nclass P:\n  def __init__(self, x): self.x = x\n"
            "def nests(x): return wren.FunctionExecutor().map(inner_one.g, [x, x])",
            "inner_one.py": "def g(x): return x + 1",
        }
    )
    futures = remote.map_reduce(module.P, [1, 2], lambda points: sum(point.x for point in points))
    assert futures[-1].result(PATIENCE) == 3
    assert remote.call_async(module.nests, 1).result(PATIENCE) == [2, 2]


@pytest.mark.api(
    "`executor.explain(f)` prints what would travel and why.",
    "`explain` returns its rows as well, each with `name`, `version`, `travels`, `why` and `size` in bytes.",
    "`data` is data as it would be mapped over.",
)
def test_explain_prints_what_travels(
    write: Write, remote: wren.FunctionExecutor, executor: wren.FunctionExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write({"told.py": "import pytest\ndef f(x): ...", "told_data.py": "class D: ..."})
    rows = remote.explain(module.f, [importlib.import_module("told_data").D()])
    printed = capsys.readouterr().out
    assert re.match(r"module +version +travels +why +bytes\n", printed)
    size = Path(module.__file__).stat().st_size
    assert re.search(rf"^told +yes +needed by the function or its data +{size}$", printed, re.MULTILINE)
    assert [(row.name, row.travels) for row in rows] == [("told", True), ("told_data", True), ("pytest", False)]
    assert rows[0].size == size
    assert (rows[2].version, rows[2].why) == (pytest.__version__, "the runtime has it")
    # On localhost it says why nothing does
    local = executor.explain(module.f)[0]
    assert (local.name, local.travels, local.why) == ("told", False, "local workers import the same files")
    assert "local workers import the same files" in capsys.readouterr().out
