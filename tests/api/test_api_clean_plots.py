"""docs/api.md, "clean, plots, progress" (the bar itself is tested with the core)."""

import gc
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import BindingError, Unsupported

Eventually = Callable[[Callable[[], bool]], None]
PNG = b"\x89PNG\r\n\x1a\n"


def add_one(x: int) -> int:
    return x + 1


def fail(x: int) -> int:
    raise ValueError(x)


def stored(folder: Path) -> list[Path]:
    """The files of jobs: not the functions, which are kept between jobs."""
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]  # also while some are removed
    return [path for path in files if "functions" not in path.parts]


def jobs(folder: Path) -> set[str]:
    """The ids of the jobs that have files."""
    return {job for path in stored(folder) for job in re.findall(r"\b[AMR]\d{3}\b", str(path.relative_to(folder)))}


def local(folder: Path, config: dict[str, Any] | None = None, **given: Any) -> wren.FunctionExecutor:
    """An executor whose results lie in the storage, in a folder of the test's."""
    return wren.local_executor({"localhost": {"path": str(folder)}} | (config or {}), workers=2, **given)


def pictures(folder: Path) -> dict[str, bool]:
    """The files of a folder, and whether each is a PNG with something in it."""
    return {path.name: path.read_bytes().startswith(PNG) and path.stat().st_size > 5_000 for path in folder.iterdir()}


# ---- clean


@pytest.mark.api("`clean()` works in the background, with no secret in an argv;")
def test_clean_removes_what_jobs_have_stored_in_the_background(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path, persist=True) as executor:
        executor.map(add_one, range(5))
        executor.map_reduce(add_one, [1, 2], sum)
        assert executor.get_result() == [1, 2, 3, 4, 5, 5]
        assert stored(tmp_path)
        executor.clean()
        eventually(lambda: not stored(tmp_path))


