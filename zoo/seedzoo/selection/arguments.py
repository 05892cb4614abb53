"""The arguments that every way of choosing shares, checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.checks import as_column, as_group_codes, check_int, check_open, check_open_unit

__all__ = [
    "BEST_HELD_OUT",
    "FAMILY_MEAN",
    "Arguments",
    "check_arguments",
    "check_baselines",
    "check_draws",
    "check_names",
]

FAMILY_MEAN = "family_mean"
BEST_HELD_OUT = "best_held_out"
_RESERVED = (FAMILY_MEAN, BEST_HELD_OUT)
# Bounds memory: 40 MiB of draws for 50 variants.
_MOST_DRAWS = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Arguments:
    """Outcome of :func:`check_arguments`.

    Attributes:
        n: Number of examples.
        variants: M.
        alpha: One minus the coverage of the set and of each interval.
        delta: Tolerated shortfall.
        codes: [n] group numbers, or None where all examples are independent.
        reference: Index of the variant that is best by held-out accuracy, or None.
        preference: [M] higher is preferred, for exact ties.
        seed: Seed of all draws.
        n_boot: Number of draws.
    """

    n: int
    variants: int
    alpha: float
    delta: float
    codes: NDArray[np.intp] | None
    reference: int | None
    preference: NDArray[np.float64]
    seed: int
    n_boot: int

    @property
    def data(self) -> str:
        """How many examples, in words."""
        return f"{self.n} example{'s' if self.n > 1 else ''}"


def check_arguments(
    *,
    n: int,
    variants: int,
    alpha: float,
    delta: float,
    groups: Sequence[Hashable] | NDArray[Any] | None,
    reference: int | None,
    order: ArrayLike | None,
    seed: int,
    n_boot: int,
    span: float = 1.0,
) -> Arguments:
    """Check the arguments of ``choose`` that do not depend on what is maximised.

    Args:
        n: Number of examples.
        variants: M.
        alpha: See ``choose``.
        delta: See ``choose``.
        groups: See ``choose``.
        reference: See ``choose``.
        order: See ``choose``.
        seed: See ``choose``.
        n_boot: See ``choose``.
        span: Largest possible difference in what is maximised; inf where there is none.

    Raises:
        ValueError: An argument out of range or of the wrong shape.
    """
    return Arguments(
        n=n,
        variants=variants,
        alpha=check_open_unit(alpha, "alpha"),
        delta=check_open(delta, "delta", high=span),
        codes=None if groups is None else as_group_codes(groups, n=n),
        reference=None if reference is None else check_int(reference, "reference", low=0, high=variants),
        preference=_order(order, variants=variants),
        seed=check_int(seed, "seed", low=0),
        n_boot=check_draws(n_boot),
    )


def check_draws(n_boot: int) -> int:
    """The number of draws.

    Raises:
        ValueError: Fewer than 100 say little, and many more only cost memory.
    """
    return check_int(n_boot, "n_boot", low=100, high=_MOST_DRAWS + 1)


def check_baselines(baselines: Mapping[str, ArrayLike] | None, *, n: int) -> dict[str, NDArray[np.float64]]:
    """Baseline scores [n] by name.

    Raises:
        ValueError: No mapping, a reserved name, or scores of the wrong shape, NaN or outside [0, 1].
    """
    if baselines is not None and not isinstance(baselines, Mapping):
        raise ValueError(f"baselines must map names to scores, got {type(baselines).__name__}")
    given = {} if baselines is None else dict(baselines)
    for name in _RESERVED:
        if name in given:
            raise ValueError(f"the baseline name {name!r} is reserved")
    return {name: as_column(column, n=n, name=f"baseline {name!r}") for name, column in given.items()}


def check_names(baselines: Sequence[str], *, columns: int) -> tuple[str, ...]:
    """Names of the baselines that are the last of so many columns.

    Raises:
        ValueError: Names that repeat or are reserved, or no column left for a variant.
    """
    if not isinstance(baselines, Sequence) or isinstance(baselines, str):
        raise ValueError(f"baselines must be a list of names, got {baselines!r}")
    names = tuple(baselines)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"baselines must be a list of names, got {baselines!r}")
    if columns <= len(names) or len(set(names)) < len(names) or set(_RESERVED) & set(names):
        raise ValueError("baselines must be distinct names, none reserved, of columns beside at least one variant")
    return names


def _order(order: ArrayLike | None, *, variants: int) -> NDArray[np.float64]:
    if order is None:
        return np.zeros(variants)
    try:
        preference = np.asarray(order, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"order must be numbers: {error}") from error
    if preference.shape != (variants,):
        raise ValueError(f"order must have shape ({variants},), got {preference.shape}")
    if np.isnan(preference).any():
        raise ValueError("order must not hold NaN")
    return preference
