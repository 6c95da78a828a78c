"""What became of PyWren's options: one table from its sections and keys to wren's, and what has no counterpart.

`configuration` gives executors what they pass on to wren; `convert` is also what `wren config migrate` writes.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pywren_ibm_cloud import sources
from pywren_ibm_cloud.sources import Sections
from wren.errors import ConfigError

__all__ = ["BUCKETS", "STORAGE", "TABLE", "Converted", "Gone", "Key", "Left", "configuration", "convert"]

_log: Final = logging.getLogger("wren.pywren")

ARGUMENT: Final = "the argument config"
OLD: Final = "pywren"  # the section that every configuration of old has and none of wren's
STORAGE: Final = "the storage's"  # stands in the table for the section of the storage that is configured
STORAGE_DEFAULT: Final = "ibm_cos"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of wren's configuration.  `convert` gets a value of type `kind`; None from it: the default, left out."""

    section: str
    key: str
    kind: type = str
    convert: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A key without a counterpart in the configuration, and what to do instead."""

    instead: str


Keys: TypeAlias = Mapping[str, Key | Gone]


def _monitor(rabbitmq: bool) -> str | None:
    return "rabbitmq" if rabbitmq else None


_AT_CALLS: Final = "give it to call_async, map and map_reduce"
_RESENDING: Final = "wren sends again by itself what was not delivered"
_ENDPOINT: Final = "name the region's endpoint in the section of the backend or storage"

# By section and key of old.  A plugin's package adds its section here, and its storage to BUCKETS.
TABLE: Final[Mapping[str, Keys]] = {
    "pywren": {
        "compute_backend": Key("wren", "backend"),
        "storage_backend": Key("wren", "storage"),
        "storage_bucket": Key(STORAGE, "bucket"),
        "workers": Key("wren", "workers", int),
        "runtime": Key("wren", "runtime"),
        "runtime_memory": Key("wren", "runtime_memory", int),
        "rabbitmq_monitor": Key("wren", "monitor", bool, _monitor),
        "log_level": Key("wren", "log_level"),
        "runtime_timeout": Key("wren", "timeout", int),
        "data_cleaner": Key("wren", "data_cleaner", bool),
        "remote_invoker": Gone("give it to the executor"),
        "include_modules": Gone(_AT_CALLS),
        "exclude_modules": Gone(_AT_CALLS),
        "data_limit": Gone("the data of a job may have any size"),
        "invocation_retry": Gone(_RESENDING),
        "retries": Gone(_RESENDING),
        "retry_sleeps": Gone(_RESENDING),
        "storage_prefix": Gone("wren chooses its keys in the bucket itself"),
        "compute_backend_region": Gone(_ENDPOINT),
        "storage_backend_region": Gone(_ENDPOINT),
    },
    "localhost": {
        "workers": Key("localhost", "workers", int),
    },
    "ibm_cos": {
        "endpoint": Key("ibm_cos", "endpoint"),
        "private_endpoint": Key("ibm_cos", "private_endpoint"),
        "api_key": Key("ibm_cos", "api_key"),
        "access_key": Key("ibm_cos", "access_key"),
        "secret_key": Key("ibm_cos", "secret_key"),
        "ibm_auth_endpoint": Key("ibm_cos", "ibm_auth_endpoint"),
    },
}
BUCKETS: Final = frozenset({"localhost", "ibm_cos"})  # storages whose section has a key `bucket`

# On these backends PyWren did not look at its configuration's image and memory, which are the containers' elsewhere.
UNCONTAINED: Final = ("localhost",)
OF_CONTAINERS: Final = frozenset({"runtime", "runtime_memory"})


@dataclass(frozen=True, slots=True)
class Left:
    """A key that was not taken over, and why."""

    section: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Converted:
    """wren's sections, whose values stay out of the repr, and what of the old ones is not in them."""

    sections: Sections = field(repr=False)
    left: tuple[Left, ...] = ()


def configuration(given: Mapping[str, Any] | None = None, backend: str | None = None) -> Mapping[str, Any] | None:
    """What to give a wren executor as `config`: the argument, of either style, over the configuration of old, if any.

    wren lays it over its own configuration.  `backend` is the executor's where its caller names one.  Raises
    ConfigError, in which no value of a configuration appears.
    """
    found = sources.find()
    unchecked: object = given
    old = isinstance(unchecked, Mapping) and OLD in unchecked
    if not isinstance(unchecked, Mapping | None) or not (found or old):
        return given  # nothing of old; what is no mapping, wren refuses
    argument: Mapping[str, Any] = given or {}
    if old:
        if "wren" in argument:
            raise ConfigError(f"the argument config has sections [{OLD}] and [wren]: give one of them")
        argument = sources.sections_of(given, ARGUMENT)
    backend = backend or _keys(argument, OLD).get("compute_backend") or _keys(argument, "wren").get("backend")
    below = _taken(found.sections, found.name, backend) if found else {}
    return _merged(below, _taken(argument, ARGUMENT, backend) if old else argument)


def convert(old: Sections, name: str, backend: str | None = None) -> Converted:
    """Sections of old as wren's.  `name` is where they came from, for the text of a ConfigError.

    Keys that the table does not have are left: they may be those of plugins that are not there yet.  `backend`: the one
    that is meant, where that is not what the sections say.
    """
    storage = str(_keys(old, OLD).get("storage_backend") or STORAGE_DEFAULT)
    backend = backend or _keys(old, OLD).get("compute_backend")
    made: dict[str, dict[str, Any]] = {}
    left: list[Left] = []
    for section, keys in old.items():
        for key, value in keys.items():
            known = TABLE.get(section, {}).get(key)
            if isinstance(known, Key):
                where = storage if known.section == STORAGE else known.section
                if known.section == STORAGE and storage not in BUCKETS:
                    left.append(Left(section, key, f"nothing is known of the options of the storage {storage!r}"))
                elif known.key in OF_CONTAINERS and backend in UNCONTAINED:
                    left.append(Left(section, key, f"it is not for calls on {backend}"))
                elif (new := _value(value, known, f"{key} in section [{section}] of {name}")) is not None:
                    made.setdefault(where, {})[known.key] = new
            else:
                left.append(Left(section, str(key), known.instead if known else "wren has no such option yet"))
    return Converted(made, tuple(left))


def _value(value: Any, known: Key, place: str) -> Any:
    if value is None:  # the key was written, and nothing behind it
        return None
    kind = known.kind
    if kind is int and isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if kind is str and type(value) in {int, float}:  # YAML takes a name of digits for a number
        value = str(value)
    if type(value) is not kind:
        # The value may be a secret: its type has to do.
        raise ConfigError(f"{place} must be {kind.__name__}, which this {type(value).__qualname__} is not")
    return known.convert(value) if known.convert else value


def _taken(old: Sections, name: str, backend: str | None) -> Sections:
    converted = convert(old, name, backend)
    for each in converted.left:
        _log.info("%s in section [%s] of %s is not used: %s", each.key, each.section, name, each.reason)
    return converted.sections


def _merged(below: Sections, above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections over others, key by key; what is no section is left for wren to refuse."""
    over = {
        section: {**below.get(section, {}), **keys} if isinstance(keys, Mapping) else keys
        for section, keys in above.items()
    }
    return {**below, **over}


def _keys(sections: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """A section, or an empty one where there is none."""
    keys = sections.get(section)
    return keys if isinstance(keys, Mapping) else {}
