"""How commands print tables, for people and for pipes."""

from collections.abc import Container, Iterable, Sequence
from typing import Final, Literal

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["show"]

UNLIMITED: Final = 10_000  # characters


def show(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[str] = (),
    whole: Iterable[str] = (),
    faint: Container[int] = (),
) -> None:
    """Print a table to stdout.

    `numbers` are the columns to align on the right, `whole` those that are never folded, `faint` the rows (from 0) that
    matter less.

    On a terminal it fits into the width, long cells folded and none cut; elsewhere each row is one line without
    decoration, whatever its length.
    """
    console = Console(markup=False, highlight=False, emoji=False)
    people = console.is_terminal
    table = Table(box=box.SIMPLE_HEAD if people else None, pad_edge=people, header_style="bold")
    right, unfolded = set(numbers), set(whole)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in unfolded)
    for number, row in enumerate(rows):
        table.add_row(*row, style="dim" if number in faint else None)
    if not people:
        console.width = UNLIMITED
    console.print(table)
