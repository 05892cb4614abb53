"""What the terminal shows of workers that have done their work: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from tests.unit.executors.executor_jobs import hold_a_lock
from seedzoo.executors import Job, LocalExecutor, Setup

if __name__ == "__main__":
    with LocalExecutor(cpus=1).run([Job("only", hold_a_lock)], setup=Setup(int)) as results:
        print([finished.name for finished in results])
"""


def test_workers_with_semaphores_end_without_a_word(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(root), "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "['only']\n", "")
