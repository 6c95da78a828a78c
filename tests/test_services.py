"""The services that tests use: each is started once, reused, and stopped by who asks for that."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from tests.services import golang
from tests.services.base import MISSING, Missing, Running, Service, born
from tests.services.fixtures import Endpoint, absent

PROGRAM = """
import sys
from tests.test_services import Folder
sys.exit(Folder().main(sys.argv[1:]))
"""


class Folder(Service):
    """A small service: it shows its folder."""

    name: ClassVar[str] = "folder"
    port: ClassVar[int] = 9000  # where another one may well be

    def install(self) -> None:
        pass

    def command(self, port: int, data: Path) -> tuple[list[str], Mapping[str, str]]:
        (data / "hello").write_text("hello", encoding="utf-8")
        server = ["-m", "http.server", "--bind=127.0.0.1", f"--directory={data}", str(port)]
        return [sys.executable, *server], {}


class Broken(Folder):
    name: ClassVar[str] = "broken"

    def command(self, port: int, data: Path) -> tuple[list[str], Mapping[str, str]]:
        return [sys.executable, "-c", "raise SystemExit('no, thank you')"], {}


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def start() -> subprocess.Popen[str]:
    root = Path(__file__).parents[1]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, "start"], cwd=root, stdout=subprocess.PIPE, text=True)


def test_sessions_that_start_at_the_same_time_share_one_service_that_outlives_them() -> None:
    urls = {each.communicate(timeout=60)[0].strip() for each in [start(), start(), start()]}
    service = Folder()
    try:
        assert len(urls) == 1
        with urllib.request.urlopen(f"{urls.pop()}/hello", timeout=10) as answer:
            assert answer.read() == b"hello"
        running = service.running()
        assert running is not None
        assert service.start() == f"http://127.0.0.1:{running.port}"
        assert service.running() == running
    finally:
        service.stop()
    assert (service.running(), born(running.pid), Path(running.data).exists()) == (None, "", False)
    service.stop()


def test_a_process_that_has_the_pid_of_one_that_ended_is_left_alone() -> None:
    service, other = Folder(), subprocess.Popen(["sleep", "60"])
    try:
        left = Running(other.pid, "1", 1, "/nonexistent")
        (service.folder / "folder.json").write_text(json.dumps(left._asdict()), encoding="utf-8")
        assert service.running() is None
        service.stop()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_what_does_not_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert Broken().main(["start"]) == MISSING
    assert "no, thank you" in capsys.readouterr().err
    assert Broken().main(["status"]) == 1


def test_without_go_nothing_is_installed_on_a_laptop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(Missing, match=r"needs Go 1\.21"):
        golang.build("example.org/nothing", "v1.0.0", tmp_path)


def test_what_is_missing_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs Go"):
        absent(Missing("needs Go"))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs Go"):
        absent(Missing("needs Go"))


def test_the_endpoint_shows_no_secret() -> None:
    assert "hush" not in repr(Endpoint("http://127.0.0.1:1", "key", "hush"))
