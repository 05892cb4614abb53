"""Crossed designs: every combination of the levels of some factors is a variant, such as pretraining x fine-tuning.

The factors of a recipe (``[[seeds.factors]]``) each govern some random streams. All cells of one level share the seeds
of its streams, so that the spread of the family can be put down to its factors.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from seedzoo.training.seeds import stream_seed

__all__ = ["CHECKPOINT", "Cell", "FactorSection", "cells", "factor_seeds", "prefix_of"]

CHECKPOINT = "checkpoint"
"""Pseudo-stream: its level chooses among ``model.checkpoints`` instead of seeding draws."""


@dataclass(frozen=True, slots=True)
class FactorSection:
    """``[[seeds.factors]]``: one factor of a crossed design."""

    name: str
    streams: tuple[str, ...]
    """Random streams that it governs; ``checkpoint`` chooses among ``model.checkpoints``."""
    levels: int = 0
    """How many; may be left out where it governs ``checkpoint``."""
    prefix: str = ""
    """Letters that its levels have in tags; the first letter of the name when empty."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of levels: a variant to train."""

    tag: str
    levels: tuple[int, ...]
    """Level of each factor, in the order of the recipe."""
    factors: dict[str, str]
    """Factor -> label of its level, such as ``{"pretraining": "p2", "finetuning": "f7"}``."""


def prefix_of(factor: FactorSection) -> str:
    """What the labels of the factor's levels start with."""
    return factor.prefix or factor.name[:1].lower()


def cells(factors: Sequence[FactorSection]) -> tuple[Cell, ...]:
    """All cells, the last factor running fastest: p0f0, p0f1, ... Numbers are padded to sort as they count."""
    found = []
    for levels in itertools.product(*(range(factor.levels) for factor in factors)):
        labels = [
            f"{prefix_of(factor)}{level:0{len(str(factor.levels - 1))}d}"
            for factor, level in zip(factors, levels, strict=True)
        ]
        names = (factor.name for factor in factors)
        found.append(Cell(tag="".join(labels), levels=levels, factors=dict(zip(names, labels, strict=True))))
    return tuple(found)


def factor_seeds(root: int, factors: Sequence[FactorSection], cell: Cell) -> dict[str, int]:
    """Seeds of the streams that the factors govern; a level's seeds do not depend on how many levels there are."""
    return {
        stream: stream_seed(root, stream, f"{factor.name}={level}")
        for factor, level in zip(factors, cell.levels, strict=True)
        for stream in factor.streams
        if stream != CHECKPOINT
    }
