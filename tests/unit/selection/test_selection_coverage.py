"""What `choose` claims holds on real prediction matrices, resampled with replacement (fixed seeds)."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from seedzoo.selection import accuracy_scores, choose, wilson
from seedzoo.selection.bootstrap import ErrorDraws, summarise
from seedzoo.selection.confidence_set import confidence_set
from seedzoo.selection.statements import accuracy_critical, accuracy_of_pick, contrasts, gains_of_pick

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
    sides = dict.fromkeys(("low", "high"), 0)
    widths = []
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
        sides["low"] += choice.accuracy.low <= accuracy
        sides["high"] += accuracy <= choice.accuracy.high
        low, high = wilson(choice.accuracy.estimate, 200)
        widths.append((choice.accuracy.high - choice.accuracy.low) / (high - low))
        for baseline, gain in gains.items():
            interval = choice.gains[baseline]
            hits[baseline] += interval.low - 1e-12 <= gain <= interval.high + 1e-12
    for what, count in hits.items():
        assert_nominal(count, what=what)
    for what, count in sides.items():
        assert_nominal(count, what=what, nominal=0.975)
    assert np.mean(widths) < 1.5


@pytest.mark.parametrize("rule", ["worst in the set", "highest spread", "fixed"])
def test_any_rule_that_picks(rule: str) -> None:
    # The intervals hold whatever is picked, so also by rules that no one would use.
    rng = np.random.default_rng(23)
    truth = np.array([0.7, 0.72, 0.72, 0.74, 0.75, 0.75])
    hits = dict.fromkeys(("accuracy", "gain"), 0)
    for seed in range(REPETITIONS):
        latent = np.sqrt(0.5) * (rng.standard_normal((120, 1)) + rng.standard_normal((120, 6)))
        scores = latent < stats.norm.ppf(truth)
        sample = summarise(scores.astype(float))
        draws = ErrorDraws(sample, variants=6, n_boot=500, rng=np.random.default_rng(seed))
        members = confidence_set(sample, draws, variants=6, alpha=0.05)
        pick = {
            "worst in the set": int(np.where(members.kept, sample.means, 2.0).argmin()),
            "highest spread": int((sample.covariance.sum(axis=0) + sample.means).argmax()),
            "fixed": 5,
        }[rule]
        critical = accuracy_critical(sample, draws, variants=6, alpha=0.05)
        interval = accuracy_of_pick(sample, critical, variants=6, best=pick)
        hits["accuracy"] += interval.low <= truth[pick] <= interval.high
        gain = gains_of_pick(sample, draws, contrasts(6, None, ()), best=pick, alpha=0.05, for_top=True)["family_mean"]
        hits["gain"] += gain.low <= truth[pick] - truth.mean() <= gain.high
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
