"""Workers' halves of a storage with one defect each, which the kit must catch: importable where a worker would run."""

from collections.abc import Iterable, Iterator

from wren.local.files import Files, Listing
from wren.wire import Buffer


class ListsFromTheBeginning(Files):
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listing]:
        return super().list(bucket, prefix)


class QuotesEtags(Files):
    def head(self, bucket: str, key: str) -> Listing:
        name, size, mtime, etag = super().head(bucket, key)
        return name, size, mtime, f'"{etag}"'


class ReadsAnyVersion(Files):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return super().get(bucket, key, start, stop)


class ReadsOneMore(Files):
    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return super().get(bucket, key, start, stop and stop + 1, if_match=if_match)


class RemovesAThousand(Files):
    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        super().delete(bucket, list(keys)[:1000])


class RemovesOnlyWhatIsThere(Files):
    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:
            self.path(bucket, key).unlink()


class MissingIsForeign(Files):
    def head(self, bucket: str, key: str) -> Listing:
        try:
            return super().head(bucket, key)
        except FileNotFoundError as error:
            raise LookupError(key) from error


class WritesInPlace(Files):
    def put(self, bucket: str, key: str, chunks: Iterable[Buffer], *, if_absent: bool = False) -> None:
        super().put(bucket, key, [])
        with self.path(bucket, key).open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
