import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seedzoo import selection
from seedzoo.selection import Choice, Interval, choose, choose_with_requirements, wilson, wilson_at
from seedzoo.selection.choice import assess

MATRICES = st.builds(
    lambda seed, n, m, p: np.random.default_rng(seed).random((n, m)) < p,
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 6),
    st.floats(0, 1),
)


def family(n: int, m: int, *, seed: int = 0, spread: float = 0.03, accuracy: float = 0.9) -> np.ndarray:
    """Scores that agree on most examples, as seed variants do."""
    rng = np.random.default_rng(seed)
    latent = 0.9 * rng.standard_normal((n, 1)) + 0.436 * rng.standard_normal((n, m))
    return latent < stats.norm.ppf(np.clip(accuracy + rng.normal(0, spread, m), 0.01, 0.99))


def close(one: Interval, two: Interval, *, tolerance: float = 1e-9) -> bool:
    return dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(two), abs=tolerance)


def test_public_names() -> None:
    classes = {
        "ActiveSelector", "Choice", "EquivalenceResult", "Evidence", "Inputs", "Interval", "Metric", "Prior",
        "ProfileCounts", "Race", "RequiredChoice", "Requirement", "RequirementStatus", "Signature", "Status",
    }  # fmt: skip
    functions = {
        "accuracy_scores", "choose", "choose_by_metric", "choose_by_metric_with_requirements",
        "choose_with_requirements", "equivalence_to_mean", "estimated_proportions", "evaluate_requirements",
        "fit_prior", "objective", "parse_requirement", "rank_unlabeled", "signature", "wilson", "wilson_at",
    }  # fmt: skip
    constants = {"BEST_HELD_OUT", "FAMILY_MEAN", "FAST_LEVEL", "OBJECTIVES"}
    assert set(selection.__all__) == classes | functions | constants


