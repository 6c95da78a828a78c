"""Futures of jobs that persist, read elsewhere: in another process, and after their client was killed."""

import asyncio
import concurrent.futures
import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import wren
from wren import attached
from wren.errors import CallCancelled, CallLost, SerializationError, StorageUnavailable, WorkerLost
from wren.references import Client, Reference, shown
from wren.stored import list_statuses

RunPython = Callable[..., str]
Eventually = Callable[[Callable[[], bool]], None]

CLIENT = """
import os, pickle, sys, time
from pathlib import Path
import wren
def call(what):
    print("printed", what)
    if what == "wait":
        Path("waiting").touch()
        time.sleep(1000)
    if what == "die":
        os._exit(7)
    if what == "raise":
        raise LookupError("no")
    return [what]
if __name__ == "__main__":
    executor = wren.local_executor({"localhost": {"path": "objects"}}, workers=2, persist=True)
"""


def elsewhere(future: wren.Future[Any]) -> wren.Future[Any]:
    """What another process has of a future that is pickled."""
    other: wren.Future[Any] = pickle.loads(pickle.dumps(future))  # noqa: S301 - made by this line
    assert other is not future
    return other


def local(folder: Path, **given: Any) -> wren.FunctionExecutor:
    return wren.local_executor({"localhost": {"path": str(folder)}}, workers=2, **{"persist": True, **given})


def call(what: str) -> list[str]:
    print("printed", what)
    if what == "die":
        os._exit(7)
    if what == "raise":
        raise LookupError("no")
    return [what]


def test_another_process_reads_results_failures_and_what_was_printed(run_python: RunPython) -> None:
    # Given a client that has come to its end
    run_python(
        CLIENT
        + """
    futures = executor.map(call, ["a", "raise", "die", "b" * 2_000_000])
    Path("futures").write_bytes(pickle.dumps(futures))
    executor.get_result(throw_except=False)
""",
        measured=False,
    )
    # Then another one has what its calls gave
    said = run_python(
        """
import pickle
from pathlib import Path
futures = pickle.loads(Path("futures").read_bytes())
print([future.done() for future in futures])
print(futures[0].result(), repr(futures[1].exception()), type(futures[2].exception()).__name__)
print(len(futures[3].result()[0]))
print([future.logs for future in futures[:3]])
print(all(future.stats["seconds"] >= 0 for future in futures[:2]), futures[3].stats["result_bytes"] > 2_000_000)
print([future.call_id for future in futures], futures[0].job_id)
""",
        measured=False,
    )
    assert said.splitlines() == [
        "[True, True, True, True]",
        "['a'] LookupError('no') WorkerLost",
        "2000000",
        r"['printed a\n', 'printed raise\n', 'printed die\n']",
        "True True",
        "['00000', '00001', '00002', '00003'] M000",
    ]


def test_what_had_ended_is_there_when_the_client_was_killed_and_the_rest_is_lost(
    tmp_path: Path, eventually: Eventually
) -> None:
    # Given a client that is killed while one of its calls runs
    program = (
        CLIENT
        + """
    futures = executor.map(call, ["a", "wait"])
    futures[0].result()
    Path("futures.new").write_bytes(pickle.dumps(futures))
    os.rename("futures.new", "futures")
    time.sleep(1000)
"""
    )
    client = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    eventually(lambda: (tmp_path / "futures").exists() and (tmp_path / "waiting").exists())
    first, second = pickle.loads((tmp_path / "futures").read_bytes())  # noqa: S301 - of our child
    # Then its result is there before and after, and the other call's future fails
    assert first.result(20) == ["a"]
    assert not second.done()
    with pytest.raises(wren.errors.WaitTimeout):
        second.result(0.01)
    client.send_signal(signal.SIGKILL)
    client.wait(20)
    with pytest.raises(
        CallLost, match=rf"call 1 of job .*/M000 had not ended when its client, process {client.pid}, did"
    ):
        second.result(20)
    assert elsewhere(first).result(20) == ["a"]


def test_who_waits_elsewhere_is_told_when_it_is_over(tmp_path: Path) -> None:
    def when(path: str) -> str:
        while not Path(path).exists():
            time.sleep(0.005)
        return path

    with local(tmp_path / "objects") as executor:
        futures = [elsewhere(future) for future in executor.map(when, [str(tmp_path / "a"), str(tmp_path / "b")])]
        called: list[concurrent.futures.Future[Any]] = []
        futures[0].add_done_callback(called.append)
        (tmp_path / "a").touch()
        done, not_done = concurrent.futures.wait(futures, 20, concurrent.futures.FIRST_COMPLETED)
        assert (done, not_done) == ({futures[0]}, {futures[1]})
        assert (futures[1].cancel(), futures[1].kill(), futures[1].running()) == (False, False, False)
        (tmp_path / "b").touch()
        assert list(concurrent.futures.as_completed(futures, 20))
        assert executor.get_result(futures) == [str(tmp_path / "a"), str(tmp_path / "b")]
        assert asyncio.run(asyncio.wait_for(_awaited(futures[1]), 20)) == str(tmp_path / "b")
        assert called == [futures[0]]


