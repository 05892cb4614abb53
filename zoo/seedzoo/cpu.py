"""How many cores this process may really use: affinity and the container's CPU quota, not the machine's count."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["usable_cores"]

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def usable_cores() -> int:
    """Cores for worker threads or processes, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _quota() -> float | None:
    """The cgroup's CPU quota in cores, or None where there is none."""
    try:
        if _CGROUP_V2.exists():
            limit, period = _CGROUP_V2.read_text().split()[:2]
            return None if limit == "max" else int(limit) / int(period)
        if all(path.exists() for path in _CGROUP_V1):
            limit_us, period_us = (int(path.read_text()) for path in _CGROUP_V1)
            return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError):
        return None  # unreadable accounting files mean no known quota
    return None
