"""For which Python and platform an extension module was compiled, told by this machine and by the file's name."""

import os
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES

from wren.spi import RuntimeInfo

__all__ = ["other_platform"]

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def other_platform(file: str, runtime: RuntimeInfo) -> tuple[str, str] | None:
    """What an extension is for and what the runtime is, for people; None where the runtime can load it.

    A package may have the file of the other platform beside it.
    """
    here = sysconfig.get_platform()
    if not _is_same(here, runtime.platform):
        other = here, runtime.platform
    elif runtime.python and runtime.python != _PYTHON and ".abi3." not in os.path.basename(file):
        other = f"Python {_PYTHON}", f"Python {runtime.python}"
    else:
        return None
    return None if _has_theirs(file, runtime) else other


def _is_same(here: str, there: str) -> bool:
    """A backend may know no more than the system: "linux"."""
    return not there or here == there or here.startswith(f"{there}-")


def _has_theirs(file: str, runtime: RuntimeInfo) -> bool:
    """Whether the file that the runtime would load is there, too."""
    folder, name = os.path.split(file)
    endings = (ending for ending in EXTENSION_SUFFIXES if name.endswith(ending))
    stem = name.removesuffix(next(endings, os.path.splitext(name)[1]))
    machine = runtime.platform.partition("-")[2].replace("-", "_")
    tag = f"{stem}.cpython-{runtime.python.replace('.', '')}-{machine}-"
    return any(each.startswith(tag) for each in os.listdir(folder))
