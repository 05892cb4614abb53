import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seedzoo.selection import equivalence_to_mean

# d of the first column from the row means: .5, 0, 0, -.5; mean 0, s^2 = .5 / 3.
HAND = np.array([[1, 0], [1, 1], [1, 1], [0, 1]], dtype=bool)


def test_hand_worked() -> None:
    result = equivalence_to_mean(HAND, margin=0.9, alpha=0.05)
    se = np.sqrt(0.5 / 3 / 4 + 1 / 16)  # .322749; the floor of the variance, .9 * .1, lies below .5 / 3
    assert result.difference == pytest.approx([0.0, 0.0])
    assert result.se == pytest.approx([se, se])
    assert result.p_value == pytest.approx([0.002647, 0.002647], abs=1e-5)  # 1 - Phi(.9 / .322749)
    assert result.high == pytest.approx([1.959964 * se] * 2, abs=1e-6)  # level .05 / 2 one-sided
    assert result.passed.all()
    floored = equivalence_to_mean(HAND, margin=0.5, alpha=0.05)
    assert floored.se == pytest.approx([np.sqrt(0.5 * 0.5 / 4 + 1 / 16)] * 2)  # .353553
    assert floored.p_value == pytest.approx([0.078650] * 2, abs=1e-5)  # 1 - Phi(sqrt 2)
    assert not floored.passed.any()


@pytest.mark.parametrize(("n", "variants", "margin"), [(1000, 50, 0.01), (300, 10, 0.01), (100, 10, 0.05)])
def test_few_telling_examples_do_not_pass_what_is_one_margin_off(n: int, variants: int, margin: float) -> None:
    # All are right on everything, but the first, which is wrong wherever a share of the examples lies: the mean of all
    # is 1 - share / M, so it is (1 - 1 / M) share below. How often it passes follows from the binomial distribution.
    share = margin / (1 - 1 / variants)
    passing = 0.0
    for wrong in range(int(n * share) + 1):
        scores = np.ones((n, variants), dtype=bool)
        scores[:wrong, 0] = False
        if equivalence_to_mean(scores, margin=margin).passed[0]:
            passing += float(stats.binom.pmf(wrong, n, share))
    assert passing <= 0.05 / variants


def test_the_floor_leaves_usual_families_alone() -> None:
    rng = np.random.default_rng(7)
    scores = (rng.random((4000, 1)) < 0.9) ^ (rng.random((4000, 8)) < 0.05)
    deviations = scores - scores.mean(axis=1, keepdims=True)
    expected = np.sqrt(deviations.var(axis=0, ddof=1) / 4000 + 1 / 4000**2)
    assert equivalence_to_mean(scores, margin=0.01).se == pytest.approx(expected)


def test_agrees_with_two_one_sided_t_tests() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random((20_000, 6)) < rng.beta(5, 1, (20_000, 1)) + rng.normal(0, 0.01, 6)
    margin = 0.01
    result = equivalence_to_mean(scores, margin=margin)
    deviations = scores - scores.mean(axis=1, keepdims=True)
    lower = stats.ttest_1samp(deviations, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(deviations, margin, alternative="less").pvalue
    assert result.p_value.max() > 0.01  # the comparison is about something
    assert result.p_value == pytest.approx(np.maximum(lower, upper), abs=2e-3)


def test_far_off_variant_fails_and_near_ones_pass() -> None:
    rng = np.random.default_rng(6)
    base = rng.random((20_000, 1)) < 0.9
    scores = base ^ (rng.random((20_000, 10)) < 0.01)
    scores[:, 4] &= rng.random(20_000) < 0.95
    result = equivalence_to_mean(scores, margin=0.01)
    assert not result.passed[4]
    assert result.passed.sum() == 9


@pytest.mark.parametrize("scores", [np.ones((1, 1)), np.zeros((1, 3)), np.full((7, 2), 0.3), np.eye(1)])
def test_degenerate_input_is_finite(scores: np.ndarray) -> None:
    result = equivalence_to_mean(scores, margin=0.01)
    for values in (result.difference, result.se, result.p_value, result.low, result.high):
        assert np.isfinite(values).all()
    assert not result.passed.any()


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 6), st.floats(0.005, 0.9), st.floats(0.01, 0.4))
def test_verdict_equals_interval_inside_margin(seed: int, n: int, m: int, margin: float, alpha: float) -> None:
    scores = np.random.default_rng(seed).random((n, m)) < 0.8
    result = equivalence_to_mean(scores, margin=margin, alpha=alpha)
    inside = (-margin < result.low) & (result.high < margin)
    near = np.isclose(np.maximum(-result.low, result.high), margin)
    assert (result.passed == inside)[~near].all()
    assert abs(result.difference.sum()) < 1e-9


@pytest.mark.parametrize("margin", [0.0, -0.1, np.nan, np.inf])
def test_refuses_margin(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        equivalence_to_mean(HAND, margin=margin)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, np.nan])
def test_refuses_alpha(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        equivalence_to_mean(HAND, margin=0.1, alpha=alpha)
