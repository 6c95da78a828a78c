"""Plugins of strangers: distributions on sys.path, found by their entry points and loaded one at a time."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wren.errors import PluginConflict, PluginError, PluginNotFound
from wren.plugins import PluginInfo, installed, load_compute, load_monitor, load_storage, shadowed

# A module that is a plugin: a storage with as little in it as can be.
STORAGE = """
import pluggy
from wren.spi import Storage

hookimpl = pluggy.HookimplMarker("wren")

class Shelf(Storage):
    name = "shelf"

@hookimpl
def wren_storage():
    return Shelf
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution into a folder of its own on sys.path: entry points, and modules by name."""

    def put(distribution: str, points: str, **sources: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        for module, source in sources.items():
            (folder / f"{module}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)

    yield put
    for name, module in list(sys.modules.items()):  # the next test has other modules of these names
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


# ---------------------------------------------------------------- found


def test_a_strangers_plugin_is_found_by_its_entry_points_name(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    found = load_storage("shelf")
    assert (found.__qualname__, found.__module__) == ("Shelf", "wren_shelf")


def test_an_entry_point_may_name_an_object_of_a_module(install: Install) -> None:
    source = STORAGE.replace("@hookimpl\ndef wren_storage():\n    return Shelf", "") + (
        "class Plugin:\n    @staticmethod\n    @hookimpl\n    def wren_storage():\n        return Shelf\n"
    )
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf:Plugin\n", wren_shelf=source)
    assert load_storage("shelf").name == "shelf"


def test_only_the_plugin_asked_for_is_loaded(install: Install) -> None:
    # Given a plugin between two that cannot even be imported, of the same kind and of another
    install("wren-broken", "[wren.storage]\nbroken = wren_broken\n", wren_broken="import missing_sdk")
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    install("wren-failing", "[wren.compute]\nshelf = wren_failing\n", wren_failing="raise RuntimeError")
    # When it is loaded, then they do not matter and are not touched
    assert load_storage("shelf").name == "shelf"
    assert "wren_broken" not in sys.modules
    assert "wren_failing" not in sys.modules


def test_listing_what_is_installed_imports_nothing(install: Install) -> None:
    install("wren-broken", "[wren.storage]\nbroken = wren_broken\n", wren_broken="import missing_sdk")
    assert PluginInfo("storage", "broken", "wren_broken", "wren-broken", "1.0") in installed("storage")
    assert "wren_broken" not in sys.modules


def test_what_is_installed_is_listed_by_name(install: Install) -> None:
    install("wren-z", "[wren.monitor]\nalpha = wren_z\n")
    install("wren-a", "[wren.monitor]\nomega = wren_a\nalpha = wren_a\n")
    listed = [(info.name, info.distribution) for info in installed("monitor") if info.distribution != "wren-core"]
    assert listed == [("alpha", "wren-a"), ("alpha", "wren-z"), ("omega", "wren-a")]


def test_kinds_do_not_share_their_names(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    with pytest.raises(PluginNotFound, match=r"^no compute backend 'shelf'"):
        load_compute("shelf")


def test_a_distribution_found_twice_is_no_conflict(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    monkeypatch.syspath_prepend(f"{tmp_path}/./wren-shelf")
    assert load_storage("shelf").name == "shelf"


# ---------------------------------------------------------------- not found


def test_a_missing_package_of_wrens_is_named() -> None:
    with pytest.raises(PluginNotFound) as caught:
        load_compute("knative")
    said = "no compute backend 'knative'; pip install wren-backend-knative (installed: "
    assert str(caught.value).startswith(said)
    assert "localhost" in str(caught.value).removeprefix(said)


@pytest.mark.parametrize(
    ("load", "name", "package"),
    [
        (load_compute, "docker", "wren-backend-docker"),
        (load_compute, "openwhisk", "wren-backend-openwhisk"),
        (load_compute, "ibm_cf", "wren-backend-ibmcf"),
        (load_storage, "ibm_cos", "wren-storage-cos"),
        (load_monitor, "rabbitmq", "wren-monitor-rabbitmq"),
    ],
)
def test_what_to_install_is_known_for_each_of_wrens_packages(
    load: Callable[[str], object], name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an environment in which nothing is installed
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(PluginNotFound, match=rf"'{name}'; pip install {package} \(installed: none\)$"):
        load(name)


def test_a_name_that_nobody_knows_is_answered_with_the_installed_ones(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    with pytest.raises(PluginNotFound, match=r"^no storage 'cupboard'; is its package installed.*\(.*shelf.*\)$"):
        load_storage("cupboard")


def test_a_misspelt_name_is_answered_with_the_nearest(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    with pytest.raises(PluginNotFound, match=r"^no storage 'shlef'; did you mean 'shelf'\?"):
        load_storage("shlef")


# ---------------------------------------------------------------- in conflict


def test_two_distributions_of_one_name_are_a_conflict_that_names_both(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    install("other-shelf", "[wren.storage]\nshelf = other_shelf\n", other_shelf=STORAGE)
    with pytest.raises(PluginConflict, match=r"other-shelf.* and .*wren-shelf.* a storage 'shelf': uninstall"):
        load_storage("shelf")


def test_two_distributions_of_one_name_and_one_module_are_a_conflict_too(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    install("wren-shelf-fork", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=STORAGE)
    with pytest.raises(PluginConflict, match=r"wren-shelf .* and wren-shelf-fork "):
        load_storage("shelf")


def test_a_conflict_is_found_without_importing_either(install: Install) -> None:
    install("wren-one", "[wren.storage]\nshelf = wren_one\n", wren_one="import missing_sdk")
    install("wren-two", "[wren.storage]\nshelf = wren_two\n", wren_two="import missing_sdk")
    with pytest.raises(PluginConflict, match=r"wren-one.*wren-two"):
        load_storage("shelf")


def test_a_stranger_cannot_take_the_name_of_a_plugin_of_cores(install: Install) -> None:
    # Given a distribution that offers a name which wren-core has
    install("wren-mine", "[wren.storage]\nmemory = wren_mine\n", wren_mine=STORAGE)
    # When the name is asked for, then it is wren-core's, and the other one is only listed
    assert load_storage("memory").__module__ == "wren.local.memory"
    assert "wren_mine" not in sys.modules
    listed = {info.distribution: shadowed(info) for info in installed("storage") if info.name == "memory"}
    assert listed == {"wren-core": False, "wren-mine": True}


def test_a_name_of_cores_is_free_for_another_kind(install: Install) -> None:
    source = STORAGE.replace('"shelf"', '"storage"')
    install("wren-shelf", "[wren.storage]\nstorage = wren_shelf\n", wren_shelf=source)
    assert load_storage("storage").__module__ == "wren_shelf"
    assert not any(shadowed(info) for info in installed("storage"))


# ---------------------------------------------------------------- found, and wrong

NAMELESS = STORAGE.replace('name = "shelf"', "pass")
NO_HOOK = STORAGE.replace("@hookimpl\n", "")
OTHER_KIND = STORAGE.replace("def wren_storage", "def wren_compute")
UNKNOWN_HOOK = STORAGE.replace("def wren_storage", "def wren_storages")
ARGUMENTS = STORAGE.replace("def wren_storage()", "def wren_storage(options)")
TWO = (
    STORAGE
    + """
