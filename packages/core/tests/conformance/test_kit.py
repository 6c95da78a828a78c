"""The frame of the conformance kit: its guard, the way out with a reason, and what its checks stand on."""

import importlib
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import wren.testing
from wren import plugins
from wren.local.memory import MemoryStorage
from wren.testing import MonitorConformance, StorageConformance, configs, plugged
from wren.testing.conformance import Conformance
from wren.testing.interpreters import as_worker, fresh
from wren.testing.threads import Running, at_once, wait_for
from wren.wire import Handle

TEST = "test_a_range_is_a_slice"


def subclass(attributes: Mapping[str, object], *bases: type[Any]) -> type[Any]:
    return type("TestShelf", bases or (StorageConformance,), {"plugin": MemoryStorage, **attributes})


# ---------------------------------------------------------------- the guard


class Shadow:
    """A mixin that has what the kit has."""

    def test_a_range_is_a_slice(self) -> None:
        pass


def nothing(self: Any) -> None:
    pass


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: subclass({TEST: nothing}), id="overridden"),
        pytest.param(lambda: subclass({TEST: None}), id="removed"),
        pytest.param(lambda: subclass({TEST: staticmethod(nothing)}), id="of-another-kind"),
        pytest.param(lambda: subclass({}, Shadow, StorageConformance), id="shadowed"),
        pytest.param(lambda: subclass({TEST: nothing}, subclass({})), id="overridden-below"),
        pytest.param(lambda: subclass({}, Shadow, subclass({})), id="shadowed-below"),
        pytest.param(lambda: subclass({TEST: nothing, "xfails": {TEST: "a reason"}}), id="with-a-reason-too"),
    ],
)
def test_a_test_of_the_kit_cannot_be_overridden_or_removed(make: Callable[[], type[Any]]) -> None:
    with pytest.raises(TypeError, match=rf"^TestShelf has a {TEST} of its own .*: rename or remove it, or .* xfails$"):
        make()


def test_the_tests_that_all_kinds_share_are_guarded_too() -> None:
    with pytest.raises(TypeError, match="test_nothing_shows_a_secret"):
        subclass({"test_nothing_shows_a_secret": None}, MonitorConformance)


def test_fixtures_helpers_and_tests_of_ones_own_are_the_authors() -> None:
    base = subclass({"raw_put": nothing, "options": pytest.fixture(nothing)})
    assert subclass({"test_mine": nothing, "bucket": pytest.fixture(nothing)}, base).test_mine is nothing


@pytest.mark.parametrize(
    ("xfails", "said"),
    [
        ({"test_a_rang": "a reason"}, r"^xfails of TestShelf names 'test_a_rang', which is no test: correct the name$"),
        ({"raw_put": "a reason"}, r"names 'raw_put', which is no test"),
        ({TEST: ""}, rf"^xfails of TestShelf has no reason for {TEST}: say why it must fail$"),
        ({TEST: " \n"}, r"has no reason"),
    ],
)
def test_a_way_out_needs_a_test_and_a_reason(xfails: Mapping[str, str], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        subclass({"xfails": xfails})


class Unwritten(StorageConformance):
    """Not collected here, but by a pytest of its own, below: an author has written next to nothing."""

    plugin = MemoryStorage
    xfails: ClassVar[Mapping[str, str]] = {
        "test_what_was_put_is_there": "there is no raw_get",  # holds
        "test_a_large_object_is_streamed": "it is in memory",  # holds
        "test_a_key_may_be_another_ones_folder": "it may not",  # does not hold
        "test_a_put_whose_source_fails_changes_nothing_and_raises_its_error": "there is no raw_get",  # for each case
    }


def test_what_must_fail_is_a_failure_when_it_does_not(request: pytest.FixtureRequest) -> None:
    # When a pytest of its own runs an author's class
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "python_classes=Unwritten", "-v", "-ra"]
    done = subprocess.run(
        [*command, f"{__file__}::Unwritten"],
        cwd=request.config.rootpath,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Then what was to fail with a reason did, each of its cases, and what did not hold is a failure
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("XFAIL") and "no raw_get" in line]) == 4, done.stdout
    assert [line for line in lines if "test_a_key_may_be_another_ones_folder FAILED" in line]
    assert "[XPASS(strict)] it may not" in done.stdout
    # And what the author did not write is asked for
    assert "write Unwritten.raw_put(bucket, key, data), without the plugin" in done.stdout


def test_the_kit_has_that_many_checks() -> None:
    def tests(kind: type[Conformance]) -> set[str]:
        return {name for name in dir(kind) if name.startswith("test")}

    assert len(tests(Conformance)) >= 10
    assert len(tests(StorageConformance) - tests(Conformance)) >= 25
    assert len(tests(MonitorConformance) - tests(Conformance)) >= 15


