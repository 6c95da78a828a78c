"""What becomes of PyWren's options, and which configuration wins."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from pywren_ibm_cloud.options import BUCKETS, STORAGE, TABLE, Gone, Key, Left, configuration, convert
from pywren_ibm_cloud.sources import Sections
from wren.config import Config, WrenOptions
from wren.errors import ConfigError

SECRET = "hunter2"
NO_OPTION = "wren has no such option yet"


def converted(old: dict[str, dict[str, Any]]) -> Any:
    return convert(old, "file").sections


# ---- the table


@pytest.mark.parametrize(
    "key", [key for keys in TABLE.values() for key in keys.values() if isinstance(key, Key) and key.section == "wren"]
)
def test_each_key_of_section_wren_is_one_that_wren_has(key: Key) -> None:
    assert key.key in {field.name for field in dataclasses.fields(WrenOptions)}


def test_every_key_that_is_gone_says_what_to_do_instead() -> None:
    gone = [key for keys in TABLE.values() for key in keys.values() if isinstance(key, Gone)]
    assert all(key.instead and not key.instead.endswith(".") for key in gone)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("compute_backend", "knative", {"wren": {"backend": "knative"}}),
        ("storage_backend", "localhost", {"wren": {"storage": "localhost"}}),
        ("workers", 100, {"wren": {"workers": 100}}),
        ("workers", "100", {"wren": {"workers": 100}}),
        ("runtime", "me/image:1", {"wren": {"runtime": "me/image:1"}}),
        ("runtime", 3.11, {"wren": {"runtime": "3.11"}}),
        ("runtime_memory", 512, {"wren": {"runtime_memory": 512}}),
        ("rabbitmq_monitor", True, {"wren": {"monitor": "rabbitmq"}}),
        ("rabbitmq_monitor", False, {}),
        ("log_level", "DEBUG", {"wren": {"log_level": "DEBUG"}}),
        ("workers", None, {}),
    ],
)
def test_a_key_of_section_pywren_becomes_wrens(key: str, value: object, expected: object) -> None:
    assert converted({"pywren": {key: value}}) == expected


def test_the_bucket_goes_to_the_section_of_the_storage() -> None:
    old = {"pywren": {"storage_backend": "localhost", "storage_bucket": "mine"}}
    assert converted(old) == {"wren": {"storage": "localhost"}, "localhost": {"bucket": "mine"}}


@pytest.mark.parametrize("named", [{}, {"storage_backend": "ibm_cos"}])
def test_the_storage_is_ibms_where_none_is_named(named: dict[str, Any]) -> None:
    old = {"pywren": {**named, "storage_bucket": "mine"}, "ibm_cos": {"endpoint": "https://x", "api_key": SECRET}}
    assert converted(old)["ibm_cos"] == {"bucket": "mine", "endpoint": "https://x", "api_key": SECRET}


def test_the_bucket_of_a_storage_that_is_not_there_yet_is_left() -> None:
    result = convert({"pywren": {"storage_backend": "swift", "storage_bucket": "mine"}}, "file")
    assert "mine" not in str(result.sections)
    assert result.left == (Left("pywren", "storage_bucket", "nothing is known of the options of the storage 'swift'"),)


def test_all_that_ibms_storage_had_is_wrens() -> None:
    """And is what the plugin takes, where it is installed."""
    names = ["endpoint", "private_endpoint", "api_key", "access_key", "secret_key", "ibm_auth_endpoint"]
    old = {"ibm_cos": {name: f"https://{name}" for name in names}}
    assert converted(old) == old


def test_the_workers_of_localhost_are_kept_apart_from_those_of_all() -> None:
    old = {"pywren": {"workers": 100}, "localhost": {"workers": 2}}
    assert converted(old) == {"wren": {"workers": 100}, "localhost": {"workers": 2}}


def test_sections_and_keys_that_are_not_in_the_table_are_left_by_name() -> None:
    # Given
    old: Sections = {
        "pywren": {"include_modules": ["mine"], "colour": "red"},
        "ibm_cf": {"endpoint": "https://x", "api_key": SECRET},
    }
    # When
    result = convert(old, "file")
    # Then
    assert result.sections == {}
    assert result.left == (
        Left("pywren", "include_modules", "give it to call_async, map and map_reduce"),
        Left("pywren", "colour", NO_OPTION),
        Left("ibm_cf", "endpoint", NO_OPTION),
        Left("ibm_cf", "api_key", NO_OPTION),
    )
    assert SECRET not in repr(result)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("workers", SECRET, "workers in section [pywren] of file must be int, which this str is not"),
        ("workers", True, "workers in section [pywren] of file must be int, which this bool is not"),
        ("rabbitmq_monitor", 1, "rabbitmq_monitor in section [pywren] of file must be bool, which this int is not"),
        (
            "compute_backend",
            [SECRET],
            "compute_backend in section [pywren] of file must be str, which this list is not",
        ),
        ("runtime", [SECRET], "runtime in section [pywren] of file must be str, which this list is not"),
    ],
)
def test_a_wrong_type_is_an_error_that_names_key_section_and_file(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        convert({"pywren": {key: value, "runtime_memory": 256}}, "file")
    assert str(caught.value) == message


CONTAINERS: Sections = {"pywren": {"runtime": "me/image:1", "runtime_memory": 512, "workers": 3}}


@pytest.mark.parametrize(
    ("old", "backend"),
    [
        (CONTAINERS, "localhost"),
        ({"pywren": {**CONTAINERS["pywren"], "compute_backend": "localhost"}}, None),
        ({"pywren": {**CONTAINERS["pywren"], "compute_backend": "knative"}}, "localhost"),
    ],
)
def test_image_and_memory_of_containers_are_not_for_localhost(old: Sections, backend: str | None) -> None:
    """As in pywren-ibm-cloud, whose localhost backend replaces both."""
    result = convert(old, "file", backend)
    assert {"runtime", "runtime_memory"}.isdisjoint(result.sections["wren"])
    assert result.left == (
        Left("pywren", "runtime", "it is not for calls on localhost"),
        Left("pywren", "runtime_memory", "it is not for calls on localhost"),
    )


def test_conversion_changes_nothing_of_what_it_is_given() -> None:
    old: Sections = {
        "pywren": {"workers": 3, "storage_backend": "localhost", "storage_bucket": "b"},
        "localhost": {"workers": 1},
    }
    before = {section: dict(keys) for section, keys in old.items()}
    convert(old, "file")
    assert old == before


# ---- which one wins


@pytest.fixture
def old_file(home: Path) -> Path:
    path = home / ".pywren_config"
    path.write_text("pywren: {workers: 3, runtime: old}\nibm_cf: {api_key: hunter2}\n")
    return path


def loaded(given: dict[str, Any] | None) -> WrenOptions:
    return Config.load(configuration(given)).wren


def test_without_anything_of_old_the_argument_is_passed_as_it_is() -> None:
    given = {"wren": {"workers": 5}}
    assert configuration(None) is None
    assert configuration(given) is given


def test_the_old_file_goes_before_wrens_own_configuration(old_file: Path) -> None:
    Path(".wren.toml").write_text("[wren]\nworkers = 9\nretries = 1\n")
    assert (loaded(None).workers, loaded(None).runtime, loaded(None).retries) == (3, "old", 1)


def test_the_old_file_goes_before_wrens_variables(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_WREN__WORKERS", "9")
    assert loaded(None).workers == 3


@pytest.mark.parametrize("section", ["pywren", "wren"])
def test_an_argument_of_either_style_goes_before_the_old_file_key_by_key(section: str, old_file: Path) -> None:
    options = loaded({section: {"workers": 5}})
    assert (options.workers, options.runtime) == (5, "old")


@pytest.mark.parametrize("section", ["pywren", "wren"])
def test_an_argument_of_either_style_works_without_a_file(section: str) -> None:
    assert loaded({section: {"workers": 5}}).workers == 5


@pytest.mark.parametrize(
    ("given", "backend"),
    [
        (None, "localhost"),
        ({"pywren": {"compute_backend": "localhost"}}, None),
        ({"wren": {"backend": "localhost"}}, None),
        ({"pywren": {"compute_backend": "knative"}}, "localhost"),
    ],
)
def test_the_image_of_the_old_file_is_not_for_an_executor_on_localhost(
    given: dict[str, Any] | None, backend: str | None, old_file: Path
) -> None:
    options = Config.load(configuration(given, backend)).wren
    assert (options.workers, options.runtime) == (3, None)


def test_an_argument_without_those_sections_is_wrens(old_file: Path) -> None:
    assert configuration({"localhost": {"path": "x"}}) == {
        "wren": {"workers": 3, "runtime": "old"},
        "localhost": {"path": "x"},
    }


def test_an_argument_of_both_styles_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^the argument config has sections \[pywren\] and \[wren\]: give one"):
        configuration({"pywren": {}, "wren": {}})


def test_a_wrong_argument_of_the_old_style_is_an_error_without_its_values() -> None:
    with pytest.raises(ConfigError, match=r"^ibm_cf in the argument config is a str: give a section") as caught:
        configuration({"pywren": {}, "ibm_cf": SECRET})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("wrong", [["wren"], "wren"])
def test_an_argument_that_is_no_mapping_is_wrens_to_refuse(wrong: Any, old_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^config is of type (list|str): give a mapping of sections$"):
        loaded(wrong)


def test_what_is_not_used_is_logged_by_name(old_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="wren"):
        configuration()
    assert caplog.messages == [f"api_key in section [ibm_cf] of {old_file} is not used: {NO_OPTION}"]
    assert SECRET not in caplog.text


def test_no_section_of_wren_is_named_as_the_placeholder_of_the_storage() -> None:
    assert STORAGE not in {"wren", *BUCKETS, *TABLE}
