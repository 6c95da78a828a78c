"""Where a configuration of old is found, in which formats, and what is said of one that cannot be read."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pywren_ibm_cloud import sources
from wren.errors import ConfigError

SECRET = "hunter2"
YAML = "pywren:\n    workers: 3\n"

Place = Callable[[pytest.MonkeyPatch, Path], str]


def in_content(monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    monkeypatch.setenv("PYWREN_CONFIG", YAML)
    return "the variable PYWREN_CONFIG"


def in_named_file(monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    path = home / "anywhere.yaml"
    path.write_text(YAML)
    monkeypatch.setenv("PYWREN_CONFIG_FILE", str(path))
    return str(path)


def in_working_directory(monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    Path(".pywren_config").write_text(YAML)
    return ".pywren_config"


def in_folder_of_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    path = home / ".pywren" / "config"
    path.parent.mkdir()
    path.write_text(YAML)
    return str(path)


def in_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    path = home / ".pywren_config"
    path.write_text(YAML)
    return str(path)


# In the order of pywren-ibm-cloud 1.7.
PLACES = [in_content, in_named_file, in_working_directory, in_folder_of_home, in_home]


@pytest.mark.parametrize("place", PLACES)
def test_a_configuration_is_found_in_each_place(place: Place, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    name = place(monkeypatch, home)
    assert sources.find() == sources.Source(name, {"pywren": {"workers": 3}})


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_first_place_wins(first: int, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    names = [place(monkeypatch, home) for place in PLACES[first:]]
    found = sources.find()
    assert found is not None
    assert found.name == names[0]


def test_without_a_configuration_there_is_none() -> None:
    assert sources.find() is None


@pytest.mark.parametrize("variable", ["PYWREN_CONFIG", "PYWREN_CONFIG_FILE"])
def test_an_empty_variable_is_none(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "")
    assert sources.find() is None


@pytest.mark.parametrize(
    "text",
    [
        "pywren: {workers: 3}",
        "pywren:\n    workers: 3\nibm_cos:\n",
        json.dumps({"pywren": {"workers": 3}}),
        json.dumps({"pywren": {"workers": 3}}, indent="\t"),
    ],
    ids=["flow", "an empty section", "json", "json with tabs"],
)
def test_yaml_and_json_are_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    assert sources.read(path).sections == {"pywren": {"workers": 3}}


def test_an_empty_file_has_no_sections(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("# nothing\n")
    assert sources.read(path).sections == {}


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYWREN_CONFIG_FILE", "missing.yaml")
    with pytest.raises(ConfigError, match=r"^PyWren's configuration missing\.yaml cannot be read: No such file"):
        sources.find()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"ibm_cos:\n    api_key: {SECRET}: x\n", r"config is neither YAML nor JSON at line 2, column \d+$"),
        (f"ibm_cos:\n    api_key: *{SECRET}\n", r"config is neither YAML nor JSON at line 2, column \d+$"),
        (f"ibm_cos:\n    api_key: !{SECRET} x\n", r"config is neither YAML nor JSON at line 2, column \d+$"),
        (f"ibm_cos: {{api_key: '{SECRET}\x00'}}", r"config is neither YAML nor JSON$"),
        (f"ibm_cos: {{api_key: {SECRET}, since: 2020-13-45}}", r"config is neither YAML nor JSON$"),
        (f"- {SECRET}\n", r"config is no mapping of sections but a list$"),
        (SECRET, r"config is no mapping of sections but a str$"),
        (f"ibm_cos: {SECRET}\n", r"ibm_cos in \S*config is a str: give a section, a mapping of keys$"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_an_error_without_its_text(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        sources.read(path)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_text_is_an_error_without_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(ConfigError, match=r"config is not UTF-8 at byte 7$") as caught:
        sources.read(path)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_sources_repr_shows_no_values() -> None:
    assert SECRET not in repr(sources.Source("file", {"ibm_cos": {"api_key": SECRET}}))