async def _awaited(future: wren.Future[Any]) -> Any:
    return await future


def test_an_attempt_that_failed_is_not_the_last_word(tmp_path: Path) -> None:
    def second_time(path: str) -> str:
        if Path(path).exists():
            return "again"
        Path(path).touch()
        raise LookupError("once")

    def never(_: str) -> None:
        raise ValueError("for ever")

    with local(tmp_path / "objects", retries=1) as executor:
        first = elsewhere(executor.call_async(second_time, str(tmp_path / "x"), retry_on=LookupError))
        second = elsewhere(executor.call_async(never, "", retry_on=LookupError))
        assert first.result(20) == "again"
        with pytest.raises(ValueError, match="for ever"):
            second.result(20)
        assert first.stats["stopped"] > 0


def test_a_call_that_was_lost_at_first_may_succeed(tmp_path: Path) -> None:
    def second_time(path: str) -> str:
        if Path(path).exists():
            return "again"
        Path(path).touch()
        os._exit(3)

    with local(tmp_path / "objects", retries=1) as executor:
        assert elsewhere(executor.call_async(second_time, str(tmp_path / "x"))).result(20) == "again"


def test_what_only_the_client_knows_is_known_elsewhere(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path / "objects") as executor:
        lost = elsewhere(executor.call_async(call, "die"))
        with pytest.raises(WorkerLost, match="exit code 7"):
            lost.result(20)
        late = executor.map(time.sleep, [30.0] * 4, timeout=20)
        eventually(late[0].running)
        others = [elsewhere(future) for future in late]
        assert late[3].cancel()
        assert [future.kill() for future in late[:3]]
        for other in others:
            with pytest.raises(CallCancelled):
                other.result(20)


def test_results_of_a_reducer_and_of_functions_that_returned_futures(tmp_path: Path) -> None:
    def outer(x: int) -> list[Any]:
        return [x, wren.local_executor().call_async(abs, -x)]

    def worse(x: int) -> Any:
        return wren.local_executor().call_async(call, "raise")

    with local(tmp_path / "objects") as executor:
        assert elsewhere(executor.map_reduce(abs, [-1, -2], sum)[-1]).result(20) == 3
        assert [elsewhere(future).result(20) for future in executor.map(outer, [3, 4])] == [[3, 3], [4, 4]]
        with pytest.raises(LookupError, match="no"):
            elsewhere(executor.call_async(worse, 1)).result(20)


def test_one_call_may_persist(tmp_path: Path) -> None:
    with local(tmp_path / "objects", persist=False) as executor:
        assert elsewhere(executor.call_async(call, "a", persist=True)).result(20) == ["a"]


def test_cleaned_away_is_an_error(tmp_path: Path, eventually: Eventually) -> None:
    with local(tmp_path / "objects") as executor:
        future = executor.call_async(call, "a")
        future.result(20)
        executor.clean()
        eventually(lambda: not any("A000" in folder for folder, _, _ in os.walk(tmp_path)))
        other = elsewhere(future)
        with pytest.raises(wren.errors.WaitTimeout):
            other.result(0.2)


def test_an_interrupt_of_the_first_look_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local(tmp_path / "objects") as executor:
        other = elsewhere(executor.call_async(call, "a"))

        def interrupted(*_: object) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(attached, "list_statuses", interrupted)
            with pytest.raises(KeyboardInterrupt):
                other.done()
        assert other.result(20) == ["a"]


# ---- without `persist`


def test_what_is_done_brings_its_result_along(tmp_path: Path) -> None:
    with wren.local_executor(workers=1) as executor:
        good, bad = executor.map(call, ["a", "raise"])
        executor.wait(throw_except=False)
        others = [elsewhere(elsewhere(future)) for future in (good, bad)]
    assert others[0].result(0) == ["a"]
    assert repr(others[1].exception(0)) == "LookupError('no')"
    assert [other.logs for other in others] == ["printed a\n", "printed raise\n"]
    assert [(other.executor_id, other.job_id, other.call_id) for other in others] == [
        (future.executor_id, future.job_id, future.call_id) for future in (good, bad)
    ]
    assert [other.stats for other in others] == [good.stats, bad.stats]
    assert {"submitted", "argument_bytes", "result_bytes", "attempts"} <= set(others[0].stats)


