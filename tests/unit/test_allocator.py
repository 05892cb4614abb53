"""Freed memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from seedzoo import allocator
from seedzoo.allocator import GivingBack

HOLES = """
from pathlib import Path
from seedzoo.allocator import give_back

def resident():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

kept, freed = [], []
for _ in range(2000):
    freed.append(bytearray(100_000))  # 200 MB in holes between what is kept
    kept.append(bytearray(1_000))
del freed
before = resident()
give_back()
print(before, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_holes_between_what_is_kept_go_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, check=True, text=True)
    before, after = map(float, done.stdout.split())
    assert before > 150
    assert after < before - 100


def test_each_time_that_so_much_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(allocator, "give_back", lambda: given.append(1))
    giving = GivingBack(100)
    counts = []
    for used in (60, 39, 1, 99, 500, 0):
        giving.used(used)
        counts.append(len(given))
    assert counts == [0, 0, 1, 1, 2, 2]
