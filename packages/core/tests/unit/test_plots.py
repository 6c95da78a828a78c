"""What a timeline shows, whatever became of the calls."""

import importlib.util
import os
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from wren.errors import Unsupported
from wren.plots import timeline
from wren.spi import Outcomes
from wren.table import CallTable, Details, Owner

EPOCH = 1_700_000_000.0


@pytest.fixture
def matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        message = "needs matplotlib: pip install 'wren-core[plots]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


NOBODY: Owner = create_autospec(Owner, instance=True)  # the owner of jobs that are over


def table(spans: Sequence[tuple[float, float]], *, of: int | None = None, job: str = "M000") -> CallTable:
    """A job whose first calls ran from and to these seconds after its submission; of the others nothing is known."""
    calls = CallTable("abc-0", job, of or len(spans), NOBODY)
    calls.submitted = EPOCH
    started, stopped = [EPOCH + start for start, _ in spans], [EPOCH + stop for _, stop in spans]
    calls.succeed(Outcomes(range(len(spans)), [None] * len(spans), started, stopped, {}))
    return calls


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its first chunk."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


def texts(tables: Sequence[CallTable]) -> list[str]:
    """What the title and the legend say."""
    from matplotlib.figure import Figure

    from wren import plots

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    plots._draw(axes, tables)
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [axes.get_title(loc="left"), *legend]


@pytest.mark.usefixtures("matplotlib")
def test_timeline_is_a_png_in_a_folder_that_it_makes(tmp_path: Path) -> None:
    # Given
    map_job, reduce_job = table([(0.1, 0.5), (0.1, 0.7), (0.5, 0.9)]), table([(1.0, 1.2)], job="R000")
    # When
    path = timeline([map_job, reduce_job], str(tmp_path / "new" / "timeline.png"))
    # Then
    assert path == tmp_path / "new" / "timeline.png"
    assert size(path) == (1440, 810)


@pytest.mark.usefixtures("matplotlib")
def test_title_and_legend_count_calls_of_each_job_and_failures() -> None:
    map_job = table([(0.1, 0.5)], of=3)
    map_job.fail(1, ValueError("no"), Details(EPOCH + 0.1, EPOCH + 2.5))
    map_job.fail(2, OSError("never started"), Details(stopped=EPOCH + 0.2))
    assert texts([map_job, table([(1.0, 1.2)], job="R000")]) == [
        "4 calls in 2.50 s",
        "map M000: 3 calls",
        "reduce R000: 1 call",
        "failed: 2 calls",
    ]


@pytest.mark.usefixtures("matplotlib")
def test_more_jobs_than_a_legend_has_room_for_have_none() -> None:
    assert texts([table([(0.0, 1.0)])] * 7) == ["7 calls in 1.00 s"]


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize(
    "tables",
    [
        [],
        [CallTable("abc-0", "M000", 0, NOBODY)],
        [CallTable("abc-0", "M000", 3, NOBODY)],
        [table([(0.0, 0.0)])],
        [table([(-9.0, -8.0)])],
    ],
    ids=["no job", "no call", "none ended", "no time passed", "the worker's clock is late"],
)
def test_there_is_a_picture_of_whatever_happened(tables: list[CallTable], tmp_path: Path) -> None:
    assert size(timeline(tables, tmp_path / "t.png")) == (1440, 810)


@pytest.mark.usefixtures("matplotlib")
def test_cancelled_calls_leave_their_rows_empty() -> None:
    from wren import plots

    calls = table([(0.1, 0.5)], of=2)
    calls.cancel(1)
    assert [bar.row for bar, _ in plots._bars(calls, 0, EPOCH)] == [0]


@pytest.mark.usefixtures("matplotlib")
def test_ten_thousand_calls_take_under_two_seconds(tmp_path: Path) -> None:
    calls = table([(at / 1000, at / 1000 + 0.5) for at in range(10_000)])
    timeline([table([(0.1, 0.5)])], tmp_path / "first.png")  # with all that is imported and looked for once
    start = time.process_time()  # what else the machine does is none of it
    timeline([calls], tmp_path / "t.png")
    assert time.process_time() - start < 2.0


@pytest.mark.usefixtures("matplotlib")
def test_drawing_does_not_import_pyplot(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from wren.plots import timeline
        timeline([], sys.argv[1])
        print("matplotlib.pyplot" in sys.modules)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "t.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    # When
    with pytest.raises(Unsupported) as caught:
        timeline([], tmp_path / "new" / "t.png")
    # Then
    assert "pip install 'wren-core[plots]'" in str(caught.value)
    assert not (tmp_path / "new").exists()
