"""`wren doctor`: looks for what is wrong, and says what to do about it.

    installation  ─┐
    limits        ─┼─▶ findings ─▶ a line each, as soon as it is known; or JSON
    configuration ─┤
    services      ─┘

What is looked at is in `installation`, `limits`, `settings` and `services`; the order is here.
"""

import os
import sys
from collections.abc import Collection, Iterator
from typing import Final

from wren.cli import aside, installation, limits, services
from wren.cli.findings import Finding, Level, show, summary
from wren.cli.settings import Loaded, Survey, load_all, survey
from wren.config import VARIABLE, config_file, places
from wren.errors import PluginError

__all__ = ["run"]

SHOW: Final = "correct it; `wren config show` tells where each value comes from"


def run(*, as_json: bool, seconds: float) -> int:
    """Print what is found; `seconds`: how long a plugin's import, or a check of it, may take.  The exit code."""
    import click

    loaded = load_all(seconds)
    configured = survey(loaded)
    findings = []
    for found in _look(loaded, configured, seconds):
        findings.append(found.public(configured.public))
        if not as_json:
            show(findings[-1])
    if as_json:
        import json

        click.echo(json.dumps([each._asdict() for each in findings], indent=2))
    else:
        click.echo(summary(findings))
    code = int(any(each.level is Level.FAILURE for each in findings))
    if aside.hangs():  # a thread that nothing ends: what its libraries do at exit might wait for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _look(loaded: Loaded, configured: Survey, seconds: float) -> Iterator[Finding]:
    yield from installation.look(loaded)
    yield from limits.look(configured.config)
    yield from _configuration(configured, {str(found) for found in loaded.values() if isinstance(found, PluginError)})
    for kind, name in services.configured(loaded, configured.config):
        yield from services.look(kind, name, loaded, configured.config, seconds)


def _configuration(configured: Survey, told: Collection[str]) -> Iterator[Finding]:
    """What is wrong with it, but for what was told already."""
    name = "configuration"
    for problem in configured.problems:
        if problem not in told:
            yield Finding(name, Level.FAILURE, problem, SHOW)
    for detail, cure in configured.warnings:
        yield Finding(name, Level.WARNING, detail, cure)
    if not configured.problems:
        variables = {each.source for each in configured.settings if each.source.startswith(VARIABLE)}
        file = config_file() or f"no file, neither {' nor '.join(places())}"
        yield Finding(name, Level.OK, f"{file}; {len(variables)} variables" if variables else file)
