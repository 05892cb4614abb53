"""Does the statistical core keep its promises, and at what price against naive methods? One run measures both.

Populations, of which n examples are drawn with replacement, so that their own accuracies are the truth:

* the shared selection tasks (real predictions of 30 or 67 models) and a synthetic family of 50 equally accurate
  variants; picked is the highest sample mean;
* the starter family (50 variants) under four conditions, on images that no variant and no profile has seen. Picked is
  by the profile-calibrated prior, fitted without the condition's corruption family; or by requirements on a slice of
  the user's images and on the stress profile, which about a third of the variants truly meet.

For each population and n:

* set: how often it keeps the truly best variant (of those that meet the requirements), and its mean size; beside it
  exact McNemar tests with Bonferroni correction (j leaves if any k beats it at one-sided alpha / (M - 1)), and on the
  first few draws the model confidence set of the package `arch` (iid bootstrap, both of its methods);
* accuracy of the pick: coverage, width; beside it the naive Wilson interval of the pick;
* gains: coverage of the worst covered baseline; beside it the naive normal interval over the family mean;
* P(within one point of the best): mean stated probability and the share that was within; the same among the runs that
  state at least .9. Under requirements: of the best among the candidates. Also over all populations with one rule, and
  how often a population's runs state .9 and are wrong: a pick that the prior or the requirements fix may lie just
  beyond one point in nearly every run of a population, and then the few runs that are sure are nearly all wrong.

Run: OMP_NUM_THREADS=1 python bench/promises.py [--quick] [--jobs 2] [--out results.json] [--docs page.md]
     python bench/promises.py --read results.json [--docs page.md]
The prior and the requirements need predictions of the starter family: python bench/seed_tasks.py computes them once.

The exit status is 1 if any of this fails, each at one-sided binomial p < .001: coverage of set, accuracy and gains
>= .95; requirements called wrongly in at most alpha / 2 of the runs; within one point in >= .87 of a task's runs that
state >= .9 (not under requirements, where users are told no such thing), and stated wrongly in at most .1 of all
runs. Or if the set is larger than McNemar's on average in any cell, or if the intervals of the accuracy are more than
1.5 x as wide as the naive ones on average over all cells.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from common import SHARED, cannot_run
from docs import replace_between
from numpy.typing import NDArray
from scipy import stats

from seedzoo.selection import (
    FAMILY_MEAN,
    Choice,
    Prior,
    ProfileCounts,
    Signature,
    Status,
    accuracy_scores,
    choose,
    choose_with_requirements,
    wilson,
)

# With numba beside it arch would load that too, which takes this very file for the package `coverage`.
os.environ.setdefault("ARCH_DISABLE_NUMBA", "1")
try:
    from arch.bootstrap import MCS
except ImportError:  # the group "bench" is not installed: the columns say so
    MCS = None

Scores = NDArray[np.bool_]
ALPHA, DELTA = 0.05, 0.01
SIZES = (100, 200, 1000)
TASKS = ("cifar101_original", "cifar101_v4", "cifar101_v6", "imagenetv2-b-33")
CONDITIONS = ("pixelate-1", "phone-photo-1", "gaussian-blur-2", "brightness-2")
# Shirts, pullovers and coats, which are hard to tell apart; and a condition that the profile must vouch for.
SLICE, PROFILE = (2, 4, 6), "impulse-noise-2"
SURE, CALIBRATED, WIDEST, RARE = 0.9, 0.87, 1.5, 0.001
# Under requirements `zoo select` states no P(within delta): it is not calibrated there.
SILENT = "requirements"
DATA = SHARED / "selection-tasks"


@dataclass(frozen=True, kw_only=True)
class Draw:
    """n examples: scores [n, M], baseline scores by name, members of the slice [n], counts of the profile."""

    scores: Scores
    baselines: dict[str, Scores] = field(default_factory=dict)
    slices: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    profile: dict[str, ProfileCounts] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Population:
    """Where examples come from, what is true there, and how a variant is picked.

    Attributes:
        name: Shown in the table.
        rule: "mean", "prior" or "requirements".
        draw: Draws n examples.
        accuracy: [M] true accuracies.
        baselines: True accuracy of each drawn baseline.
        prior: With its signatures, for the rule "prior".
        requirements: For the rule "requirements".
        feasible: [R, M] which variant truly meets which of them.
    """

    name: str
    rule: str
    draw: Callable[[np.random.Generator, int], Draw]
    accuracy: NDArray[np.float64]
    baselines: dict[str, float] = field(default_factory=dict)
    prior: tuple[Prior, list[Signature]] | None = None
    requirements: tuple[str, ...] = ()
    feasible: NDArray[np.bool_] | None = None

    def decide(self, draw: Draw, *, reference: int, seed: int, n_boot: int) -> tuple[Choice, bool]:
        """The choice, and whether any requirement was called met or refuted wrongly."""
        prior, signatures = self.prior or (None, None)
        if self.feasible is None:
            choice = choose(
                draw.scores,
                alpha=ALPHA,
                delta=DELTA,
                prior=prior,
                signatures=signatures,
                baselines=draw.baselines,
                reference=reference,
                seed=seed,
                n_boot=n_boot,
            )
            return choice, False
        outcome = choose_with_requirements(
            draw.scores,
            self.requirements,
            slices=draw.slices,
            profile=draw.profile,
            alpha=ALPHA,
            delta=DELTA,
            baselines=draw.baselines,
            reference=reference,
            seed=seed,
            n_boot=n_boot,
        )
        wrong = any(
            status is (Status.REFUTED if meets else Status.MET)
            for entry, row in zip(outcome.table, self.feasible, strict=True)
            for status, meets in zip(entry.statuses, row, strict=True)
        )
        return outcome.choice, wrong


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Measured on one population at one n; rates over the repetitions. None: not measured."""

    task: str
    rule: str
    n: int
    repetitions: int
    set_kept: float
    set_size: float
    mcnemar_kept: float | None
    mcnemar_size: float | None
    arch_draws: int
    arch_sizes: dict[str, float]
    wrongly_called: float | None
    accuracy_covered: float
    naive_accuracy_covered: float
    width: float
    width_ratio: float
    gain_covered: dict[str, float]
    naive_gain_covered: float
    gain_width_ratio: float
    within_stated: float
    within_true: float
    sure_runs: int
    sure_true: float | None
    seconds: float

    @property
    def worst_gain(self) -> float:
        """Coverage of the gain over the baseline that is covered worst."""
        return min(self.gain_covered.values())

    @property
    def surely_wrong(self) -> float:
        """Share of all runs that state at least .9 and are not within one point."""
        return self.sure_runs * (1 - (self.sure_true or 0.0)) / self.repetitions

    @property
    def uncalibrated(self) -> bool:
        """Whether fewer of its sure runs are within one point than calibration allows, beyond chance."""
        return self.sure_true is not None and below(self.sure_true, CALIBRATED, self.sure_runs)

    @property
    def label(self) -> str:
        """Task and n, for messages."""
        return f"{self.task} ({self.rule}), n {self.n}"

    def shortfalls(self) -> list[str]:
        """Promises that are broken beyond chance."""
        rates = {"set": self.set_kept, "accuracy": self.accuracy_covered}
        rates |= {f"gain over {name}": rate for name, rate in self.gain_covered.items()}
        found = [
            f"{what} {rate:.4f} < {1 - ALPHA}"
            for what, rate in rates.items()
            if below(rate, 1 - ALPHA, self.repetitions)
        ]
        if self.wrongly_called is not None and below(1 - self.wrongly_called, 1 - ALPHA / 2, self.repetitions):
            found.append(f"requirements called wrongly in {self.wrongly_called:.4f} > {ALPHA / 2}")
        if below(1 - self.surely_wrong, SURE, self.repetitions):
            found.append(f"sure of one point but wrong in {self.surely_wrong:.4f} > {1 - SURE:.1f} of the runs")
        if self.mcnemar_size is not None and self.set_size > self.mcnemar_size:
            found.append(f"set size {self.set_size:.2f} > McNemar's {self.mcnemar_size:.2f}")
        return [f"{self.label}: {each}" for each in found]


