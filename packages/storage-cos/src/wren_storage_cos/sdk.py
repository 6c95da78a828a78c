"""Objects by an api key (IAM), on both sides: by `ibm_boto3`, which is imported with the first request."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from wren.wire import Buffer
from wren_storage_cos.answers import Unreadable, fits_xml
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.network import endpoint_of
from wren_storage_cos.options import IBM_AUTH
from wren_storage_cos.sdk_requests import IF_ABSENT, Iam, Requests
from wren_storage_cos.settings import Settings, check_key
from wren_storage_cos.uploads import cut, in_order, upload

if TYPE_CHECKING:
    from wren_storage_cos.answers import Listing

BULK: Final = 1_000  # keys that a request may delete


class SdkObjects:
    """Buckets of a service that speaks S3, opened by an api key.  Thread-safe, also after a fork.

    `credentials` are those of the environment where they are not given.  The other parameters are the options of
    section `[ibm_cos]`, with `network` as the client's `network.here` gave it, and `ca` as PEM.  Every method raises
    StorageError and its kinds; FileNotFoundError for an object that is not there.
    """

    def __init__(
        self,
        endpoint: str,
        private_endpoint: str = "",
        network: str = "",
        region: str = "us-east-1",
        addressing_style: str = "path",
        retries: int = 5,
        timeout: float = 60.0,
        ca: str = "",
        ibm_auth_endpoint: str = IBM_AUTH,
        instance: str = "",
        credentials: Credentials | None = None,
    ) -> None:
        place = endpoint_of(endpoint, private_endpoint, network)
        settings = Settings(place, region, addressing_style == "virtual", retries, timeout, ca)
        who = credentials or Credentials.found()
        self._requests = Requests(settings, Iam(who, ibm_auth_endpoint, instance))

    # ---- objects

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        """Write an object, in parts where it is large; PreconditionFailed with `if_absent` when it is there."""
        check_key(key)
        parts = cut(chunks)
        ahead = deque(islice(parts, 2))
        if len(ahead) > 1:
            upload(self, bucket, key, in_order(ahead, parts), if_absent=if_absent)
            return
        content = ahead[0] if ahead else []
        self._requests.ask("put_object", bucket, key, body=content, again=not if_absent, **_condition(if_absent))

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        """Bytes `start` to `stop` of an object; PreconditionFailed when `if_match` is not its etag."""
        check_key(key)
        if stop is not None and stop <= start:  # no range of HTTP is empty
            self.get(bucket, key, 0, 1, if_match=if_match)
            return b""
        how: dict[str, Any] = {} if if_match is None else {"IfMatch": f'"{if_match}"'}
        read = _body
        if start or stop is not None:
            how["Range"] = f"bytes={start}-" + ("" if stop is None else str(stop - 1))
            read = _part
        content: bytes = self._requests.ask("get_object", bucket, key, read, beyond=b"", **how)
        return content

    def list(self, bucket: str, prefix: str = "", after: str = "") -> "Iterator[Listing]":
        """The objects whose keys begin so and sort behind `after`, in key order: key, size, mtime, etag of each."""
        where: dict[str, Any] = {"Prefix": prefix, "StartAfter": after}
        while True:
            objects, token = self._requests.ask("list_objects_v2", bucket, "", partial(_page, where), **where)
            yield from objects
            if not token:
                return
            where = {"Prefix": prefix, "ContinuationToken": token}

    def head(self, bucket: str, key: str) -> "Listing":
        """One object's listing."""
        check_key(key)
        try:
            found: Listing = self._requests.ask("head_object", bucket, key, partial(_described, key))
        except Exception as error:
            from wren_storage_cos.errors import busy

            if bucket not in self._requests.known and not busy(error):
                # Such an answer has no text: this one may say that there is no such bucket, or what else is wrong.
                self.get(bucket, key, 0, 1)
            raise
        return found

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects, a thousand in a request; those that are not there are no error."""
        remaining = iter(keys)
        while batch := dict.fromkeys(islice(remaining, BULK)):
            many = [{"Key": key} for key in batch if fits_xml(key)]
            for key in batch:
                if not fits_xml(key):
                    self._requests.ask("delete_object", bucket, key)
            if many:
                answer = self._requests.ask("delete_objects", bucket, Delete={"Objects": many, "Quiet": True})
                for each in answer.get("Errors", ()):
                    if each.get("Code") != "NoSuchKey":
                        said = each.get("Code", ""), each.get("Message", "")
                        raise self._requests.refused(403, *said, bucket, each.get("Key", ""))

    def close(self) -> None:
        """Let go of connections; what is used again is opened again."""
        self._requests.close()

    # ---- uploads in parts, for `uploads.upload`

    def begin(self, bucket: str, key: str) -> str:
        """Begin an upload in parts: its id."""
        name: str = self._requests.ask("create_multipart_upload", bucket, key, itemgetter("UploadId"))
        return name

    def part(self, bucket: str, key: str, upload: str, number: int, body: Sequence[Buffer]) -> str:
        """Send a part, the first of which has the number 1: its etag."""
        part: dict[str, Any] = {"UploadId": upload, "PartNumber": number}
        etag: str = self._requests.ask("upload_part", bucket, key, itemgetter("ETag"), body=body, **part)
        return etag

    def complete(self, bucket: str, key: str, upload: str, etags: Sequence[str], *, if_absent: bool) -> None:
        """Make the parts an object."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        how: dict[str, Any] = {"UploadId": upload, "MultipartUpload": {"Parts": parts}, **_condition(if_absent)}
        self._requests.ask("complete_multipart_upload", bucket, key, again=not if_absent, **how)

    def abandon(self, bucket: str, key: str, upload: str) -> None:
        """Remove the parts of an upload."""
        self._requests.ask("abort_multipart_upload", bucket, key, UploadId=upload)


def _condition(if_absent: bool) -> dict[str, Any]:
    return {IF_ABSENT: "*"} if if_absent else {}


def _body(answer: Any) -> bytes:
    with answer["Body"] as stream:
        content: bytes = stream.read()
    return content


def _part(answer: Any) -> bytes:
    content = _body(answer)
    if answer["ResponseMetadata"]["HTTPStatusCode"] == 200:
        raise Unreadable("all of the object came in the place of a range")
    return content


def _described(key: str, answer: Mapping[str, Any]) -> "Listing":
    return key, answer["ContentLength"], _seconds(answer), answer["ETag"].strip('"')


def _page(asked: Mapping[str, Any], answer: Mapping[str, Any]) -> "tuple[list[Listing], str]":
    """A page's objects, and what brings the next one; empty where there is none."""
    found = answer.get("Contents", ())
    objects = [(each["Key"], each["Size"], _seconds(each), each["ETag"].strip('"')) for each in found]
    token = answer.get("NextContinuationToken", "") if answer.get("IsTruncated") else ""
    if token and token == asked.get("ContinuationToken"):
        raise Unreadable("the listing does not go on, its pages name themselves as the next one")
    return objects, token


def _seconds(found: Mapping[str, Any]) -> float:
    """In whole seconds, as an object's own headers have it."""
    since: float = found["LastModified"].timestamp() // 1
    return since
