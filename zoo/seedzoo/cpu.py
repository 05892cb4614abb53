"""How many cores and how much memory this process may really use: affinity and the container's limits count."""

from __future__ import annotations

import math
import os

from seedzoo.cgroup import cpu_quota, memory_limit

__all__ = ["usable_cores", "usable_memory"]

_UNKNOWN_BYTES = 4 << 30


def usable_cores() -> int:
    """Cores for worker threads or processes, at least 1; a quota of 1.5 cores counts as 2."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def usable_memory() -> int:
    """Bytes: the machine's memory or the container's limit, whichever is less; 4 GiB where neither is known."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        physical = _UNKNOWN_BYTES
    limit = memory_limit()
    return physical if limit is None else min(physical, limit)