class TestByHand:
    def test_single_variant_is_plain_wilson(self) -> None:
        scores = np.array([1] * 9 + [0])[:, None]
        choice = choose(scores)
        low, high = wilson(0.9, 10)
        assert close(choice.accuracy, Interval(0.9, float(low), float(high)))
        assert choice.candidates == (0,)
        assert choice.gains == {"family_mean": Interval(0.0, 0.0, 0.0)}
        assert choice.p_within == 1.0
        assert choice.detectable == 0.0
        assert choice.labels_to_separate is None

    def test_two_variants(self) -> None:
        # 100 examples: both right 80, only the first 12, only the second 4, none 4.
        scores = np.array([[1, 1]] * 80 + [[1, 0]] * 12 + [[0, 1]] * 4 + [[0, 0]] * 4)
        choice = choose(scores, reference=1, n_boot=100_000)
        assert choice.best == 0
        assert choice.means.tolist() == [0.92, 0.84]
        variance = (16 - 100 * 0.08**2) / 99 / 100  # of the paired difference's mean: .0015515
        se = np.sqrt(variance + 1e-4)  # .040639; t = .08 / se = 1.9686 > 1.6604 (t, df 99): separated
        assert choice.candidates == (0,)
        assert choice.labels_to_separate is None
        t, z = 1.984217, 0.841621
        assert choice.detectable == pytest.approx((t + z) * se, abs=1e-6)
        assert close(choice.gains["best_held_out"], Interval(0.08, 0.08 - t * se, 0.08 + t * se), tolerance=1e-6)
        # The gain over the mean of two is half the difference. Either of the two may be the one that a rule picks, and
        # their gains are opposite: the lower limit is the t quantile at 1 - .0125, the upper one that at 1 - .025.
        both = 2.276003
        assert close(
            choice.gains["family_mean"], Interval(0.04, 0.04 - both * se / 2, 0.04 + t * se / 2), tolerance=4e-4
        )
        assert 0.9 < choice.p_within < stats.norm.cdf(0.09 / se)  # less than a flat prior would state

    def test_labels_to_separate(self) -> None:
        # The same shares at n = 25: t = .08 / sqrt(.16 / 24 + 1 / 625) stays below the critical value.
        scores = np.array([[1, 1]] * 20 + [[1, 0]] * 3 + [[0, 1]] * 1 + [[0, 0]] * 1)
        choice = choose(scores, n_boot=100_000)
        assert choice.candidates == (0, 1)
        v = (4 - 25 * 0.08**2) / 24
        q2 = 1.710882**2  # t, df 24
        needed = (q2 * v + np.sqrt((q2 * v) ** 2 + 4 * 0.08**2 * q2)) / (2 * 0.08**2)  # 93
        assert choice.labels_to_separate == pytest.approx(needed - 25, abs=2)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("alpha", [1e-9, 1e-300, 5e-324])
    def test_any_alpha_is_valid(self, alpha: float) -> None:
        scores = family(200, 5)
        choice = choose(scores, alpha=alpha, reference=0, groups=np.arange(200) // 2)
        usual = choose(scores, alpha=0.001, reference=0, groups=np.arange(200) // 2)
        assert set(usual.candidates) <= set(choice.candidates)
        for one, two in ((choice.accuracy, usual.accuracy), *((choice.gains[k], usual.gains[k]) for k in usual.gains)):
            assert one.low <= two.low <= two.estimate <= two.high <= one.high
        assert assess(scores, best=0, alpha=alpha, seed=0)[1][0].max() <= usual.variant_intervals[0].max()

    def test_more_than_the_draws_resolve_still_separates(self) -> None:
        scores = np.tile([[1, 0, 0], [1, 1, 0]], (500, 1))
        assert choose(scores, alpha=1e-6, n_boot=100).candidates == (0,)

    @pytest.mark.parametrize("groups", [None, ["a"] * 40])
    def test_one_unit_says_nothing_of_more_labels(self, groups: list[str] | None) -> None:
        scores = np.tile([[1, 0], [1, 1]], (20, 1))
        choice = choose(scores if groups else scores[:1], groups=groups)
        assert choice.candidates == (0, 1)
        assert choice.labels_to_separate is None
        assert choice.detectable == 1.0

    def test_reason_names_merit_and_preference(self) -> None:
        words = {"merit": "the lowest Brier score", "preference": "held-out accuracy"}
        assert choose([[1, 0]] * 3, **words).reason == "Recommended for the lowest Brier score on 3 examples."  # type: ignore[arg-type]
        tied = choose([[1, 1]] * 3, order=[1, 2], **words).reason  # type: ignore[arg-type]
        assert tied == (
            "Recommended among 2 tied at the lowest Brier score on 3 examples; tie broken by held-out accuracy."
        )

    def test_external_baseline(self) -> None:
        scores = np.array([[1, 1]] * 80 + [[1, 0]] * 12 + [[0, 1]] * 8)
        ensemble = np.ones(100)
        gain = choose(scores, baselines={"ensemble": ensemble}).gains["ensemble"]
        assert gain.estimate == pytest.approx(-0.08)
        assert gain.high < 0

    def test_gain_over_itself_is_zero(self) -> None:
        assert choose(family(50, 1), reference=0).gains["best_held_out"] == Interval(0.0, 0.0, 0.0)


class TestIntervalOfThePick:
    def test_upper_limit_pays_for_no_choice(self) -> None:
        scores = family(300, 12, seed=5)
        choice = choose(scores)
        low, high = wilson(choice.means[choice.best], 300)
        assert choice.accuracy.high == pytest.approx(float(high))
        assert choice.accuracy.low < low

    def test_lower_limit_is_joint_over_all_variants(self) -> None:
        # Independent variants: the chance that any of 8 lower limits misses is Sidak's.
        scores = np.random.default_rng(0).random((4000, 8)) < 0.6
        choice = choose(scores, n_boot=20_000)
        z = stats.norm.isf(1 - 0.975 ** (1 / 8))
        low, _ = wilson_at(choice.means[choice.best], 4000, z=float(z))
        assert choice.accuracy.low == pytest.approx(float(low), abs=3e-4)

    def test_limit_of_a_gain_is_that_of_the_best_gain(self) -> None:
        scores = family(200, 6, seed=3).astype(float)
        choice = choose(scores, baselines={"half": np.full(200, 0.5)})
        se = np.sqrt(scores.var(axis=0, ddof=1) / 200 + 1 / 200**2)
        highs = scores.mean(axis=0) - 0.5 + stats.t.isf(0.025, 199) * se
        assert choice.gains["half"].high == pytest.approx(highs.max())

    def test_best_held_out_bounds_its_own_gain_by_zero(self) -> None:
        # The first is picked for .01; the reference might still be the best: its gain over itself is 0, not negative.
        scores = np.array([[1, 1]] * 97 + [[1, 0]] * 2 + [[0, 1]])
        gain = choose(scores, reference=1).gains["best_held_out"]
        assert gain.estimate == pytest.approx(0.01)
        assert gain.low < 0 < gain.high

    @pytest.mark.parametrize("grouped", [False, True])
    def test_one_variant_has_the_ordinary_interval(self, grouped: bool) -> None:
        scores = family(90, 1)
        choice = choose(scores, groups=np.repeat(np.arange(30), 3) if grouped else None, baselines={"none": [0.0] * 90})
        lows, highs = choice.variant_intervals
        assert (choice.accuracy.low, choice.accuracy.high) == (float(lows[0]), float(highs[0]))
        gain = choice.gains["none"]
        assert gain.high - gain.estimate == pytest.approx(gain.estimate - gain.low) or gain.high == 1.0

    @given(MATRICES)
    @settings(max_examples=40, deadline=None)
    def test_nested_in_alpha(self, scores: np.ndarray) -> None:
        wide, narrow = (
            choose(scores, alpha=alpha, n_boot=300, baselines={"some": scores[:, 0] * 0.5}) for alpha in (0.02, 0.1)
        )
        for outer, inner in ((wide.accuracy, narrow.accuracy), *((wide.gains[k], narrow.gains[k]) for k in wide.gains)):
            assert outer.low <= inner.low + 1e-12
            assert inner.high <= outer.high + 1e-12

    def test_requirements_state_the_symmetric_interval(self) -> None:
        scores = family(300, 6, seed=2)
        choice = choose_with_requirements(scores, ["accuracy >= .1"]).choice
        lows, highs = choice.variant_intervals
        assert (choice.accuracy.low, choice.accuracy.high) == (lows[choice.best], highs[choice.best])
        gain = choice.gains["family_mean"]
        assert gain.high - gain.estimate == pytest.approx(gain.estimate - gain.low)


class TestTies:
    SCORES = np.array([[0, 1, 1, 1], [1, 1, 0, 1], [0, 0, 1, 0]])

    def test_lowest_index(self) -> None:
        choice = choose(self.SCORES)
        assert choice.best == 1
        assert "3 tied" in choice.reason
        assert "lowest index" in choice.reason

    def test_order_decides(self) -> None:
        choice = choose(self.SCORES, order=[9, 1, 3, 2])
        assert choice.best == 2
        assert choice.candidates == (2, 3, 1, 0)
        assert "order of preference" in choice.reason

    def test_order_that_ties_too(self) -> None:
        choice = choose(self.SCORES, order=[9, 1, 2, 2])
        assert choice.best == 2
        assert "lowest index" in choice.reason

    def test_order_never_beats_the_mean(self) -> None:
        scores = np.array([[1, 1], [1, 1], [1, 0]])
        choice = choose(scores, order=[0, 1])
        assert choice.best == 0
        assert "highest sample mean on 3 examples" in choice.reason

    def test_float_sums_that_differ_in_rounding_tie(self) -> None:
        first = np.array([0.1, 0.2, 0.3, 0.7])
        scores = np.stack([first, first[::-1]], axis=1)
        assert choose(scores, order=[0, 1]).best == 1
        assert choose(scores, order=[1, 0]).best == 0


@pytest.mark.parametrize(
    "scores",
    [
        np.ones((1, 1)),
        np.zeros((1, 1)),
        np.array([[True, False]]),
        np.ones((40, 3)),
        np.zeros((40, 3)),
        np.tile([1.0, 0.0], (3, 1)),
        np.full((5, 2), 0.3),
        np.repeat(np.arange(10)[:, None] % 2, 4, axis=1),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_degenerate_input_is_finite(scores: np.ndarray, grouped: bool) -> None:
    n = len(scores)
    choice = choose(scores, groups=["same"] * n if grouped else None, reference=0, baselines={"ensemble": scores[:, 0]})
    assert_sound(choice)
    assert choice.accuracy.high - choice.accuracy.low > 0.05


def assert_sound(choice: Choice) -> None:
    m = choice.means.size
    assert choice.candidates[0] == choice.best
    assert len(set(choice.candidates)) == len(choice.candidates)
    assert (np.diff(choice.means[list(choice.candidates)]) <= 1e-12).all()
    assert choice.means[choice.best] == pytest.approx(choice.means.max())
    lows, highs = choice.variant_intervals
    assert lows.shape == highs.shape == (m,)
    assert (lows >= 0).all()
    assert (lows <= choice.means).all()
    assert (choice.means <= highs).all()
    assert (highs <= 1).all()
    accuracy = choice.accuracy
    assert accuracy.estimate == choice.means[choice.best]
    assert 0 <= accuracy.low <= accuracy.estimate <= choice.means.max() <= accuracy.high <= 1
    assert accuracy.high <= highs.max() + 1e-12  # the upper limit pays for no choice at all
    for gain in choice.gains.values():
        assert -1 <= gain.low <= gain.estimate <= gain.high <= 1
    assert 0 <= choice.p_within <= 1
    assert 0 <= choice.detectable <= 1
    assert choice.labels_to_separate is None or (choice.labels_to_separate >= 1 and len(choice.candidates) > 1)
    assert choice.reason.endswith(".")


class TestProperties:
    @given(MATRICES, st.integers(0, 5), st.sampled_from([0.3, 0.05, 0.02]))
    @settings(max_examples=80, deadline=None)
    def test_sound(self, scores: np.ndarray, seed: int, alpha: float) -> None:
        n, m = scores.shape
        choice = choose(
            scores, alpha=alpha, seed=seed, n_boot=100, reference=m - 1, baselines={"any": scores.any(axis=1)}
        )
        assert_sound(choice)
        assert set(choice.gains) == {"family_mean", "best_held_out", "any"}
        assert choice.gains["family_mean"].estimate == pytest.approx(choice.means[choice.best] - choice.means.mean())
        assert (choice.n, choice.alpha, choice.delta) == (n, alpha, 0.01)

    @given(MATRICES)
    @settings(max_examples=40, deadline=None)
    def test_float_scores_and_groups_are_sound(self, scores: np.ndarray) -> None:
        rng = np.random.default_rng(len(scores))
        floats = scores * rng.random(scores.shape)
        assert_sound(choose(floats, groups=rng.integers(0, 5, len(scores)), reference=0, n_boot=100))

    @given(MATRICES, st.integers(0, 1000))
    @settings(max_examples=40, deadline=None)
    def test_order_of_examples_does_not_matter(self, scores: np.ndarray, seed: int) -> None:
        shuffled = scores[np.random.default_rng(seed).permutation(len(scores))]
        one, two = choose(scores, n_boot=200), choose(shuffled, n_boot=200)
        assert (one.means == two.means).all()
        assert one.candidates == two.candidates
        # Another order of summation changes a variance by about 1e-16; the root of a vanishing one by about 1e-8.
        assert close(one.accuracy, two.accuracy, tolerance=1e-7)
        assert close(one.gains["family_mean"], two.gains["family_mean"], tolerance=1e-7)

    @given(MATRICES)
    @settings(max_examples=40, deadline=None)
    def test_monotone_in_alpha(self, scores: np.ndarray) -> None:
        strict, loose = (choose(scores, alpha=alpha, n_boot=200) for alpha in (0.01, 0.2))
        assert set(loose.candidates) <= set(strict.candidates)
        assert strict.accuracy.low <= loose.accuracy.low
        assert strict.accuracy.high >= loose.accuracy.high
        assert strict.gains["family_mean"].low <= loose.gains["family_mean"].low + 1e-12

    @given(MATRICES)
    @settings(max_examples=40, deadline=None)
    def test_identical_columns_are_never_separated(self, scores: np.ndarray) -> None:
        choice = choose(np.column_stack([scores, scores]), n_boot=200)
        m = scores.shape[1]
        kept = set(choice.candidates)
        # Alike columns share statistic, variance and law; their critical values differ by Monte Carlo only,
        # and the copy of the best always stays.
        assert (choice.best + m) % (2 * m) in kept

    def test_permuting_variants_permutes_the_result(self) -> None:
        scores = family(400, 8, seed=4)
        assert len(set(scores.mean(axis=0))) == 8
        order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
        one, two = choose(scores), choose(scores[:, order])
        assert order[two.best] == one.best
        assert tuple(order[list(two.candidates)]) == one.candidates
        assert close(one.accuracy, two.accuracy)
        assert close(one.gains["family_mean"], two.gains["family_mean"])
        assert one.p_within == pytest.approx(two.p_within, abs=0.05)
        assert one.labels_to_separate == two.labels_to_separate

    def test_shift_and_baselines_leave_the_comparison_alone(self) -> None:
        scores = family(300, 6, seed=1) * 0.5
        one = choose(scores)
        two = choose(scores + 0.4, baselines={"half": np.full(300, 0.5)})
        assert one.candidates == two.candidates
        assert close(one.gains["family_mean"], two.gains["family_mean"])
        assert one.p_within == pytest.approx(two.p_within)
        assert one.labels_to_separate == two.labels_to_separate
        assert two.accuracy.estimate == pytest.approx(one.accuracy.estimate + 0.4)

    def test_same_seed_same_result(self) -> None:
        scores = family(200, 5)
        one, two, other = choose(scores, seed=3), choose(scores, seed=3), choose(scores, seed=4)
        assert one.accuracy == two.accuracy
        assert one.gains == two.gains
        assert one.p_within == two.p_within
        assert one.accuracy != other.accuracy

    def test_as_many_labels_as_stated_do_separate(self) -> None:
        scores = family(200, 2, seed=13, spread=0.02)
        choice = choose(scores)
        assert choice.labels_to_separate is not None
        times = int(np.ceil(1.15 * (choice.labels_to_separate + 200) / 200))
        assert choose(np.tile(scores, (times, 1))).candidates == (choice.best,)


class TestGroups:
    def test_copies_of_examples_add_nothing(self) -> None:
        scores = family(150, 6, seed=2)
        plain = choose(scores, reference=0)
        copies = choose(np.repeat(scores, 4, axis=0), groups=np.repeat(np.arange(150), 4), reference=0)
        assert copies.candidates == plain.candidates
        for name, gain in plain.gains.items():
            assert close(copies.gains[name], gain)
        assert close(copies.accuracy, plain.accuracy, tolerance=0.01)
        assert copies.detectable == pytest.approx(plain.detectable)
        assert copies.p_within == pytest.approx(plain.p_within, abs=0.05)
        assert plain.labels_to_separate is not None
        assert copies.labels_to_separate == pytest.approx(4 * plain.labels_to_separate, abs=4)

    def test_ignoring_groups_would_claim_too_much(self) -> None:
        scores = np.repeat(family(50, 4, seed=2), 10, axis=0)
        honest = choose(scores, groups=np.repeat(np.arange(50), 10)).accuracy
        naive = choose(scores).accuracy
        assert honest.high - honest.low > 2 * (naive.high - naive.low)

    def test_singletons_are_nearly_no_groups(self) -> None:
        scores = family(300, 5)
        one, two = choose(scores), choose(scores, groups=[f"patient-{i}" for i in range(300)])
        assert close(one.accuracy, two.accuracy, tolerance=0.003)
        assert close(one.gains["family_mean"], two.gains["family_mean"])

    def test_any_hashable_names_a_group(self) -> None:
        scores = family(6, 2)
        named = choose(scores, groups=["a", "a", ("b", 1), ("b", 1), None, 7])
        numbered = choose(scores, groups=np.array([0, 0, 1, 1, 2, 3]))
        assert named.accuracy == numbered.accuracy


SCORES = np.ones((4, 3))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.ones(4), "two dimensions"),
        (np.ones((2, 2, 2)), "two dimensions"),
        (np.ones((0, 3)), "no example"),
        (np.ones((3, 0)), "no variant"),
        ([[0.5, np.nan]], "NaN"),
        ([[0.5, 1.5]], r"\[0, 1\]"),
        ([[0, -1]], r"\[0, 1\]"),
        ([["a", "b"]], "dtype"),
        ([[1, 0], [1]], "cannot be read"),
        (np.ma.array([[1.0, 0.5]], mask=[[False, True]]), "masked"),
    ],
)
def test_refuses_scores(scores: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": np.nan}, "alpha"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"groups": [1, 2]}, "groups must have one entry"),
        ({"groups": [[1], [2], [3], [4]]}, "hashable"),
        ({"baselines": {"ensemble": [1, 0]}}, "'ensemble' must have shape"),
        ({"baselines": {"ensemble": [1, 0, 2, 0]}}, "'ensemble' must lie"),
        ({"baselines": {"family_mean": [1, 0, 1, 0]}}, "reserved"),
        ({"reference": 3}, "reference"),
        ({"reference": -1}, "reference"),
        ({"reference": 1.0}, "integer"),
        ({"order": [1, 2]}, "order must have shape"),
        ({"order": [1, 2, np.nan]}, "NaN"),
        ({"order": ["x", "y", "z"]}, "numbers"),
        ({"seed": -1}, "seed"),
        ({"n_boot": 10}, "n_boot"),
        ({"n_boot": 10**9}, "n_boot"),
        ({"alpha": None}, "alpha must be a number"),
        ({"alpha": [0.05]}, "alpha must be a number"),
        ({"alpha": np.array([0.05, 0.1])}, "alpha must be a number"),
        ({"alpha": 10**400}, "alpha must lie"),
        ({"delta": "0.01"}, "delta must be a number"),
        ({"groups": 5}, "groups must have one entry"),
        ({"groups": np.array(5)}, "groups must have one entry"),
        ({"groups": [1.0, 1.0, np.nan, 2.0]}, "NaN"),
        ({"groups": np.array([1, 1, np.nan, 2], dtype=np.float32)}, "NaN"),
        ({"baselines": [1]}, "baselines must map"),
        ({"baselines": {"a": np.ma.array([1.0, 0, 1, 0], mask=[0, 0, 1, 0])}}, "'a' must not be masked"),
        ({"prior": object(), "signatures": np.ones((3, 2))}, "prior must be a Prior"),
    ],
)
def test_refuses_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(SCORES, **arguments)  # type: ignore[arg-type]
