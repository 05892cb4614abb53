import numpy as np
import pytest
from scipy import stats

from seedzoo.selection.bootstrap import ErrorDraws, draws_for, joint_critical, summarise, upper_quantile
from seedzoo.selection.confidence_set import confidence_set, paired_se, units_needed


def correlated(n: int, m: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((n, m)) < rng.beta(4, 1, (n, 1))).astype(float)


def test_summary_without_groups_is_the_sample_covariance() -> None:
    scores = correlated(40, 4)
    sample = summarise(scores)
    assert sample.covariance == pytest.approx(np.cov(scores.T) / 40)
    assert sample.pseudo_variance == pytest.approx(1 / 40**2)
    assert sample.effective_n() == pytest.approx(np.full(4, 40.0))
    assert sample.dof == 39


def test_summary_with_groups_by_hand() -> None:
    # Groups of sizes 3 and 1; one column 1,1,0,0: mean .5; centred group sums .5 and -.5.
    sample = summarise(np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([0, 0, 0, 1]))
    assert sample.covariance[0, 0] == pytest.approx(2 * (0.25 + 0.25) / 16)
    assert sample.group_size == pytest.approx((9 + 1) / 4)
    # bernoulli part 4 * .25 * 4/3 + 2.5; observed part .0625 * 16 + 6.25
    assert sample.effective_n()[0] == pytest.approx(4 * (4 / 3 + 2.5) / (1.0 + 6.25))


def test_effective_n_of_whole_groups_that_agree_is_their_number() -> None:
    scores = correlated(30, 2)
    sample = summarise(np.repeat(scores, 5, axis=0), np.repeat(np.arange(30), 5))
    assert sample.effective_n() == pytest.approx([30.0, 30.0], rel=0.03)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_effective_n_without_errors_is_kish(value: float) -> None:
    sample = summarise(np.full((12, 1), value), np.repeat([0, 1, 2], 4))
    assert sample.effective_n()[0] == pytest.approx(3.0)


def test_draws_have_the_covariance() -> None:
    sample = summarise(correlated(200, 3))
    draws = ErrorDraws(sample, variants=3, n_boot=100_000, rng=np.random.default_rng(0))
    assert np.cov(draws.of(sample.covariance, student=False)) == pytest.approx(sample.covariance, rel=0.03)


def test_draws_follow_permuted_columns() -> None:
    scores = correlated(200, 5, seed=4)
    order = np.array([3, 0, 4, 1, 2])
    one, two = (summarise(s) for s in (scores, scores[:, order]))
    assert len(set(one.means)) == 5
    first, second = (
        ErrorDraws(s, variants=5, n_boot=50, rng=np.random.default_rng(0)).of(s.covariance, student=True)
        for s in (one, two)
    )
    assert second == pytest.approx(first[order], abs=1e-12)


def test_max_t_of_independent_rows_is_sidak() -> None:
    sample = summarise(correlated(500, 8))
    draws = ErrorDraws(sample, variants=8, n_boot=200_000, rng=np.random.default_rng(0))
    found = draws.max_t(np.eye(8) * 0.01, student=False, alpha=0.05)
    assert found.two_sided == pytest.approx(stats.norm.isf((1 - 0.95 ** (1 / 8)) / 2), abs=0.02)  # 2.727
    assert found.one_sided == pytest.approx(stats.norm.isf(1 - 0.975 ** (1 / 8)), abs=0.02)  # 2.731
    assert found.single == pytest.approx(1.959964, abs=1e-6)


def test_max_t_of_opposite_rows_costs_one_side_only() -> None:
    sample = summarise(correlated(500, 2))
    draws = ErrorDraws(sample, variants=2, n_boot=200_000, rng=np.random.default_rng(0))
    found = draws.max_t(np.array([[1.0, -1.0], [-1.0, 1.0]]), student=False, alpha=0.05)
    assert found.two_sided == pytest.approx(1.959964, abs=0.01)
    assert found.one_sided == pytest.approx(stats.norm.isf(0.0125), abs=0.02)


