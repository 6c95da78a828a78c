"""`wren logs`: what the calls of a job have printed, and why they failed, from its record."""

from collections.abc import Iterable

import click

from wren.cli.jobs import moment, said, took
from wren.errors import BindingError, ConfigError
from wren.history import Failed, JobRecord, find

__all__ = ["run"]


def run(job: str, *, call: int | None, failed: bool) -> None:
    """Print it, call by call.  Raises NoSuchJob, ConfigError, and BindingError for a call that is none of the job's."""
    try:
        record = find(job)
    except OSError as error:
        raise ConfigError(f"the job records cannot be read: {error}") from error
    if call is not None and call >= record.calls:
        raise BindingError(f"job {record.job} has no call {call}: its calls are 0 to {record.calls - 1}")
    if call is None:
        told = filter(None, (record.function, said(record), moment(record.submitted), took(record.seconds)))
        click.secho(f"{record.job}: {', '.join(told)}", bold=True)
    failures = {each.call: each for each in record.failures}
    calls = sorted(failures if failed else failures.keys() | record.logs.keys())
    wanted = [each for each in calls if call is None or each == call]
    for each in wanted:
        _show(record, each, failures.get(each))
    for line in _beyond(record, call, failed, wanted):
        click.echo(line, err=True)


def _show(record: JobRecord, call: int, failure: Failed | None) -> None:
    """One call."""
    spent = record.took[call] if call < len(record.took) else None
    after = "" if spent is None else f" after {took(spent / 1e6)}"
    if failure is None:
        click.secho(f"── call {call}{after}", bold=True)
    else:
        click.secho(f"── call {call} failed{after}", fg="red", bold=True)
    printed = record.logs.get(call, "")
    click.echo(printed, nl=bool(printed) and not printed.endswith("\n"))
    if failure is not None:
        last = f"{failure.type}: {failure.message}" if failure.type else failure.message
        click.echo(failure.traceback.rstrip() or last)


def _beyond(record: JobRecord, call: int | None, failed: bool, wanted: Iterable[int]) -> Iterable[str]:
    """What is not there, and why."""
    if not wanted:
        who = "no call has" if call is None else f"call {call} has"
        what = "failed" if failed else "printed anything or failed"
        if call is not None:
            what = "not failed" if failed else "printed nothing and not failed"
        yield f"As far as is recorded, {who} {what}."
    if call is None and record.failed > len(record.failures):
        yield f"{record.failed - len(record.failures)} more have failed, of which only the number is recorded."
    if not failed and record.unlogged:
        yield f"{record.unlogged} more have printed something that was too much to be recorded."
