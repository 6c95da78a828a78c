"""Log records: what they are about, by attributes; and that none is made as long as nobody wants it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import wren
from wren.logs import Log
from wren.testing import plugged
from wren.testing.functions import add, fail

FIELDS = ("executor", "job", "call", "attempt")


@pytest.fixture(autouse=True)
def wrens(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "wren"):
        yield


def fields(record: logging.LogRecord) -> tuple[object, ...]:
    return tuple(record.__dict__[name] for name in FIELDS)


def about(caplog: pytest.LogCaptureFixture, words: str) -> list[tuple[object, ...]]:
    """The fields of the records in which these words are."""
    return [fields(record) for record in caplog.records if words in record.getMessage()]


def test_every_record_has_the_fields_and_those_of_a_job_name_it(caplog: pytest.LogCaptureFixture) -> None:
    with wren.local_executor(workers=2) as executor:
        executor.map(add, [1, 2])
        executor.get_result()
        executor.call_async(fail, "secret").exception()
    mine = executor.executor_id
    records = [record for record in caplog.records if record.name.startswith("wren.")]
    assert all(fields(record) for record in records)
    assert about(caplog, "add was submitted to localhost, calls: 2") == [(mine, "M000", None, None)]
    assert about(caplog, "s, calls: 2, failed: 0, cancelled: 0") == [(mine, "M000", None, None)]
    assert about(caplog, "s, calls: 1, failed: 1") == [(mine, "A001", None, None)]
    assert about(caplog, "calls failed: 1, by KeyError") == [(mine, "A001", 0, 0)]
    assert about(caplog, "was closed") == [(mine, None, None, None)]
    assert "secret" not in caplog.text


def test_what_runs_again_is_logged_with_its_attempt(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    script = {"1": ["throttled", "lost"]}
    with (
        plugged(tmp_path, {"wren.compute": {"scripted": "wren.testing.fakes:scripted"}}),
        wren.FunctionExecutor({"scripted": {"script": script}}, backend="scripted", retries=1) as executor,
    ):
        executor.map(add, [1, 2])
        assert executor.get_result() == [2, 3]
    mine = executor.executor_id
    assert about(caplog, "calls that were not delivered: 1, and again in") == [(mine, "M000", 1, 0)]
    assert about(caplog, "calls that run again: 1") == [(mine, "M000", 1, 1)]
    assert (mine, "M000", 1, 1) in about(caplog, "accepted by")


def test_a_record_that_nobody_wants_costs_nothing() -> None:
    class Costly:
        def __len__(self) -> int:
            raise AssertionError("this was looked at")

    log = Log("wren.test")
    log.logger.setLevel(logging.WARNING)
    try:
        log.info("nothing", calls=Costly())
    finally:
        log.logger.setLevel(logging.NOTSET)
