"""Labels plus unlabelled images with the profile-calibrated prior, against the best sample mean.

The starter family under stress. The prior is fitted to the profile's images (0 to 1999) under the conditions of all
corruption families but the user's own; the user's images (8000 to 9999) are disjoint. n of them are labelled at
random; regret is in points behind the best variant on all 2,000. Arms, all picking inside the same kind of set:

* empirical: highest sample mean, no prior;
* n only: signatures of the n labelled images, with the exact class shares of their labels;
* pool: signatures of all 2,000 images, proportions estimated from the n labels;
* pool, given: the same with the true proportions.

Label shift: 1,000 images drawn with Dirichlet(.2) class shares, 100 labelled. Without proportions the prior must
refuse; "forced" shows what uniform proportions would have done.

Run: OMP_NUM_THREADS=1 python bench/prior.py [--quick] [--repetitions 8] [--out results.json]
The exit status is 1 if a requirement fails for an arm with an unlabelled pool: geometric mean of the
regret ratio at n <= 100 above .4, or a condition (mean over n <= 100) worse than 1.25 x at more than .3 points.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import seed_tasks
from numpy.typing import NDArray
from scipy import stats

from seedzoo.selection.choice import choose
from seedzoo.selection.prior import Prior, fit_prior, rank_unlabeled
from seedzoo.selection.signatures import Signature, estimated_proportions, signature

Floats = NDArray[np.float64]
SIZES = (10, 50, 100, 300)
ARMS = ("empirical", "n only", "pool", "pool, given")
SHIFT_ARMS = ("empirical", "none given", "forced", "from labels", "given")
CLASSES, DRAWS = 10, 400
# Regrets below this (points) are chance; it also keeps ratios finite.
FLOOR = 0.01


@dataclass(frozen=True, kw_only=True)
class User:
    """One condition on the user's part, and the prior that knows nothing of its corruption family."""

    task: seed_tasks.SeedTask
    scores: NDArray[np.bool_]
    prior: Prior
    given: list[Signature]


def shares(labels: NDArray[np.int64]) -> Floats:
    return np.bincount(labels, minlength=CLASSES) / labels.size


def signatures(probabilities: NDArray[np.float32], proportions: Floats | None) -> list[Signature]:
    return [signature(probabilities[:, m], proportions) for m in range(probabilities.shape[1])]


def users(families: dict[str, str]) -> list[User]:
    known = {}
    for name in families:
        task = seed_tasks.load(name, "profile")
        found = signatures(task.probabilities, shares(task.labels))
        accuracy = (task.predicted == task.labels[:, None]).mean(axis=0)
        known[name] = accuracy, np.array([(each.cot, each.nuclear) for each in found])
    everyone = []
    for name, family in families.items():
        others = [other for other, its in families.items() if its != family]
        prior = fit_prior(
            np.stack([known[other][0] for other in others], axis=1),
            np.stack([known[other][1] for other in others], axis=1),
        )
        task = seed_tasks.load(name, "user")
        everyone.append(
            User(
                task=task,
                scores=task.predicted == task.labels[:, None],
                prior=prior,
                given=signatures(task.probabilities, shares(task.labels)),
            )
        )
    return everyone


def pick(scores: NDArray[np.bool_], prior: Prior | None, found: list[Signature] | None, seed: int) -> int:
    return choose(scores, prior=prior, signatures=found, seed=seed, n_boot=DRAWS).best


def labelled(user: User, n: int, *, repetitions: int, pool_repetitions: int) -> dict[str, float]:
    """Mean regret of each arm, in points. The pool arm is slow, so it has fewer repetitions (its own baseline too)."""
    accuracy = user.scores.mean(axis=0)
    regrets: dict[str, list[float]] = {arm: [] for arm in (*ARMS, "empirical for pool")}
    rng = np.random.default_rng([n, 5])
    for repetition in range(repetitions):
        rows = rng.choice(len(user.scores), n, replace=False)
        scores, labels = user.scores[rows], user.task.labels[rows]
        proportions = estimated_proportions(labels, CLASSES)
        found: dict[str, list[Signature] | None] = {
            "empirical": None,
            "n only": signatures(user.task.probabilities[rows], shares(labels)),
            "pool, given": user.given,
        }
        if repetition < pool_repetitions:
            found["pool"] = signatures(user.task.probabilities, proportions)
        for arm, each in found.items():
            best = pick(scores, None if each is None else user.prior, each, repetition)
            regrets[arm].append(100 * float(accuracy.max() - accuracy[best]))
    regrets["empirical for pool"] = regrets["empirical"][:pool_repetitions]
    return {arm: float(np.mean(values)) for arm, values in regrets.items()}


def shifted(user: User, *, repetitions: int, n: int = 100, size: int = 1000) -> dict[str, float]:
    """Mean regret of each arm under label shift, in points."""
    regrets: dict[str, list[float]] = {arm: [] for arm in SHIFT_ARMS}
    rng = np.random.default_rng(6)
    for repetition in range(repetitions):
        wanted = rng.dirichlet(np.full(CLASSES, 0.2))
        weights = wanted[user.task.labels] / np.bincount(user.task.labels, minlength=CLASSES)[user.task.labels]
        rows = rng.choice(weights.size, size, p=weights / weights.sum())
        scores, labels, probabilities = user.scores[rows], user.task.labels[rows], user.task.probabilities[rows]
        accuracy = scores.mean(axis=0)
        found: dict[str, list[Signature] | None] = {
            "empirical": None,
            "none given": signatures(probabilities, None),
            "forced": signatures(probabilities, np.full(CLASSES, 1 / CLASSES)),
            "from labels": signatures(probabilities, estimated_proportions(labels[:n], CLASSES)),
            "given": signatures(probabilities, shares(labels)),
        }
        for arm, each in found.items():
            best = pick(scores[:n], None if each is None else user.prior, each, repetition)
            regrets[arm].append(100 * float(accuracy.max() - accuracy[best]))
    return {arm: float(np.mean(values)) for arm, values in regrets.items()}


