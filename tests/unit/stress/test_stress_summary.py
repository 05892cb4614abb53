"""The summary of a profile against hand-worked numbers and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from seedzoo.errors import DataError
from seedzoo.stress import spearman, summarise

VARIANTS = ("s0", "s1", "s2", "s3", "s4")
ACCURACIES = np.array([[0.90, 0.50, 0.3], [0.91, 0.70, 0.3], [0.92, 0.40, 0.3], [0.89, 0.60, 0.3], [0.88, 0.80, 0.3]])


def _summary():
    return summarise(ACCURACIES, variants=VARIANTS, conditions=("id", "blur-1", "flat"), n=(1000, 500, 10))


def test_hand_worked():
    base, blur, flat = _summary()
    assert (base.condition, base.n, base.low_variant, base.high_variant) == ("id", 1000, "s4", "s2")
    assert base.mean == pytest.approx(0.9)
    assert base.sd == pytest.approx(math.sqrt(2.5) / 100)  # squares 0, 1, 4, 1, 4 over 4
    assert base.sd_ratio == 1
    assert base.correlation.rho == 1
    assert math.isnan(base.correlation.low)
    assert (blur.mean, blur.low, blur.high) == (pytest.approx(0.6), 0.4, 0.8)
    assert (blur.low_variant, blur.high_variant) == ("s2", "s4")
    assert blur.sd_ratio == pytest.approx(10)
    # Ranks 3 4 5 2 1 and 2 4 1 3 5: squared differences 1 0 16 1 16, rho = 1 - 6 * 34 / (5 * 24).
    assert blur.correlation.rho == pytest.approx(-0.7)
    half = stats.norm.ppf(0.975) * math.sqrt((1 + 0.49 / 2) / 2)
    assert blur.correlation.low == pytest.approx(math.tanh(math.atanh(-0.7) - half))
    assert blur.correlation.high == pytest.approx(math.tanh(math.atanh(-0.7) + half))
    assert (flat.sd, flat.sd_ratio, flat.low_variant) == (0, 0, "s0")
    assert math.isnan(flat.correlation.rho)
    assert math.isnan(flat.correlation.high)


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_scipy_s_with_ties(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 8, (2, 30)) / 100
    found = spearman(x, y)
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert -1 < found.low < found.rho < found.high < 1


def test_interval_covers():
    # Bivariate normal with Pearson .5: Spearman's rho is 6/pi asin(.25).
    truth = 6 / math.pi * math.asin(0.25)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 30))
    y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=(1000, 30))
    found = [spearman(a, b) for a, b in zip(x, y, strict=True)]
    assert 0.93 < np.mean([one.low <= truth <= one.high for one in found]) < 0.98


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_variants(count):
    rows = summarise(ACCURACIES[:count], variants=VARIANTS[:count], conditions=("id", "a", "b"), n=(1, 1, 1))
    assert all(math.isnan(row.correlation.low) and math.isnan(row.correlation.high) for row in rows)
    assert math.isnan(rows[1].sd) == (count == 1)
    assert math.isnan(rows[1].correlation.rho) == (count == 1)


def test_equal_in_distribution_accuracies_have_no_ratio():
    matrix = np.column_stack([np.full(6, 0.1), np.linspace(0.1, 0.6, 6)])
    base, other = summarise(matrix, variants=list("abcdef"), conditions=("id", "x"), n=(5, 5))
    assert base.sd == 0
    assert math.isnan(other.sd_ratio)
    assert math.isnan(other.correlation.rho)
    assert other.sd > 0


def test_another_reference():
    rows = summarise(ACCURACIES, variants=VARIANTS, conditions=("id", "val", "c"), n=(1, 1, 1), reference="val")
    assert rows[1].sd_ratio == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"accuracies": ACCURACIES.T}, "do not fit"),
        ({"accuracies": np.empty((0, 3)), "variants": ()}, "do not fit"),
        ({"accuracies": ACCURACIES * 100}, "between 0 and 1"),
        ({"accuracies": ACCURACIES - 1}, "between 0 and 1"),
        ({"accuracies": np.where([True, False, True], ACCURACIES, math.nan)}, "measured under 'a'"),
        ({"n": (1, 1)}, "number of examples"),
        ({"n": (1, 1, 0)}, "number of examples"),
        ({"reference": "ood"}, "'ood'"),
    ],
)
def test_wrong_input(change, text):
    given = {
        "accuracies": ACCURACIES,
        "variants": VARIANTS,
        "conditions": ("id", "a", "b"),
        "n": (1, 1, 1),
    } | change
    with pytest.raises(DataError, match=text):
        summarise(given.pop("accuracies"), **given)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1]), ([[1]], [[1]]), ([1, math.nan], [1, 2])])
def test_wrong_rows(x, y):
    with pytest.raises(DataError, match="two rows"):
        spearman(x, y)


def test_cells_that_were_not_measured():
    holes = ACCURACIES.copy()
    holes[0, 1] = holes[4, 0] = math.nan
    base, blur, _ = summarise(holes, variants=VARIANTS, conditions=("id", "blur-1", "flat"), n=(None, 500, 10))
    assert (base.n, base.measured, blur.n, blur.measured) == (None, 4, 500, 4)
    assert (blur.low_variant, blur.high_variant) == ("s2", "s4")
    assert blur.mean == pytest.approx((0.7 + 0.4 + 0.6 + 0.8) / 4)
    # Under both: s1, s2, s3 with .91 .92 .89 and .7 .4 .6: variances 7/3e4 and 7/300, ranks 2 3 1 and 3 1 2.
    assert blur.sd_ratio == pytest.approx(10)
    assert blur.correlation.rho == pytest.approx(-0.5)
    assert blur.correlation.count == 3
