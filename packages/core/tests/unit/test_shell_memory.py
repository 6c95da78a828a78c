"""How a call that the kernel killed for its container's memory limit is told apart, on files as control groups have."""

from pathlib import Path

import pytest

from wren.worker.memory import MemoryGroup


class Groups:
    """A file like /proc/self/cgroup, and folders like /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.list = folder / "list"
        self.root.mkdir()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def group(self, text: str) -> MemoryGroup:
        self.list.write_text(text)
        return MemoryGroup(str(self.list), str(self.root))


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


V1 = "11:cpu,cpuacct:/x\n4:memory:/docker/abc\n1:name=systemd:/x\n0::/system\n"
V2 = "0::/docker/abc\n"
V1_EVENTS = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2_EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("listed", "events", "text", "limit"),
    [
        (V1, "memory/docker/abc/memory.oom_control", V1_EVENTS, "memory/docker/abc/memory.limit_in_bytes"),
        (V1, "memory/memory.oom_control", V1_EVENTS, "memory/memory.limit_in_bytes"),
        (V2, "docker/abc/memory.events", V2_EVENTS, "docker/abc/memory.max"),
        (V2, "memory.events", V2_EVENTS, "memory.max"),
        ("0::/\n", "memory.events", V2_EVENTS, "memory.max"),
    ],
    ids=["version 1", "version 1 in a container", "version 2", "version 2 in a container", "namespace"],
)
def test_kills_and_the_limit_are_read(groups: Groups, listed: str, events: str, text: str, limit: str) -> None:
    groups.write(events, text.format(2))
    groups.write(limit, "536870912\n")
    group = groups.group(listed)
    assert (group.kills(), group.limit()) == (2, 512 << 20)
    groups.write(events, text.format(3))
    assert group.kills() == 3


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n", ""])
def test_no_limit_is_none(groups: Groups, limit: str) -> None:
    groups.write("memory.events", V2_EVENTS.format(0))
    groups.write("memory.max", limit)
    assert groups.group("0::/\n").limit() is None


@pytest.mark.parametrize("events", ["", "oom_kill_disable 0\nunder_oom 0\n"])
def test_a_kernel_that_does_not_count_has_killed_nothing(groups: Groups, events: str) -> None:
    groups.write("memory/memory.oom_control", events)
    group = groups.group(V1)
    assert group.kills() == 0
    assert not group.explains(0)


def test_a_system_without_control_groups_has_killed_nothing(tmp_path: Path) -> None:
    group = MemoryGroup(str(tmp_path / "missing"), str(tmp_path))
    assert (group.kills(), group.limit(), group.explains(0)) == (0, None, False)


def test_a_kill_since_the_call_began_explains_its_end(groups: Groups) -> None:
    groups.write("memory.events", V2_EVENTS.format(2))
    group = groups.group(V2)
    before = group.kills()
    assert not group.explains(before)
    groups.write("memory.events", V2_EVENTS.format(3))
    assert group.explains(before)


def test_a_kill_explains_one_end(groups: Groups) -> None:
    # Given two calls that began before a kill
    groups.write("memory.events", V2_EVENTS.format(0))
    group = groups.group(V2)
    groups.write("memory.events", V2_EVENTS.format(1))
    # Then one was killed at the limit, and the other by somebody else
    assert [group.explains(0), group.explains(0)] == [True, False]
    # And those after it have kills of their own
    groups.write("memory.events", V2_EVENTS.format(3))
    assert [group.explains(1), group.explains(1), group.explains(1)] == [True, True, False]


def test_a_kill_of_another_process_explains_nothing_later(groups: Groups) -> None:
    # Given a kill whose process was no call's
    groups.write("memory.events", V2_EVENTS.format(5))
    group = groups.group(V2)
    # When a call that began after it is killed
    assert not group.explains(5)
    groups.write("memory.events", V2_EVENTS.format(6))
    assert group.explains(5)