def below(rate: float, nominal: float, runs: int) -> bool:
    """Whether a rate over so many runs falls short of nominal beyond chance."""
    return bool(stats.binom.cdf(round(rate * runs), runs, nominal) < RARE)


def sure_of(cells: list[Cell]) -> tuple[int, int]:
    """Over these cells: runs that state at least .9, and those of them that were within one point."""
    return sum(c.sure_runs for c in cells), sum(round(c.sure_runs * (c.sure_true or 0.0)) for c in cells)


def vote(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Scores:
    return np.array([np.bincount(row).argmax() for row in predicted]) == labels


def shared_task(name: str) -> Population:
    with np.load(DATA / f"{name}.npz") as data:
        predicted, labels = data["pred"].astype(np.int64), data["y"].astype(np.int64)
    scores, ensemble = accuracy_scores(predicted, labels), vote(predicted, labels)

    def draw(rng: np.random.Generator, n: int) -> Draw:
        rows = rng.integers(0, len(scores), n)
        return Draw(scores=scores[rows], baselines={"ensemble": ensemble[rows]})

    truth = {"ensemble": float(ensemble.mean())}
    return Population(name=name, rule="mean", draw=draw, accuracy=scores.mean(axis=0), baselines=truth)


def tied_family(variants: int = 50, accuracy: float = 0.9, shared: float = 0.9) -> Population:
    """Equally accurate variants that share a latent difficulty: any two disagree on 7 % of the examples."""
    threshold = stats.norm.ppf(accuracy)

    def draw(rng: np.random.Generator, n: int) -> Draw:
        common, own = rng.standard_normal((n, 1)), rng.standard_normal((n, variants))
        return Draw(scores=np.sqrt(shared) * common + np.sqrt(1 - shared) * own < threshold)

    return Population(name="tied seeds", rule="mean", draw=draw, accuracy=np.full(variants, accuracy))


def seed_populations() -> list[Population]:
    """The starter family under the conditions, picked by the prior and by requirements; none if not computed yet."""
    import prior  # noqa: PLC0415 - beside this file, and only needed here
    import seed_tasks  # noqa: PLC0415

    families = seed_tasks.available()
    if not {*CONDITIONS, PROFILE} <= set(families):
        return []
    profile = seed_tasks.load(PROFILE, "profile")
    stored = profile.predicted == profile.labels[:, None]
    populations = []
    for user in prior.users(families):
        if user.task.name not in CONDITIONS:
            continue
        scores, ensemble = user.scores, vote(user.task.predicted, user.task.labels)
        hard = np.isin(user.task.labels, SLICE)
        limits = np.quantile(scores[hard].mean(axis=0), 0.25), np.quantile(stored.mean(axis=0), 0.5)
        common = {
            "name": user.task.name,
            "accuracy": scores.mean(axis=0),
            "baselines": {"ensemble": float(ensemble.mean())},
            "draw": starter_draw(scores, ensemble, hard, stored),
        }
        populations.append(Population(rule="prior", prior=(user.prior, user.given), **common))
        populations.append(
            Population(
                rule="requirements",
                requirements=(f"accuracy[hard] >= {limits[0]:.6f}", f"profile[{PROFILE}] >= {limits[1]:.6f}"),
                feasible=np.stack(
                    [scores[hard].mean(axis=0) >= round(limits[0], 6), stored.mean(axis=0) >= round(limits[1], 6)]
                ),
                **common,
            )
        )
    return sorted(populations, key=lambda each: each.rule)


def starter_draw(
    scores: Scores, ensemble: Scores, hard: NDArray[np.bool_], stored: Scores
) -> Callable[[np.random.Generator, int], Draw]:
    def draw(rng: np.random.Generator, n: int) -> Draw:
        rows = rng.integers(0, len(scores), n)
        # The profile is a sample too: as many of its images, drawn anew.
        counts = stored[rng.integers(0, len(stored), len(stored))].sum(axis=0)
        return Draw(
            scores=scores[rows],
            baselines={"ensemble": ensemble[rows]},
            slices={"hard": hard[rows]},
            profile={PROFILE: ProfileCounts(correct=counts, n=len(stored))},
        )

    return draw


def mcnemar_bonferroni(scores: Scores) -> NDArray[np.bool_]:
    """[M] True for the variants that no other beats in an exact one-sided McNemar test at alpha / (M - 1)."""
    ones = scores.astype(np.float64)
    wins = ones.T @ (1 - ones)
    p_values = np.asarray(stats.binom.sf(wins - 1, wins + wins.T, 0.5))
    np.fill_diagonal(p_values, 1.0)
    return np.asarray(p_values.min(axis=0) > ALPHA / (scores.shape[1] - 1))


def arch_sizes(scores: Scores, *, seed: int, n_boot: int) -> dict[str, int]:
    """Sizes of the model confidence sets of `arch`; blocks of length 1 are the iid bootstrap.

    A noise of 1e-9 breaks exact ties: on two equal statistics arch 8.0 drops both variants of a pair, or fails.
    """
    losses = 1.0 - scores + 1e-9 * np.random.default_rng(seed).standard_normal(scores.shape)
    found = {}
    for method in ("max", "R"):
        test = MCS(losses, size=ALPHA, reps=n_boot, block_size=1, method=method, seed=seed)
        test.compute()
        found[method] = len(test.included)
    return found


def measure(population: Population, *, n: int, repetitions: int, n_boot: int, arch_draws: int) -> Cell:
    start = time.perf_counter()
    truth = population.accuracy
    allowed = np.full(truth.size, True) if population.feasible is None else population.feasible.all(axis=0)
    best = int(np.where(allowed, truth, -1.0).argmax())
    reference = int(np.argsort(truth)[truth.size // 2])
    levels = {FAMILY_MEAN: truth.mean(), "best_held_out": truth[reference], **population.baselines}
    compared = population.feasible is None
    rng = np.random.default_rng([n, zlib.crc32(f"{population.name} {population.rule}".encode())])
    rows: list[dict[str, float]] = []
    covered: list[dict[str, bool]] = []
    peers: list[dict[str, float]] = []
    for seed in range(repetitions):
        draw = population.draw(rng, n)
        choice, wrong = population.decide(draw, reference=reference, seed=seed, n_boot=n_boot)
        pick, interval = choice.best, choice.accuracy
        naive_low, naive_high = wilson(interval.estimate, n, alpha=ALPHA)
        mcnemar = mcnemar_bonferroni(draw.scores) if compared else np.ones(truth.size, dtype=np.bool_)
        over_mean = draw.scores[:, pick] - draw.scores.mean(axis=1)
        naive_half = float(stats.norm.isf(ALPHA / 2) * over_mean.std(ddof=1) / np.sqrt(n))
        gain = choice.gains[FAMILY_MEAN]
        goal = truth.max() if compared else truth[list(choice.candidates) or [pick]].max()
        rows.append(
            {
                "set_kept": best in choice.candidates,
                "set_size": len(choice.candidates),
                "mcnemar_kept": bool(mcnemar[best]),
                "mcnemar_size": int(mcnemar.sum()),
                "wrongly_called": wrong,
                "accuracy_covered": interval.low <= truth[pick] <= interval.high,
                "naive_accuracy_covered": bool(naive_low <= truth[pick] <= naive_high),
                "width": interval.high - interval.low,
                "width_ratio": (interval.high - interval.low) / float(naive_high - naive_low),
                "naive_gain_covered": abs(over_mean.mean() - (truth[pick] - truth.mean())) <= naive_half,
                "gain_width_ratio": (gain.high - gain.low) / (2 * naive_half),
                # Where no variant can meet the requirements nothing is stated.
                "within_stated": float(np.nan_to_num(choice.p_within)),
                "within_true": truth[pick] >= goal - DELTA - 1e-12,
            }
        )
        covered.append(
            {
                name: choice.gains[name].low - 1e-12 <= truth[pick] - level <= choice.gains[name].high + 1e-12
                for name, level in levels.items()
            }
        )
        if seed < arch_draws and compared and MCS is not None:
            peers.append({"ours": len(choice.candidates), **arch_sizes(draw.scores, seed=seed, n_boot=n_boot)})
    means: dict[str, float | None] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    missing = ("wrongly_called",) if compared else ("mcnemar_kept", "mcnemar_size")
    sure = [row["within_true"] for row in rows if row["within_stated"] >= SURE]
    return Cell(
        task=population.name,
        rule=population.rule,
        n=n,
        repetitions=repetitions,
        gain_covered={key: float(np.mean([row[key] for row in covered])) for key in covered[0]},
        arch_draws=len(peers),
        arch_sizes={key: float(np.mean([row[key] for row in peers])) for key in (peers[0] if peers else ())},
        sure_runs=len(sure),
        sure_true=float(np.mean(sure)) if sure else None,
        seconds=time.perf_counter() - start,
        **(means | dict.fromkeys(missing)),  # type: ignore[arg-type]
    )


def rows_of(lines: list[tuple[str, ...]]) -> str:
    separator = ("---", "---", *["--:"] * (len(lines[0]) - 2))
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], separator, *lines[1:]))


