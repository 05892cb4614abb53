"""Does `choose` keep its promises, and at what price against naive methods? One run measures both.

Populations are the shared selection tasks (real predictions of 30 or 67 models), of which n examples are
drawn with replacement, and a synthetic family of 50 equally accurate variants. For each n and population:

* set: how often the confidence set keeps the truly best variant, and its mean size; beside it the set of
  exact McNemar tests with Bonferroni correction (j leaves if any k beats it at one-sided alpha / (M - 1));
* accuracy of the pick: coverage and mean width; beside it the naive Wilson interval of the pick;
* gains: coverage of the worst covered baseline; beside it the naive normal interval over the family mean;
* P(within one point of the best): mean stated probability beside the share that was within.

Run: OMP_NUM_THREADS=1 python bench/coverage.py [--quick] [--out results.json]
The exit status is 1 if any promise falls short of nominal at one-sided binomial p < .001.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seedzoo.selection import FAMILY_MEAN, accuracy_scores, choose, wilson

Scores = NDArray[np.bool_]
ALPHA = 0.05
DELTA = 0.01
SIZES = (100, 300, 1000)
TASKS = ("cifar101_original", "cifar101_v4", "cifar101_v6", "imagenetv2-b-33")
MARK = "<!-- bench/coverage.py writes what follows -->"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "selection-tasks"


@dataclass(frozen=True, kw_only=True)
class Population:
    """Where examples come from, and what is true there.

    Attributes:
        name: Shown in the table.
        draw: Draws n examples: scores [n, M] and baseline scores by name.
        accuracy: [M] true accuracies.
        baselines: True accuracy of each drawn baseline.
    """

    name: str
    draw: Callable[[np.random.Generator, int], tuple[Scores, dict[str, Scores]]]
    accuracy: NDArray[np.float64]
    baselines: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Measured on one population at one n; rates over the repetitions."""

    task: str
    n: int
    repetitions: int
    set_kept: float
    set_size: float
    mcnemar_kept: float
    mcnemar_size: float
    accuracy_covered: float
    naive_accuracy_covered: float
    width_ratio: float
    gain_covered: dict[str, float]
    naive_gain_covered: float
    within_stated: float
    within_true: float

    @property
    def worst_gain(self) -> float:
        """Coverage of the gain over the baseline that is covered worst."""
        return min(self.gain_covered.values())

    def shortfalls(self) -> list[str]:
        """Promises that fall short of 1 - alpha beyond chance."""
        rates = {"set": self.set_kept, "accuracy": self.accuracy_covered}
        rates |= {f"gain over {name}": rate for name, rate in self.gain_covered.items()}
        limit = 0.001
        return [
            f"{self.task}, n {self.n}: {name} {rate:.3f}"
            for name, rate in rates.items()
            if stats.binom.cdf(round(rate * self.repetitions), self.repetitions, 1 - ALPHA) < limit
        ]


def load(name: str) -> Population:
    with np.load(DATA / f"{name}.npz") as data:
        predicted, labels = data["pred"].astype(np.int64), data["y"].astype(np.int64)
    scores = accuracy_scores(predicted, labels)
    vote = np.array([np.bincount(row).argmax() for row in predicted]) == labels

    def draw(rng: np.random.Generator, n: int) -> tuple[Scores, dict[str, Scores]]:
        rows = rng.integers(0, len(scores), n)
        return scores[rows], {"ensemble": vote[rows]}

    return Population(name=name, draw=draw, accuracy=scores.mean(axis=0), baselines={"ensemble": float(vote.mean())})


def tied_family(variants: int = 50, accuracy: float = 0.9, shared: float = 0.9) -> Population:
    """Equally accurate variants that share a latent difficulty: any two disagree on 7 % of the examples."""
    threshold = stats.norm.ppf(accuracy)

    def draw(rng: np.random.Generator, n: int) -> tuple[Scores, dict[str, Scores]]:
        common, own = rng.standard_normal((n, 1)), rng.standard_normal((n, variants))
        return np.sqrt(shared) * common + np.sqrt(1 - shared) * own < threshold, {}

    return Population(name="tied seeds", draw=draw, accuracy=np.full(variants, accuracy), baselines={})


def mcnemar_bonferroni(scores: Scores) -> NDArray[np.bool_]:
    """[M] True for the variants that no other beats in an exact one-sided McNemar test at alpha / (M - 1)."""
    ones = scores.astype(np.float64)
    wins = ones.T @ (1 - ones)
    p_values = np.asarray(stats.binom.sf(wins - 1, wins + wins.T, 0.5))
    np.fill_diagonal(p_values, 1.0)
    return np.asarray(p_values.min(axis=0) > ALPHA / (scores.shape[1] - 1))


