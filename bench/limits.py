"""What wren should hold on one machine, beside being fast: `python -m bench.limits` prints a figure for each line.

Each is measured in a fresh process, as the others would be in its way.
"""

import gc
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.work import same

SLEEPS: Final = 10
MIB: Final = 1 << 20


def resident() -> int:
    """Bytes of memory that this process uses."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def calls(count: int) -> float:
    """Microseconds a call of so many that do nothing."""
    import wren

    with wren.local_executor() as executor:
        executor.get_result(executor.map(same, range(100)))
        start = time.perf_counter()
        executor.get_result(executor.map(same, range(count)))
        return (time.perf_counter() - start) / count * 1e6


def cost_of_many() -> str:
    """The cost of a call must not grow with their number."""
    return f"{calls(10_000):.1f} us a call of 10,000; {calls(100_000):.1f} us of 100,000"


def memory_of_futures() -> str:
    """What 100,000 futures and their results take."""
    import wren

    with wren.local_executor() as executor:
        executor.get_result(executor.map(same, range(100)))
        gc.collect()
        before = resident()
        futures = executor.map(same, [7] * 100_000)
        executor.wait(futures)
        gc.collect()
        return f"{(resident() - before) / len(futures):.0f} bytes a future"


def imports() -> str:
    """`import wren`, of a whole process and of one that imports nothing."""
    times: dict[str, list[float]] = {"pass": [], "import wren": []}
    for _ in range(15):
        for program, found in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            found.append(time.perf_counter() - start)
    alone, both = (statistics.median(found) for found in times.values())
    return f"{(both - alone) * 1e3:.1f} ms"


def sleeps_among_short_calls() -> str:
    """Ten sleeps of a second at random places of 1,000 calls, against their even share of the workers."""
    import wren

    places = set(random.sample(range(1_000), SLEEPS))
    with wren.local_executor() as executor:
        executor.get_result(executor.map(same, range(100)))
        start = time.perf_counter()
        executor.get_result(executor.map(time.sleep, [1.0 * (call in places) for call in range(1_000)]))
        took = time.perf_counter() - start
    ideal = -(-SLEEPS // (os.cpu_count() or 1))
    return f"{took:.2f} s of {ideal} ({took / ideal:.2f})"


def idle() -> str:
    """The processor time of a client and its workers that have nothing to do, over five seconds."""
    import wren

    executor = wren.local_executor()
    executor.get_result(executor.map(same, range(100)))
    time.sleep(2)
    pids = [os.getpid(), *_children()]
    before = sum(map(_processor_time, pids))
    time.sleep(5)
    return f"{(sum(map(_processor_time, pids)) - before) * 1e3:.1f} ms in 5 s, {len(pids)} processes"


def executors() -> str:
    """What a thousand executors, one after the other, leave in a process."""
    import wren

    def use(count: int) -> tuple[int, int, int, int]:
        for _ in range(count):
            with wren.local_executor() as executor:
                executor.call_async(same, 1)
                executor.get_result()
        gc.collect()
        tasks, descriptors = Path("/proc/self/task"), Path("/proc/self/fd")
        return len(list(tasks.iterdir())), len(list(descriptors.iterdir())), len(_children()), resident()

    before, after = use(100), use(1_000)
    threads, fds, children, memory = (late - early for early, late in zip(before, after, strict=True))
    return f"{threads} threads, {fds} descriptors, {children} processes, {memory / MIB:.1f} MiB more than after 100"


def large_results() -> str:
    """10,000 results of 100 KB that nobody keeps: the client's memory at most, beside what it had."""
    import wren

    with wren.local_executor() as executor:
        executor.get_result(executor.map(same, range(100)))
        before = most = resident()
        for _ in range(100):
            for result in executor.get_result(executor.map(bytearray, [100_000] * 100)):
                assert len(result) == 100_000
            most = max(most, resident())
        return f"{(most - before) / MIB:.0f} MiB more at most, in portions of 100 (10 MB)"


def _children() -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children")
    own = [int(pid) for pid in found.read_text("ascii").split()]
    for task in Path("/proc/self/task").iterdir():
        own += [int(pid) for pid in (task / "children").read_text("ascii").split()]
    return sorted(set(own))


def _processor_time(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9


LIMITS: Final[dict[str, Callable[[], str]]] = {
    "the cost of many calls": cost_of_many,
    "the memory of 100,000 futures": memory_of_futures,
    "import wren": imports,
    "ten sleeps among 1,000 calls": sleeps_among_short_calls,
    "an idle executor": idle,
    "1,000 executors": executors,
    "10,000 results of 100 KB": large_results,
}


def main(arguments: list[str]) -> None:
    """Print one, or each in a process of its own."""
    for name in arguments or LIMITS:
        if arguments:
            line: Any = LIMITS[name]()
            sys.stdout.write(f"| {name} | {line} |\n")
        else:
            subprocess.run([sys.executable, "-m", "bench.limits", name], check=True)
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
