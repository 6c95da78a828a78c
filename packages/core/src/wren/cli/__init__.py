"""The command line.  `main` is the console script `wren`.

`commands` says what there is to type; the module of a command's name does the work and is imported when it is called,
so that `wren --help` answers at once.  This file imports nothing: workers of `wren demo` and `wren hello` pass here.
"""

__all__ = ["main"]


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    from wren.cli.commands import wren

    wren(prog_name="wren")
