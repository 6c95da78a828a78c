"""What a service does in its worse moments: asked again while there is hope, never for ever, nothing half-done."""

import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
import trustme
from tests.services.fixtures import Endpoint

from wren.errors import PreconditionFailed, StorageError, StorageUnavailable
from wren_storage_cos.objects import Objects
from wren_storage_cos.uploads import PART

if TYPE_CHECKING:
    from integration.conftest import Action, Between, Opener

Verb: TypeAlias = Callable[[Objects, str], object]

LARGE: Final = b"0123456789abcdef" * (PART // 8)  # two parts
# Those of ordinary objects are obstore's, the others are not.
VERBS: Final[dict[str, Verb]] = {
    "put": lambda objects, bucket: objects.put(bucket, "new", [b"content"]),
    "get": lambda objects, bucket: objects.get(bucket, "k"),
    "get a range": lambda objects, bucket: objects.get(bucket, "k", 1, 3),
    "head": lambda objects, bucket: objects.head(bucket, "k"),
    "list": lambda objects, bucket: list(objects.list(bucket)),
    "delete": lambda objects, bucket: objects.delete(bucket, ["gone"]),
    "put an odd key": lambda objects, bucket: objects.put(bucket, "/odd", [b"content"]),
    "get an odd key": lambda objects, bucket: objects.get(bucket, "//k"),
    "head an odd key": lambda objects, bucket: objects.head(bucket, "//k"),
    "put in parts": lambda objects, bucket: objects.put(bucket, "large", [LARGE]),
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))


@pytest.fixture
def bucket(s3: Endpoint, s3_bucket: str) -> Iterator[str]:
    """One with an object."""
    client = s3.client()
    client.put_object(Bucket=s3_bucket, Key="k", Body=b"0123456789")
    yield s3_bucket
    client.close()


@pytest.fixture
def shaky(opened: "Opener", between: "Between") -> Objects:
    """Asks by way of the faults."""
    return opened(endpoint=between.url, timeout=30.0)


def uploads(s3: Endpoint, bucket: str) -> list[Any]:
    """Those that are neither completed nor abandoned."""
    client = s3.client()
    found: list[Any] = client.list_multipart_uploads(Bucket=bucket).get("Uploads") or []
    client.close()
    return found


# ---- asked again


@verbs
@pytest.mark.parametrize("fault", [503, 500, 429, "close"])
def test_what_is_busy_or_goes_is_asked_again(
    verb: Verb, fault: "Action", shaky: Objects, between: "Between", bucket: str, objects: Objects
) -> None:
    wanted = verb(objects, bucket)
    between.will(fault, "pass", fault, "pass")
    assert verb(shaky, bucket) == wanted
    assert len(between.asked) >= 2


@pytest.mark.parametrize("verb", [VERBS["get"], VERBS["get a range"], VERBS["get an odd key"], VERBS["list"]])
def test_half_an_answer_is_none(verb: Verb, shaky: Objects, between: "Between", bucket: str, objects: Objects) -> None:
    wanted = verb(objects, bucket)
    between.will("cut", "pass")
    assert verb(shaky, bucket) == wanted


@verbs
def test_a_service_that_stays_busy_is_unavailable(verb: Verb, shaky: Objects, between: "Between", bucket: str) -> None:
    between.will(503)
    with pytest.raises(StorageUnavailable) as caught:
        verb(shaky, bucket)
    for word in ("endpoint in section [ibm_cos]", between.url, bucket, "503"):
        assert word in str(caught.value)
    assert len(between.asked) == 3, "one more than `retries`"


@verbs
def test_a_service_that_does_not_answer_is_unavailable(
    verb: Verb, opened: "Opener", between: "Between", bucket: str
) -> None:
    between.will("stall")
    with pytest.raises(StorageUnavailable, match="no answer in time"):
        verb(opened(endpoint=between.url, timeout=0.2, retries=1), bucket)


@verbs
def test_a_service_that_is_not_there_is_unavailable(verb: Verb, opened: "Opener", bucket: str) -> None:
    with pytest.raises(StorageUnavailable, match="Connection refused"):
        verb(opened(endpoint="http://127.0.0.1:9", retries=1), bucket)


@verbs
def test_a_host_that_is_not_there_is_unavailable(verb: Verb, opened: "Opener", bucket: str) -> None:
    with pytest.raises(StorageUnavailable, match=r"http://nosuch\.invalid.*: .+"):
        verb(opened(endpoint="http://nosuch.invalid", retries=0), bucket)


# ---- not asked again


@pytest.mark.parametrize("key", ["new", "/odd"])
def test_what_may_be_done_is_not_done_again_under_a_condition(
    key: str, shaky: Objects, between: "Between", bucket: str
) -> None:
    """The second one would find the first, and say that somebody else's is there."""
    between.will("swallow", "pass")
    with pytest.raises(StorageUnavailable):
        shaky.put(bucket, key, [b"content"], if_absent=True)
    assert len(between.asked) == 1


def test_nor_is_it_on_another_connection(shaky: Objects, between: "Between", bucket: str) -> None:
    """One that is kept may have been closed while it was idle, or after it had brought the request."""
    between.will("pass")
    list(shaky.list(bucket))
    between.will("swallow", "pass")
    with pytest.raises(StorageUnavailable):
        shaky.put(bucket, "new", [b"content"], if_absent=True)
    assert len(between.asked) == 1
    between.will("pass", "pass", "pass", "swallow", "pass")
    with pytest.raises(StorageUnavailable):
        shaky.put(bucket, "large", [LARGE], if_absent=True)
    assert [asked.partition(" ")[0] for asked in between.asked] == ["POST", "PUT", "PUT", "POST", "DELETE"]