@pytest.mark.parametrize("persist", [True, False])
def test_get_result_reads_them_as_their_own_executor_does(tmp_path: Path, persist: bool) -> None:
    with local(tmp_path / "objects", persist=persist) as executor:
        jobs = [executor.map_reduce(abs, [-1, -2], sum), [executor.call_async(abs, -3)], executor.map(abs, [-4])]
        executor.wait()
        others = [[elsewhere(elsewhere(future)) for future in futures] for futures in jobs]
        assert [executor.get_result(futures) for futures in others] == [3, [3], [4]]
        assert [executor.get_result(futures) for futures in jobs] == [3, [3], [4]]


def test_what_is_not_done_names_persist(tmp_path: Path) -> None:
    with wren.local_executor(workers=1) as executor:
        future = executor.call_async(time.sleep, 30)
        with pytest.raises(TypeError, match=r"<wren.Future .* cannot be pickled before it is done: .* persist=True$"):
            pickle.dumps(future)
        future.kill()


@pytest.mark.parametrize("persist", [True, False])
def test_a_future_is_no_argument(tmp_path: Path, persist: bool) -> None:
    with local(tmp_path / "objects", persist=persist) as executor:
        future = executor.call_async(call, "a")
        future.result(20)
        with pytest.raises(
            SerializationError, match=r"is no argument of a call: pass what it returned, future.result\(\)"
        ):
            executor.call_async(repr, future)
        with pytest.raises(SerializationError, match="is no argument of a call"):
            executor.call_async(lambda _: future, 1)


# ---- what is in a pickle


@dataclass(frozen=True, slots=True)
class Options:
    path: str = "a"
    key: str = field(default="hunter2", repr=False)


def test_secrets_are_not_in_it() -> None:
    assert shown(Options("b")) == {"path": "b"}


def test_the_jobs_key_is_in_no_repr() -> None:
    reference = Reference("e", "M000", 1, 0, 0.0, "uuid", b"secret key", "bucket", "localhost", {}, None)
    assert "secret" not in repr(reference)


def test_a_storage_that_cannot_be_opened_is_the_result(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    options = {"path": str(tmp_path / "file")}
    reference = Reference("e", "M000", 1, 0, 0.0, "uuid", b"k" * 32, "bucket", "localhost", options, None)
    with pytest.raises(wren.errors.StorageError):
        attached.attach(reference, 0).result(20)
    missing = attached.attach(Reference("e", "M001", 1, 0, 0.0, "u", b"k" * 32, "b", "nowhere", {}, None), 0)
    with pytest.raises(wren.errors.PluginNotFound, match="nowhere"):
        missing.result(20)


def test_a_storage_that_does_not_answer_for_long_is_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "PATIENCE", 0.1)
    with local(tmp_path / "objects") as executor:
        running = executor.call_async(time.sleep, 30)
        other = elsewhere(running)
        assert not other.done()

        def refuse(*_: object) -> Any:
            raise OSError("no answer")

        monkeypatch.setattr(attached, "list_statuses", refuse)
        with pytest.raises(StorageUnavailable, match="the localhost storage cannot be listed: no answer"):
            other.result(20)
        running.kill()


def test_a_job_of_several_shards_is_listed_once_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job of two listings, one of whose calls runs until the fourth
    monkeypatch.setattr(attached, "PAUSE", 0.2)
    monkeypatch.setattr(attached, "FIRST_PAUSE", 0.01)
    times: list[float] = []

    def noted(storage: Any, job: Any, shard: int) -> Any:
        if shard == 1:
            times.append(time.monotonic())
            if len(times) == 4:
                (tmp_path / "end").touch()
        return list_statuses(storage, job, shard)

    monkeypatch.setattr(attached, "list_statuses", noted)
    end = tmp_path / "end"

    def last_waits(number: int) -> int:
        while number == 1_000 and not end.exists():
            time.sleep(0.01)
        return number

    with local(tmp_path / "objects") as executor:
        others = [elsewhere(future) for future in executor.map(last_waits, range(1_001))]
        assert executor.get_result(others) == list(range(1_001))
    assert len(times) >= 4
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))


def test_a_process_knows_whether_another_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    this = Client.this()
    other = this._replace(pid=child.pid, started="1")
    assert not this.gone()
    assert other.gone()  # another one has its number by now
    assert this._replace(boot="another").gone()  # this machine, before it was started again
    assert not this._replace(boot="another", host="another").gone()
    assert not other._replace(namespace="another").gone()
    child.communicate(b"\n", 20)


def test_a_forked_child_asks_anew(tmp_path: Path, run_python: RunPython) -> None:
    said = run_python(
        CLIENT
        + """
    future = pickle.loads(pickle.dumps(executor.call_async(call, "a")))
    while not future.done():
        time.sleep(0.01)
    other = pickle.loads(pickle.dumps(executor.call_async(call, "b")))
    other.done()
    if not os.fork():
        print(future.result(20), other.result(20), flush=True)
        os._exit(0)
    os.wait()
""",
        measured=False,
    )
    assert said == "['a'] ['b']\n"
