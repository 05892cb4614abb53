"""Some variants on some images: probabilities and scores, in this process or in a worker of another machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.session import Model
from seedzoo.stress import metrics
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.metrics import Scores, Truth

__all__ = ["Evaluated", "evaluated", "joined", "truth_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """What g variants got on b images.

    Attributes:
        scores: ``[g, b]``; None where there are no images.
        outputs: float32 ``[b, g, K]`` probabilities, where signatures need them.
    """

    scores: Scores | None = None
    outputs: NDArray[np.float32] | None = None


def truth_of(images: EvaluationSet, rows: NDArray[np.intp], *, classes: int) -> Truth:
    """What counts as right for some images of a set, of a task with that many classes."""
    return Truth(
        labels=images.images.labels[rows],
        classes=classes,
        accepted=None if images.accepted is None else images.accepted[rows],
        candidates=images.candidates,
        anchors=None if images.anchors is None else images.anchors[rows],
    )


def evaluated(
    models: Sequence[Model], pixels: NDArray[np.uint8], truth: Truth, *, signed: bool, check: Callable[[], None]
) -> Evaluated:
    """Evaluate variants one after the other.

    Args:
        models: g variants.
        pixels: uint8 ``[b, height, width, channels]``, b >= 1, already under their condition.
        truth: Of these images.
        signed: Whether the probabilities are wanted.
        check: Called before each variant; may raise.
    """
    outputs = np.empty((len(pixels), len(models), truth.width), dtype=np.float32) if signed else None
    members = []
    for column, model in enumerate(models):
        check()
        probabilities = metrics.class_probabilities(model.logits(pixels), truth.candidates)
        if outputs is not None:
            outputs[:, column] = probabilities
        members.append(metrics.score(probabilities, truth))
    return Evaluated(scores=metrics.stack(members), outputs=outputs)


def joined(parts: Sequence[Evaluated]) -> Evaluated:
    """Groups of variants side by side, on the same images; at least one group."""
    scores = [part.scores for part in parts if part.scores is not None]
    outputs = [part.outputs for part in parts if part.outputs is not None]
    return Evaluated(
        scores=metrics.beside(scores) if scores else None,
        outputs=np.concatenate(outputs, axis=1) if outputs else None,
    )
