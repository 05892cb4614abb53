import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from seedzoo.selection import FAMILY_MEAN, Race, wilson
from seedzoo.selection.wealth import Wealth

STAKES = np.arange(1, 11) / 11


def family(n: int, m: int, *, seed: int, gaps: float = 0.0) -> np.ndarray:
    """Variants that agree on most examples; each is ``gaps`` standard deviations worse than the one before."""
    rng = np.random.default_rng(seed)
    latent = 0.9 * rng.standard_normal((n, 1)) + 0.436 * rng.standard_normal((n, m))
    return latent < 1.0 - gaps * np.arange(m)


def raced(scores: np.ndarray, *, block: int = 50, **arguments: float) -> Race:
    race = Race(scores.shape[1], **arguments)
    for start in range(0, len(scores), block):
        race.update(scores[start : start + block][:, race.alive_ids])
    return race


class TestByHand:
    def test_one_example(self) -> None:
        wealth = Wealth(2)
        highest = wealth.update(np.array([[1.0, 0.0]]))
        # Stakes g = 1/11 .. 10/11 with mean 1/2: the loser is bet against with mean (1 + g), the winner with (1 - g).
        assert wealth.log_e == pytest.approx(np.log([0.5, 1.5]))
        assert highest == pytest.approx(wealth.log_e)

    def test_a_single_rival_is_the_averaged_process(self) -> None:
        # With two variants every composite of rivals is the rival, so wealth moved between bettors keeps its worth.
        wealth = Wealth(2)
        for _ in range(7):
            wealth.update(np.array([[1.0, 0.0]]))
        assert wealth.log_e[1] == pytest.approx(np.log(np.mean((1 + STAKES) ** 7)))

    def test_three_variants_start_with_equal_shares(self) -> None:
        wealth = Wealth(3)
        wealth.update(np.array([[1.0, 0.0, 0.0]]))
        # Against the second: the first wins with mean 1.5, the third draws with 1.
        assert wealth.log_e == pytest.approx(np.log([0.5, 1.25, 1.25]))

    def test_all_right_against_all_wrong(self) -> None:
        # mean_g (1 + g)^t passes 20 at t = 7 (28.9): the loser is dropped at the end of that block.
        assert np.mean((1 + STAKES) ** 6) < 20 < np.mean((1 + STAKES) ** 7)
        race = raced(np.tile([True, False], (20, 1)), block=1)
        assert race.alive_ids.tolist() == [0]
        assert race.evaluations == 2 * 7 + 13
        assert race.decided
        assert race.n == 20

    def test_confidence_sequence_ends_where_the_mixture_reaches_the_limit(self) -> None:
        scores = np.zeros((40, 2))
        scores[:30, 0] = 1
        scores[:25, 1] = 1
        choice = raced(scores[np.random.default_rng(0).permutation(40)]).choice()
        right, wrong = 30, 10
        for end in (choice.accuracy.low, choice.accuracy.high):
            wealth = special.betaln(right + 0.5, wrong + 0.5) - special.betaln(0.5, 0.5)
            wealth -= right * np.log(end) + wrong * np.log(1 - end)
            assert wealth == pytest.approx(np.log(2 / 0.05))
        assert choice.accuracy.estimate == 0.75
        assert choice.variant_intervals[0][0] == choice.accuracy.low


