"""`wren plugins`: what is installed, read from the distributions' metadata; no plugin is imported."""

__all__ = ["run"]


def run() -> None:
    """Print a table of the installed plugins."""
    from wren.cli.tables import show
    from wren.plugins import KINDS, installed

    found = [info for kind in KINDS for info in installed(kind)]
    rows = [(info.kind, info.name, info.distribution, info.version) for info in found]
    show(("kind", "name", "distribution", "version"), rows)