def measure(population: Population, *, n: int, repetitions: int, n_boot: int) -> Cell:
    truth = population.accuracy
    best = int(truth.argmax())
    reference = int(np.argsort(truth)[truth.size // 2])
    rng = np.random.default_rng([n, truth.size])
    rows: list[dict[str, float]] = []
    covered: list[dict[str, bool]] = []
    for seed in range(repetitions):
        scores, baselines = population.draw(rng, n)
        choice = choose(
            scores,
            alpha=ALPHA,
            delta=DELTA,
            baselines=baselines,
            reference=reference,
            seed=seed,
            n_boot=n_boot,
        )
        pick, interval = choice.best, choice.accuracy
        naive_low, naive_high = wilson(interval.estimate, n, alpha=ALPHA)
        mcnemar = mcnemar_bonferroni(scores)
        over_mean = scores[:, pick] - scores.mean(axis=1)
        naive_half = stats.norm.isf(ALPHA / 2) * over_mean.std(ddof=1) / np.sqrt(n)
        true_gain = truth[pick] - truth.mean()
        rows.append(
            {
                "set_kept": best in choice.candidates,
                "set_size": len(choice.candidates),
                "mcnemar_kept": bool(mcnemar[best]),
                "mcnemar_size": int(mcnemar.sum()),
                "accuracy_covered": interval.low <= truth[pick] <= interval.high,
                "naive_accuracy_covered": bool(naive_low <= truth[pick] <= naive_high),
                "width_ratio": (interval.high - interval.low) / float(naive_high - naive_low),
                "naive_gain_covered": abs(over_mean.mean() - true_gain) <= naive_half,
                "within_stated": choice.p_within,
                "within_true": truth[pick] >= truth.max() - DELTA - 1e-12,
            }
        )
        levels = {FAMILY_MEAN: truth.mean(), "best_held_out": truth[reference], **population.baselines}
        covered.append(
            {
                name: choice.gains[name].low - 1e-12 <= truth[pick] - level <= choice.gains[name].high + 1e-12
                for name, level in levels.items()
            }
        )
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    gains = {key: float(np.mean([row[key] for row in covered])) for key in covered[0]}
    return Cell(task=population.name, n=n, repetitions=repetitions, gain_covered=gains, **means)


def table(cells: list[Cell]) -> str:
    head = (
        "task",
        "n",
        "set keeps best (McNemar)",
        "set size (McNemar)",
        "accuracy covered (naive)",
        "width / naive",
        "gain covered, worst baseline (naive, mean)",
        "P(within 1 pt) stated",
        "true",
    )
    rows = [head, ("---", *["--:"] * (len(head) - 1))]
    rows += [
        (
            c.task,
            str(c.n),
            f"{c.set_kept:.3f} ({c.mcnemar_kept:.3f})",
            f"{c.set_size:.1f} ({c.mcnemar_size:.1f})",
            f"{c.accuracy_covered:.3f} ({c.naive_accuracy_covered:.3f})",
            f"{c.width_ratio:.2f}",
            f"{c.worst_gain:.3f} ({c.naive_gain_covered:.3f})",
            f"{c.within_stated:.2f}",
            f"{c.within_true:.2f}",
        )
        for c in cells
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Coverage of the statistical core against naive methods.")
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="30 repetitions, 400 bootstrap draws")
    parser.add_argument("--out", type=Path, help="write the cells as JSON here")
    parser.add_argument("--docs", type=Path, help=f"replace what follows the line {MARK} of this file by the table")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no selection tasks at {DATA}")
    repetitions, n_boot = (30, 400) if arguments.quick else (arguments.repetitions, arguments.n_boot)
    start = time.perf_counter()
    cells = [
        measure(population, n=n, repetitions=repetitions, n_boot=n_boot)
        for population in (*map(load, TASKS), tied_family())
        for n in SIZES
    ]
    seconds = time.perf_counter() - start
    print(table(cells))
    print(f"\n{repetitions} repetitions, {n_boot} draws, alpha {ALPHA}, {seconds:.0f} s")
    if arguments.out:
        record = {"alpha": ALPHA, "delta": DELTA, "n_boot": n_boot, "cells": [asdict(cell) for cell in cells]}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.docs:
        kept = arguments.docs.read_text().partition(MARK)[0]
        arguments.docs.write_text(f"{kept}{MARK}\n\n{table(cells)}\n\n{repetitions} repetitions, {n_boot} draws.\n")
    shortfalls = [line for cell in cells for line in cell.shortfalls()]
    for line in shortfalls:
        print(f"below nominal: {line}", file=sys.stderr)
    return 1 if shortfalls else 0


if __name__ == "__main__":
    sys.exit(main())
