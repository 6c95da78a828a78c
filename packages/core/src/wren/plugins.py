"""Finds plugins by kind and name among the installed distributions' entry points, and loads the one asked for.

Each is loaded in a plugin manager of its own: in a shared one a `firstresult` hook knows no name and gives whichever
plugin came last, and a neighbour whose SDK is missing would break all.  wren's own plugins come in the same way; only
are the names of wren-core's known here, as looking through what is installed takes 20 ms of the first result.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from wren.errors import PluginConflict, PluginError, PluginNotFound

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pluggy import PluginManager

    from wren.config import Config
    from wren.spi import Compute, Monitor, Storage

__all__ = [
    "CORE",
    "KINDS",
    "OBSERVER",
    "OWN",
    "PACKAGES",
    "Kind",
    "PluginInfo",
    "check_sections",
    "installed",
    "load",
    "load_compute",
    "load_monitor",
    "load_observer",
    "load_storage",
    "shadowed",
]

Kind: TypeAlias = Literal["compute", "storage", "monitor", "observer"]
KINDS: Final[tuple[Kind, ...]] = ("compute", "storage", "monitor")  # what an executor is made of
OBSERVER: Final = "observer"  # any number of these look on; they have no options

CORE: Final = "wren-core"
# Its entry points: nobody else can have these names.
OWN: Final[dict[tuple[Kind, str], str]] = {
    ("compute", "localhost"): "wren.local.compute",
    ("storage", "localhost"): "wren.local.storage",
    ("storage", "memory"): "wren.local.memory",
    ("monitor", "storage"): "wren.polling",
}

# What to install for the names that wren's own packages offer; a stranger's package says so in its own documentation.
PACKAGES: Final = {
    ("compute", "docker"): "wren-backend-docker",
    ("compute", "knative"): "wren-backend-knative",
    ("compute", "openwhisk"): "wren-backend-openwhisk",
    ("compute", "ibm_cf"): "wren-backend-ibmcf",
    ("storage", "ibm_cos"): "wren-storage-cos",
    ("monitor", "rabbitmq"): "wren-monitor-rabbitmq",
}
_NOUNS: Final = {"compute": "compute backend", "storage": "storage", "monitor": "monitor", "observer": "observer"}
_OBSERVED: Final = ("wren_job_submitted", "wren_call_finished", "wren_executor_closed")


class PluginInfo(NamedTuple):
    """An installed plugin that nobody has loaded yet."""

    kind: Kind
    name: str
    target: str
    distribution: str
    version: str


class _Found(NamedTuple):
    """A plugin that can be loaded."""

    distribution: str
    target: str
    load: Callable[[], Any]


def installed(kind: Kind) -> list[PluginInfo]:
    """The plugins of a kind that the installed distributions offer, by name.  Imports none of them."""
    from importlib.metadata import entry_points

    found = {_info(kind, point) for point in entry_points(group=f"wren.{kind}")}
    return sorted(found, key=lambda info: (info.name, info.distribution))


def check_sections(config: "Config") -> None:
    """ConfigError for a section that is none of core's and no plugin's, but nearly."""
    if config.sections:
        config.check_sections(["wren", *(info.name for kind in KINDS for info in installed(kind))])


def shadowed(info: PluginInfo) -> bool:
    """Whether a plugin is never loaded, as wren-core has one of its name."""
    return (info.kind, info.name) in OWN and info.distribution != CORE


def _info(kind: Kind, point: "EntryPoint") -> PluginInfo:
    dist = point.dist
    return PluginInfo(kind, point.name, point.value, dist.name if dist else "?", dist.version if dist else "?")


def load_compute(name: str) -> "type[Compute[Any]]":
    """The class of the compute backend of that name.  Raises the family of `PluginError`."""
    return load("compute", name)


def load_storage(name: str) -> "type[Storage[Any]]":
    """The class of the storage of that name.  Raises the family of `PluginError`."""
    return load("storage", name)


def load_monitor(name: str) -> "type[Monitor[Any]]":
    """The class of the monitor of that name.  Raises the family of `PluginError`."""
    return load("monitor", name)


def load(kind: Kind, name: str) -> type[Any]:
    """The class of the plugin of that kind and name.  Raises the family of `PluginError`."""
    from wren import spi

    contract: type[Any] = {"compute": spi.Compute, "storage": spi.Storage, "monitor": spi.Monitor}[kind]
    plugin = _find(kind, name)
    owner = _owner(kind, name, plugin)
    manager = _manager()
    try:
        manager.register(plugin.load(), name=name)
        manager.check_pending()
        classes = getattr(manager.hook, f"wren_{kind}")()
    except (Exception, SystemExit) as error:  # importing a stranger's module may raise anything
        raise _unloadable(owner, error) from error
    if len(classes) != 1:
        raise PluginError(
            f"{owner} must implement the hook wren_{kind} once; {plugin.target} does so {len(classes)} times"
        )
    found: Any = classes[0]
    if not (isinstance(found, type) and issubclass(found, contract)):
        raise PluginError(f"{owner} must give a subclass of wren.spi.{contract.__name__}, not {found!r}")
    own = getattr(found, "name", None)
    if own != name:
        raise PluginError(f"{owner} gives {found.__qualname__}, whose name is {own!r}: make both names the same")
    return found


def load_observer(name: str) -> "PluginManager":
    """A manager with the observer of that name and nothing else.  Raises the family of `PluginError`."""
    plugin = _find(OBSERVER, name)
    owner = _owner(OBSERVER, name, plugin)
    manager = _manager()
    try:
        observer = plugin.load()
        manager.register(observer, name=name)
        manager.check_pending()
    except (Exception, SystemExit) as error:  # importing a stranger's module may raise anything
        raise _unloadable(owner, error) from error
    if isinstance(observer, type):
        raise PluginError(f"{owner} is a class: name an object of it in the entry point, {plugin.target}")
    if not any(getattr(manager.hook, hook).get_hookimpls() for hook in _OBSERVED):
        raise PluginError(f"{owner} implements none of the hooks {', '.join(_OBSERVED)}")
    return manager


def _manager() -> "PluginManager":
    import pluggy

    from wren import hookspecs

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _owner(kind: Kind, name: str, plugin: _Found) -> str:
    """A plugin, for people."""
    return f"the {_NOUNS[kind]} {name!r} of {plugin.distribution}"


def _unloadable(owner: str, error: BaseException) -> PluginError:
    return PluginError(f"{owner} cannot be loaded: {type(error).__name__}: {error}")


def _find(kind: Kind, name: str) -> _Found:
    target = OWN.get((kind, name))
    if target is not None:
        return _Found(CORE, target, partial(importlib.import_module, target))
    from importlib.metadata import entry_points

    points = {
        (point.value, _info(kind, point).distribution): point for point in entry_points(group=f"wren.{kind}", name=name)
    }
    if len(points) > 1:
        owners = " and ".join(sorted(f"{owner} ({value})" for value, owner in points))
        raise PluginConflict(f"{owners} all offer a {_NOUNS[kind]} {name!r}: uninstall all but one")
    if points:
        [((value, owner), point)] = points.items()
        return _Found(owner, value, point.load)
    raise PluginNotFound(_missing(kind, name))


def _missing(kind: Kind, name: str) -> str:
    """What to do where nobody offers the plugin."""
    import difflib

    names = sorted({info.name for info in installed(kind)})
    package = PACKAGES.get((kind, name))
    near = difflib.get_close_matches(str(name).lower(), [*names, *(known for of, known in PACKAGES if of == kind)], 1)
    if package:
        cure = f"pip install {package}"
    elif near:
        cure = f"did you mean {near[0]!r}?"
    else:
        cure = "is its package installed in this environment?"
    return f"no {_NOUNS[kind]} {name!r}; {cure} (installed: {', '.join(names) or 'none'})"
