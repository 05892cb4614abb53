"""Seeded stratified splits: proportions, determinism, and limits that take fair samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.errors import DataError, RecipeError
from seedzoo.training.data.splits import held_out, parts, share_of, stratified_order
from seedzoo.training.recipe import DataSection

LABELS = st.lists(st.integers(2, 12), min_size=2, max_size=4).flatmap(
    lambda counts: st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())
)


@given(LABELS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_class_is_on_both_sides_in_its_share(listed: list[int], share: float, seed: int) -> None:
    labels = np.array(listed)
    names = tuple(f"c{index}" for index in range(labels.max() + 1))
    chosen = held_out(labels, classes=names, share=share, seed=seed)
    for label in range(len(names)):
        size, picked = int((labels == label).sum()), int(chosen[labels == label].sum())
        assert 1 <= picked < size
        assert picked == min(max(1, round(share * size)), size - 1)
    assert np.array_equal(chosen, held_out(labels, classes=names, share=share, seed=seed))


@given(LABELS, st.integers(0, 5))
def test_beginnings_of_the_order_have_the_classes_proportions(listed: list[int], seed: int) -> None:
    labels = np.array(listed)
    order = stratified_order(labels, seed=seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    counts = np.bincount(labels)
    # At place t in [0, 1) each class has shown n t examples, give or take one; so k is off by at most one per class.
    for k in range(len(labels) + 1):
        shown = np.bincount(labels[order[:k]], minlength=len(counts))
        assert np.all(np.abs(shown - counts * k / len(labels)) <= 1 + len(counts))


def test_parts_are_disjoint_and_complete_and_the_seed_decides() -> None:
    labels = np.repeat(np.arange(4), 25)
    section = DataSection(source="digits", test_share=0.4, reserve_test=12, train_limit=20)
    in_test = held_out(labels, classes=tuple("abcd"), share=0.4, seed=0)
    train, test, reserved = parts(section, labels, in_test)
    assert (len(train), len(test), len(reserved)) == (20, 28, 12)
    assert len({*train.tolist(), *test.tolist(), *reserved.tolist()}) == 60
    assert set(test.tolist()) | set(reserved.tolist()) == set(np.flatnonzero(in_test).tolist())
    # Equal classes alternate in the order, so each has its exact share of every part.
    assert np.bincount(labels[train]).tolist() == [5] * 4
    assert np.bincount(labels[test]).tolist() == [7] * 4
    assert np.bincount(labels[reserved]).tolist() == [3] * 4
    assert not np.array_equal(in_test, held_out(labels, classes=tuple("abcd"), share=0.4, seed=1))


def test_what_cannot_be_split_says_why() -> None:
    with pytest.raises(DataError, match="class 'b' has 1 example: not enough"):
        held_out(np.array([0, 0, 1]), classes=("a", "b"), share=0.5, seed=0)
    with pytest.raises(RecipeError, match="leaves none of the 2 test examples"):
        parts(DataSection(source="digits", reserve_test=2), np.array([0, 0, 0]), np.array([True, True, False]))
    with pytest.raises(RecipeError, match="test_share must say"):
        share_of(DataSection(source="digits"))
