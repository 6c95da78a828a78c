"""The SDK's own client, `ibm_boto3`: what functions get as `ibm_cos`, and what `sdk` asks by.

It takes half a second to import, so nothing imports it before it is used.
"""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wren_storage_cos.credentials import Credentials
from wren_storage_cos.network import endpoint_of
from wren_storage_cos.options import IBM_AUTH
from wren_storage_cos.settings import CONNECT, Settings

if TYPE_CHECKING:
    from wren_storage_cos.tokens import Tokens

POOL: Final = 128  # connections: as many as wren has threads that read results


def connect(
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
) -> Any:
    """An S3 client of `ibm_boto3`, by HMAC keys where there are any, else by an api key.  Thread-safe.

    `credentials` are those of the environment where they are not given.  The other parameters are the options of
    section `[ibm_cos]`, with `network` as the client's `network.here` gave it, and `ca` as PEM.
    """
    place, who = endpoint_of(endpoint, private_endpoint, network), credentials or Credentials.found()
    settings = Settings(place, region, addressing_style == "virtual", retries, timeout, ca)
    if who.access_key:
        return made(settings, keys=who)
    return made(settings, tokens=tokens_of(settings, who, ibm_auth_endpoint), instance=instance)


def tokens_of(settings: Settings, credentials: Credentials, ibm_auth_endpoint: str) -> "Tokens":
    """What gives tokens for an api key.  Raises StorageError where there is none."""
    from wren_storage_cos.tokens import Tokens

    if not credentials.api_key:
        from wren.errors import StorageError

        raise StorageError("there is no api_key in section [ibm_cos], nor in WREN_IBM_COS__API_KEY: give one")
    return Tokens(credentials.api_key, ibm_auth_endpoint, settings.retries, settings.timeout, settings.ca)


def made(
    settings: Settings, *, keys: Credentials | None = None, tokens: "Tokens | None" = None, instance: str = ""
) -> Any:
    """The SDK's client, of these settings and nothing that variables or files of others say."""
    import ibm_boto3
    from ibm_botocore.config import Config
    from ibm_botocore.session import Session

    config = Config(
        signature_version="s3v4" if tokens is None else "oauth",
        s3={"addressing_style": "virtual" if settings.virtual else "path"},
        retries={"mode": "standard", "total_max_attempts": settings.retries + 1},
        connect_timeout=min(settings.timeout, CONNECT),
        read_timeout=settings.timeout,
        max_pool_connections=POOL,
        # Of checksums that only some services know, no more than S3 demands.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    profiles = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
        "cos_credentials_file": (None, None, os.devnull, None),
    }
    who: dict[str, Any] = {}
    if tokens is not None:
        who = {"token_manager": tokens, "ibm_service_instance_id": instance or None}
    elif keys is not None:
        who = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
    # A session of its own: the SDK's default one is not for several threads.
    session = ibm_boto3.session.Session(botocore_session=Session(profiles))
    trust = {"verify": _bundle(settings.ca)} if settings.ca else {}
    where = {"endpoint_url": settings.endpoint, "region_name": settings.region}
    return session.client("s3", config=config, **where, **who, **trust)


@cache
def _bundle(ca: str) -> str:
    """The file that the SDK wants to have: the certificates that it trusts by itself, and those of `ca`."""
    import certifi

    content = f"{Path(certifi.where()).read_text(encoding='ascii')}\n{ca}".encode("ascii")
    if not hasattr(os, "memfd_create"):  # no Linux
        handle, path = tempfile.mkstemp(prefix="wren-ca-", suffix=".pem")
        os.close(handle)
        Path(path).write_bytes(content)
        return path
    # In memory, as processes that are killed would leave a file behind.
    path = f"/proc/{os.getpid()}/fd/{os.memfd_create('wren-ca')}"
    Path(path).write_bytes(content)
    return path
