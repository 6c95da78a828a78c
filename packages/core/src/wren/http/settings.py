"""How shells are reached: what a backend's options say of proxies, certificates and timeouts, and the environment."""

import ssl
import urllib.request
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from wren.errors import BackendError, ConfigError
from wren.spi import Deployment

SCHEMES: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What a backend's options may say; else HTTP_PROXY, HTTPS_PROXY and NO_PROXY count.  SSL_CERT_FILE always does."""

    proxy: str | None = field(default=None, repr=False)  # http://[user:password@]host:port, for every request
    ca_file: str | None = None  # PEM certificates of authorities that are trusted besides the system's
    connect_timeout: float = 10.0  # seconds to look up the name, connect, and agree on encryption


def checked(name: str, settings: HttpSettings) -> HttpSettings:
    """The settings, if they can be used; ConfigError names the key in section `name`."""
    if settings.ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(settings.ca_file)
        except OSError as error:  # also SSLError, for a file that has no certificates
            raise ConfigError(
                f"ca_file in section [{name}] is {settings.ca_file!r}, which has no PEM certificates that can be read: "
                f"{error.strerror or error}"
            ) from error
    if settings.proxy is not None and not _is_proxy(settings.proxy):
        raise ConfigError(f"proxy in section [{name}] is no URL of a proxy: give http://host:port")
    if settings.connect_timeout <= 0:
        raise ConfigError(
            f"connect_timeout in section [{name}] is {settings.connect_timeout}: give how many seconds it may take"
        )
    return settings


def trust(settings: HttpSettings) -> ssl.SSLContext:
    """What certificates are believed."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def address(deployment: Deployment) -> str:
    """Host and port of its shell; BackendError if it has none."""
    try:
        parts = urlsplit(deployment.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in SCHEMES or not host:
        raise BackendError(f"the url of the deployment {deployment.name!r} is no http or https URL: deploy it again")
    return f"{host}:{port}" if port else host


def proxy_for(url: str, settings: HttpSettings) -> str | None:
    """The proxy that requests to this URL take."""
    if settings.proxy is not None:
        return settings.proxy
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not _is_proxy(proxy):
        raise BackendError(f"{parts.scheme.upper()}_PROXY is no URL of a proxy that can be used: give http://host:port")
    return proxy


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
