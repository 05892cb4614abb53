import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seedzoo.selection.active import ActiveSelector
from seedzoo.selection.choice import choose


def family(seed: int, n: int, m: int, *, classes: int = 4, accuracies: object = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that agree on half of the examples, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    wrong = (labels[:, None] + rng.integers(1, classes, (n, m))) % classes
    right = (rng.random((n, m)) < accuracies) | (rng.random((n, 1)) < 0.5)
    return np.where(right, labels[:, None], wrong), labels


def run(selector: ActiveSelector, labels: np.ndarray, count: int) -> list[int]:
    asked = []
    for _ in range(count):
        at = selector.next()
        selector.tell(at, int(labels[at]))
        asked.append(at)
    return asked


class TestByHand:
    # The variants disagree on example 1 alone: 0 and 1 say class 1, 2 says class 0.
    PREDICTIONS = ((0, 0, 0), (1, 1, 0), (1, 1, 1))

    def test_votes_before_labels(self) -> None:
        selector = ActiveSelector(self.PREDICTIONS, 2)
        assert selector.sampling.tolist() == [0, 1, 0]
        choice = selector.choice()
        assert choice.candidates == (0, 1, 2)
        assert choice.reason == (
            "Recommended for agreeing most with the variants' votes; no label is known yet. "
            "It ties with 1 more; the lowest index decides."
        )
        assert choice.n == 0

    def test_the_label_decides(self) -> None:
        selector = ActiveSelector(self.PREDICTIONS, 2)
        assert selector.next() == 1
        selector.tell(1, 0)
        assert selector.relative == pytest.approx([-1 / 9, -1 / 9, 2 / 9])
        choice = selector.choice()
        assert (choice.best, choice.candidates, choice.n) == (2, (2,), 1)
        assert "all disagreement is labelled" in choice.reason
        assert sorted(run(selector, np.array([0, 0, 1]), 2)) == [0, 2]
        with pytest.raises(ValueError, match="every example is labelled"):
            selector.next()

    def test_a_class_that_nobody_predicts(self) -> None:
        selector = ActiveSelector(self.PREDICTIONS, 5)
        selector.tell(1, 4)
        assert selector.relative.tolist() == [0, 0, 0]
        assert selector.choice().candidates == (0, 1, 2)

    def test_what_cannot_be_stated_is_nan(self) -> None:
        choice = ActiveSelector(self.PREDICTIONS, 2).choice(alpha=0.1, delta=0.02)
        assert math.isnan(choice.accuracy.estimate)
        assert (choice.accuracy.low, choice.accuracy.high) == (0, 1)
        assert np.isnan(choice.means).all()
        assert math.isnan(choice.p_within)
        assert math.isnan(choice.detectable)
        assert choice.labels_to_separate is None
        assert (choice.gains["family_mean"].low, choice.gains["family_mean"].high) == (-1, 1)
        assert (choice.alpha, choice.delta) == (0.1, 0.02)

    def test_one_variant(self) -> None:
        selector = ActiveSelector([[0], [1]], 2)
        assert selector.choice().candidates == (0,)
        assert selector.choice().reason == "Recommended as the only variant there is."
        run(selector, np.array([0, 1]), 2)

    def test_identical_variants(self) -> None:
        selector = ActiveSelector(np.repeat([[0], [1], [1]], 4, axis=1), 2)
        assert selector.sampling.tolist() == [0, 0, 0]
        run(selector, np.array([1, 1, 1]), 3)
        assert selector.choice().candidates == (0, 1, 2, 3)


@pytest.mark.parametrize("labelled", [0, 1, 7, 30])
def test_each_draw_is_unbiased_for_contrasts(labelled: int) -> None:
    # Exactly: the expectation over q of what a draw would give is the truth, whatever the surrogate believes.
    predictions, labels = family(1, 80, 5)
    selector = ActiveSelector(predictions, 4, seed=3)
    run(selector, labels, labelled)
    q = selector.sampling
    assert q.sum() == pytest.approx(1)
    expected = sum(
        q[at] * selector._unbiased(int(selector._row_of[at]), int(labels[at]), float(q[at])) for at in np.flatnonzero(q)
    )
    truth = (predictions == labels[:, None]).mean(axis=0)
    assert expected - expected.mean() == pytest.approx(truth - truth.mean(), abs=1e-12)


def test_average_over_runs_is_unbiased() -> None:
    predictions, labels = family(2, 60, 4, accuracies=[0.8, 0.7, 0.6, 0.4])
    truth = (predictions == labels[:, None]).mean(axis=0)
    found = []
    for seed in range(300):
        selector = ActiveSelector(predictions, 4, seed=seed)
        total = np.zeros(4)
        for _ in range(6):
            at = selector.next()
            total += selector._unbiased(int(selector._row_of[at]), int(labels[at]), float(selector.sampling[at]))
            selector.tell(at, int(labels[at]))
        found.append(total / 6 - total.mean() / 6)
    z = (np.mean(found, axis=0) - (truth - truth.mean())) / (np.std(found, axis=0) / np.sqrt(300))
    assert np.abs(z).max() < 4


def test_draws_follow_the_stated_probabilities() -> None:
    predictions, _ = family(3, 40, 4)
    q = ActiveSelector(predictions, 4).sampling
    counts = np.bincount([ActiveSelector(predictions, 4, seed=seed).next() for seed in range(1500)], minlength=40)
    assert (counts[q == 0] == 0).all()
    assert stats.chisquare(counts[q > 0], 1500 * q[q > 0]).pvalue > 1e-4


def test_candidates_keep_the_best_and_shrink() -> None:
    kept, sizes, repetitions = 0, [], 60
    for seed in range(repetitions):
        predictions, labels = family(seed, 400, 6, accuracies=[0.75, 0.74, 0.7, 0.6, 0.3, 0.05])
        truth = (predictions == labels[:, None]).mean(axis=0)
        selector = ActiveSelector(predictions, 4, seed=seed)
        run(selector, labels, 120)
        candidates = selector.choice().candidates
        kept += truth[list(candidates)].max() >= truth.max()
        sizes.append(len(candidates))
    assert stats.binom.cdf(kept, repetitions, 0.95) > 0.001
    assert np.mean(sizes) < 5


def test_surrogate_that_is_misled_does_not_cost_the_best() -> None:
    # Five variants share one mistake; the sixth is right where they disagree. The votes are wrong everywhere.
    labels = np.zeros(300, dtype=int)
    predictions = np.ones((300, 6), dtype=int)
    predictions[:, 5] = 0
    selector = ActiveSelector(predictions, 2)
    assert selector.choice().best == 0
    run(selector, labels, 20)
    choice = selector.choice()
    assert choice.best == 5
    assert choice.candidates == (5,)


def test_all_labelled_is_the_truth() -> None:
    predictions, labels = family(4, 60, 7)
    selector = ActiveSelector(predictions, 4)
    assert sorted(run(selector, labels, 60)) == list(range(60))
    truth = (predictions == labels[:, None]).mean(axis=0)
    assert selector.relative == pytest.approx(truth - truth.mean())
    assert selector.choice().candidates == tuple(np.flatnonzero(truth >= truth.max() - 1e-12))


class TestAudit:
    def test_states_accuracies_of_the_sample(self) -> None:
        predictions, labels = family(5, 500, 4)
        selector = ActiveSelector(predictions, 4)
        run(selector, labels, 10)
        to_label = selector.audit(200)
        for at in to_label[:-1]:
            selector.tell(int(at), int(labels[at]))
        assert math.isnan(selector.choice().accuracy.estimate)
        selector.tell(int(to_label[-1]), int(labels[to_label[-1]]))
        sample = selector.state()["audit"]
        assert sample.size == np.unique(sample).size == 200
        choice = selector.choice()
        expected = choose(predictions[sample] == labels[sample, None])
        assert choice.means.tolist() == expected.means.tolist()
        lows, highs = expected.variant_intervals
        assert (choice.accuracy.low, choice.accuracy.high) == pytest.approx(
            (lows[choice.best], highs[choice.best]), abs=0.01
        )
        gain = choice.gains["family_mean"]
        assert gain.estimate == pytest.approx(choice.means[choice.best] - choice.means.mean())
        assert -1 < gain.low < gain.estimate < gain.high < 1

    def test_once_only(self) -> None:
        selector = ActiveSelector([[0, 1]] * 5, 2)
        assert selector.audit(5).tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="drawn already"):
            selector.audit(3)

    @pytest.mark.parametrize("count", [0, 6, 1.5])
    def test_refuses(self, count: object) -> None:
        with pytest.raises(ValueError, match="count"):
            ActiveSelector([[0, 1]] * 5, 2).audit(count)


