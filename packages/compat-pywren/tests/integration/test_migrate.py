"""`wren config migrate`: a configuration of old becomes a file that wren reads."""

import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pywren_ibm_cloud.migration import migrate
from wren.cli.commands import wren
from wren.config import Config, WrenOptions
from wren.local.options import LocalhostOptions

SECRET = "hunter2"
OLD = f"""\
pywren:
    storage_backend: localhost
    storage_bucket: mine
    compute_backend: localhost
    workers: 3
    rabbitmq_monitor: True
    data_cleaner: True
    runtime_timeout: 300
    storage_prefix: jobs
    retries: 5
    retry_sleeps: [1, 2, 4]
localhost:
    workers: 2
ibm_cf:
    endpoint: https://cf.example.org
    api_key: {SECRET}
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(wren, ["config", "migrate", *arguments])


@pytest.fixture
def old_file(home: Path) -> Path:
    path = home / ".pywren_config"
    path.write_text(OLD)
    return path


def test_what_was_migrated_is_what_wren_reads(old_file: Path, home: Path) -> None:
    # When
    result = invoke()
    # Then
    path = home / ".config" / "wren" / "config.toml"
    assert result.exit_code == 0
    assert result.stdout == f"{old_file} was migrated to {path}, which only you can read.\n"
    config = Config.load()
    assert config.wren == WrenOptions(
        backend="localhost", storage="localhost", workers=3, monitor="rabbitmq", timeout=300, data_cleaner=True
    )
    assert config.options("localhost", LocalhostOptions) == LocalhostOptions(workers=2, bucket="mine")


def test_what_could_not_be_migrated_is_named_with_the_reason(old_file: Path) -> None:
    chosen = "wren chooses its keys in the bucket itself"
    sent = "wren sends again by itself what was not delivered"
    assert invoke().stderr.splitlines() == [
        f"Warning: not migrated from [pywren]: storage_prefix ({chosen}).",
        f"Warning: not migrated from [pywren]: retries, retry_sleeps ({sent}).",
        "Warning: not migrated from [ibm_cf]: endpoint, api_key (wren has no such option yet).",
    ]


def test_only_its_owner_can_read_the_file(old_file: Path, home: Path) -> None:
    invoke()
    path = home / ".config" / "wren" / "config.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_the_command_takes_any_files(tmp_path: Path) -> None:
    # Given
    source, target = tmp_path / "old.json", tmp_path / "new" / "wren.toml"
    source.write_text('{"pywren": {"workers": 7}}')
    # When
    result = invoke("--from", str(source), "--to", str(target))
    # Then
    assert (result.exit_code, result.stderr) == (0, "")
    assert tomllib.loads(target.read_text()) == {"wren": {"workers": 7}}
    assert target.read_text().startswith("# Made from PyWren's configuration by `wren config migrate`.\n")


@pytest.mark.parametrize("there", ["a file", "a link that leads nowhere"])
def test_a_file_that_is_there_is_replaced_by_force_only(there: str, old_file: Path, tmp_path: Path) -> None:
    # Given
    target = tmp_path / "wren.toml"
    if there == "a file":
        target.write_text("[wren]\nworkers = 1\n")
        target.chmod(0o644)
    else:
        target.symlink_to(tmp_path / "missing")
    # When
    refused = invoke("--to", str(target))
    # Then
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: {target} is there already: name another file with --to, or replace it with --force\n"
    )
    # When
    forced = invoke("--to", str(target), "--force")
    # Then
    assert forced.exit_code == 0
    assert tomllib.loads(target.read_text())["wren"]["workers"] == 3
    assert stat.S_IMODE(target.lstat().st_mode) == 0o600


def test_without_a_configuration_of_old_it_says_where_it_looked() -> None:
    result = invoke()
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: no configuration of PyWren was found in PYWREN_CONFIG, PYWREN_CONFIG_FILE, ./.pywren_config, "
        "~/.pywren/config and ~/.pywren_config: name its file with --from\n"
    )


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    result = invoke("--from", str(tmp_path / "missing"))
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: PyWren's configuration {tmp_path / 'missing'} cannot be read: No such file or directory\n"
    )


def test_a_target_that_cannot_be_written_is_one_sentence(old_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "wren.toml"
    result = invoke("--to", str(target))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: the configuration file {target} cannot be written: ")


def test_a_file_that_could_not_be_put_in_place_is_not_left_beside_it(old_file: Path, tmp_path: Path) -> None:
    # Given a folder where the file is to be
    target = tmp_path / "there" / "wren.toml"
    target.mkdir(parents=True)
    # When
    result = invoke("--to", str(target), "--force")
    # Then
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: the configuration file {target} cannot be written: Is a directory"
    )
    assert list(target.parent.iterdir()) == [target]


def test_nothing_is_written_when_nothing_can_be_migrated(home: Path, tmp_path: Path) -> None:
    # Given
    (home / ".pywren_config").write_text(f"ibm_cf: {{api_key: {SECRET}}}\n")
    target = tmp_path / "wren.toml"
    # When
    result = invoke("--to", str(target))
    # Then
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {home / '.pywren_config'} has nothing that wren has an option for, so {target} was not written"
    )
    assert not target.exists()


def test_no_value_is_printed(old_file: Path) -> None:
    result = invoke()
    assert SECRET not in result.output
    assert "example.org" not in result.output


def test_an_error_prints_no_value(home: Path) -> None:
    (home / ".pywren_config").write_text(f"pywren: {{workers: {SECRET}}}\nibm_cos: {{api_key: {SECRET}}}\n")
    result = invoke()
    assert result.exit_code == 1
    assert SECRET not in result.output


def test_the_record_of_a_migration_shows_no_value(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(f"pywren: {{runtime: {SECRET}}}\n")
    assert SECRET not in repr(migrate(path))
    assert SECRET in migrate(path).toml