def set_table(cells: list[Cell]) -> str:
    lines: list[tuple[str, ...]] = [
        ("task", "picked by", "n", "keeps best", "size", "McNemar keeps", "size", "on the first draws", "arch max", "R")
    ]
    for c in cells:
        mcnemar = ("–", "–") if c.mcnemar_size is None else (f"{c.mcnemar_kept:.3f}", f"{c.mcnemar_size:.1f}")
        none = "–" if c.mcnemar_size is None else "not installed"
        arch = (f"{c.arch_sizes[key]:.1f}" if c.arch_sizes else none for key in ("ours", "max", "R"))
        lines.append((c.task, c.rule, str(c.n), f"{c.set_kept:.3f}", f"{c.set_size:.1f}", *mcnemar, *arch))
    return rows_of(lines)


def pick_table(cells: list[Cell]) -> str:
    lines: list[tuple[str, ...]] = [
        (
            "task",
            "picked by",
            "n",
            "accuracy covered (naive)",
            "width, points",
            "/ naive",
            "gain covered, worst baseline (naive, mean)",
            "width / naive",
            "P(within 1 pt) stated",
            "true",
            "runs that state ≥ .9",
            "true in",
        )
    ]
    for c in cells:
        lines.append(
            (
                c.task,
                c.rule,
                str(c.n),
                f"{c.accuracy_covered:.3f} ({c.naive_accuracy_covered:.3f})",
                f"{100 * c.width:.1f}",
                f"{c.width_ratio:.2f}",
                f"{c.worst_gain:.3f} ({c.naive_gain_covered:.3f})",
                f"{c.gain_width_ratio:.2f}",
                f"{c.within_stated:.2f}",
                f"{c.within_true:.2f}",
                str(c.sure_runs),
                "–" if c.sure_true is None else f"{c.sure_true:.3f}",
            )
        )
    return rows_of(lines)