def ratio(found: dict[str, float], arm: str) -> float:
    base = found["empirical for pool"] if arm == "pool" else found["empirical"]
    return (found[arm] + FLOOR) / (base + FLOOR)


def worse(found: dict[int, dict[str, float]], arm: str, sizes: list[int]) -> float:
    """Regret over these n relative to the empirical best's, or 0 where it is at most .3 points."""
    base = "empirical for pool" if arm == "pool" else "empirical"
    own, other = (float(np.mean([found[n][key] for n in sizes])) for key in (arm, base))
    return own / max(other, FLOOR) if own > 0.3 else 0.0


def geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def rows(lines: list[tuple[str, ...]]) -> str:
    separator = ("---", *["--:"] * (len(lines[0]) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], separator, *lines[1:]))


def report(
    free: dict[str, dict[str, float]],
    measured: dict[str, dict[int, dict[str, float]]],
    shift: dict[str, dict[str, float]],
) -> None:
    average = {key: float(np.mean([each[key] for each in free.values()])) for key in next(iter(free.values()))}
    print(
        f"\nWithout labels, proportions given, {len(free)} conditions: Spearman {average['spearman']:.2f} "
        f"(COT alone {average['spearman_cot']:.2f}), regret {average['regret']:.2f} points "
        f"(a random variant: {average['regret_of_mean']:.2f})"
    )
    print("\nMean regret in points, and geometric mean of its ratio to the empirical best\n")
    lines: list[tuple[str, ...]] = [("n", *ARMS)]
    for n in SIZES:
        cells = []
        for arm in ARMS:
            mean = np.mean([found[n][arm] for found in measured.values()])
            cells.append(f"{mean:.2f} ({geometric_mean([ratio(found[n], arm) for found in measured.values()]):.2f})")
        lines.append((str(n), *cells))
    print(rows(lines))
    few = [n for n in SIZES if n <= 100]
    print("\nPer condition, n <= 100: regret in points, empirical -> with prior\n")
    lines = [("condition", "empirical", *ARMS[1:])]
    for name, found in measured.items():
        means = [f"{np.mean([found[n][arm] for n in few]):.2f}" for arm in ARMS]
        lines.append((name, *means))
    print(rows(lines))
    print("\nLabel shift (Dirichlet .2), 100 labels: mean regret in points\n")
    lines = [SHIFT_ARMS, tuple(f"{np.mean([found[arm] for found in shift.values()]):.2f}" for arm in SHIFT_ARMS)]
    print(rows(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description="The profile-calibrated prior against the best sample mean.")
    parser.add_argument("--repetitions", type=int, default=8)
    parser.add_argument("--pool-repetitions", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="2 repetitions")
    parser.add_argument("--out", type=Path, help="write the regrets as JSON here")
    arguments = parser.parse_args()
    repetitions, pool = (2, 1) if arguments.quick else (arguments.repetitions, arguments.pool_repetitions)
    families = seed_tasks.available()
    if len(set(families.values())) < 3:
        sys.exit("fill the cache first: python bench/seed_tasks.py")
    start = time.perf_counter()
    everyone = users(families)

    free = {}
    for user in everyone:
        truth, expected = user.scores.mean(axis=0), rank_unlabeled(user.given, user.prior)
        cot = np.array([each.cot for each in user.given])
        free[user.task.name] = {
            "spearman": float(stats.spearmanr(expected, truth)[0]),
            "spearman_cot": float(stats.spearmanr(cot, truth)[0]),
            "regret": 100 * float(truth.max() - truth[expected.argmax()]),
            "regret_of_mean": 100 * float(truth.max() - truth.mean()),
        }
    measured = {
        user.task.name: {n: labelled(user, n, repetitions=repetitions, pool_repetitions=pool) for n in SIZES}
        for user in everyone
    }
    shift = {user.task.name: shifted(user, repetitions=max(1, pool)) for user in everyone}

    report(free, measured, shift)
    print(f"\n{repetitions} repetitions (pool: {pool}), {time.perf_counter() - start:.0f} s")

    failures = []
    few = [n for n in SIZES if n <= 100]
    for arm in ARMS[1:]:
        overall = geometric_mean([ratio(found[n], arm) for found in measured.values() for n in few])
        print(f"{arm}: geometric mean of the ratio at n <= 100: {overall:.3f} (required .4)")
        if arm != "n only" and overall > 0.4:
            failures.append(f"{arm}: ratio {overall:.3f} > .4")
        ratios = {name: worse(found, arm, few) for name, found in measured.items()}
        print(f"{arm}: worst condition {max(ratios, key=lambda name: ratios[name])}: {max(ratios.values()):.2f}")
        if arm != "n only":
            failures += [f"{arm}: {name} {value:.2f} x" for name, value in ratios.items() if value > 1.25]
    if any(found["none given"] != found["empirical"] for found in shift.values()):
        failures.append("the prior did not refuse assumed proportions")
    if arguments.out:
        record = {"unlabelled": free, "labelled": measured, "label_shift": shift}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for line in failures:
        print(f"below requirement: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
