"""Every benchmark still runs: its --quick, in a process of its own, to its results and its table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {path.name: path for path in sorted((ROOT / "bench").glob("*.py")) if '"--quick"' in path.read_text()}
CANNOT_RUN = 77
LIMIT_S = 240
# What must be in the results of each script; a new one has to say it here.
KEYS = {
    "catalog.py": {"families", "connections", "publish_s", "starts_s", "idle_mib", "phases"},
    "corruptions.py": {"gaussian_noise", "jpeg_compression"},
    "decoding.py": {"28 x 28 PNG", "224 x 224 JPEG"},
    "end_to_end.py": {"images", "variants", "rounds", "conditions"},
    "engine.py": {"starter, 28 x 28 PNG", "tiny ResNet, 224 x 224 JPEG"},
    "few_labels.py": {"halves", "candidates_keep_best", "candidate_share", "ms_per_label"},
    "growth.py": {"variants", "images", "side", "memory, everything evaluated", "memory, race"},
    "paper.py": {"fashion-cnn", "fashion-cnn, few images"},
    "prior.py": {"unlabelled", "labelled", "label_shift"},
    "promises.py": {"alpha", "delta", "note", "cells"},
    "race.py": {"alpha", "delta", "block", "cells"},
    "race_engine.py": {"engine", "replay"},
    "scaling.py": {"measured", "overhead", "costs", "serialisation", "validation", "plan"},
    "seed_tasks.py": {"pixelate-1"},
    "transfer.py": {"upload", "download", "memory"},
}
# The markers of a script's tables are called after it, with these words behind.
TABLES = {
    "paper.py": (" findings", " ensemble", " families"),
    "transfer.py": ("", " memory"),
}
UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts keep predictions and models for one another, empty at first."""
    return tmp_path_factory.mktemp("built")


def run(name: str, kept: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "SEEDZOO_BENCH_BUILT": str(kept),
        "HTTPS_PROXY": UNREACHABLE,
        "PIP_NO_INDEX": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(SCRIPTS[name]), "--quick", *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, check=False, text=True, timeout=LIMIT_S
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(name: str, kept: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "results.json", tmp_path / "page.md"
    options = ["--out", str(out)]
    tables = TABLES.get(name, ("",)) if '"--docs"' in SCRIPTS[name].read_text() else ()
    markers = [f"bench/{name}{words}" for words in tables]
    if name == "paper.py":
        markers.append("bench/paper.py anchors")  # filled only where published results lie beside the repository
    if markers:
        page.write_text("".join(f"<!-- {marker} -->\n\n<!-- /{marker} -->\n" for marker in markers))
        options += ["--docs", str(page)]
    ran = run(name, kept, *options)
    if ran.returncode == CANNOT_RUN:
        told = ran.stderr.strip().splitlines()[-1]
        assert told.startswith("cannot run here: ")
        pytest.skip(told)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert KEYS[name] <= set(json.loads(out.read_text()))
    for marker in markers[: len(tables)]:
        table = re.search(f"<!-- {re.escape(marker)} -->(.*)<!-- /{re.escape(marker)} -->", page.read_text(), re.DOTALL)
        assert table is not None
        assert re.search(r"^\|[-:|\s]+\|$", table[1], re.MULTILINE), f"no table for {marker}"
    assert not list(kept.glob("*.json")), "a quick run wrote where the results of full runs lie"


def test_what_is_missing_is_said_in_one_line() -> None:
    """A script that lacks something ends with a status of its own, which no failure has."""
    code = "import common; common.require('no_such_package', install=\"'.[none]'\")"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT / "bench", capture_output=True, check=False, text=True, timeout=LIMIT_S)
    assert ran.returncode == CANNOT_RUN
    assert ran.stderr == "cannot run here: no no_such_package: pip install '.[none]'\n"
