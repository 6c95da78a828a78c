"""Plugins that are installed for as long as a test runs: distributions made of nothing but entry points.

Plugins are found by their entry points and in no other way, so a test that wants one which no package offers, a fake or
a class of its own, installs it by this.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["plugged"]


@contextmanager
def plugged(
    path: str | Path, plugins: Mapping[str, Mapping[str, str]], *, distribution: str = "", subprocesses: bool = False
) -> Iterator[Path]:
    """Install plugins until the context ends: `{"wren.compute": {"name": "module:attribute"}, ...}`.

    `path` is a folder that is made if need be and put on `sys.path`: modules may be written into it, and are forgotten
    afterwards.  `distribution` is the name that errors have for it; plugins of one name in two distributions are a
    conflict.  With `subprocesses` Pythons that this process starts find them too, by PYTHONPATH.

        @pytest.fixture(autouse=True)
        def installed(tmp_path):
            with plugged(tmp_path, {"wren.monitor": {"socket": "wren.testing.sockets"}}):
                yield
    """
    folder = Path(path).absolute()
    names = sorted({name for points in plugins.values() for name in points})
    _write(folder, plugins, distribution or "-".join(["plugged", *names]))
    place, before = str(folder), os.environ.get("PYTHONPATH")
    sys.path.insert(0, place)
    if subprocesses:
        os.environ["PYTHONPATH"] = place if not before else place + os.pathsep + before
    importlib.invalidate_caches()
    try:
        yield folder
    finally:
        sys.path.remove(place)
        if subprocesses and before is None:
            del os.environ["PYTHONPATH"]
        elif subprocesses and before is not None:
            os.environ["PYTHONPATH"] = before
        for name, module in list(sys.modules.items()):  # the next test may have other modules of these names
            if (getattr(module, "__file__", None) or "").startswith(place + os.sep):
                del sys.modules[name]
        importlib.invalidate_caches()


def _write(folder: Path, plugins: Mapping[str, Mapping[str, str]], distribution: str) -> None:
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    lines = [
        line
        for group, points in plugins.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()), "")
    ]
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
