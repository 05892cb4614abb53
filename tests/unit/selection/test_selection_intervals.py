import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.selection import wilson, wilson_at


def test_hand_worked_half_of_ten() -> None:
    # z = 1.959964: centre .5, half = z sqrt(.025 + z^2/400) / (1 + z^2/10) = .263406
    low, high = wilson(0.5, 10)
    assert low == pytest.approx(0.236594, abs=1e-6)
    assert high == pytest.approx(0.763406, abs=1e-6)


def test_hand_worked_none_of_ten() -> None:
    # With p = 0 the interval is [0, z^2 / (n + z^2)] = [0, 3.841459 / 13.841459].
    low, high = wilson(0.0, 10)
    assert low == 0.0
    assert high == pytest.approx(0.277533, abs=1e-6)


def test_all_right_mirrors_all_wrong() -> None:
    low, high = wilson([0.0, 1.0], [25, 25])
    assert high[1] == 1.0
    assert low[1] == pytest.approx(1 - high[0], abs=1e-12)


def test_broadcasts() -> None:
    low, _ = wilson(np.full((3, 1), 0.4), np.array([10, 20]))
    assert low.shape == (3, 2)


@given(st.floats(0, 1), st.floats(0.5, 1e7), st.floats(0, 6))
def test_holds_the_mean_and_solves_the_score_equation(mean: float, n: float, z: float) -> None:
    low, high = wilson_at(mean, n, z=z)
    assert 0 <= low <= mean <= high <= 1
    for end in (float(low), float(high)):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(mean - end) == pytest.approx(z * np.sqrt(end * (1 - end) / n), abs=1e-6)


@pytest.mark.parametrize(
    ("mean", "n", "alpha"),
    [(1.1, 10, 0.05), (-0.1, 10, 0.05), (np.nan, 10, 0.05), (0.5, 0, 0.05), (0.5, 10, 0.0), (0.5, 10, 1.0)],
)
def test_refuses(mean: float, n: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="must"):
        wilson(mean, n, alpha=alpha)


@pytest.mark.parametrize("z", [-1.0, np.inf, np.nan])
def test_refuses_critical_value(z: float) -> None:
    with pytest.raises(ValueError, match="z must"):
        wilson_at(0.5, 10, z=z)
