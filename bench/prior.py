"""Labels plus unlabelled images with the profile-calibrated prior, against the best sample mean.

The starter family under stress. The prior is fitted to the profile's images (0 to 1999) under the conditions of all
corruption families but the user's own; the user's images (8000 to 9999) are disjoint. n of them are labelled at
random; regret is in points behind the best variant on all 2,000. Arms, all picking inside the same kind of set:

* empirical: highest sample mean, no prior;
* n only: signatures of the n labelled images, with the exact class shares of their labels;
* pool: signatures of all 2,000 images, proportions estimated from the n labels;
* pool, given: the same with the true proportions.

The constants of the prior were tuned on the corruption families resolution, noise, pose and camera; the figures of
blur, light, shape and scene are held out. That flip and rotation-2 (both pose) broke the bound below with an earlier
version of the prior was known before.

Exact ties go to the higher held-out accuracy, in all arms, as in `zoo select`. At n = 10 a dozen variants tie, and how
good the preferred one is under a condition is chance, the same in every repetition; so the tables also show the mean
over the tied ones. (An earlier version of this script let the lowest index decide ties, which no user ever gets; with
it flip and rotation-1 break the bound below for the arm "pool".) The requirements are checked against the rule of the
product.

Label shift: 1,000 images drawn with Dirichlet(.2) class shares, 100 labelled. Without proportions the prior must
refuse; "forced" shows what uniform proportions would have done.

Run: OMP_NUM_THREADS=1 python bench/prior.py [--quick] [--repetitions 50] [--jobs 2] [--out ...json] [--docs ...md]
The exit status is 1 if a requirement fails for an arm with an unlabelled pool: geometric mean of the
regret ratio at n <= 100 above .4, or a condition (mean over n <= 100) worse than 1.25 x at more than .3 points; or
if under label shift the prior does not refuse, or does harm with proportions from labels or given.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import seed_tasks
from common import cannot_run
from docs import replace_between
from numpy.typing import NDArray
from scipy import stats

from seedzoo.catalog.bundle import open_bundle
from seedzoo.selection.choice import choose
from seedzoo.selection.prior import Prior, fit_prior, rank_unlabeled
from seedzoo.selection.signatures import Signature, estimated_proportions, signature
from seedzoo.starter import starter_bundle

Floats = NDArray[np.float64]
# Condition -> n -> arm -> mean regret in points.
Measured = dict[str, dict[int, dict[str, float]]]
SIZES, FEW = [10, 50, 100, 300], (10, 50, 100)
ARMS = ("empirical", "n only", "pool", "pool, given")
# Signatures of new images or new proportions take most of the time, so these arms have fewer repetitions.
SLOW = ("n only", "pool")
TOLD_REPETITIONS = 16
TUNED_ON = ("resolution", "noise", "pose", "camera")
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
    held_out: Floats


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
    preferred = held_out_accuracies()
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
                held_out=preferred[: task.predicted.shape[1]],  # the quick cache holds the first few variants
            )
        )
    return everyone


def pick(
    scores: NDArray[np.bool_], prior: Prior | None, found: list[Signature] | None, seed: int, held_out: Floats
) -> int:
    return choose(scores, prior=prior, signatures=found, order=held_out, seed=seed, n_boot=DRAWS).best


def held_out_accuracies() -> Floats:
    return np.array([variant.held_out_accuracy for variant in open_bundle(starter_bundle()).family.variants])


def labelled(user: User, n: int, *, repetitions: int, slow_repetitions: int) -> dict[str, float]:
    """Mean regret of each arm, in points; the slow arms have fewer repetitions, so their own baselines too."""
    accuracy = user.scores.mean(axis=0)
    regrets: dict[str, list[float]] = {arm: [] for arm in (*ARMS, "ties")}
    # What is only told, not required, has fewer repetitions still.
    told = min(slow_repetitions, TOLD_REPETITIONS)
    counts = {"n only": told, "pool": slow_repetitions if n in FEW else told}
    rng = np.random.default_rng([n, 5])
    for repetition in range(repetitions):
        rows = rng.choice(len(user.scores), n, replace=False)
        scores, labels = user.scores[rows], user.task.labels[rows]
        found: dict[str, list[Signature] | None] = {"empirical": None, "pool, given": user.given}
        if repetition < counts["n only"]:
            found["n only"] = signatures(user.task.probabilities[rows], shares(labels))
        if repetition < counts["pool"]:
            found["pool"] = signatures(user.task.probabilities, estimated_proportions(labels, CLASSES))
        for arm, each in found.items():
            best = pick(scores, None if each is None else user.prior, each, repetition, user.held_out)
            regrets[arm].append(100 * float(accuracy.max() - accuracy[best]))
        right = scores.sum(axis=0)
        regrets["ties"].append(100 * float(accuracy.max() - accuracy[right == right.max()].mean()))
    for key in ("empirical", "ties"):
        for arm, count in counts.items():
            regrets[f"{key}, {arm}"] = regrets[key][:count]
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
            best = pick(scores[:n], None if each is None else user.prior, each, repetition, user.held_out)
            regrets[arm].append(100 * float(accuracy.max() - accuracy[best]))
    return {arm: float(np.mean(values)) for arm, values in regrets.items()}


def against(found: dict[str, float], arm: str, base: str) -> float:
    """Regret of the baseline over the same repetitions."""
    return found[f"{base}, {arm}" if arm in SLOW else base]


def ratio(found: dict[str, float], arm: str) -> float:
    return (found[arm] + FLOOR) / (against(found, arm, "empirical") + FLOOR)


def worse(found: dict[int, dict[str, float]], arm: str, base: str = "empirical") -> float:
    """Regret over n <= 100 relative to the baseline's, or 0 where it is at most .3 points."""
    own, other = np.mean([(found[n][arm], against(found[n], arm, base)) for n in FEW], axis=0)
    return float(own / max(other, FLOOR)) if own > 0.3 else 0.0


