"""How much does racing save, and does it keep the best? One run measures the race and its rivals side by side.

Tasks are the shared selection tasks (30 or 67 models) and seed tasks: the 50 variants of the starter family on the
10,000 Fashion-MNIST test images under a stress condition, six mild and eight stronger ones, chosen before any race
was run, though with the spread of the variants' accuracies in view. What each variant gets right is computed once
and kept in build/bench. A task is a population; n examples are drawn from it with replacement and raced in blocks of
50 at alpha .05. The race was tuned on the tasks marked "tuning" only; the tails of the prior behind `fast` too, though
after its rates with normal tails had been seen on both halves.

Rules, all on the same draws (ratio = evaluations / (n M), kept = the truly best was still in play at the end):

* race: `seedzoo.selection.Race`;
* averaged: the averaged e-process over rivals and stakes, frozen on drops, which the race set out to beat;
* leader: stakes on the current leader only;
* Hoeffding, Bernstein: paired differences, bounds at level alpha / ((M - 1) looks) (Maron & Moore 1994; Mnih,
  Szepesvari, Audibert 2008);
* halving: successive halving, ceil(log2 M) equal rounds (Karnin, Koren, Somekh 2013), no guarantee;
* fast: the race stopped when `Race.p_within` reaches .95; of the runs that it stopped, the share within one point.

Exhaustive evaluation has ratio 1. The reserve columns say how often the plain Wilson interval of the raced pick, and
its gain over the family mean, from 500 reserved examples cover the truth.

Run: OMP_NUM_THREADS=1 python bench/race.py [--quick] [--out results.json] [--table results.md] [--docs docs/...]
Exit status 1 if the race keeps the best in fewer than 95 % of runs on any task, or a reserve interval covers less,
at one-sided binomial p < .001, or if it is not below the averaged e-process at some n on the held-out tasks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from common import BUILT as CACHE
from common import SHARED as SHARED_DATA
from common import test_images, test_labels
from docs import replace_between
from numpy.typing import NDArray
from scipy import special, stats

from seedzoo.selection import FAMILY_MEAN, accuracy_scores
from seedzoo.selection.race import FAST_LEVEL, Race

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

ALPHA, DELTA, BLOCK, RESERVE = 0.05, 0.01, 50, 500
FAST_OFFERED = 0.93
SIZES = {1000: 100, 5000: 40}  # examples: repetitions
QUICK_IMAGES = 150
SHARED = SHARED_DATA / "selection-tasks"
TUNING_SHARED = ("cifar101_v4", "imagenetv2-b-33")
HELD_OUT_SHARED = ("cifar101_original", "cifar101_v6")
TUNING_SEED = ("id", "pixelate-1", "occlusion-1", "rotation-1", "brightness-2", "gaussian-noise-2", "pixelate-3")
HELD_OUT_SEED = (
    "jpeg-1", "brightness-1", "translation-1", "zoom-out-2", "contrast-2", "gaussian-blur-2", "phone-photo-2",
)  # fmt: skip
STAKES: Floats = 2 * np.linspace(0.5, 1.0, 12)[1:-1] - 1
LIMIT = -math.log(ALPHA)


# --- tasks ---------------------------------------------------------------------------------------------------


def shared_task(name: str) -> Bools:
    with np.load(SHARED / f"{name}.npz") as data:
        return accuracy_scores(data["pred"], data["y"])


def seed_tasks(names: tuple[str, ...]) -> Iterator[tuple[str, Bools]]:
    """Correctness [10000, 50] under each condition, from the cache or computed."""
    missing = [name for name in names if not (CACHE / f"fashion-cnn-{name}.npz").exists()]
    if missing:
        compute_seed_tasks(missing)
    for name in names:
        with np.load(CACHE / f"fashion-cnn-{name}.npz") as data:
            yield name, np.asarray(data["correct"], dtype=np.bool_)


def seed_task(name: str, n_images: int) -> Bools:
    """Correctness [n images, 50] under a condition, computed anew."""
    return next(_computed([name], n_images))[1]


def compute_seed_tasks(names: list[str]) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, correct in _computed(names, None):
        np.savez_compressed(CACHE / f"fashion-cnn-{name}.npz", correct=correct)
        print(f"computed {name}", file=sys.stderr)


def _computed(names: list[str], n_images: int | None) -> Iterator[tuple[str, Bools]]:
    from seedzoo.inference import Evaluator  # noqa: PLC0415 - needs onnxruntime, the benchmark itself does not
    from seedzoo.inference.session import Model  # noqa: PLC0415
    from seedzoo.starter import starter_bundle  # noqa: PLC0415
    from seedzoo.stress import get_condition  # noqa: PLC0415

    images, labels = test_images()[:n_images], test_labels()[:n_images]
    files = sorted((starter_bundle() / "models").glob("*.onnx"))
    with Evaluator([lambda path=path: Model(path.read_bytes(), name=path.stem) for path in files]) as evaluator:
        for name in names:
            changed = get_condition(name).apply(images, np.arange(len(images)))
            yield name, evaluator.run(changed, labels).predicted == labels[:, np.newaxis]


# --- rivals of the race --------------------------------------------------------------------------------------


class Rival:
    """A rule that drops variants block by block; what all rules share."""

    def __init__(self, variants: int, looks: int) -> None:
        self.alive = np.arange(variants)
        self.variants, self.looks, self.n = variants, looks, 0
        self.sums = np.zeros(variants)

    def update(self, block: Floats) -> None:
        """Show the next block [b, alive]."""
        kept = self.keep(block)
        self.n += len(block)
        self.sums[self.alive] += block.sum(axis=0)
        if not kept.any():
            kept[self.sums[self.alive].argmax()] = True
        self.alive = self.alive[kept]

    def keep(self, block: Floats) -> Bools:
        """[alive] who stays after this block; ``n`` and ``sums`` do not hold it yet."""
        raise NotImplementedError


class Averaged(Rival):
    """Averaged e-process of statistics.md in log space."""

    def __init__(self, variants: int, looks: int) -> None:
        super().__init__(variants, looks)
        self.wealth = np.zeros((STAKES.size, variants, variants))

    def keep(self, block: Floats) -> Bools:
        wins = block.T @ (1 - block)
        gain = np.log1p(STAKES)[:, None, None] * wins + np.log1p(-STAKES)[:, None, None] * wins.T
        self.wealth[:, self.alive[:, None], self.alive] += gain
        pairs = special.logsumexp(self.wealth, axis=0) - np.log(STAKES.size)
        np.fill_diagonal(pairs, -np.inf)
        e_values = special.logsumexp(pairs, axis=0) - np.log(self.variants - 1)
        return np.asarray(e_values[self.alive] < LIMIT)


class Leader(Rival):
    """Stakes on the variant with the highest mean so far (tied leaders share)."""

    def __init__(self, variants: int, looks: int) -> None:
        super().__init__(variants, looks)
        self.wealth = np.full((STAKES.size, variants), -np.log(STAKES.size))

    def keep(self, block: Floats) -> Bools:
        sums = self.sums[self.alive]
        weights = (sums == sums.max()).astype(np.float64)
        differences = (block @ weights / weights.sum())[:, None] - block
        gain = np.log1p(STAKES[:, None, None] * differences).sum(axis=1)
        self.wealth[:, self.alive] += gain
        return np.asarray(special.logsumexp(self.wealth[:, self.alive], axis=0) < LIMIT)


class Bound(Rival):
    """Fixed concentration bounds on paired differences, union over rivals and looks."""

    def __init__(self, variants: int, looks: int) -> None:
        super().__init__(variants, looks)
        self.cross = np.zeros((variants, variants))

    def keep(self, block: Floats) -> Bools:
        rows = self.alive[:, None], self.alive
        self.cross[rows] += block.T @ block
        n = self.n + len(block)
        mean = (self.sums[self.alive] + block.sum(axis=0)) / n
        cross = self.cross[rows] / n
        gaps = mean[:, None] - mean
        variance = np.maximum(np.diagonal(cross)[:, None] + np.diagonal(cross) - 2 * cross - gaps**2, 0)
        return np.asarray((gaps <= self.radius(variance, n)).all(axis=0))

    def radius(self, variance: Floats, n: int) -> Floats:
        """[alive, alive] how far a mean difference may stray."""
        raise NotImplementedError


class Hoeffding(Bound):
    """Differences range over 2."""

    def radius(self, variance: Floats, n: int) -> Floats:
        return np.full_like(variance, np.sqrt(2 * np.log((self.variants - 1) * self.looks / ALPHA) / n))


class Bernstein(Bound):
    """Empirical Bernstein bound of Audibert, Munos, Szepesvari (2009)."""

    def radius(self, variance: Floats, n: int) -> Floats:
        log = np.log(3 * (self.variants - 1) * self.looks / ALPHA)
        return np.asarray(np.sqrt(2 * variance * log / n) + 6 * log / n)


class Halving(Rival):
    """Successive halving in ceil(log2 M) rounds of about equal numbers of examples."""

    def keep(self, block: Floats) -> Bools:
        rounds = math.ceil(math.log2(self.variants))
        look = self.n // BLOCK
        kept = np.ones(self.alive.size, dtype=np.bool_)
        if look * rounds // self.looks != (look + 1) * rounds // self.looks:
            sums = self.sums[self.alive] + block.sum(axis=0)
            kept[np.argsort(-sums, kind="stable")[math.ceil(kept.size / 2) :]] = False
        return kept


RIVALS: dict[str, Callable[[int, int], Rival]] = {
    "averaged": Averaged,
    "leader": Leader,
    "Hoeffding": Hoeffding,
    "Bernstein": Bernstein,
    "halving": Halving,
}


# --- measurement ---------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What one rule did on one task, a value per repetition."""

    ratio: list[float] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    within: list[bool] = field(default_factory=list)

    def add(self, *, ratio: float, kept: bool, shortfall: float) -> None:
        """One more repetition."""
        self.ratio.append(ratio)
        self.kept.append(kept)
        self.within.append(shortfall <= DELTA + 1e-12)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One task at one n: means over the repetitions, by rule."""

    task: str
    half: str
    n: int
    repetitions: int
    ratio: dict[str, float]
    kept: dict[str, float]
    within: dict[str, float]
    stopped_fast: float
    within_if_stopped: float
    accuracy_covered: float
    gain_covered: float
    seconds: float


def measure(name: str, half: str, scores: Bools, *, n: int, repetitions: int) -> Cell:
    truth = scores.mean(axis=0)
    best = np.flatnonzero(truth >= truth.max() - 1e-12)
    variants, looks = truth.size, math.ceil(n / BLOCK)
    tallies = {rule: Tally() for rule in ("race", "fast", *RIVALS)}
    stopped: list[bool] = []
    covered: list[tuple[bool, bool]] = []
    seconds = 0.0
    for repetition in range(repetitions):
        rng = np.random.default_rng([n, variants, repetition])
        sample = scores[rng.integers(0, len(scores), n)].astype(np.float64)
        reserve = scores[rng.integers(0, len(scores), RESERVE)]
        blocks = [sample[start : start + BLOCK] for start in range(0, n, BLOCK)]

        race = Race(variants, alpha=ALPHA, seed=repetition)
        fast: tuple[float, bool, float] | None = None
        for block in blocks:
            if race.decided:
                break
            start = time.perf_counter()
            race.update(block[:, race.alive_ids])
            seconds += time.perf_counter() - start
            if fast is None and race.p_within(DELTA) >= FAST_LEVEL:
                fast = _state(race, n * variants, truth, best)
        end = _state(race, n * variants, truth, best)
        stopped.append(fast is not None)
        for rule, (ratio, kept, shortfall) in (("race", end), ("fast", fast or end)):
            tallies[rule].add(ratio=ratio, kept=kept, shortfall=shortfall)
        choice = race.choice(DELTA, reserve=reserve)
        accuracy, gain = choice.accuracy, choice.gains[FAMILY_MEAN]
        true_gain = truth[choice.best] - truth.mean()
        covered.append((accuracy.low <= truth[choice.best] <= accuracy.high, gain.low <= true_gain <= gain.high))

        for rule, make in RIVALS.items():
            rival, evaluations = make(variants, looks), 0
            for block in blocks:
                if rival.alive.size == 1:
                    break
                evaluations += len(block) * rival.alive.size
                rival.update(block[:, rival.alive])
            pick = rival.alive[rival.sums[rival.alive].argmax()]
            tallies[rule].add(
                ratio=evaluations / (n * variants),
                kept=bool(np.isin(best, rival.alive).any()),
                shortfall=float(truth.max() - truth[pick]),
            )
    quick = [ok for ok, stop in zip(tallies["fast"].within, stopped, strict=True) if stop]
    rates = np.mean(covered, axis=0)
    return Cell(
        task=name,
        half=half,
        n=n,
        repetitions=repetitions,
        ratio={rule: float(np.mean(tally.ratio)) for rule, tally in tallies.items()},
        kept={rule: float(np.mean(tally.kept)) for rule, tally in tallies.items()},
        within={rule: float(np.mean(tally.within)) for rule, tally in tallies.items()},
        stopped_fast=float(np.mean(stopped)),
        within_if_stopped=float(np.mean(quick)) if quick else math.nan,
        accuracy_covered=float(rates[0]),
        gain_covered=float(rates[1]),
        seconds=seconds / repetitions,
    )


def _state(race: Race, everything: int, truth: Floats, best: NDArray[np.intp]) -> tuple[float, bool, float]:
    pick = race.leader
    kept = bool(np.isin(best, race.alive_ids).any())
    return race.evaluations / everything, kept, float(truth.max() - truth[pick])


# --- report --------------------------------------------------------------------------------------------------


def table(cells: list[Cell]) -> str:
    rules = ("race", "averaged", "leader", "Hoeffding", "Bernstein", "halving", "fast")
    lines: list[str] = []
    for n in sorted({cell.n for cell in cells}):
        rows = [cell for cell in cells if cell.n == n]
        lines += [
            "",
            f"n = {n}: evaluations as a share of all (best kept; for fast: within one point, of the runs it stopped)",
            "",
            f"| task | half | {' | '.join(rules)} | fast stops | reserve covers accuracy, gain | s per race |",
            f"|---|---|{'--:|' * (len(rules) + 3)}",
        ]
        for cell in rows:
            shown = [f"{cell.ratio[r]:.3f} ({rate([cell], r):.2f})" for r in rules]
            lines.append(
                f"| {cell.task} | {cell.half} | {' | '.join(shown)} | {cell.stopped_fast:.2f} | "
                f"{cell.accuracy_covered:.2f}, {cell.gain_covered:.2f} | {cell.seconds:.2f} |"
            )
        for half in ("tuning", "held out", "all"):
            part = [cell for cell in rows if half in (cell.half, "all")]
            if not part:
                continue
            shown = []
            for rule in rules:
                ratio = np.mean([cell.ratio[rule] for cell in part])
                shown.append(f"**{ratio:.3f}** ({rate(part, rule):.3f})")
            lines.append(
                f"| **mean of {len(part)}** | **{half}** | {' | '.join(shown)} | "
                f"{np.mean([cell.stopped_fast for cell in part]):.2f} | "
                f"{np.mean([cell.accuracy_covered for cell in part]):.3f}, "
                f"{np.mean([cell.gain_covered for cell in part]):.3f} | "
                f"{np.mean([cell.seconds for cell in part]):.2f} |"
            )
    return "\n".join(lines[1:])


def summary(cells: list[Cell]) -> str:
    """The means over tasks, and on which tasks `fast` falls short."""
    rules = ("race", "averaged", "leader", "Hoeffding", "Bernstein", "halving", "fast")
    lines = [f"| n | tasks | {' | '.join(rules)} |", f"|--:|---|{'--:|' * len(rules)}"]
    for n in sorted({cell.n for cell in cells}):
        for half in ("tuning", "held out", "all"):
            part = [cell for cell in cells if cell.n == n and half in (cell.half, "all")]
            if part:
                shown = [f"{np.mean([c.ratio[r] for c in part]):.2f} ({rate(part, r):.2f})" for r in rules]
                lines.append(f"| {n:,} | {half} ({len(part)}) | {' | '.join(shown)} |")
    repetitions = ", ".join(sorted({f"{cell.repetitions} at n = {cell.n:,}" for cell in cells}))
    kept = min(cell.kept["race"] for cell in cells)
    covered = [np.mean([getattr(c, name) for c in cells]) for name in ("accuracy_covered", "gain_covered")]
    return (
        "Evaluations as a share of all, averaged over tasks (in brackets: runs that kept the truly best variant; for "
        "fast the runs within one point, of those it stopped). Variants drop out of the race by betting on the "
        "differences; beside it an averaged e-process, betting on the leader, races with Hoeffding's and empirical "
        "Bernstein bounds, and successive halving, which promises nothing.\n\n"
        + "\n".join(lines)
        + f"\n\nRepetitions per task: {repetitions}. On the worst task the race kept the best in {kept:.2f} of the "
        f"runs. Intervals from the reserve covered the accuracy in {covered[0]:.3f} and the gain in {covered[1]:.3f} "
        f"of all runs. Fast is below {FAST_OFFERED} within one point on: {', '.join(_loose(cells)) or 'no task'}."
    )


def _loose(cells: list[Cell]) -> list[str]:
    return [f"{c.task} (n {c.n}: {rate([c], 'fast'):.2f})" for c in cells if rate([c], "fast") < FAST_OFFERED]


def rate(cells: list[Cell], rule: str) -> float:
    """Share of runs that kept the best; of those that fast stopped, the share within one point."""
    if rule != "fast":
        return float(np.mean([cell.kept[rule] for cell in cells]))
    stopped = [cell for cell in cells if cell.stopped_fast > 0]
    if not stopped:
        return math.nan
    weights = [cell.stopped_fast for cell in stopped]
    return float(np.average([cell.within_if_stopped for cell in stopped], weights=weights))


def shortfalls(cells: list[Cell]) -> list[str]:
    found = []
    for cell in cells:
        rates = {"race keeps the best": cell.kept["race"], "reserve accuracy": cell.accuracy_covered}
        rates["reserve gain"] = cell.gain_covered
        for what, rate in rates.items():
            if stats.binom.cdf(round(rate * cell.repetitions), cell.repetitions, 1 - ALPHA) < 0.001:
                found.append(f"{cell.task}, n {cell.n}: {what} {rate:.3f}")
    for n in {cell.n for cell in cells}:
        held = [cell for cell in cells if cell.n == n and cell.half == "held out"]
        if held and np.mean([c.ratio["race"] for c in held]) >= np.mean([c.ratio["averaged"] for c in held]):
            found.append(f"n {n}: the race evaluates no less than the averaged e-process")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="The race against exhaustive evaluation and its rivals.")
    parser.add_argument("--quick", action="store_true", help="one task of each half, one repetition; tells nothing")
    parser.add_argument("--half", choices=("tuning", "held out"), help="only this half of the tasks")
    parser.add_argument("--out", type=Path, help="write the cells as JSON here")
    parser.add_argument("--table", type=Path, help="write the Markdown table here")
    parser.add_argument("--docs", type=Path, help="write the summary into this file, between its markers")
    arguments = parser.parse_args()
    cells = []
    start = time.perf_counter()
    halves = {"tuning": (TUNING_SHARED, TUNING_SEED), "held out": (HELD_OUT_SHARED, HELD_OUT_SEED)}
    for half, (shared, seeds) in halves.items():
        if arguments.half not in (None, half):
            continue
        if arguments.quick:
            tasks = [(seeds[0], seed_task(seeds[0], QUICK_IMAGES))]
        else:
            tasks = [(name, shared_task(name)) for name in shared if SHARED.is_dir()] + list(seed_tasks(seeds))
        for n, repetitions in SIZES.items():
            count = 1 if arguments.quick else repetitions
            cells += [measure(name, half, scores, n=n, repetitions=count) for name, scores in tasks]
    text = table(cells)
    print(text)
    print(f"\nalpha {ALPHA}, blocks of {BLOCK}, delta {DELTA}, {time.perf_counter() - start:.0f} s")
    print(f"fast is uncalibrated, below {FAST_OFFERED} within one point, on: {', '.join(_loose(cells)) or 'no task'}")
    if arguments.out:
        record = {"alpha": ALPHA, "delta": DELTA, "block": BLOCK, "cells": [asdict(cell) for cell in cells]}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.table:
        arguments.table.write_text(text + "\n")
    if arguments.docs:
        replace_between(arguments.docs, "bench/race.py", summary(cells))
    found = shortfalls(cells)
    for line in found:
        print(f"falls short: {line}", file=sys.stderr)
    return 1 if found and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
