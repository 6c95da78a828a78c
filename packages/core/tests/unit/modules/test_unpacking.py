"""What a worker does with the modules that come with a function."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wren.modules.archive import Archive, Unit, files_of, pack
from wren.spi import RuntimeInfo
from wren.wire import Blob
from wren.worker import inventory, modules
from wren.worker.modules import take_in


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where modules are unpacked."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(modules, "PLACES", (str(tmp_path),))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder / f"wren-modules-{os.getuid()}"
    for name in ("unpacked_module", "unpacked_other"):
        sys.modules.pop(name, None)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "unpacked_module.py").write_text("value = 42")
    tool = folder / "tool.sh"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    files = [*files_of(Unit("unpacked_module", str(folder / "unpacked_module.py"))).items()]
    return pack([*files, *files_of(Unit("bin.tool", str(tool))).items()])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def never() -> bytes:
    raise AssertionError("it is there already")


def test_modules_are_importable_then_and_unpacked_once(archive: Archive, temporary: Path) -> None:
    take_in(archive.blob, lambda: archive.data)
    import unpacked_module  # type: ignore[import-not-found]

    assert unpacked_module.value == 42
    assert Path(unpacked_module.__file__).parent == temporary / archive.blob.id
    take_in(archive.blob, never)
    assert names(temporary) == [archive.blob.id]


def test_what_may_be_executed_still_may(archive: Archive, temporary: Path) -> None:
    take_in(archive.blob, lambda: archive.data)
    assert os.access(temporary / archive.blob.id / "bin" / "tool.sh", os.X_OK)
    assert not os.access(temporary / archive.blob.id / "unpacked_module.py", os.X_OK)


def test_the_folder_is_this_users_alone(archive: Archive, temporary: Path) -> None:
    take_in(archive.blob, lambda: archive.data)
    assert temporary.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_to_is_not_used(archive: Archive, temporary: Path) -> None:
    temporary.mkdir(mode=0o777)
    temporary.chmod(0o777)
    (temporary / archive.blob.id).mkdir()  # somebody has put something there
    take_in(archive.blob, lambda: archive.data)
    assert not sys.path[0].startswith(str(temporary))


def test_a_link_in_its_place_is_not_followed(archive: Archive, temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    temporary.symlink_to(tmp_path / "theirs")
    take_in(archive.blob, lambda: archive.data)
    assert names(tmp_path / "theirs") == []


def test_where_nothing_can_be_written_the_next_place_is_tried(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    take_in(archive.blob, lambda: archive.data)
    assert Path(sys.path[0], "unpacked_module.py").exists()


def test_what_fetching_raises_comes_out(archive: Archive) -> None:
    def fail() -> bytes:
        raise FileNotFoundError("the object is gone")

    with pytest.raises(FileNotFoundError, match="the object is gone"):
        take_in(archive.blob, fail)


def test_a_member_never_leaves_its_folder(temporary: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("../../escaped.py", "")
        made.writestr("/absolute.py", "")
    data = buffer.getvalue()
    blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
    take_in(blob, lambda: data)
    assert names(temporary / blob.id) == ["absolute.py", "escaped.py"]


def test_any_number_may_unpack_at_the_same_time(archive: Archive, temporary: Path) -> None:
    together = threading.Barrier(8)

    def fetch() -> bytes:
        together.wait(20)  # all have seen that it is not there
        return archive.data

    failed: list[Exception] = []

    def run() -> None:
        try:
            take_in(archive.blob, fetch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at below
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []
    assert names(temporary) == [archive.blob.id]


def test_what_nobody_has_used_for_long_is_removed(archive: Archive, temporary: Path) -> None:
    temporary.mkdir(mode=0o700)
    for name, age in (("old", modules.KEPT + 60), ("new", 60.0)):
        (temporary / name).mkdir()
        os.utime(temporary / name, (time.time() - age,) * 2)
    take_in(archive.blob, lambda: archive.data)
    assert names(temporary) == sorted(["new", archive.blob.id])


def test_who_looks_while_it_is_removed_finds_nothing_of_it(
    archive: Archive, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary / "old" / "package").mkdir(mode=0o700, parents=True)
    temporary.chmod(0o700)
    os.utime(temporary / "old", (time.time() - modules.KEPT - 60,) * 2)
    there: list[bool] = []
    remove = shutil.rmtree

    def look_and_remove(path: str, ignore_errors: bool) -> None:
        there.append((temporary / "old").exists())
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", look_and_remove)
    take_in(archive.blob, lambda: archive.data)
    assert there[-1:] == [False]
    assert names(temporary) == [archive.blob.id]


# ---- what a runtime has


def test_the_inventory_names_what_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("package/__init__.py", "single.py", "compiled.abi3.so", "space/deep/real/__init__.py", "no-name/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", "/nowhere"])
    assert inventory.inventory()["modules"] == ["compiled", "package", "single", "space.deep.real"]


def test_a_runtime_tells_of_itself() -> None:
    said = subprocess.run(
        [sys.executable, "-P", "-m", "wren.worker.inventory"], capture_output=True, check=True, timeout=60
    ).stdout
    info = RuntimeInfo.read(said)
    assert info.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert {"wren", "pytest", "cloudpickle"} <= info.modules
    assert not {"json", "sys"} & info.modules


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b"Traceback ...", json.dumps({"python": "3.11"}).encode()])
def test_what_is_no_inventory_is_refused(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"says nothing of a runtime|Expecting value"):
        RuntimeInfo.read(said)


def test_a_name_stands_for_all_that_is_in_it() -> None:
    info = RuntimeInfo("3.11", "linux", frozenset({"numpy", "google.cloud.storage"}))
    assert [info.has(name) for name in ("numpy", "numpy.linalg", "google.cloud.storage.x", "google.cloud", "num")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert RuntimeInfo("3.11", "linux").has("anything")