class TestState:
    @pytest.mark.parametrize("before", [0, 1, 25, 110])
    @pytest.mark.parametrize("pending", [False, True])
    def test_restored_goes_on_as_the_first(self, before: int, pending: bool) -> None:
        predictions, labels = family(6, 260, 5)
        first = ActiveSelector(predictions, 4, eta=0.3, seed=9)
        for at in first.audit(4):
            first.tell(int(at), int(labels[at]))
        run(first, labels, before)
        if pending:
            first.next()
        second = ActiveSelector.restore(predictions, first.state())
        assert second.sampling == pytest.approx(first.sampling)
        assert run(second, labels, 15) == run(first, labels, 15)
        one, two = (dataclasses.asdict(each.choice()) for each in (first, second))
        assert one.pop("reason") == two.pop("reason")
        assert str(one) == str(two)

    def test_holds_plain_values(self) -> None:
        predictions, labels = family(7, 30, 3)
        selector = ActiveSelector(predictions, 4)
        drawn = selector.next()
        q = selector.sampling[drawn]
        selector.tell(drawn, int(labels[drawn]))
        state = selector.state()
        assert state["indices"].tolist() == [drawn]
        assert state["probabilities"].tolist() == [q]
        assert state["pending"] == -1
        lists = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in state.items()}
        assert ActiveSelector.restore(predictions, lists).next() == selector.next()

    @pytest.mark.parametrize(
        "change",
        [
            {"labels": [9]},
            {"indices": [99]},
            {"indices": [0, 1]},
            {"probabilities": [2.0]},
            {"probabilities": [0.0]},
            {"probabilities": ["x"]},
            {"indices": [0, 0], "labels": [0, 0], "probabilities": [math.nan, math.nan]},
            {"pending": 99},
            {"audit": [2, 2]},
            {"audit": 3},
            {"pending": "x"},
            {"audit": [99]},
            {"eta": 0},
            {"n_classes": 1},
            {"seed": None},
        ],
    )
    def test_refuses(self, change: dict[str, object]) -> None:
        selector = ActiveSelector([[0, 1]] * 5, 2)
        run(selector, np.zeros(5, dtype=int), 1)
        with pytest.raises(ValueError, match=r".+"):
            ActiveSelector.restore([[0, 1]] * 5, selector.state() | change)

    @pytest.mark.parametrize("probability", [0.0, -0.5, 1.5, math.inf, math.nan])
    def test_refuses_what_cannot_be_pending(self, probability: float) -> None:
        predictions = [[0, 1]] * 5 + [[0, 0]]
        selector = ActiveSelector(predictions, 2)
        run(selector, np.zeros(6, dtype=int), 1)
        done, next_ = int(selector.state()["indices"][0]), selector.next()
        for change in (
            {"pending": next_, "pending_probability": probability},
            {"pending": done, "pending_probability": 0.5},
            {"pending": 5, "pending_probability": 0.5},
        ):
            with pytest.raises(ValueError, match="cannot be pending"):
                ActiveSelector.restore(predictions, selector.state() | change)
        rest = selector.state() | {"pending": 5, "pending_probability": math.nan}
        assert ActiveSelector.restore(predictions, rest).next() == 5

    def test_refuses_what_lacks_an_entry(self) -> None:
        with pytest.raises(ValueError, match="labels"):
            ActiveSelector.restore(
                [[0, 1]], {k: v for k, v in ActiveSelector([[0, 1]], 2).state().items() if k != "labels"}
            )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 6), st.integers(2, 5), st.floats(0.05, 0.95))
