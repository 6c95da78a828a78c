"""The whole configuration as people may see it: each key with its value, type and source, and what is wrong.

Called by `wren config show` and `wren doctor`.  A secret is a field with `repr=False`; what no option declares, and
what has not the type that it should have, may be one.  Of plugins that are not here nobody knows: all is hidden.
"""

import dataclasses
import math
import os
import queue
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, get_type_hints

from wren import plugins
from wren.cli import aside
from wren.config import Config, WrenOptions, type_name
from wren.errors import PluginError
from wren.plugins import KINDS, PACKAGES, Kind

__all__ = ["DEFAULT", "MASK", "UNKNOWN", "Loaded", "Setting", "Survey", "load_all", "named", "survey"]

MASK: Final = "***"
DEFAULT: Final = "default"  # a source
UNKNOWN: Final = "unknown"  # the type of a key that no options have
SHORTEST: Final = 4  # characters of what is taken out of texts as secret: shorter ones are in too many words
_PASSWORD: Final = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+@")  # of a URL

Loaded: TypeAlias = Mapping[tuple[Kind, str], "type[Any] | PluginError"]


class Setting(NamedTuple):
    """A key of the configuration.  `value` is what may be shown, made of what JSON has."""

    section: str
    key: str
    value: Any
    type: str
    source: str
    secret: bool = False
    problem: str | None = None


class Survey(NamedTuple):
    """The configuration, what is wrong with it, what need not be (with the cure), and texts that nobody may see."""

    config: Config
    settings: list[Setting]
    problems: list[str]
    warnings: list[tuple[str, str]]
    hidden: frozenset[str]

    def public(self, text: str) -> str:
        """A text without the secrets that the configuration has, in one line that a terminal may get."""
        for secret in sorted(self.hidden, key=len, reverse=True):
            text = text.replace(secret, MASK)
        line = " ".join(_PASSWORD.sub(rf"\1:{MASK}@", text).split())
        return "".join(each if each.isprintable() else "?" for each in line)


def load_all(seconds: float | None = None) -> Loaded:
    """Every installed plugin, or why it cannot be had; `seconds`: how long the import of each may take."""
    found: dict[tuple[Kind, str], type[Any] | PluginError] = {}
    for kind in KINDS:
        for name in dict.fromkeys(info.name for info in plugins.installed(kind)):
            found[kind, name] = _load(kind, name) if seconds is None else _load_within(seconds, kind, name)
    return found


def _load(kind: Kind, name: str) -> type[Any] | PluginError:
    try:
        return plugins.load(kind, name)
    except PluginError as error:
        return error


def _load_within(seconds: float, kind: Kind, name: str) -> type[Any] | PluginError:
    loaded: queue.SimpleQueue[type[Any] | PluginError] = queue.SimpleQueue()
    aside.begin(lambda: loaded.put(_load(kind, name)))
    try:
        return loaded.get(timeout=seconds)
    except queue.Empty:
        return PluginError(
            f"the {kind} plugin {name!r} was not imported in {seconds:g} s: see what its module waits for"
        )


def survey(loaded: Loaded) -> Survey:
    """Everything that is configured, in the file, the environment and by default."""
    config, errors = Config.gather()
    names = dict.fromkeys(["wren", *(name for _, name in loaded)])
    used = {name for name, values in config.sections.items() if values} | {name for _, name in named(config) if name}
    misspelt = config.misspelt(names)
    settings: list[Setting] = []
    problems = [str(error) for error in [*errors, *misspelt.values()]]
    for section in {**names, **dict.fromkeys(config.sections)}:
        known: dict[str, Setting] = {}
        for kind in _option_types(section, loaded):
            try:
                found = list(_settings(config, section, kind))
            except Exception as error:  # noqa: BLE001 - a stranger's class, which need not be one of options
                problems.append(f"the options of {section!r} cannot be read: {type(error).__name__}: {error}")
                continue
            if section not in used:  # of a plugin that nobody uses no key is needed
                found = [each._replace(problem=None) for each in found]
            problems += [each.problem for each in found if each.problem]
            known |= {each.key: each for each in found if each.type != UNKNOWN or each.key not in known}
        settings += known.values()
        said = str(misspelt[section]) if section in misspelt else None
        for key, value in config.sections.get(section, {}).items():
            if key not in known:
                settings.append(Setting(section, key, MASK, UNKNOWN, value.source, problem=said))
    problems += _plugin_problems(config, loaded)
    warnings = [*_strangers(config, loaded), *_lost_variables(settings)]
    return Survey(config, settings, list(dict.fromkeys(problems)), warnings, frozenset(_hidden(config, settings)))


