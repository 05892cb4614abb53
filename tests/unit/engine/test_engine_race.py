"""The race inside the engine: what it may see, and when it starts by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.engine.race import race_pays, shuffled


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200, unique=True), st.integers(0, 100))
def test_the_order_is_random_but_follows_from_the_seed(rows: list[int], seed: int) -> None:
    order = shuffled(np.array(rows), seed)
    assert sorted(order.tolist()) == sorted(rows)
    assert order.tolist() == shuffled(np.array(rows), seed).tolist()


def test_a_race_starts_by_itself_where_all_would_take_long() -> None:
    assert not race_pays(2499, 1.0)
    assert not race_pays(2500, 0.024)
    assert race_pays(2500, 0.0241)
