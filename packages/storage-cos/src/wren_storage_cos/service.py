"""S3 as it is asked over HTTP, for what obstore cannot do: listings, keys that it normalises, and uploads in parts.

obstore knows no leading, trailing or double slash, and no `.` and `..`, in keys and in what a listing has; nor does it
work in a child of a process that has used it.  Here a key is any text.  Standard library only, for workers import it.
"""

import base64
import hashlib
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from wren.wire import Buffer
from wren_storage_cos.answers import Document, Listing, Page, Unreadable, described, escaped, fits_xml
from wren_storage_cos.connections import Answer, Connections
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.errors import busy, explanation, reason, refusal, unexplained, unreachable
from wren_storage_cos.settings import FIRST_PAUSE, LONGEST_PAUSE, Settings
from wren_storage_cos.signing import Signer, digest, encoded_path, encoded_query

BULK: Final = 1_000  # keys that a request may delete
_VISIBLE: Final = re.compile("[!-~]+")
_NOTHING: Final[Mapping[str, str]] = {}
_IF_ABSENT: Final[Mapping[str, str]] = {"if-none-match": "*"}


class Service:
    """A service and who asks it.  Thread-safe, also after a fork.  Raises what `errors.refusal` gives."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._signer = Signer(credentials.access_key, credentials.secret_key, settings.region)
        self._url = urlsplit(settings.endpoint)
        self._connections: dict[str, Connections] = {}  # by host and port

    # ---- objects

    def put(self, bucket: str, key: str, body: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """Write an object in one request."""
        self.ask("PUT", bucket, key, headers=_IF_ABSENT if if_absent else _NOTHING, body=body)

    def get(self, bucket: str, key: str, start: int, stop: int | None, if_match: str | None) -> bytes:
        """Bytes of an object; none for a range beyond its end.  `start` is less than `stop`."""
        headers = {} if if_match is None else {"if-match": f'"{if_match}"'}
        if start or stop is not None:
            headers["range"] = f"bytes={start}-" + ("" if stop is None else str(stop - 1))
        answer = self.ask("GET", bucket, key, headers=headers, also=416)
        with self._understood(bucket, key):
            if answer.status == 200 and "range" in headers:
                raise Unreadable("all of the object came in the place of a range")
        return b"" if answer.status == 416 else answer.body

    def head(self, bucket: str, key: str) -> Listing:
        """One object's listing."""
        headers = self.ask("HEAD", bucket, key).headers
        with self._understood(bucket, key):
            return described(key, headers)

    def list(self, bucket: str, prefix: str, after: str) -> Iterator[Listing]:
        """The objects whose keys begin so and sort behind `after`, in key order, page by page."""
        # Encoded, where the service can: XML has not all characters that a key may have.
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        start = {"start-after": after} if after else {}
        while True:
            answer = self.ask("GET", bucket, query={**query, **start})
            with self._understood(bucket):
                page = Page.read(answer.body)
                if page.token and page.token == start.get("continuation-token"):
                    raise Unreadable("the listing does not go on, its pages name themselves as the next one")
            yield from page.objects
            if not page.token:
                return
            start = {"continuation-token": page.token}

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects, a thousand in a request."""
        remaining = iter(keys)
        while batch := dict.fromkeys(islice(remaining, BULK)):
            many = [key for key in batch if fits_xml(key)]
            for key in batch.keys() - set(many):
                self.ask("DELETE", bucket, key, also=404)
            if many:
                self._delete(bucket, many)

    def _delete(self, bucket: str, keys: Sequence[str]) -> None:
        objects = "".join(f"<Object><Key>{escaped(key)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        answer = self.ask("POST", bucket, query={"delete": ""}, headers={"content-md5": md5}, body=[body])
        with self._understood(bucket):
            said = Document.read(answer.body, "DeleteResult")
        for each in said.children("Error"):
            code = said.text("Code", each)
            if code != "NoSuchKey":
                raise self._refused(bucket, said.text("Key", each), 403, code, said.text("Message", each))

    # ---- uploads in parts

    def begin(self, bucket: str, key: str) -> str:
        """Begin an upload in parts: its id."""
        answer = self.ask("POST", bucket, key, query={"uploads": ""})
        with self._understood(bucket, key):
            return Document.read(answer.body, "InitiateMultipartUploadResult").text("UploadId")

    def part(self, bucket: str, key: str, upload: str, number: int, body: Sequence[Buffer]) -> str:
        """Send a part, the first of which has the number 1: its etag."""
        query = {"partNumber": str(number), "uploadId": upload}
        etag: str | None = self.ask("PUT", bucket, key, query=query, body=body).headers["etag"]
        with self._understood(bucket, key):
            if etag is None:
                raise Unreadable("what came has no ETag of a part")
            return etag

    def complete(self, bucket: str, key: str, upload: str, etags: Sequence[str], *, if_absent: bool) -> None:
        """Make the parts an object."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escaped(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        headers = _IF_ABSENT if if_absent else _NOTHING
        answer = self.ask("POST", bucket, key, query={"uploadId": upload}, headers=headers, body=[body])
        said = explanation(answer.body.decode(errors="replace"))
        if any(said):  # an answer may begin before it is known how it ends
            raise self._refused(bucket, key, 500, *said)
        with self._understood(bucket, key):
            Document.read(answer.body, "CompleteMultipartUploadResult")

    def abandon(self, bucket: str, key: str, upload: str) -> None:
        """Remove the parts of an upload."""
        self.ask("DELETE", bucket, key, query={"uploadId": upload}, also=404)

    # ---- requests

    def ask(
        self,
        method: str,
        bucket: str,
        key: str = "",
        *,
        query: Mapping[str, str] = _NOTHING,
        headers: Mapping[str, str] = _NOTHING,
        body: Sequence[Buffer] = (),
        also: int = 0,
    ) -> Answer:
        """The answer to a request, which is a success or has the status `also`; asked again while there is hope."""
        if not _VISIBLE.fullmatch(bucket):  # which may be a part of the host's name
            raise self._refused(bucket, key, 400, "InvalidBucketName", "")
        content = digest(body)
        deadline = time.monotonic() + 2 * self._settings.timeout
        tried = 0
        while True:
            cause: Exception | None = None
            try:
                answer = self._ask(method, bucket, key, query, headers, body, content)
                if 200 <= answer.status < 300 or answer.status == also:
                    return answer
                failed = self._refused(bucket, key, answer.status, *explanation(answer.body.decode(errors="replace")))
                again = busy(failed)
            except (OSError, HTTPException) as error:
                failed, cause = unreachable(reason(error), place=self._settings.endpoint, bucket=bucket, key=key), error
                again = headers is not _IF_ABSENT  # it may be done, and would be in its own way
            tried += 1
            if not again or tried > self._settings.retries or time.monotonic() > deadline:
                raise failed from cause
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tried - 1))
            time.sleep(pause * random.uniform(0.5, 1.0))

    def _ask(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Sequence[Buffer],
        content: str,
    ) -> Answer:
        netloc, path = self._place(bucket)
        path, asked = encoded_path(f"{path}/{key}"), encoded_query(query)
        signed = self._signer.headers(method, netloc, path, asked, content)
        target = f"{path}?{asked}" if asked else path
        connections, once = self._connections_to(netloc), headers is _IF_ABSENT
        return connections.ask(method, target, {**headers, **signed}, body, once=once)

    def _place(self, bucket: str) -> tuple[str, str]:
        """Host and path of a bucket."""
        if self._settings.virtual:
            return f"{bucket}.{self._url.netloc}", self._url.path
        return self._url.netloc, f"{self._url.path}/{bucket}"

    def _connections_to(self, netloc: str) -> Connections:
        found = self._connections.get(netloc)
        if found is None:
            place, given = urlsplit(f"//{netloc}"), self._settings
            made = Connections(self._url.scheme, str(place.hostname), place.port, given.timeout, given.ca)
            found = self._connections.setdefault(netloc, made)
        return found

    def _refused(self, bucket: str, key: str, status: int, code: str, message: str) -> Exception:
        given = self._settings
        return refusal(status, code, message, place=given.endpoint, bucket=bucket, key=key, region=given.region)

    @contextmanager
    def _understood(self, bucket: str, key: str = "") -> Iterator[None]:
        try:
            yield
        except Unreadable as error:
            raise unexplained(error, str(error), place=self._settings.endpoint, bucket=bucket, key=key) from error

    def close(self) -> None:
        """Let go of connections."""
        for each in self._connections.values():
            each.close()
