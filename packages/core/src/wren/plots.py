"""Pictures of what calls did, for those who wonder where the time went.

matplotlib is the extra `wren-core[plots]` and is imported when a picture is drawn.  Figures are made without pyplot: a
program's own figures, backend and settings stay as they are, and any thread may draw.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from wren.errors import Unsupported
from wren.futures import Future
from wren.table import FAILED, CallTable

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["Times", "histogram", "require_matplotlib", "timeline"]

T = TypeVar("T")

# Okabe and Ito's palette, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/).
JOBS: Final = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#999999")
KINDS: Final = {"A": "call", "M": "map", "R": "reduce"}  # what the letter of a job's id stands for
FAILURE: Final = "#D55E00"
INK: Final = "#444444"
INCHES: Final = (9.6, 5.4)
DPI: Final = 150
NAMED: Final = 6  # jobs that a legend has room for
HAIR: Final = 1 / 600  # of the x axis: a bar is as wide as that at least, about two pixels
ROWS_HEIGHT: Final = 290.0  # points from the first row to the last, about
THICKEST: Final = 12.0  # points that a bar is high at most
CROWDED, SPARSE = 0.5, 2.0  # points that it is high at least, among thousands and among few


class Times(NamedTuple):
    """When the calls of a job ran: what is left of it when its results were read and its objects removed."""

    job_id: str
    submitted: float  # epoch seconds
    states: Sequence[int]
    started: Sequence[float]
    stopped: Sequence[float]

    @classmethod
    def of(cls, table: CallTable) -> "Times":
        """Those of a job; they are filled in as it goes on, and keep no result alive."""
        return cls(table.job_id, table.submitted, table.states, table.started, table.stopped)

    @classmethod
    def of_calls(cls, futures: Iterable[Future[Any]]) -> "list[Times]":
        """Those of some calls as they are now, by job."""
        jobs: dict[CallTable, set[int]] = {}
        for future in futures:
            jobs.setdefault(future.table, set()).add(future.call)
        made = []
        for table, calls in jobs.items():
            times = (_pick(column, calls) for column in (table.started, table.stopped))
            made.append(cls(table.job_id, table.submitted, _pick(table.states, calls), *times))
        return made


def _pick(values: Sequence[T], calls: set[int]) -> list[T]:
    return [values[call] for call in sorted(calls)]


class _Bar(NamedTuple):
    """One call: its row, and when it ran in seconds since the first submission."""

    row: int
    start: float
    stop: float


def require_matplotlib() -> None:
    """Raise Unsupported, which says what to install, where no picture can be drawn."""
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401 - what the pictures need
    except ImportError as error:
        raise Unsupported(f"plots need matplotlib ({error}): pip install 'wren-core[plots]'") from error


def timeline(jobs: Sequence[Times | CallTable], path: "str | Path") -> "Path":
    """Draw when each call of some jobs ran, one row for each call in the jobs' order, as a PNG; its path.

    A bar goes from the call's start to its end.  Failed calls have a colour of their own, and are a hair where they
    failed if they never started; calls that have not ended, or were cancelled, leave their row empty.  The folder is
    made if it is missing.  Raises Unsupported without matplotlib.
    """
    return _save(lambda axes: _draw(axes, jobs), path)


def histogram(jobs: Sequence[Times | CallTable], path: "str | Path") -> "Path":
    """Draw how many calls of some jobs ran at each moment, as a PNG; its path.

    Each job is a step, one upon the other.  The folder is made if missing.  Raises Unsupported without matplotlib.
    """
    return _save(lambda axes: _draw_concurrency(axes, jobs), path)


def _save(draw: "Callable[[Axes], None]", path: "str | Path") -> "Path":
    require_matplotlib()
    from pathlib import Path

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # becomes the figure's own
    draw(figure.add_subplot())
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, format="png")
    return target


def _draw_concurrency(axes: "Axes", jobs: Sequence[Times | CallTable]) -> None:
    epoch = min((job.submitted for job in jobs), default=0.0)
    spans = [[bar for bar, _ in _bars(job, 0, epoch)] for job in jobs]
    moments = sorted({at for bars in spans for bar in bars for at in (bar.start, bar.stop)})
    place = {at: index for index, at in enumerate(moments)}
    below = [0] * len(moments)
    legend: list[tuple[str, str]] = []
    for at, (job, bars) in enumerate(zip(jobs, spans, strict=True)):
        changes = [0] * len(moments)
        for bar in bars:
            changes[place[bar.start]] += 1
            changes[place[bar.stop]] -= 1
        level = [base + running for base, running in zip(below, accumulate(changes), strict=True)]
        colour = JOBS[at % len(JOBS)]
        axes.fill_between(moments, below, level, step="post", color=colour, linewidth=0)
        legend.append((colour, _named(job)))
        below = level
    most, end = max(below, default=0), max(moments, default=0.0)
    axes.set_title(
        f"{_calls(sum(len(job.states) for job in jobs))}, at most {most:,} at once",
        loc="left",
        fontweight="bold",
        pad=12,
    )
    _frame(axes, end)
    axes.set_ylabel("calls that ran", color=INK)
    axes.set_ylim(0, max(most, 1) * 1.05)
    if 0 < len(jobs) <= NAMED:
        _explain(axes, legend)


def _draw(axes: "Axes", tables: Sequence[Times | CallTable]) -> None:
    epoch = min((table.submitted for table in tables), default=0.0)
    ran: list[list[_Bar]] = []  # by table
    failed: list[_Bar] = []
    rows = 0
    for table in tables:
        ended = list(_bars(table, rows, epoch))
        rows += len(table.states)
        ran.append([bar for bar, failure in ended if not failure])
        failed += [bar for bar, failure in ended if failure]
    end = max([0.0, *(bar.stop for bars in [*ran, failed] for bar in bars)])
    legend: list[tuple[str, str]] = []  # colours and what they are
    for at, (table, bars) in enumerate(zip(tables, ran, strict=True)):
        colour = JOBS[at % len(JOBS)]
        _add(axes, bars, colour, rows, end)
        legend.append((colour, _named(table)))
    if failed:
        _add(axes, failed, FAILURE, rows, end)
        legend.append((FAILURE, f"failed: {_calls(len(failed))}"))
    axes.set_title(f"{_calls(rows)} in {end:,.2f} s", loc="left", fontweight="bold", pad=12)
    _frame(axes, end)
    axes.set_ylabel("call", color=INK)
    axes.set_xlim(min(0.0, axes.dataLim.x0), end * 1.02 or 1.0)
    axes.set_ylim(-0.7, max(rows, 1) - 0.3)
    if 0 < len(tables) <= NAMED:
        _explain(axes, legend)


def _named(job: Times | CallTable) -> str:
    """A job for the legend."""
    return f"{KINDS.get(job.job_id[:1], 'job')} {job.job_id}: {_calls(len(job.states))}"


def _bars(table: Times | CallTable, row: int, epoch: float) -> Iterator[tuple[_Bar, bool]]:
    """The calls that have ended, and whether each has failed."""
    for call, (state, start, stop) in enumerate(zip(table.states, table.started, table.stopped, strict=True)):
        failure = state == FAILED
        if stop and (start or failure):
            yield _Bar(row + call, (start or stop) - epoch, stop - epoch), failure


def _add(axes: "Axes", bars: list[_Bar], colour: str, rows: int, end: float) -> None:
    """Add bars as one artist: one for each call would take seconds for 10,000."""
    least = min(max(ROWS_HEIGHT / max(len(bars), 1), CROWDED), SPARSE)  # or nobody would find the one that failed
    axes.hlines(
        [bar.row for bar in bars],
        [bar.start for bar in bars],
        [max(bar.stop, bar.start + end * HAIR) for bar in bars],
        colors=colour,
        linewidths=min(max(0.8 * ROWS_HEIGHT / max(rows, 1), least), THICKEST),
    )


def _frame(axes: "Axes", end: float) -> None:
    """The axes and their units."""
    axes.set_xlabel("seconds since the first submission", color=INK)
    axes.locator_params(axis="y", integer=True)
    axes.set_xlim(0.0, end * 1.02 or 1.0)
    axes.grid(axis="x", color=INK, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)


def _explain(axes: "Axes", legend: list[tuple[str, str]]) -> None:
    """Say below the axes which colour is what."""
    from matplotlib.patches import Patch

    patches = [Patch(color=colour, label=label) for colour, label in legend]
    axes.figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, handleheight=0.5)


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"
