"""`wren config migrate`: PyWren's configuration becomes a file that wren reads.

The conversion is that of the package wren-compat-pywren, which programs of old need anyway.
"""

import os
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

__all__ = ["migrate"]

PACKAGE: Final = "wren-compat-pywren"


def migrate(source: Path | None, target: Path | None, *, force: bool) -> None:
    """Convert `source`, else what PyWren would have read, into `target`, else the user's configuration file.

    Prints what was left out, by name: values may be secrets.  Raises ConfigError.
    """
    import click

    from wren.errors import ConfigError

    try:
        distribution(PACKAGE)  # asked for by its own name: the original package is imported as the same module
    except PackageNotFoundError:
        raise ConfigError(f"PyWren's configuration is read by another package: pip install {PACKAGE}") from None
    from pywren_ibm_cloud.migration import migrate as convert

    path = target or _users()
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} is there already: name another file with --to, or replace it with --force")
    migration = convert(source)
    for (section, reason), keys in groupby(migration.left, attrgetter("section", "reason")):
        names = ", ".join(left.key for left in keys)
        click.echo(f"Warning: not migrated from [{section}]: {names} ({reason}).", err=True)
    if not migration.toml:
        raise ConfigError(f"{migration.source} has nothing that wren has an option for, so {path} was not written")
    try:
        _write(path, f"# Made from PyWren's configuration by `wren config migrate`.\n\n{migration.toml}")
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be written: {error.strerror}") from error
    click.echo(f"{migration.source} was migrated to {path}, which only you can read.")


def _users() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "wren" / "config.toml"


def _write(path: Path, text: str) -> None:
    """Write a whole file or none, which nobody else can read at any time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