def test_any_family(seed: int, n: int, m: int, classes: int, eta: float) -> None:
    rng = np.random.default_rng(seed)
    predictions = rng.integers(0, classes, (n, m)).astype(rng.choice(["int64", "uint8", "int32"]))
    labels = rng.integers(0, classes, n)
    selector = ActiveSelector(predictions, classes, eta=eta, seed=seed)
    truth = (predictions == labels[:, None]).mean(axis=0)
    asked = set()
    for count in range(n):
        q = selector.sampling
        assert q.sum() == pytest.approx(1) or not q.any()
        disagreed = (predictions != predictions[:, :1]).any(axis=1)
        assert all(q[at] > 0 for at in np.flatnonzero(disagreed) if at not in asked)
        at = selector.next()
        assert at == selector.next()
        assert at not in asked
        asked.add(at)
        selector.tell(at, int(labels[at]))
        choice = selector.choice()
        assert choice.best == choice.candidates[0]
        assert choice.n == count + 1
        assert np.isfinite(selector.relative).all()
    assert set(selector.choice().candidates) == set(np.flatnonzero(truth >= truth.max() - 1e-12))


def test_many_labels_stay_finite() -> None:
    predictions, labels = family(8, 4000, 12, accuracies=np.linspace(0.3, 0.9, 12))
    selector = ActiveSelector(predictions, 4)
    run(selector, labels, 900)
    assert np.isfinite(selector._wealth).all()
    assert 11 in selector.choice().candidates
    assert len(selector.choice().candidates) <= 4