def _option_types(section: str, loaded: Loaded) -> list[type[Any]]:
    """What parses a section: the options of core, or of the plugins that have its name, which may share them."""
    if section == "wren":
        return [WrenOptions]
    classes = [found for (_, name), found in loaded.items() if name == section and isinstance(found, type)]
    return list(dict.fromkeys(found.options_type for found in classes))


def _settings(config: Config, section: str, kind: type[Any]) -> Iterator[Setting]:
    """The keys of a section as these options: theirs in their order, then others."""
    values, errors = config.read(section, kind)
    raw, types = config.sections.get(section, {}), get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, field in fields.items():
        value = values[key] if key in values else _default(field)
        problem, given = errors.get(key), raw.get(key)
        wrong = given is not None and key not in values
        shown = MASK if wrong or (not field.repr and value not in (None, "")) else shown_value(value)
        source = given.source if given is not None else "missing" if problem else DEFAULT
        told = None if problem is None else str(problem)
        yield Setting(section, key, shown, type_name(types[key]), source, not field.repr, told)
    for key, value in raw.items():
        if key not in fields:
            yield Setting(section, key, MASK, UNKNOWN, value.source, problem=str(errors[key]))


def _plugin_problems(config: Config, loaded: Loaded) -> Iterator[str]:
    """Plugins that the configuration uses, and that are not here or cannot be loaded."""
    for (_, name), found in loaded.items():
        if config.sections.get(name) and isinstance(found, PluginError):
            yield str(found)
    for kind, asked in named(config):
        if asked:
            found = loaded.get((kind, asked)) or _load(kind, asked)  # not again: it may have taken for ever
            if isinstance(found, PluginError):
                yield str(found)


def _strangers(config: Config, loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Sections of plugins that are not here."""
    names = {"wren", *(name for _, name in loaded)}
    nearly = config.misspelt(names)
    for section in [name for name, values in config.sections.items() if values and name not in {*names, *nearly}]:
        packages = [f"pip install {package}" for (_, name), package in PACKAGES.items() if name == section]
        cure = packages[0] if packages else "install the package that it is for, or remove it"
        yield f"section [{section}] is of no plugin that is installed here", cure


def _lost_variables(settings: Iterable[Setting]) -> Iterator[tuple[str, str]]:
    """Variables that were meant to set a key: they need two underscores, and the section `wren` as any other."""
    for each in settings:
        right = f"WREN_{each.section}__{each.key}".upper()
        wrong = [f"WREN_{each.section}_{each.key}", f"WREN_{each.key}" if each.section == "wren" else ""]
        for name in map(str.upper, wrong):
            if name in os.environ:
                yield f"the variable {name} sets nothing", f"call it {right}"


def named(config: Config) -> list[tuple[Kind, str | None]]:
    """The plugins that section `[wren]` asks for, None where it leaves one out."""
    values, _ = config.read("wren", WrenOptions)
    return [("compute", values.get("backend")), ("storage", values.get("storage")), ("monitor", values.get("monitor"))]


def _hidden(config: Config, settings: Iterable[Setting]) -> Iterator[str]:
    """What must be in no text of a plugin's, nor of its SDK's: the secrets, which they know."""
    for each in settings:
        value = config.sections.get(each.section, {}).get(each.key)
        if value is not None and each.secret:
            yield from (text for text in _texts(value.raw) if len(text) >= SHORTEST)


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def shown_value(value: Any) -> Any:
    """A value by what JSON has, without what is secret in it."""
    match value:
        case float() if not math.isfinite(value):  # which JSON does not have
            return str(value)
        case None | bool() | int() | float():
            return value
        case str():
            return _PASSWORD.sub(rf"\1:{MASK}@", value)
        case Mapping():
            return {str(key): shown_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [shown_value(item) for item in value]
    return shown_value(_public_fields(value)) if dataclasses.is_dataclass(value) else str(value)


def _public_fields(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) if each.repr else MASK for each in dataclasses.fields(value)}


def _texts(raw: Any) -> Iterator[str]:
    """The texts that a raw value consists of, as they are and as they would be written in URLs and literals."""
    from urllib.parse import quote, quote_plus

    match raw:
        case Mapping():
            for item in raw.values():
                yield from _texts(item)
        case list() | tuple():
            for item in raw:
                yield from _texts(item)
        case None | bool():
            pass
        case _:
            text = str(raw)
            yield from (text, quote(text, safe=""), quote_plus(text), repr(text)[1:-1])
