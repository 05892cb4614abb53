"""Excess variance: by hand, against all permutations, its level under the null, and what the bound promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from seedzoo.selection.excess_variance import (
    excess_variance,
    excess_variance_bound,
    excess_variance_chi2,
    spread_ratio,
)

# Four examples, three variants: totals 4, 2, 1; rows 3, 2, 1, 1.
SMALL = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
TABLES = hnp.arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(2, 6)), elements=st.integers(0, 1))


def _sums(table: np.ndarray) -> int:
    return int((table.sum(axis=1, dtype=np.int64) ** 2).sum())


def test_hand_worked():
    found = excess_variance_chi2([4, 2, 1], n=4, sum_squares=15)
    # Deviations 5/3, -1/3, -4/3 of mean 7/3: squares sum to 42/9. Rows: 0 + 2 + 2 + 2 = 6 disagreements.
    assert found.q == pytest.approx(2 * 3 * (42 / 9) / 6)
    # Cochran's own form: (k - 1)(k sum C^2 - N^2) / (k N - sum r^2).
    assert found.q == pytest.approx(2 * (3 * 21 - 49) / (21 - 15))
    assert found.p_value == pytest.approx(math.exp(-found.q / 2))  # chi-square with 2 degrees
    assert found.sd == pytest.approx(np.std([1, 0.5, 0.25], ddof=1))
    assert found.noise_sd == pytest.approx(math.sqrt(6 / (3 * 2)) / 4)
    assert found.excess_sd == pytest.approx(math.sqrt(found.sd**2 - found.noise_sd**2))


def test_two_variants_are_mcnemar():
    table = np.array([[1, 0]] * 9 + [[0, 1]] * 3 + [[1, 1]] * 20)
    assert excess_variance_chi2(table.sum(axis=0), n=32, sum_squares=_sums(table)).q == pytest.approx((9 - 3) ** 2 / 12)


def test_permutations_against_all_of_them():
    # Rows with 2, 1 and 1 right have 3 orders each; 27 equally likely tables (the row of three 1s never changes).
    totals = []
    for rows in itertools.product(*(set(itertools.permutations(row)) for row in SMALL[1:].tolist())):
        totals.append(sum(total**2 for total in (np.sum(rows, axis=0) + 1)))
    exact = np.mean(np.array(totals) >= 21)
    found = excess_variance(SMALL, permutations=4000, seed=1)
    assert found.method == "permutation"
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    assert excess_variance(SMALL, permutations=99, seed=5) == excess_variance(SMALL, permutations=99, seed=5)


def test_exact_level_under_the_null():
    # One probability per example, shared by all variants: p-values of 20 possible values, each about as frequent.
    rng = np.random.default_rng(3)
    p_values = [
        excess_variance(rng.random((60, 8)) < rng.random((60, 1)), permutations=19, seed=k).p_value for k in range(400)
    ]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.045)
    assert stats.chisquare(np.histogram(p_values, bins=4, range=(0.025, 1.025))[0]).pvalue > 1e-4


def test_power():
    rng = np.random.default_rng(4)
    skill = np.linspace(-0.1, 0.1, 10)
    found = excess_variance(rng.random((500, 10)) < np.clip(rng.random((500, 1)) + skill, 0, 1), permutations=199)
    assert found.p_value == 1 / 200
    # Clipping takes a little off the spread of the skills.
    assert 0.7 * skill.std(ddof=1) < found.excess_sd < 1.2 * skill.std(ddof=1)


@given(TABLES)
def test_counts_alone_never_claim_more(table):
    n, counts = len(table), table.sum(axis=0)
    exact = excess_variance_chi2(counts, n=n, sum_squares=_sums(table))
    bound = excess_variance_bound(counts, n=n)
    assert bound.p_value >= exact.p_value - 1e-12
    assert bound.noise_sd >= exact.noise_sd - 1e-12
    assert bound.excess_sd <= exact.excess_sd + 1e-9
    if not math.isnan(exact.q):
        assert bound.q <= exact.q * (1 + 1e-9)


@given(TABLES)
def test_sums_add_up_over_blocks(table):
    cut = len(table) // 2
    assert _sums(table) == _sums(table[:cut]) + _sums(table[cut:])
    found = excess_variance(table, permutations=19)
    from_sums = excess_variance_chi2(table.sum(axis=0), n=len(table), sum_squares=_sums(table))
    assert (found.sd, found.noise_sd) == (from_sums.sd, from_sums.noise_sd)
    assert found.q == from_sums.q or math.isnan(found.q)


def test_variants_that_never_differ():
    found = excess_variance(np.array([[1, 1], [0, 0], [1, 1]]))
    assert (found.sd, found.noise_sd, found.p_value) == (0, 0, 1)
    assert math.isnan(found.q)


def test_published_shares_need_no_whole_counts():
    assert excess_variance_bound([0.81234 * 500, 0.4 * 500], n=500).p_value < 0.001


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: excess_variance(np.full((3, 2), 0.5)), "0 or 1"),
        (lambda: excess_variance(np.ones((3, 1))), "two variants"),
        (lambda: excess_variance(SMALL, permutations=5), "permutations"),
        (lambda: excess_variance_chi2([4, 2, 5], n=4, sum_squares=15), "between 0 and n"),
        (lambda: excess_variance_chi2([4, 2, 1], n=4, sum_squares=12), "does not fit"),
        (lambda: excess_variance_chi2([4, 2, 1], n=4, sum_squares=22), "does not fit"),
        (lambda: excess_variance_bound([3], n=4), "two variants"),
        (lambda: excess_variance_bound([3, math.nan], n=4), "between 0 and n"),
        (lambda: spread_ratio([1, 2, 3], [1, 2, 3]), "at least 4"),
        (lambda: spread_ratio([1, 2, 3, 4], [1, 2, 3, math.nan]), "finite"),
        (lambda: spread_ratio([1, 2, 3, 4], [1, 2, 3, 4], expected=0), "expected"),
    ],
)
def test_wrong_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_ratio_of_sds():
    x = np.array([0.1, 0.2, 0.3, 0.5, 0.7])
    found = spread_ratio(x, 3 * x[::-1] + 1)
    assert found.ratio == pytest.approx(3)
    same = spread_ratio(x, x)
    # Perfectly correlated measurements have exactly their ratio.
    assert (same.ratio, same.low, same.high) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    assert spread_ratio(x, np.ones(5)).p_value == 1
    assert math.isnan(spread_ratio(np.ones(5), x).ratio)


@pytest.mark.parametrize("seed", range(5))
def test_interval_inverts_the_test(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 15))
    y = 2 * y + 0.5 * x
    found = spread_ratio(x, y, alpha=0.1)
    # Pitman and Morgan: the correlation of y - c x with y + c x, tested by Student's t.
    assert spread_ratio(x, y, expected=found.low).p_value == pytest.approx(0.05)
    assert spread_ratio(x, y, expected=found.high).p_value == pytest.approx(0.95)
    direct = stats.pearsonr(y + 1.5 * x, y - 1.5 * x, alternative="greater").pvalue
    assert spread_ratio(x, y, expected=1.5).p_value == pytest.approx(direct)


def test_interval_covers():
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(1000):
        x = rng.normal(size=12)
        y = 2 * (0.6 * x + 0.8 * rng.normal(size=12))
        found = spread_ratio(x, y)
        covered.append(found.low <= 2 <= found.high)
    assert 0.93 < np.mean(covered) < 0.97
