"""Whether to race where the user left it open: by the number of examples, and by what evaluating all would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.race import reserve_size
from seedzoo.inference.evaluate import BlockScores
from seedzoo.records import RaceDecision

__all__ = ["Probe", "many_enough", "probe"]

_FEWEST_TO_RACE_UNASKED = 2500
_LONG_S = 60.0
_FIRST_BLOCK = 256
_WARM_UP = 32

Blocks = list[tuple[NDArray[np.int64], BlockScores]]


def many_enough(n_examples: int) -> bool:
    """Whether there are so many labelled examples that a race may start without being asked for."""
    return n_examples >= _FEWEST_TO_RACE_UNASKED


@dataclass(frozen=True, slots=True)
class Probe:
    """What the first block told.

    Attributes:
        decision: Whether to race.
        blocks: The examples that were evaluated to find out, all of the reserve, by all variants.
    """

    decision: RaceDecision
    blocks: Blocks


def probe(
    evaluator: FamilyEvaluator, order: NDArray[np.int64], evaluate: Callable[[NDArray[np.int64], int], Blocks]
) -> Probe:
    """Predict from a first block of the reserve how long all that is not known yet would take.

    Where all of the reserve is known and other examples are not, an earlier race left it so: another one needs the
    fewest new predictions, and nothing is measured.

    Args:
        evaluator: The family and the examples.
        order: Labelled examples in the order of a race.
        evaluate: Evaluates these examples by all variants; also told how many were evaluated before.
    """
    unknown = len(evaluator.unknown(order))
    if not unknown:
        return Probe(RaceDecision(race=False, predicted_seconds=0.0), [])
    fresh = evaluator.unknown(order[: reserve_size(len(order))])[:_FIRST_BLOCK]
    if not len(fresh):
        return Probe(RaceDecision(race=True), [])
    # Opening the models is paid once, so it must not be multiplied: the clock starts when they are open.
    warm_up = _WARM_UP if len(fresh) >= 2 * _WARM_UP else 0
    blocks = evaluate(fresh[:warm_up], 0) if warm_up else []
    started = time.perf_counter()
    blocks += evaluate(fresh[warm_up:], warm_up)
    predicted = (time.perf_counter() - started) / (len(fresh) - warm_up) * unknown
    return Probe(RaceDecision(race=predicted > _LONG_S, predicted_seconds=round(predicted, 1)), blocks)
