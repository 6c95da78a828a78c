"""The work that is timed, and one measurement of it: what runs in a fresh process for each figure."""

import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.peers import PEERS, Peer

MIB: Final = 1 << 20
WARM_CALLS: Final = 30
WARM_SECONDS: Final = 5.0  # after which fewer calls have to do
TEXT: Final = 48 * MIB
STEP: Final = 4 * MIB


def same(x: Any) -> Any:
    """The least that a task can do."""
    return x


def burn(x: int) -> int:
    """A tenth of a second of one core, or less."""
    total = 0
    for number in range(1_500_000):
        total += number & x
    return total


def words(part: tuple[str, int, int]) -> Counter[bytes]:
    """The words of the lines that begin within a part of a file."""
    path, start, stop = part
    counted: Counter[bytes] = Counter()
    with Path(path).open("rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        while file.tell() < stop and (line := file.readline()):
            counted.update(line.split())
    return counted


def text() -> Path:
    """A file of words, the same one every time."""
    path = Path(tempfile.gettempdir(), f"wren-bench-{TEXT}.txt")
    if not path.exists():
        chosen = random.Random(7)
        vocabulary = [f"w{number}" for number in range(5_000)]
        new = path.with_suffix(f".{os.getpid()}")
        with new.open("w", encoding="ascii") as file:
            while file.tell() < TEXT:
                file.write(" ".join(chosen.choices(vocabulary, k=4_000)).replace(" w7 ", "\n") + "\n")
        new.replace(path)
    return path


# ---- each gives seconds, and checks what came back


def warm_call(peer: Peer) -> float:
    """One call, the median of several."""
    times: list[float] = []
    for number in range(WARM_CALLS):
        if number >= 3 and sum(times) > WARM_SECONDS:
            break
        start = time.perf_counter()
        _expect(peer.call(same, number) == number)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def no_ops(count: int) -> Callable[[Peer], float]:
    """A map of calls that do nothing."""

    def run(peer: Peer) -> float:
        items = list(range(count))
        start = time.perf_counter()
        _expect(peer.map(same, items) == items)
        return time.perf_counter() - start

    return run


def megabytes(peer: Peer) -> float:
    """64 times 1 MiB there and back."""
    data = [os.urandom(MIB) for _ in range(64)]
    start = time.perf_counter()
    _expect(peer.map(same, data) == data)
    return time.perf_counter() - start


def processor(peer: Peer) -> float:
    """32 tasks that need the processor."""
    start = time.perf_counter()
    _expect(len(peer.map(burn, list(range(32)))) == 32)
    return time.perf_counter() - start


def closure(peer: Peer) -> float:
    """200 calls of a function that has 50 MiB with it."""
    table = os.urandom(50 * MIB)

    def look(index: int, table: bytes = table) -> int:
        return table[index]

    start = time.perf_counter()
    _expect(peer.map(look, list(range(200))) == list(table[:200]))
    return time.perf_counter() - start


def count_words(peer: Peer) -> float:
    """The words of a file, by parts."""
    path, size = str(text()), text().stat().st_size
    start = time.perf_counter()
    total: Counter[bytes] = Counter()
    for counted in peer.map(words, [(path, at, min(at + STEP, size)) for at in range(0, size, STEP)]):
        total.update(counted)
    _expect(total.total() > 1_000_000)
    return time.perf_counter() - start


COLD: Final = "first result in a fresh process"
WORK: Final[dict[str, Callable[[Peer], float]]] = {
    "one warm call": warm_call,
    "map of 100 no-ops": no_ops(100),
    "map of 1,000": no_ops(1_000),
    "map of 10,000": no_ops(10_000),
    "map of 100,000": no_ops(100_000),
    "64 x 1 MiB in and out": megabytes,
    "32 CPU-bound tasks": processor,
    "function closing over 50 MiB, 200 calls": closure,
    "words of 48 MB": count_words,
}


def measure(name: str, work: str) -> float:
    """Seconds that a peer takes; but for the first result it is warm by then."""
    start = time.perf_counter()
    with PEERS[name]() as peer:
        if work == COLD:
            _expect(peer.call(same, 7) == 7)
            return time.perf_counter() - start
        peer.map(same, [1, 2, 3, 4])
        return WORK[work](peer)


def _expect(right: bool) -> None:
    if not right:
        raise SystemExit("the results are wrong")


def main() -> None:
    """Measure the peer and the work that the arguments name."""
    name, work = sys.argv[1:]
    seconds = measure(name, work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"\nRESULT {json.dumps([seconds, peak])}\n")
    sys.stdout.flush()
    os._exit(0)  # what a peer leaves running must not hold it up


if __name__ == "__main__":
    main()
