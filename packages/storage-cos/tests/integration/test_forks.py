"""Processes: the threads of obstore are in no child, nor may the parent's connections be; and Ctrl-C ends a wait."""

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest
from tests.services.fixtures import Endpoint

from wren_storage_cos.credentials import Credentials

if TYPE_CHECKING:
    from integration.conftest import Between

PROGRAM: Final = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
from wren_storage_cos.objects import Objects

signal.alarm(60)
URL, BUCKET = sys.argv[1:]
objects = Objects(URL)
LARGE = b"0123456789" * 1_100_000

def use(key):
    objects.put(BUCKET, key, [b"small"])
    objects.put(BUCKET, key + ".large", [LARGE])
    assert objects.get(BUCKET, key) == b"small"
    assert objects.get(BUCKET, key, 1, 3) == b"ma"
    assert objects.get(BUCKET, key + ".large") == LARGE
    assert objects.head(BUCKET, key)[1] == 5
    assert {key, key + ".large"} <= {name for name, *_ in objects.list(BUCKET)}
    objects.delete(BUCKET, [key, key + ".large"])

def forked(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(60)
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(s3: Endpoint, bucket: str, program: str) -> None:
    env = {**Credentials(s3.access_key, s3.secret_key).environment(), "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + program, s3.url, bucket],
        env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_child_uses_what_its_parent_has_used(s3: Endpoint, s3_bucket: str) -> None:
    run(s3, s3_bucket, "use('before'); assert ended(forked(lambda: use('child'))) == 0; use('after')")


def test_children_of_one_that_has_used_nothing_use_it(s3: Endpoint, s3_bucket: str) -> None:
    """As calls are forked of a template."""
    program = "assert [ended(pid) for pid in [forked(lambda n=n: use(f'c{n}')) for n in range(3)]] == [0] * 3; use('p')"
    run(s3, s3_bucket, program)


def test_a_child_of_a_child_uses_it(s3: Endpoint, s3_bucket: str) -> None:
    program = """
def child():
    use('child')
    assert ended(forked(lambda: use('grandchild'))) == 0

use('parent')
assert ended(forked(child)) == 0
"""
    run(s3, s3_bucket, program)


def test_parent_and_children_use_it_at_the_same_time(s3: Endpoint, s3_bucket: str) -> None:
    program = """
use('parent')
busy = [threading.Thread(target=use, args=(f'thread{n}',)) for n in range(2)]
for thread in busy:
    thread.start()
children = [forked(lambda n=n: use(f'child{n}')) for n in range(2)]
for thread in busy:
    thread.join()
assert [ended(pid) for pid in children] == [0, 0]
use('after')
"""
    run(s3, s3_bucket, program)


@pytest.mark.parametrize("verb", ["get(BUCKET, 'k')", "list(BUCKET)", "head(BUCKET, 'k')"])
def test_a_program_that_has_used_it_ends(s3: Endpoint, s3_bucket: str, verb: str) -> None:
    run(s3, s3_bucket, f"objects.put(BUCKET, 'k', [b'x']); list(objects.{verb})")


@pytest.mark.parametrize("before", ["", "use('before')"])
def test_a_program_that_is_about_to_end_uses_it(s3: Endpoint, s3_bucket: str, before: str) -> None:
    """No thread starts then, and the library that would start some cannot even be imported."""
    run(s3, s3_bucket, f"import atexit; atexit.register(use, 'late'); {before}")


def test_ctrl_c_takes_an_upload_back(between: "Between", s3: Endpoint, s3_bucket: str) -> None:
    """At once, although a part of it is on the way and is not answered."""
    program = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
objects = Objects({between.url!r}, timeout=600, interruptible=True)
try:
    objects.put({s3_bucket!r}, "large", [LARGE] * 4)
except KeyboardInterrupt:
    print("interrupted")
"""
    between.will_when("partNumber=2", "stall")
    env = {**Credentials(s3.access_key, s3.secret_key).environment(), "PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM + program, s3.url, s3_bucket]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            while not any("partNumber=5" in asked for asked in between.asked):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == "interrupted\n"
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.mark.parametrize("verb", ["put('wren', 'k', [b'x'])", "get('wren', 'k')", "head('wren', 'k')", "list('wren')"])
def test_ctrl_c_ends_a_wait_at_once(verb: str, between: "Between") -> None:
    program = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from wren_storage_cos.options import CosOptions
from wren_storage_cos.storage import CosStorage

storage = CosStorage(CosOptions({between.url!r}, "wren", access_key="mine", secret_key="hush", timeout=600))
try:
    list(storage.{verb} or ())
except KeyboardInterrupt:
    print("interrupted")
"""
    between.will("stall")
    env = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            while not between.asked:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == "interrupted\n"
            assert process.returncode == 0
        finally:
            process.kill()
