"""`wren config show`: every value and where it comes from, nothing secret, and what is wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wren.cli.commands import wren
from wren.cli.settings import MASK, Loaded, load_all, shown_value, survey
from wren.testing import plugged
from wren.testing.configs import toml

# Options with a secret, one that is needed, and values of every shape.
SHELF: Final = """
from __future__ import annotations

from dataclasses import dataclass, field

import pluggy
from wren.local.memory import MemoryStorage

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class ShelfOptions:
    url: str
    bucket: str = "wren"
    password: str = field(default="", repr=False)
    pin: int | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    boards: list[str] = field(default_factory=lambda: ["oak"])
    patience: float = float("inf")


class Shelf(MemoryStorage):
    name = "shelf"
    options_type = ShelfOptions


@hookimpl
def wren_storage():
    return Shelf
"""


@pytest.fixture(autouse=True)
def alone(folder: Path) -> None:
    """Each test has a working directory and a configuration of its own."""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    """A stranger's storage with secrets."""
    with plugged(tmp_path / "site", {"wren.storage": {"shelf": "shelf"}}) as site:
        (site / "shelf.py").write_text(SHELF)
        yield site


def show(*arguments: str) -> Result:
    return CliRunner().invoke(wren, ["config", "show", *arguments])


def rows(result: Result) -> dict[tuple[str, str], list[str]]:
    """Value, type and source of each line, by section and key."""
    lines = [re.split(r" {2,}", line.strip()) for line in result.stdout.splitlines()[1:]]
    return {(section, key): rest for section, key, *rest in lines}


def as_json(result: Result) -> tuple[dict[tuple[str, str], dict[str, Any]], list[str]]:
    found = json.loads(result.stdout)
    return {(each["section"], each["key"]): each for each in found["settings"]}, found["problems"]


# ---- what is shown


def test_without_a_configuration_every_key_of_what_is_installed_is_shown_with_its_default() -> None:
    result = show()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["section", "key", "value", "type", "from"]
    found = rows(result)
    assert found["wren", "retries"] == ["0", "int", "default"]
    assert found["wren", "backend"] == ["None", "str | None", "default"]
    assert found["localhost", "path"] == ["''", "str", "default"]
    assert found["memory", "bucket"] == ["wren", "str", "default"]
    assert found["storage", "interval"] == ["1.0", "float", "default"]
    assert next(iter(found)) == ("wren", "backend")
    assert re.fullmatch(r"No configuration file: neither \.wren\.toml nor .*config\.toml is there\.\n", result.stderr)


def test_each_value_has_its_file_or_its_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file with two keys, one of which a variable overrides
    (folder / ".wren.toml").write_text('[localhost]\nworkers = 3\nbucket = "mine"\n')
    monkeypatch.setenv("WREN_LOCALHOST__WORKERS", "4")
    # When it is shown
    result = show()
    # Then it is by the value that counts
    found = rows(result)
    assert found["localhost", "bucket"] == ["mine", "str", ".wren.toml"]
    assert found["localhost", "workers"] == ["4", "int | None", "WREN_LOCALHOST__WORKERS"]
    assert (result.exit_code, result.stderr) == (0, "")


def test_json_has_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".wren.toml").write_text("[wren]\ntimeout = inf\n")
    monkeypatch.setenv("WREN_WREN__PERSIST", "true")
    settings, problems = as_json(show("--json"))
    assert problems == []
    assert json.loads(show("--json").stdout)["file"] == ".wren.toml"
    assert settings["wren", "timeout"]["value"] == "inf"
    assert settings["wren", "timeout"]["source"] == ".wren.toml"
    assert settings["wren", "persist"]["value"] is True
    assert settings["wren", "persist"]["source"] == "the variable WREN_WREN__PERSIST"


# ---- secrets

PASSWORD: Final = "hunter2-and-more"
HIDDEN: Final = {
    "password": PASSWORD,
    "pin": 987654,
    "headers": {"authorization": f"Bearer {PASSWORD}"},
}


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_secrets_are_masked_whatever_their_type(folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / ".wren.toml").write_text(toml("shelf", {"url": "http://me:sesame@shelf/", **HIDDEN}))
    result = show(*arguments)
    assert result.exit_code == 0
    assert not [word for word in ("hunter2", "987654", "sesame") if word in result.output]
    assert result.output.count(MASK) == 4
    assert f"http://me:{MASK}@shelf/" in result.output


