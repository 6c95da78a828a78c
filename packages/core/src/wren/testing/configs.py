"""Options for the kit: one and the same mapping by way of the argument, a file and the environment; and wrong ones."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import pytest

from wren.config import Config, Value
from wren.errors import ConfigError

SECRET: Final = re.compile("secret|password|token|key")
PLAIN: Final = {str, int, float, bool}


def parsed(plugin: type[Any], options: Mapping[str, Any]) -> Any:
    """The plugin's options from these values and from nowhere else."""
    section = {key: Value(value, "the fixture options") for key, value in options.items()}
    return Config({plugin.name: section}).options(plugin.name, plugin.options_type)


def loaded(plugin: type[Any], given: Mapping[str, Any] | None = None) -> Any:
    """The plugin's options as core loads them: the file, the environment and what is given."""
    return Config.load({plugin.name: given} if given else None).options(plugin.name, plugin.options_type)


def forget_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all configuration from the environment."""
    for name in [name for name in os.environ if name.startswith("WREN_")]:
        monkeypatch.delenv(name)


def put_environment(section: str, options: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Set variables for the values that fit into one, and return the others."""
    for key, value in options.items():
        if type(value) in PLAIN:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            monkeypatch.setenv(f"WREN_{section}__{key}".upper(), text)
    return {key: value for key, value in options.items() if type(value) not in PLAIN}


def toml(section: str, options: Mapping[str, Any]) -> str:
    """A configuration file of one section; None, which TOML has not, is left out."""
    lines = [f"{key} = {_toml(value)}" for key, value in options.items() if value is not None]
    return "\n".join([f"[{section}]", *lines, ""])


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{json.dumps(str(key))} = {_toml(item)}' for key, item in value.items())}}}"
    raise TypeError(f"options has a {type(value).__qualname__}: give what a configuration file can have")


def wrong_values(plugin: type[Any], marker: str) -> Iterator[tuple[str, Any]]:
    """Keys, each with a value that has the marker in it and does not fit."""
    types = get_type_hints(plugin.options_type)
    for field in dataclasses.fields(plugin.options_type):
        possible = _members(types[field.name])
        if possible <= PLAIN | {type(None)}:
            yield field.name, {marker: [marker]}
            if str not in possible:
                yield field.name, marker


def secret_fields(plugin: type[Any]) -> list[str]:
    """The keys that take a text and are secret: by their names, or as the plugin says."""
    fields = dataclasses.fields(plugin.options_type)
    names = [field.name for field in fields if SECRET.search(field.name) or not field.repr]
    types = get_type_hints(plugin.options_type)
    return [name for name in names if str in _members(types[name])]


def with_secrets(plugin: type[Any], options: Mapping[str, Any], marker: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The options with each secret as the marker, and its key; those that are refused alone, as pairs are, together."""
    refused = []
    for field in secret_fields(plugin):
        made = {**options, field: marker}
        try:
            parsed(plugin, made)
        except ConfigError:
            refused.append(field)
            continue
        yield field, made
    if refused:
        yield " and ".join(refused), {**options, **dict.fromkeys(refused, marker)}


def _members(kind: Any) -> set[Any]:
    return set(get_args(kind)) if get_origin(kind) in {Union, UnionType} else {kind}
