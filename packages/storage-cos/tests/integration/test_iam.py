"""An api key: its tokens come in time, and what goes wrong is one plain error, over a real server behind a gate."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.services.fixtures import Endpoint, Gate

from wren.errors import PreconditionFailed, StorageError, StorageUnavailable
from wren_storage_cos.client import connect
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.options import CosOptions
from wren_storage_cos.sdk import SdkObjects
from wren_storage_cos.storage import CosStorage
from wren_storage_cos.tokens import Tokens

AWAY = "http://127.0.0.1:9"
SOURCE = "mine"


@pytest.fixture
def opened(iam: Gate) -> Iterator[Callable[..., SdkObjects]]:
    """Opens the server by tokens of that path; keywords are those of `SdkObjects` that differ."""
    made = list[SdkObjects]()

    def open_objects(path: str = "token", api_key: str = iam.api_key, **settings: Any) -> SdkObjects:
        given = {"endpoint": iam.url, "ibm_auth_endpoint": iam.auth(path), "retries": 1, **settings}
        made.append(SdkObjects(**given, credentials=Credentials(api_key=api_key)))
        return made[-1]

    yield open_objects
    for each in made:
        each.close()


def named() -> str:
    return uuid.uuid4().hex


# ---- tokens


def test_one_token_serves_many_threads(iam: Gate, opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    path = f"tokens/1/3600/{named()}/token"
    objects = opened(path)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: objects.put(s3_bucket, f"k{number}", [b"x"]), range(64)))
    assert len(list(objects.list(s3_bucket))) == 64
    assert iam.count(path) == 1


def test_a_token_is_replaced_before_it_ends(iam: Gate, opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    """The gate refuses those that have ended, once: then another request would have to follow."""
    path = f"tokens/100/1/{named()}/token"
    objects = opened(path, retries=0)
    objects.put(s3_bucket, "k", [b"x"])
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert objects.get(s3_bucket, "k") == b"x"
    assert 3 <= iam.count(path) <= 5


def test_a_valid_token_is_used_while_no_new_one_is_to_be_had(iam: Gate) -> None:
    path = f"tokens/1/2/{named()}/token"
    tokens = Tokens(iam.api_key, iam.auth(path), 0, 10.0)
    first = tokens.get_token()
    while iam.count(path) == 1:  # until it was asked for the second, which is refused
        assert tokens.get_token() == first
    assert tokens.get_token() == first

    def until_it_ends() -> None:
        while tokens.get_token() == first:
            time.sleep(0.01)

    with pytest.raises(StorageUnavailable, match="ibm_auth_endpoint"):
        until_it_ends()


def test_a_revoked_token_is_replaced(iam: Gate, opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    """The token's service says an hour, the storage thinks otherwise: a clock was set, or the token revoked."""
    path = "lives/3600/0.5/token"
    objects, before = opened(path, retries=0), iam.count(path)
    objects.put(s3_bucket, "k", [b"x"])
    while iam.count(path) == before + 1:
        assert objects.get(s3_bucket, "k") == b"x"


def test_tokens_that_have_always_ended_are_an_error(opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    objects = opened("lives/3600/-1/token")
    for action in (lambda: objects.get(s3_bucket, "k"), lambda: objects.head(s3_bucket, "k")):
        with pytest.raises(StorageError, match=r"api_key in section \[ibm_cos\] is no longer valid"):
            action()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("garbage/token", "no valid token: correct ibm_auth_endpoint"),
        ("answers/404/token", "answers 404: correct ibm_auth_endpoint"),
        ("lives/-5/3600/token", "no valid token: correct ibm_auth_endpoint"),
        ("answers/500/token", "see ibm_auth_endpoint .* it answers 500"),
        ("answers/403/token", "refuses the api_key in section .* 403"),
    ],
)
def test_a_service_that_gives_no_token_is_named(opened: Callable[..., SdkObjects], path: str, said: str) -> None:
    with pytest.raises(StorageError, match=said):
        opened(path).get("wren", "k")


def test_only_what_may_succeed_later_is_asked_again(iam: Gate) -> None:
    for status, times in ((403, 1), (500, 3)):
        path = f"answers/{status}/token"
        before = iam.count(path)
        with pytest.raises(StorageError):
            Tokens(iam.api_key, iam.auth(path), 2, 10.0).get_token()
        assert iam.count(path) - before == times


def test_threads_that_wait_for_a_token_fail_together(iam: Gate) -> None:
    """Each by itself, one after the other, would wait until a service that is away has not answered all of them."""
    path, together = "answers/503/token", threading.Barrier(16, timeout=20)
    before = iam.count(path)
    tokens = Tokens(iam.api_key, iam.auth(path), 2, 10.0)

    def ask(_: int) -> None:
        together.wait()
        with pytest.raises(StorageUnavailable, match="it answers 503"):
            tokens.get_token()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    asked = iam.count(path)
    assert asked - before <= 6, "the first one's, or also those of one that was late"
    with pytest.raises(StorageUnavailable):
        tokens.get_token()
    assert iam.count(path) == asked + 3, "whoever comes later asks anew"


def test_a_token_service_that_is_away_is_named(opened: Callable[..., SdkObjects]) -> None:
    with pytest.raises(StorageUnavailable, match=r"see ibm_auth_endpoint .*Connection refused"):
        opened(ibm_auth_endpoint=f"{AWAY}/identity/token").get("wren", "k")


# ---- what is refused


def test_a_wrong_api_key_is_named_and_not_shown(opened: Callable[..., SdkObjects]) -> None:
    with pytest.raises(StorageError, match=r"refuses the api_key in section \[ibm_cos\], 400 BXNIM0415E") as caught:
        opened(api_key="hush-hush").get("wren", "k")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hush-hush" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


