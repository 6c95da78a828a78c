"""The programs of examples/ do what they say, with any storage."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.services.fixtures import Endpoint

EXAMPLES = Path(__file__).parent.parent / "examples"


def printed(example: str, *arguments: str, home: Path, config: str = "") -> list[str]:
    (home / "wren.toml").write_text(config, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("WREN_")}
    env |= {"WREN_CONFIG_FILE": str(home / "wren.toml"), "TMPDIR": str(home)}
    run = subprocess.run(
        [sys.executable, EXAMPLES / example, *arguments],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def section(name: str, values: Mapping[str, object]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def test_words_are_counted_by_partitions(tmp_path: Path) -> None:
    first, second, *_, last = printed("wordcount.py", "0.04", home=tmp_path)
    assert first.startswith("storage localhost: 40 MiB")
    assert second.startswith("by 2 partitions: ")
    assert last == "the counts are the same"


def test_words_are_counted_in_a_bucket(tmp_path: Path, s3: Endpoint, s3_bucket: str) -> None:
    config = section("wren", {"storage": "ibm_cos"}) + section("ibm_cos", s3.options(s3_bucket))
    first, second, *_, last = printed("wordcount.py", "0.04", home=tmp_path, config=config)
    assert first.startswith("storage ibm_cos: 40 MiB")
    assert second.startswith("by 2 partitions: ")
    assert last == "the counts are the same"
    client = s3.client()
    assert not [key for key in client.list_objects_v2(Bucket=s3_bucket).get("Contents", []) if "wordcount" in key]
    client.close()