def worst(measured: Measured, arm: str, base: str = "empirical") -> tuple[float, str]:
    return max((worse(found, arm, base), name) for name, found in measured.items())


def overall(measured: Measured, arm: str, sizes: tuple[int, ...]) -> float:
    """Geometric mean of the ratio over conditions and n."""
    return float(np.exp(np.mean([np.log(ratio(found[n], arm)) for found in measured.values() for n in sizes])))


def halves(measured: Measured, families: dict[str, str]) -> dict[str, Measured]:
    tuned = {name: found for name, found in measured.items() if families[name] in TUNED_ON}
    return {"tuned on": tuned, "held out": {name: found for name, found in measured.items() if name not in tuned}}


def table(lines: list[tuple[str, ...]]) -> str:
    separator = ("---", *["--:"] * (len(lines[0]) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], separator, *lines[1:]))


def summary(
    measured: Measured, families: dict[str, str], shift: dict[str, dict[str, float]], *, note: str
) -> list[str]:
    """What goes into the documentation, as paragraphs."""
    parts = halves(measured, families)
    lines: list[tuple[str, ...]] = [("labels", "half", "best sample mean, points", *ARMS[1:])]
    for n in SIZES:
        for half, its in parts.items():
            mean = np.mean([found[n]["empirical"] for found in its.values()])
            lines.append((str(n), half, f"{mean:.2f}", *(f"{overall(its, arm, (n,)):.2f}" for arm in ARMS[1:])))
    for half, its in {**parts, "all": measured}.items():
        lines.append(("10 to 100", half, "", *(f"{overall(its, arm, FEW):.2f}" for arm in ARMS[1:])))
    extremes: list[tuple[str, ...]] = [("worst condition, n <= 100", "half", *ARMS[1:])]
    for label, base in (("against ties by held-out accuracy", "empirical"), ("against the mean of ties", "ties")):
        for half, its in parts.items():
            cells = [f"{value:.2f} ({name})" for value, name in (worst(its, arm, base) for arm in ARMS[1:])]
            extremes.append((label, half, *cells))
    shifts = [SHIFT_ARMS, tuple(f"{np.mean([found[arm] for found in shift.values()]):.2f}" for arm in SHIFT_ARMS)]
    return [
        f"Regret relative to the best sample mean, geometric mean over conditions ({note}).",
        table(lines),
        "Regret in the worst condition, relative to the best sample mean.",
        table(extremes),
        "Label shift (class shares Dirichlet .2), 100 labels: mean regret in points by what is known of the shares.",
        table(shifts),
    ]


