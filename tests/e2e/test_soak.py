"""The soak test, short: three servers of which some are killed, four clients."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from tests.e2e.soak import soak
from tests.e2e.soak_report import shown

pytestmark = pytest.mark.seaweed


@pytest.mark.timeout(400)
def test_nothing_is_lost_while_servers_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 30))
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    table, problems = soak(tmp_path, seconds=10.0, seed=seed, clients=4, servers=3, store_faults=False, pause_s=2.0)
    told = shown(table, problems)
    sys.stdout.write(told + "\n")
    assert not problems, f"SOAK_SEED={seed}\n{told}"
    assert table["selections answered"] > 0, told
    assert table.get("servers killed", 0) + table.get("servers stopped", 0) > 0, told
