"""Reads the configuration: one mapping of sections, merged from a file, the environment and the caller's argument.

Later ones win, key by key: the file (`WREN_CONFIG_FILE`, else `./.wren.toml`, else `~/.config/wren/config.toml`), the
environment (`WREN_<SECTION>__<KEY>`), the argument.  Section `[wren]` is core's own; every other one is named as a
plugin's entry point and becomes that plugin's typed options.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, get_type_hints

from wren.errors import ConfigError

__all__ = ["Config", "Value", "WrenOptions", "config_file", "places", "type_name"]

T = TypeVar("T")

VARIABLE: Final = "the variable "  # before the name of one, where a value's source is told
# What values of section [wren] must be besides their types.
SECONDS: Final = {
    "timeout": "a number of seconds",
    "start_timeout": "seconds",
    "heartbeat": "seconds",
    "sweep": "seconds",
    "retention": "days",
}
LEAST: Final = {"workers": 1, "runtime_memory": 1, "retries": 0}
LEVELS: Final = "DEBUG, INFO, WARNING, ERROR or CRITICAL"


@dataclass(frozen=True, slots=True)
class WrenOptions:
    """Section `[wren]`."""

    backend: str | None = None  # None: what the factory function says, else localhost
    storage: str | None = None
    workers: int | None = None  # most calls in flight
    runtime: str | None = None  # an image, where the backend has images
    runtime_memory: int | None = None  # MiB that a call may use; None: the backend's default
    retries: int = 0
    log_level: str | None = None  # of the logger `wren`
    start_timeout: float = 300.0  # seconds until a platform must have accepted a call, tries to deliver it included
    heartbeat: float = 5.0  # seconds between the signs of life of a worker; three that are missed are too many
    monitor: str | None = (
        None  # what else brings statuses; None: the backend's own channel, else the storage's listings
    )
    sweep: float = 30.0  # seconds between two listings of the storage beside another monitor
    persist: bool = False  # results are stored, and stay
    timeout: float | None = None  # seconds that a call may run where its caller says nothing; None: as documented
    data_cleaner: bool | None = None  # True: what a job has stored goes when its results were read; False: it stays
    retention: float = 30.0  # days that a stored function is kept after it was last used
    records: bool = True  # what becomes of jobs is written down for `wren jobs`, `wren logs` and `wren.attach`
    observers: tuple[str, ...] | str = ()  # plugins that are told of jobs and calls; as one text: apart by commas

    @property
    def observer_names(self) -> tuple[str, ...]:
        """The observers, each once."""
        given = self.observers.split(",") if isinstance(self.observers, str) else self.observers
        return tuple(dict.fromkeys(name for each in given if (name := each.strip())))


class Value(NamedTuple):
    """A raw value and where it came from, as texts say it: a file's path, a variable, the argument."""

    raw: Any
    source: str


class Config(NamedTuple):
    """Sections of raw values."""

    sections: Mapping[str, Mapping[str, Value]]

    @classmethod
    def load(cls, given: Mapping[str, Any] | None = None) -> "Config":
        """The merged configuration.  Raises ConfigError for a file that cannot be read and a section that is none."""
        config, problems = cls.gather(given)
        if problems:
            raise problems[0]
        return config

    @classmethod
    def gather(cls, given: Mapping[str, Any] | None = None) -> tuple["Config", list[ConfigError]]:
        """What can be read of the configuration, and what is wrong with the rest: `load` for those who show it."""
        unchecked: object = given
        if not isinstance(unchecked, Mapping | NoneType):
            return cls({}), [ConfigError(f"config is of type {type(given).__qualname__}: give a mapping of sections")]
        problems: list[ConfigError] = []
        layers: list[Layer] = []
        path = config_file()
        if path:
            try:
                layers.append(_layer(path, _read(path), problems))
            except ConfigError as error:
                problems.append(error)
        layers += [_environment(), _layer("the argument config", given or {}, problems)]
        sections: dict[str, dict[str, Value]] = {}
        for layer in layers:
            for name, section in layer.items():
                sections[name] = {**sections.get(name, {}), **section}
        return cls(sections), problems

    def check_sections(self, known: Iterable[str]) -> None:
        """ConfigError for a section that is none of these, but nearly; other ones are of plugins that are not here."""
        for error in self.misspelt(known).values():
            raise error

    def misspelt(self, known: Iterable[str]) -> dict[str, ConfigError]:
        """The sections that are none of the known ones, but nearly, and what is to be said of them."""
        import difflib

        names = set(known)
        found = {}
        for name, values in self.sections.items():
            near = difflib.get_close_matches(name, names, 1, cutoff=0.75) if name not in names else []
            if near and values:
                source = next(iter(values.values())).source
                found[name] = ConfigError(f"unknown section [{name}] in {source}; did you mean [{near[0]}]?")
        return found

    @property
    def wren(self) -> WrenOptions:
        """Section `[wren]`."""
        return self.options("wren", WrenOptions)

    def set_log_level(self, given: str | int | None) -> None:
        """Set the level of the logger `wren`, and of no other: the given one, else the configuration's, if any."""
        level = self.wren.log_level if given is None else given
        if level is None:
            return
        import logging

        try:
            logging.getLogger("wren").setLevel(level.upper() if isinstance(level, str) else level)
        except (ValueError, TypeError):
            raise ConfigError(f"log_level is {level!r}: give {LEVELS}") from None

    def options(self, section: str, kind: type[T]) -> T:
        """A section as options of the given dataclass; ConfigError names the key, the section and what is expected."""
        values, problems = self.read(section, kind)
        for error in problems.values():
            raise error
        return kind(**values)

    def read(self, section: str, kind: type[Any]) -> tuple[dict[str, Any], dict[str, ConfigError]]:
        """The values that a section has for the given dataclass, by key; and what is wrong, by the key that is."""
        values = self.sections.get(section, {})
        fields = {field.name: field for field in dataclasses.fields(kind)}
        problems = {
            name: ConfigError(f"section [{section}] of the configuration needs the key {name!r}")
            for name, field in fields.items()
            if name not in values and field.default is MISSING and field.default_factory is MISSING
        }
        if not values:
            return {}, problems
        types = get_type_hints(kind)
        converted = {}
        for key, value in values.items():
            try:
                if key not in fields:
                    raise _unknown(key, section, value.source, fields)
                place = f"{key} in section [{section}] of {value.source}"
                converted[key] = _convert(value, types[key], place)
                if kind is WrenOptions:
                    _check_range(key, converted[key], place)
            except ConfigError as error:
                problems[key] = error
        return converted, problems


