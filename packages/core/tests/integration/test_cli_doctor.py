"""`wren doctor`: what it finds right, what it finds wrong, and that it ends in any case."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from wren.cli import findings, installation, limits
from wren.cli.commands import wren
from wren.cli.findings import Finding, Level
from wren.config import Config, Value
from wren.plugins import PluginInfo
from wren.recorder import recorder
from wren.testing import plugged

CONSOLE_SCRIPT: Final = Path(sys.executable).parent / "wren"

# A storage whose check does what a test wants.
SHELF: Final = """
import threading
from dataclasses import dataclass, field

import pluggy
from wren.errors import StorageError
from wren.local.memory import MemoryStorage
from wren.spi import Check

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class ShelfOptions:
    bucket: str = "wren"
    password: str = field(default="", repr=False)


class Shelf(MemoryStorage):
    name = "shelf"
    options_type = ShelfOptions

    def check(self):
        {check}


@hookimpl
def wren_storage():
    return Shelf
"""


@pytest.fixture(autouse=True)
def alone(folder: Path) -> None:
    """Each test has a working directory and a configuration of its own."""


Plug = Callable[[str], None]


@pytest.fixture
def shelf(tmp_path: Path, folder: Path) -> Iterator[Plug]:
    """Installs and configures a storage whose check has that body."""
    with plugged(tmp_path / "site", {"wren.storage": {"shelf": "shelf"}}, subprocesses=True) as site:
        (folder / ".wren.toml").write_text('[wren]\nstorage = "shelf"\n[shelf]\npassword = "hunter2-and-more"\n')

        def plug(check: str) -> None:
            (site / "shelf.py").write_text(SHELF.format(check=check))

        yield plug


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(wren, ["doctor", *arguments])


def told(result: Result) -> dict[str, tuple[str, str]]:
    """Sign and text by name."""
    lines = [line for line in result.stdout.splitlines()[:-1] if not line.startswith(" ")]
    found = [re.fullmatch(r"(\w+) +(.+?): (.*)", line) for line in lines]
    return {each[2]: (each[1], each[3]) for each in found if each}


def cure(result: Result, name: str) -> str:
    """The line after that of the name."""
    lines = result.stdout.splitlines()
    (number,) = [number for number, line in enumerate(lines) if re.match(rf"\w+ +{re.escape(name)}: ", line)]
    assert lines[number + 1].startswith("      cure: ")
    return lines[number + 1].removeprefix("      cure: ")


# ---- what is well


def test_where_all_is_well_each_thing_has_a_line_and_the_exit_code_is_0(folder: Path) -> None:
    # When
    done = subprocess.run([CONSOLE_SCRIPT, "doctor"], capture_output=True, text=True, timeout=120, check=False)
    # Then
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    for name in ("Python", "wren-core", "open files", "processes", "pipes", "shared memory", "temporary directory",
                 "job records", "configuration", "compute localhost runtime", "compute localhost call",
                 "storage localhost objects", "storage localhost clock"):  # fmt: skip
        assert re.search(rf"^(ok  |warn)  {name}: ", done.stdout, re.MULTILINE), name
    assert re.search(r"^(All is well|\d warnings?)\.$", done.stdout.splitlines()[-1])
    assert list(folder.iterdir()) == []


def test_json_has_the_same_for_programs() -> None:
    result = doctor("--json")
    assert result.exit_code == 0
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert found["compute localhost call"]["level"] == "ok"
    assert found["compute localhost call"]["cure"] == ""
    assert set(found["Python"]) == {"name", "level", "detail", "cure"}


def test_what_is_configured_is_tried_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    # Given a directory that is not there, and sections of a storage and a monitor that an executor would not use
    (folder / ".wren.toml").write_text(
        f'[localhost]\npath = "{tmp_path}/not/yet"\n[memory]\nbucket = "mine"\n[storage]\ninterval = 2\n'
    )
    # When
    result = doctor()
    # Then
    found = told(result)
    assert (result.exit_code, found["configuration"]) == (0, ("ok", ".wren.toml"))
    assert found["storage localhost objects"][1].startswith("an object was written, read, listed and removed in ")
    assert "GiB are free in" in found["storage localhost space"][1]
    assert found["storage memory objects"][0] == "ok"
    assert found["monitor storage interval"] == ("ok", "statuses are listed every 2 s")
    assert not (tmp_path / "not").exists()


def test_doctor_uses_no_plugin_that_is_not_configured() -> None:
    assert not [name for name in told(doctor()) if name.startswith(("storage memory", "monitor"))]


# ---- services that fail


def test_a_storage_that_cannot_be_written_to_is_a_failure_with_its_cure(folder: Path) -> None:
    (folder / ".wren.toml").write_text('[localhost]\npath = "/proc/nowhere"\n')
    result = doctor()
    assert result.exit_code == 1
    sign, said = told(result)["storage localhost write"]
    assert sign == "FAIL"
    assert said.startswith("the localhost storage cannot use wren/wren/checks/")
    assert cure(result, "storage localhost write") == (
        "see that the service runs, and that section [localhost] is right: `wren config show`"
    )
    assert result.stdout.splitlines()[-1].startswith("1 failure")


def test_where_local_calls_cannot_run_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wren.local.compute._LINUX", False)
    sign, said = told(doctor())["compute localhost deploy"]
    assert sign == "FAIL"
    assert said.startswith("the localhost backend needs Linux; ")


@pytest.mark.parametrize(
    ("check", "name", "said"),
    [
        ("raise StorageError('no route')", "storage shelf open", "no route"),
        ("1 / 0", "storage shelf check", "Shelf raised ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "storage shelf check", "Shelf raised SystemExit: 3"),
        ("yield 5", "storage shelf check", "Shelf raised TypeError: check() has given a int in place of a wren.spi"),
        ("yield Check('login', False, 'two\\nlines', 'log in')", "storage shelf login", "two lines"),
    ],
)
def test_a_check_that_fails_is_a_line_and_no_traceback(shelf: Plug, check: str, name: str, said: str) -> None:
    shelf(check)
    result = doctor()
    assert result.exit_code == 1
    assert told(result)[name][0] == "FAIL"
    assert told(result)[name][1].startswith(said)
    assert cure(result, name)


def test_a_warning_of_a_check_is_none_of_the_failures(shelf: Plug) -> None:
    shelf("yield Check('quota', False, '90 % used', 'buy more', warning=True)")
    result = doctor()
    assert told(result)["storage shelf quota"] == ("warn", "90 % used")
    assert cure(result, "storage shelf quota") == "buy more"
    assert result.exit_code == 0


def test_a_plugin_without_a_check_is_a_warning(shelf: Plug) -> None:
    shelf("return iter(())")
    assert told(doctor())["storage shelf"] == ("warn", "was not tried, as it has no check")


def test_a_check_that_hangs_is_told_after_its_time_and_the_command_ends(shelf: Plug) -> None:
    # Given a check that never ends, and a thread that the interpreter's end would wait for
    shelf("threading.Thread(target=threading.Event().wait).start(); yield Check('a', True); threading.Event().wait()")
    # When
    done = subprocess.run(
        [CONSOLE_SCRIPT, "doctor", "--timeout", "1"], capture_output=True, text=True, timeout=60, check=False
    )
    # Then
    assert done.returncode == 1
    assert "ok    storage shelf a: \n" in done.stdout
    assert "FAIL  storage shelf: has not answered for 1 s\n      cure: see that it can be reached" in done.stdout
    assert re.match(r"\d failure", done.stdout.splitlines()[-1])


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_no_secret_is_in_what_is_printed(shelf: Plug, arguments: tuple[str, ...]) -> None:
    shelf("yield Check('login', False, f'403 for {self.options.password}', f'not {self.options.password}')")
    result = doctor(*arguments)
    assert "403 for ***" in result.stdout
    assert "hunter2" not in result.output


# ---- what is installed


def test_a_plugin_that_cannot_be_imported_is_one_failed_line(shelf: Plug, tmp_path: Path) -> None:
    shelf("pass")
    (tmp_path / "site" / "shelf.py").write_text("import missing_sdk\n")
    result = doctor()
    assert result.exit_code == 1
    (line,) = re.findall("^FAIL.*", result.stdout, re.MULTILINE)
    assert line == (
        "FAIL  storage shelf: the storage 'shelf' of plugged-shelf cannot be loaded: "
        "ModuleNotFoundError: No module named 'missing_sdk'"
    )
    assert cure(result, "storage shelf") == "install what it lacks, or pip uninstall plugged-shelf"
    assert told(result)["compute localhost call"][0] == "ok"


def test_a_plugin_whose_import_never_ends_is_one_failed_line_and_the_command_ends(shelf: Plug, tmp_path: Path) -> None:
    shelf("pass")
    (tmp_path / "site" / "shelf.py").write_text("import threading\nthreading.Event().wait()\n")
    done = subprocess.run(
        [CONSOLE_SCRIPT, "doctor", "--timeout", "3"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == [
        "FAIL  storage shelf: the storage plugin 'shelf' was not imported in 3 s: see what its module waits for"
    ]


def test_a_plugin_that_exits_when_it_is_imported_is_one_failed_line(shelf: Plug, tmp_path: Path) -> None:
    shelf("pass")
    (tmp_path / "site" / "shelf.py").write_text("raise SystemExit('no licence')\n")
    assert "SystemExit: no licence" in told(doctor())["storage shelf"][1]


def test_two_distributions_of_one_plugin_are_a_failure_that_names_both(tmp_path: Path) -> None:
    points = {"wren.storage": {"shelf": "shelf"}}
    with (
        plugged(tmp_path / "a", points, distribution="shelf-a"),
        plugged(tmp_path / "b", points, distribution="shelf-b"),
    ):
        result = doctor()
    assert result.exit_code == 1
    assert "all offer a storage 'shelf'" in told(result)["storage shelf"][1]
    assert cure(result, "storage shelf") == "pip uninstall one of shelf-a, shelf-b"


def test_a_plugin_that_is_never_loaded_is_a_warning(tmp_path: Path) -> None:
    with plugged(tmp_path / "a", {"wren.storage": {"memory": "mine"}}, distribution="shelf-a"):
        result = doctor()
    assert result.exit_code == 0
    assert "warn  shelf-a: the storage plugin 'memory' is never loaded" in result.stdout


def test_a_package_of_wrens_of_another_version_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    info = PluginInfo("compute", "knative", "module", "wren-backend-knative", "0.9.3")
    monkeypatch.setattr("wren.plugins.installed", lambda kind: [info] if kind == "compute" else [])
    (found,) = [each for each in installation.look({}) if each.name == "wren-backend-knative"]
    assert found.level is Level.WARNING
    assert found.detail.startswith("0.9.3, with compute knative; made for another version than ")
    assert found.cure == "pip install --upgrade wren-core wren-backend-knative"


@pytest.mark.parametrize(
    ("version", "series"), [("0.1.0", ["0", "1"]), ("0.10.0.dev1", ["0", "10"]), ("2.1.0", ["2"]), ("1", ["1"])]
)
def test_packages_of_a_series_fit_together(version: str, series: list[str]) -> None:
    assert installation._series(version) == series


def foreign(folder: Path, record: str) -> Path:
    """What pip would leave of another project that is called `wren`, with that list of files."""
    info = folder / "site" / "wren-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wren\nVersion: 1.0\n")
    (info / "RECORD").write_text(record)
    return info.parent


def test_a_foreign_distribution_with_a_module_wren_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(foreign(tmp_path, "wren-1.0.dist-info/METADATA,,\nwren/__init__.py,,\n"))
    # When
    result = doctor()
    # Then
    assert told(result)["wren 1.0"][0] == "FAIL"
    assert cure(result, "wren 1.0") == "pip uninstall wren, and then pip install --force-reinstall wren-core"


def test_a_distribution_of_that_name_and_another_module_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(foreign(tmp_path, "wren_bird/__init__.py,,\n"))
    assert "wren 1.0" not in told(doctor())


def test_a_file_of_that_name_in_the_working_directory_is_a_warning(folder: Path) -> None:
    (folder / "wren.py").write_text("")
    result = doctor()
    assert told(result)["module wren"] == ("warn", "programs in this directory import wren.py in its place")
    assert result.exit_code == 0


def test_a_python_that_nobody_has_tested_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(found for found in installation.look({}) if found.name == "Python").level in {Level.OK, Level.WARNING}
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    found = next(found for found in installation.look({}) if found.name == "Python")
    assert found.level is Level.WARNING
    assert found.cure.startswith("use one of 3.11, ")


# ---- the configuration


def test_each_fault_of_the_configuration_is_a_failure_and_the_services_are_tried_all_the_same(folder: Path) -> None:
    (folder / ".wren.toml").write_text("[wren]\nretrys = 1\n[localhost]\nworkers = 'many'\n[knative]\na = 1\n")
    result = doctor()
    assert result.exit_code == 1
    said = [line for line in result.stdout.splitlines() if re.match(r"FAIL|warn", line)]
    assert "FAIL  configuration: unknown key 'retrys' in section [wren] of .wren.toml; did you mean 'retries'?" in said
    assert any("workers in section [localhost] of .wren.toml must be int" in line for line in said)
    assert "warn  configuration: section [knative] is of no plugin that is installed here" in said
    assert "warn  compute localhost: was not tried, as its section is wrong" in said


def test_options_that_do_not_go_together_are_a_failure_that_says_why(shelf: Plug, tmp_path: Path) -> None:
    """Each key by itself is right, so nothing else tells of it."""
    shelf("return iter(())")
    file, last = tmp_path / "site" / "shelf.py", 'password: str = field(default="", repr=False)\n'
    refusing = "def __post_init__(self):\n        raise __import__('wren').errors.ConfigError('half of a key')"
    file.write_text(file.read_text().replace(last, f"{last}\n    {refusing}\n"))
    result = doctor()
    assert told(result)["storage shelf"] == ("FAIL", "half of a key")
    assert cure(result, "storage shelf") == "correct section [shelf]"
    assert result.exit_code == 1


def test_without_a_file_it_says_where_one_would_be() -> None:
    assert told(doctor())["configuration"][1].startswith("no file, neither .wren.toml nor ")


def test_a_backend_that_is_not_installed_is_a_failure_that_says_what_to_install(folder: Path) -> None:
    (folder / ".wren.toml").write_text('[wren]\nbackend = "knative"\n')
    result = doctor()
    assert result.exit_code == 1
    assert "FAIL  configuration: no compute backend 'knative'; pip install wren-backend-knative" in result.stdout
    assert told(result)["storage localhost objects"][0] == "ok"


# ---- limits


def config(**values: Any) -> Config:
    return Config({"wren": {key: Value(value, "a test") for key, value in values.items()}})


def limit(name: str, **values: Any) -> Finding:
    return next(found for found in limits.look(config(**values)) if found.name == name)


def test_few_open_files_are_a_warning_with_the_command_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    found = limit("open files", workers=2000)
    assert found.level is Level.WARNING
    assert found.detail.startswith("256 at once, and 2,")
    assert re.fullmatch(r"ulimit -n 2\d\d\d", found.cure)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert "have the limit raised" in limit("open files").cure
    monkeypatch.setattr(resource, "getrlimit", lambda _: (-1, -1))
    assert limit("open files") == Finding("open files", Level.OK, "any number at once")


def test_few_processes_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 4711)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2, 2))
    found = limit("processes")
    assert found.level is Level.WARNING
    assert re.fullmatch(r"[\d,]+ of 2, threads included", found.detail)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**6, 10**6))
    assert limit("processes").level is Level.OK


def test_the_threads_of_this_user_are_counted() -> None:
    assert limits._threads() >= 1


def test_a_process_whose_name_is_no_text_is_counted_too() -> None:
    # Given one whose name ends within a character, as the system cuts long ones
    rename = "open('/proc/self/comm', 'wb').write(b'\\xc3'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as odd:
        assert odd.stdout is not None
        assert odd.stdout.readline() == b"\n"
        # Then
        assert limits._threads() >= 2
        odd.communicate(b"\n", 20)


def test_a_temporary_directory_that_is_full_or_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1 << 20

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    assert limit("temporary directory").level is Level.WARNING
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    found = limit("temporary directory")
    assert (found.level, found.cure) == (Level.FAILURE, "free some space, or set TMPDIR to another directory")


def test_where_job_records_go_is_told_and_why_they_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder.flush()  # what other tests have left to write goes elsewhere
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    assert limit("job records") == Finding("job records", Level.OK, f"in {tmp_path}/deep/state/wren/jobs")
    assert not (tmp_path / "deep").exists()
    open_to_all = tmp_path / "deep" / "state" / "wren"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o755)
    found = limit("job records")
    assert (found.level, found.detail) == (
        Level.WARNING,
        f"cannot be written: {open_to_all} is not a private directory of yours, as `chmod 700` makes it",
    )
    assert not [each for each in limits.look(config(records=False)) if each.name == "job records"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "state"))
    assert limit("job records").level is Level.WARNING


# ---- on a terminal


def test_on_a_terminal_nothing_is_wider_than_it_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    findings.show(Finding("storage " + "n" * 40, Level.FAILURE, "d" * 200, "c" * 100))
    said = capsys.readouterr().out
    lines = re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()
    assert "\x1b[1;31mFAIL\x1b[0m" in said
    assert max(map(len, lines)) <= 60
    whole = "".join(lines)
    assert whole.count("n") == 40
    assert whole.count("d") == 200


def test_the_sum_says_how_many_there_are() -> None:
    ok, warning, failure = (Finding("a", level, "b") for level in Level)
    assert findings.summary([ok]) == "All is well."
    assert findings.summary([ok, warning, failure, failure]) == "2 failures and 1 warning."
