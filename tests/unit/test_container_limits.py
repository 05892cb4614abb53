"""CPU quota and memory limit from made control group files, and from a real one where one can be made."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedzoo.cgroup import cpu_quota, memory_limit
from seedzoo.cpu import usable_cores, usable_memory

V2 = {"proc/self/cgroup": "0::/a/b\n"}


def made(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, None, None),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/b/memory.max": "max"}, None, None),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "150000 100000", "sys/fs/cgroup/a/b/memory.max": "1024"}, 1.5, 1024),
        # a group above is tighter
        (
            V2
            | {
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
                "sys/fs/cgroup/a/b/memory.max": "max",
                "sys/fs/cgroup/a/memory.max": "2048",
            },
            2.0,
            2048,
        ),
        # a container with a control group namespace sees itself as the root
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5, None),
        # without one, the path is the host's and not mounted
        ({"proc/self/cgroup": "0::/docker/x\n", "sys/fs/cgroup/memory.max": "4096"}, None, 4096),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "8192",
            },
            3.0,
            8192,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu:/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "25000",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            0.25,
            None,
        ),
        # nonsense limits nothing
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "100 0", "sys/fs/cgroup/a/b/memory.max": "many"}, None, None),
        ({"proc/self/cgroup": "strange\n", "sys/fs/cgroup/cpu.max": ""}, None, None),
    ],
)
def test_limits_are_read(tmp_path: Path, files: dict[str, str], cores: float | None, memory: int | None) -> None:
    root = made(tmp_path, files)
    assert cpu_quota(root) == cores
    assert memory_limit(root) == memory


def test_a_path_does_not_lead_out_of_the_mount(tmp_path: Path) -> None:
    root = made(tmp_path, {"proc/self/cgroup": "0::/../..\n", "sys/cpu.max": "1 100", "cpu.max": "1 100"})
    assert cpu_quota(root) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.2, 1), (2.0, 2), (2.1, 3), (64.0, 8)])
def test_cores_are_the_least_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("seedzoo.cpu.cpu_quota", lambda: quota)
    assert usable_cores() == cores


def test_memory_is_the_least_of_machine_and_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedzoo.cpu.memory_limit", lambda: None)
    whole = usable_memory()
    assert whole > 1 << 28
    monkeypatch.setattr("seedzoo.cpu.memory_limit", lambda: 1 << 27)
    assert usable_memory() == 1 << 27
    monkeypatch.setattr("seedzoo.cpu.memory_limit", lambda: whole * 2)
    assert usable_memory() == whole


@pytest.fixture
def one_core() -> Iterator[Path]:
    """A real control group with a quota of one core."""
    parent = Path("/sys/fs/cgroup")
    unified = (parent / "cgroup.controllers").exists()
    group = (parent if unified else parent / "cpu") / f"seedzoo-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if unified:
            (group / "cpu.max").write_text("100000 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text("100000")
        yield group
    except OSError as error:
        pytest.skip(f"no quota can be set here: {error}")
    finally:
        group.rmdir()


def test_a_real_quota_is_found(one_core: Path) -> None:
    program = (
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()));"
        "from seedzoo.cgroup import cpu_quota; print(cpu_quota())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(one_core / "cgroup.procs")], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "1.0", done.stderr
