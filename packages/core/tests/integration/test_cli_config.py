"""`wren config migrate` without the package that does it; with it, it is tested there."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from click.testing import CliRunner

from wren.cli.commands import wren


def test_migrate_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("wren.cli.config.distribution", missing)
    target = tmp_path / "config.toml"
    # When
    result = CliRunner().invoke(wren, ["config", "migrate", "--to", str(target)])
    # Then
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: PyWren's configuration is read by another package: pip install wren-compat-pywren\n"
    )
    assert not target.exists()


def test_config_without_a_command_shows_what_there_is() -> None:
    result = CliRunner().invoke(wren, ["config", "--help"])
    assert result.exit_code == 0
    assert "  migrate  " in result.output
