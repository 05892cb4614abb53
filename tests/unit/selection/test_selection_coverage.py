"""What `choose` claims holds on real prediction matrices, resampled with replacement (fixed seeds)."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from seedzoo.selection import accuracy_scores, choose

TASKS = Path(__file__).parents[4] / "shared" / "data" / "selection-tasks"
REPETITIONS = 300


def load(name: str) -> np.ndarray:
    path = TASKS / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    with np.load(path) as data:
        return accuracy_scores(data["pred"], data["y"])


def assert_nominal(hits: int, *, what: str, repetitions: int = REPETITIONS, nominal: float = 0.95) -> None:
    p = stats.binom.cdf(hits, repetitions, nominal)
    assert p >= 0.001, f"{what}: {hits} of {repetitions}, nominal {nominal}, p {p:.2g}"


@pytest.mark.parametrize("name", ["cifar101_v4", "cifar101_v6"])
def test_real_tasks(name: str) -> None:
    scores = load(name)
    truth = scores.mean(axis=0)
    best = int(truth.argmax())
    middle = int(np.argsort(truth)[truth.size // 2])
    any_right = scores.any(axis=1)
    rng = np.random.default_rng(20)
    hits = dict.fromkeys(("set", "accuracy", "family_mean", "best_held_out", "oracle"), 0)
    for seed in range(REPETITIONS):
        rows = rng.integers(0, len(scores), 200)
        choice = choose(scores[rows], reference=middle, baselines={"oracle": any_right[rows]}, seed=seed, n_boot=500)
        accuracy = truth[choice.best]
        gains = {
            "family_mean": accuracy - truth.mean(),
            "best_held_out": accuracy - truth[middle],
            "oracle": accuracy - any_right.mean(),
        }
        hits["set"] += best in choice.candidates
        hits["accuracy"] += choice.accuracy.low <= accuracy <= choice.accuracy.high
        for baseline, gain in gains.items():
            interval = choice.gains[baseline]
            hits[baseline] += interval.low - 1e-12 <= gain <= interval.high + 1e-12
    for what, count in hits.items():
        assert_nominal(count, what=what)


@pytest.mark.parametrize("n", [20, 200])
def test_tied_variants_that_often_disagree(n: int) -> None:
    # Equal accuracies are the hardest case for the set: every rival can beat the true best by chance.
    rng = np.random.default_rng(21)
    hits = dict.fromkeys(("set", "accuracy", "gain"), 0)
    for seed in range(REPETITIONS):
        latent = np.sqrt(0.5) * (rng.standard_normal((n, 1)) + rng.standard_normal((n, 20)))
        choice = choose(latent < stats.norm.ppf(0.6), seed=seed, n_boot=500)
        hits["set"] += 0 in choice.candidates
        hits["accuracy"] += choice.accuracy.low <= 0.6 <= choice.accuracy.high
        hits["gain"] += choice.gains["family_mean"].low <= 0 <= choice.gains["family_mean"].high
    for what, count in hits.items():
        assert_nominal(count, what=what)


@pytest.mark.parametrize(("groups", "size"), [(10, 10), (60, 8)])
def test_groups(groups: int, size: int) -> None:
    # Whole groups are easy or hard, and differently so for each variant.
    rng = np.random.default_rng(22)
    codes = np.repeat(np.arange(groups), size)
    hits = dict.fromkeys(("set", "accuracy", "gain"), 0)
    for seed in range(REPETITIONS):
        latent = (
            0.6 * rng.standard_normal((groups, 1))[codes]
            + 0.4 * rng.standard_normal((groups, 6))[codes]
            + np.sqrt(0.48) * rng.standard_normal((codes.size, 6))
        )
        choice = choose(latent < stats.norm.ppf(0.8), groups=codes, seed=seed, n_boot=500)
        hits["set"] += 0 in choice.candidates
        hits["accuracy"] += choice.accuracy.low <= 0.8 <= choice.accuracy.high
        hits["gain"] += choice.gains["family_mean"].low <= 0 <= choice.gains["family_mean"].high
    for what, count in hits.items():
        assert_nominal(count, what=what)
