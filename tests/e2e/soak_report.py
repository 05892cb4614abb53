"""What a soak test tells: every count as text, and the small table of the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["DONE", "SLOWEST", "markdown", "shown", "write_json"]

DONE = "selections done"
SLOWEST = "slowest answer, seconds"
_ROWS = (
    ("seconds under faults", "seconds under faults"),
    ("servers", "server processes on one SeaweedFS"),
    ("clients", "clients, each call through the next server"),
    ("servers killed", "servers killed (SIGKILL) and restarted"),
    ("servers stopped", "servers stopped (SIGTERM) and restarted"),
    ("store killed", "SeaweedFS killed (SIGKILL) and restarted"),
    ("publishes killed", "publishes killed (SIGKILL)"),
    ("publishes done", "publishes done"),
    ("selections asked", "selections asked"),
    (DONE, "of them done"),
    ("selections cancelled", "cancelled by their client"),
    ("selections deleted", "deleted with their dataset"),
    ("selections left open", "labellings that their client left open"),
    ("lost", "lost"),
    ("results compared", "results compared with the exact answer without faults"),
    ("wrong results", "wrong"),
    ("published variants read", "published variants read while it ran"),
    ("variants half visible", "half-visible variants"),
    ("datasets half visible", "half-visible datasets"),
    ("temporary files left", "temporary files left"),
    (SLOWEST, "slowest answer, in seconds"),
)
"""Keys of the counts and what the documentation calls them; a key that is not there counts as 0."""


def shown(table: Mapping[str, float], problems: Sequence[str]) -> str:
    """The table as text, and the problems below it."""
    width = max(map(len, table))
    rows = [f"{name:<{width}}  {value:>10g}" for name, value in table.items()]
    return "\n".join([*rows, *(f"WRONG: {problem}" for problem in problems)])


def markdown(runs: Sequence[tuple[int, Mapping[str, float], Sequence[str]]]) -> str:
    """A column for each run of (seed, table, problems)."""
    lines = ["| seed | " + " | ".join(str(seed) for seed, _, _ in runs) + " |", "|---|" + "---:|" * len(runs)]
    lines += [
        f"| {said} | " + " | ".join(f"{table.get(key, 0):g}" for _, table, _ in runs) + " |" for key, said in _ROWS
    ]
    lines.append("| anything else wrong | " + " | ".join(str(len(problems)) for _, _, problems in runs) + " |")
    return "\n".join(lines)


def write_json(path: Path, runs: Sequence[tuple[int, Mapping[str, float], Sequence[str]]]) -> None:
    """Everything that was counted."""
    found = [{"seed": seed, "counts": dict(table), "problems": list(problems)} for seed, table, problems in runs]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"runs": found}, indent=1) + "\n")
