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
from typing import Any, NamedTuple, TypeVar, get_type_hints

from wren.errors import ConfigError

__all__ = ["Config", "WrenOptions"]

T = TypeVar("T")


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
    observers: tuple[str, ...] | str = ()  # plugins that are told of jobs and calls; as one text: apart by commas

    @property
    def observer_names(self) -> tuple[str, ...]:
        """The observers, each once."""
        given = self.observers.split(",") if isinstance(self.observers, str) else self.observers
        return tuple(dict.fromkeys(name for each in given if (name := each.strip())))


class Value(NamedTuple):
    """A raw value and where it came from, for the text of an error."""

    raw: Any
    source: str


class Config(NamedTuple):
    """Sections of raw values."""

    sections: Mapping[str, Mapping[str, Value]]

    @classmethod
    def load(cls, given: Mapping[str, Any] | None = None) -> "Config":
        """The merged configuration.  Raises ConfigError for a file that cannot be read and a section that is none."""
        if not isinstance(given, Mapping | NoneType):
            raise ConfigError(f"config is of type {type(given).__qualname__}: give a mapping of sections")
        path = _file()
        layers: list[tuple[str, Mapping[str, Any]]] = [(path, _read(path))] if path else []
        layers += [("the environment", _environment()), ("the argument config", given or {})]
        sections: dict[str, dict[str, Value]] = {}
        for source, layer in layers:
            for name, section in layer.items():
                if not isinstance(section, Mapping):
                    kind = type(section).__name__  # and no value, which may be a secret
                    raise ConfigError(f"{name} in {source} is of type {kind} and no section: give a table of keys")
                for word in (name, *section):
                    if not isinstance(word, str):
                        raise ConfigError(f"{word!r} in {source} is no name of a section or a key: give a string")
                values = {key: Value(value, source) for key, value in section.items()}
                sections[name] = {**sections.get(name, {}), **values}
        return cls(sections)

    def check_sections(self, known: Iterable[str]) -> None:
        """ConfigError for a section that is none of these, but nearly; other ones are of plugins that are not here."""
        import difflib

        names = set(known)
        for name, values in self.sections.items():
            near = difflib.get_close_matches(name, names, 1, cutoff=0.75) if name not in names else []
            if near and values:
                source = next(iter(values.values())).source
                raise ConfigError(f"unknown section [{name}] in {source}; did you mean [{near[0]}]?")

    @property
    def wren(self) -> WrenOptions:
        """Section `[wren]`."""
        options = self.options("wren", WrenOptions)
        if options.timeout is not None and not options.timeout > 0:  # NaN is not
            place = f"timeout in section [wren] of {self.sections['wren']['timeout'].source}"
            raise ConfigError(f"{place} is {options.timeout:g}: give a number of seconds above 0, or inf for no limit")
        return options

    def set_log_level(self, given: str | int | None) -> None:
        """Set the level of the logger `wren`, and of no other: the given one, else the configuration's, if any."""
        level = self.wren.log_level if given is None else given
        if level is None:
            return
        import logging

        try:
            logging.getLogger("wren").setLevel(level.upper() if isinstance(level, str) else level)
        except (ValueError, TypeError):
            raise ConfigError(f"log_level is {level!r}: give DEBUG, INFO, WARNING, ERROR or CRITICAL") from None

    def options(self, section: str, kind: type[T]) -> T:
        """A section as options of the given dataclass; ConfigError names the key, the section and what is expected."""
        values = self.sections.get(section, {})
        fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for name, field in fields.items():
            if name not in values and field.default is MISSING and field.default_factory is MISSING:
                raise ConfigError(f"section [{section}] of the configuration needs the key {name!r}")
        if not values:
            return kind()
        types = get_type_hints(kind)
        converted = {}
        for key, value in values.items():
            if key not in fields:
                import difflib

                near = difflib.get_close_matches(key, fields, 1)
                guess = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(fields))}"
                raise ConfigError(f"unknown key {key!r} in section [{section}] of {value.source}; {guess}")
            converted[key] = _convert(value, types[key], f"{key} in section [{section}] of {value.source}")
        return kind(**converted)


def _convert(value: Value, kind: Any, place: str) -> Any:
    import msgspec

    try:
        return msgspec.convert(value.raw, kind, strict=False)
    except msgspec.ValidationError:
        expected = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
        # The value may be a secret: its type has to do.
        raise ConfigError(f"{place} must be {expected}, which this {type(value.raw).__name__} is not") from None


def _file() -> str | None:
    named = os.environ.get("WREN_CONFIG_FILE")
    if named:
        return named
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return next(filter(os.path.isfile, (".wren.toml", os.path.join(home, "wren", "config.toml"))), None)


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from error


def _environment() -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    for name, value in os.environ.items():
        if name.startswith("WREN_") and "__" in name:
            section, _, key = name.removeprefix("WREN_").partition("__")
            sections.setdefault(section.lower(), {})[key.lower()] = value
    return sections
