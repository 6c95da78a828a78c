"""The plugin: one of two clients behind wren's contract, chosen by the credentials.

Both have the primitives in the form of the workers' half (`wren.worker.run.WorkerStorage`, with `if_absent` and
`close`), raise wren's own errors and FileNotFoundError for what is missing, and are the workers' half as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pluggy

from wren.errors import ConfigError, NoSuchKey
from wren.spi import Feature, ObjectInfo, Storage
from wren.wire import Buffer, Handle
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.errors import place_of
from wren_storage_cos.network import here
from wren_storage_cos.options import SECTION, CosOptions

hookimpl = pluggy.HookimplMarker("wren")


class Client(Protocol):
    """What the two clients, `objects.Objects` and `sdk.SdkObjects`, have in common.

    Thread-safe.  Errors: FileNotFoundError of an object that is not there, PreconditionFailed, StorageError,
    StorageUnavailable; and what the source of a put raises, as it is.
    """

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None: ...
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Buffer: ...
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterable[tuple[str, int, float, str]]: ...
    def head(self, bucket: str, key: str) -> tuple[str, int, float, str]: ...
    def delete(self, bucket: str, keys: Iterable[str]) -> None: ...
    def close(self) -> None: ...


class CosStorage(Storage[CosOptions]):
    """Buckets of IBM Cloud Object Storage, or of another service that speaks S3; workers open them, too."""

    name: ClassVar[str] = "ibm_cos"
    options_type: ClassVar[type] = CosOptions
    features: ClassVar[Feature] = Feature.WORKER

    def __init__(self, options: CosOptions) -> None:
        # Absolute: the working directory may change, and another process may be told of the file.
        file = str(Path(options.ca_file).absolute()) if options.ca_file else ""
        super().__init__(replace(options, ca_file=file))
        self._opened: Client | None = None

    @property
    def bucket(self) -> str:
        return self.options.bucket

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        self._client.put(bucket, key, chunks, if_absent=if_absent)

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Buffer:
        try:
            return self._client.get(bucket, key, start, stop, if_match=if_match)
        except FileNotFoundError as error:
            raise _missing(bucket, key) from error

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        for found in self._client.list(bucket, prefix, after):
            yield ObjectInfo(*found)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        try:
            return ObjectInfo(*self._client.head(bucket, key))
        except FileNotFoundError as error:
            raise _missing(bucket, key) from error

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        self._client.delete(bucket, keys)

    def worker(self) -> Handle:
        module = "objects:Objects" if self._hmac else "sdk:SdkObjects"
        return Handle(f"wren_storage_cos.{module}", self._settings())

    def client(self) -> Handle:
        """How a function's parameter `ibm_cos` is made: `ibm_boto3`'s own client."""
        return Handle("wren_storage_cos.client:connect", self._settings())

    def secrets(self) -> Mapping[str, str]:
        return self._credentials.environment()

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @property
    def _hmac(self) -> bool:
        return bool(self.options.access_key)

    @property
    def _credentials(self) -> Credentials:
        """Those of one client only: workers are given no more than they need."""
        if self._hmac:
            return Credentials(access_key=self.options.access_key, secret_key=self.options.secret_key)
        return Credentials(api_key=self.options.api_key)

    @property
    def _client(self) -> Client:
        # Without a lock, which a fork might find held: of two that are opened at once, one is used and goes.
        opened = self._opened
        if opened is None:
            opened = self._opened = self._open()
        return opened

    def _open(self) -> Client:
        # Imported here: the SDKs take long, and workers' halves open what they need by themselves.
        if self._hmac:
            from wren_storage_cos.objects import Objects

            return Objects(**self._settings(), credentials=self._credentials, interruptible=True)
        from wren_storage_cos.sdk import SdkObjects

        return SdkObjects(**self._settings(), credentials=self._credentials)

    def _settings(self) -> dict[str, Any]:
        """What clients take besides the credentials, on both sides, as JSON carries it; the last two with IAM only."""
        given = self.options
        settings: dict[str, Any] = {
            "endpoint": given.endpoint.rstrip("/"),
            "private_endpoint": given.private_endpoint.rstrip("/"),
            "network": here(),
            "region": given.region,
            "addressing_style": given.addressing_style,
            "retries": given.retries,
            "timeout": given.timeout,
            "ca": self._ca(),
        }
        if not self._hmac:
            settings |= {"ibm_auth_endpoint": given.ibm_auth_endpoint, "instance": given.instance}
        return settings

    def _ca(self) -> str:
        """The certificates themselves: workers elsewhere have no such file."""
        if not self.options.ca_file:
            return ""
        try:
            return Path(self.options.ca_file).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            said = f"ca_file {SECTION} is {self.options.ca_file!r}, which cannot be read: {error}; give a file of PEM"
            raise ConfigError(said) from error


def _missing(bucket: str, key: str) -> NoSuchKey:
    return NoSuchKey(f"no object {place_of(bucket, key)} in the ibm_cos storage")


@hookimpl
def wren_storage() -> type[CosStorage]:
    """The plugin."""
    return CosStorage
