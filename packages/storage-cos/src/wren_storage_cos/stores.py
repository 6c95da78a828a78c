"""obstore as it is used here: what it is told, what it cannot do, and what its errors mean."""

import os
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from obstore.store import S3Store

from wren_storage_cos.credentials import Credentials
from wren_storage_cos.settings import CONNECT, FIRST_PAUSE, LONGEST_PAUSE, Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

T = TypeVar("T")

# What obstore would take for another key, or refuse: empty and dotted parts of a path, and control characters.
_ODD: Final = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]")
_BUCKET: Final = re.compile(r"[A-Za-z0-9._:-]+")  # of any other one it may make a URL over which it panics
_FOREVER: Final = 86_400.0  # seconds that an answer may take as long as some of it comes

_STATUS: Final = re.compile(r"status code: (\d{3})")
# What a text says of a connection that was not to be had, most telling first.
_REASONS: Final = (
    (re.compile(r"InvalidCertificate\(\s*(\w+)"), "its certificate is not trusted, {}; ca_file names others to trust"),
    (re.compile(r"InvalidMessage\(\s*(\w+)"), "no TLS is to be had there, {}"),
    (re.compile(r'(?:message|error): "([^"]+)"'), "{}"),
    (re.compile(r"(TimedOut|kind: Timeout)"), "no answer in time"),
    (re.compile(r"kind: (?:Http|Unknown|Decode)\b"), "what came is no HTTP"),
)

_process: int | None = None  # the one that has used obstore, whose threads no child of it has


class Stores:
    """One store for each bucket.  Thread-safe.

    `interruptible`: Ctrl-C ends a request of the main thread at once.  obstore looks at no signals while it waits, so
    such a request has a thread of its own; that takes 0.1 ms, which workers, whom nobody interrupts, do not pay.
    """

    def __init__(self, settings: Settings, credentials: Credentials, *, interruptible: bool = False) -> None:
        self._settings, self._credentials, self._interruptible = settings, credentials, interruptible
        self._opened: dict[str, S3Store] = {}
        self.known: set[str] = set()  # buckets that are there

    def store(self, bucket: str, key: str) -> S3Store | None:
        """What asks for an object; None where obstore cannot."""
        if _process not in {None, os.getpid()} or _ODD.search(key) or not _BUCKET.fullmatch(bucket):
            return None
        found = self._opened.get(bucket)
        if found is None:
            found = self._opened[bucket] = self._open(bucket)
        return found

    def close(self) -> None:
        """Let go of connections."""
        self._opened.clear()

    def ask(self, bucket: str, key: str, action: Callable[[], T], *, beyond: T | None = None) -> T:
        """What the action, a request of obstore's, gives; `beyond` where it asks for a range behind an object's end.

        Raises what `errors.refusal` gives.
        """
        try:
            answer = beside(action) if self._interruptible and in_main_thread() else action()
        except Exception as error:  # FileNotFoundError, ValueError, and obstore's own
            text = str(error)
            status = _STATUS.search(text)
            if status is None:
                raise self._broken(error, text, bucket, key) from error
            if status[1] == "416" and beyond is not None:
                return beyond
            # Without obstore's own, whose text has all that the service said: the access key and a signature, too.
            raise self._refused(int(status[1]), text, bucket, key) from None
        self.known.add(bucket)
        return answer

    def _refused(self, status: int, text: str, bucket: str, key: str) -> Exception:
        from wren_storage_cos.errors import explanation, refusal

        code, message = explanation(text)
        if code == "NoSuchKey":
            self.known.add(bucket)
        given = self._settings
        return refusal(status, code, message, place=given.endpoint, bucket=bucket, key=key, region=given.region)

    def _broken(self, error: Exception, text: str, bucket: str, key: str) -> Exception:
        from wren_storage_cos.errors import unexplained, unreachable

        place = self._settings.endpoint
        if "HTTP error" not in text:
            return unexplained(error, text.partition("\n")[0], place=place, bucket=bucket, key=key)
        for pattern, said in _REASONS:
            if found := pattern.search(text):
                return unreachable(
                    said.format(found[1] if found.re.groups else ""), place=place, bucket=bucket, key=key
                )
        return unreachable("no answer", place=place, bucket=bucket, key=key)

    def _open(self, bucket: str) -> S3Store:
        _begin()
        given = self._settings
        endpoint = given.endpoint.replace("://", f"://{bucket}.", 1) if given.virtual else given.endpoint
        # With all that obstore would look for in variables AWS_..., which are meant for others.
        config: S3Config = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "region": given.region,
            "virtual_hosted_style_request": given.virtual,
            "conditional_put": "etag",
            "request_payer": False,
            "s3_express": False,
            "skip_signature": False,
            "unsigned_payload": False,
        }
        client: ClientConfig = {
            "allow_http": endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=min(given.timeout, CONNECT)),
            "read_timeout": timedelta(seconds=given.timeout),
            "timeout": timedelta(seconds=_FOREVER),
        }
        if given.ca:
            client["root_certificate"] = given.ca
        retry: RetryConfig = {
            "max_retries": given.retries,
            "retry_timeout": timedelta(seconds=2 * given.timeout),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE),
                "max_backoff": timedelta(seconds=LONGEST_PAUSE),
                "base": 2,
            },
        }
        return S3Store(
            bucket, config=config, client_options=client, retry_config=retry, credential_provider=self._credential
        )

    def _credential(self) -> "S3Credential":
        """Given by a function, as then a session's token in the environment is not looked at."""
        access_key, secret_key, _ = self._credentials
        return {"access_key_id": access_key, "secret_access_key": secret_key, "token": None, "expires_at": None}


def in_main_thread() -> bool:
    """Whether this thread is the one that Ctrl-C interrupts."""
    return threading.current_thread() is threading.main_thread()


def beside(action: Callable[[], T]) -> T:
    """What the action gives in a thread of its own."""
    from concurrent.futures import Future

    outcome: Future[T] = Future()

    def act() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            outcome.set_exception(error)

    try:
        threading.Thread(target=act, name="wren-ibm_cos", daemon=True).start()
    except RuntimeError:  # the interpreter is about to end, and starts no threads: then here
        return action()
    return outcome.result()


def _begin() -> None:
    """Note that this process uses obstore."""
    global _process  # noqa: PLW0603 - obstore's threads are the process's
    if _process is None:
        _process = os.getpid()
        os.register_at_fork(before=_provide)


def _provide() -> None:
    """Children will ask without obstore: what they need for that is imported once for all."""
    import wren_storage_cos.service  # noqa: F401
