import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from seedzoo.selection.signatures import Signature, estimated_proportions, signature


def softmax(seed: int, n: int, classes: int, *, scale: float = 2.0) -> np.ndarray:
    logits = scale * np.random.default_rng(seed).standard_normal((n, classes))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def exact_cost(p: np.ndarray, proportions: np.ndarray) -> float:
    """Unregularised transport by linear programming."""
    n, classes = p.shape
    rows = np.kron(np.eye(n), np.ones(classes))
    columns = np.kron(np.ones(n), np.eye(classes))
    limits = np.concatenate([np.full(n, 1 / n), proportions])
    return float(linprog((1 - p).ravel(), A_eq=np.vstack([rows, columns]), b_eq=limits).fun)


def sinkhorn_cost(p: np.ndarray, proportions: np.ndarray, *, epsilon: float = 0.02) -> float:
    """The textbook iteration, run for long."""
    kernel = np.exp((p - 1) / epsilon)
    right = np.ones(p.shape[1])
    for _ in range(20_000):
        left = 1 / len(p) / (kernel @ right)
        right = proportions / (kernel.T @ left)
    return float((left[:, None] * kernel * right * (1 - p)).sum())


class TestByHand:
    def test_certain_and_even(self) -> None:
        found = signature(np.eye(4))
        assert found == Signature(cot=pytest.approx(1.0, abs=1e-9), nuclear=pytest.approx(1.0), assumed=True)

    def test_one_class_only(self) -> None:
        # Half of the mass must move from class 0 to class 1 at cost 1; rank one: nuclear = sqrt(N) / sqrt(2 N).
        found = signature(np.tile([1.0, 0.0], (10, 1)))
        assert found.cot == pytest.approx(0.5, abs=1e-9)
        assert found.nuclear == pytest.approx(np.sqrt(0.5))

    def test_given_proportions_explain_it(self) -> None:
        found = signature(np.tile([1.0, 0.0], (10, 1)), [1.0, 0.0])
        assert found.cot == pytest.approx(1.0)
        assert not found.assumed

    def test_single_example(self) -> None:
        # Its mass goes to the classes as the proportions say: .3 at cost .4, .7 at cost .6.
        assert signature([[0.6, 0.4]], [0.3, 0.7]).cot == pytest.approx(1 - (0.3 * 0.4 + 0.7 * 0.6))

    def test_estimated_proportions(self) -> None:
        assert estimated_proportions([], 4).tolist() == pytest.approx([0.25] * 4)
        even = estimated_proportions(np.repeat(np.arange(10), 5), 10)
        assert even.tolist() == pytest.approx([0.1] * 10)
        assert estimated_proportions(np.zeros(20, dtype=int), 10)[0] > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_cot_is_close_to_exact_transport(seed: int) -> None:
    p = softmax(seed, 12, 3)
    proportions = np.random.default_rng(seed).dirichlet(np.ones(3))
    exact = 1 - exact_cost(p, proportions)
    assert exact - 0.03 < signature(p, proportions).cot <= exact + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_cot_is_sinkhorn(seed: int) -> None:
    p = softmax(seed, 40, 5)
    proportions = np.random.default_rng(seed).dirichlet(np.ones(5))
    assert signature(p, proportions).cot == pytest.approx(1 - sinkhorn_cost(p, proportions), abs=1e-6)


@pytest.mark.parametrize("shape", [(50, 4), (3, 7), (1, 2), (300, 10)])
def test_nuclear_norm_is_that_of_numpy(shape: tuple[int, int]) -> None:
    p = softmax(5, *shape)
    expected = np.linalg.svd(p, compute_uv=False).sum() / np.sqrt(p.size)
    assert signature(p).nuclear == pytest.approx(expected, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 6), st.floats(0.0, 60.0))
def test_any_predictions(seed: int, n: int, classes: int, scale: float) -> None:
    p = softmax(seed, n, classes, scale=scale)
    proportions = np.random.default_rng(seed).dirichlet(np.full(classes, 0.2))
    found = signature(p, proportions / proportions.sum())
    assert 0 <= found.cot <= 1
    assert 0 < found.nuclear <= 1
    order = np.random.default_rng(seed).permutation(n)
    again = signature(p[order], proportions / proportions.sum())
    assert again.cot == pytest.approx(found.cot, abs=1e-5)
    columns = np.random.default_rng(seed).permutation(classes)
    assert signature(p[:, columns]).cot == pytest.approx(signature(p).cot, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60))
def test_estimated_proportions_are_proportions(labels: list[int]) -> None:
    found = estimated_proportions(np.array(labels, dtype=np.int64), 6)
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    counts = np.bincount(np.array(labels, dtype=np.int64), minlength=6)
    assert (np.diff(found[np.argsort(counts, kind="stable")]) >= -1e-12).all()


@pytest.mark.parametrize(
    ("probabilities", "proportions", "message"),
    [
        ([[0.5, 0.6]], None, "sum to 1"),
        ([[np.nan, 1.0]], None, "NaN"),
        ([[-0.1, 1.1]], None, "negative"),
        ([0.5, 0.5], None, "examples >= 1"),
        (np.zeros((0, 3)), None, "examples >= 1"),
        ([[1.0]], None, "classes >= 2"),
        ([["a", "b"]], None, "numbers"),
        ([[0.5, 0.5], [1.0]], None, "read as an array"),
        ([[0.5, 0.5]], [0.5, 0.6], "sum to 1"),
        ([[0.5, 0.5]], [-0.5, 1.5], "negative"),
        ([[0.5, 0.5]], [np.nan, 1.0], "NaN"),
        ([[0.5, 0.5]], [1.0], "shape"),
        ([[0.5, 0.5]], ["x", "y"], "numbers"),
    ],
)
def test_refuses(probabilities: object, proportions: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        signature(probabilities, proportions)


@pytest.mark.parametrize(("labels", "message"), [([3], "0..2"), ([-1], "0..2"), ([0.5], "integers"), ([[1]], "shape")])
def test_estimated_proportions_refuses(labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimated_proportions(labels, 3)
