"""Where PyWren's configuration is and how it is read: YAML or JSON, as a mapping of sections.

No text of a configuration gets into an error: it may hold credentials, and YAML's errors quote what is around a fault.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from wren.errors import ConfigError

__all__ = ["PLACES", "Sections", "Source", "find", "read", "sections_of"]

Sections: TypeAlias = Mapping[str, Mapping[str, Any]]

CONTENT: Final = "PYWREN_CONFIG"
FILE: Final = "PYWREN_CONFIG_FILE"
PLACES: Final = f"{CONTENT}, {FILE}, ./.pywren_config, ~/.pywren/config and ~/.pywren_config"


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration of old and where it came from; its values stay out of the repr."""

    name: str
    sections: Sections = field(repr=False)


def find() -> Source | None:
    """The first configuration of old there is, in PyWren's own order, or None.

    Raises ConfigError for one that cannot be read, and for a file that `PYWREN_CONFIG_FILE` names and that is missing.
    """
    content = os.environ.get(CONTENT)
    if content:
        name = f"the variable {CONTENT}"
        return Source(name, _parsed(content, name))
    named = os.environ.get(FILE)
    if named:
        return read(Path(named))
    usual = (Path(".pywren_config"), Path.home() / ".pywren" / "config", Path.home() / ".pywren_config")
    return next((read(path) for path in usual if path.is_file()), None)


def read(path: Path) -> Source:
    """The configuration in a file.  Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"PyWren's configuration {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"PyWren's configuration {path} is not UTF-8 at byte {error.start}") from None
    return Source(str(path), _parsed(text, str(path)))


def sections_of(value: Any, name: str) -> Sections:
    """A value as sections, empty ones left out.  Raises ConfigError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is no mapping of sections but a {type(value).__qualname__}")
    for section, keys in value.items():
        if not isinstance(keys, Mapping) and keys is not None:
            kind = type(keys).__qualname__
            raise ConfigError(f"{section} in {name} is a {kind}: give a section, a mapping of keys")
    return {str(section): keys for section, keys in value.items() if keys}


def _parsed(text: str, name: str) -> Sections:
    """JSON, which may hold tabs that YAML refuses, else YAML."""
    try:
        return sections_of(json.loads(text), name)
    except ValueError:
        pass  # it is YAML then, whose errors say where the fault is
    import yaml

    try:
        return sections_of(yaml.safe_load(text), name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    except (yaml.YAMLError, ValueError, RecursionError):  # a character, a date or a nesting that cannot be
        place = ""
    raise ConfigError(f"{name} is neither YAML nor JSON{place}")
