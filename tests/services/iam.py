"""IBM's Cloud Object Storage as an api key sees it: a service that gives tokens, and a gate before a real S3 server.

The gate looks at a request's token, and hands on what it lets pass, signed with the server's keys.  Tokens come from
`/identity/token`; other paths beside it misbehave: see `Gate.give`.  A session of tests has one of its own.
"""

import http.client
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final
from urllib.parse import parse_qs, urlsplit

from ibm_botocore.auth import S3SigV4Auth
from ibm_botocore.awsrequest import AWSRequest
from ibm_botocore.credentials import Credentials
from tests.services.base import HOST

API_KEY: Final = "wren-api-key"
READER: Final = "wren-reader-key"  # its tokens are for reading only
GRANT: Final = "urn:ibm:params:oauth:grant-type:apikey"
NEVER: Final = frozenset({"host", "authorization", "connection", "expect", "content-length"})  # are not handed on


class Tokens:
    """What was given, and until when it is valid."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[str, tuple[float, str]] = {}
        self.counts: dict[str, int] = {}  # by path

    def count(self, path: str) -> int:
        with self._lock:
            self.counts[path] = self.counts.get(path, 0) + 1
            return self.counts[path]

    def give(self, api_key: str, life: float) -> str:
        token = secrets.token_hex(16)
        with self._lock:
            self._given[token] = (time.monotonic() + life, api_key)
        return token

    def refusal(self, token: str, method: str) -> tuple[int, str] | None:
        """Status and code for a request that must not pass."""
        with self._lock:
            found = self._given.get(token)
        if found is None:
            return 403, "AccessDenied"
        ends, api_key = found
        if time.monotonic() > ends:
            return 401, "ExpiredToken"
        return (403, "AccessDenied") if api_key == READER and method not in {"GET", "HEAD"} else None


class Gate(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tokens: ClassVar[Tokens] = Tokens()
    upstream: ClassVar[str]
    keys: ClassVar[Credentials]
    _server: http.client.HTTPConnection | None = None

    def handle_one(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/identity/"):
            self.give(path)
        else:
            self.hand_on()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815 - the library's names

    def give(self, path: str) -> None:
        """Answer a request for a token.

        /identity/token                      a token for an hour
        /identity/lives/SAYS/REALLY/token    for a time in seconds, or what is said to be one
        /identity/tokens/N/SAYS/NAME/token   N tokens for SAYS seconds, and then no answers but 503
        /identity/answers/STATUS/token       that status
        /identity/garbage/token              what is no token
        /identity/counts/...                 how many requests came for the path after it
        """
        form = parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
        parts, count = path.split("/")[2:], self.tokens.count
        match parts:
            case ["counts", *rest]:
                self._say(200, str(self.tokens.counts.get(f"/identity/{'/'.join(rest)}", 0)).encode())
            case ["answers", status, "token"]:
                count(path)
                self._say(int(status), b"<html>no</html>")
            case ["garbage", "token"]:
                self._say(200, b"<html>hello</html>")
            case ["lives", says, really, "token"]:
                count(path)
                self._grant(form, float(says), float(really))
            case ["tokens", many, says, _, "token"]:
                if count(path) > int(many):
                    self._say(503, b"")
                else:
                    self._grant(form, float(says), float(says))
            case ["token"]:
                count(path)
                self._grant(form, 3600.0, 3600.0)
            case _:
                self._say(404, b"")

    def _grant(self, form: Mapping[str, list[str]], says: float, really: float) -> None:
        api_key = form.get("apikey", [""])[0]
        if form.get("grant_type") != [GRANT] or api_key not in {API_KEY, READER}:
            said = {"errorCode": "BXNIM0415E", "errorMessage": f"Provided API key could not be found: {api_key}"}
            self._say(400, json.dumps(said).encode())
            return
        token = self.tokens.give(api_key, really)
        self._say(200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": says}).encode())

    def hand_on(self) -> None:
        """Answer a request for S3, as the server does, or say what is wrong with its token."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        refused = self.tokens.refusal(token if kind == "Bearer" else "", self.command)
        if refused is not None:
            status, code = refused
            said = f"<Error><Code>{code}</Code><Message>The token {token} is not valid.</Message></Error>"
            self._say(status, said.encode())
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NEVER}
        request = AWSRequest(self.command, f"{self.upstream}{self.path}", headers, body)
        S3SigV4Auth(self.keys, "s3", "us-east-1").add_auth(request)
        if self._server is None:
            self._server = http.client.HTTPConnection(urlsplit(self.upstream).netloc)
        self._server.request(self.command, self.path, body, dict(request.headers.items()))
        answer = self._server.getresponse()
        content = answer.read()
        self._say(answer.status, content, answer.getheaders())

    def _say(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers or []:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: requests are many."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    Gate.upstream = sys.argv[1]
    Gate.keys = Credentials(os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"])
    with Server((HOST, 0), Gate) as server:
        print(f"http://{HOST}:{server.server_port}", flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()  # whoever started it has gone