def summary(cells: list[Cell]) -> list[str]:
    """What the tables amount to, one sentence each."""
    ratio = np.mean([c.width_ratio for c in cells])
    tests = [c for c in cells if c.mcnemar_size is not None]
    fewer = sum(c.set_size <= (c.mcnemar_size or 0.0) for c in tests)
    worst = min(cells, key=lambda c: c.accuracy_covered)
    gain = min(cells, key=lambda c: c.worst_gain)
    kept = min(cells, key=lambda c: c.set_kept)
    lines = [
        f"Intervals of the accuracy are {ratio:.2f} x as wide as the naive ones on average ({WIDEST} allowed).",
        f"Accuracy covered least: {worst.accuracy_covered:.3f} ({worst.label}).",
        f"Gain covered least: {gain.worst_gain:.3f} ({gain.label}).",
        f"Best variant kept least: {kept.set_kept:.3f} ({kept.label}).",
        f"The set is no larger than McNemar-Bonferroni's on {fewer} of {len(tests)} cells.",
    ]
    peers = [c for c in cells if c.arch_sizes]
    for method in ("max", "R") if peers else ():
        smaller = sum(c.arch_sizes["ours"] < c.arch_sizes[method] for c in peers)
        larger = sum(c.arch_sizes["ours"] > c.arch_sizes[method] for c in peers)
        lines.append(
            f"Smaller than arch's MCS ({method}) on {smaller} of {len(peers)} cells, larger on {larger} "
            f"(mean size on the first {peers[0].arch_draws} draws)."
        )
    if not peers:
        lines.append("The package arch is not installed: pip install --group bench.")
    wrong = [c.wrongly_called for c in cells if c.wrongly_called is not None]
    if wrong:
        lines.append(f"Requirements were called wrongly in {max(wrong):.4f} of the runs at most ({ALPHA / 2} allowed).")
    else:
        lines.append("Prior and requirements were left out: python bench/seed_tasks.py has not been run.")
    for rule in dict.fromkeys(c.rule for c in cells):
        count, right = sure_of([c for c in cells if c.rule == rule])
        if count:
            claim = "not told to users" if rule == SILENT else f"{CALIBRATED} required of every task"
            lines.append(
                f"P(within 1 point) ≥ {SURE}, picked by {rule}: stated in {count} runs, true in {right / count:.3f} "
                f"of them ({claim})."
            )
    own = [f"{c.label}: {c.sure_true:.3f} of {c.sure_runs}" for c in cells if c.uncalibrated]
    if own:
        lines.append(f"Significantly below {CALIBRATED} in a single row: {'; '.join(own)}.")
    wrong_sure = max(cells, key=lambda c: c.surely_wrong)
    lines.append(
        f"Stated ≥ {SURE} and wrong: in {wrong_sure.surely_wrong:.3f} of all runs at most ({wrong_sure.label}; "
        f"{1 - SURE:.1f} allowed)."
    )
    return lines