def test_max_t_of_one_row_is_exact() -> None:
    sample = summarise(correlated(11, 2))
    draws = ErrorDraws(sample, variants=2, n_boot=100, rng=np.random.default_rng(0))
    one = np.diag([0.1, 0.0])
    for student, expected in ((False, 1.959964), (True, 2.228139)):  # t, df 10
        found = draws.max_t(one, student=student, alpha=0.05)
        assert (found.single, found.one_sided, found.two_sided) == pytest.approx((expected,) * 3, abs=1e-6)


def test_beyond_the_draws_critical_values_are_bonferronis() -> None:
    ratios = np.random.default_rng(0).standard_normal((8, 999))
    enough = joint_critical(ratios, dof=None, alpha=0.001)
    assert enough.two_sided == np.abs(ratios).max()
    beyond = joint_critical(ratios, dof=None, alpha=1e-9)
    assert beyond.two_sided == beyond.one_sided == pytest.approx(stats.norm.isf(1e-9 / 16))
    assert beyond.single == pytest.approx(stats.norm.isf(5e-10))
    outlier = ratios.copy()
    outlier[3, 5] = 50.0
    assert joint_critical(outlier, dof=None, alpha=1e-9).two_sided == 50.0


def test_set_beyond_the_draws_is_bonferronis() -> None:
    sample = summarise(correlated(400, 5))
    draws = ErrorDraws(sample, variants=5, n_boot=500, rng=np.random.default_rng(0))
    found = confidence_set(sample, draws, variants=5, alpha=1e-7)
    assert found.critical == pytest.approx(np.full(5, stats.t.isf(1e-7 / 4, 399)))


@pytest.mark.parametrize(
    ("alpha", "asked", "expected"),
    [(0.05, 2000, 2000), (0.001, 2000, 4000), (1e-9, 2000, 20_000), (0.0, 30_000, 30_000)],
)
def test_draws_are_bounded(alpha: float, asked: int, expected: int) -> None:
    assert draws_for(alpha, n_boot=asked, variants=50) == expected
    assert draws_for(alpha, n_boot=500, variants=1 << 14) <= 512


def test_upper_quantile_counts_the_observed_value() -> None:
    assert upper_quantile(np.arange(1.0, 100.0), alpha=0.05) == 95.0  # ceil(100 * .95)-th of 99
    assert upper_quantile(np.arange(1.0, 100.0), alpha=0.01) == 99.0


def test_two_variants_meet_the_one_sided_t_quantile() -> None:
    scores = correlated(25, 2)
    sample = summarise(scores)
    draws = ErrorDraws(sample, variants=2, n_boot=100_000, rng=np.random.default_rng(1))
    found = confidence_set(sample, draws, variants=2, alpha=0.05)
    assert found.critical == pytest.approx([1.710882] * 2, abs=0.03)  # t, df 24
    gap = scores[:, 0] - scores[:, 1]
    se = np.sqrt(gap.var(ddof=1) / 25 + 1 / 25**2)
    ratio = gap.mean() / se
    assert found.ratios[[0, 1], [1, 0]] == pytest.approx([ratio, -ratio])
    worse = int(ratio > 0)
    assert found.beaten_by(np.array([True, True]))[worse] == (abs(ratio) > found.critical[worse])
    assert not found.beaten_by(np.array([False, False])).any()


def test_paired_se_of_identical_columns_is_the_pseudo_variance() -> None:
    sample = summarise(np.repeat(correlated(50, 1), 2, axis=1))
    assert paired_se(sample.paired_covariance)[0, 1] == pytest.approx(0.02)


def test_units_needed_is_the_sign_test() -> None:
    assert [units_needed(a) for a in (0.5, 0.25, 0.06, 0.05, 0.01)] == [1, 2, 5, 5, 7]