Layer: TypeAlias = Mapping[str, Mapping[str, Value]]


def type_name(kind: Any) -> str:
    """A type as texts have it: `int | None`."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _unknown(key: str, section: str, source: str, known: Iterable[str]) -> ConfigError:
    import difflib

    near = difflib.get_close_matches(key, known, 1)
    guess = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return ConfigError(f"unknown key {key!r} in section [{section}] of {source}; {guess}")


def _convert(value: Value, kind: Any, place: str) -> Any:
    import msgspec

    try:
        return msgspec.convert(value.raw, kind, strict=False)
    except msgspec.ValidationError:
        # The value may be a secret: its type has to do.
        raise ConfigError(f"{place} must be {type_name(kind)}, which this {type(value.raw).__name__} is not") from None


def _check_range(key: str, value: Any, place: str) -> None:
    """ConfigError for a value of section `[wren]` that has the right type and still cannot be."""
    if value is None:
        return
    if key in SECONDS and not value > 0:  # NaN is not
        forever = ", or inf for no limit" if key == "timeout" else ""
        raise ConfigError(f"{place} is {value}: give {SECONDS[key]} above 0{forever}")
    if key in LEAST and value < LEAST[key]:
        raise ConfigError(f"{place} is {value}: give {LEAST[key]} or more")
    if key == "log_level":
        import logging

        if value.upper() not in logging.getLevelNamesMapping():
            raise ConfigError(f"{place} is no level: give {LEVELS}")


def config_file() -> str | None:
    """The file that is read: the one that WREN_CONFIG_FILE names, be it there or not, else the first of two places."""
    return os.environ.get("WREN_CONFIG_FILE") or next(filter(os.path.isfile, places()), None)


def places() -> tuple[str, str]:
    """Where a configuration file is looked for: in the working directory, and among the user's own."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return ".wren.toml", os.path.join(home, "wren", "config.toml")


def _layer(source: str, given: Mapping[Any, Any], problems: list[ConfigError]) -> Layer:
    """What is usable of the sections that a file or an argument has."""
    sections: dict[str, dict[str, Value]] = {}
    for name, section in given.items():
        if not isinstance(section, Mapping):  # whose value may be a secret: its type has to do
            kind = type(section).__qualname__
            problems.append(ConfigError(f"{name} in {source} is a {kind}: give a section, a table of keys"))
            continue
        wrong = [word for word in (name, *section) if not isinstance(word, str)]
        problems += [
            ConfigError(f"{word!r} in {source} is no name of a section or a key: give a string") for word in wrong
        ]
        if isinstance(name, str):
            sections[name] = {key: Value(value, source) for key, value in section.items() if isinstance(key, str)}
    return sections


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from error


def _environment() -> Layer:
    sections: dict[str, dict[str, Value]] = {}
    for name, value in os.environ.items():
        if name.startswith("WREN_") and "__" in name:
            section, _, key = name.removeprefix("WREN_").partition("__")
            sections.setdefault(section.lower(), {})[key.lower()] = Value(value, f"{VARIABLE}{name}")
    return sections
