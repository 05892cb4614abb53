"""What the container allows: CPU quota and memory limit of this process's control groups, version 1 and 2.

A limit may stand at the process's own group or at any group above it, and the tightest one counts. Inside a container
``/proc/self/cgroup`` may name a path of the host that is not mounted; the mounted root is then the container's group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota", "memory_limit"]

_UNLIMITED_BYTES = 1 << 60
"""Version 1 says "no limit" by a number near 2^63."""


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that may be used on average, or None where there is no quota.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    return _tightest(root, "cpu", _quota_2, _quota_1)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that may be used, or None where there is no limit.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    found = _tightest(root, "memory", _memory_2, _memory_1)
    return None if found is None or found >= _UNLIMITED_BYTES else int(found)


def _tightest(
    root: Path, controller: str, version_2: Callable[[Path], float | None], version_1: Callable[[Path], float | None]
) -> float | None:
    found = []
    for folder, read in _groups(root, controller, version_2, version_1):
        try:
            limit = read(folder)
        except (OSError, ValueError, ZeroDivisionError):
            continue  # a group that says nothing readable sets no limit that could be kept
        if limit is not None:
            found.append(limit)
    return min(found, default=None)


def _groups(
    root: Path, controller: str, version_2: Callable[[Path], float | None], version_1: Callable[[Path], float | None]
) -> Iterator[tuple[Path, Callable[[Path], float | None]]]:
    """This process's group and those above it, as far as they are mounted, and how to read a limit there."""
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []  # no Linux, or no proc: the mounted roots may still say something
    seen = {"", controller}
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:
            yield from ((folder, version_2) for folder in _upwards(mounted, path))
        elif controller in controllers.split(","):
            seen.add(controllers)
            for name in {controller, controllers}:
                yield from ((folder, version_1) for folder in _upwards(mounted / name, path))
    yield mounted, version_2
    yield from ((mounted / name, version_1) for name in seen if name)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    inside = PurePosixPath(path.lstrip("/"))
    for level in (inside, *inside.parents):
        if ".." not in level.parts:
            yield mount / level


def _quota_2(folder: Path) -> float | None:
    limit, period = (folder / "cpu.max").read_text().split()[:2]
    return None if limit == "max" else int(limit) / int(period)


def _quota_1(folder: Path) -> float | None:
    limit, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    return limit / period if limit > 0 else None


def _memory_2(folder: Path) -> float | None:
    limit = (folder / "memory.max").read_text().strip()
    return None if limit == "max" else int(limit)


def _memory_1(folder: Path) -> float | None:
    return int((folder / "memory.limit_in_bytes").read_text())
