"""Race inside the engine: drop variants that can no longer be the best while the examples are evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from seedzoo.catalog.selectable import model_of
from seedzoo.engine.choosing import ENSEMBLE, Outcome, in_metric_unit, outcome_of
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.measured import Measure, Measured
from seedzoo.engine.settings import SelectionSettings
from seedzoo.inference.evaluate import block_length
from seedzoo.inference.sessions import session_bytes
from seedzoo.records import Evaluation, Family, RaceSummary
from seedzoo.selection import FAST_LEVEL, Race

__all__ = ["FEWEST_TO_RACE", "Raced", "race", "race_blocks", "race_order", "reserve_size"]

FEWEST_TO_RACE = 1000
"""Fewer examples leave a race nothing to save beside its reserve."""
_RACE_BLOCK, _LONG_RACE_BLOCK, _PARTS_SEEN = 50, 200, 50
_LARGE_FAMILY_BYTES = 2 << 30
_RESERVE_LEAST, _RESERVE_SHARE = 500, 5


def race_order(rows: NDArray[np.int64], digests: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The examples in the random order in which they race; the reserve comes first.

    An example's place follows from the seed and its file alone: when examples are added, the others keep their order
    and nearly all of the reserve stays in it, so what was evaluated before is what is needed again.

    Args:
        rows: int64 ``[n]`` which examples.
        digests: SHA-256 of each of these examples' files; no two alike.
        seed: Another seed, another order.
    """
    places = [hashlib.sha256(f"{seed}:{digest}".encode()).digest() for digest in digests]
    return rows[sorted(range(len(places)), key=places.__getitem__)]


def reserve_size(n_examples: int) -> int:
    """How many examples a race of so many sets aside."""
    return max(_RESERVE_LEAST, n_examples // _RESERVE_SHARE)


def race_blocks(model_sizes: Sequence[int], example_bytes: int) -> Callable[[int], int]:
    """How many examples a block has that begins after so many; at its end the race drops variants.

    A fiftieth of those before it: to decide more often would cost a long race time and save it hardly any prediction.
    At least 50, or 200 where the family's models may not fit into memory together, as then most are opened anew for
    each block; at most what is decoded together. All that follows from the family and not from this machine: a race
    must end alike wherever it goes on.

    Args:
        model_sizes: Bytes of each variant's file.
        example_bytes: Of one decoded example.
    """
    opened = sum(session_bytes(size) for size in model_sizes)
    least = _LONG_RACE_BLOCK if opened > _LARGE_FAMILY_BYTES else _RACE_BLOCK
    most = block_length(example_bytes, spread=True)
    return lambda seen: max(least, min(most, seen // _PARTS_SEEN))


def _blocks_of(family: Family) -> Callable[[int], int]:
    shape = family.task.preprocessing
    sizes = [model_of(family.name, variant).size for variant in family.variants]
    return race_blocks(sizes, shape.height * shape.width * shape.channels)


@dataclass(frozen=True, slots=True)
class Raced:
    """How a race ended.

    Attributes:
        outcome: The choice; accuracies and gains from the reserve.
        reserve: The examples that the race never saw, by all variants.
        summary: For the report.
        early: Whether it was stopped because its leader was probably good enough.
    """

    outcome: Outcome
    reserve: Measured
    summary: RaceSummary
    early: bool


def race(
    evaluator: FamilyEvaluator,
    order: NDArray[np.int64],
    first: Measured | None,
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
        order: Labelled examples in random order; the reserve is at its head.
        first: Examples of the reserve that were evaluated already; None where there are none.
        measure: What is measured of each example; bounded scores.
        settings: As the user asked; ``fast`` also stops when the leader is probably within delta.
        labels: int64 ``[n examples]``.
        held_out: ``[M]`` held-out accuracies.
        on_block: Told after each block: examples seen, variants in play, index of the leader.
    """
    n_classes = len(evaluator.family.task.classes)
    n_variants = len(evaluator.family.variants)
    reserved = reserve_size(len(order))
    span = measure.metric.high - measure.metric.low
    running = Race(n_variants, alpha=settings.alpha, seed=settings.seed)
    everything = np.ones(len(labels), dtype=np.bool_) if measure.needs_probabilities else None
    fast, early = settings.evaluation is Evaluation.FAST, False
    seen = 0 if first is None else len(first.rows)
    first_block: tuple[int, ...] = ()
    blocks = evaluator.blocks(
        order[reserved:], keep=everything, length=_blocks_of(evaluator.family), variants=lambda: running.alive_ids
    )
    for rows, scores in blocks:
        first_block = first_block or tuple(rows.tolist())
        part = Measured.of([(rows, scores)], labels, measure, n_classes)
        running.update(_scores(part)[:, :-1])
        on_block(seen + running.n, running.alive_ids.size, running.leader)
        early = fast and not running.decided and running.p_within(settings.delta / span) >= FAST_LEVEL
        if running.decided or early:
            break
    blocks.close()  # what was decoded ahead is dropped now, not when the reserve is done
    rest = order[:reserved] if first is None else order[:reserved][~np.isin(order[:reserved], first.rows)]
    parts = [] if first is None else [first]
    for rows, scores in evaluator.blocks(rest, keep=everything):
        parts.append(Measured.of([(rows, scores)], labels, measure, n_classes))
        seen += len(rows)
        on_block(seen + running.n, running.alive_ids.size, running.leader)
    # In ascending order, as the draws behind the intervals must not depend on what was evaluated when.
    reserve = Measured.joined(parts).by_row()
    unit = _scores(reserve)
    with threadpool_limits(1, user_api="blas"):  # as for any other choice
        choice = running.choice(
            settings.delta / span,
            reserve=unit[:, :-1],
            baselines={ENSEMBLE: unit[:, -1]},
            reference=int(held_out.argmax()),
        )
        choice = in_metric_unit(choice, measure.metric, settings.delta)
        outcome = outcome_of(choice, reserve, measure.metric, groups=None, seed=settings.seed)
    predictions = running.evaluations + reserve.predicted.size
    summary = RaceSummary(
        seed=settings.seed,
        first_block=first_block,
        n_raced=running.n,
        predictions=predictions,
        predictions_saved=len(order) * n_variants - predictions,
        guarantee=_guarantee(settings.alpha, reserved, early=early),
    )
    return Raced(outcome=outcome, reserve=reserve, summary=summary, early=early)


def _guarantee(alpha: float, reserved: int, *, early: bool) -> str:
    stated = f"accuracy and gains come from {reserved:,} images that the race never saw"
    level = f"{100 * (1 - alpha):.4g} of 100 such races"
    if early:
        return (
            f"none for the winner: it led when that seemed good enough, which is not calibrated; in {level} the best "
            f"variant is among those still in play; {stated}"
        )
    return f"in {level} the best variant stays in play, whenever the race ends; {stated}"


def _scores(measured: Measured) -> NDArray[np.float64]:
    if measured.unit is None:
        raise ValueError("only bounded scores can race")
    return measured.unit
