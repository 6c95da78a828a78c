"""Users' code in every shape runs on a backend whose workers have nothing of it."""

import importlib
import importlib.util
import py_compile
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import wren
from tests.modules.shapes import SHAPES, Shape

PATIENCE = 30.0


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def run(remote: wren.FunctionExecutor, imports: str, call: str, **keywords: Any) -> Any:
    """The result of a call, both of which are source."""
    namespace: dict[str, Any] = {}
    exec(imports, namespace)  # noqa: S102 - users' code
    function, data = eval(f"({call})", namespace)  # noqa: S307 - likewise
    return remote.call_async(function, data if isinstance(data, tuple) else (data,), **keywords).result(PATIENCE)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_of_users_code_runs(shape: Shape, user: Path, remote: wren.FunctionExecutor) -> None:
    write(user, shape.files)
    result = run(remote, shape.imports, shape.call, **shape.keywords)
    assert (repr(result) if isinstance(shape.expected, str) and not isinstance(result, str) else result) == shape.expected


def test_there_are_at_least_thirty() -> None:
    assert len(SHAPES) >= 30
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


# ---- shapes that need more than files


def test_a_compiled_module_runs(user: Path, remote: wren.FunctionExecutor) -> None:
    # Given an extension module, which the standard library has some of
    folder = Path(sysconfig.get_path("platstdlib")) / "lib-dynload"
    found = next(folder.glob(f"_bisect{sysconfig.get_config_var('EXT_SUFFIX')}"), None)
    if found is None:
        pytest.skip("this Python has no extension module of its own that could be copied")
    write(user, {"compiled/__init__.py": "from ._bisect import bisect_left\ndef f(x): return bisect_left([1, 3, 5], x)"})
    shutil.copy(found, user / "compiled")
    # When, Then
    assert run(remote, "import compiled", "compiled.f, 4") == 2


def test_a_namespace_in_two_places_runs(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: wren.FunctionExecutor
) -> None:
    write(user, {"spread/one.py": "from spread.two import g\ndef f(x): return g(x)"})
    write(tmp_path / "other", {"spread/two.py": "def g(x): return 2 * x"})
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    assert run(remote, "import spread.one", "spread.one.f, 2") == 4


def test_a_module_without_source_runs(user: Path, remote: wren.FunctionExecutor) -> None:
    write(user, {"sourceless.py": "from sourceless_helper import g\ndef f(x): return g(x)"})
    write(user, {"sourceless_helper.py": "def g(x): return -x"})
    py_compile.compile(str(user / "sourceless.py"), str(user / "sourceless.pyc"), doraise=True)
    (user / "sourceless.py").unlink()
    assert run(remote, "import sourceless", "sourceless.f, 2") == -2


