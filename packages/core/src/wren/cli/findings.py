"""What `wren doctor` has found: the record, and how it is printed."""

import enum
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Finding", "Level", "show", "summary"]


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # calls run all the same
    FAILURE = "failure"


# Words, as they need no font and no colour.  Colours are the terminal's own: they are read on dark and on light ground.
SIGNS: Final = {Level.OK: "ok", Level.WARNING: "warn", Level.FAILURE: "FAIL"}
STYLES: Final = {Level.OK: "green", Level.WARNING: "black on yellow", Level.FAILURE: "bold red"}
NAME: Final = 26  # characters of a name's column on a terminal


class Finding(NamedTuple):
    """One thing that was looked at; `cure` says in one line what to do where it is not well."""

    name: str
    level: Level
    detail: str
    cure: str = ""

    def public(self, public: Callable[[str], str]) -> "Finding":
        """The same without what nobody may see, and without the cure of what is well."""
        cure = "" if self.level is Level.OK else public(self.cure)
        return Finding(public(self.name), self.level, public(self.detail), cure)


def show(finding: Finding) -> None:
    """Print it: to a terminal in columns, folded where need be; elsewhere a line, and one for the cure."""
    console = Console(markup=False, highlight=False, emoji=False)
    cure = f"cure: {finding.cure}" if finding.cure else ""
    sign = SIGNS[finding.level]
    if not console.is_terminal:
        line = f"{sign:<4}  {finding.name}: {finding.detail}"
        click.echo(f"{line}\n      {cure}" if cure else line)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=len("FAIL"))
    grid.add_column(width=NAME, overflow="fold")
    grid.add_column(overflow="fold")
    grid.add_row(Text(sign, STYLES[finding.level]), Text(finding.name), Text(finding.detail))
    if cure:
        grid.add_row("", "", Text(cure, "bold"))
    console.print(grid)


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of what is not well."""
    counts = {level: sum(each.level is level for each in findings) for level in (Level.FAILURE, Level.WARNING)}
    said = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    return f"{' and '.join(said)}." if said else "All is well."