@verbs
def test_a_refusal_is_asked_once(verb: Verb, shaky: Objects, between: "Between", bucket: str) -> None:
    between.will((403, "<Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(StorageError, match="permission"):
        verb(shaky, bucket)
    assert len(between.asked) <= 2, "where an answer has no text, another one is asked for it"


# ---- wholly or not at all


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("action", [403, 503, "close"])
@pytest.mark.parametrize("step", ["uploads=", "partNumber=1", "partNumber=2", "^POST .*uploadId="])
def test_an_upload_that_fails_leaves_nothing(
    step: str, action: "Action", if_absent: bool, shaky: Objects, between: "Between", bucket: str, s3: Endpoint
) -> None:
    between.will_when(step, action)
    with pytest.raises(StorageError):
        shaky.put(bucket, "large", [LARGE], if_absent=if_absent)
    assert [key for key, *_ in shaky.list(bucket)] == ["k"]
    assert uploads(s3, bucket) == []


def test_a_source_that_fails_leaves_no_upload(objects: Objects, bucket: str, s3: Endpoint) -> None:
    error = LookupError("mine")

    def source() -> Iterator[bytes]:
        yield LARGE
        yield LARGE
        raise error

    with pytest.raises(LookupError) as caught:
        objects.put(bucket, "large", source())
    assert caught.value is error
    assert uploads(s3, bucket) == []


def test_a_success_may_turn_out_to_be_none(shaky: Objects, between: "Between", bucket: str, s3: Endpoint) -> None:
    """The answer that an upload is complete begins before it is."""
    broken = 200, '<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We failed.</Message></Error>'
    between.will("pass", "pass", "pass", broken, "pass")
    with pytest.raises(StorageUnavailable, match="500 InternalError We failed"):
        shaky.put(bucket, "large", [LARGE])
    assert uploads(s3, bucket) == []


def test_a_large_object_is_put_only_where_nothing_is(objects: Objects, bucket: str, s3: Endpoint) -> None:
    objects.put(bucket, "large", [LARGE], if_absent=True)
    with pytest.raises(PreconditionFailed):
        objects.put(bucket, "large", [LARGE], if_absent=True)
    assert objects.get(bucket, "large") == LARGE
    assert uploads(s3, bucket) == []


# ---- what is no S3


@pytest.mark.parametrize("verb", [VERBS["get a range"], VERBS["list"], VERBS["delete"], VERBS["put in parts"]])
@pytest.mark.parametrize("answer", [(200, "<html>Welcome</html>"), (200, "{}"), (200, "")])
def test_what_is_no_s3_is_an_error(
    verb: Verb, answer: "Action", shaky: Objects, between: "Between", bucket: str
) -> None:
    between.will(answer)
    with pytest.raises(StorageError) as caught:
        verb(shaky, bucket)
    assert between.url in str(caught.value)


def page(content: str) -> str:
    return f"<ListBucketResult>{content}</ListBucketResult>"


@pytest.mark.parametrize("verb", [VERBS["list"], VERBS["head an odd key"], VERBS["put in parts"]])
def test_what_is_half_an_answer_of_s3_is_an_error(verb: Verb, shaky: Objects, between: "Between", bucket: str) -> None:
    said = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
    between.will((200, page("<Contents><Key>k</Key><Size>1</Size></Contents>") if verb is VERBS["list"] else said))
    with pytest.raises(StorageError) as caught:
        verb(shaky, bucket)
    assert between.url in str(caught.value)


def test_a_listing_that_never_ends_is_an_error(shaky: Objects, between: "Between", bucket: str) -> None:
    between.will((200, page("<IsTruncated>true</IsTruncated><NextContinuationToken>1</NextContinuationToken>")))
    with pytest.raises(StorageError, match="the listing does not go on"):
        list(shaky.list(bucket))


@pytest.mark.parametrize("key", ["k", "//k"])
def test_all_of_an_object_is_no_range_of_it(key: str, shaky: Objects, between: "Between", bucket: str) -> None:
    between.will((200, "0123456789"))
    with pytest.raises(StorageError):
        shaky.get(bucket, key, 1, 3)


# ---- TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(make_between: "Callable[..., Between]", authority: trustme.CA) -> "Between":
    """The real server behind a certificate of somebody whom nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return make_between(context)


@verbs
def test_a_certificate_must_be_trusted(verb: Verb, opened: "Opener", secure: "Between", bucket: str) -> None:
    with pytest.raises(StorageUnavailable, match=r"its certificate is not trusted.*ca_file"):
        verb(opened(endpoint=secure.url, retries=0), bucket)


@verbs
def test_ca_file_names_what_to_trust(
    verb: Verb, opened: "Opener", secure: "Between", authority: trustme.CA, bucket: str, objects: Objects
) -> None:
    wanted = verb(objects, bucket)
    trusting = opened(endpoint=secure.url, ca=authority.cert_pem.bytes().decode())
    assert verb(trusting, bucket) == wanted
    assert verb(trusting, bucket) == wanted
    assert len(secure.asked) >= 2


@verbs
def test_tls_where_there_is_none_is_told(verb: Verb, opened: "Opener", s3: Endpoint, bucket: str) -> None:
    with pytest.raises(StorageUnavailable, match="no TLS"):
        verb(opened(endpoint=s3.url.replace("http://", "https://"), retries=0), bucket)
