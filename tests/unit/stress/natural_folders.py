"""Small made folders in the layouts of the published test sets."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seedzoo.records import Preprocessing
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.metrics import Truth, class_probabilities, score, stack, sums
from seedzoo.stress.natural.vocabulary import imagenet_wnids

TINY = Preprocessing(height=8, width=8, channels=3)
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def shared(name: str) -> Path:
    """A file of published results; the test is skipped where they are not."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} of the published results, which are not here")
    return path


@functools.cache
def picture(tone: int = 90, kind: str = "PNG", side: int = 10) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (tone, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def put(root: Path, names: Iterable[str], tone: int = 90) -> Path:
    """Images of these paths below the root."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(tone))
    return root


def wnids() -> tuple[str, ...]:
    return imagenet_wnids()


def names_of(found: EvaluationSet) -> list[str]:
    """Paths of the images below the set's folder."""
    return [found.images.name(row) for row in range(len(found.images.labels))]  # type: ignore[attr-defined]


def counted(found: EvaluationSet, logits: NDArray[np.float32]) -> tuple[int, int]:
    """(right, n) of one model's outputs [n, C], as a profile counts them."""
    truth = Truth(
        labels=found.images.labels,
        classes=logits.shape[1],
        accepted=found.accepted,
        candidates=found.candidates,
        anchors=found.anchors,
    )
    total = sums(stack([score(class_probabilities(logits, found.candidates), truth)]), truth)
    return int(total["correct"][0]), int(total["n"])


def predicting(
    classes: Iterable[int], width: int = 1000, *, second: Iterable[int] | None = None
) -> NDArray[np.float32]:
    """Outputs whose highest is at these classes, and the next highest at the second ones."""
    first = list(classes)
    logits = np.zeros((len(first), width), dtype=np.float32)
    if second is not None:
        logits[np.arange(len(first)), list(second)] = 5
    logits[np.arange(len(first)), first] = 9
    return logits
