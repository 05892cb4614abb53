"""Corruption errors CE and their mean mCE, and the relative ones, against a named reference.

With E the top-1 error of a model and s the five severities of one corruption c (Hendrycks & Dietterich 2019,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR):

    CE_c          = sum_s E_sc / sum_s E_sc(reference)
    relative CE_c = sum_s (E_sc - E_clean) / sum_s (E_sc(reference) - E_clean(reference))

mCE and relative mCE are their means over the 15 corruptions. All are shares: 1 is as good as the reference (the
literature writes 100).
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.stress.analysis.matrix import ProfileMatrix
from seedzoo.stress.corruptions.imagenet_c import kind_name
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON

__all__ = [
    "SEVERITIES",
    "CorruptionErrors",
    "Reference",
    "alexnet",
    "complete_variants",
    "corruption_errors",
    "reference_from",
]

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The errors that CE divides by.

    Attributes:
        name: What they are of.
        source: Where they come from.
        errors: Corruption such as ``gaussian_noise`` -> mean error over the five severities, a share.
        clean: Error on the uncorrupted images; None where not known, and then there are no relative errors.
    """

    name: str
    source: str
    errors: Mapping[str, float]
    clean: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class CorruptionErrors:
    """Corruption errors of M variants on 15 corruptions; shares of the reference's errors.

    Attributes:
        corruptions: The 15 names.
        reference: What they are relative to.
        ce: [M, 15].
        mce: [M] mean over the corruptions.
        relative_ce: [M, 15]; nan in all columns where the reference has no clean error, and in a column where the
            reference does not lose by the corruption.
        relative_mce: [M] mean over the corruptions; nan where one of them is.
    """

    corruptions: tuple[str, ...]
    reference: Reference
    ce: NDArray[np.float64]
    mce: NDArray[np.float64]
    relative_ce: NDArray[np.float64]
    relative_mce: NDArray[np.float64]


@functools.cache
def alexnet() -> Reference:
    """AlexNet's published errors on ImageNet-C, the usual reference. Comparable only with errors at 224 px."""
    found = json.loads((files(__package__) / "data" / "alexnet.json").read_text())
    return Reference(
        name=found["name"], source=found["source"], errors=dict(found["mean_errors"]), clean=found["clean_error"]
    )


def complete_variants(profile: ProfileMatrix, *, suite: str, clean: str = "id") -> NDArray[np.bool_]:
    """Variants [M] measured under all 75 conditions of a suite and the clean one; none where a condition is missing."""
    place = {name: k for k, name in enumerate(profile.conditions)}
    names = [clean, *_names(suite)]
    if not set(names) <= set(place):
        return np.zeros(len(profile.variants), dtype=np.bool_)
    lacking: NDArray[np.bool_] = np.isnan(profile.accuracies[:, [place[name] for name in names]])
    return np.asarray(~lacking.any(axis=1), dtype=np.bool_)


def reference_from(
    profile: ProfileMatrix, *, suite: str = "imagenet-c", variant: str | None = None, clean: str = "id", name: str = ""
) -> Reference:
    """A reference from a profile: one of its variants, or the mean over all of them.

    Args:
        profile: Of the same family or another.
        suite: ``imagenet-c``, ``cifar-c``, ``mnist-c``, or another whose conditions are named in the same way.
        variant: The variant; None for the mean over all.
        clean: The condition of the uncorrupted images.
        name: What to call it; the variant's name or "family mean" when empty.

    Raises:
        DataError: A severity of a corruption is missing, or the profile has no such variant or clean condition.
    """
    errors = _mean_errors(profile, suite)
    base = 1 - profile.column(clean)
    if variant is not None and variant not in profile.variants:
        raise DataError(f"the profile has no variant {variant!r}", field="variant")
    row = slice(None) if variant is None else [profile.variants.index(variant)]
    if np.isnan(base[row]).any():
        raise DataError(f"the reference was not measured under {clean!r}", field="clean")
    return Reference(
        name=name or variant or "family mean",
        source="a stress profile",
        errors={one: float(errors[row, k].mean()) for k, one in enumerate(COMMON)},
        clean=float(base[row].mean()),
    )


def corruption_errors(
    profile: ProfileMatrix, reference: Reference, *, suite: str = "imagenet-c", clean: str = "id"
) -> CorruptionErrors:
    """CE, mCE, relative CE and relative mCE of every variant.

    Args:
        profile: Holds all five severities of all 15 corruptions for every variant, and the clean condition.
        reference: What to divide by: `alexnet`, or `reference_from` a profile.
        suite: As in `reference_from`.
        clean: The condition of the uncorrupted images.

    Raises:
        DataError: A severity of a corruption is missing, or the reference lacks a corruption or makes no error.
    """
    errors = _mean_errors(profile, suite)
    lacking = [name for name in COMMON if not reference.errors.get(name, 0.0) > 0]
    if lacking:
        raise DataError(
            f"the reference {reference.name} has no error to divide by under: {', '.join(lacking)}",
            hint="Choose another reference.",
            field="reference",
        )
    divisor = np.array([reference.errors[name] for name in COMMON])
    ce = errors / divisor
    lost = divisor - (math.nan if reference.clean is None else reference.clean)
    own = errors - (1 - profile.column(clean))[:, None]
    relative = own / np.where(lost > 0, lost, np.nan)
    return CorruptionErrors(
        corruptions=COMMON,
        reference=reference,
        ce=ce,
        mce=ce.mean(axis=1),
        relative_ce=relative,
        relative_mce=relative.mean(axis=1),
    )


def _names(suite: str) -> list[str]:
    """The 75 conditions, corruption by corruption."""
    return [f"{kind_name(suite, corruption)}-{severity}" for corruption in COMMON for severity in SEVERITIES]


def _mean_errors(profile: ProfileMatrix, suite: str) -> NDArray[np.float64]:
    """[M, 15]: mean error over the severities."""
    place = {name: k for k, name in enumerate(profile.conditions)}
    names = _names(suite)
    missing = [name for name in names if name not in place or np.isnan(profile.accuracies[:, place[name]]).any()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"corruption errors need all five severities of all 15 corruptions of {suite} for every variant;"
            f" not measured: {', '.join(missing[:5])}{more}",
            hint=f"Measure the suite {suite}.",
            field="suite",
        )
    shares = profile.accuracies[:, [place[name] for name in names]]
    means: NDArray[np.float64] = shares.reshape(len(shares), len(COMMON), len(SEVERITIES)).mean(axis=2)
    return 1 - means