def test_an_api_key_without_permission_is_named(iam: Gate, opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    reader = opened(api_key=iam.reader)
    assert list(reader.list(s3_bucket)) == []
    actions: list[Callable[[], object]] = [
        lambda: reader.put(s3_bucket, "k", [b"x"]),
        lambda: reader.put(s3_bucket, "k", [bytes(6 << 20)]),
        lambda: reader.delete(s3_bucket, ["k"]),
    ]
    for action in actions:
        with pytest.raises(StorageError, match=rf"does not allow .*{s3_bucket}.* with api_key in section") as caught:
            action()
        assert "token" not in str(caught.value)  # the gate's message shows it


def test_a_missing_bucket_is_named(opened: Callable[..., SdkObjects]) -> None:
    missing = f"wren-{named()}"
    objects = opened()
    actions: list[Callable[[], object]] = [
        lambda: objects.put(missing, "k", [b"x"]),
        lambda: objects.get(missing, "k"),
        lambda: objects.head(missing, "k"),
        lambda: list(objects.list(missing)),
        lambda: objects.delete(missing, ["k"]),
    ]
    for action in actions:
        with pytest.raises(StorageError, match=f"there is no bucket '{missing}'"):
            action()


def test_a_storage_that_is_away_is_named(opened: Callable[..., SdkObjects]) -> None:
    with pytest.raises(StorageUnavailable, match=r"see endpoint in section .*Connection refused"):
        opened(endpoint=AWAY).get("wren", "k")


def test_without_an_api_key_workers_say_so(iam: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WREN_IBM_COS__API_KEY", raising=False)
    with pytest.raises(StorageError, match="WREN_IBM_COS__API_KEY"):
        SdkObjects(iam.url).get("wren", "k")


# ---- objects of many parts


def test_a_large_object_goes_up_in_parts_or_not_at_all(
    opened: Callable[..., SdkObjects], s3: Endpoint, s3_bucket: str
) -> None:
    objects, content = opened(), os.urandom(11 << 20)
    objects.put(s3_bucket, "large", (content[at : at + 99_999] for at in range(0, len(content), 99_999)))
    assert objects.get(s3_bucket, "large") == content
    assert objects.get(s3_bucket, "large", (5 << 20) - 1, (5 << 20) + 1) == content[(5 << 20) - 1 : (5 << 20) + 1]
    with pytest.raises(PreconditionFailed):
        objects.put(s3_bucket, "large", [content], if_absent=True)

    def source() -> Iterator[bytes]:
        yield content
        raise LookupError(SOURCE)

    with pytest.raises(LookupError, match=SOURCE):
        objects.put(s3_bucket, "other", source())
    assert [key for key, *_ in objects.list(s3_bucket)] == ["large"]
    client = s3.client()
    assert not client.list_multipart_uploads(Bucket=s3_bucket).get("Uploads")
    client.close()


# ---- forks


def test_a_child_asks_by_connections_of_its_own(opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    objects = opened()
    objects.put(s3_bucket, "k", [b"content"])
    read, write = os.pipe()
    pid = os.fork()
    if not pid:  # pragma: no cover - a process that is not measured
        try:
            os.write(write, pickle.dumps(objects.get(s3_bucket, "k")))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pickle.loads(pipe.read()) == b"content"  # noqa: S301 - our own child's
    os.waitpid(pid, 0)
    assert objects.get(s3_bucket, "k") == b"content"


# ---- the SDK's own client, which functions get as `ibm_cos`


@pytest.mark.parametrize("kind", ["hmac", "iam"])
def test_functions_get_the_sdks_client(kind: str, s3: Endpoint, iam: Gate, s3_bucket: str) -> None:
    """As a worker makes it: from a handle of JSON and the environment, whatever variables and files say of others."""
    options = s3.options(s3_bucket) if kind == "hmac" else iam.options(s3_bucket)
    storage = CosStorage(CosOptions(**options))
    handle = storage.client()
    program = """
import importlib, json, sys
target, options = json.load(sys.stdin)
module, _, name = target.partition(":")
client = getattr(importlib.import_module(module), name)(**options)
client.put_object(Bucket=sys.argv[1], Key="by the SDK", Body=b"content")
print(client.get_object(Bucket=sys.argv[1], Key="by the SDK")["Body"].read().decode(), type(client).__name__)
"""
    others = {"AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": "other", "AWS_ENDPOINT_URL": AWAY, "AWS_SESSION_TOKEN": "x"}
    done = subprocess.run(
        [sys.executable, "-c", program, s3_bucket],
        input=json.dumps([handle.target, dict(handle.options)]),
        env={**os.environ, **others, **storage.secrets()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("content S3\n", "")


def test_importing_the_clients_imports_no_sdk() -> None:
    program = """
import sys, wren_storage_cos.client, wren_storage_cos.sdk, wren_storage_cos.storage
print([name for name in ("ibm_boto3", "ibm_botocore", "obstore", "requests", "urllib3") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_addresses_are_in_the_style_that_is_asked_for(s3: Endpoint) -> None:
    keys = Credentials(s3.access_key, s3.secret_key)
    for style, wanted in (("path", "http://s3.test/wren/k"), ("virtual", "http://wren.s3.test/k")):
        client = connect("http://s3.test", addressing_style=style, region="eu-de", credentials=keys)
        url = client.generate_presigned_url("get_object", {"Bucket": "wren", "Key": "k"})
        client.close()
        assert url.startswith(wanted)
        assert "eu-de" in url
