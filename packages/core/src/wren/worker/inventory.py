"""What a runtime has, told by itself: `python -m wren.worker.inventory` prints it as JSON, for `RuntimeInfo.read`."""

import importlib.machinery
import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from typing import Any, Final

_ENDINGS: Final = tuple(importlib.machinery.all_suffixes())
_DEEPEST: Final = 3  # folders of a namespace, as in google.cloud.storage


def inventory() -> dict[str, Any]:
    """Python's minor version, the platform, and the names of the modules beside the standard library."""
    here = {name for folder in sys.path if folder for name in _modules(folder, "", _DEEPEST)}
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "platform": sysconfig.get_platform(),
        "modules": sorted(name for name in here if name.partition(".")[0] not in sys.stdlib_module_names),
    }


def _modules(folder: str, prefix: str, depth: int) -> Iterator[str]:
    """Packages and modules of a folder, and those of its namespaces by their dotted names."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # a path that is not there, or an archive
        return
    for entry in entries:
        if entry.name.endswith(_ENDINGS):
            name = entry.name.partition(".")[0]
            if name.isidentifier() and name != "__init__":
                yield prefix + name
        elif entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir():
            if any(os.path.exists(os.path.join(entry.path, f"__init__{ending}")) for ending in _ENDINGS):
                yield prefix + entry.name
            elif depth > 1:
                yield from _modules(entry.path, f"{prefix}{entry.name}.", depth - 1)


if __name__ == "__main__":
    json.dump(inventory(), sys.stdout)
