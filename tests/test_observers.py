"""docs/observers.md: its observers work, and the one for OpenTelemetry makes the spans that it says."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wren.testing import plugged

DOCUMENT = Path(__file__).parent.parent / "docs" / "observers.md"
# The name of the file that a block is, from the comment above it.
FILE = re.compile(r"^<!-- not run: (\S+\.py), [^>]*-->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
POINTS = re.compile(r"^```toml\n(\[project\.entry-points.*?)^```$", re.DOTALL | re.MULTILINE)

# The document's program, but for where its spans go and what it runs.
EXPORTED = """
import json, sys, time
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import wren

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

def work(x):
    time.sleep(0.05)
    return 10 // x

before = time.time_ns()
with wren.local_executor({"wren": {"observers": ["otel"]}}, workers=2) as executor:
    executor.map(work, [1, 0, 5])
    executor.get_result(throw_except=False)
    executor.map(work, [])

deadline = time.monotonic() + 20
while len(exporter.get_finished_spans()) < 5:
    assert time.monotonic() < deadline
    time.sleep(0.005)
spans = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
times = [(span.start_time, span.end_time) for span in exporter.get_finished_spans()]
print(json.dumps({"executor": executor.executor_id, "before": before, "after": time.time_ns(),
                  "spans": [span | {"times": both} for span, both in zip(spans, times)]}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The files of the document, installed."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (configuration,) = POINTS.findall(text)
    points = tomllib.loads(configuration)["project"]["entry-points"]
    assert 'otel = "wren_otel"' in text
    points["wren.observer"]["otel"] = "wren_otel"
    for name, code in FILE.findall(text):
        (tmp_path / name).write_text(code, encoding="utf-8")
    with plugged(tmp_path, points, subprocesses=True):
        yield tmp_path


def run(folder: Path, *command: str, **variables: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "WREN_"))} | variables
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_observer_prints_what_it_is_told(folder: Path) -> None:
    program = "import wren\nwith wren.local_executor(workers=1) as e: e.map(divmod, [(1, 1), (1, 0)])"
    said = run(folder, "-c", program, WREN_WREN__OBSERVERS="count").splitlines()
    submitted = re.fullmatch(r"(\w+-0)/M000: 2 calls of divmod on localhost", said[0])
    assert submitted is not None, said
    executor = submitted[1]
    assert re.fullmatch(rf"{executor}/M000/00001: ZeroDivisionError: .*zero", said[1])
    assert said[2:] == [f"{executor} is closed"]


def test_the_command_line_lists_observers(folder: Path) -> None:
    rows = [line.split() for line in run(folder, "-c", "from wren.cli import main; main()", "plugins").splitlines()]
    assert {(kind, name) for kind, name, *_ in rows if kind == "observer"} == {
        ("observer", "count"),
        ("observer", "otel"),
    }


def test_spans_of_jobs_and_calls_have_the_right_times_and_parents(folder: Path) -> None:
    # When the document's observer sees a job with a failure, and one without calls
    said: dict[str, Any] = json.loads(run(folder, "-c", EXPORTED))
    spans: list[dict[str, Any]] = said["spans"]
    # Then there is a span for each
    roots = {span["name"]: span for span in spans if span["parent_id"] is None}
    assert set(roots) == {"work x 3", "work x 0"}
    job = roots["work x 3"]
    assert job["attributes"] == {"wren.job": f"{said['executor']}/M000", "wren.backend": "localhost"}
    calls = sorted((span for span in spans if span["parent_id"]), key=lambda span: int(span["attributes"]["wren.call"]))
    assert [call["name"] for call in calls] == ["work"] * 3
    # And calls lie within their job, and took the time that they took
    assert {call["parent_id"] for call in calls} == {job["context"]["span_id"]}
    assert {call["context"]["trace_id"] for call in calls} == {job["context"]["trace_id"]}
    begun, ended = job["times"]
    assert said["before"] <= begun <= ended <= said["after"]
    assert ended == max(call["times"][1] for call in calls)
    for call in calls:
        start, end = call["times"]
        assert begun <= start <= end <= ended
        assert end - start >= 50_000_000
    assert [call["status"]["status_code"] for call in calls] == ["UNSET", "ERROR", "UNSET"]
    assert calls[1]["status"]["description"].startswith("ZeroDivisionError: ")


def test_the_program_that_prints_spans_runs(folder: Path) -> None:
    said = run(folder, "traced.py")
    assert "[1, 2, 3]" in said
    assert said.count('"parent_id": null') == 1
    assert said.count('"name": "abs"') == 3
