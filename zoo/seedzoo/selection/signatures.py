"""What a variant's softmax outputs on unlabelled examples say about its accuracy: two numbers per variant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from seedzoo.selection.checks import check_int

__all__ = ["Signature", "estimated_proportions", "signature"]

EPSILON = 0.02
# Float16 and float32 softmax rows miss 1 by about 1e-3; proportions typed by people by rounding.
_ROW_SUM, _PROPORTION_SUM = 1e-2, 1e-3
# The regularisation falls to EPSILON in stages; each starts Newton's method near its solution.
_STAGES = (0.64, 0.16, 0.04, EPSILON)
_NEWTON_STEPS, _TOLERANCE = 50, 1e-7
_STRENGTHS = np.geomspace(0.05, 800.0, 15)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Outcome of :func:`signature`.

    Attributes:
        cot: 1 - cost of the optimal transport from the predictions to the class proportions, in [0, 1].
        nuclear: Nuclear norm of the softmax matrix / sqrt(N C), in (0, 1]; 1 for certain and evenly spread
            predictions (if N >= C).
        assumed: True where no proportions were given, so that uniform ones were assumed. Where the true ones
            differ much, such a signature ranks variants worse than guessing.
    """

    cot: float
    nuclear: float
    assumed: bool


def signature(probabilities: ArrayLike, class_proportions: ArrayLike | None = None) -> Signature:
    """COT and nuclear norm of one variant's predictions.

    COT: each example is a mass 1/N at its softmax row p_i, each class c a mass of its proportion at the unit
    vector e_c; moving costs ||p_i - e_c||_inf = 1 - p_ic. The entropic plan (epsilon .02) is computed; the
    entropy is left out of the cost. Sinkhorn's fixed point is found by Newton's method on its C class
    potentials (the examples' potentials follow in closed form), which needs a few steps, not hundreds.

    Args:
        probabilities: [N, C] softmax outputs; rows sum to 1.
        class_proportions: [C] shares of the true classes among these examples, which sum to 1; from the user or
            from labels (:func:`estimated_proportions`). None: uniform, and marked as assumed.

    Returns:
        The signature. Only differences between variants of one family on the same examples mean something.

    Raises:
        ValueError: Not [N >= 1, C >= 2], NaN, negative, rows or proportions that do not sum to 1, or another
            number of proportions than classes.

    References:
        COT: Y. Lu et al. (2023), Characterizing out-of-distribution error via optimal transport, NeurIPS;
        M. Cuturi (2013), Sinkhorn distances, NeurIPS (regularisation); M. Cuturi, G. Peyre (2018), Semi-dual
        regularized optimal transport, SIAM Review 60. Nuclear norm: W. Deng et al. (2023), Confidence and
        dispersity speak: characterizing prediction matrix for unsupervised accuracy estimation, ICML.
    """
    p = _checked_probabilities(probabilities)
    n, classes = p.shape
    target = _checked_proportions(class_proportions, classes)
    # The singular values' squares are the eigenvalues of the small Gram matrix.
    gram = p.T @ p if n >= classes else p @ p.T
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    return Signature(
        cot=1.0 - _transport_cost(p, target),
        nuclear=min(float(singular.sum()) / float(np.sqrt(n * classes)), 1.0),
        assumed=class_proportions is None,
    )


