"""Measure a profile: every variant under every condition of a suite, one condition after the other.

The signatures, which say what the variants' predictions look like without labels, are measured on the way, on a subset
of the examples. Each condition's counts and signatures are kept in a file of their own as soon as they are known, so a
killed run resumes with the condition it was at.
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
from seedzoo.selection.signatures import signature
from seedzoo.stress.condition import Condition
from seedzoo.stress.signature_table import SIGNATURE_METHOD, SignatureTable, signature_examples
from seedzoo.stress.table import ProfileRow, profile_row

__all__ = ["Measured", "evaluate_condition", "measure_profile"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Counts and signatures of one condition, by column of the evaluator."""

    key: str
    """What was measured and how: condition, examples, models, method; what has another key is not reused."""
    n: int
    correct: list[int]
    log_loss: list[float]
    cot: list[float]
    nuclear: list[float]


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
    correct, losses, _ = _evaluate(evaluator, condition, images, labels, np.empty(0, dtype=np.intp))
    return correct, losses


def _evaluate(
    evaluator: Evaluator,
    condition: Condition,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    subset: NDArray[np.intp],
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float32]]:
    """As :func:`evaluate_condition`, and the probabilities ``[k, M, C]`` of k examples (ascending positions)."""
    correct, losses, probabilities = [], [], []
    length = block_length(images[0].nbytes)
    for start in range(0, len(images), length):
        indices = np.arange(start, min(start + length, len(images)))
        block = condition.apply(images[indices], indices)
        wanted = subset[(subset >= start) & (subset < start + length)] - start
        scores = evaluator.run(block, labels[indices], keep_probabilities=wanted)
        correct.append(scores.predicted == labels[indices, np.newaxis])
        tiny = np.finfo(np.float32).tiny
        losses.append(-np.log(np.maximum(scores.label_probability.astype(np.float64), tiny)))
        probabilities.append(scores.probabilities)
    return np.concatenate(correct), np.concatenate(losses), np.concatenate(probabilities)


def _measure(
    evaluator: Evaluator,
    condition: Condition,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    subset: NDArray[np.intp],
    key: str,
) -> Measured:
    correct, losses, probabilities = _evaluate(evaluator, condition, images, labels, subset)
    n, variants, classes = probabilities.shape
    shares = np.bincount(labels[subset], minlength=classes) / n
    signatures = [signature(probabilities[:, column], shares) for column in range(variants)]
    return Measured(
        key=key,
        n=len(labels),
        correct=[int(count) for count in correct.sum(axis=0)],
        log_loss=[float(mean) for mean in losses.mean(axis=0)],
        cot=[found.cot for found in signatures],
        nuclear=[found.nuclear for found in signatures],
    )


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
) -> tuple[list[ProfileRow], SignatureTable]:
    """Rows of the profile, condition by condition, and the signatures, in the order of ``conditions`` and ``tags``.

    Args:
        evaluator: Holds the variants in the order of ``tags``.
        tags: Names of the variants.
        models_key: Digest of the models; what was measured with other models is measured again.
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
    subset = signature_examples(len(labels))
    rows: list[ProfileRow] = []
    cot, nuclear = [], []
    for condition in conditions:
        if should_stop():
            raise Cancelled("measuring the profile was stopped; finished conditions are kept")
        text = f"{models_key}/{data_key}/{condition.name}/{condition.description}/{SIGNATURE_METHOD}"
        key = hashlib.sha256(text.encode()).hexdigest()
        measured = _kept(folder / f"{condition.name}.json", key)
        if measured is None:
            measured = _measure(evaluator, condition, images, labels, subset=subset, key=key)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{condition.name}.json", msgspec.json.encode(measured))
        rows.extend(
            profile_row(variant=tag, condition=condition, n=measured.n, correct=count, log_loss=loss)
            for tag, count, loss in zip(tags, measured.correct, measured.log_loss, strict=True)
        )
        cot.append(measured.cot)
        nuclear.append(measured.nuclear)
        on_condition(condition)
    table = SignatureTable(
        variants=tuple(tags),
        conditions=tuple(condition.name for condition in conditions),
        cot=np.array(cot).T,
        nuclear=np.array(nuclear).T,
        n=len(subset),
        method=SIGNATURE_METHOD,
    )
    return rows, table


def _kept(path: Path, key: str) -> Measured | None:
    try:
        measured = msgspec.json.decode(path.read_bytes(), type=Measured)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return measured if measured.key == key else None