def test_an_editable_install_by_a_path_file_runs(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: wren.FunctionExecutor
) -> None:
    # Given what `pip install -e` leaves in site-packages
    write(tmp_path / "project" / "src", {"edited/__init__.py": "from edited.inner import f", "edited/inner.py": "def f(x): return x * 7"})
    installed = tmp_path / "venv" / "site-packages"
    write(
        installed,
        {
            "edited-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: edited\nVersion: 1.0\n",
            "edited-1.0.dist-info/RECORD": "_edited.pth,,\nedited-1.0.dist-info/METADATA,,\n",
            "edited-1.0.dist-info/direct_url.json": '{"dir_info": {"editable": true}, "url": "file:///project"}',
            "_edited.pth": str(tmp_path / "project" / "src"),
        },
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    site.addsitedir(str(installed))
    # When, Then
    assert run(remote, "import edited", "edited.f, 2") == 14


def test_an_editable_install_by_a_finder_runs(
    tmp_path: Path, user: Path, monkeypatch: pytest.MonkeyPatch, remote: wren.FunctionExecutor
) -> None:
    # Given a package whose folder has another name, as setuptools maps them
    write(tmp_path / "lib", {"__init__.py": "", "inner.py": "def f(x): return x * 8"})

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            if name != "mapped":
                return None
            return importlib.util.spec_from_file_location(
                name, tmp_path / "lib" / "__init__.py", submodule_search_locations=[str(tmp_path / "lib")]
            )

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    # When, Then
    assert run(remote, "import mapped.inner", "mapped.inner.f, 2") == 16


def test_what_is_installed_here_travels_when_it_is_included(
    user: Path, monkeypatch: pytest.MonkeyPatch, remote: wren.FunctionExecutor
) -> None:
    write(
        user / "site-packages",
        {"bought/__init__.py": "def f(x): return x * 3", "bought-2.0.dist-info/RECORD": "bought/__init__.py,,\n"},
    )
    monkeypatch.syspath_prepend(str(user / "site-packages"))
    assert run(remote, "import bought", "bought.f, 2", include_modules=["bought"]) == 6


def test_a_path_can_be_included(user: Path, tmp_path: Path, remote: wren.FunctionExecutor) -> None:
    write(user, {"asks.py": "def f(name): return getattr(__import__('importlib').import_module(name), 'value')"})
    write(tmp_path / "elsewhere", {"given.py": "value = 'here'", "folder/inner.py": "value = 'there'"})
    paths = [user / "asks.py", str(tmp_path / "elsewhere" / "given.py"), tmp_path / "elsewhere" / "folder"]
    assert run(remote, "import asks", "asks.f, 'given'", include_modules=paths) == "here"
    assert run(remote, "import asks", "asks.f, 'folder.inner'", include_modules=paths) == "there"


def test_a_module_that_is_pickled_by_value_needs_not_travel(user: Path, remote: wren.FunctionExecutor) -> None:
    write(user, {"by_value.py": "from by_value_helper import g\ndef f(x): return g(x)", "by_value_helper.py": "def g(x): return x"})
    module = importlib.import_module("by_value")
    cloudpickle.register_pickle_by_value(module)
    try:
        assert run(remote, "import by_value", "by_value.f, 2") == 2
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_a_reducer_has_the_classes_of_the_maps_results(user: Path, remote: wren.FunctionExecutor) -> None:
    write(user, {"points.py": "class P:\n def __init__(self, x): self.x = x\ndef make(x): return P(x)"})
    points = importlib.import_module("points")
    futures = remote.map_reduce(points.make, [1, 2], lambda results: sum(p.x for p in results))
    assert futures[-1].result(PATIENCE) == 3


def test_calls_within_calls_have_the_modules_of_the_outer_one(user: Path, remote: wren.FunctionExecutor) -> None:
    write(
        user,
        {
            "outer.py": "import wren, inner\ndef f(x): return wren.FunctionExecutor().map(inner.g, [x, x + 1])",
            "inner.py": "def g(x): return 10 * x",
        },
    )
    assert run(remote, "import outer", "outer.f, 1") == [10, 20]


def test_an_exception_of_the_users_arrives_as_itself(user: Path, remote: wren.FunctionExecutor) -> None:
    write(user, {"failing.py": "from own_errors import Own\ndef f(x): raise Own(x)", "own_errors.py": "class Own(Exception): ..."})
    failing = importlib.import_module("failing")
    with pytest.raises(failing.Own, match="7"):
        remote.call_async(failing.f, 7).result(PATIENCE)


def test_large_modules_go_by_the_storage_and_once(
    user: Path, remote: wren.FunctionExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a package that is too large for payloads
    noise = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(40_000))
    write(user, {"large/__init__.py": "from pathlib import Path\ndef f(x): return Path(__file__).with_name('d').stat().st_size"})
    write(user, {"large/d": noise})
    storage = remote._engine.storage
    puts: list[str] = []
    put = storage.put
    monkeypatch.setattr(storage, "put", lambda bucket, key, *rest, **more: (puts.append(key), put(bucket, key, *rest, **more)))
    # When two jobs need it
    for _ in range(2):
        assert run(remote, "import large", "large.f, 1") == len(noise)
    # Then it was stored for the first
    assert [key.startswith("wren/modules/") for key in puts] == [True]


# ---- programs: what is in __main__

PROGRAM = """
import json, sys, wren
config = json.loads(sys.argv[1])
executor = wren.FunctionExecutor(config, backend="template", storage_backend="template", workers=2)
"""
END = "\nprint(executor.get_result())\nexecutor.__exit__(None, None, None)\n"


@pytest.fixture
def run_program(template_config: Mapping[str, Any], tmp_path: Path) -> Any:
    import json

    def run(*command: str) -> str:
        folder = tmp_path / "program"
        done = subprocess.run(
            [sys.executable, *command, json.dumps(template_config)],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_script_with_a_module_beside_it_runs(tmp_path: Path, run_program: Any) -> None:
    script = "import helper\nclass C:\n  def __init__(self, x): self.x = x\ndef f(c): return helper.g(c.x)\n"
    write(
        tmp_path / "program",
        {
            "app/main.py": f"{PROGRAM}{script}executor.map(f, [C(1), C(2)]){END}",
            "app/helper.py": "import helper2\ndef g(x): return helper2.k * x",
            "app/helper2.py": "k = 3",
        },
    )
    assert run_program("app/main.py") == "[3, 6]"


def test_a_package_that_is_run_runs(tmp_path: Path, run_program: Any) -> None:
    script = "from . import helper\nfrom .helper import g as h\ndef f(x):\n  from .late import k\n  return helper.g(h(x)) + k\n"
    write(
        tmp_path / "program",
        {
            "app/__init__.py": "",
            "app/__main__.py": f"{PROGRAM}{script}executor.map(f, [1, 2]){END}",
            "app/helper.py": "def g(x): return 2 * x",
            "app/late.py": "k = 1",
        },
    )
    assert run_program("-m", "app") == "[5, 9]"


def test_a_notebook_with_modules_beside_it_runs(tmp_path: Path, run_program: Any) -> None:
    # Given cells, whose code has no file
    cells = ["import helper", "def f(x):\n  from late import k\n  return helper.g(x) + k", "executor.map(f, [1, 2])"]
    kernel = "import sys; sys.path.insert(0, '')\nfor number, cell in enumerate(cells):\n  exec(compile(cell, f'<cell {number}>', 'exec'), globals())\n"
    write(
        tmp_path / "program",
        {
            "kernel.py": f"{PROGRAM}\ncells = {cells!r}\n{kernel}{END}",
            "helper.py": "def g(x): return 2 * x",
            "late.py": "k = 1",
        },
    )
    assert run_program("kernel.py") == "[3, 5]"