# ---------------------------------------------------------------- what it is imported with


@pytest.mark.parametrize("module", ["wren.testing", "wren.testing.sockets", "wren.testing.distributions"])
def test_what_is_no_test_needs_no_pytest(module: str) -> None:
    imported = fresh(f"import sys, {module}; print(*sys.modules)").split()
    assert {"pytest", "hypothesis", "_pytest"} & set(imported) == set()


def test_the_kit_is_imported_when_it_is_used() -> None:
    assert "StorageConformance" in dir(wren.testing)
    program = "import sys, wren.testing as t; print(t.StorageConformance.__name__, 'hypothesis' in sys.modules)"
    assert fresh(program).split() == ["StorageConformance", "True"]
    with pytest.raises(AttributeError, match=r"^module 'wren.testing' has no attribute 'Storage'$"):
        wren.testing.Storage  # noqa: B018 - the access is what is tested


def test_a_failed_check_shows_what_it_compared() -> None:
    assert StorageConformance.test_a_large_object_is_streamed.__code__.co_names.count("@pytest_ar") == 1


# ---------------------------------------------------------------- installed for a test


def test_a_plugged_plugin_is_installed_for_as_long_as_the_context_lasts(tmp_path: Path) -> None:
    before = list(sys.path)
    with plugged(tmp_path / "a", {"wren.storage": {"shelf": "shelf_a"}, "wren.monitor": {"shelf": "shelf_m"}}) as a:
        (a / "shelf_a.py").write_text("from wren.local.memory import MemoryStorage, wren_storage\n")
        with plugged(tmp_path / "b", {"wren.storage": {"board": "board"}}, distribution="wren-board"):
            found = {info.name: info.distribution for info in plugins.installed("storage")}
            assert (found["shelf"], found["board"]) == ("plugged-shelf", "wren-board")
        assert "shelf" in {info.name for info in plugins.installed("monitor")}
        assert importlib.import_module("shelf_a").MemoryStorage is MemoryStorage
    assert {"shelf", "board"} & {info.name for info in plugins.installed("storage")} == set()
    assert "shelf_a" not in sys.modules
    assert sys.path == before


def test_a_plugged_plugin_is_found_by_subprocesses_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = (
        "from importlib.metadata import entry_points; print(len(entry_points(group='wren.storage', name='shelf')))"
    )
    for subprocesses in (False, True):
        with plugged(tmp_path / "a", {"wren.storage": {"shelf": "shelf"}}, subprocesses=subprocesses):
            found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert found.strip() == str(int(subprocesses))
    assert os.environ["PYTHONPATH"] == str(tmp_path)


# ---------------------------------------------------------------- what its checks stand on


def test_options_are_written_as_a_file_has_them() -> None:
    options = {
        "text": 'é "quoted" \\ \n \x7f \U0001f426',
        "yes": True,
        "number": -3,
        "ratio": 1e-9,
        "many": ["a", 1, [2.5]],
        "table": {"a b": {"c": False}},
    }
    assert tomllib.loads(configs.toml("shelf", {**options, "none": None})) == {"shelf": options}
    with pytest.raises(TypeError, match=r"^options has a Path|^options has a PosixPath"):
        configs.toml("shelf", {"path": Path()})


def test_where_a_worker_would_run_there_is_nothing_but_wren(tmp_path: Path) -> None:
    # Given the worker's half of a storage that imports what no worker has
    with plugged(tmp_path / "site", {}) as site:
        (site / "half.py").write_text("import pluggy\n\n\ndef Half():\n    pass\n")
        # Then it cannot be opened there
        with pytest.raises(AssertionError, match="No module named 'pluggy'"):
            as_worker(tmp_path / "worker", "use_storage", Handle("half:Half"), [], {}, ())
        # But where the runtime is said to have it
        assert as_worker(tmp_path / "worker", "use_storage", Handle("half:Half"), [], {}, ["pluggy"]) == []


def test_what_hangs_is_a_failure_that_says_what_it_was() -> None:
    over = threading.Event()
    running = Running(over.wait)
    with pytest.raises(AssertionError, match=r"^a long wait has not ended after 0\.05 s"):
        running.result("a long wait", 0.05)
    over.set()
    assert running.result("a long wait") is True
    with pytest.raises(AssertionError, match=r"^the moon is blue: not so after 0\.05 s"):
        wait_for(lambda: False, "the moon is blue", 0.05)


def test_what_fails_at_once_with_others_is_raised() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    assert at_once("counting", lambda: 1, lambda: 2) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        at_once("dividing", lambda: 1, fail)
