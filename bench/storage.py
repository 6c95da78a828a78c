"""What the storage costs beside a bare client of the same service: `python -m bench.storage` prints a line for each.

It uses section [ibm_cos] of the configuration, with HMAC keys, path style; where there is none, the server that the
tests use.  The bare client is obstore, on which the storage is built, and where that is said ibm_boto3.  Both sides
take turns; a ratio is one of medians.
"""

import os
import pickle
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import wren
from wren import plugins
from wren.binding import bind
from wren.config import Config
from wren.partition import expand
from wren.spi import Storage

REPEAT: Final = 9
MIB: Final = 1 << 20
BUCKET: Final = "wren-bench"


class Side(NamedTuple):
    """What is timed, and what is done before each time."""

    run: Callable[[], object]
    before: Callable[[], object] = int


def compared(**sides: Side) -> str:
    """The median seconds of the first side, and its ratio to each of the others; a first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(REPEAT + 1):
        for name, side in sides.items():
            side.before()
            start = time.perf_counter()
            side.run()
            if turn:
                times[name].append(time.perf_counter() - start)
    (first, seconds), *others = ((name, statistics.median(found)) for name, found in times.items())
    ratios = ", ".join(f"{seconds / other:.2f} x {name} ({other:.3f} s)" for name, other in others)
    return f"{first} {seconds:.3f} s: {ratios}"


def options() -> Any:
    """Section [ibm_cos]."""
    return Config.load().options("ibm_cos", plugins.load_storage("ibm_cos").options_type)


def obstore_client() -> Any:
    """A bare obstore."""
    from obstore.store import S3Store

    given = options()
    keys = {"access_key_id": given.access_key, "secret_access_key": given.secret_key}
    client_options: Any = {"allow_http": True}
    return S3Store(given.bucket, endpoint=given.endpoint, region=given.region, client_options=client_options, **keys)


def boto_client() -> Any:
    """A bare ibm_boto3 for 128 threads."""
    import ibm_boto3
    from ibm_botocore.client import Config as BotoConfig

    given = options()
    return ibm_boto3.client(
        "s3",
        endpoint_url=given.endpoint,
        region_name=given.region,
        aws_access_key_id=given.access_key,
        aws_secret_access_key=given.secret_key,
        config=BotoConfig(signature_version="s3v4", max_pool_connections=128, s3={"addressing_style": "path"}),
    )


@contextmanager
def place() -> Iterator[tuple[Storage[Any], str]]:
    """The storage, and a prefix of its bucket that is empty again afterwards."""
    storage: Storage[Any] = plugins.load_storage("ibm_cos")(options())
    prefix = f"bench-{uuid.uuid4().hex}/"
    try:
        yield storage, prefix
    finally:
        storage.delete(storage.bucket, [info.key for info in storage.list(storage.bucket, prefix)])
        storage.close()


def listing() -> str:
    """10,000 objects into parts, beside a listing."""
    import obstore

    with place() as (storage, prefix):
        bare = obstore_client()
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(lambda number: obstore.put(bare, f"{prefix}{number:06}", b"text"), range(10_000)))
        bound = bind(lambda obj: obj, [f"{storage.bucket}/{prefix}"])
        return compared(
            wren=Side(lambda: expand(bound, storage, None, None)),
            obstore=Side(lambda: [each for some in obstore.list(bare, prefix, chunk_size=1000) for each in some]),
        )


def results() -> str:
    """`get_result` of 1,000 small results that another process has left in the storage."""
    import obstore

    bare, boto = obstore_client(), boto_client()
    with wren.local_executor(storage_backend="ibm_cos", persist=True) as executor:
        executor.map(lambda number: [number], range(1_000))
        done, _ = executor.wait()
        pickled, bucket = pickle.dumps(done), options().bucket
        header = done[0].table._header
        assert header is not None
        keys = [wren.wire.result_key(header.executor, header.job, call, 0) for call in range(1_000)]
        elsewhere: list[wren.Future[Any]] = []

        def prepare() -> None:
            elsewhere.clear()  # who has a job's futures already gets no others
            elsewhere[:] = pickle.loads(pickled)  # noqa: S301 - made by this function
            assert all(future.done() for future in elsewhere)

        def read() -> None:
            assert executor.get_result(elsewhere) == [[number] for number in range(1_000)]

        def together(threads: int, get: Callable[[str], bytes]) -> None:
            with ThreadPoolExecutor(threads) as pool:
                assert len(list(pool.map(get, keys))) == 1_000

        found = compared(
            wren=Side(read, prepare),
            obstore=Side(partial(together, 32, lambda key: bytes(obstore.get(bare, key).bytes()))),
            ibm_boto3=Side(partial(together, 128, lambda key: boto.get_object(Bucket=bucket, Key=key)["Body"].read())),
        )
        executor.clean()
        return found


def by_parts(obj: Any) -> int:
    """Read a part as a stream."""
    return sum(map(len, iter(partial(obj.data_stream.read, MIB), b"")))


def by_ranges(key: str, start: int, stop: int) -> int:
    """Read the same bytes by a bare client."""
    import obstore

    return len(obstore.get_range(obstore_client(), key, start=start, end=stop))


def parts() -> str:
    """256 MiB by parts of 32 MiB, beside ranged gets of the same."""
    size, part = 256 * MIB, 32 * MIB
    line = b"%s\n" % (b"x" * 99)
    with place() as (storage, prefix), wren.local_executor(storage_backend="ibm_cos", workers=2) as executor:
        storage.put(storage.bucket, f"{prefix}text", [line * (MIB // 25) for _ in range(64)])
        size = storage.head(storage.bucket, f"{prefix}text").size
        ranges = [(f"{prefix}text", start, min(start + part, size)) for start in range(0, size, part)]

        def wrens() -> None:
            executor.map(by_parts, [f"{storage.bucket}/{prefix}text"], chunk_size=part)
            assert sum(executor.get_result()) == size

        def bare() -> None:
            executor.map(by_ranges, ranges)
            assert sum(executor.get_result()) == size

        return compared(wren=Side(wrens), obstore=Side(bare))


def waiting() -> str:
    """What waiting for 10,000 calls whose statuses lie in the storage asks of it, while they run elsewhere."""
    asked: Counter[str] = Counter()

    class Counted(plugins.load_storage("ibm_cos")):  # type: ignore[misc]  # a plugin's class is not known before
        def list(self, bucket: str, prefix: str = "", after: str = "") -> Any:
            asked["listings"] += 1
            asked["sequences"] += prefix.endswith("/00009/")  # of the last thousand, which are open to the end
            return super().list(bucket, prefix, after)

        def get(self, *args: Any, **kwargs: Any) -> Any:
            asked["reads"] += 1
            return super().get(*args, **kwargs)

        def head(self, *args: Any) -> Any:
            asked["heads"] += 1
            return super().head(*args)

    with wren.local_executor(storage_backend="ibm_cos", persist=True) as executor:
        futures = executor.map(lambda number: [number], range(10_000))
        others = pickle.loads(pickle.dumps(futures))  # noqa: S301 - made by this line
        others[0].table._source._opened = Counted(options())
        start = time.perf_counter()
        executor.wait(others)
        seconds = time.perf_counter() - start
        executor.clean()
    return f"{', '.join(f'{count} {name}' for name, count in sorted(asked.items()))} in {seconds:.1f} s"


def imports() -> str:
    """What a worker imports to open the storage, beside what it has imported already."""
    programs = {
        "without": "import wren.worker.run",
        "with": "import wren.worker.run, wren_storage_cos.objects, obstore.store",
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(REPEAT + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-P", "-c", program], check=True, env=environment)
            if turn:
                times[name].append(time.perf_counter() - start)
    return f"{(statistics.median(times['with']) - statistics.median(times['without'])) * 1e3:.0f} ms"


LIMITS: Final[dict[str, Callable[[], str]]] = {
    "10,000 objects into parts": listing,
    "1,000 stored results": results,
    "256 MiB by parts": parts,
    "waiting for 10,000 calls": waiting,
    "a worker's import": imports,
}


def server() -> dict[str, str]:
    """The configuration of the tests' server and of a bucket there, as environment variables."""
    import ibm_boto3
    from tests.services.base import started
    from tests.services.s3 import ACCESS_KEY, SECRET_KEY

    url = started("tests.services.s3")
    client = ibm_boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name="us-east-1"
    )
    if BUCKET not in (bucket["Name"] for bucket in client.list_buckets()["Buckets"]):
        client.create_bucket(Bucket=BUCKET)
    found = {"endpoint": url, "bucket": BUCKET, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return {f"WREN_IBM_COS__{key.upper()}": value for key, value in found.items()}


def main(arguments: list[str]) -> None:
    """Print one, or each in a process of its own."""
    if "ibm_cos" not in Config.load().sections:
        os.environ |= server()
    for name in arguments or LIMITS:
        if arguments:
            sys.stdout.write(f"| {name} | {LIMITS[name]()} |\n")
        else:
            subprocess.run([sys.executable, "-m", "bench.storage", name], check=True)
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
