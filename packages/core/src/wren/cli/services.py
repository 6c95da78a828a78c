"""Tries the services that are configured, by their plugins' `check()`, none longer than it may take."""

import queue
from collections.abc import Iterator
from typing import Any

from wren.cli import aside
from wren.cli.findings import Finding, Level
from wren.cli.settings import Loaded, named
from wren.config import Config
from wren.errors import WrenError
from wren.plugins import Kind
from wren.spi import Check, Feature

__all__ = ["configured", "look"]


def configured(loaded: Loaded, config: Config) -> list[tuple[Kind, str]]:
    """What an executor would use, and every other plugin that has a section in the configuration."""
    asked = dict(named(config))
    backend = asked["compute"] or "localhost"
    found: list[tuple[Kind, str]] = [("compute", backend), ("storage", asked["storage"] or "localhost")]
    compute, monitor = loaded.get(("compute", backend)), asked["monitor"]
    if monitor is None and isinstance(compute, type) and Feature.DIRECT not in compute.features:
        monitor = "storage"
    if monitor is not None:
        found.append(("monitor", monitor))
    found += [(kind, name) for kind, name in loaded if config.sections.get(name)]
    return list(dict.fromkeys(found))


def look(kind: Kind, name: str, loaded: Loaded, config: Config, seconds: float) -> Iterator[Finding]:
    """What a plugin's checks say; each may take so many seconds.  Nothing of one that is told of elsewhere."""
    plugin = loaded.get((kind, name))
    if not isinstance(plugin, type):
        return
    title = f"{kind} {name}"
    told, cure = True, f"correct section [{name}]"
    try:
        told = bool(config.read(name, plugin.options_type)[1])  # as what is wrong with the configuration
        options = config.options(name, plugin.options_type)
    except Exception as error:  # noqa: BLE001 - of a stranger's class, too
        if told:
            yield Finding(title, Level.WARNING, "was not tried, as its section is wrong", cure)
        else:  # no key is wrong by itself
            yield Finding(title, Level.FAILURE, str(error) or type(error).__name__, cure)
        return
    said: queue.SimpleQueue[Check | None] = queue.SimpleQueue()
    thread = aside.begin(_try, plugin, options, said)
    count = 0
    while True:
        try:
            check = said.get(timeout=seconds)
        except queue.Empty:
            cure = f"see that it can be reached, or give it more time: `wren doctor --timeout {5 * seconds:g}`"
            yield Finding(title, Level.FAILURE, f"has not answered for {seconds:g} s", cure)
            return
        if check is None:
            break
        count += 1
        level = Level.OK if check.ok else Level.WARNING if check.warning else Level.FAILURE
        yield Finding(f"{title} {check.name}", level, check.detail, check.cure)
    thread.join()
    if not count:
        cure = f"run a call there: `wren hello --backend {name}`" if kind == "compute" else "ask its authors for one"
        yield Finding(title, Level.WARNING, "was not tried, as it has no check", cure)


def _try(plugin: type[Any], options: Any, said: "queue.SimpleQueue[Check | None]") -> None:
    cure = f"correct section [{plugin.name}] of the configuration: `wren config show`"
    try:
        made = plugin(options)
        try:
            for check in made.check():
                if not isinstance(check, Check):
                    raise TypeError(f"check() has given a {type(check).__qualname__} in place of a wren.spi.Check")
                said.put(check)
        finally:
            made.close()
    except WrenError as error:
        said.put(Check("open", ok=False, detail=str(error), cure=cure))
    except BaseException as error:  # noqa: BLE001 - a stranger's, and in a thread of its own
        detail = f"{plugin.__qualname__} raised {type(error).__name__}: {error}"
        said.put(Check("check", ok=False, detail=detail, cure="tell the plugin's authors"))
    said.put(None)
