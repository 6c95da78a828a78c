"""What becomes of a configuration of old is what the plugins take."""

import dataclasses

import pytest

from pywren_ibm_cloud.options import BUCKETS, TABLE, Key
from wren.plugins import load_storage


@pytest.mark.parametrize("storage", sorted(BUCKETS))
def test_each_key_of_a_storage_is_one_that_it_has(storage: str) -> None:
    keys = {
        key.key for keys in TABLE.values() for key in keys.values() if isinstance(key, Key) and key.section == storage
    }
    assert {"bucket", *keys} <= {field.name for field in dataclasses.fields(load_storage(storage).options_type)}