@pytest.mark.usefixtures("shelf")
def test_a_secret_of_a_variable_is_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_SHELF__URL", "http://shelf/")
    monkeypatch.setenv("WREN_SHELF__PASSWORD", PASSWORD)
    result = show()
    assert rows(result)["shelf", "password"] == [MASK, "str", "WREN_SHELF__PASSWORD"]
    assert PASSWORD not in result.output


@pytest.mark.usefixtures("shelf")
def test_a_secret_that_is_not_set_is_seen_to_be_none(folder: Path) -> None:
    (folder / ".wren.toml").write_text('[shelf]\nurl = "http://shelf/"\n')
    found = rows(show())
    assert found["shelf", "password"] == ["''", "str", "default"]
    assert found["shelf", "pin"] == ["None", "int | None", "default"]
    assert found["shelf", "boards"] == ["['oak']", "list[str]", "default"]


@pytest.mark.usefixtures("shelf")
def test_what_may_be_a_secret_is_masked(folder: Path) -> None:
    # Given a misspelt key, a value of the wrong type, a secret of the wrong type, and no section around a key
    (folder / ".wren.toml").write_text(
        f'password = "{PASSWORD}"\n[shelf]\nurl = ["{PASSWORD}"]\npasword = "{PASSWORD}"\npin = "{PASSWORD}"\n'
    )
    result = show()
    # Then no message repeats them
    assert result.exit_code == 1
    assert PASSWORD not in result.output
    assert PASSWORD not in show("--json").output


def test_of_a_plugin_that_is_not_installed_everything_is_masked(folder: Path) -> None:
    (folder / ".wren.toml").write_text(f'[knative]\nnamespace = "mine"\ntoken = "{PASSWORD}"\n')
    result = show()
    assert result.exit_code == 0
    assert rows(result)["knative", "namespace"] == [MASK, "unknown", ".wren.toml"]
    assert not {"mine", PASSWORD} & set(result.stdout.split())
    assert result.stderr == (
        "Warning: section [knative] is of no plugin that is installed here: pip install wren-backend-knative\n"
    )


@pytest.fixture
def loaded(shelf: Path) -> Loaded:
    assert shelf.is_dir()
    return load_all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="<>"), min_size=4))
def test_no_secret_is_in_a_text_that_is_public(folder: Path, loaded: Loaded, secret: str) -> None:
    """However an SDK writes it into its errors."""
    (folder / ".wren.toml").write_text(toml("shelf", {"url": "u", "password": secret}), encoding="utf-8")
    found = survey(loaded)
    for text in (secret, quote(secret, safe=""), repr(secret)[1:-1]):
        assert found.public(f"<{text}>\n\0") == f"<{MASK}> ?"


def test_values_are_shown_by_what_json_has() -> None:
    shape = {"a": (1, 2.5, float("nan")), 3: {"x"}, "path": Path("x"), "url": "amqp://guest:guest@host"}
    assert shown_value(shape) == {"a": [1, 2.5, "nan"], "3": ["x"], "path": "x", "url": f"amqp://guest:{MASK}@host"}


# ---- what is wrong


def test_what_is_wrong_in_one_key_leaves_the_rest_to_be_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a wrong type, a misspelt key, a value out of range, and a variable of the wrong type
    (folder / ".wren.toml").write_text(
        '[wren]\nretries = "often"\nbackendd = "x"\nsweep = -1\n[localhost]\nworkers = 2\n'
    )
    monkeypatch.setenv("WREN_STORAGE__INTERVAL", "soon")
    # When it is shown
    result = show()
    # Then each is said
    assert result.exit_code == 1
    variable = "the variable WREN_STORAGE__INTERVAL"
    assert result.stderr.splitlines() == [
        "Error: retries in section [wren] of .wren.toml must be int, which this str is not",
        "Error: sweep in section [wren] of .wren.toml is -1.0: give seconds above 0",
        "Error: unknown key 'backendd' in section [wren] of .wren.toml; did you mean 'backend'?",
        f"Error: interval in section [storage] of {variable} must be float, which this str is not",
    ]
    # And the others are there
    found = rows(result)
    assert found["localhost", "workers"] == ["2", "int | None", ".wren.toml"]
    assert found["wren", "retries"] == [MASK, "int", ".wren.toml"]
    assert found["wren", "sweep"] == ["-1.0", "float", ".wren.toml"]
    assert found["wren", "backendd"] == [MASK, "unknown", ".wren.toml"]


