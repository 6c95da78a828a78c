"""Job records as users meet them: of jobs that run, in other processes, after a crash; and what commands show."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import wren
from wren import history
from wren.cli.commands import wren as command
from wren.errors import NoSuchJob
from wren.history import JobRecord
from wren.recorder import recorder

RunPython = Callable[..., str]
Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory of the test's own; what others have left to write goes into theirs."""
    recorder.flush()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state" / "wren" / "jobs"
    recorder.flush()


def record_of(future: wren.Future[Any]) -> JobRecord:
    recorder.flush()
    return history.find(f"{future.executor_id}/{future.job_id}")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def work(x: int) -> int:
    if x % 2:
        print("printed", x)
    if x == 3:
        raise LookupError("no three")
    return x + 77_000_000


def slow(marker: str) -> None:
    Path(marker, "started").touch()
    while not Path(marker, "enough").exists():
        time.sleep(0.005)


# ---- what is written


def test_a_job_has_a_record_of_what_became_of_its_calls(executor: wren.FunctionExecutor) -> None:
    # When
    futures = executor.map(work, range(5))
    executor.get_result(throw_except=False)
    # Then
    record = record_of(futures[0])
    assert (record.function, record.backend, record.storage) == ("work", "localhost", "localhost")
    assert (record.state, record.calls, record.done, record.failed, record.cancelled) == ("failed", 5, 4, 1, 0)
    assert record.logs == {1: "printed 1\n", 3: "printed 3\n"}
    [failure] = record.failures
    assert (failure.call, failure.type, failure.message) == (3, "LookupError", "no three")
    assert failure.traceback.endswith("LookupError: no three\n")
    assert record.ended is not None
    assert 0 <= record.ended - record.submitted < 60
    assert len(record.took) == 5
    assert record.reference is None


def test_it_is_written_without_anybody_asking(executor: wren.FunctionExecutor, eventually: Eventually) -> None:
    future = executor.call_async(work, 2)
    future.result()
    name = f"{future.executor_id}/{future.job_id}"
    eventually(lambda: any(each.job == name and each.state == "done" for each in history.jobs()))


def test_no_argument_no_result_no_variable_and_no_key_is_in_it(executor: wren.FunctionExecutor, place: Path) -> None:
    # When
    futures = executor.map(work, [770_078], extra_env={"TOKEN": "sesame"})
    executor.get_result()
    recorder.flush()
    # Then
    text = "".join(path.read_text() for path in place.glob("*.jsonl"))
    key = futures[0].table._header.mac_key if futures[0].table._header is not None else b"?"
    assert futures[0].executor_id in text
    for secret in ("770078", "77770078", "TOKEN", "sesame", key.hex(), "reference"):
        assert secret not in text


def test_map_reduce_and_nested_calls_have_records_and_workers_write_none(
    executor: wren.FunctionExecutor, place: Path
) -> None:
    # When
    reduced = executor.map_reduce(work, [2, 4], sum)
    assert executor.get_result() == 154_000_006
    outer = executor.call_async(calls_another, 2)
    assert outer.result() == 77_000_002
    # Then
    assert record_of(reduced[0]).function == "work"
    assert (record_of(reduced[-1]).function, record_of(reduced[-1]).job[-4:-3]) == ("sum", "R")
    assert record_of(outer).function == "calls_another"
    mine = [each.function for each in history.jobs() if each.job.startswith(f"{outer.executor_id}/")]
    assert sorted(mine) == ["called in calls_another", "calls_another", "sum", "work"]
    assert {path.name.split("-")[0] for path in place.glob("*.jsonl")} == {str(os.getpid())}


def calls_another(x: int) -> Any:
    return wren.local_executor().call_async(work, x)


def test_an_executor_of_the_standard_interface_in_a_worker_writes_none(
    executor: wren.FunctionExecutor, place: Path
) -> None:
    assert executor.call_async(runs_another, 2).result() == 77_000_002
    recorder.flush()
    assert {path.name.split("-")[0] for path in place.glob("*.jsonl")} == {str(os.getpid())}