POPULATIONS: list[Population] = []


def job(task: tuple[int, int, int, int, int]) -> Cell:
    """Measure one cell; the populations were made before the processes forked."""
    which, n, repetitions, n_boot, arch_draws = task
    cell = measure(POPULATIONS[which], n=n, repetitions=repetitions, n_boot=n_boot, arch_draws=arch_draws)
    print(f"{cell.label}: {cell.seconds:.0f} s", file=sys.stderr, flush=True)
    return cell


def main() -> int:
    parser = argparse.ArgumentParser(description="Coverage of the statistical core against naive methods.")
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--arch-draws", type=int, default=50, help="draws per cell that arch's MCS is computed on")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--quick", action="store_true", help="few populations, 2 repetitions, 100 bootstrap draws; tells nothing"
    )
    parser.add_argument("--out", type=Path, help="write the cells as JSON here")
    parser.add_argument("--docs", type=Path, help="write the tables into this file, between its markers")
    parser.add_argument("--read", type=Path, help="measure nothing: tables and verdict of the cells in this file")
    arguments = parser.parse_args()
    if not (DATA.is_dir() or arguments.quick or arguments.read):
        cannot_run(f"no selection tasks in {DATA}")
    repetitions, n_boot, arch_draws = arguments.repetitions, arguments.n_boot, arguments.arch_draws
    if arguments.quick:
        repetitions, n_boot, arch_draws = 2, 100, 1
    if arguments.read:
        record = json.loads(arguments.read.read_text())
        return report([Cell(**cell) for cell in record["cells"]], arguments, note=record["note"])
    start = time.perf_counter()
    if arguments.quick:
        import seed_tasks  # noqa: PLC0415 - beside this file

        seed_tasks.use_quick_cache()
    real = () if arguments.quick else TASKS
    POPULATIONS.extend([*map(shared_task, real), tied_family(), *seed_populations()])
    sizes = SIZES[:1] if arguments.quick else SIZES
    tasks = [(which, n, repetitions, n_boot, arch_draws) for which in range(len(POPULATIONS)) for n in sizes]
    # The long ones first, so that no process idles at the end.
    order = sorted(range(len(tasks)), key=lambda at: -tasks[at][1] * POPULATIONS[tasks[at][0]].accuracy.size)
    with ProcessPoolExecutor(max_workers=arguments.jobs) as pool:
        found = dict(zip(order, pool.map(job, [tasks[at] for at in order]), strict=True))
    cells = [found[at] for at in range(len(tasks))]
    minutes = (time.perf_counter() - start) / 60
    note = (
        f"{repetitions} repetitions per row, {n_boot} bootstrap draws; {minutes:.0f} minutes in "
        f"{arguments.jobs} processes."
    )
    if arguments.out:
        record = {"alpha": ALPHA, "delta": DELTA, "note": note, "cells": [asdict(cell) for cell in cells]}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    return report(cells, arguments, note=note)


