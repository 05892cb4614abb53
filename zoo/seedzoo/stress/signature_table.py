"""The label-free signatures that are measured with a profile, and their file: plain numpy arrays in an npz.

The profile says how accurate each variant is under each condition, this table what its predictions alone look like
there; together they calibrate the prior of :mod:`seedzoo.selection.prior`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.selection.signatures import EPSILON
from seedzoo.stress.draws import Draws

__all__ = [
    "SIGNATURE_EXAMPLES",
    "SIGNATURE_METHOD",
    "SignatureTable",
    "of_variants",
    "read_signature_table",
    "signature_examples",
    "signature_table_bytes",
]

SIGNATURE_EXAMPLES = 2000
SIGNATURE_METHOD = (
    f"COT (entropic, epsilon {EPSILON:g}) and nuclear norm of the softmax outputs on at most {SIGNATURE_EXAMPLES} "
    "examples drawn at random, the same under all conditions, with their exact class shares"
)
_STREAM = "signatures"
_HINT = "Build the family again."


@dataclass(frozen=True, kw_only=True, eq=False)
class SignatureTable:
    """Signatures of M variants under K conditions; see :class:`seedzoo.selection.signatures.Signature`.

    Attributes:
        variants: [M] tags.
        conditions: [K] names of the conditions.
        cot: float64 [M, K] 1 - optimal transport cost, in [0, 1].
        nuclear: float64 [M, K] normalised nuclear norm, in [0, 1].
        n: Examples behind each signature of the in-distribution set (or of the first set); smaller sets have fewer.
        method: How they were computed, in words.

    Raises:
        ValueError: No variant or condition, one twice, an array of another shape, a value outside [0, 1], or n < 1.
    """

    variants: tuple[str, ...]
    conditions: tuple[str, ...]
    cot: NDArray[np.float64]
    nuclear: NDArray[np.float64]
    n: int
    method: str

    def __post_init__(self) -> None:
        for name in ("variants", "conditions"):
            names: tuple[str, ...] = getattr(self, name)
            if not names or len(set(names)) != len(names):
                raise ValueError(f"it has no {name}, or one of them twice")
        shape = len(self.variants), len(self.conditions)
        for name in ("cot", "nuclear"):
            values: NDArray[np.float64] = getattr(self, name)
            if values.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {values.shape}")
            if not (values.min() >= 0.0 and values.max() <= 1.0):  # NaN fails both comparisons
                raise ValueError(f"{name} must lie in [0, 1] and not be NaN")
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}")

    @property
    def signatures(self) -> NDArray[np.float64]:
        """float64 [M, K, 2] COT and nuclear norm, as :func:`seedzoo.selection.prior.fit_prior` takes them."""
        return np.stack([self.cot, self.nuclear], axis=2)


def signature_examples(n: int) -> NDArray[np.intp]:
    """Which of n examples the signatures are computed on.

    Returns:
        [min(n, 2000)] positions in ascending order: a random subset that depends on n alone.
    """
    order = np.argsort(Draws(_STREAM, np.arange(n)).uniform(), kind="stable")
    return np.sort(order[:SIGNATURE_EXAMPLES])


def of_variants(table: SignatureTable, variants: Sequence[str]) -> SignatureTable:
    """The rows of some variants, in this order."""
    rows = [table.variants.index(variant) for variant in variants]
    return replace(table, variants=tuple(variants), cot=table.cot[rows], nuclear=table.nuclear[rows])


def signature_table_bytes(table: SignatureTable) -> bytes:
    """The table as an npz file; the same table gives the same bytes."""
    sink = io.BytesIO()
    # Uncompressed, and numpy gives every member the date 1980-01-01: nothing of the machine or the hour gets in.
    np.savez(
        sink, allow_pickle=False, **{field.name: np.asarray(getattr(table, field.name)) for field in fields(table)}
    )
    return sink.getvalue()


def read_signature_table(content: bytes, *, where: str) -> SignatureTable:
    """Read and check a table.

    Args:
        content: The npz file.
        where: What to call it in errors.

    Raises:
        DataError: It is damaged, holds Python objects or other arrays, or breaks a rule of :class:`SignatureTable`.
    """
    try:
        return _parsed(content)
    except Exception as error:  # a damaged zip archive or array header raises errors of many kinds
        raise DataError(f"{where} is no signature table: {error}", hint=_HINT, reason="SIGNATURES_INVALID") from error


def _parsed(content: bytes) -> SignatureTable:
    if not content.startswith(b"PK"):  # numpy would take it for a pickle, and advise to load it unsafely
        raise ValueError("it is no npz file")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: np.asarray(file[name]) for name in file.files}
    wanted = {"variants": ("U", 1), "conditions": ("U", 1), "cot": ("f", 2), "nuclear": ("f", 2), "n": ("i", 0)}
    wanted["method"] = ("U", 0)
    if set(arrays) != set(wanted):
        raise ValueError(f"it holds {', '.join(sorted(arrays)) or 'nothing'}, not {', '.join(sorted(wanted))}")
    for name, (kind, dimensions) in wanted.items():
        array = arrays[name]
        if (array.dtype.kind, array.ndim) != (kind, dimensions):
            raise ValueError(f"{name} has {array.ndim} dimensions of type {array.dtype}")
    return SignatureTable(
        variants=tuple(arrays["variants"].tolist()),
        conditions=tuple(arrays["conditions"].tolist()),
        cot=arrays["cot"].astype(np.float64),
        nuclear=arrays["nuclear"].astype(np.float64),
        n=int(arrays["n"]),
        method=str(arrays["method"]),
    )
