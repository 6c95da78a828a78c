"""Times wren beside its peers: `python -m bench --help`; `nox -s bench` installs the peers first.

Each figure is of a fresh process.  The peers take turns, so that what else the machine does hits all of them, and a
figure is the median of several.  A peer that fails at some work, or takes too long for it, says so in its cell.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.peers import PEERS
from bench.work import COLD, WORK, text

ROOT: Final = Path(__file__).parents[1]
# Whoever installed a peer, its modules are compiled once and not for every figure.
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Cell(NamedTuple):
    """What became of one measurement."""

    seconds: float = 0.0
    peak: int = 0  # bytes of memory of the client
    trouble: str = ""  # why there is no figure


def measured(peer: str, work: str, patience: float) -> Cell:
    """One measurement in a fresh process."""
    # Into a file and not a pipe, which a worker that a peer leaves running would hold open.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.work", peer, work],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            return Cell(trouble=f"> {patience:g}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        results = [line for line in output.read().splitlines() if line.startswith("RESULT")]
    return Cell(*json.loads(results[-1].removeprefix("RESULT"))) if results else Cell(trouble="fails")


def row(peers: Sequence[str], work: str, repeat: int, patience: float) -> list[str]:
    """A line of the table: the median of each peer, as text."""
    cells: dict[str, list[Cell]] = {peer: [] for peer in peers}
    for _ in range(repeat):
        for peer in peers:
            if not any(cell.trouble for cell in cells[peer]):
                cells[peer].append(measured(peer, work, patience))
    return [
        next((cell.trouble for cell in found if cell.trouble), "")
        or f"{statistics.median(cell.seconds for cell in found):.3g}"
        for found in cells.values()
    ]


def chosen(parser: argparse.ArgumentParser, option: str, separator: str, known: Sequence[str]) -> list[str]:
    """The names in an option's text, all of them known."""
    names = option.split(separator)
    for name in names:
        if name not in known:
            parser.error(f"{name!r} is not one of {', '.join(known)}")
    return names


def main() -> None:
    """Print the table, as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Time wren beside its peers, in seconds.")
    parser.add_argument("--peers", default=",".join(PEERS), help="names, with commas (default: all)")
    parser.add_argument("--work", default=";".join([COLD, *WORK]), help="names, with semicolons (default: all)")
    parser.add_argument("--repeat", type=int, default=9, help="measurements of each (default: 9)")
    parser.add_argument("--patience", type=float, default=150.0, help="seconds for one of them (default: 150)")
    options = parser.parse_args()
    peers = chosen(parser, options.peers, ",", list(PEERS))
    works = chosen(parser, options.work, ";", [COLD, *WORK])
    text()  # before anybody's time runs
    sys.stdout.write(f"| work | {' | '.join(peers)} |\n|---|{'---|' * len(peers)}\n")
    for work in works:
        sys.stdout.write(f"| {work} | {' | '.join(row(peers, work, options.repeat, options.patience))} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
