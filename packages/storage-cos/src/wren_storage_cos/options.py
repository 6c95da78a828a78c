"""Section `[ibm_cos]` of the configuration."""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from wren.errors import ConfigError

_UNFIT: Final = re.compile(r"""[\s\x00-\x1f\x7f"<>\\^`{|}]""")  # which a URL cannot have as it is
SECTION: Final = "in section [ibm_cos]"
IBM_AUTH: Final = "https://iam.cloud.ibm.com/identity/token"


@dataclass(frozen=True, slots=True)
class CosOptions:
    """Where the service is, and who asks: either `access_key` and `secret_key` (HMAC), or `api_key` (IAM).

    Where all three are given, the HMAC keys are used, whose client is the faster one.
    """

    endpoint: str  # a URL: https://s3.eu-de.cloud-object-storage.appdomain.cloud
    bucket: str  # of wren's own objects; it must exist
    private_endpoint: str = ""  # the workers', where they are in another network than the client
    region: str = "us-east-1"
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    ibm_auth_endpoint: str = IBM_AUTH  # a URL, which gives tokens for the api_key
    instance: str = ""  # the ibm_service_instance_id, which making buckets with an api_key needs
    addressing_style: Literal["path", "virtual"] = "path"  # the bucket in a URL's path, or before its host
    retries: int = 5  # of a request that was not answered, or with 429 or 5xx
    timeout: float = 60.0  # seconds that a request may wait for an answer, or for the next piece of one
    ca_file: str = ""  # certificates to trust beside the system's, as PEM

    def __post_init__(self) -> None:
        """Raise ConfigError for values that cannot be."""
        for key in ("endpoint", "private_endpoint", "ibm_auth_endpoint"):
            if (url := getattr(self, key)) or key == "endpoint":
                _check_url(key, url)
        if not self.bucket or "/" in self.bucket:
            raise ConfigError(f"bucket {SECTION} is {self.bucket!r}: give the name of a bucket")
        for key in ("access_key", "secret_key", "api_key", "instance", "region"):
            if not getattr(self, key).isprintable():  # nor shown: it may be a secret
                raise ConfigError(f"{key} {SECTION} has a character such as the end of a line: give it without")
        if self.retries < 0:
            raise ConfigError(f"retries {SECTION} is {self.retries}: give 0 or more")
        if not 0 < self.timeout < float("inf"):  # NaN is not
            raise ConfigError(f"timeout {SECTION} is {self.timeout}: give seconds above 0")
        if bool(self.access_key) != bool(self.secret_key):
            given, missing = ("access_key", "secret_key") if self.access_key else ("secret_key", "access_key")
            raise ConfigError(f"{given} {SECTION} is given and {missing} is not: give both, or an api_key")
        if not (self.access_key or self.api_key):
            raise ConfigError(f"there are no credentials {SECTION}: give access_key and secret_key, or api_key")


def _check_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        parts, valid = urlsplit(""), ""
    if parts.username is not None or parts.password is not None:  # which may be a secret
        raise ConfigError(f"{key} {SECTION} has a user name in it: give it without, and credentials by their own keys")
    if not valid or _UNFIT.search(url):
        raise ConfigError(f"{key} {SECTION} is {url!r}: give a URL that begins with https:// or http://")
    if parts.query or parts.fragment:
        raise ConfigError(f"{key} {SECTION} has a query or a fragment: give a URL without")
