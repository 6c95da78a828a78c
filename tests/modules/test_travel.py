"""What travels beside the shapes of `shapes.txt`: what needs more than a user's files to be seen."""

import importlib
import importlib.util
import py_compile
import shutil
import site
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import cloudpickle
import pytest

import wren
from wren.engine import Engine
from wren.errors import SerializationError, Unsupported
from wren_template.compute import TemplateCompute

Write: TypeAlias = Callable[[Path, Mapping[str, str]], None]
Run: TypeAlias = Callable[..., Any]
PATIENCE: Final = 30.0


def test_a_compiled_module_runs(write: Write, user: Path, run: Run) -> None:
    # Given an extension module, which the standard library has some of
    spec = importlib.util.find_spec("_bisect")
    if spec is None or not spec.has_location or spec.origin is None:
        pytest.skip("the modules of this Python's standard library are no files that could be copied")
    write(
        user, {"compiled/__init__.py": "from ._bisect import bisect_left\ndef f(x): return bisect_left([1, 3, 5], x)"}
    )
    shutil.copy(spec.origin, user / "compiled")
    # When, Then
    assert run("import compiled", "compiled.f, 4") == 2


def test_a_namespace_in_two_places_runs(
    write: Write, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    write(user, {"spread/one.py": "from spread.two import g\ndef f(x): return g(x)"})
    write(tmp_path / "other", {"spread/two.py": "def g(x): return 2 * x"})
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    assert run("import spread.one", "spread.one.f, 2") == 4


def test_a_module_without_source_runs(write: Write, user: Path, run: Run) -> None:
    write(user, {"sourceless.py": "from sourceless_helper import g\ndef f(x): return g(x)"})
    write(user, {"sourceless_helper.py": "def g(x): return -x"})
    py_compile.compile(str(user / "sourceless.py"), str(user / "sourceless.pyc"), doraise=True)
    (user / "sourceless.py").unlink()
    assert run("import sourceless", "sourceless.f, 2") == -2


def test_a_package_with_a_module_without_source_runs(write: Write, user: Path, run: Run) -> None:
    write(user, {"half/__init__.py": "from half.hidden import f", "half/hidden.py": "def f(x): return 2 * x"})
    py_compile.compile(str(user / "half" / "hidden.py"), str(user / "half" / "hidden.pyc"), doraise=True)
    (user / "half" / "hidden.py").unlink()
    assert run("import half", "half.f, 2") == 4


def test_an_editable_install_by_a_path_file_runs(
    write: Write, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    # Given what `pip install -e` leaves in site-packages
    write(
        tmp_path / "project" / "src",
        {"edited/__init__.py": "from edited.inner import f", "edited/inner.py": "def f(x): return x * 7"},
    )
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
    assert run("import edited", "edited.f, 2") == 14


def test_an_editable_install_by_a_finder_runs(
    write: Write, tmp_path: Path, user: Path, monkeypatch: pytest.MonkeyPatch, run: Run
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
    assert run("import mapped.inner", "mapped.inner.f, 2") == 16


def test_what_is_installed_here_travels_when_it_is_included(
    write: Write, user: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    write(
        user / "site-packages",
        {"bought/__init__.py": "def f(x): return x * 3", "bought-2.0.dist-info/RECORD": "bought/__init__.py,,\n"},
    )
    monkeypatch.syspath_prepend(str(user / "site-packages"))
    assert run("import bought", "bought.f, 2", include_modules=["bought"]) == 6


def test_a_path_can_be_included(write: Write, user: Path, tmp_path: Path, run: Run) -> None:
    write(user, {"asks.py": "import importlib\ndef f(name): return importlib.import_module(name).value"})
    write(tmp_path / "elsewhere", {"given.py": "value = 'here'", "folder/inner.py": "value = 'there'"})
    paths = [user / "asks.py", str(tmp_path / "elsewhere" / "given.py"), tmp_path / "elsewhere" / "folder"]
    assert run("import asks", "asks.f, 'given'", include_modules=paths) == "here"
    assert run("import asks", "asks.f, 'folder.inner'", include_modules=paths) == "there"


def test_a_module_that_is_pickled_by_value_needs_not_travel(write: Write, user: Path, run: Run) -> None:
    write(
        user,
        {
            "by_value.py": "from by_value_helper import g\ndef f(x): return g(x)",
            "by_value_helper.py": "def g(x): return x",
        },
    )
    module = importlib.import_module("by_value")
    cloudpickle.register_pickle_by_value(module)
    try:
        assert run("import by_value", "by_value.f, 2") == 2
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_a_reducer_has_the_classes_of_the_maps_results(write: Write, user: Path, remote: wren.FunctionExecutor) -> None:
    write(user, {"points.py": "class P:\n def __init__(self, x): self.x = x\ndef make(x): return P(x)"})
    points = importlib.import_module("points")
    futures = remote.map_reduce(points.make, [1, 2], lambda results: sum(p.x for p in results))
    assert futures[-1].result(PATIENCE) == 3


def test_calls_within_calls_have_the_modules_of_the_outer_one(write: Write, user: Path, run: Run) -> None:
    write(
        user,
        {
            "outer.py": "import wren, inner\ndef f(x): return wren.FunctionExecutor().map(inner.g, [x, x + 1])",
            "inner.py": "def g(x): return 10 * x",
        },
    )
    assert run("import outer", "outer.f, 1") == [10, 20]


def test_an_exception_of_the_users_arrives_as_itself(write: Write, user: Path, remote: wren.FunctionExecutor) -> None:
    write(
        user,
        {
            "failing.py": "from own_errors import Own\ndef f(x): raise Own(x)",
            "own_errors.py": "class Own(Exception): ...",
        },
    )
    failing = importlib.import_module("failing")
    with pytest.raises(failing.Own, match="7"):
        remote.call_async(failing.f, 7).result(PATIENCE)


def test_large_modules_go_by_the_storage_and_once(
    write: Write, user: Path, run: Run, remote: wren.FunctionExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a package that is too large for payloads
    noise = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(40_000))
    code = "from pathlib import Path\ndef f(x): return Path(__file__).with_name('d').stat().st_size"
    write(user, {"large/__init__.py": code, "large/d": noise})
    assert isinstance(remote._engine, Engine)
    storage = remote._engine.storage
    puts: list[str] = []
    put = storage.put

    def noted(bucket: str, key: str, chunks: Iterable[bytes]) -> None:
        puts.append(key)
        put(bucket, key, chunks)

    monkeypatch.setattr(storage, "put", noted)
    # When two jobs need it
    for _ in range(2):
        assert run("import large", "large.f, 1") == len(noise)
    # Then it was stored for the first
    assert [key.startswith("wren/modules/") for key in puts] == [True]


def test_a_module_that_was_changed_is_the_new_one_in_the_next_job(write: Write, user: Path, run: Run) -> None:
    # Given a function that is known by the same name before and after
    for value in ("old", "newer"):
        write(user, {"changes.py": f"def f(x): return '{value}'"})
        assert run("import changes", "changes.f, 1") == value


def test_without_a_storage_that_workers_open_modules_ride_along_as_far_as_they_fit(
    write: Write, user: Path, template_config: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given workers that can open no storage, and a limit of what a call may bring
    noise = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(40_000))
    write(user, {"rides.py": "def f(x): return x", "heavy/__init__.py": "def f(x): return x", "heavy/data": noise})
    monkeypatch.setattr(TemplateCompute, "limits", TemplateCompute.limits._replace(payload=150_000))
    with wren.FunctionExecutor(template_config, backend="template", storage_backend="memory") as executor:
        # Then what is small comes with each call, and what is not is an error
        assert executor.call_async(importlib.import_module("rides").f, 1).result(PATIENCE) == 1
        with pytest.raises(SerializationError, match="of function and modules, more than the payload of 150000 bytes"):
            executor.call_async(importlib.import_module("heavy").f, 1)


def test_a_worker_cannot_explain(write: Write, user: Path, run: Run) -> None:
    write(user, {"explains.py": "import wren\ndef f(x): return wren.FunctionExecutor().explain(f)"})
    with pytest.raises(Unsupported, match=r"call explain\(\) where its client runs"):
        run("import explains", "explains.f, 1")
