"""Each call has exactly its own logs, whatever it does to where they go."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import WorkerLost
from wren.worker.output import BASE, LIMIT


@pytest.fixture
def executor() -> Iterator[wren.FunctionExecutor]:
    """One worker, so that each call finds what the one before has left."""
    with wren.local_executor(workers=1) as one:
        yield one


def speak() -> None:
    """Print by each way that there is."""
    print("out")
    print("err", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo child; echo its err >&2"], check=True)
    ctypes.CDLL(None).dprintf(2, b"c\n")


SPOKEN = "out\nerr\nchild\nits err\nc\n"


def silent() -> None:
    """Print nothing."""


def shell(command: str) -> Callable[[], Any]:
    return lambda: subprocess.run(["sh", "-c", command], check=True)


def replace(fd: int) -> None:
    other = os.open("/dev/null", os.O_WRONLY)
    os.dup2(other, fd)
    os.close(other)


def close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def open_in_place(fd: int, path: Path) -> None:
    os.close(fd)
    os.open(path, os.O_CREAT | os.O_RDWR)


def close_streams() -> None:
    sys.stdout.close()
    sys.stderr.close()


def own_streams() -> None:
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w")


def own_stderr() -> None:
    sys.stderr = os.fdopen(sys.stderr.fileno(), "w")


def no_streams() -> None:
    sys.stdout = sys.stderr = None  # as pythonw.exe has them


NOTHING: dict[str, Callable[[], Any]] = {
    "prints nothing": silent,
    "empties them": shell(": > /dev/stdout"),
    "closes stdout": lambda: close(1),
    "closes stderr": lambda: close(2),
    "closes both": lambda: close(1, 2),
    "closes the streams": close_streams,
    "has streams of its own": own_streams,
    "has a stderr of its own": own_stderr,
    "has no streams": no_streams,
    "has stdout elsewhere": lambda: replace(1),
    "has stderr elsewhere": lambda: replace(2),
}


@pytest.mark.parametrize("act", NOTHING.values(), ids=NOTHING.keys())
def test_a_call_that_leaves_nothing_behind_costs_the_next_one_no_word(
    executor: wren.FunctionExecutor, act: Callable[[], Any]
) -> None:
    calls = [executor.call_async(each, ()) for each in (act, speak, act, act, silent, speak)]
    executor.get_result(calls)
    assert [call.logs for call in calls] == ["", SPOKEN, "", "", "", SPOKEN]


@pytest.mark.parametrize("fd", [1, 2])
def test_a_file_that_took_the_number_of_a_stream_gets_nothing_of_the_next_call(
    executor: wren.FunctionExecutor, tmp_path: Path, fd: int
) -> None:
    path = tmp_path / "file"
    executor.call_async(open_in_place, (fd, path)).result()
    after = executor.call_async(speak, ())
    assert (after.result(), after.logs, path.read_text()) == (None, SPOKEN, "")


@pytest.mark.parametrize("lines", [1, BASE // 5, BASE // 5 + 1, BASE, 100_000])
def test_what_a_program_prints_after_it_has_emptied_the_output_is_all_there(
    executor: wren.FunctionExecutor, lines: int
) -> None:
    # Given a program that opens its stderr anew, by which the shell empties it, and then prints less, or more
    calls = [executor.call_async(each, ()) for each in (
        shell(f"seq 1000 {1000 + lines - 1} > /dev/stderr"), silent, speak
    )]  # fmt: skip
    executor.get_result(calls)
    # Then each call has what it printed
    first, *others = [call.logs for call in calls]
    assert first == "".join(f"{number}\n" for number in range(1000, 1000 + lines))
    assert others == ["", SPOKEN]


def test_so_are_the_last_words_of_a_worker_that_ends_by_that(executor: wren.FunctionExecutor) -> None:
    def end() -> None:
        shell(f"head -c {2 * BASE} /dev/zero | tr '\\0' x > /dev/stderr; echo bye >&2")()
        os._exit(3)

    call = executor.call_async(end, ())
    with pytest.raises(WorkerLost):
        call.result()
    assert call.logs == 2 * BASE * "x" + "bye\n"


def test_the_middle_of_a_long_output_is_left_out_and_the_next_call_has_its_own(executor: wren.FunctionExecutor) -> None:
    calls = [executor.call_async(print, ("x" * (LIMIT + 9),)), executor.call_async(speak, ())]
    executor.get_result(calls)
    half = "x" * (LIMIT // 2)
    assert calls[0].logs == f"{half}\n... 10 bytes left out ...\n{half[1:]}\n"
    assert calls[1].logs == SPOKEN


def test_threads_that_print_after_their_call_disturb_no_result(executor: wren.FunctionExecutor) -> None:
    # Given a thread that goes on printing when its call has ended
    def begin() -> None:
        import threading

        def go_on() -> None:
            for _ in range(200):
                print("thread")

        threading.Thread(target=go_on).start()

    executor.call_async(begin, ()).result()
    # When others print, Then each has its own words
    calls = executor.map(lambda x: print("call", x), range(200))
    executor.get_result(calls)
    for index, call in enumerate(calls):
        own = [line for line in call.logs.splitlines() if line.startswith("call")]
        assert len(own) <= 1 or own == [f"call {index}"]
