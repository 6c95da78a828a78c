"""HTTP for what obstore cannot ask: connections that are kept, proxies of the environment, certificates of one's own.

Standard library only, for workers import it.
"""

import contextlib
import http.client
import os
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from wren.wire import Buffer
from wren_storage_cos.settings import CONNECT

KEPT: Final = 128  # idle connections: as many as wren has threads that read results


class Answer(NamedTuple):
    """What came back, whatever it means."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Connections:
    """Connections to one scheme, host and port.  Thread-safe; a forked child has connections of its own."""

    def __init__(self, scheme: str, host: str, port: int | None, timeout: float, ca: str) -> None:
        self._host, self._port, self._timeout, self._ca = host, port, timeout, ca
        self._tls = scheme == "https"
        self._proxy = _proxy(scheme, host)
        self._context: ssl.SSLContext | None = None
        self._owner = os.getpid()
        self._idle: deque[http.client.HTTPConnection] = deque()

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: Sequence[Buffer], *, once: bool = False
    ) -> Answer:
        """Send a request and read its answer.  Raises OSError and HTTPException where there is none.

        `once`: on a new connection, as of one that was kept nobody knows whether it had brought the request.
        """
        if self._owner != os.getpid():  # the parent's go on being the parent's
            self._idle, self._owner = deque(), os.getpid()
        if once:
            return self._ask(self._open(), method, target, headers, body)
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._ask(self._open(), method, target, headers, body)
        try:
            return self._ask(connection, method, target, headers, body)
        except (http.client.RemoteDisconnected, ConnectionError):  # it was closed while it was idle
            return self._ask(self._open(), method, target, headers, body)

    def close(self) -> None:
        """Let go of them; those that are in use are let go of when they are not."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Sequence[Buffer],
    ) -> Answer:
        try:
            if self._proxy and not self._tls:
                target = f"http://{headers['host']}{target}"
                headers = {**headers, **_authorization(self._proxy)}
            if body:
                headers = {**headers, "content-length": str(sum(map(len, body)))}
            connection.request(method, target, body or None, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:  # also a KeyboardInterrupt leaves it in mid-answer
            connection.close()
            raise
        if len(self._idle) < KEPT and connection.sock is not None:  # None: the other side wants no more on it
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _open(self) -> http.client.HTTPConnection:
        connection = self._made()
        connection.connect()
        connection.sock.settimeout(self._timeout)
        return connection

    def _made(self) -> http.client.HTTPConnection:
        timeout = min(self._timeout, CONNECT)
        proxy = urlsplit(self._proxy) if self._proxy else None
        host, port = (str(proxy.hostname), proxy.port or 80) if proxy else (self._host, self._port)
        if not self._tls:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        if self._context is None:
            context = ssl.create_default_context()
            if self._ca:
                context.load_verify_locations(cadata=self._ca)
            self._context = context
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
        if proxy:
            connection.set_tunnel(self._host, self._port or 443, _authorization(self._proxy))
        return connection


def _proxy(scheme: str, host: str) -> str:
    """The URL of the proxy that the environment names for a host; empty if none."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""  # without the import below, which takes longer than a request
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    named = proxies.get(scheme) or proxies.get("all") or ""
    if not named or proxy_bypass(host):
        return ""
    return named if "://" in named else f"http://{named}"


def _authorization(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"proxy-authorization": f"Basic {b64encode(said.encode()).decode()}"}
