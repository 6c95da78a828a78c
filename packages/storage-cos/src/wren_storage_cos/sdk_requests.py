"""Requests by `ibm_boto3` with an api key: asked again where there is hope, and their errors in wren's words.

`sdk` makes objects of them.
"""

import base64
import hashlib
import io
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wren.wire import Buffer
from wren_storage_cos.answers import Unreadable
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.settings import FIRST_PAUSE, LONGEST_PAUSE, Settings

if TYPE_CHECKING:
    from wren_storage_cos.tokens import Tokens

IF_ABSENT: Final = "IfNoneMatch"  # a parameter that S3 has, and the SDK's model has not
_EXPIRED: Final = frozenset({"ExpiredToken", "InvalidToken"})


class Iam(NamedTuple):
    """Who asks, and who gives tokens for that."""

    credentials: Credentials
    ibm_auth_endpoint: str  # a URL
    instance: str  # the ibm_service_instance_id


class Requests:
    """Requests to one service.  Thread-safe; a forked child has connections of its own."""

    def __init__(self, settings: Settings, iam: Iam) -> None:
        self._settings, self._iam = settings, iam
        self.known: set[str] = set()  # buckets that are there
        self._lock, self._owner = threading.Lock(), os.getpid()
        self._opened: tuple[Any, Tokens] | None = None

    def ask(
        self,
        verb: str,
        bucket: str,
        key: str = "",
        read: Callable[[Any], Any] = lambda answer: answer,
        *,
        again: bool = True,
        body: Sequence[Buffer] | None = None,
        beyond: Any = None,
        **parameters: Any,
    ) -> Any:
        """What `read` makes of an answer.

        Asked again while there is hope; after no answer at all only if `again` says that this may be.  `beyond` is for
        a range behind an object's end, and the other parameters the SDK's.  Raises what `errors.refusal` gives.
        """
        from ibm_botocore.exceptions import BotoCoreError, ClientError
        from ibm_botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        from wren_storage_cos.errors import busy

        named = {"Bucket": bucket, "Key": key} if key else {"Bucket": bucket}
        deadline = time.monotonic() + 2 * self._settings.timeout
        tried, renewed = 0, False
        while True:
            client, tokens = self._open()
            token = tokens.get_token()
            cause: Exception | None = None
            sent = {} if body is None else {"Body": Pieces(body)}  # a new one, as it is read once
            try:
                answer = read(getattr(client, verb)(**named, **sent, **parameters))
                self.known.add(bucket)
                return answer
            except ClientError as error:
                status, code, message = _said(error)
                if status == 416 and beyond is not None:
                    return beyond
                if code == "NoSuchKey":
                    self.known.add(bucket)
                if not renewed and (status == 401 or code in _EXPIRED):
                    renewed = True  # it may have been revoked, or a clock have been set
                    tokens.forget(token)
                    continue
                # Without the SDK's, which has all that the service said.
                failed, hope = self.refused(status, code, message, bucket, key), True
            except (BotoCoreError, HTTPError, OSError) as error:
                failed, cause, hope = self._broken(error, bucket, key), error, again
            except (ResponseParserError, Unreadable, LookupError, ValueError) as error:
                # Without the SDK's, as above.
                failed, hope = self._senseless(error, bucket, key), False
            finally:
                for each in sent.values():
                    each.close()
            tried += 1
            if not (hope and busy(failed)) or tried > self._settings.retries or time.monotonic() > deadline:
                raise failed from cause
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tried - 1))
            time.sleep(pause * random.uniform(0.5, 1.0))

    def close(self) -> None:
        """Let go of connections; what is used again is opened again."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None and self._owner == os.getpid():
            opened[0].close()

    def refused(self, status: int, code: str, message: str, bucket: str, key: str) -> Exception:
        """The error that an answer other than a success means."""
        from wren_storage_cos.errors import IAM, refusal

        place, region = self._settings.endpoint, self._settings.region
        if status == 401 and not code:
            code = "ExpiredToken"  # of HEAD, whose answer has no text
        return refusal(status, code, message, place=place, bucket=bucket, key=key, region=region, keys=IAM)

    def _broken(self, error: Exception, bucket: str, key: str) -> Exception:
        from ibm_botocore.exceptions import ConnectionError as Unconnected
        from ibm_botocore.exceptions import HTTPClientError, ParamValidationError
        from urllib3.exceptions import HTTPError

        from wren_storage_cos.errors import reason, unexplained, unreachable

        if isinstance(error, ParamValidationError):
            return self.refused(400, "InvalidBucketName", "", bucket, key)
        place = self._settings.endpoint
        if isinstance(error, Unconnected | HTTPClientError | HTTPError | OSError):
            return unreachable(reason(_root(error)), place=place, bucket=bucket, key=key)
        return unexplained(error, type(error).__name__, place=place, bucket=bucket, key=key)

    def _senseless(self, error: Exception, bucket: str, key: str) -> Exception:
        from wren_storage_cos.errors import unexplained

        said = str(error) if isinstance(error, Unreadable) else "what came is no answer of S3"
        if isinstance(error, UnicodeEncodeError):
            said = "half a character cannot be sent"
        return unexplained(error, said, place=self._settings.endpoint, bucket=bucket, key=key)

    def _open(self) -> "tuple[Any, Tokens]":
        if self._owner != os.getpid():  # connections, and a lock that somebody may have had, are the parent's
            self._lock, self._opened, self._owner = threading.Lock(), None, os.getpid()
        opened = self._opened
        if opened is None:
            with self._lock:
                opened = self._opened
                if opened is None:
                    opened = self._opened = self._made()
        return opened

    def _made(self) -> "tuple[Any, Tokens]":
        from wren_storage_cos.client import made, tokens_of

        given, iam = self._settings, self._iam
        tokens = tokens_of(given, iam.credentials, iam.ibm_auth_endpoint)
        # It tries once: `ask` knows what may be asked again.
        client = made(given._replace(retries=0), tokens=tokens, instance=iam.instance)
        events = client.meta.events
        for verb in ("PutObject", "CompleteMultipartUpload"):
            events.register(f"provide-client-params.s3.{verb}", _keep_condition)
            events.register(f"before-call.s3.{verb}", _send_condition)
        events.register("before-call.s3.DeleteObjects", _send_digest)
        return client, tokens


class Pieces(io.RawIOBase):
    """A body in pieces, as the SDK takes one that it does not copy."""

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self._views = [memoryview(piece).cast("B") for piece in pieces]
        self._size = sum(map(len, self._views))
        self._at = 0

    def close(self) -> None:
        """Let go of the pieces: what the SDK makes of a request stays in memory until cycles are collected."""
        self._views.clear()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        target, skip = memoryview(buffer).cast("B"), self._at
        for view in self._views:
            if skip < len(view):
                piece = view[skip : skip + len(target)]
                target[: len(piece)] = piece
                self._at += len(piece)
                return len(piece)
            skip -= len(view)
        return 0


def _keep_condition(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    context["wren_condition"] = params.get(IF_ABSENT)
    return {name: value for name, value in params.items() if name != IF_ABSENT}


def _send_condition(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if context.get("wren_condition"):
        params["headers"]["If-None-Match"] = context["wren_condition"]


def _send_digest(params: dict[str, Any], **_: Any) -> None:
    """What S3 demands for this request; the SDK has another checksum, which not all services know."""
    md5 = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(md5).decode()


def _said(error: Any) -> tuple[int, str, str]:
    """Status, code and message of a refusal; the SDK gives the status for the code that an answer does not have."""
    response: Mapping[str, Any] = error.response
    said = response.get("Error", {})
    code = str(said.get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return status, "" if code.isdigit() else code, str(said.get("Message", ""))


def _root(error: Exception) -> Exception:
    """What is behind the errors that the SDK's layers have made of it."""
    found, seen = error, list[Exception]()
    while found not in seen:
        seen.append(found)
        told = getattr(found, "kwargs", {}).get("error"), getattr(found, "reason", None), found.__cause__, *found.args
        found = next((each for each in told if isinstance(each, Exception)), found)
    return found
