"""Where the configuration comes from, which value wins, and what is said of a wrong one."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from wren.config import Config, WrenOptions, type_name
from wren.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Options:
    """A plugin's options, with every type that such options have."""

    namespace: str = "default"
    workers: int | None = None
    factor: float = 1.0
    verify: bool = True
    names: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def nobodys_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder and home, and nothing of wren's in the environment."""
    for name in [name for name in os.environ if name.startswith("WREN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


Write = Callable[[str], Path]


@pytest.fixture
def named_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Writes the file that WREN_CONFIG_FILE names."""

    def write(text: str) -> Path:
        path = tmp_path / "named.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("WREN_CONFIG_FILE", str(path))
        return path

    return write


def user_file(home: Path, text: str) -> Path:
    path = home / "wren" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- which one wins


def test_with_nothing_configured_every_option_has_its_default() -> None:
    config = Config.load()
    assert config.wren == WrenOptions()
    assert config.options("knative", Options) == Options()


def test_the_argument_wins_over_the_environment_and_that_over_the_file_key_by_key(
    named_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file with three keys, an environment with two of them and an argument with one
    named_file("[knative]\nnamespace = 'file'\nworkers = 1\nfactor = 1.5\n")
    monkeypatch.setenv("WREN_KNATIVE__NAMESPACE", "environment")
    monkeypatch.setenv("WREN_KNATIVE__WORKERS", "2")
    # When they are merged
    config = Config.load({"knative": {"namespace": "argument"}})
    # Then each key is of the last that has it
    assert config.options("knative", Options) == Options(namespace="argument", workers=2, factor=1.5)


def test_sections_do_not_disturb_each_other(named_file: Write) -> None:
    named_file("[wren]\nretries = 2\n[knative]\nworkers = 3\n")
    config = Config.load({"docker": {"workers": 4}})
    assert config.wren == WrenOptions(retries=2)
    assert config.options("knative", Options).workers == 3
    assert config.options("docker", Options).workers == 4


def test_the_callers_mapping_is_not_changed(named_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    named_file("[knative]\nworkers = 3\n")
    monkeypatch.setenv("WREN_KNATIVE__FACTOR", "2")
    given = {"knative": {"namespace": "mine"}}
    Config.load(given)
    assert given == {"knative": {"namespace": "mine"}}


def test_a_value_of_none_is_an_options_default_where_that_is_none() -> None:
    assert Config.load({"wren": {"backend": None}}).wren == WrenOptions()


# ---------------------------------------------------------------- files


def test_the_folders_file_wins_over_the_users(tmp_path: Path) -> None:
    user_file(tmp_path / "home" / ".config", "[wren]\nretries = 1\n")
    assert Config.load().wren.retries == 1
    Path(".wren.toml").write_text("[wren]\nworkers = 2\n", encoding="utf-8")
    assert Config.load().wren == WrenOptions(workers=2)


def test_the_named_file_wins_over_the_folders(named_file: Write) -> None:
    Path(".wren.toml").write_text("[wren]\nretries = 2\n", encoding="utf-8")
    named_file("[wren]\nretries = 3\n")
    assert Config.load().wren.retries == 3


def test_the_users_file_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(tmp_path / "xdg", "[wren]\nretries = 4\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert Config.load().wren.retries == 4


def test_an_empty_name_of_a_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_CONFIG_FILE", "")
    assert Config.load().wren == WrenOptions()


def test_a_named_file_that_is_missing_is_an_error_with_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.toml"
    monkeypatch.setenv("WREN_CONFIG_FILE", str(missing))
    with pytest.raises(ConfigError) as caught:
        Config.load()
    assert str(caught.value).startswith(f"the configuration file {missing} cannot be read:")


@pytest.mark.parametrize("text", ["[wren\n", "retries = \n", "[wren]\nretries = 1\nretries = 2\n"])
def test_bad_toml_is_an_error_with_the_path_and_the_line(named_file: Write, text: str) -> None:
    path = named_file(text)
    with pytest.raises(ConfigError, match=r"line \d+") as caught:
        Config.load()
    assert str(caught.value).startswith(f"the configuration file {path} cannot be read:")


def test_a_file_that_is_no_text_is_an_error_with_its_path(named_file: Write) -> None:
    path = named_file("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load()


@pytest.mark.parametrize(("text", "section"), [("wren = 3\n", "wren"), ("retries = 2\n", "retries")])
def test_a_key_of_the_file_that_is_in_no_section_is_an_error(named_file: Write, text: str, section: str) -> None:
    named_file(text)
    with pytest.raises(ConfigError, match=rf"^{section} in .*named\.toml is .* a table of keys$"):
        Config.load()


def test_a_secret_that_is_in_no_section_is_in_no_text(named_file: Write) -> None:
    named_file('password = "hunter2"\n')
    with pytest.raises(ConfigError, match=r"^password in") as caught:
        Config.load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", [{"wren": 3}, {"knative": "default"}, {"knative": None}, {"knative": [1]}])
def test_a_section_of_the_argument_that_is_none_is_an_error(given: Mapping[str, Any]) -> None:
    (section,) = given
    with pytest.raises(ConfigError, match=rf"^{section} in the argument config is .*a table of keys$"):
        Config.load(given)


# ---------------------------------------------------------------- the environment


def test_the_environment_is_parsed_into_the_options_types(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NAMESPACE", "5"), ("WORKERS", "6"), ("FACTOR", "0.5"), ("VERIFY", "false")):
        monkeypatch.setenv(f"WREN_KNATIVE__{name}", value)
    options = Config.load().options("knative", Options)
    assert options == Options(namespace="5", workers=6, factor=0.5, verify=False)


def test_plugins_with_an_underscore_have_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_IBM_CF__NAMESPACE", "mine")
    assert Config.load().options("ibm_cf", Options).namespace == "mine"


def test_variables_of_another_form_are_not_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_HOME", "1")
    monkeypatch.setenv("WRENCH__RETRIES", "2")
    assert Config.load().sections == {}


# ---------------------------------------------------------------- wrong keys and values


def test_an_unknown_key_is_named_with_its_section_and_the_nearest_known_key(named_file: Write) -> None:
    path = named_file("[knative]\nnamspace = 'a'\n")
    with pytest.raises(ConfigError) as caught:
        Config.load().options("knative", Options)
    said = f"unknown key 'namspace' in section [knative] of {path}; did you mean 'namespace'?"
    assert str(caught.value) == said


def test_an_unknown_key_that_is_near_to_none_is_answered_with_all_known_keys() -> None:
    with pytest.raises(ConfigError, match=r"known keys: factor, labels, names, namespace, verify, workers$"):
        Config.load({"knative": {"zzz": 1}}).options("knative", Options)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("namespace", 5, "str"),
        ("namespace", ["a"], "str"),
        ("workers", "many", r"int \| None"),
        ("workers", 1.5, r"int \| None"),
        ("workers", True, r"int \| None"),
        ("factor", "half", "float"),
        ("verify", "maybe", "bool"),
        ("names", 5, "list"),
        ("names", [5], "list"),
        ("labels", {"a": 5}, "dict"),
    ],
)
def test_a_wrong_type_is_an_error_with_key_section_and_what_is_expected(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} in section \[knative\] of the argument config must be {expected}"):
        Config.load({"knative": {key: value}}).options("knative", Options)


def test_a_wrong_value_of_the_file_is_an_error_with_its_path(named_file: Write) -> None:
    path = named_file("[wren]\nretries = 'often'\n")
    config = Config.load()
    with pytest.raises(ConfigError) as caught:
        _ = config.wren
    assert str(caught.value).startswith(f"retries in section [wren] of {path} must be int")


@pytest.mark.parametrize("wrong", [{"retries": "often"}, {"retrys": 1}])
def test_a_wrong_argument_is_not_blamed_on_the_file(named_file: Write, wrong: dict[str, Any]) -> None:
    path = named_file("[wren]\nworkers = 2\n")
    config = Config.load({"wren": wrong})
    with pytest.raises(ConfigError) as caught:
        _ = config.wren
    assert str(path) not in str(caught.value)


def test_a_wrong_variable_is_not_blamed_on_the_file(named_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = named_file("[wren]\nworkers = 2\n")
    monkeypatch.setenv("WREN_WREN__RETRIES", "often")
    config = Config.load()
    with pytest.raises(ConfigError) as caught:
        _ = config.wren
    assert str(path) not in str(caught.value)


def test_a_wrong_value_is_not_repeated_for_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load({"knative": {"workers": "hunter2"}}).options("knative", Options)
    assert "hunter2" not in str(caught.value)


def test_an_options_class_may_have_its_annotations_as_text() -> None:
    """As in a plugin's module that begins with `from __future__ import annotations`."""
    late = make_dataclass("late", [("workers", "int", field(default=1))])
    assert Config.load({"stranger": {"workers": 4}}).options("stranger", late) == late(4)


@pytest.mark.parametrize("sections", [{}, {"stranger": {"workers": 4}}])
def test_a_required_key_that_is_missing_is_an_error_with_key_and_section(sections: Any) -> None:
    strict = make_dataclass("strict", [("host", str), ("workers", int, field(default=1))])
    with pytest.raises(ConfigError, match=r"^section \[stranger\] of the configuration needs the key 'host'$"):
        Config.load(sections).options("stranger", strict)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_calls_cannot_have_is_named_with_its_place(timeout: float) -> None:
    with pytest.raises(
        ConfigError, match=r"^timeout in section \[wren\] of the argument config is .*: give a number of"
    ):
        _ = Config.load({"wren": {"timeout": timeout}}).wren


# ---------------------------------------------------------------- what section [wren] may have


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("workers", 0, "is 0: give 1 or more"),
        ("runtime_memory", -1, "is -1: give 1 or more"),
        ("retries", -1, "is -1: give 0 or more"),
        ("retention", 0, "is 0.0: give days above 0"),
        ("sweep", "nan", "is nan: give seconds above 0"),
        ("log_level", "loud", "is no level: give DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ],
)
def test_a_value_that_section_wren_cannot_have_is_named_with_its_place(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _ = Config.load({"wren": {key: value}}).wren
    assert str(caught.value) == f"{key} in section [wren] of the argument config {said}"


@pytest.mark.parametrize("section", [{"workers": 1, "retries": 0}, {"log_level": "debug"}, {"timeout": float("inf")}])
def test_values_at_the_edge_are_taken(section: dict[str, Any]) -> None:
    assert Config.load({"wren": section}).wren == WrenOptions(**section)


def test_keys_of_plugins_that_are_called_as_those_of_section_wren_are_their_own() -> None:
    assert Config.load({"knative": {"workers": 0}}).options("knative", Options).workers == 0


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_KNATIVE__WORKERS", "many")
    with pytest.raises(
        ConfigError, match=r"^workers in section \[knative\] of the variable WREN_KNATIVE__WORKERS must"
    ):
        Config.load().options("knative", Options)


@pytest.mark.parametrize("given", [{"password": "hunter2"}, {"password": ["hunter2"]}])
def test_what_is_no_section_is_told_without_its_value_for_it_may_be_a_secret(given: Mapping[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"^password in the argument config is a (str|list): give a section"
    ) as caught:
        Config.load(given)
    assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------- as far as it can be read


def test_what_is_wrong_with_a_part_leaves_the_rest(named_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file with a key outside of its sections, and an argument with what is no name
    named_file("retries = 2\n[knative]\nworkers = 3\n")
    monkeypatch.setenv("WREN_KNATIVE__FACTOR", "2")
    # When
    config, problems = Config.gather({"knative": {3: 4, "namespace": "mine"}})
    # Then
    assert config.options("knative", Options) == Options("mine", 3, 2.0)
    assert len(problems) == 2
    with pytest.raises(ConfigError, match=r"^retries in "):
        Config.load({"knative": {3: 4}})


def test_a_section_is_read_key_by_key() -> None:
    config = Config.load({"knative": {"workers": "many", "factor": 2, "namspace": "x"}})
    values, problems = config.read("knative", Options)
    assert values == {"factor": 2.0}
    assert set(problems) == {"workers", "namspace"}


@pytest.mark.parametrize("kind", [int, str, int | None, list[str], dict[str, int], Literal["a"], Optional[float]])  # noqa: UP045
def test_a_type_is_written_as_in_a_program(kind: Any) -> None:
    assert eval(type_name(kind), {"Literal": Literal, "Optional": Optional}) == kind