@pytest.mark.api("with no secret in an argv;")
def test_clean_starts_no_process(tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    with local(tmp_path, persist=True) as executor:
        executor.map(add_one, [1])
        executor.get_result()

        def start(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("a process was started")

        monkeypatch.setattr(subprocess, "Popen", start)
        executor.clean()
        eventually(lambda: not stored(tmp_path))


@pytest.mark.api("Also `workers=N` (most calls in flight), `retries`, `persist`, `data_cleaner`.")
@pytest.mark.parametrize("start", ["call_async", "map", "map_reduce"])
def test_what_persists_is_in_the_storage_also_after_it_was_read(start: str, tmp_path: Path) -> None:
    with local(tmp_path, persist=True) as executor:
        if start == "call_async":
            executor.call_async(add_one, 1)
        elif start == "map":
            executor.map(add_one, [1, 2])
        else:
            executor.map_reduce(add_one, [1, 2], sum)
        executor.get_result()
    files = stored(tmp_path)
    for kind in ("result", "status"):
        assert sum(f"{kind}@" in path.parts for path in files) == {"call_async": 1, "map": 2, "map_reduce": 3}[start]


@pytest.mark.api("`clean(local_execution=False)` runs it as a function.")
def test_clean_can_run_as_a_function(tmp_path: Path) -> None:
    with local(tmp_path, persist=True) as executor:
        executor.map(add_one, range(5))
        executor.get_result()
        assert stored(tmp_path)
        executor.clean(local_execution=False)
        assert not jobs(tmp_path)
        assert executor.get_result() == []  # the function is none of the user's calls


def test_clean_as_a_function_where_workers_have_no_storage_says_so_or_has_nothing_to_do() -> None:
    with wren.local_executor(storage_backend="memory", workers=1) as executor:
        executor.map(add_one, [1])
        executor.get_result()
        executor.clean(local_execution=False)


@pytest.mark.api("for plots and `clean`, all of the executor's.")
def test_clean_of_some_leaves_the_jobs_of_others(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path, persist=True) as executor:
        first, second = executor.map(add_one, [1]), executor.map(add_one, [2])
        executor.get_result()
        assert jobs(tmp_path) == {"M000", "M001"}
        executor.clean(fs=first)
        eventually(lambda: jobs(tmp_path) == {"M001"})
        executor.clean(fs=second[0])
        eventually(lambda: not stored(tmp_path))


def test_clean_of_another_executors_calls_is_an_error_and_removes_nothing(tmp_path: Path) -> None:
    with local(tmp_path, persist=True) as executor, wren.local_executor(workers=2) as other:
        mine, others = executor.map(add_one, [1]), other.map(add_one, [2])
        assert mine[0].job_id == others[0].job_id
        executor.wait()
        for local_execution in (True, False):
            with pytest.raises(BindingError, match=rf"is of another executor than {executor.executor_id}"):
                executor.clean(fs=others, local_execution=local_execution)
        assert jobs(tmp_path) == {"M000"}
        assert [executor.get_result(), other.get_result()] == [[2], [3]]


@pytest.mark.parametrize("fs", [3, [3], "M000"])
def test_what_is_no_future_is_named(executor: wren.FunctionExecutor, fs: Any, tmp_path: Path) -> None:
    with pytest.raises(BindingError, match="fs has an object of type"):
        executor.clean(fs=fs)
    with pytest.raises(BindingError, match="fs has an object of type"):
        executor.create_execution_plots(tmp_path, "it", fs=fs)


def test_clean_leaves_what_runs(tmp_path: Path, eventually: Eventually) -> None:
    def wait_for(path: Path) -> bytes:
        while not path.exists():
            pass
        return bytes(1 << 20)

    with local(tmp_path / "store", persist=True) as executor:
        done = executor.map(add_one, [1])
        running = executor.map(wait_for, [tmp_path / "go"], timeout=30)
        executor.get_result(done)
        assert "M000" in jobs(tmp_path / "store")
        executor.clean()
        eventually(lambda: "M000" not in jobs(tmp_path / "store"))
        (tmp_path / "go").touch()
        assert len(running[0].result(20)) == 1 << 20
        executor.get_result()


@pytest.mark.api("`data_cleaner=True` removes a job's temporary data after all of its results were read, never before.")
def test_with_a_data_cleaner_data_goes_when_all_was_read(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path, data_cleaner=True) as executor:
        futures = executor.map_reduce(bytes, [1 << 20, 1 << 20], len)
        futures[-1].exception(20)
        assert stored(tmp_path)
        assert executor.get_result() == 2
        eventually(lambda: not stored(tmp_path))


@pytest.mark.api("`data_cleaner=True` removes a job's temporary data after all of its results were read,")
def test_a_data_cleaner_waits_for_the_last_result_that_is_read(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path, config={"wren": {"data_cleaner": True}}) as executor:
        *inputs, reduced = executor.map_reduce(bytes, [1, 2], len)
        for future in inputs:
            future.result(20)
        assert reduced.exception(20) is None
        executor.clean(executor.call_async(add_one, 1))  # the cleaner has done all that came before
        assert jobs(tmp_path) == {"M000"}
        assert reduced.result() == 2
        eventually(lambda: not stored(tmp_path))


@pytest.mark.api("with `data_cleaner=False` they stay until `clean()` or the program's end")
def test_without_a_data_cleaner_data_stay(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path, data_cleaner=False) as executor:
        executor.map_reduce(bytes, [1, 2], len)
        assert executor.get_result() == 2
        gc.collect()
        executor.clean(executor.call_async(add_one, 1))
        eventually(lambda: jobs(tmp_path) == {"M000"})
        executor.clean()
        eventually(lambda: not stored(tmp_path))


@pytest.mark.api("`persist` of `call_async`, `map` and `map_reduce` is the executor's where it is left out")
def test_one_call_may_persist(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path) as executor:
        executor.map(add_one, [1, 2], persist=True)
        executor.map_reduce(add_one, [1, 2], sum)
        assert executor.get_result() == [2, 3, 5]
        eventually(lambda: jobs(tmp_path) == {"M000"})


# ---- plots


@pytest.mark.api(
    "`create_execution_plots(dst_dir, dst_name, fs=None)` writes `{dst_name}_timeline.png` and "
    "`{dst_name}_histogram.png`",
    "`dst_dir` is made if missing.",
)
@pytest.mark.parametrize("kind", [str, Path])
def test_plots_are_two_pngs_in_a_folder_that_is_made(
    executor: wren.FunctionExecutor, tmp_path: Path, kind: Callable[[Path], Any]
) -> None:
    executor.map(add_one, range(20))
    executor.map_reduce(add_one, range(5), sum)
    executor.call_async(fail, 1)
    executor.get_result(throw_except=False)
    folder = tmp_path / "not" / "there"
    executor.create_execution_plots(kind(folder), "mine")
    assert pictures(folder) == {"mine_timeline.png": True, "mine_histogram.png": True}


@pytest.mark.api("(matplotlib, extra `wren-core[plots]`; the error without it says so).")
def test_without_matplotlib_the_error_says_what_to_install(
    executor: wren.FunctionExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Unsupported, match=r"pip install 'wren-core\[plots\]'"):
        executor.create_execution_plots(tmp_path, "mine")


@pytest.mark.api("Plots work after clean: they come from the job's record.")
def test_plots_work_after_clean_and_after_results_are_gone(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path / "store", persist=True) as executor:
        executor.map(add_one, range(5))
        executor.get_result()
        executor.create_execution_plots(tmp_path / "before", "it")
        executor.clean()
        eventually(lambda: not stored(tmp_path / "store"))
    executor.create_execution_plots(tmp_path / "after", "it")
    names = ["it_histogram.png", "it_timeline.png"]
    assert sorted(pictures(tmp_path / "after")) == names
    # The same calls at the same times
    assert all((tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes() for name in names)


@pytest.mark.api("`fs=None` means, for `wait` and `get_result`, what was not yet collected; for plots and `clean`,")
def test_plots_of_some_are_of_their_jobs_and_of_none_of_all(
    executor: wren.FunctionExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    monkeypatch.setattr("wren.plots.timeline", lambda jobs, _: drawn.append([job.job_id for job in jobs]))
    monkeypatch.setattr("wren.plots.histogram", lambda jobs, _: drawn.append([job.job_id for job in jobs]))
    first, second = executor.map(add_one, [1]), executor.map(add_one, [2])
    executor.get_result()  # what was collected is still the executor's
    executor.create_execution_plots(tmp_path, "all")
    executor.create_execution_plots(tmp_path, "some", fs=second)
    executor.create_execution_plots(tmp_path, "one", fs=first[0])
    assert drawn == [["M000", "M001"]] * 2 + [["M001"]] * 2 + [["M000"]] * 2


@pytest.mark.api("`fs` names calls: the others of their jobs are not drawn, and those of another executor are.")
def test_plots_of_some_calls_are_of_no_others(
    executor: wren.FunctionExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, list[float]]] = []
    monkeypatch.setattr("wren.plots.timeline", lambda jobs, _: drawn.extend((job.job_id, job.started) for job in jobs))
    monkeypatch.setattr("wren.plots.histogram", lambda jobs, _: None)
    with wren.local_executor(workers=2) as other:
        mine, others = executor.map(add_one, range(5)), other.map(add_one, range(3))
        executor.get_result([*mine, *others])
        executor.create_execution_plots(tmp_path, "some", fs=[others[2], mine[3], mine[1]])
        assert drawn == [
            ("M000", [others[2].stats["started"]]),
            ("M000", [mine[1].stats["started"], mine[3].stats["started"]]),
        ]


def test_plots_may_be_drawn_in_any_thread(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    executor.map(add_one, [1])
    executor.get_result()
    thread = threading.Thread(target=executor.create_execution_plots, args=(tmp_path, "it"))
    thread.start()
    thread.join(60)
    assert len(pictures(tmp_path)) == 2


def test_an_executor_without_calls_has_plots_too(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    executor.create_execution_plots(tmp_path, "nothing")
    assert len(list(tmp_path.iterdir())) == 2


# ---- progress


@pytest.mark.api("nothing when output is not a terminal.")
def test_where_output_is_no_terminal_nothing_is_shown(tmp_path: Path) -> None:
    program = "import time, wren\nwren.local_executor(workers=1).call_async(time.sleep, 0.8).result()\n"
    program += "e = wren.local_executor(workers=1)\ne.call_async(time.sleep, 0.8)\ne.wait()\ne.get_result()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm"},
    )
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.api("or in a notebook during a `wait` or `get_result` that lasts over half a second;")
@pytest.mark.parametrize("waiting", ["executor.wait()", "executor.get_result()"])
def test_a_notebook_shows_a_bar_for_a_wait_that_lasts(waiting: str, run_python: Callable[[str], str]) -> None:
    # Given a kernel, which is no terminal
    program = f"""
import sys, types, time
sys.modules["ipykernel"] = types.ModuleType("ipykernel")
sys.stderr = sys.stdout
import wren.progress
shown = []
bar = wren.progress._bar
wren.progress._bar = lambda: shown.append("bar") or bar()
executor = wren.local_executor(workers=1)
executor.call_async(abs, -1).result()  # to start a worker may last, too
executor.call_async(time.sleep, 0)
{waiting}
print(shown)
executor.call_async(time.sleep, 0.9)
{waiting}
print(shown)
"""
    lines = run_python(program).splitlines()
    assert "[]" in lines
    assert "['bar']" in lines
