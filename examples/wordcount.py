"""Counts the words of a text that is too large for any worker's memory, and checks the count.

    python examples/wordcount.py [GIB]

writes a text of that many GiB (1 by default) into the storage that is configured, or into one on this machine where
none is, counts its words by partitions of 32 MiB, and once more in one go.  The text is removed at the end.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import wren

MIB = 1 << 20
PARTITION = 32 * MIB
MOST_MEMORY = 150 * MIB  # of a worker, Python and wren included


def text(size: int) -> Iterator[bytes]:
    """`size` bytes of lines, some KiB at a time."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 14))) for _ in range(5_000)]
    verses = [" ".join(chance.choices(words, k=chance.randint(1, 20))) + "\n" for _ in range(20_000)]
    chapters = ["".join(chance.choices(verses, k=1_000)).encode() for _ in range(100)]
    while size > 0:
        chapter = chance.choice(chapters)[:size]
        yield chapter
        size -= len(chapter)


def count(stream: BinaryIO) -> Counter[bytes]:
    """How often each word is there."""
    counts: Counter[bytes] = Counter()
    while lines := stream.readlines(MIB):
        counts.update(b"".join(lines).split())
    return counts


def count_part(obj: Any) -> Counter[bytes]:
    """The map: of a partition, whose lines are whole."""
    return count(obj.data_stream)


def add_up(counts: Iterable[Counter[bytes]]) -> Counter[bytes]:
    """The reduce."""
    total: Counter[bytes] = Counter()
    for each in counts:
        total.update(each)
    return total


def main() -> None:
    """Write, count twice, compare."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 1) * 1024) * MIB
    with wren.FunctionExecutor() as executor:
        storage = executor.storage
        bucket, key = storage.bucket, f"wordcount/{time.time_ns()}.txt"
        try:
            began = time.perf_counter()
            storage.put_object(bucket, key, text(size))
            written = time.perf_counter()
            futures = executor.map_reduce(count_part, [f"{bucket}/{key}"], add_up, chunk_size=PARTITION)
            counted = executor.get_result(futures)
            mapped = time.perf_counter()
            with storage.get_object(bucket, key, stream=True) as stream:
                expected = count(stream)
            ended = time.perf_counter()
        finally:
            storage.delete_object(bucket, key)
    peak = max(future.stats["peak_memory"] for future in futures[:-1])
    print(f"storage {storage.backend}: {size // MIB} MiB written in {written - began:.1f} s")
    print(f"by {len(futures) - 1} partitions: {counted.total()} words in {mapped - written:.1f} s")
    print(f"in one go: {expected.total()} words in {ended - mapped:.1f} s")
    print(f"a worker's memory: {peak / MIB:.0f} MiB at most")
    if counted != expected:
        sys.exit("the counts differ")
    if peak >= MOST_MEMORY:
        sys.exit(f"that is more than {MOST_MEMORY // MIB} MiB")
    print("the counts are the same")


if __name__ == "__main__":
    main()