def report(cells: list[Cell], arguments: argparse.Namespace, *, note: str) -> int:
    """Print the tables, write them into the documentation, and say what falls short."""
    lines = summary(cells)
    print(set_table(cells), pick_table(cells), *lines, note, sep="\n\n")
    if arguments.docs:
        text = (
            f"{note}\n\n"
            + "\n".join(f"- {line}" for line in lines)
            + f"\n\n**The set that holds the best variant**\n\n{set_table(cells)}"
            + f"\n\n**What is said of the recommended variant**\n\n{pick_table(cells)}"
        )
        replace_between(arguments.docs, "bench/promises.py", text)
    failures = [line for cell in cells for line in cell.shortfalls()]
    for task, rule in dict.fromkeys((cell.task, cell.rule) for cell in cells if cell.rule != SILENT):
        count, right = sure_of([cell for cell in cells if (cell.task, cell.rule) == (task, rule)])
        if count and below(right / count, CALIBRATED, count):
            failures.append(f"{task} ({rule}): within one point in {right} < {CALIBRATED} of {count} sure runs")
    if np.mean([cell.width_ratio for cell in cells]) > WIDEST:
        failures.append(f"intervals more than {WIDEST} x as wide as the naive ones")
    for line in failures:
        print(f"fails: {line}", file=sys.stderr)
    return 1 if failures and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