def estimated_proportions(labels: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Class proportions of a pool, from a random labelled sample of it, smoothed towards uniform.

    The posterior mean sum_a w_a (count + a) / (n + a C) under symmetric Dirichlet(a) priors, a = .05 to 800 in
    equal ratios, w_a their marginal likelihoods: labels as even as chance allows give nearly uniform
    proportions, lopsided ones are believed. (Plain add-one smoothing at n = 10 to 100 costs the prior most of
    its worth on even classes.) For signatures of the labelled examples themselves use their exact shares.

    Args:
        labels: int [n] true classes, n >= 0, in 0..C-1.
        n_classes: C.

    Returns:
        [C] positive shares that sum to 1.

    Raises:
        ValueError: Labels that are not one-dimensional integers or lie outside the classes.

    References:
        I. J. Good (1965), The Estimation of Probabilities (hierarchical Dirichlet smoothing).
    """
    classes = check_int(n_classes, "n_classes", low=2)
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"labels must be integers [n], got shape {array.shape} and dtype {array.dtype}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {array.min()} to {array.max()}")
    counts = np.bincount(array.astype(np.int64), minlength=classes)
    strength = _STRENGTHS[:, None]
    likelihood = (
        gammaln(_STRENGTHS * classes)
        - gammaln(_STRENGTHS * classes + array.size)
        + (gammaln(counts + strength) - gammaln(strength)).sum(axis=1)
    )
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    return np.asarray(weights @ ((counts + strength) / (array.size + strength * classes)))


def _checked_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(probabilities)
    except ValueError as error:
        raise ValueError(f"probabilities cannot be read as an array: {error}") from error
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ValueError(
            f"probabilities must be numbers [examples >= 1, classes >= 2], got {array.dtype} {array.shape}"
        )
    p = array.astype(np.float64)
    if not (p.min() >= 0.0 and np.abs(p.sum(axis=1) - 1.0).max() <= _ROW_SUM):  # NaN fails both comparisons
        raise ValueError("probabilities must not be negative or NaN, and every row must sum to 1")
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _checked_proportions(proportions: ArrayLike | None, classes: int) -> NDArray[np.float64]:
    if proportions is None:
        return np.full(classes, 1.0 / classes)
    try:
        array = np.asarray(proportions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"class proportions must be numbers: {error}") from error
    if array.shape != (classes,):
        raise ValueError(f"class proportions must have shape ({classes},), got {array.shape}")
    if not (array.min() >= 0.0 and abs(array.sum() - 1.0) <= _PROPORTION_SUM):
        raise ValueError("class proportions must not be negative or NaN and must sum to 1")
    return np.asarray(array / array.sum())


def _transport_cost(p: NDArray[np.float64], proportions: NDArray[np.float64]) -> float:
    used = proportions > 0.0  # nothing is moved to a class that does not occur
    cost, target = 1.0 - p[:, used], proportions[used]
    potential = np.zeros(target.size)
    for epsilon in _STAGES:
        potential = _maximise(cost, target, potential, epsilon)
    plan, _ = _plan(cost, potential, EPSILON)
    return float(np.clip((plan * cost).sum() / len(p), 0.0, 1.0))


def _plan(
    cost: NDArray[np.float64], potential: NDArray[np.float64], epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each example's shares of the classes given the class potentials, and its soft minimum."""
    scaled = (potential - cost) / epsilon
    top = scaled.max(axis=1)
    weights = np.exp(scaled - top[:, None])
    whole = weights.sum(axis=1)
    return weights / whole[:, None], -epsilon * (top + np.log(whole))


def _maximise(
    cost: NDArray[np.float64], target: NDArray[np.float64], potential: NDArray[np.float64], epsilon: float
) -> NDArray[np.float64]:
    """Newton's method on the concave semi-dual target . v + mean_i softmin_c (cost_ic - v_c)."""
    n = len(cost)
    plan, soft = _plan(cost, potential, epsilon)
    value = float(target @ potential + soft.mean())
    for _ in range(_NEWTON_STEPS):
        shares = plan.mean(axis=0)
        gradient = target - shares
        if np.abs(gradient).sum() < _TOLERANCE:
            break
        curvature = (np.diag(shares) - plan.T @ plan / n) / epsilon
        # Constants are a null direction; the ridge also keeps steps finite where no mass is shared.
        step = np.linalg.solve(curvature + 1e-6 * np.eye(target.size), gradient)
        step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))  # costs lie in [0, 1], so potentials do
        size, slope = 1.0, float(gradient @ step)
        while size > 1e-6:
            moved = potential + size * step
            plan, soft = _plan(cost, moved, epsilon)
            reached = float(target @ moved + soft.mean())
            if reached >= value + 1e-4 * size * slope - 1e-14:
                break
            size /= 2
        potential, value = moved - moved.mean(), reached
    return potential
