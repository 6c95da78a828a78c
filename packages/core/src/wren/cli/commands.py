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


@wren.group()
def config() -> None:
    """Look after the configuration."""


@config.command()
@click.option("--from", "source", metavar="PATH", type=_PATH, help="PyWren's file; by default the one that it reads.")
@click.option("--to", "target", metavar="PATH", type=_PATH, help="By default ~/.config/wren/config.toml.")
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
def migrate(source: Path | None, target: Path | None, force: bool) -> None:
    """Turn PyWren's configuration into wren's."""
    from wren.cli.config import migrate as run

    run(source, target, force=force)
