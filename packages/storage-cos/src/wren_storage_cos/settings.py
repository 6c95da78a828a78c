"""How a service is asked, in the form that both sides have; standard library only, for workers import it."""

from typing import Final, NamedTuple

CONNECT: Final = 10.0  # seconds at most until a connection is there
FIRST_PAUSE: Final = 0.1  # seconds before a request is sent again, doubled each time
LONGEST_PAUSE: Final = 5.0


class Settings(NamedTuple):
    """The options of section `[ibm_cos]` but the secrets."""

    endpoint: str  # a URL without a slash at the end
    region: str
    virtual: bool  # the bucket stands before the host
    retries: int
    timeout: float  # seconds
    ca: str  # PEM


def check_key(key: str) -> None:
    """Raise StorageError for a key that no object can have."""
    try:
        if key.encode():
            return
        said = "an object's key cannot be empty"
    except UnicodeEncodeError:
        said = f"the key {key!r} cannot be an object's: it has half a character"
    from wren.errors import StorageError

    raise StorageError(said)
