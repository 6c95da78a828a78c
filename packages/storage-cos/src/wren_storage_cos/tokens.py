"""Tokens for an api key, in the form in which `ibm_boto3` takes what gives them.

Not the SDK's own manager of tokens: that asks three times, with pauses, also where the api key is wrong; a thread that
finds another one fetching goes on after 5 s without a token; and a child of a fork may find its lock taken for ever.
Here a token is replaced when a fifth of its life is left, by one thread, while the others go on with it.
"""

import json
import os
import random
import ssl
import threading
import time
from http.client import HTTPException
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPSHandler, Request, build_opener

from wren.errors import StorageError, StorageUnavailable
from wren_storage_cos.errors import reason
from wren_storage_cos.settings import CONNECT, FIRST_PAUSE, LONGEST_PAUSE

LEFT: Final = 0.2  # of a token's life, when another one is fetched
PAUSE: Final = 5.0  # seconds until that is tried again, while the old one is valid
_GRANT: Final = "urn:ibm:params:oauth:grant-type:apikey"


class Token(NamedTuple):
    """A token, and when it ends by `time.monotonic`."""

    text: str
    renewed: float
    ends: float

    def __repr__(self) -> str:
        return "Token(...)"  # it is in no log


class Tokens:
    """The tokens that an endpoint gives for an api key.  Thread-safe, also after a fork.

    `retries` of requests that were not answered, or with 429 or 5xx; `timeout` in seconds; `ca` as PEM.
    """

    def __init__(self, api_key: str, endpoint: str, retries: int, timeout: float, ca: str = "") -> None:
        self._api_key, self._endpoint = api_key, endpoint
        self._retries, self._timeout, self._ca = retries, min(timeout, CONNECT), ca
        self._token: Token | None = None
        self._failure: StorageError | None = None  # why there is none
        self._lock, self._owner = threading.Lock(), os.getpid()

    def get_token(self) -> str:
        """A valid token.  Raises StorageError, and StorageUnavailable where there is no answer."""
        if self._owner != os.getpid():  # a thread that is not here may have had the lock
            self._lock, self._owner = threading.Lock(), os.getpid()
        token, now = self._token, time.monotonic()
        if token is not None and now < token.renewed:
            return token.text
        valid, known = token is not None and now < token.ends, self._failure
        if not self._lock.acquire(blocking=not valid):
            return "" if token is None else token.text  # another thread is fetching one, and this one is still valid
        try:
            return self._renewed(token, known)
        finally:
            self._lock.release()

    def forget(self, token: str) -> None:
        """Fetch another one when next asked: this one was refused."""
        current = self._token
        if current is not None and current.text == token:
            self._token = None

    def set_from_config(self, config: Any) -> None:
        """Nothing of the SDK's: proxies are the environment's."""

    def _renewed(self, seen: Token | None, known: StorageError | None) -> str:
        current, now = self._token, time.monotonic()
        if current is not None and current is not seen and now < current.ends:
            return current.text  # while this thread waited
        if current is None or now >= current.ends:
            failure = self._failure
            if failure is not None and failure is not known:  # while this thread waited, and not its turn
                raise type(failure)(*failure.args)
            try:
                self._token = current = self._fetched(self._retries)
            except StorageError as error:
                self._failure = type(error)(*error.args)  # without its frames, which have the api key
                raise
            return current.text
        try:
            self._token = current = self._fetched(0)
        except StorageUnavailable:
            self._token = current._replace(renewed=min(now + PAUSE, current.ends))
        return current.text

    def _fetched(self, retries: int) -> Token:
        tried = 0
        while True:
            try:
                return self._asked()
            except StorageUnavailable:
                tried += 1
                if tried > retries:
                    raise
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tried - 1))
            time.sleep(pause * random.uniform(0.5, 1.0))

    def _asked(self) -> Token:
        form = {"grant_type": _GRANT, "response_type": "cloud_iam", "apikey": self._api_key}
        headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        request = Request(self._endpoint, urlencode(form).encode(), headers)
        context = ssl.create_default_context()
        if self._ca:
            context.load_verify_locations(cadata=self._ca)
        began = time.monotonic()
        # Without the errors that urllib raises, whose attributes have the request: the api key is in it.
        try:
            with build_opener(HTTPSHandler(context=context)).open(request, timeout=self._timeout) as answer:
                return self._read(answer.read(), began)
        except HTTPError as error:
            with error:
                failed = self._refused(error.code, error.read())
        except (OSError, HTTPException) as error:
            inner = error.reason if isinstance(error, URLError) else error
            failed = self._away(reason(inner) if isinstance(inner, Exception) else str(inner))
        raise failed

    def _read(self, body: bytes, began: float) -> Token:
        try:
            said = json.loads(body)
            text, life = str(said["access_token"]), float(said["expires_in"])
        except (ValueError, TypeError, LookupError):  # nor with json's error, which has the text
            life, text = 0.0, ""
        if not text or not text.isascii() or not text.isprintable() or not life > 0:
            raise StorageError(
                f"{self._endpoint} answers, but with no valid token: correct ibm_auth_endpoint in section [ibm_cos]"
            )
        return Token(text, began + life * (1 - LEFT), began + life)

    def _refused(self, status: int, body: bytes) -> StorageError:
        if status in {408, 429} or status >= 500:
            return self._away(f"it answers {status}")
        if status in {400, 401, 403}:
            return StorageError(
                f"{self._endpoint} refuses the api_key in section [ibm_cos], {status}{_code(body)}: give a valid one"
            )
        return StorageError(
            f"{self._endpoint} gives no tokens, it answers {status}: correct ibm_auth_endpoint in section [ibm_cos]"
        )

    def _away(self, why: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"no token is to be had, see ibm_auth_endpoint in section [ibm_cos], {self._endpoint}: {why}"
        )


def _code(body: bytes) -> str:
    """The service's code for what is wrong; its other words may repeat what it was sent."""
    try:
        code = str(json.loads(body)["errorCode"])
    except (ValueError, TypeError, LookupError):
        return ""
    return f" {code}" if code.isalnum() and len(code) < 30 else ""
