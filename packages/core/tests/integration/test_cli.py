"""The command line as its users meet it: what it prints, and how it fails."""

import importlib.metadata
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from wren.cli import demo, plugins
from wren.cli.commands import wren
from wren.errors import WorkerLost
from wren.factories import local_executor
from wren.plugins import PluginInfo

CONSOLE_SCRIPT = Path(sys.executable).parent / "wren"


@pytest.fixture(autouse=True)
def alone(folder: Path) -> None:
    """Each test has a working directory and a configuration of its own."""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(wren, arguments)


# ---- all commands


def test_console_script_prints_the_distributions_version() -> None:
    done = subprocess.run([CONSOLE_SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"wren {importlib.metadata.version('wren-core')}\n"


def test_help_names_the_commands_and_imports_nothing_that_they_need() -> None:
    # Given
    code = """if True:
        import sys
        from wren.cli import main
        try:
            main()
        except SystemExit:
            print({"rich", "wren.errors", "wren.executor", "matplotlib"} & set(sys.modules), file=sys.stderr)
    """
    # When
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    # Then
    assert set(re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE)) == {
        "config",
        "demo",
        "doctor",
        "hello",
        "jobs",
        "logs",
        "plugins",
    }
    assert done.stderr == "set()\n"


def test_unknown_command_is_a_usage_error() -> None:
    result = invoke("helo")
    assert result.exit_code == 2
    assert "No such command 'helo'" in result.stderr


def test_wrens_errors_are_one_sentence_on_stderr() -> None:
    # When
    done = subprocess.run(
        [CONSOLE_SCRIPT, "hello", "--backend", "nowhere"], capture_output=True, text=True, check=False
    )
    # Then
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: no compute backend 'nowhere'; .*localhost.*\n", done.stderr)


def test_on_a_terminal_the_lines_of_an_error_end_between_words() -> None:
    # Given a terminal of 40 columns
    ours, theirs = pty.openpty()
    try:
        command = [str(CONSOLE_SCRIPT), "hello", "--backend", "nowhere"]
        subprocess.run(command, stderr=theirs, env=os.environ | {"COLUMNS": "40"}, timeout=60, check=False)
        os.close(theirs)
        said = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
    # Then
    lines = said.splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 40 for line in lines)
    assert re.fullmatch(r"Error: no compute backend 'nowhere'; .*localhost.*\)", " ".join(lines))


def test_configuration_that_cannot_be_used_is_one_sentence(folder: Path) -> None:
    (folder / ".wren.toml").write_text("[wren]\nbackend = 3\n")
    result = invoke("hello")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: backend in section \[wren\] of \.wren\.toml must be .*\n", result.stderr)


def test_a_command_whose_call_fails_has_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        raise WorkerLost("the worker's process was killed by SIGKILL")

    monkeypatch.setattr(demo, "run", lose)
    result = invoke("demo")
    assert (result.exit_code, result.stderr) == (1, "Error: the worker's process was killed by SIGKILL\n")


