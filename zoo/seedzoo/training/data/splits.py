"""Seeded, stratified splits: what is held out, and orders of which every beginning is a fair sample."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError, RecipeError
from seedzoo.training.recipe import DataSection

__all__ = ["check_reserve", "held_out", "parts", "share_of", "stratified_order"]


def _generator(seed: int, purpose: str) -> np.random.Generator:
    # Purposes have generators of their own, so that the order of one part tells nothing about another's.
    digest = hashlib.sha256(f"data/{purpose}/{seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def stratified_order(labels: NDArray[np.int64], *, seed: int) -> NDArray[np.intp]:
    """A random order in which every beginning and every end has nearly the classes' proportions.

    The r-th example of a class of n (in a random order) stands at (r + u) / n with one u in [0, 1) per class, so a
    beginning of k of N examples has within one of k n / N of each class, give or take what k itself is off.

    Args:
        labels: Class index of each example, int64 ``[n]``.
        seed: Decides the order.

    Returns:
        A permutation of the n rows.
    """
    random = _generator(seed, "order")
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + random.random()) / len(rows)
    return np.argsort(place, kind="stable")


def held_out(labels: NDArray[np.int64], *, classes: tuple[str, ...], share: float, seed: int) -> NDArray[np.bool_]:
    """Which examples form the test set: of each class the share, rounded, at least one and never all.

    Raises:
        DataError: A class has fewer than two examples.
    """
    random = _generator(seed, "split")
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label, name in enumerate(classes):
        rows = random.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise DataError(
                f"class {name!r} has {len(rows)} example{'s' * (len(rows) != 1)}: not enough to train and to test",
                hint="Add examples, or leave the class out.",
                reason="CLASS_TOO_SMALL",
            )
        chosen[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return chosen


def check_reserve(section: DataSection, examples: int) -> int:
    """How many of the test examples stay when the reserved ones are taken away.

    Raises:
        RecipeError: None would stay.
    """
    if section.reserve_test >= examples:
        raise RecipeError(
            f"data.reserve_test = {section.reserve_test} leaves none of the {examples} test examples",
            field="data.reserve_test",
        )
    return examples - section.reserve_test


def parts(
    section: DataSection, labels: NDArray[np.int64], in_test: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows to train on, to test on and to reserve; each in a stratified order, so that limits take fair samples.

    Args:
        section: ``reserve_test``, ``train_limit`` and ``split_seed``.
        labels: int64 ``[n]``.
        in_test: bool ``[n]``.

    Raises:
        RecipeError: The reserve leaves no test example.
    """
    train, test = (
        rows[stratified_order(labels[rows], seed=section.split_seed)]
        for rows in (np.flatnonzero(~in_test), np.flatnonzero(in_test))
    )
    kept = check_reserve(section, len(test))
    return train[: section.train_limit or None], test[:kept], test[kept:]


def share_of(section: DataSection) -> float:
    """The share to hold out of data without a test set of their own.

    Raises:
        RecipeError: The recipe does not say.
    """
    if section.test_share == 0:
        raise RecipeError(
            f"the source {section.source} comes without a test set: data.test_share must say how much to hold out",
            hint="For example test_share = 0.25.",
            field="data.test_share",
        )
    return section.test_share