def runs_another(x: int) -> int:
    with wren.Executor(1) as pool:
        return pool.submit(work, x).result()


def test_ten_thousand_calls_are_few_lines(executor: wren.FunctionExecutor, place: Path) -> None:
    for number in range(2_000):
        executor.call_async(work, 2 * number + 2).result()
    executor.map(work, range(0, 20_000, 2))
    executor.get_result()
    recorder.flush()
    [path] = place.glob("*.jsonl")
    assert path.read_bytes().count(b"\n") < 200
    assert path.stat().st_size < 500_000
    listed = list(history.together(history.jobs()))
    assert [(each.calls, each.done) for each in listed if each.job.startswith(executor.executor_id)] == [
        (2_000, 2_000),
        (10_000, 10_000),
    ]


def test_records_can_be_switched_off(place: Path) -> None:
    with wren.local_executor({"wren": {"records": False}}) as executor:
        assert executor.call_async(work, 2).result() == 77_000_002
    recorder.flush()
    assert not any(each.job.startswith(executor.executor_id) for each in history.jobs())


PROGRAM = """
import os, sys, time
from pathlib import Path
import wren
def slow(x):
    print("printed", x)
    if x:
        Path(f"started{x}").touch()
        while not Path("enough").exists():
            time.sleep(0.005)
    return x
if __name__ == "__main__":
    executor = wren.local_executor({"localhost": {"path": "objects"}}, workers=2)
"""


def test_a_program_that_ends_without_waiting_has_complete_records(run_python: RunPython) -> None:
    said = run_python(
        PROGRAM
        + """
    future = executor.map(slow, [0, 0])[0]
    print(f"{future.executor_id}/{future.job_id}")
""",
        measured=False,
    )
    record = history.find(said.strip())
    assert (record.state, record.done, record.logs[0]) == ("done", 2, "printed 0\n")