@hookimpl(specname="wren_storage")
def another():
    return Shelf
"""
)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param("import missing_sdk", "ModuleNotFoundError: No module named 'missing_sdk'", id="import"),
        pytest.param("raise RuntimeError('bad day')", "RuntimeError: bad day", id="raises"),
        pytest.param("def", "SyntaxError", id="syntax"),
        pytest.param(STORAGE.replace("return Shelf", "1 / 0"), "ZeroDivisionError", id="hook-raises"),
        pytest.param(NO_HOOK, "must implement the hook wren_storage once; wren_shelf does so 0 times", id="no-hook"),
        pytest.param(OTHER_KIND, "wren_shelf does so 0 times", id="other-kind"),
        pytest.param(UNKNOWN_HOOK, "unknown hook 'wren_storages'", id="unknown-hook"),
        pytest.param(ARGUMENTS, "options", id="hook-with-arguments"),
        pytest.param(TWO, "wren_shelf does so 2 times", id="two-classes"),
        pytest.param(STORAGE.replace("return Shelf", "return None"), "does so 0 times", id="none"),
        pytest.param(
            STORAGE.replace("return Shelf", "return 5"), "a subclass of wren.spi.Storage, not 5", id="no-class"
        ),
        pytest.param(
            STORAGE.replace("return Shelf", "return dict"),
            "must give a subclass of wren.spi.Storage, not <c",
            id="class",
        ),
        pytest.param(STORAGE.replace('"shelf"', '"board"'), "gives Shelf, whose name is 'board'", id="name"),
        pytest.param(NAMELESS, "Shelf", id="nameless"),
    ],
)
def test_a_plugin_that_is_wrong_is_an_error_that_names_its_distribution(
    install: Install, source: str, said: str
) -> None:
    # Given a distribution whose plugin is not what it should be
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf\n", wren_shelf=source)
    # When it is loaded
    with pytest.raises(PluginError) as caught:
        load_storage("shelf")
    # Then the error is no riddle
    assert str(caught.value).startswith("the storage 'shelf' of wren-shelf ")
    assert said in str(caught.value)
    assert type(caught.value) is PluginError


def test_an_entry_point_whose_module_is_missing_is_an_error_that_names_its_distribution(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_nowhere\n")
    with pytest.raises(PluginError, match=r"^the storage 'shelf' of wren-shelf cannot be loaded.*wren_nowhere"):
        load_storage("shelf")


def test_an_entry_point_whose_object_is_missing_is_an_error_that_names_its_distribution(install: Install) -> None:
    install("wren-shelf", "[wren.storage]\nshelf = wren_shelf:Nothing\n", wren_shelf=STORAGE)
    with pytest.raises(PluginError, match=r"^the storage 'shelf' of wren-shelf cannot be loaded.*Nothing"):
        load_storage("shelf")


def test_a_plugin_of_another_kind_is_an_error_that_names_its_distribution(install: Install) -> None:
    source = STORAGE.replace("def wren_storage", "def wren_monitor")
    install("wren-shelf", "[wren.monitor]\nshelf = wren_shelf\n", wren_shelf=source)
    with pytest.raises(PluginError, match=r"^the monitor 'shelf' of wren-shelf must give a subclass of.*Monitor"):
        load_monitor("shelf")
