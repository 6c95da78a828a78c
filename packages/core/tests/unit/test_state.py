"""The files of job records: who may read them, what remains of a crash, how they are kept small."""

import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wren import callbacks, state
from wren.recorder import recorder

MONTH = 30 * state.DAY


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own; what others have left to write goes into theirs."""
    recorder.flush()
    monkeypatch.setattr(callbacks, "after", lambda seconds, action: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "wren" / "jobs"


def lines() -> list[bytes]:
    """What all files have, but for their first lines."""
    return [line for _, (_, *lines) in state.files() for line in lines]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def old(place: Path, name: str, size: int, seconds: float) -> Path:
    """A file of another client."""
    path = place / f"{name}.jsonl"
    path.write_bytes(b"{}\n" + b"x" * size + b"\n")
    age(path, seconds)
    return path


def test_the_directory_is_where_xdg_has_it_or_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state.folder() == str(tmp_path / "state" / "wren" / "jobs")
    monkeypatch.setenv("HOME", "/home/somebody")
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert state.folder() == "/home/somebody/.local/state/wren/jobs"


def test_what_is_written_is_the_users_alone(place: Path) -> None:
    # Given a umask that lets everybody in
    before = os.umask(0)
    try:
        # When
        state.Journal().append(b"{}\n")
    finally:
        os.umask(before)
    # Then
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place, *place.iterdir())}
    assert set(modes.values()) == {0o700, 0o600}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_a_directory_that_others_may_enter_is_not_used(place: Path) -> None:
    place.mkdir(parents=True, mode=0o755)
    place.parent.chmod(0o755)
    with pytest.raises(PermissionError, match=r"wren is not a private directory of yours"):
        state.Journal().append(b"{}\n")


def test_lines_are_read_in_the_order_in_which_they_were_written() -> None:
    journal = state.Journal()
    for number in range(3):
        journal.append(b"%d\n" % number)
    assert lines() == [b"0", b"1", b"2"]


def test_a_line_that_is_torn_is_left_out(place: Path) -> None:
    # Given a client that was killed while it wrote, or writes just now
    state.Journal().append(b"whole\n")
    [path] = place.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"job": "abc')
    # Then
    assert lines() == [b"whole"]


def test_several_clients_have_files_of_their_own(place: Path) -> None:
    for journal in [state.Journal() for _ in range(3)]:
        journal.append(b"one\n")
    assert len(list(place.glob("*.jsonl"))) == 3
    assert lines() == [b"one"] * 3


def test_clients_that_are_the_first_at_the_same_time_all_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        # Given clients for whom not even the folders above are there
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / str(number) / "state"))
        together = threading.Barrier(4)

        def write(together: threading.Barrier = together) -> None:
            together.wait(20)
            state.Journal().append(b"one\n")

        with ThreadPoolExecutor(4) as pool:
            written = [pool.submit(write) for _ in range(4)]
        # Then none of them gives up
        assert [each.exception() for each in written] == [None] * 4
        assert lines() == [b"one"] * 4


def test_a_file_that_somebody_removed_is_begun_anew_with_its_first_line(place: Path) -> None:
    # Given
    journal = state.Journal()
    journal.append(b"one\n")
    for path in place.glob("*.jsonl"):
        path.unlink()
    # When
    journal.append(b"two\n")
    # Then
    assert lines() == [b"two"]


def test_a_large_file_is_followed_by_another_of_the_same_process(place: Path) -> None:
    journal = state.Journal()
    for number in range(3):
        journal.append(b"%d" % number + b"x" * state.FILE_SIZE + b"\n")
    assert len(list(place.glob("*.jsonl"))) == 3
    assert len({process for process, _ in state.files()}) == 1
    assert [line[:1] for line in lines()] == [b"0", b"1", b"2"]


def test_a_process_that_lives_long_begins_another_file_each_day(place: Path) -> None:
    journal = state.Journal()
    journal.append(b"one\n")
    journal._begun -= state.ROTATION + 1
    journal.append(b"two\n")
    assert len(list(place.glob("*.jsonl"))) == 2


def test_what_is_too_old_is_removed_by_whoever_comes_next(place: Path) -> None:
    # Given
    place.mkdir(parents=True, mode=0o700)
    place.parent.chmod(0o700)
    gone, kept = old(place, "1-a-0", 10, state.KEPT + 60), old(place, "2-b-0", 10, state.KEPT - 60)
    # When
    state.Journal().append(b"{}\n")
    # Then
    assert not gone.exists()
    assert kept.exists()


def test_the_oldest_of_what_is_too_much_is_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr(state, "TOTAL_SIZE", 2_500)
    monkeypatch.setattr(state, "FILES", 3)
    place.mkdir(parents=True, mode=0o700)
    place.parent.chmod(0o700)
    large = [old(place, f"{number}-a-0", 1_000, number * 60) for number in (1, 2, 3)]
    # When
    state.Journal().append(b"{}\n")
    # Then of three of them two have room, and the new one
    assert [path.exists() for path in large] == [True, True, False]
    # When many small ones are there
    for path in large:
        path.unlink(missing_ok=True)
    small = [old(place, f"{number}-b-0", 1, number * 60) for number in range(1, 6)]
    age(place / ".tidied", MONTH)
    state.tidy(str(place))
    # Then
    assert [path.exists() for path in small] == [True, True, False, False, False]


def test_nobody_looks_at_all_files_more_often_than_once_an_hour(place: Path) -> None:
    # Given
    state.Journal().append(b"{}\n")
    gone = old(place, "1-a-0", 10, MONTH)
    # When
    state.Journal().append(b"{}\n")
    # Then
    assert gone.exists()
    # But an hour later
    age(place / ".tidied", state.TIDYING + 1)
    state.Journal().append(b"{}\n")
    assert not gone.exists()


def test_there_may_be_no_records_at_all() -> None:
    assert list(state.files()) == []