class TestWealth:
    @given(seed=st.integers(0, 2**32), n=st.integers(1, 60), p=st.floats(0, 1))
    @settings(max_examples=50, deadline=None)
    def test_scores_other_than_booleans_never_earn_more_than_they_should(self, seed: int, n: int, p: float) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.beta(0.3 + p, 1.3 - p, (n, 3))
        wealth = Wealth(3)
        wealth._settle(scores)
        for j in range(3):
            rivals = np.delete(scores, j, axis=1) - scores[:, [j]]
            exact = np.log1p(STAKES[:, None, None] * rivals).sum(axis=1)
            assert wealth.log_e[j] <= special.logsumexp(exact) - np.log(20) + 1e-9

    @given(
        seed=st.integers(0, 2**32),
        m=st.integers(1, 7),
        p=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
        blocks=st.lists(st.sampled_from([1, 3, 50, 2000]), max_size=6),
        continuous=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_never_broken(self, seed: int, m: int, p: float, blocks: list[int], continuous: bool) -> None:
        rng = np.random.default_rng(seed)
        race = Race(m)
        expected = 0
        for size in blocks:
            alive = race.alive_ids
            rights = rng.random((size, alive.size)) < p
            if alive.size > 1:
                rights[:, -1] = rights[:, 0]  # identical columns
            race.update(rights * rng.random((size, 1)) if continuous else rights)
            expected += size * alive.size
            assert race.alive_ids.size >= 1
            assert set(race.alive_ids) <= set(alive)
        assert race.evaluations == expected
        choice = race.choice()
        assert choice.best == choice.candidates[0] == race.leader
        assert sorted(choice.candidates) == race.alive_ids.tolist()
        assert 0 <= choice.p_within <= 1
        assert 0 <= choice.accuracy.low <= choice.accuracy.high <= 1

    def test_a_million_examples(self) -> None:
        rng = np.random.default_rng(0)
        scores = rng.random((1_000_000, 4)) < [0.9, 0.9, 0.9, 0.899]
        scores[:, 1] = scores[:, 0]
        race = raced(scores, block=100_000)
        assert {0, 1} <= set(race.alive_ids)
        lows, highs = race.choice().variant_intervals
        assert np.all((lows < 0.9) & (highs > 0.898) & (highs - lows < 0.2))

    def test_a_thousand_variants(self) -> None:
        scores = family(40, 1000, seed=1, gaps=0.003)
        race = raced(scores, block=20)
        assert 0 in race.alive_ids
        assert np.isfinite(race._wealth.log_e).all()

    def test_all_identical_stay_forever(self) -> None:
        race = raced(np.repeat(np.random.default_rng(0).random((20_000, 1)) < 0.3, 30, axis=1), block=5000)
        assert race.alive_ids.size == 30
        # Neither gain nor loss from draws, however long.
        assert np.abs(race._wealth.log_e).max() < 1e-6
        assert race.choice().reason.startswith("Recommended among 30 tied")
        assert race.p_within(0.01) == 1.0

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_all_right_or_all_wrong(self, value: float) -> None:
        race = raced(np.full((5000, 8), value))
        assert race.alive_ids.size == 8
        assert race.choice().accuracy.estimate == value


@pytest.mark.parametrize(("continuous", "runs"), [(False, 300), (True, 150)])
def test_best_is_kept_among_ties(continuous: bool, runs: int) -> None:
    """Ties are the hardest case: every bet on them is fair, so wealth need not fall."""
    dropped = 0
    for seed in range(runs):
        scores = family(500, 5, seed=seed).astype(np.float64)
        if continuous:
            scores = 0.3 + 0.5 * scores
        race = raced(scores, block=100, alpha=0.2)
        dropped += 0 not in race.alive_ids
    assert stats.binom.sf(dropped - 1, runs, 0.2) > 0.001
    assert dropped / runs < 0.2


def test_drops_the_worse_and_spends_less() -> None:
    race = raced(family(3000, 20, seed=3, gaps=0.05))
    assert 0 in race.alive_ids
    assert race.alive_ids.size < 8
    assert race.evaluations < 0.5 * 3000 * 20


def test_same_scores_same_result_in_any_seed_and_blocks_that_share_steps() -> None:
    scores = family(600, 6, seed=5, gaps=0.1)
    one, two = raced(scores, block=100, seed=1), raced(scores, block=100, seed=2)
    assert one.alive_ids.tolist() == two.alive_ids.tolist()
    assert one.evaluations == two.evaluations


class TestChoice:
    def test_before_the_first_example(self) -> None:
        race = Race(3)
        race.update(np.empty((0, 3)))
        choice = race.choice()
        assert (choice.best, choice.candidates, choice.n, race.evaluations) == (0, (0, 1, 2), 0, 0)
        assert math.isnan(choice.accuracy.estimate)
        assert (choice.accuracy.low, choice.accuracy.high) == (0, 1)
        assert np.isnan(choice.means).all()
        assert choice.p_within == 0
        assert choice.detectable == 1
        assert choice.labels_to_separate is None
        assert "no example" in choice.reason

    def test_single_variant(self) -> None:
        race = raced(np.ones((10, 1), dtype=bool))
        choice = race.choice(reserve=np.ones((5, 1)))
        assert choice.candidates == (0,)
        assert choice.p_within == 1
        assert choice.detectable == 0
        assert choice.gains == {FAMILY_MEAN: choice.gains[FAMILY_MEAN]}
        assert choice.gains[FAMILY_MEAN].high == 0

    def test_reserve_speaks_for_the_frozen_pick(self) -> None:
        race = raced(family(1000, 4, seed=2, gaps=0.2))
        reserve = family(200, 4, seed=9)
        reserve[:, 3] = True  # the best on the reserve, but the pick was frozen before
        extra = reserve.any(axis=1)
        choice = race.choice(reserve=reserve, baselines={"any": extra}, reference=2)
        assert choice.best == race.leader == 0
        low, high = wilson(reserve[:, 0].mean(), 200)
        assert (choice.accuracy.low, choice.accuracy.high) == pytest.approx((float(low), float(high)))
        assert choice.means.tolist() == reserve.mean(axis=0).tolist()
        assert choice.n == 1200
        assert list(choice.gains) == [FAMILY_MEAN, "best_held_out", "any"]
        d = reserve[:, 0].astype(float) - reserve[:, 2]
        half = stats.t.isf(0.025, 199) * np.sqrt(d.var(ddof=1) / 200 + 1 / 200**2)
        gain = choice.gains["best_held_out"]
        assert (gain.low, gain.high) == pytest.approx((d.mean() - half, d.mean() + half))
        same = race.choice(reserve=reserve, reference=0).gains["best_held_out"]
        assert (same.low, same.estimate, same.high) == (0, 0, 0)

    def test_labels_to_separate_predicts_the_drop(self) -> None:
        scores = family(4000, 2, seed=4, gaps=0.12)
        race = Race(2)
        race.update(scores[:200])
        more = race.choice().labels_to_separate
        assert more is not None
        start = 200
        while not race.decided:
            race.update(scores[start : start + 20][:, race.alive_ids])
            start += 20
        assert start - 200 < 10 * more

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"delta": 0.0}, "delta"),
            ({"reserve": np.ones((4, 2))}, "one column per variant"),
            ({"reserve": np.full((4, 3), 2.0)}, "lie in"),
            ({"baselines": {"a": [1.0]}}, "need a reserve"),
            ({"reference": 1}, "need a reserve"),
            ({"reserve": np.ones((4, 3)), "reference": 3}, "reference"),
            ({"reserve": np.ones((4, 3)), "baselines": {FAMILY_MEAN: np.ones(4)}}, "reserved"),
        ],
    )
    def test_refuses(self, arguments: dict[str, object], message: str) -> None:
        race = Race(3)
        race.update(np.ones((2, 3)))
        with pytest.raises(ValueError, match=message):
            race.choice(**arguments)  # type: ignore[arg-type]


class TestWithin:
    def test_grows_with_delta_and_with_data(self) -> None:
        scores = family(4000, 6, seed=8, gaps=0.05)
        few, many = raced(scores[:100]), raced(scores)
        assert few.p_within(0.001) <= few.p_within(0.01) <= few.p_within(0.1)
        assert few.p_within(0.01) < many.p_within(0.01)

    def test_unsure_after_a_few_examples(self) -> None:
        assert raced(family(20, 10, seed=1, gaps=0.05)).p_within(0.01) < 0.9


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.ones((2, 2)), "one column per variant"),
        (np.ones(3), "two dimensions"),
        (np.full((1, 3), np.nan), "NaN"),
        (np.full((1, 3), 1.5), "lie in"),
    ],
)
def test_bad_block_leaves_the_race_unchanged(block: np.ndarray, message: str) -> None:
    race = Race(3)
    with pytest.raises(ValueError, match=message):
        race.update(block)
    assert (race.n, race.evaluations) == (0, 0)


@pytest.mark.parametrize("arguments", [{"n_variants": 0}, {"n_variants": 2, "alpha": 0}, {"n_variants": 2, "seed": -1}])
def test_bad_arguments(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Race(**arguments)  # type: ignore[arg-type]
