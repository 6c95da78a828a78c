"""`wren plugins`: what is installed, read from the distributions' metadata; no plugin is imported."""

__all__ = ["run"]


def run() -> None:
    """Print a table of the installed plugins."""
    import click

    from wren.cli.tables import show
    from wren.plugins import KINDS, OBSERVER, installed, shadowed

    found = [info for kind in (*KINDS, OBSERVER) for info in installed(kind)]
    rows = [(info.kind, info.name, info.distribution, info.version) for info in found]
    show(("kind", "name", "distribution", "version"), rows)
    for info in filter(shadowed, found):
        click.echo(
            f"The {info.kind} plugin {info.name!r} of {info.distribution} is never loaded, as wren-core has that name: "
            f"uninstall {info.distribution}, or ask its authors for another name.",
            err=True,
        )
