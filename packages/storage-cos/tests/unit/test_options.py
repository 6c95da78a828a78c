"""Section `[ibm_cos]`: what cannot be is said before anything is asked, and secrets are seen nowhere."""

from typing import Any, Final

import pytest

from wren.config import Config
from wren.errors import ConfigError
from wren_storage_cos.options import CosOptions
from wren_storage_cos.storage import CosStorage

GIVEN: Final = {
    "endpoint": "https://s3.eu-de.cloud-object-storage.appdomain.cloud",
    "bucket": "wren",
    "access_key": "mine",
    "secret_key": "hush",
}


def options(**values: Any) -> CosOptions:
    return Config.load({"ibm_cos": GIVEN | values}).options("ibm_cos", CosOptions)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"endpoint": "s3.eu-de.example"}, ["endpoint", "'s3.eu-de.example'", "https://"]),
        ({"endpoint": ""}, ["endpoint", "https://"]),
        ({"endpoint": "s3://s3.example"}, ["endpoint", "'s3://s3.example'"]),
        ({"endpoint": "https://"}, ["endpoint", "'https://'"]),
        ({"endpoint": "https://s3.example:port"}, ["endpoint", "'https://s3.example:port'"]),
        ({"endpoint": "https://s3.example/a b"}, ["endpoint", "'https://s3.example/a b'"]),
        ({"endpoint": "https://{host}/"}, ["endpoint", "'https://{host}/'"]),
        ({"endpoint": "https://s3.example?x=1"}, ["endpoint", "query"]),
        ({"private_endpoint": "s3.private.example"}, ["private_endpoint", "'s3.private.example'"]),
        ({"ibm_auth_endpoint": "iam.example"}, ["ibm_auth_endpoint", "'iam.example'"]),
        ({"bucket": ""}, ["bucket", "name of a bucket"]),
        ({"bucket": "wren/jobs"}, ["bucket", "'wren/jobs'"]),
        ({"region": "eu-de\n"}, ["region", "end of a line"]),
        ({"retries": -1}, ["retries", "-1", "0 or more"]),
        ({"timeout": 0}, ["timeout", "0", "above 0"]),
        ({"timeout": "nan"}, ["timeout", "nan"]),
        ({"timeout": "inf"}, ["timeout", "inf"]),
        ({"secret_key": ""}, ["access_key", "secret_key", "give both"]),
        ({"access_key": ""}, ["secret_key", "access_key", "give both"]),
        ({"access_key": "", "secret_key": ""}, ["credentials", "access_key", "secret_key", "api_key"]),
        ({"addressing_style": "dns"}, ["addressing_style", "path", "virtual"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_an_error_that_names_the_key(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        options(**values)
    for word in ["[ibm_cos]", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("key", ["endpoint", "private_endpoint"])
def test_credentials_in_a_url_are_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} in section \\[ibm_cos\\] has a user name") as caught:
        options(**{key: "https://me:hush@s3.example"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["access_key", "secret_key", "api_key"])
def test_a_key_with_the_end_of_a_line_is_refused_unseen(key: str) -> None:
    """It came out of a file: in a request it would be in the text of an error, and obstore panics."""
    with pytest.raises(ConfigError, match=rf"^{key} in section \[ibm_cos\] has a character") as caught:
        options(**{key: "hush\n"})
    assert "hush" not in str(caught.value)


def test_the_keys_are_in_no_repr() -> None:
    made = options(api_key="hush too")
    storage = CosStorage(made)
    for shown in (repr(made), repr(storage), repr(vars(storage)), repr(storage.worker())):
        assert "hush" not in shown
        assert "mine" not in shown


def test_workers_get_what_their_client_needs_and_no_more() -> None:
    both = CosStorage(options(api_key="hush too"))
    assert both.worker().target == "wren_storage_cos.objects:Objects"
    assert both.secrets() == {"WREN_IBM_COS__ACCESS_KEY": "mine", "WREN_IBM_COS__SECRET_KEY": "hush"}
    iam = CosStorage(options(access_key="", secret_key="", api_key="hush too"))
    assert iam.worker().target == "wren_storage_cos.sdk:SdkObjects"
    assert iam.secrets() == {"WREN_IBM_COS__API_KEY": "hush too"}


def test_certificates_travel_themselves(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers elsewhere have no such file."""
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    monkeypatch.chdir(tmp_path)
    storage = CosStorage(options(ca_file="ca.pem"))
    assert storage.options.ca_file == str(file)
    assert storage.worker().options["ca"] == "-----BEGIN CERTIFICATE-----\n"
    file.unlink()
    with pytest.raises(ConfigError, match=r"ca_file in section \[ibm_cos\] is '.*ca\.pem', which cannot be read"):
        storage.worker()