def test_ctrl_c_ends_a_command_with_exit_code_130() -> None:
    # Given a demo at work
    process = subprocess.Popen(
        [CONSOLE_SCRIPT, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Counting")
    # When
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    # Then
    assert (process.returncode, stderr) == (130, "\n")


# ---- hello


def test_hello_says_what_ran_it() -> None:
    # When
    result = invoke("hello")
    # Then
    assert result.exit_code == 0
    assert 2 <= result.stdout.count("\n") <= 4
    assert "localhost" in result.stdout
    assert "Python {}.{}.{}".format(*sys.version_info) in result.stdout
    found = re.search(r"in process (\d+) on \S+ ", result.stdout)
    assert found is not None
    assert int(found[1]) != os.getpid()
    assert re.search(r"after \d+\.\d\d s\.\n$", result.stdout)


def test_hello_takes_the_backend_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WREN_WREN__BACKEND", "elsewhere")
    assert "no compute backend 'elsewhere'" in invoke("hello").stderr
    assert invoke("hello", "--backend", "localhost").exit_code == 0


# ---- plugins


def test_plugins_lists_what_is_installed_one_on_a_line_without_importing_it() -> None:
    # Given
    code = """if True:
        import sys
        from wren.cli import main
        try:
            main()
        except SystemExit:
            assert not [name for name in sys.modules if name.startswith("wren.local")]
    """
    # When
    done = subprocess.run([sys.executable, "-c", code, "plugins"], capture_output=True, text=True, check=True)
    # Then
    rows = [line.split() for line in done.stdout.splitlines()]
    version = importlib.metadata.version("wren-core")
    assert rows[0] == ["kind", "name", "distribution", "version"]
    assert ["compute", "localhost", "wren-core", version] in rows
    assert ["storage", "localhost", "wren-core", version] in rows
    assert ["storage", "memory", "wren-core", version] in rows
    assert ["monitor", "storage", "wren-core", version] in rows


def test_plugins_says_what_is_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a stranger's plugin with a name of wren-core's
    core, other = (PluginInfo("storage", "memory", "module", owner, "1.0") for owner in ("wren-core", "wren-mine"))
    monkeypatch.setattr("wren.plugins.installed", lambda kind: [core, other] if kind == "storage" else [])
    # When
    result = invoke("plugins")
    # Then both are listed, and one line is about that
    assert [line.split()[2] for line in result.stdout.splitlines()[1:]] == ["wren-core", "wren-mine"]
    (said,) = result.stderr.splitlines()
    assert said.startswith("The storage plugin 'memory' of wren-mine is never loaded")


def test_plugins_cuts_no_long_name_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    long = PluginInfo("compute", "n" * 60, "module", "d" * 60 + "[x]", "1.0")
    monkeypatch.setattr("wren.plugins.installed", lambda kind: [long] if kind == "compute" else [])
    # When
    result = invoke("plugins")
    # Then
    assert result.stdout.splitlines()[1].split() == ["compute", long.name, long.distribution, "1.0"]


def test_plugins_cuts_no_long_name_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given
    monkeypatch.setattr("wren.plugins.installed", lambda kind: [PluginInfo(kind, "n" * 60, "module", "d" * 60, "1.0")])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    # When
    plugins.run()
    # Then
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 50
    assert "".join(lines).count("n") >= 3 * 60
    assert "…" not in "".join(lines)


# ---- demo


def held_up() -> float:
    """How many times as long as alone something takes just now, by what else the machine does."""
    start, begun = time.perf_counter(), time.process_time()
    while time.process_time() - begun < 0.1:
        pass
    return (time.perf_counter() - start) / 0.1


def timed_demo() -> tuple["subprocess.CompletedProcess[str]", float]:
    """What it printed, and how long it took, or would have alone."""
    before, start = held_up(), time.perf_counter()
    done = subprocess.run([CONSOLE_SCRIPT, "demo"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    return done, seconds / max(1.0, before, held_up())


def test_demo_counts_prints_and_is_quick(folder: Path) -> None:
    # When: what else the machine does may come and go, and hardly three times
    done, seconds = timed_demo()
    for _ in range(2):
        if seconds >= 5.0:
            done, seconds = timed_demo()
    # Then
    assert (done.returncode, done.stderr) == (0, "")
    assert seconds < 5.0
    assert re.search(r"^self +[\d,]+ *$", done.stdout, re.MULTILINE)
    assert re.search(r"^[\d,]+ files, [\d.]+ MiB, \d+ calls: \d+\.\d\d s in total\.$", done.stdout, re.MULTILINE)
    assert re.search(r"^10,000 calls of an empty function: \d+\.\d\d s, [\d,]+ calls/s\.$", done.stdout, re.MULTILINE)
    last = done.stdout.splitlines()[-1]
    if last.startswith("Timeline"):
        assert (folder / last.rpartition(": ")[2]).read_bytes().startswith(b"\x89PNG")
        assert (folder / "wren-demo" / ".gitignore").read_text() == "*\n"
    else:
        assert "pip install 'wren-core[plots]'" in last


def test_demo_without_matplotlib_says_how_to_get_plots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(demo, "CALLS", 10)
    result = invoke("demo")
    assert result.exit_code == 0
    assert "pip install 'wren-core[plots]'" in result.stdout.splitlines()[-1]
    assert list(folder.iterdir()) == []


def test_demo_without_source_files_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(folder))
    result = invoke("demo")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: this Python has no source files in .*\n", result.stderr)


def test_plots_go_elsewhere_when_the_working_directory_has_no_room_for_a_folder(folder: Path) -> None:
    (folder / "wren-demo").write_text("a file of the user's")
    made = demo._folder()
    assert made.is_dir()
    assert made.parent != folder
    made.rmdir()


FILES = {
    "empty": b"",
    "unix": b"one(two.three)\nfour = 1\n" * 50,
    "windows": b"alpha(beta.gamma)\r\ndelta[0]\r\n" * 50,
    "no_final_newline": b"first()\nlast(end.of_file)",
    "giant_line": b"huge(x.y)+" * 500 + b"\nafter()\n",
    "only_newlines": b"\n" * 200,
    "old_mac": b"cr(a.b)\rlf()\r" * 30,
    "keywords": b"if(x): return(y)\nnot_a_keyword(not(z.True_))\n",
    "not_utf8": b"caf\xe9.name\xff(x)\n" * 20,
    "numbers": b"0x1F(1e5.e6)\n" * 20,
}


@pytest.fixture
def sources(tmp_path: Path) -> list[tuple[str, int]]:
    """Files with all kinds of ends, as paths and lengths."""
    root = tmp_path / "sources"
    root.mkdir()
    for name, content in FILES.items():
        (root / f"{name}.py").write_bytes(content)
    return demo.source_files(root)


def whole() -> Counter[bytes]:
    return demo.merge([demo.names(content) for content in FILES.values()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 64, 1000, 10**6])
def test_partitions_lose_no_line_and_split_none(sources: list[tuple[str, int]], size: int) -> None:
    assert demo.merge([demo.count_names(pieces) for pieces in demo.partitions(sources, size)]) == whole()


@pytest.mark.parametrize(
    ("cut", "first"), [(1, {b"a"}), (4, {b"a"}), (5, {b"a"}), (6, {b"a", b"b"}), (10, {b"a", b"b"})]
)
def test_a_line_belongs_to_the_piece_with_its_first_byte(tmp_path: Path, cut: int, first: set[bytes]) -> None:
    # Given lines that start at 0 and 5
    path = tmp_path / "lines.py"
    path.write_bytes(b"a()\r\nb()\r\n")
    # Then
    assert set(demo.count_names([demo.Piece(str(path), 0, cut)])) == first
    assert set(demo.count_names([demo.Piece(str(path), cut, 10)])) == {b"a", b"b"} - first


def test_workers_count_what_one_reader_counts(sources: list[tuple[str, int]]) -> None:
    with local_executor() as executor:
        executor.map_reduce(demo.count_names, demo.partitions(sources, 100), demo.merge)
        assert executor.get_result() == whole()


def test_partitions_cover_every_byte_once_and_are_neither_small_nor_large(sources: list[tuple[str, int]]) -> None:
    # When
    cut = list(demo.partitions(sources, 100))
    # Then
    covered: dict[str, int] = {}
    for piece in (piece for pieces in cut for piece in pieces):
        assert piece.start == covered.get(piece.path, 0)
        covered[piece.path] = piece.stop
    assert covered == {path: length for path, length in sources if length}
    sizes = [sum(piece.stop - piece.start for piece in pieces) for pieces in cut]
    assert all(100 <= size < 200 for size in sizes[:-1])
    assert 0 < sizes[-1] < 200


def test_names_are_those_of_code_without_keywords() -> None:
    source = b"# the names of the words\nself.path = join(os.path, names[0])\nif(not(x)): pass  # e.g. this\n"
    assert demo.names(source) == Counter({b"self": 1, b"path": 2, b"join": 1, b"os": 1, b"names": 1, b"e": 1, b"g": 1})


def test_source_files_leave_out_tests_and_installed_packages(tmp_path: Path) -> None:
    for name in ("a.py", "package/b.py", "site-packages/c.py", "package/test/d.py", "tests/e.py", "f.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("x\n")
    assert demo.source_files(tmp_path) == [(str(tmp_path / name), 2) for name in ("a.py", "package/b.py")]


def test_main_is_the_console_script() -> None:
    (point,) = [
        point
        for point in importlib.metadata.entry_points(group="console_scripts", name="wren")
        if point.dist is not None and point.dist.name == "wren-core"
    ]
    assert point.value == "wren.cli:main"
    assert isinstance(wren, click.Group)
