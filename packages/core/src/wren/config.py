"""Reads the configuration: one mapping of sections, merged from a file, the environment and the caller's argument.

Later ones win, key by key: the file (`WREN_CONFIG_FILE`, else `./.wren.toml`, else `~/.config/wren/config.toml`), the
environment (`WREN_<SECTION>__<KEY>`), the argument.  Section `[wren]` is core's own; every other one is named as a
plugin's entry point and becomes that plugin's typed options.
"""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wren.errors import ConfigError

__all__ = ["Config", "WrenOptions"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WrenOptions:
    """Section `[wren]`."""

    backend: str | None = None  # None: what the factory function says, else localhost
    storage: str | None = None
    workers: int | None = None  # most calls in flight
    retries: int = 0
    log_level: str | None = None  # of the logger `wren`


@dataclass(frozen=True, slots=True)
class Config:
    """Sections of raw values, and where they came from for the text of an error."""

    sections: Mapping[str, Mapping[str, Any]]
    source: str = "the configuration"

    @classmethod
    def load(cls, given: Mapping[str, Any] | None = None) -> "Config":
        """The merged configuration.  Raises ConfigError for a file that cannot be read and a section that is none."""
        path = _file()
        sections = _read(path) if path else {}
        source = str(path) if path else "the configuration"
        for layer in (_environment(), given or {}):
            for name, section in layer.items():
                if not isinstance(section, Mapping):
                    raise ConfigError(f"section [{name}] of the configuration is {section!r}: give a table of keys")
                sections[name] = {**sections.get(name, {}), **section}
        return cls(sections, source)

    @property
    def wren(self) -> WrenOptions:
        """Section `[wren]`."""
        return self.options("wren", WrenOptions)

    def options(self, section: str, kind: type[T]) -> T:
        """A section as options of the given dataclass; ConfigError names the key, the section and what is expected."""
        raw = self.sections.get(section)
        if not raw:
            return kind()
        import msgspec

        known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for key, value in raw.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                guess = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(sorted(known))}"
                raise ConfigError(f"unknown key {key!r} in section [{section}] of {self.source}{guess}")
            try:
                msgspec.convert(value, known[key].type, strict=False)
            except msgspec.ValidationError as error:
                expected = getattr(known[key].type, "__name__", str(known[key].type))
                raise ConfigError(
                    f"{key} in section [{section}] of {self.source} must be {expected}: {str(error).lower()}"
                ) from error
        return msgspec.convert(dict(raw), kind, strict=False)


def _file() -> Path | None:
    named = os.environ.get("WREN_CONFIG_FILE")
    if named:
        return Path(named)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next((path for path in (Path(".wren.toml"), home / "wren" / "config.toml") if path.is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from error


def _environment() -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    for name, value in os.environ.items():
        if name.startswith("WREN_") and "__" in name:
            section, _, key = name.removeprefix("WREN_").partition("__")
            sections.setdefault(section.lower(), {})[key.lower()] = value
    return sections
