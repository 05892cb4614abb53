"""What a condition is: a named change of examples that gives the same result in any batch.

Nothing here knows about images: a condition turns an array of examples, whose first axis counts them, into
another such array.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.errors import DataError, RequestError
from seedzoo.stress.draws import Draws

__all__ = ["Condition", "Examples", "Kind", "Transform"]

Examples = NDArray[Any]
Transform = Callable[[Examples, Draws], Examples]

# Transforms hold several floating-point copies of their input; this keeps them near the processor's cache.
_CHUNK_BYTES = 1 << 20

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One named test set, made from the in-distribution examples by a transform.

    Attributes:
        name: Unique name, ``<kind>-<severity>`` or ``<kind>``.
        kind: What is done, for instance ``pixelate``.
        severity: 1 (mild) upwards within its kind; None where there are no degrees.
        description: One sentence for people.
        transform: (examples [n, ...], draws of these n examples) -> new examples [n, ...]; it looks at each
            example and its own draws alone. Picklable, so that other processes can apply it.
    """

    name: str
    kind: str
    severity: int | None
    description: str
    transform: Transform

    def apply(self, examples: Examples, indices: ArrayLike) -> Examples:
        """Put examples under this condition.

        Randomness is seeded per (condition name, example index): any order and any split into batches gives
        the same result for an example.

        Args:
            examples: [n, ...]; for the image conditions uint8 [n, height, width, channels] with height and
                width >= 8 and 1 or 3 channels.
            indices: Integers [n], each example's index in its dataset, none negative.

        Returns:
            New array of the same shape and dtype.

        Raises:
            DataError: The examples do not suit the condition, or the indices do not suit the examples.
        """
        index = _checked_indices(indices, len(examples))
        if not len(examples):
            return examples.copy()
        step = max(1, _CHUNK_BYTES * len(examples) // max(1, examples.nbytes))
        parts = [
            self.transform(examples[start : start + step], Draws(self.name, index[start : start + step]))
            for start in range(0, len(examples), step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way to change examples, and its degrees as data.

    Attributes:
        name: Lower-case words joined by hyphens.
        function: (examples, draws, **parameters) -> examples; see `Condition.transform`.
        description: What it does, one sentence without a full stop.
        levels: The function's keyword arguments for severity 1, 2, ...; empty where there are no degrees.
    """

    name: str
    function: Callable[..., Examples]
    description: str
    levels: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RequestError(
                f"{self.name!r} cannot name a kind of condition",
                hint="Use lower-case letters, digits and single hyphens.",
                field="name",
            )

    def conditions(self) -> tuple[Condition, ...]:
        """One condition per severity, mild to strong; a single one where there are no degrees."""
        if not self.levels:
            return (
                Condition(
                    name=self.name,
                    kind=self.name,
                    severity=None,
                    description=f"{self.description}.",
                    transform=self.function,
                ),
            )
        most = len(self.levels)
        return tuple(
            Condition(
                name=f"{self.name}-{severity}",
                kind=self.name,
                severity=severity,
                description=f"{self.description}; severity {severity} of {most} ({_shown(level)}).",
                transform=functools.partial(self.function, **level),
            )
            for severity, level in enumerate(self.levels, start=1)
        )


def _shown(level: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in level.items())


def _checked_indices(indices: ArrayLike, count: int) -> NDArray[np.int64]:
    given = np.asarray(indices)
    if given.ndim != 1 or len(given) != count:
        raise DataError(
            f"{count} examples came with indices of shape {given.shape}",
            hint="Give one dataset index per example.",
            field="indices",
        )
    if count and (not np.issubdtype(given.dtype, np.integer) or int(given.min()) < 0):
        raise DataError(
            f"example indices must be integers from 0 on, not {given.dtype} from {given.min()}",
            hint="Give each example's position in its dataset.",
            field="indices",
        )
    return given.astype(np.int64)