def test_a_program_that_ctrl_c_has_ended_says_so_and_has_records(tmp_path: Path) -> None:
    # Given one that writes its records at its end, and reads nothing that Python would evaluate
    program = (
        "import wren\nwith wren.local_executor(workers=1, persist=True) as executor:\n"
        "    print(executor.call_async(abs, -1).executor_id)\nraise KeyboardInterrupt"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    # Then its exit status is that of an interrupted program (see `wren.entries.Columns`)
    assert done.returncode == -signal.SIGINT
    assert history.find(done.stdout.strip()).state == "done"


def test_a_directory_that_cannot_be_written_costs_no_job(tmp_path: Path, run_python: RunPython) -> None:
    # Given
    (tmp_path / "state").touch()
    # When
    said = run_python(
        """
import logging, sys, wren
from wren.recorder import recorder
logging.basicConfig(format="%(name)s %(message)s", stream=sys.stdout)
with wren.local_executor(workers=1) as executor:
    print(executor.call_async(abs, -1).result())
    recorder.flush()
    print(executor.call_async(abs, -2).result())
    recorder.flush()
    executor.map(abs, [1, 2])
""",
        measured=False,
    )
    # Then
    warning, *results = sorted(said.splitlines(), key=len, reverse=True)  # it comes when it comes
    assert sorted(results) == ["1", "2"]
    assert warning.startswith(f"wren.state no job records are written by this program, as {tmp_path}/state/wren/jobs ")


def test_a_forked_child_writes_records_of_its_own_under_names_of_its_own(
    executor: wren.FunctionExecutor, place: Path
) -> None:
    # Given
    mine = executor.call_async(work, 2)
    mine.result()
    # When
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            future = executor.call_async(work, 4)
            future.result()
            recorder.flush()
            os.write(write, f"{future.executor_id}/{future.job_id}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        name = said.read()
    os.waitpid(child, 0)
    # Then
    assert history.find(name).state == "done"
    assert not name.startswith(f"{executor.executor_id}/")
    assert record_of(mine).state == "done"
    assert {path.name.split("-")[0] for path in place.glob("*.jsonl")} == {str(os.getpid()), str(child)}


def test_several_clients_write_at_once(tmp_path: Path) -> None:
    program = "import wren, sys\nwith wren.local_executor(workers=1) as e:\n  for n in range(50): e.map(abs, [n, n])\n"
    clients = [subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) for _ in range(4)]
    assert [client.wait(60) for client in clients] == [0] * 4
    records = history.jobs()
    assert len(records) == 200
    assert {each.state for each in records} == {"done"}


# ---- of jobs that run, and of clients that are no more


@pytest.fixture
def client(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another program, one of whose calls has ended and one runs."""
    (tmp_path / "client.py").write_text(
        PROGRAM
        + """
    futures = executor.map(slow, [0, 1], persist=True)
    futures[0].result()
    print(f"{futures[0].executor_id}/{futures[0].job_id}", flush=True)
    executor.get_result()
"""
    )
    process = subprocess.Popen([sys.executable, "client.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def said_by(client: "subprocess.Popen[str]") -> str:
    assert client.stdout is not None
    return client.stdout.readline().strip()


def found(name: str) -> JobRecord | None:
    return next((each for each in history.jobs() if each.job == name), None)


def test_another_process_sees_a_job_while_it_runs(
    client: "subprocess.Popen[str]", tmp_path: Path, eventually: Eventually
) -> None:
    # Given
    name = said_by(client)
    # Then
    eventually(lambda: (record := found(name)) is not None and (record.state, record.done) == ("running", 1))
    assert history.find(name).logs == {0: "printed 0\n"}
    assert "running 1 of 2" in invoke("jobs").stdout
    # When
    (tmp_path / "enough").touch()
    assert client.wait(30) == 0
    # Then
    record = history.find(name)
    assert (record.state, record.done, record.logs[1]) == ("done", 2, "printed 1\n")


def test_the_record_of_a_client_that_was_killed_says_so(
    client: "subprocess.Popen[str]", place: Path, eventually: Eventually
) -> None:
    # Given
    name = said_by(client)
    eventually(lambda: (record := found(name)) is not None and record.done == 1)
    # When it is killed, and had begun to write something
    client.send_signal(signal.SIGKILL)
    client.wait(30)
    [path] = place.glob(f"{client.pid}-*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"job":"')
    # Then
    assert history.find(name).state == "lost"
    assert re.search(rf"{name} +slow +client ended, 1 of 2 ", invoke("jobs").stdout)


def test_attach_gives_the_futures_of_a_client_that_was_killed(
    client: "subprocess.Popen[str]", eventually: Eventually
) -> None:
    # Given
    name = said_by(client)
    eventually(lambda: found(name) is not None)
    client.send_signal(signal.SIGKILL)
    client.wait(30)
    # When
    futures = wren.attach(name)
    # Then
    assert [future.call for future in futures] == [0, 1]
    assert futures[0].result(30) == 0
    assert futures[0].logs == "printed 0\n"
    with pytest.raises(wren.errors.CallLost):
        futures[1].result(30)


def test_attach_reads_jobs_of_this_process_as_get_result_does(tmp_path: Path) -> None:
    with wren.local_executor({"localhost": {"path": str(tmp_path / "objects")}}, persist=True) as executor:
        mine = executor.call_async(work, 2)
        mine.result()
        executor.map(work, [2, 4])
        executor.get_result()
    assert wren.attach(f"{mine.executor_id}/{mine.job_id}")[0].result() == 77_000_002
    assert executor.get_result(wren.attach(f"{mine.executor_id}/{mine.job_id}")) == [77_000_002]
    assert executor.get_result(wren.attach("last")) == [77_000_002, 77_000_004]


def test_attach_says_why_it_cannot(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(work, 2)
    future.result()
    with pytest.raises(NoSuchJob, match=rf"job {future.executor_id}/A000 does not persist, .*persist=True"):
        wren.attach(f"{future.executor_id}/{future.job_id}")
    with pytest.raises(NoSuchJob, match=rf"'{future.executor_id}/A001': did you mean {future.executor_id}/A000\?"):
        wren.attach(f"{future.executor_id}/A001")


# ---- the commands


def test_without_jobs_it_says_so() -> None:
    result = invoke("jobs")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No jobs in the last 7 days.\n")
    assert json.loads(invoke("jobs", "--json").stdout) == []
    result = invoke("logs", "last")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: there is no record of job 'last', nor of any other, in .*\n", result.stderr)


def test_jobs_lists_the_newest_at_the_end(executor: wren.FunctionExecutor) -> None:
    # Given
    first = executor.map(work, range(5))
    executor.get_result(throw_except=False)
    second = executor.call_async(work, 2)
    second.result()
    recorder.flush()
    # When
    result = invoke("jobs")
    # Then
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["job", "function", "state", "submitted", "took"]
    when = r"\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{first[0].executor_id}/M000 +work +failed 1 of 5 +{when} +\d\.\d+ s", rows[0])
    assert re.fullmatch(rf"{first[0].executor_id}/A001 +work +done +{when} +\d\.\d+ s", rows[1])
    assert len(rows) == 2
    # And the newest only
    result = invoke("jobs", "-n", "1")
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "1 older ones: `wren jobs -n 0` lists all.\n"


def test_jobs_as_json_have_plain_values(executor: wren.FunctionExecutor) -> None:
    # Given
    future = executor.map(work, range(5))[0]
    executor.get_result(throw_except=False)
    recorder.flush()
    # When
    [job] = json.loads(invoke("jobs", "--json").stdout)
    # Then
    times = {name: job.pop(name) for name in ("submitted", "ended", "seconds")}
    assert times["ended"] == pytest.approx(times["submitted"] + times["seconds"])
    assert job == {
        "job": f"{future.executor_id}/M000", "last": None, "function": "work", "backend": "localhost",
        "storage": "localhost", "state": "failed", "calls": 5, "done": 4, "failed": 1, "cancelled": 0,
        "persists": False,
    }  # fmt: skip


def test_logs_prints_what_calls_printed_and_their_failures(executor: wren.FunctionExecutor) -> None:
    # Given
    future = executor.map(work, range(5))[0]
    executor.get_result(throw_except=False)
    recorder.flush()
    # When
    result = invoke("logs", future.executor_id[:4])
    # Then
    assert (result.exit_code, result.stderr) == (0, "")
    head, *rest = result.stdout.splitlines()
    assert head.startswith(f"{future.executor_id}/M000: work, failed 1 of 5, ")
    assert re.sub(r"after \d.\d+ s", "after", "\n".join(rest[:3])) == (
        "── call 1 after\nprinted 1\n── call 3 failed after"
    )
    assert rest[3:5] == ["printed 3", "Traceback (most recent call last):"]
    assert rest[-1] == "LookupError: no three"


def test_logs_of_one_call_and_of_failed_ones(executor: wren.FunctionExecutor) -> None:
    # Given
    executor.map(work, range(5))
    executor.get_result(throw_except=False)
    recorder.flush()
    # Then
    assert invoke("logs", "last", "--call", "1").stdout.splitlines()[1:] == ["printed 1"]
    assert "call 1" not in invoke("logs", "last", "--failed").stdout
    assert "call 3 failed" in invoke("logs", "last", "--failed").stdout
    result = invoke("logs", "last", "--call", "0")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "As far as is recorded, call 0 has printed nothing and not failed.\n"
    result = invoke("logs", "last", "--call", "5")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: job \S+/M000 has no call 5: its calls are 0 to 4\n", result.stderr)


def test_logs_says_what_was_too_much(executor: wren.FunctionExecutor) -> None:
    executor.map(says_much, range(200))
    executor.get_result(throw_except=False)
    recorder.flush()
    result = invoke("logs", "last")
    assert "100 more have failed, of which only the number is recorded.\n" in result.stderr
    assert re.search(r"\d+ more have printed something that was too much to be recorded\.\n", result.stderr)


def says_much(x: int) -> None:
    print("much" * 2_000)
    raise ValueError(x)
