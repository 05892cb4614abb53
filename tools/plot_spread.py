"""Draw docs/stress_spread.png from the starter family's stored profile: equal in distribution, far apart in the field.

python tools/plot_spread.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from seedzoo.starter import starter_bundle
from seedzoo.stress.table import read_profile

TARGET = Path(__file__).resolve().parent.parent / "docs" / "stress_spread.png"
SHOWN = 24


def main() -> None:
    profile = read_profile(starter_bundle() / "profile.parquet")
    values: dict[str, list[float]] = {}
    for row in profile.rows:
        values.setdefault(row.condition, []).append(100 * row.accuracy)
    spread = {name: float(np.std(points, ddof=1)) for name, points in values.items()}
    strongest = sorted((name for name in values if name != "id"), key=lambda name: -spread[name])[: SHOWN - 1]
    names = ["id", *strongest]
    figure, axes = plt.subplots(figsize=(9, 7.2), layout="constrained")
    for height, name in enumerate(reversed(names)):
        colour = "#c44e52" if name == "id" else "#4c72b0"
        axes.plot(values[name], np.full(len(values[name]), height), "|", color=colour, markersize=9, alpha=0.75)
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels([f"{'in distribution' if name == 'id' else name}  (sd {spread[name]:.2f})"
                          for name in reversed(names)])  # fmt: skip
    count = len(values["id"])
    axes.set_xlabel(f"accuracy in %, one mark for each of {count} variants that differ only in their seeds")
    axes.set_title(
        f"Fashion-MNIST, {profile.rows[0].n:,} test images: the {SHOWN - 1} of {len(values) - 1} stress conditions "
        "with the widest spread",
        fontsize=10,
    )
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(TARGET, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
