"""`wren jobs`: the jobs of the last days, from their records."""

import json
from datetime import datetime
from typing import Any, Final

import click

from wren.cli.tables import show
from wren.errors import ConfigError
from wren.history import JobRecord, jobs, together

__all__ = ["moment", "run", "said", "took"]

NUMBER: Final = 20  # that fit on a screen


def run(*, as_json: bool, number: int | None) -> None:
    """Print a table of them, or JSON; the newest `number`, None: 20 in a table, 0: all.  Raises ConfigError."""
    try:
        records = jobs()
    except OSError as error:
        raise ConfigError(f"the job records cannot be read: {error}") from error
    if as_json:
        click.echo(json.dumps([_plain(record) for record in records[-(number or 0) :]], indent=2))
        return
    rows = list(together(records))
    shown = rows[-(NUMBER if number is None else number) :]
    if not rows:
        click.echo("No jobs in the last 7 days.", err=True)
        return
    show(
        ("job", "function", "state", "submitted", "took"),
        ((_name(row), row.function, said(row), moment(row.submitted), took(row.seconds)) for row in shown),
        numbers=("took",),
        whole=("job", "submitted", "took"),
    )
    if len(shown) < len(rows):
        click.echo(f"{len(rows) - len(shown)} older ones: `wren jobs -n 0` lists all.", err=True)


def _name(record: JobRecord) -> str:
    return f"{record.job}-{record.last}" if record.last else record.job


def said(record: JobRecord) -> str:
    """How a job is, for people."""
    several, calls = record.calls > 1, f"{record.calls:,}"
    match record.state:
        case "running":
            return f"running {record.settled:,} of {calls}" if several else "running"
        case "failed":
            return f"failed {record.failed:,} of {calls}" if several else "failed"
        case "cancelled":
            return f"cancelled {record.cancelled:,} of {calls}" if several else "cancelled"
        case "lost":
            return f"client ended, {record.settled:,} of {calls}" if several else "client ended"
        case "done":
            return f"done {calls}" if several else "done"


def moment(seconds: float) -> str:
    """A time of the last days, as this place's clocks had it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%m-%d %H:%M:%S")


def took(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(seconds, 0):.3f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} h" if hours else f"{minutes}:{seconds:02d} min"


def _plain(record: JobRecord) -> dict[str, Any]:
    """A job as JSON has it: without its key, and without what its calls have left."""
    names = ("job", "last", "function", "backend", "storage", "state", "calls", "done", "failed", "cancelled")
    times = ("submitted", "ended", "seconds")
    plain = {name: getattr(record, name) for name in (*names, *times)}
    return {**plain, "last": record.last or None, "persists": record.reference is not None}
