"""Pictures of what calls did, for those who wonder where the time went.

matplotlib is the extra `wren-core[plots]` and is imported when a picture is drawn.  Figures are made without pyplot: a
program's own figures, backend and settings stay as they are, and any thread may draw.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from wren.errors import Unsupported
from wren.futures import FAILED, CallTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["timeline"]

# Okabe and Ito's palette, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/).
JOBS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
FAILURE: Final = "#D55E00"
INK: Final = "#444444"
INCHES: Final = (9.6, 5.4)
DPI: Final = 150
NAMED: Final = 6  # jobs that a legend has room for
HAIR: Final = 1 / 600  # of the x axis: a bar is as wide as that at least, about two pixels
ROWS_HEIGHT: Final = 290.0  # points from the first row to the last, about
THINNEST, THICKEST = 0.5, 12.0  # points that a bar is high


class _Bar(NamedTuple):
    """One call: its row, and when it ran in seconds since the first submission."""

    row: int
    start: float
    stop: float


class _Shape(NamedTuple):
    """What all bars have in common: the least width in seconds, and the height in points."""

    hair: float
    height: float


def timeline(tables: Sequence[CallTable], path: str | Path) -> Path:
    """Draw when each call of some jobs ran, one row for each call in the jobs' order, as a PNG; its path.

    A bar goes from the call's start to its end; failed calls have a colour of their own, and a cross where they have
    failed without a start.  Calls that have not ended, or were cancelled, keep their row empty.  The folder is made if
    it is missing.  Raises Unsupported without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Unsupported(f"plots need matplotlib, pip install 'wren-core[plots]' gives it ({error})") from error

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    _draw(figure.add_subplot(), tables)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(target)
    return target


def _draw(axes: "Axes", tables: Sequence[CallTable]) -> None:
    epoch = min((table.submitted for table in tables), default=0.0)
    ran: list[list[_Bar]] = []
    failed: list[_Bar] = []
    rows = 0
    for table in tables:
        bars = list(_bars(table, rows, epoch))
        rows += len(table)
        ran.append([bar for bar, failure in bars if not failure])
        failed += [bar for bar, failure in bars if failure]
    end = max((bar.stop for bars in [*ran, failed] for bar in bars), default=0.0)
    shape = _Shape(end * HAIR, min(max(0.8 * ROWS_HEIGHT / max(rows, 1), THINNEST), THICKEST))
    for at, (table, bars) in enumerate(zip(tables, ran, strict=True)):
        _add(axes, bars, shape, JOBS[at % len(JOBS)], f"{table.job_id}: {_calls(len(table))}")
    if failed:
        _add(axes, failed, shape, FAILURE, f"failed: {_calls(len(failed))}")
    axes.set_title(f"{_calls(rows)} in {end:,.2f} s", loc="left", fontweight="bold", pad=12)
    _frame(axes, len(tables), rows, end)


def _bars(table: CallTable, row: int, epoch: float) -> Iterator[tuple[_Bar, bool]]:
    """The calls that have ended, and whether each has failed."""
    for call, (state, start, stop) in enumerate(zip(table.states, table.started, table.stopped, strict=True)):
        failure = state == FAILED
        if stop and (start or failure):
            yield _Bar(row + call, (start or stop) - epoch, stop - epoch), failure


def _add(axes: "Axes", bars: list[_Bar], shape: _Shape, colour: str, label: str) -> None:
    """Add bars as one artist: one for each call would take seconds for 10,000."""
    axes.hlines(
        [bar.row for bar in bars],
        [bar.start for bar in bars],
        [max(bar.stop, bar.start + shape.hair) for bar in bars],
        colors=colour,
        linewidths=shape.height,
        label=label,
    )


def _frame(axes: "Axes", jobs: int, rows: int, end: float) -> None:
    """Axes, their units, and a legend where the jobs are few enough for one."""
    axes.set_xlabel("seconds since the first submission", color=INK)
    axes.set_ylabel("call", color=INK)
    axes.locator_params(axis="y", integer=True)
    axes.set_xlim(min(0.0, axes.dataLim.x0), end * 1.02 or 1.0)
    axes.set_ylim(-1, max(rows, 1))
    axes.grid(axis="x", color=INK, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    handles, labels = axes.get_legend_handles_labels()
    if 0 < jobs <= NAMED:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"
