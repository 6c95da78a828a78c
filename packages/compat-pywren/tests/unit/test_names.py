"""The names and spellings of pywren-ibm-cloud 1.4 to 1.7, and what is said of those without a counterpart."""

import inspect
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any

import pytest

import pywren_ibm_cloud as pywren
import wren
from pywren_ibm_cloud.future import ResponseFuture
from pywren_ibm_cloud.storage import InternalStorage, Storage
from pywren_ibm_cloud.storage.utils import CloudObject, CloudObjectUrl, StorageNoSuchKeyError
from pywren_ibm_cloud.wait import ALL_COMPLETED, ALWAYS, ANY_COMPLETED
from wren.errors import BindingError, NoSuchKey, PluginNotFound, Unsupported

FACTORIES = [
    "docker_executor",
    "function_executor",
    "ibm_cf_executor",
    "knative_executor",
    "local_executor",
    "openwhisk_executor",
]


@pytest.mark.parametrize("name", FACTORIES)
def test_each_factory_has_the_signature_of_wrens(name: str) -> None:
    assert inspect.signature(getattr(pywren, name)) == inspect.signature(getattr(wren, name))


@pytest.mark.parametrize("name", pywren.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert name in dir(pywren)
    assert getattr(pywren, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pywren_ibm_cloud' has no attribute 'no_executor'"):
        _ = pywren.no_executor


def test_its_version_is_the_distributions() -> None:
    assert pywren.__version__ == pywren.version.__version__ == version("wren-compat-pywren")


def test_the_constants_of_wait_are_wrens() -> None:
    assert (ALL_COMPLETED, ANY_COMPLETED, ALWAYS) == (wren.ALL_COMPLETED, wren.ANY_COMPLETED, wren.ALWAYS)


def test_other_names_of_old_are_wrens() -> None:
    assert ResponseFuture is wren.Future
    assert StorageNoSuchKeyError is NoSuchKey


# ---- executors


def test_executors_are_wrens_with_the_spellings_of_old() -> None:
    with pywren.local_executor() as executor:
        assert isinstance(executor, wren.FunctionExecutor)
        assert isinstance(executor, pywren.FunctionExecutor)


@pytest.mark.parametrize("when", [1, 2, 3, "ALL_COMPLETED", ALL_COMPLETED])
def test_wait_takes_the_integers_of_old_and_wrens_names(when: str | int) -> None:
    with pywren.local_executor() as executor:
        assert executor.wait(fs=[], return_when=when) == ([], [])


@pytest.mark.parametrize("when", [0, 4, "FIRST_COMPLETED"])
def test_another_return_when_is_an_error(when: str | int) -> None:
    with pywren.local_executor() as executor, pytest.raises(BindingError, match=r"^return_when is .*ALL_COMPLETED"):
        executor.wait(fs=[], return_when=when)


def test_function_executor_has_the_parameters_of_old() -> None:
    with pywren.FunctionExecutor(compute_backend="localhost", storage_backend="memory", workers=1) as executor:
        assert executor.wait(fs=[]) == ([], [])
    with pytest.raises(PluginNotFound, match="no compute backend 'nowhere'"):
        pywren.FunctionExecutor({"pywren": {"compute_backend": "nowhere"}})


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("ibm_cf_executor", "wren-backend-ibmcf"),
        ("knative_executor", "wren-backend-knative"),
        ("openwhisk_executor", "wren-backend-openwhisk"),
        ("docker_executor", "wren-backend-docker"),
        ("function_executor", "wren-backend-ibmcf"),
    ],
)
def test_a_backend_that_is_not_installed_says_what_to_install(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given only what wren-core has
    def of_core(group: str, name: str | None = None) -> list[EntryPoint]:
        found = entry_points(group=group) if name is None else entry_points(group=group, name=name)
        return [point for point in found if point.value.startswith("wren.")]

    monkeypatch.setattr("importlib.metadata.entry_points", of_core)
    # Then
    with pytest.raises(PluginNotFound, match=f"pip install {package}"):
        getattr(pywren, name)()


def test_factories_read_the_configuration_of_old(home: Path) -> None:
    (home / ".pywren_config").write_text("pywren: {compute_backend: elsewhere}\n")
    with pytest.raises(PluginNotFound, match="no compute backend 'elsewhere'"):
        pywren.function_executor()


def test_an_argument_of_a_factory_goes_before_the_configuration_of_old(home: Path) -> None:
    (home / ".pywren_config").write_text("pywren: {compute_backend: elsewhere, storage_backend: elsewhere}\n")
    with pywren.function_executor(backend="localhost", storage_backend="localhost") as executor:
        assert executor.wait(fs=[]) == ([], [])


@pytest.mark.parametrize("pass_config", [lambda make, it: make(it), lambda make, it: make(config=it)])
def test_factories_take_config_by_position_and_by_name(pass_config: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(PluginNotFound, match="no storage 'elsewhere'"):
        pass_config(pywren.local_executor, {"pywren": {"storage_backend": "elsewhere"}})


def test_a_parameter_that_a_factory_does_not_have_is_an_error_with_its_name() -> None:
    make: Any = pywren.local_executor
    with pytest.raises(TypeError, match=r"^local_executor\(\) got an unexpected keyword argument 'wokers'$"):
        make(wokers=2)


# ---- without a counterpart


@pytest.mark.parametrize("name", ["region", "storage_backend_region"])
def test_a_region_is_unsupported_and_says_what_to_use(name: str) -> None:
    make: Any = pywren.local_executor
    with pytest.raises(Unsupported, match=f"^{name} does not exist in wren: name the region's endpoint"):
        make(**{name: "us-east"})


def test_a_region_of_none_is_no_region() -> None:
    make: Any = pywren.local_executor
    with make(storage_backend_region=None) as executor:
        assert executor.wait(fs=[]) == ([], [])


def test_the_regions_of_a_function_executor_are_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"^compute_backend_region does not exist in wren"):
        pywren.FunctionExecutor(compute_backend_region="us-east")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InternalStorage({}), "^InternalStorage objects do not exist in wren: use Storage"),
        (lambda: CloudObjectUrl("https://x"), "^CloudObjectUrls do not exist .* the URL itself"),
    ],
)
def test_storage_objects_are_unsupported_when_used_and_say_what_to_use(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        make()


def test_a_storage_is_wrens_and_takes_a_configuration_of_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_LOCALHOST__PATH", str(tmp_path))
    config = {"pywren": {"storage_backend": "localhost", "storage_bucket": "mine"}}
    with Storage(config) as storage:
        assert isinstance(storage, wren.Storage)
        made = storage.put_cobject(b"content")
        assert made == CloudObject("localhost", "mine", made.key)
        assert storage.get_cobject(made) == b"content"
    with Storage(config, "memory", "an executor's") as other:
        assert other.backend == "memory"
    assert CloudObject is wren.CloudObject


# ---- plots


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"fs": "some/where"}, ("some", "where", None)),
        ({"dst": Path("some/where")}, ("some", "where", None)),
        ({"fs": [], "dst": "where"}, (".", "where", [])),
        ({"dst": "~/where"}, ("{home}", "where", None)),
    ],
)
def test_plot_names_its_files_by_dst(
    arguments: dict[str, Any], expected: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    # Given
    drawn: list[tuple[str, str, Any]] = []

    def draw(self: object, dst_dir: str, dst_name: str, fs: Any = None) -> None:
        drawn.append((dst_dir, dst_name, fs))

    monkeypatch.setattr(wren.FunctionExecutor, "create_execution_plots", draw, raising=False)
    # When
    with pywren.local_executor() as executor:
        executor.plot(**arguments)
    # Then
    folder, name, fs = expected
    assert drawn == [(folder.format(home=home), name, fs)]


def test_plot_without_a_place_draws_into_a_folder_of_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    drawn: list[tuple[str, str]] = []

    def draw(self: object, dst_dir: str, dst_name: str, fs: Any = None) -> None:
        drawn.append((dst_dir, dst_name))

    monkeypatch.setattr(wren.FunctionExecutor, "create_execution_plots", draw, raising=False)
    monkeypatch.setattr("time.time", lambda: 1234.5)
    # When
    with pywren.local_executor() as executor:
        executor.plot()
    # Then
    assert drawn == [("plots", "1234")]