def test_json_has_what_is_wrong_with_the_key(folder: Path) -> None:
    (folder / ".wren.toml").write_text("[wren]\nbackendd = 1\n")
    result = show("--json")
    settings, problems = as_json(result)
    assert result.exit_code == 1
    assert problems == ["unknown key 'backendd' in section [wren] of .wren.toml; did you mean 'backend'?"]
    assert settings["wren", "backendd"]["problem"] == problems[0]


def test_a_file_that_cannot_be_read_leaves_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".wren.toml").write_text("[wren\n")
    monkeypatch.setenv("WREN_WREN__RETRIES", "2")
    result = show()
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the configuration file .wren.toml cannot be read: ")
    assert rows(result)["wren", "retries"] == ["2", "int", "WREN_WREN__RETRIES"]


def test_a_section_that_is_nearly_known_is_told_with_its_keys_masked(folder: Path) -> None:
    (folder / ".wren.toml").write_text('[localhosst]\npath = "x"\n')
    result = show()
    assert result.exit_code == 1
    assert result.stderr == "Error: unknown section [localhosst] in .wren.toml; did you mean [localhost]?\n"
    assert rows(result)["localhosst", "path"] == [MASK, "unknown", ".wren.toml"]


@pytest.mark.usefixtures("shelf")
def test_a_key_that_is_needed_of_what_nobody_uses_is_no_fault() -> None:
    result = show()
    assert result.exit_code == 0
    assert rows(result)["shelf", "url"] == ["None", "str", "missing"]


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("text", ['[shelf]\nbucket = "mine"\n', '[wren]\nstorage = "shelf"\n'])
def test_a_key_that_is_needed_and_missing_is_told(folder: Path, text: str) -> None:
    (folder / ".wren.toml").write_text(text)
    result = show()
    assert result.exit_code == 1
    assert "Error: section [shelf] of the configuration needs the key 'url'\n" in result.stderr
    assert rows(result)["shelf", "url"] == ["None", "str", "missing"]


def test_a_plugin_that_is_asked_for_and_not_there_is_told(folder: Path) -> None:
    (folder / ".wren.toml").write_text('[wren]\nbackend = "knative"\n')
    result = show()
    assert result.exit_code == 1
    assert "no compute backend 'knative'; pip install wren-backend-knative" in result.stderr


@pytest.mark.parametrize("asked", ["", '[wren]\nstorage = "shelf"\n'])
def test_a_plugin_that_cannot_be_imported_hides_its_section(shelf: Path, folder: Path, asked: str) -> None:
    (shelf / "shelf.py").write_text("import missing_sdk\n")
    (folder / ".wren.toml").write_text(f'{asked}[shelf]\npassword = "{PASSWORD}"\n')
    result = show()
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "the storage 'shelf' of plugged-shelf cannot be loaded: ModuleNotFoundError" in result.stderr
    assert PASSWORD not in result.output
    assert rows(result)["shelf", "password"] == [MASK, "unknown", ".wren.toml"]


def test_options_that_are_none_are_told_and_no_riddle(shelf: Path) -> None:
    (shelf / "shelf.py").write_text(SHELF.replace("options_type = ShelfOptions", "options_type = dict"))
    result = show()
    assert result.exit_code == 1
    assert "Error: the options of 'shelf' cannot be read: TypeError" in result.stderr


@pytest.mark.parametrize("name", ["WREN_BACKEND", "WREN_WREN_BACKEND", "WREN_LOCALHOST_WORKERS"])
def test_a_variable_that_sets_nothing_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    result = show()
    assert result.exit_code == 0
    right = "WREN_LOCALHOST__WORKERS" if "LOCALHOST" in name else "WREN_WREN__BACKEND"
    assert f"Warning: the variable {name} sets nothing: call it {right}\n" in result.stderr


def test_what_a_terminal_would_obey_is_written_out(folder: Path) -> None:
    (folder / ".wren.toml").write_text('["\\u001b[2J"]\n"\\u0007" = 1\n[localhost]\nbucket = "\\u001b[2J"\n')
    assert "\x1b" not in show().output
    assert "\x07" not in show().output
