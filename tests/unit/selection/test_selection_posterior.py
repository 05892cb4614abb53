import numpy as np
import pytest
from scipy import stats

from seedzoo.selection.posterior import posterior_within


def stated(means: list[float], covariance: np.ndarray, *, delta: float = 0.01, unit: float = 1.0) -> float:
    return posterior_within(
        np.array(means), covariance, best=0, delta=delta, n_draws=40_000, rng=np.random.default_rng(0), unit=unit
    )


def test_a_single_variant_is_the_best() -> None:
    assert stated([0.3], np.eye(1)) == 1.0


def test_meets_the_normal_law_where_the_spread_is_wide() -> None:
    # With a unit of 1000 the prior is flat on the scale of the means: only the sampling error is left.
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]]) * 1e-4
    expected = stats.norm.cdf((0.004 + 0.01) / np.sqrt(2e-4))
    assert stated([0.804, 0.8], covariance, unit=1000.0) == pytest.approx(expected, abs=0.01)


def test_a_tight_family_is_recognised() -> None:
    # Twenty means that differ by less than their noise: all are within one point, whichever leads.
    noise = 0.005
    means = np.random.default_rng(1).normal(0.9, noise / 3, 20)
    order = np.argsort(-means)
    assert stated(list(means[order]), np.eye(20) * noise**2) > 0.9


def test_one_outstanding_variant_is_recognised() -> None:
    means = [0.95, *np.random.default_rng(2).normal(0.9, 0.003, 19)]
    assert stated(means, np.eye(20) * 0.005**2) > 0.99
    assert stated([means[1], means[0], *means[2:]], np.eye(20) * 0.005**2) < 0.01


def test_grows_with_delta_and_does_not_depend_on_the_level() -> None:
    covariance = np.eye(5) * 4e-4
    means = [0.7, 0.69, 0.68, 0.72, 0.6]
    low, high = (stated(means, covariance, delta=delta) for delta in (0.005, 0.05))
    assert 0 < low < high < 1
    assert stated([mean + 0.2 for mean in means], covariance) == pytest.approx(stated(means, covariance), abs=1e-3)


def test_scales_with_the_unit() -> None:
    covariance = np.eye(4) * 1e-4
    means = np.array([0.81, 0.8, 0.79, 0.8])
    points = stated(list(100 * means), covariance * 1e4, delta=1.0, unit=100.0)
    assert points == pytest.approx(stated(list(means), covariance), abs=1e-3)
