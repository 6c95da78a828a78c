"""Objects by HMAC keys, on both sides: what workers open, and what the plugin uses in the client.

Requests for ordinary objects are obstore's, which is several times as quick as other clients and leaves the
interpreter to other threads; the rest is `service`'s.  Light, for workers import it: what is not always needed is
imported where it is.  Templates of calls import it ahead, so it brings what each call would.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import obstore

from wren.wire import Buffer
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.network import endpoint_of
from wren_storage_cos.settings import Settings, check_key
from wren_storage_cos.stores import Stores
from wren_storage_cos.uploads import cut, in_order, upload

if TYPE_CHECKING:
    from obstore import GetOptions

    from wren_storage_cos.answers import Listing
    from wren_storage_cos.service import Service


class Objects:
    """Buckets of a service that speaks S3, opened by an access key and its secret.  Thread-safe, also after a fork.

    `credentials` are those of the environment where they are not given; `interruptible`: Ctrl-C ends a wait.  The
    other parameters are the options of section `[ibm_cos]`, with `network` as the client's `network.here` gave it, and
    `ca` as PEM.  Every method raises StorageError and its kinds; FileNotFoundError for an object that is not there.
    """

    def __init__(
        self,
        endpoint: str,
        private_endpoint: str = "",
        network: str = "",
        region: str = "us-east-1",
        addressing_style: str = "path",
        retries: int = 5,
        timeout: float = 60.0,
        ca: str = "",
        credentials: Credentials | None = None,
        *,
        interruptible: bool = False,
    ) -> None:
        place = endpoint_of(endpoint, private_endpoint, network)
        self._settings = Settings(place, region, addressing_style == "virtual", retries, timeout, ca)
        self._credentials = credentials or Credentials.found()
        self._stores = Stores(self._settings, self._credentials, interruptible=interruptible)
        self._opened: Service | None = None

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        """Write an object, in parts where it is large; PreconditionFailed with `if_absent` when it is there."""
        check_key(key)
        parts = cut(chunks)
        first = deque(islice(parts, 2))
        if len(first) == 2:
            upload(self._service, bucket, key, in_order(first, parts), if_absent=if_absent)
            return
        pieces = first[0] if first else []
        # Under a condition not by obstore, which sends again what may be done: the second would find the first.
        store = None if if_absent else self._stores.store(bucket, key)
        if store is None:
            self._service.put(bucket, key, pieces, if_absent=if_absent)
            return
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._stores.ask(bucket, key, partial(obstore.put, store, key, body, use_multipart=False))

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Buffer:
        """Bytes `start` to `stop` of an object; PreconditionFailed when `if_match` is not its etag."""
        check_key(key)
        if stop is not None and stop <= start:  # no range of HTTP is empty
            self.get(bucket, key, 0, 1, if_match=if_match)
            return b""
        store = self._stores.store(bucket, key)
        if store is None:
            return self._service.get(bucket, key, start, stop, if_match)
        options: GetOptions = {}
        if start or stop is not None:
            options["range"] = {"offset": start} if stop is None else (start, stop)
        if if_match is not None:
            options["if_match"] = f'"{if_match}"'
        ask = partial(obstore.get, store, key, options=options)
        return self._stores.ask(bucket, key, lambda: memoryview(ask().bytes()), beyond=memoryview(b""))

    def list(self, bucket: str, prefix: str = "", after: str = "") -> "Iterator[Listing]":
        """The objects whose keys begin so and sort behind `after`, in key order: key, size, mtime, etag of each."""
        return self._service.list(bucket, prefix, after)

    def head(self, bucket: str, key: str) -> "Listing":
        """One object's listing."""
        check_key(key)
        try:
            return self._head(bucket, key)
        except Exception as error:
            from wren_storage_cos.errors import busy

            if bucket not in self._stores.known and not busy(error):
                # Such an answer has no text: this one may say that there is no such bucket, or that a key is wrong.
                self._service.get(bucket, key, 0, 1, None)
            raise

    def _head(self, bucket: str, key: str) -> "Listing":
        store = self._stores.store(bucket, key)
        if store is None:
            return self._service.head(bucket, key)
        meta = self._stores.ask(bucket, key, partial(obstore.head, store, key))
        return key, meta["size"], meta["last_modified"].timestamp(), (meta["e_tag"] or "").strip('"')

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects, a thousand in a request; those that are not there are no error."""
        self._service.delete(bucket, keys)

    def close(self) -> None:
        """Let go of connections; what is used again is opened again."""
        self._stores.close()
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @property
    def _service(self) -> "Service":
        # Without a lock, which a fork might find held; `cached_property` has one in Python 3.11.
        opened = self._opened
        if opened is None:
            from wren_storage_cos.service import Service

            opened = self._opened = Service(self._settings, self._credentials)
        return opened
