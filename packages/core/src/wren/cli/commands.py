"""What can be typed after `wren`: commands, options and their help, and how a command fails."""

import sys
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import click

__all__ = ["wren"]

_PATH: Final = click.Path(path_type=Path)
INTERRUPTED: Final = 130  # what shells give for Ctrl-C: 128 + SIGINT


class _Failure(click.ClickException):
    """One sentence; on a terminal its lines end between words."""

    def show(self, file: IO[Any] | None = None) -> None:
        text = f"Error: {self.format_message()}"
        if sys.stderr.isatty():
            import shutil
            import textwrap

            width = shutil.get_terminal_size().columns
            wrap = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
            text = "\n".join(map(wrap, text.splitlines()))
        click.echo(text, file, err=file is None)


class _Commands(click.Group):
    """Commands that fail in one plain sentence with exit code 1, and end at Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        from wren.errors import WrenError

        try:
            return super().invoke(ctx)
        except WrenError as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo(err=True)  # the terminal has written ^C
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wren-core", message="wren %(version)s")
def wren() -> None:
    """Run Python functions over many inputs on serverless compute."""


@wren.command()
@click.option("--backend", metavar="NAME", help="Compute backend; by default the configuration's, else localhost.")
def hello(backend: str | None) -> None:
    """Run one call on a backend and say what ran it."""
    from wren.cli.hello import run

    run(backend)


@wren.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of checks.")
@click.option(
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="How long the import of a plugin, or a check of its service, may take.",
)
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, seconds: float) -> None:
    """Look for what is wrong: with the installation, the configuration, and each service that is configured.

    Services are really used: an object is written and removed, a call runs.  Says what to do about each failure;
    the exit code is 1 where there is one.
    """
    from wren.cli.doctor import run

    ctx.exit(run(as_json=as_json, seconds=seconds))


@wren.command()
def plugins() -> None:
    """List the installed backends, storages, monitors and observers."""
    from wren.cli.plugins import run

    run()


@wren.command()
def demo() -> None:
    """Run a map and a reduce over Python's standard library.

    They count the names that its source uses, on this machine.  With matplotlib installed, a timeline of the
    calls is drawn into ./wren-demo/.
    """
    from wren.cli.demo import run

    run()


@wren.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything about them as JSON, but for what they printed.")
@click.option(
    "-n", "--number", metavar="N", type=click.IntRange(min=0), help="How many; by default 20, with --json all.  0: all."
)
def jobs(as_json: bool, number: int | None) -> None:
    """List the jobs of the last 7 days, the newest at the end."""
    from wren.cli.jobs import run

    run(as_json=as_json, number=number)


@wren.command()
@click.argument("job")
@click.option("--call", metavar="N", type=click.IntRange(min=0), help="Only that call's, from 0.")
@click.option("--failed", is_flag=True, help="Only those of calls that have failed.")
def logs(job: str, call: int | None, failed: bool) -> None:
    """Print what the calls of a job have printed, and why they failed.

    JOB is its name in `wren jobs`, as much of its beginning as no other job has, or `last`.
    """
    from wren.cli.logs import run

    run(job, call=call, failed=failed)


@wren.group()
def config() -> None:
    """Look after the configuration."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: one object, with what is wrong in it.")
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Show every key, its value, and where that comes from.

    Secrets are masked, and whatever may be one.  The exit code is 1 where something is wrong.
    """
    from wren.cli.config import show as run

    ctx.exit(0 if run(as_json=as_json) else 1)


@config.command()
@click.option("--from", "source", metavar="PATH", type=_PATH, help="PyWren's file; by default the one that it reads.")
@click.option("--to", "target", metavar="PATH", type=_PATH, help="By default ~/.config/wren/config.toml.")
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
def migrate(source: Path | None, target: Path | None, force: bool) -> None:
    """Turn PyWren's configuration into wren's."""
    from wren.cli.config import migrate as run

    run(source, target, force=force)
