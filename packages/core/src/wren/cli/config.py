"""`wren config show`, what is configured and where that comes from, and `wren config migrate`, from PyWren's to wren's.

The conversion is that of the package wren-compat-pywren, which programs of old need anyway.
"""

import json
import os
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

__all__ = ["migrate", "show"]

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


def show(*, as_json: bool) -> bool:
    """Print every key with its value and source, secrets masked, and say what is wrong; whether nothing is."""
    import click

    from wren.cli.settings import DEFAULT, load_all, survey
    from wren.cli.tables import show as show_table
    from wren.config import VARIABLE, config_file, places

    found = survey(load_all())
    problems = [found.public(each) for each in found.problems]
    if as_json:
        rows = [each._asdict() | {"problem": each.problem and found.public(each.problem)} for each in found.settings]
        click.echo(json.dumps({"file": config_file(), "settings": rows, "problems": problems}, indent=2))
        return not problems
    show_table(
        ("section", "key", "value", "type", "from"),
        [
            (_plain(each.section), _plain(each.key), _plain(each.value), each.type, each.source.removeprefix(VARIABLE))
            for each in found.settings
        ],
        faint={number for number, each in enumerate(found.settings) if each.source == DEFAULT},
    )
    if config_file() is None:
        click.echo(f"No configuration file: neither {' nor '.join(places())} is there.", err=True)
    for detail, cure in found.warnings:
        click.echo(f"Warning: {_plain(detail)}: {cure}", err=True)
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    return not problems


def _plain(value: Any) -> str:
    """A value for a table: as it is where it is a text that can be seen, else as Python writes it."""
    return value if isinstance(value, str) and value.strip() == value != "" and value.isprintable() else repr(value)


def _users() -> Path:
    from wren.config import places

    return Path(places()[1])


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
