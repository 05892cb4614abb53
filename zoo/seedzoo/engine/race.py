"""Race inside the engine: drop variants that can no longer be the best while the examples are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.choosing import ENSEMBLE, Outcome, in_metric_unit, outcome_of
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.measured import Measure, Measured
from seedzoo.engine.settings import SelectionSettings
from seedzoo.records import Evaluation
from seedzoo.selection import FAST_LEVEL, Race

__all__ = ["FEWEST_TO_RACE", "FIRST_BLOCK", "Raced", "race", "race_pays", "shuffled"]

FEWEST_TO_RACE = 1000
"""Fewer examples leave a race nothing to save beside its reserve."""
FIRST_BLOCK = 256
_RACE_BLOCK = 50
_RESERVE_LEAST, _RESERVE_SHARE = 500, 5
_RACE_BY_ITSELF_N = 2500
_RACE_BY_ITSELF_S = 60.0


def race_pays(n_examples: int, seconds_per_example: float) -> bool:
    """Whether to race where nothing was asked for: many examples, and more than a minute for all of them."""
    return n_examples >= _RACE_BY_ITSELF_N and n_examples * seconds_per_example > _RACE_BY_ITSELF_S


def shuffled(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The examples in the random order in which they race; the reserve comes first."""
    return np.random.default_rng([seed, len(rows)]).permutation(rows)


@dataclass(frozen=True, slots=True)
class Raced:
    """How a race ended.

    Attributes:
        outcome: The choice; accuracies and gains from the reserve.
        reserve: The examples that the race never saw, by all variants.
        n_raced: Examples that the race saw before it ended.
        early: Whether it was stopped because its leader was probably good enough.
    """

    outcome: Outcome
    reserve: Measured
    n_raced: int
    early: bool


def race(
    evaluator: FamilyEvaluator,
    order: NDArray[np.int64],
    first: Measured,
    measure: Measure,
    settings: SelectionSettings,
    *,
    labels: NDArray[np.int64],
    held_out: NDArray[np.float64],
    on_block: Callable[[int, int, int], None],
) -> Raced:
    """Race on all examples but a reserve, then state what the reserve shows of the pick.

    Args:
        evaluator: The family and the examples.
        order: Labelled examples in random order; the first n / 5 (at least 500) are the reserve.
        first: Those at the head of ``order`` that were evaluated already; part of the reserve.
        measure: What is measured of each example; bounded scores.
        settings: As the user asked; ``fast`` also stops when the leader is probably within delta.
        labels: int64 ``[n examples]``.
        held_out: ``[M]`` held-out accuracies.
        on_block: Told after each block: examples seen, variants in play, index of the leader.
    """
    n_classes = len(evaluator.family.task.classes)
    n_variants = len(evaluator.family.variants)
    reserved = max(_RESERVE_LEAST, len(order) // _RESERVE_SHARE)
    span = measure.metric.high - measure.metric.low
    running = Race(n_variants, alpha=settings.alpha, seed=settings.seed)
    everything = np.ones(len(labels), dtype=np.bool_) if measure.needs_probabilities else None
    fast, early = settings.evaluation is Evaluation.FAST, False
    blocks = evaluator.blocks(order[reserved:], keep=everything, length=_RACE_BLOCK, variants=lambda: running.alive_ids)
    for rows, scores in blocks:
        part = Measured.of([(rows, scores)], labels, measure, n_classes)
        running.update(_scores(part)[:, :-1])
        on_block(len(first.rows) + running.n, running.alive_ids.size, running.leader)
        early = fast and not running.decided and running.p_within(settings.delta / span) >= FAST_LEVEL
        if running.decided or early:
            break
    rest = list(evaluator.blocks(order[len(first.rows) : reserved], keep=everything))
    reserve = Measured.joined([first, Measured.of(rest, labels, measure, n_classes)]) if rest else first
    unit = _scores(reserve)
    choice = running.choice(
        settings.delta / span,
        reserve=unit[:, :-1],
        baselines={ENSEMBLE: unit[:, -1]},
        reference=int(held_out.argmax()),
    )
    outcome = outcome_of(
        in_metric_unit(choice, measure.metric, settings.delta), reserve, measure.metric, groups=None, seed=settings.seed
    )
    return Raced(outcome=outcome, reserve=reserve, n_raced=running.n, early=early)


def _scores(measured: Measured) -> NDArray[np.float64]:
    if measured.unit is None:
        raise ValueError("only bounded scores can race")
    return measured.unit
