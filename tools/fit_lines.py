"""Fit the lines of effective robustness to the published grid of ImageNet models, and store them in the package.

The standard models are those that the grid's authors fit their lines to: of type STANDARD, without two that repeat a
ResNet-50 (names with "aws" or "batch64").

python tools/fit_lines.py robustness_top1s.csv model_types.json
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.stress.analysis.robustness import LogitLine, fit_line

TARGET = (
    Path(__file__).resolve().parents[1] / "zoo" / "seedzoo" / "stress" / "analysis" / "data" / "standard_lines.json"
)
SOURCE = (
    "Own least-squares fits over the standard models of the grid robustness_top1s.csv of imagenet-testbed"
    " (github.com/modestyachts/imagenet-testbed, MIT), the results of Taori et al. (2020)."
)
# Without ImageNet-A: its images were chosen because a ResNet-50 fails on them, so no line goes through standard models.
MATCHED = {
    "imagenet-r": "val-on-imagenet-r-classes",
    "imagenet-sketch": "val",
    "imagenet-vid-robust_pm0": "val-on-vid-robust-classes",
    "imagenet-vid-robust_pm10": "val-on-vid-robust-classes",
    "imagenetv2-matched-frequency": "val",
    "imagenetv2-matched-frequency-format-val": "val",
    "imagenetv2-threshold-0.7-format-val": "val",
    "imagenetv2-threshold0.7": "val",
    "imagenetv2-top-images-format-val": "val",
    "imagenetv2-topimages": "val",
    "objectnet-1.0-beta": "val-on-objectnet-classes",
    "ytbb-robust_pm0": "val-on-ytbb-robust-classes",
    "ytbb-robust_pm10": "val-on-ytbb-robust-classes",
}


def standard_columns(grid: Path, types: Path) -> dict[str, NDArray[np.float64]]:
    """Column of the grid -> accuracies (shares) of the standard models; NaN where the grid has none."""
    kinds = json.loads(types.read_text())
    with grid.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = [
        row
        for row in rows
        if kinds.get(row["model"]) == "STANDARD" and "aws" not in row["model"] and "batch64" not in row["model"]
    ]
    return {name: np.array([float(row[name] or "nan") / 100 for row in kept]) for name in kept[0] if name != "model"}


def fit(columns: dict[str, NDArray[np.float64]]) -> dict[str, tuple[str, LogitLine]]:
    return {name: (matched, fit_line(columns[matched], columns[name])) for name, matched in MATCHED.items()}


def main(grid: str, types: str) -> None:
    lines = {
        name: {"in_distribution": matched, **asdict(line)}
        for name, (matched, line) in fit(standard_columns(Path(grid), Path(types))).items()
    }
    TARGET.write_text(json.dumps({"source": SOURCE, "lines": lines}, indent=1) + "\n")
    for name, row in lines.items():
        print(f"{name:45} {row['slope']:7.3f} {row['intercept']:7.3f} r {row['r']:.3f}  {row['models']} models")


if __name__ == "__main__":
    main(*sys.argv[1:])