def details(free: dict[str, dict[str, float]], measured: Measured) -> list[str]:
    """What is printed besides, as paragraphs."""
    average = {key: float(np.mean([each[key] for each in free.values()])) for key in next(iter(free.values()))}
    lines: list[tuple[str, ...]] = [("condition", "empirical", "mean of ties", *ARMS[1:])]
    for name, found in measured.items():
        means = [f"{np.mean([found[n][arm] for n in FEW]):.2f}" for arm in ("empirical", "ties", *ARMS[1:])]
        lines.append((name, *means))
    return [
        (
            f"Without labels, proportions given, {len(free)} conditions: Spearman {average['spearman']:.2f} "
            f"(COT alone {average['spearman_cot']:.2f}), regret {average['regret']:.2f} points "
            f"(a random variant: {average['regret_of_mean']:.2f})"
        ),
        "Per condition, n <= 100: regret in points",
        table(lines),
    ]


def unmet(measured: Measured, shift: dict[str, dict[str, float]]) -> list[str]:
    """The requirements that fail, for the arms with an unlabelled pool."""
    failures = []
    for arm in ARMS[1:]:
        if arm in ("pool", "pool, given"):
            if (found := overall(measured, arm, FEW)) > 0.4:
                failures.append(f"{arm}: ratio {found:.3f} > .4")
            ratios = {name: worse(its, arm) for name, its in measured.items()}
            failures += [f"{arm}: {name} {value:.2f} x" for name, value in ratios.items() if value > 1.25]
    if any(found["none given"] != found["empirical"] for found in shift.values()):
        failures.append("label shift: the prior did not refuse assumed proportions")
    means = {arm: np.mean([found[arm] for found in shift.values()]) for arm in SHIFT_ARMS}
    failures += [
        f"label shift: proportions {arm}, {means[arm]:.2f} points, without {means['empirical']:.2f}"
        for arm in ("from labels", "given")
        if means[arm] > means["empirical"]
    ]
    return failures


EVERYONE: list[User] = []


def job(task: tuple[int, int, int]) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
    """Measure one condition; the users were made before the processes forked."""
    which, repetitions, slow = task
    user = EVERYONE[which]
    by_n = {n: labelled(user, n, repetitions=repetitions, slow_repetitions=slow) for n in SIZES}
    return by_n, shifted(user, repetitions=max(1, slow // 2))


def main() -> int:
    parser = argparse.ArgumentParser(description="The profile-calibrated prior against the best sample mean.")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--slow-repetitions", type=int, default=50, help="of the arm pool; n only has 16")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--quick", action="store_true", help="few conditions and images, 1 repetition; tells nothing")
    parser.add_argument("--out", type=Path, help="write the regrets as JSON here")
    parser.add_argument("--docs", type=Path, help="write the tables between the markers of this file")
    arguments = parser.parse_args()
    repetitions, slow = (1, 1) if arguments.quick else (arguments.repetitions, arguments.slow_repetitions)
    if arguments.quick:
        seed_tasks.use_quick_cache()
        SIZES[:] = FEW  # there are fewer than 300 images
    families = seed_tasks.available()
    if len(set(families.values())) < 3:
        cannot_run(f"too few predictions in {seed_tasks.CACHE}: python bench/seed_tasks.py computes them")
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
    EVERYONE.extend(everyone)
    with ProcessPoolExecutor(max_workers=arguments.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        found = list(pool.map(job, [(which, repetitions, slow) for which in range(len(everyone))]))
    measured = {user.task.name: by_n for user, (by_n, _) in zip(everyone, found, strict=True)}
    shift = {user.task.name: by_arm for user, (_, by_arm) in zip(everyone, found, strict=True)}

    note = (
        f"{len(families)} conditions, {repetitions} repetitions, pool {slow} at n <= 100; "
        f"else and n only {min(slow, TOLD_REPETITIONS)}"
    )
    text = summary(measured, families, shift, note=note)
    print("\n\n".join([*details(free, measured), *text, f"{time.perf_counter() - start:.0f} s"]))
    failures = unmet(measured, shift)
    if arguments.out:
        record = {"unlabelled": free, "labelled": measured, "label_shift": shift}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.docs:
        replace_between(arguments.docs, "bench/prior.py", "\n\n".join(text))
    for line in failures:
        print(f"below requirement: {line}", file=sys.stderr)
    return 1 if failures and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
