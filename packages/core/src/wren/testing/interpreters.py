"""Runs Pythons of their own: one that imports a plugin anew, and one that has nothing but wren, as workers do.

What runs in them is text or, for the worker's halves of storages and monitors, `wren.testing.apart`.  Handles go by
standard input and secrets by the environment: neither is in a command line.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wren.wire import Handle

TIMEOUT = 120.0  # seconds after which a process that should take one is a failure


def fresh(program: str) -> str:
    """What a program prints in a Python that finds the modules that this one finds, and has imported none of them."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return _run([sys.executable, "-P", "-c", program], env, "")


def as_worker(
    folder: Path, entry: str, handle: Handle, steps: Sequence[Any], env: Mapping[str, str], packages: Iterable[str]
) -> Any:
    """What `wren.testing.apart`'s function `entry` answers about a handle and steps, as JSON, where a worker would run.

    That Python finds the standard library, wren, the handle's own top-level package and those named, by links in
    `folder`; and of the environment only `env`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in {"wren", handle.target.partition(":")[0].partition(".")[0], *packages}:
        _link(name, folder)
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); from wren.testing.apart import *; main({entry})"
    task = json.dumps({"target": handle.target, "options": dict(handle.options), "steps": list(steps)})
    return json.loads(_run([sys.executable, "-I", "-S", "-c", program], dict(env), task))


def _link(name: str, folder: Path) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"no package {name!r} here: name it as it is imported", name=name)
    places = [*(spec.submodule_search_locations or []), spec.origin or ""]  # a package's folder, or a module's file
    source = Path(places[0])
    link = folder / source.name
    if not link.is_symlink():
        link.symlink_to(source, target_is_directory=source.is_dir())


def _run(command: Sequence[str], env: Mapping[str, str], given: str) -> str:
    done = subprocess.run(
        command, input=given, env=env, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT, check=False
    )
    if done.returncode != 0:  # an assert would show more than what it said
        raise AssertionError(f"a Python of its own failed:\n{done.stderr}")
    return done.stdout
