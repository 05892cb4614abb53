import numpy as np
import pytest

from seedzoo.selection import accuracy_scores


def test_right_where_classes_match() -> None:
    scores = accuracy_scores([[1, 2], [0, 0], [3, 1]], [1, 0, 1])
    assert scores.dtype == np.bool_
    assert scores.tolist() == [[True, False], [True, True], [False, True]]


def test_mixed_integer_types_compare_by_value() -> None:
    predicted = np.array([[255], [1]], dtype=np.uint8)
    assert accuracy_scores(predicted, np.array([-1, 1], dtype=np.int16)).tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [([1, 2], [1, 2]), ([[1], [2]], [1]), ([[1], [2]], [[1], [2]]), ([[1.0], [2.0]], [1, 2]), ([[1]], ["1"])],
)
def test_refuses(predicted: list[object], labels: list[object]) -> None:
    with pytest.raises(ValueError, match="must"):
        accuracy_scores(predicted, labels)
