"""Matrices of rank correlations and Holm's correction, by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from seedzoo.errors import DataError
from seedzoo.stress import spearman
from seedzoo.stress.analysis import correlation_matrix, holm


def test_holm_by_hand():
    # .01 * 4, .02 * 3, .03 * 2 = .06, .04 * 1 but not below what came before.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    found = holm([math.nan, 0.02, 0.03])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.04, 0.04])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("seed", range(3))
def test_p_values_are_scipy_s(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 25))
    assert spearman(x, y).p_value == pytest.approx(stats.spearmanr(x, y).pvalue)
    assert spearman(x, y).count == 25


def test_equal_orders_of_few():
    # Two of the six orders of three are as extreme.
    assert spearman([1, 2, 3], [1, 2, 3]).p_value == pytest.approx(1 / 3)
    assert math.isnan(spearman([1, 2], [1, 2]).p_value)


def test_p_values_of_few_are_exact():
    # Of the 24 orders of four, 1 + 3 + 3 + 1 have |rho| of .8 or more; Student's t would say .2.
    assert spearman([1, 2, 3, 4], [1, 2, 4, 3]).p_value == pytest.approx(8 / 24)
    # Of the 120 orders of five, 2 (1 + 4) have |rho| of .9 or more; Student's t would say .037.
    assert spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]).p_value == pytest.approx(10 / 120)


@pytest.mark.parametrize("count", [4, 6, 9, 12])
def test_one_variant_that_stands_out_in_both(count):
    # Which of the others it is in the second row is chance: 1 of M, however many there are.
    x = np.zeros(count)
    x[2] = 1
    found = spearman(x, x)
    assert found.rho == 1
    assert found.p_value == pytest.approx(1 / count)


def test_ties_that_lie_alike_from_both_ends():
    x = [0, 0, 0, 0, 1, 1, 1, 1]
    assert spearman(x, x).p_value == pytest.approx(2 / math.comb(8, 4))
    assert spearman(x, x[::-1]).p_value == pytest.approx(2 / math.comb(8, 4))


def test_matrix():
    rng = np.random.default_rng(0)
    shares = rng.uniform(size=(12, 4))
    shares[:, 2] = 0.5
    shares[0, 3] = math.nan
    found = correlation_matrix(shares, conditions=("id", "a", "flat", "holes"))
    assert np.array_equal(found.rho, found.rho.T, equal_nan=True)
    one = spearman(shares[:, 0], shares[:, 1])
    assert (found.rho[0, 1], found.low[0, 1], found.high[1, 0]) == (one.rho, one.low, one.high)
    assert found.rho[1, 3] == spearman(shares[1:, 1], shares[1:, 3]).rho
    assert [found.rho[k, k] for k in (0, 1, 3)] == [1, 1, 1]
    assert np.isnan(found.rho[2]).all()
    pairs = np.array([found.p_value[0, 1], found.p_value[0, 3], found.p_value[1, 3]])
    assert [found.p_holm[0, 1], found.p_holm[0, 3], found.p_holm[1, 3]] == pytest.approx(holm(pairs))
    assert np.isnan(np.diag(found.p_holm)).all()


def test_wrong_input():
    with pytest.raises(DataError, match="do not fit 3"):
        correlation_matrix(np.zeros((4, 2)), conditions=("a", "b", "c"))
    with pytest.raises(DataError, match="do not fit"):
        correlation_matrix([[math.inf, 1], [1, 2]], conditions=("a", "b"))
