"""Archives are the same for the same files, and hold nothing else."""

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.errors import ModuleError
from wren.modules.archive import Unit, files_of, pack

names = st.text(st.sampled_from("abcäß _-"), min_size=1, max_size=4).filter(lambda name: name.strip() == name)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=100), min_size=1, max_size=6
).filter(lambda tree: not any(f"{a}/" in f"{b}/" and a != b for a in tree for b in tree))


def write(folder: Path, tree: Mapping[str, bytes]) -> None:
    for name, data in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def packed(folder: Path) -> bytes:
    return pack(files_of(Unit("unit", str(folder))).items()).data


@settings(max_examples=30)  # each writes files
@given(tree=trees, data=st.data())
def test_neither_order_nor_times_nor_places_are_seen(tree: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        write(Path(first), tree)
        write(Path(second), dict(data.draw(st.permutations(list(tree.items())))))
        for path in Path(second).rglob("*"):
            os.utime(path, (1, 1))
        archive = packed(Path(first))
        assert archive == packed(Path(second))
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            assert {name.removeprefix("unit/"): opened.read(name) for name in opened.namelist()} == tree


@settings(max_examples=30)  # each writes files
@given(tree=trees, data=st.data())
def test_another_byte_is_another_archive(tree: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(tree)))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), tree)
        before = packed(Path(folder))
        write(Path(folder), {name: tree[name] + b"x"})
        assert packed(Path(folder)) != before


def test_what_may_be_executed_is_another_archive(tmp_path: Path) -> None:
    write(tmp_path, {"tool": b"#!/bin/sh\n"})
    before = packed(tmp_path)
    (tmp_path / "tool").chmod(0o755)
    assert packed(tmp_path) != before


def test_links_are_followed_and_none_for_ever(tmp_path: Path) -> None:
    write(tmp_path, {"real/a.py": b"a", "package/b.py": b"b"})
    (tmp_path / "package" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "package" / "again").symlink_to(tmp_path / "package")
    (tmp_path / "package" / "broken").symlink_to(tmp_path / "nowhere")
    assert list(files_of(Unit("package", str(tmp_path / "package")))) == ["package/b.py", "package/linked/a.py"]


def test_the_libraries_that_wheels_bring_go_with_their_package(tmp_path: Path) -> None:
    write(tmp_path, {"fast/__init__.py": b"", "fast.libs/libblas.so": b""})
    assert list(files_of(Unit("fast", str(tmp_path / "fast")))) == ["fast/__init__.py", "fast.libs/libblas.so"]


def test_a_module_keeps_its_ending(tmp_path: Path) -> None:
    write(tmp_path, {"core.cpython-311-x86_64-linux-gnu.so": b"", "plain.py": b""})
    for name in ("core.cpython-311-x86_64-linux-gnu.so", "plain.py"):
        unit = Unit(f"deep.{name.partition('.')[0]}", str(tmp_path / name))
        assert list(files_of(unit)) == [f"deep/{name}"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"locked.py": b""})
    (tmp_path / "locked.py").chmod(0)
    with pytest.raises(ModuleError, match=r"locked\.py cannot be packed"):
        packed(tmp_path)


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).touch()
    with pytest.raises(ModuleError, match=r"caf\\udce9\.txt' cannot be packed, as its name is not UTF-8: rename it$"):
        packed(tmp_path)


def test_what_vanishes_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"here.py": b""})
    files = files_of(Unit("unit", str(tmp_path)))
    shutil.rmtree(tmp_path)
    with pytest.raises(ModuleError, match=r"here\.py cannot be packed: .*No such file"):
        pack(files.items())
    with pytest.raises(ModuleError, match=r"the module unit cannot be packed: .*No such file"):
        files_of(Unit("unit", str(tmp_path)))
