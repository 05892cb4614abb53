"""Measure a profile: every variant under every condition of a suite, one condition after the other.

Each condition's counts are kept in a file of their own as soon as they are known, so a killed run resumes with the
condition it was at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import Cancelled
from seedzoo.files import write_atomically
from seedzoo.inference.evaluate import Evaluator, block_length
from seedzoo.stress.condition import Condition
from seedzoo.stress.table import ProfileRow, profile_row

__all__ = ["Measured", "evaluate_condition", "measure_profile"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Counts of one condition, by column of the evaluator."""

    key: str
    """What was measured: condition, examples and models; counts under another key are not reused."""
    n: int
    correct: list[int]
    log_loss: list[float]


def evaluate_condition(
    evaluator: Evaluator, condition: Condition, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Every variant on every example under one condition.

    Args:
        evaluator: Holds the variants.
        condition: Applied to the images block by block.
        images: uint8 ``[n, height, width, channels]``.
        labels: int64 ``[n]``.

    Returns:
        Correctness bool ``[n, M]`` and -ln(probability of the true class) in nats ``[n, M]``.
    """
    correct, losses = [], []
    length = block_length(images[0].nbytes)
    for start in range(0, len(images), length):
        indices = np.arange(start, min(start + length, len(images)))
        block = condition.apply(images[indices], indices)
        scores = evaluator.run(block, labels[indices])
        correct.append(scores.predicted == labels[indices, np.newaxis])
        tiny = np.finfo(np.float32).tiny
        losses.append(-np.log(np.maximum(scores.label_probability.astype(np.float64), tiny)))
    return np.concatenate(correct), np.concatenate(losses)


def measure_profile(
    evaluator: Evaluator,
    *,
    tags: Sequence[str],
    models_key: str,
    conditions: Sequence[Condition],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    folder: Path,
    on_condition: Callable[[Condition], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[ProfileRow]:
    """Rows of the profile, condition by condition, in the order of ``conditions`` and ``tags``.

    Args:
        evaluator: Holds the variants in the order of ``tags``.
        tags: Names of the variants.
        models_key: Digest of the models; counts measured with other models are measured again.
        conditions: What to measure.
        images: uint8 ``[n, height, width, channels]``.
        labels: int64 ``[n]``.
        folder: Where finished conditions are kept.
        on_condition: Called after each condition.
        should_stop: Asked before each condition.

    Raises:
        Cancelled: ``should_stop`` said so; finished conditions are kept.
    """
    data_key = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    rows: list[ProfileRow] = []
    for condition in conditions:
        if should_stop():
            raise Cancelled("measuring the profile was stopped; finished conditions are kept")
        text = f"{models_key}/{data_key}/{condition.name}/{condition.description}"
        key = hashlib.sha256(text.encode()).hexdigest()
        measured = _kept(folder / f"{condition.name}.json", key)
        if measured is None:
            correct, losses = evaluate_condition(evaluator, condition, images, labels)
            measured = Measured(
                key=key,
                n=len(labels),
                correct=[int(count) for count in correct.sum(axis=0)],
                log_loss=[float(mean) for mean in losses.mean(axis=0)],
            )
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{condition.name}.json", msgspec.json.encode(measured))
        rows.extend(
            profile_row(variant=tag, condition=condition, n=measured.n, correct=count, log_loss=loss)
            for tag, count, loss in zip(tags, measured.correct, measured.log_loss, strict=True)
        )
        on_condition(condition)
    return rows


def _kept(path: Path, key: str) -> Measured | None:
    try:
        measured = msgspec.json.decode(path.read_bytes(), type=Measured)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return measured if measured.key == key else None
