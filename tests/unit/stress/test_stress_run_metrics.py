"""What is counted on predictions: worked by hand, and the same however the examples are split."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedzoo.stress import get_condition
from seedzoo.stress.metrics import BINS, Truth, add, class_probabilities, row_of, score, stack, sums

ID = get_condition("id")


def row(probabilities, truth):
    scores = score(np.array(probabilities, dtype=np.float32), truth)
    return row_of(sums(stack([scores]), truth), 0, variant="a", condition=ID)


def test_labels_by_hand() -> None:
    found = row(
        [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.0, 0.25, 0.75], [0.25, 0.75, 0.0]],
        Truth(labels=np.array([0, 0, 2, 2]), classes=3),
    )
    assert (found.n, found.correct, found.accuracy) == (4, 2, 0.5)
    assert found.top5 is None  # three classes
    tiny = float(np.finfo(np.float32).tiny)
    assert found.log_loss == pytest.approx(np.mean(-np.log([0.5, 0.25, 0.75, tiny])), abs=1e-8)
    # Squared distances: .25+.0625+.0625, .5625+.25+.0625, .0625+.0625, .0625+.5625+1.
    assert found.brier == pytest.approx((0.375 + 0.875 + 0.125 + 1.625) / 4)
    # Two examples at .5, one right; two at .75, one right: gaps 0 and |1 - 1.5| of four.
    assert found.ece == pytest.approx(0.5 / 4)
    assert found.class_n == (2, 0, 2)
    assert found.class_correct == (1, 0, 1)


def test_bins_are_closed_above() -> None:
    edge = 3 / BINS  # .2: the third bin's upper end, and the fourth's lower
    truth = Truth(labels=np.zeros(2, dtype=np.int64), classes=6)
    probabilities = np.array([[edge] + [(1 - edge) / 5] * 5, [0.25, 0.15, 0.15, 0.15, 0.15, 0.15]])
    counted = sums(stack([score(probabilities.astype(np.float32), truth)]), truth)
    assert np.flatnonzero(counted["bin_n"][0]).tolist() in ([2, 3], [3])  # .2 as float32 lies a hair above
    top = np.array([[1.0, 0, 0, 0, 0, 0]], dtype=np.float32)
    assert np.flatnonzero(
        sums(stack([score(top, Truth(labels=np.zeros(1, dtype=np.int64), classes=6))]),
             Truth(labels=np.zeros(1, dtype=np.int64), classes=6))["bin_n"][0]
    ).tolist() == [BINS - 1]  # fmt: skip
    half = np.array([[0.6, 0.4]], dtype=np.float32)
    two = Truth(labels=np.zeros(1, dtype=np.int64), classes=2)
    assert np.flatnonzero(sums(stack([score(half, two)]), two)["bin_n"][0]).tolist() == [9]


def test_five_most_probable() -> None:
    probabilities = np.array([[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]] * 6, dtype=np.float32)
    found = row(probabilities, Truth(labels=np.arange(6), classes=6))
    assert found.correct == 1
    assert found.top5 == pytest.approx(5 / 6)  # of the three at .1 the first two are among the five


def test_several_classes_may_be_right() -> None:
    accepted = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]], dtype=bool)
    probabilities = [[0.25, 0.5, 0.25, 0, 0, 0], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [1, 0, 0, 0, 0, 0]]
    found = row(probabilities, Truth(labels=np.array([0, 5, 0]), classes=6, accepted=accepted))
    assert found.correct == 1
    assert found.top5 == pytest.approx(1 / 3)  # the sixth of equal ones, and nothing accepted at all
    tiny = float(np.finfo(np.float32).tiny)
    assert found.log_loss == pytest.approx(np.mean(-np.log([0.75, 0.1, tiny])), abs=1e-7)
    assert (found.brier, found.class_n, found.class_correct) == (None, None, None)
    # Two at .5 (one right), one at 1 (wrong): gaps |1 - 1| and |0 - 1| of three.
    assert found.ece == pytest.approx(1 / 3)


def test_candidates_are_all_there_is() -> None:
    logits = np.log(np.array([[0.5, 0.2, 0.3], [0.1, 0.3, 0.6]], dtype=np.float32))
    candidates = np.array([1, 2])
    probabilities = class_probabilities(logits, candidates)
    assert probabilities == pytest.approx(np.array([[0.4, 0.6], [1 / 3, 2 / 3]]))
    found = row(probabilities, Truth(labels=np.array([2, 1]), classes=3, candidates=candidates))
    assert found.correct == 1
    assert found.log_loss == pytest.approx(np.mean(-np.log([0.6, 1 / 3])), abs=1e-6)
    assert found.class_n == (0, 1, 1)
    assert found.class_correct == (0, 0, 1)


def test_an_anchor_is_right_only_with_all_its_frames() -> None:
    probabilities = [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.7, 0.3], [0.4, 0.6]]
    truth = Truth(labels=np.zeros(5, dtype=np.int64), classes=2, anchors=np.array([7, 7, 3, 3, 9]))
    found = row(probabilities, truth)
    assert (found.n, found.correct) == (3, 1)
    assert (found.log_loss, found.top5, found.brier, found.ece, found.class_n) == (None, None, None, None, None)


def test_parts_of_different_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="no parts"):
        add([])
    with pytest.raises(ValueError, match="parts count"):
        add([{"n": np.array(1)}, {"n": np.array(1), "correct": np.array([1])}])


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_split_in_any_order_adds_up_to_the_whole(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    classes = data.draw(st.sampled_from([2, 7]))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    logits = [random.normal(scale=4, size=(count, classes)).astype(np.float32) for _ in range(3)]
    accepted = random.random((count, classes)) < 0.5 if data.draw(st.booleans()) else None
    truth = Truth(labels=random.integers(0, classes, count), classes=classes, accepted=accepted)
    scores = stack([score(class_probabilities(each), truth) for each in logits])
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=4))})
    order = random.permutation(count)
    parts = [sums(scores, truth, order[a:b]) for a, b in itertools.pairwise(cuts)]
    random.shuffle(parts)
    whole, merged = sums(scores, truth), add(parts)
    assert whole.keys() == merged.keys()
    for name, counted in whole.items():
        assert np.array_equal(counted, merged[name]), name
    assert int(whole["bin_n"].sum()) == 3 * count
    found = row_of(whole, 1, variant="a", condition=ID)
    assert 0 <= (found.ece or 0) <= 1
