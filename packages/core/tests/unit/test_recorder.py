"""What the recorder writes of a job, the history reads: whatever its calls are called, print and raise."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren import callbacks, entries, history, recorder, state
from wren.binding import Bound
from wren.errors import NoSuchJob, WorkerLost
from wren.history import Failed, JobRecord
from wren.job import CallOptions, Job
from wren.recorder import Recorder
from wren.references import Reference
from wren.serialize import pickle_arguments
from wren.table import CallTable, Details, Owner
from wren.wire import Blob, Failure, Header

NOBODY: Owner = create_autospec(Owner, instance=True)
PLACE = "localhost", "memory"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own, and nothing is written but when the test says so."""
    recorder.recorder.flush()
    monkeypatch.setattr(callbacks, "after", lambda seconds, action: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "wren" / "jobs"


def made(name: str, calls: int, *, function: str = "f") -> Job:
    """A job of which nothing runs."""
    executor_id, _, job_id = name.partition("/")
    table = CallTable(executor_id, job_id, calls, NOBODY)
    job = Job(Header("", job_id, b"", Blob("", 0), ""), [], pickle_arguments(Bound([], None)), table, CallOptions())
    job.name = function
    return job


class Jobs:
    """An engine, as far as the recorder asks one."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = jobs

    def running(self) -> Iterator[tuple[Job, tuple[str, str]]]:
        return ((job, PLACE) for job in self.jobs if job.table.unfinished)


def look(records: Recorder, engine: Jobs) -> None:
    """As when the time has come to look at what runs."""
    records.follow(engine)
    for entry in records._running:
        entry.next = 0.0
    records.flush()


def succeed(job: Job, call: int, *, logs: str = "", started: float = 0.0, stopped: float = 0.0) -> None:
    job.table.settle_one(call, None, Details(started, stopped, logs))


def only() -> JobRecord:
    [record] = history.jobs()
    return record


def lines(place: Path) -> int:
    """How many there are of jobs."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in place.glob("*.jsonl"))


TEXTS = st.text(st.characters(categories=["L", "N", "P", "Z", "C", "S"]), max_size=50)  # halves of characters, too
ENDS = st.one_of(
    st.tuples(st.just("ok"), TEXTS),
    st.tuples(st.just("err"), TEXTS),
    st.tuples(st.just("lost"), TEXTS),
    st.just(("cancelled", "")),
    st.just(("open", "")),
)


def settle(job: Job, call: int, how: str, text: str) -> None:
    match how:
        case "ok":
            succeed(job, call, logs=text)
        case "err":
            job.table.fail(call, Failure("exception", "Error", text, text), Details(logs=text))
        case "lost":
            job.table.fail(call, WorkerLost(text), Details())
        case "cancelled":
            job.table.cancelled(call)


def readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@given(function=TEXTS, ends=st.lists(ENDS, min_size=1, max_size=6), looks=st.sets(st.integers(0, 5)))
def test_what_is_written_is_read(function: str, ends: list[tuple[str, str]], looks: set[int]) -> None:
    # Given
    records = Recorder()
    job = made("abcdef-0/M000", len(ends), function=function)
    engine = Jobs(job)
    # When calls settle, and the queue is looked at any time
    for call, (how, text) in enumerate(ends):
        settle(job, call, how, text)
        if call in looks:
            look(records, engine)
    if not job.table.unfinished:
        records.ended(job, PLACE)
    look(records, engine)
    # Then
    record = next(each for each in history.jobs() if each.submitted == job.table.submitted)
    ways = [how for how, _ in ends]
    assert (record.function, record.calls) == (readable(function), len(ends))
    assert (record.backend, record.storage) == PLACE
    assert record.done == ways.count("ok")
    assert record.failed == ways.count("err") + ways.count("lost")
    assert record.cancelled == ways.count("cancelled")
    assert (record.ended is None) == ("open" in ways)
    assert record.logs == {at: readable(text) for at, (how, text) in enumerate(ends) if how in ("ok", "err") and text}
    said = [
        Failed(call, "Error" if how == "err" else "WorkerLost", readable(text), readable(text) if how == "err" else "")
        for call, (how, text) in enumerate(ends)
        if how in ("err", "lost")
    ]
    assert sorted(record.failures) == said


def test_a_job_that_is_over_at_once_is_one_line(place: Path) -> None:
    records = Recorder()
    job = made("abcdef-0/M000", 3)
    for call in range(3):
        succeed(job, call)
    records.ended(job, PLACE)
    records.flush()
    assert lines(place) == 1
    assert (only().state, only().done) == ("done", 3)


def test_a_job_that_ends_while_it_is_looked_at_is_over(place: Path) -> None:
    # Given an engine that still names a job whose last call has settled, as its end comes only now
    records, job = Recorder(), made("abcdef-0/A000", 1)

    class Late(Jobs):
        def running(self) -> Iterator[tuple[Job, tuple[str, str]]]:
            return ((job, PLACE) for job in self.jobs)

    engine = Late(job)
    succeed(job, 0)
    look(records, engine)
    assert records._running == []
    # When
    records.ended(job, PLACE)
    look(records, engine)
    # Then
    assert (lines(place), only().state) == (1, "done")


def test_a_job_that_runs_is_told_again_only_where_something_has_changed(place: Path) -> None:
    # Given
    records, job = Recorder(), made("abcdef-0/M000", 2)
    engine = Jobs(job)
    look(records, engine)
    assert (only().state, only().settled) == ("running", 0)
    # When nothing happens
    look(records, engine)
    # Then
    assert lines(place) == 1
    # When something does, but it is too early
    succeed(job, 0, logs="printed")
    records.flush()
    assert lines(place) == 1
    # And later
    look(records, engine)
    assert (lines(place), only().done, only().logs) == (2, 1, {0: "printed"})


def test_a_loop_of_single_calls_is_one_line_and_each_is_found(place: Path) -> None:
    # Given
    records = Recorder()
    for number in range(998, 1_500):
        job = made(f"abcdef-0/A{number:03d}", 1)
        job.table.submitted -= number == 998  # so long that times are worth their place
        succeed(job, 0, started=job.table.submitted + 1, stopped=job.table.submitted + 3)
        records.ended(job, PLACE)
    # When
    records.flush()
    # Then
    assert lines(place) == 1
    assert (only().job, only().last, only().calls, only().done) == ("abcdef-0/A998", "A1499", 502, 502)
    assert history.find("abcdef-0/A1000").job == "abcdef-0/A1000"
    assert history.find("last").job == "abcdef-0/A1499"
    one = history.find("abcdef-0/A1000")
    assert one.calls == 1
    assert one.seconds is not None
    assert one.seconds == pytest.approx(2.0, abs=1e-5)
    with pytest.raises(NoSuchJob):
        history.find("abcdef-0/A1500")


def test_what_a_loop_has_to_tell_is_told_by_itself_and_listed_together(place: Path) -> None:
    # Given a failure, something printed, another function, another executor
    records = Recorder()
    jobs = [made(f"abcdef-0/A{number:03d}", 1, function="g" if number == 8 else "f") for number in range(9)]
    jobs.append(made("abcdef-1/A009", 1, function="g"))
    for number, job in enumerate(jobs):
        settle(job, 0, "err" if number == 3 else "ok", "some" if number == 5 else "")
        records.ended(job, PLACE)
    # When
    records.flush()
    # Then
    assert [(each.job, each.calls) for each in history.jobs()] == [
        ("abcdef-0/A000", 3),
        ("abcdef-0/A003", 1),
        ("abcdef-0/A004", 1),
        ("abcdef-0/A005", 1),
        ("abcdef-0/A006", 2),
        ("abcdef-0/A008", 1),
        ("abcdef-1/A009", 1),
    ]
    listed = [(each.job, each.last, each.calls, each.done, each.failed) for each in history.together(history.jobs())]
    assert listed == [
        ("abcdef-0/A000", "A007", 8, 7, 1),
        ("abcdef-0/A008", "", 1, 1, 0),
        ("abcdef-1/A009", "", 1, 1, 0),
    ]


def test_of_many_failures_some_are_told_and_all_are_counted() -> None:
    records, job = Recorder(), made("abcdef-0/M000", 1_000)
    for call in range(1_000):
        settle(job, call, "err" if call % 2 else "ok", "x" * 10_000 if call < 10 else "")
    records.ended(job, PLACE)
    records.flush()
    assert (only().failed, len(only().failures)) == (500, entries.FAILURES)
    assert [each.call for each in only().failures] == list(range(1, 200, 2))
    assert len(only().failures[0].message) == entries.MESSAGE + 1
    assert len(only().failures[0].traceback) == entries.PRINTED + 1


def test_failures_that_come_one_after_another_are_not_told_more_often() -> None:
    # Given a job whose last calls fail first
    records, job = Recorder(), made("abcdef-0/M000", 300)
    engine = Jobs(job)
    for call in reversed(range(300)):
        settle(job, call, "err", "")
        if call % 100 == 0:
            look(records, engine)
    # When
    records.ended(job, PLACE)
    records.flush()
    # Then
    assert (only().failed, len(only().failures)) == (300, entries.FAILURES)


def test_of_what_was_printed_the_ends_are_told_of_the_failed_calls_first() -> None:
    records, job = Recorder(), made("abcdef-0/M000", 200)
    for call in range(200):
        settle(job, call, "err" if call == 150 else "ok", f"{'x' * 10_000}{call}")
    records.ended(job, PLACE)
    records.flush()
    assert sum(map(len, only().logs.values())) <= entries.LOGS + entries.PRINTED + 1
    assert only().unlogged == 200 - len(only().logs) > 100
    assert {0, 150} <= only().logs.keys()
    assert only().logs[150].endswith("x150")


def test_times_of_each_call_are_kept_where_they_cost_little() -> None:
    # Given a job that was slow, and one that had not the time of a line
    records = Recorder()
    slow, quick = made("abcdef-0/M000", 10), made("abcdef-0/M001", 10_000)
    slow.table.submitted -= 10
    for job in (slow, quick):
        for call in range(len(job.table)):
            submitted = job.table.submitted
            succeed(job, call, started=submitted + 0.5 if call else 0.0, stopped=submitted + 2.0)
    quick.table.submitted = time.time() - 0.5
    for job in (slow, quick):
        records.ended(job, PLACE)
    # When
    records.flush()
    # Then
    by_name = {each.job: each for each in history.jobs()}
    took = by_name["abcdef-0/M000"].took
    assert took[0] is None
    assert took[1] == pytest.approx(1_500_000, abs=2)
    assert by_name["abcdef-0/M000"].started[1] == pytest.approx(500_000, abs=2)
    assert not by_name["abcdef-0/M001"].took


def test_no_result_is_kept_alive_once_a_job_is_over() -> None:
    class Result:
        pass

    records, job = Recorder(), made("abcdef-0/A000", 1)
    engine = Jobs(job)
    value: Any = Result()
    look(records, engine)
    count = sys.getrefcount(value)
    job.table.settle_one(0, value, Details())
    records.ended(job, PLACE)
    del job, engine
    assert sys.getrefcount(value) == count


def test_a_job_that_cannot_be_attached_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    # Given a job that persists in a storage with an option that JSON does not have, and goes on
    records, job = Recorder(), made("abcdef-0/M000", 2)
    options = {"odd": object()}
    reference = Reference("abcdef-0", "M000", 2, 0, 0.0, "uuid", b"key", "bucket", "memory", options, None)
    job.table.reference = lambda: reference
    engine = Jobs(job)
    # When it is looked at again and again
    for call in range(2):
        look(records, engine)
        succeed(job, call)
    records.ended(job, PLACE)
    records.flush()
    # Then
    assert (only().done, only().reference) == (2, None)
    (record,) = [record for record in caplog.records if record.name == "wren.state"]
    assert record.getMessage() == "job abcdef-0/M000 cannot be attached: a value of type object is none of JSON's"


def test_a_directory_that_cannot_be_written_is_one_warning(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a file in its place
    place.parent.parent.mkdir(exist_ok=True)
    place.parent.touch()
    records = Recorder()
    # When
    for number in range(3):
        job = made(f"abcdef-0/M{number:03d}", 1)
        records.ended(job, PLACE)
        records.flush()
    # Then
    [warning] = [each for each in caplog.records if each.name == "wren.state"]
    assert str(state.folder()) in warning.getMessage()
    assert "records = false" in warning.getMessage()


def test_lines_and_files_that_are_none_are_left_out(place: Path) -> None:
    # Given
    records, job = Recorder(), made("abcdef-0/M000", 1)
    records.ended(job, PLACE)
    records.flush()
    (place / "1-a-000000.jsonl").write_bytes(b"")
    (place / "2-b-000000.jsonl").write_bytes(b"no json\n{}\n")
    (place / "3-c-000000.jsonl").write_bytes(b'{"version":99,"client":["","","",1,""]}\n{"job":"x/M000"}\n')
    [path] = [path for path in place.glob("*.jsonl") if path.stat().st_size > 100]
    with path.open("ab") as file:
        file.write(b"\x00\xff\n{}\n[]\n" + b'{"job":"torn')
    # Then
    assert only().job == "abcdef-0/M000"


def test_a_job_is_found_by_its_beginning_and_errors_name_what_is_near() -> None:
    with pytest.raises(NoSuchJob, match="no record of job 'last', nor of any other"):
        history.find("last")
    # Given
    records = Recorder()
    for name in ("abcdef-0/M000", "abcdef-0/M001", "123456-0/M000"):
        records.ended(made(name, 1), PLACE)
    records.flush()
    # Then
    assert history.find("1").job == "123456-0/M000"
    assert history.find("abcdef-0/M001").job == "abcdef-0/M001"
    assert history.find("last").job == "123456-0/M000"
    with pytest.raises(NoSuchJob, match="2 jobs begin with 'abc': say which, of abcdef-0/M000, abcdef-0/M001"):
        history.find("abc")
    with pytest.raises(NoSuchJob, match=r"'abcdef-0/M002': did you mean abcdef-0/M00[01]\?"):
        history.find("abcdef-0/M002")
    with pytest.raises(NoSuchJob, match="the newest is 123456-0/M000, and `wren jobs` lists all"):
        history.find("?")


def test_the_jobs_of_a_loop_are_counted_and_none_is_taken_for_another() -> None:
    # Given a loop of single calls, which has one record
    records = Recorder()
    for number in range(12):
        job = made(f"abcdef-0/A{number:03d}", 1)
        succeed(job, 0)
        records.ended(job, PLACE)
    records.flush()
    # Then
    assert only().calls == 12
    assert history.find("abcdef-0/A011").job == "abcdef-0/A011"
    with pytest.raises(NoSuchJob, match="12 jobs begin with 'abc': say which, of abcdef-0/A000 to A011"):
        history.find("abc")
    for name in ("abcdef-0/A1", "abcdef-0/A12", "abcdef-0/A0011"):
        with pytest.raises(NoSuchJob, match=f"no record of job '{name}'"):
            history.find(name)


def test_of_two_jobs_of_one_name_the_newer_is_found() -> None:
    jobs = [made("abcdef-0/M000", 1) for _ in range(2)]
    for job in jobs:
        records = Recorder()  # of a process each
        records.ended(job, PLACE)
        records.flush()
    assert len(history.jobs()) == 2
    assert history.find("abcdef-0/M000").submitted == jobs[-1].table.submitted
