"""What a report adds to a choice: doubts about labels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seedzoo.engine.report import label_doubts
from seedzoo.records import LabelDoubt

CLASSES = ("bag", "coat", "shirt")


def test_doubts_are_agreed_on_by_nine_of_ten_variants_and_come_clearest_first() -> None:
    labels = np.array([0, 0, 1, 2])
    predicted = np.array(
        [
            [0] * 10,  # right
            [1] * 9 + [2],  # nine of ten say coat
            [2] * 10,  # all say shirt
            [0] * 5 + [1] * 5,  # wrong, but nobody agrees on what it is
        ]
    )
    assert label_doubts(predicted.astype(np.int32), labels, CLASSES) == (
        LabelDoubt(index=2, label="coat", called="shirt", share=1.0),
        LabelDoubt(index=1, label="bag", called="coat", share=0.9),
    )
    assert label_doubts(predicted[:, :4].astype(np.int32), labels, CLASSES) == ()


@given(arrays(np.int32, (70, 6), elements=st.integers(0, 2)), arrays(np.int64, 70, elements=st.integers(0, 2)))
def test_doubts_are_never_about_what_most_variants_get_right(predicted: np.ndarray, labels: np.ndarray) -> None:
    doubts = label_doubts(predicted, labels, CLASSES)
    assert len(doubts) <= 50
    for doubt in doubts:
        assert (predicted[doubt.index] == labels[doubt.index]).mean() <= 0.1
        assert doubt.share >= 0.9
