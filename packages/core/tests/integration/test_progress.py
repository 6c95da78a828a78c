"""The progress bar: on a terminal, for waits that last, and nowhere else."""

import os
import pty
import subprocess
import sys
import threading

PROGRAM = """
import sys, time
import wren
with wren.local_executor(workers=2) as executor:
    executor.call_async(abs, -1).result()  # to start a worker may last, too
    futures = executor.map(time.sleep, [float(sys.argv[1])] * 8)
    print(len(executor.get_result(futures)))
"""


def on_a_terminal(seconds: float) -> tuple[str, str]:
    """What a program whose calls take so long prints to stdout, and to a terminal as stderr."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # EIO: the program is gone
                return
            shown.append(data)

    reader = threading.Thread(target=read)
    try:
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(seconds)],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        ) as program:
            os.close(theirs)
            reader.start()
            printed, _ = program.communicate(timeout=60)
            reader.join(20)
    finally:
        os.close(ours)
    return printed, b"".join(shown).decode()


def test_a_wait_that_lasts_shows_how_far_it_is() -> None:
    printed, shown = on_a_terminal(0.4)
    assert printed == "8\n"
    assert "calls" in shown
    assert "/8" in shown


def test_a_short_wait_shows_nothing() -> None:
    assert on_a_terminal(0.0) == ("8\n", "")


def test_where_nobody_looks_nothing_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "0.4"], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("8\n", "")