@pytest.mark.parametrize(
    ("predictions", "n_classes", "options", "message"),
    [
        ([[0.5, 1.0]], 2, {}, "integers"),
        ([[True, False]], 2, {}, "integers"),
        ([[np.nan, 1.0]], 2, {}, "integers"),
        ([0, 1], 2, {}, "shape"),
        (np.zeros((0, 3), dtype=int), 2, {}, "shape"),
        (np.zeros((3, 0), dtype=int), 2, {}, "shape"),
        ([[0, 1], [0]], 2, {}, "read as an array"),
        ([[0, 2]], 2, {}, "0..1"),
        ([[0, -1]], 2, {}, "0..1"),
        ([[0, 0]], 1, {}, "n_classes"),
        ([[0, 0]], 2.5, {}, "n_classes"),
        ([[0, 1]], 2, {"eta": 0.0}, "eta"),
        ([[0, 1]], 2, {"eta": 1.0}, "eta"),
        ([[0, 1]], 2, {"eta": math.nan}, "eta"),
        ([[0, 1]], 2, {"seed": -1}, "seed"),
    ],
)
def test_refuses(predictions: object, n_classes: object, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActiveSelector(predictions, n_classes, **options)


def test_tell_refuses() -> None:
    selector = ActiveSelector([[0, 1]] * 3, 2)
    for index, label, message in (
        (3, 0, "index"),
        (-1, 0, "index"),
        (0, 2, "label"),
        (0, -1, "label"),
        (0, 0.5, "label"),
    ):
        with pytest.raises(ValueError, match=message):
            selector.tell(index, label)
    selector.tell(0, 1)
    with pytest.raises(ValueError, match="labelled already"):
        selector.tell(0, 1)
    asked = selector.next()
    with pytest.raises(ValueError, match="was asked"):
        selector.tell(3 - asked, 1)
    for arguments in ({"alpha": 0}, {"delta": 1}):
        with pytest.raises(ValueError, match=r"alpha|delta"):
            selector.choice(**arguments)
