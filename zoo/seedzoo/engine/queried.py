"""The label-efficient mode: evaluate everything, then report on labels that were asked for one by one.

What to ask, and what the answers say of the variants, is :class:`seedzoo.selection.active.ActiveSelector`'s to decide.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.selectable import model_of, require_selectable
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.examples import Examples, dependent_groups
from seedzoo.engine.predictions import PredictionStore
from seedzoo.engine.report import conversion_warnings, interval, label_doubts, winner_profile
from seedzoo.engine.spread_evaluator import OpenEvaluator
from seedzoo.inference.decoding import Decoder
from seedzoo.inference.settings import InferenceSettings
from seedzoo.records import (
    Baseline,
    Evaluation,
    Evidence,
    Family,
    Interval,
    ProgressUpdate,
    Release,
    SelectionPhase,
    SelectionReport,
    Variant,
    VariantScore,
)
from seedzoo.selection import FAMILY_MEAN, Choice
from seedzoo.selection.active import ActiveSelector
from seedzoo.stress.table import ProfileTable

__all__ = ["Predictions", "predict_all", "queried_report"]

_FEW_AUDITED = 100


@dataclass(frozen=True, slots=True)
class Predictions:
    """What all M variants say about all N examples.

    Attributes:
        classes: int32 ``[N, M]`` most probable class.
        warnings: What was noticed on the way.
        seconds: How long it took.
        provider: What ran the models; empty where none ran.
    """

    classes: NDArray[np.int32]
    warnings: tuple[str, ...]
    seconds: float
    provider: str


def predict_all(
    *,
    family: Family,
    load_model: Callable[[Variant], bytes],
    examples: Examples,
    audit: int,
    max_pixels: int,
    predictions: PredictionStore | None = None,
    on_progress: Callable[[ProgressUpdate], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    decoder: Decoder | None = None,
    open_evaluator: OpenEvaluator | None = None,
    inference: InferenceSettings | None = None,
) -> Predictions:
    """Evaluate every variant on every example; labels that the examples carry are not used, and a warning says so.

    Args:
        family: Whose variants.
        load_model: Reads and verifies a variant's ONNX file.
        examples: The user's data.
        audit: Size of the random sample that will be asked for, which takes examples for independent.
        max_pixels: Largest image that is decoded.
        predictions: Keeps predictions between selections.
        on_progress: Called from this thread after each block.
        should_stop: Asked before each block, and while images are decoded.
        decoder: Decodes the images; threads of its own when omitted.
        open_evaluator: Evaluates elsewhere than in threads of this process.
        inference: Hardware and memory for the threads of this process.

    Raises:
        RequestError: The family is for browsing only.
        ItemsError: Some images cannot be decoded; names all of them by index.
        Cancelled: ``should_stop`` said so.
    """
    require_selectable(family)
    started = time.perf_counter()
    rows = np.arange(len(examples.labels), dtype=np.int64)
    on_progress(ProgressUpdate(SelectionPhase.LOADING, examples_total=len(rows)))
    found, done = [], 0
    with FamilyEvaluator(
        family=family,
        load_model=load_model,
        examples=examples,
        max_pixels=max_pixels,
        predictions=predictions,
        should_stop=should_stop,
        decoder=decoder,
        open_evaluator=open_evaluator,
        inference=inference,
    ) as evaluator:
        for block, scores in evaluator.blocks(rows):
            found.append(scores.predicted)
            done += len(block)
            on_progress(ProgressUpdate(SelectionPhase.EVALUATING, done, len(rows), len(family.variants)))
    return Predictions(
        classes=np.concatenate(found),
        warnings=(
            *_example_warnings(examples, audit=audit),
            *conversion_warnings(family, evaluator.conversions, len(rows)),
        ),
        seconds=time.perf_counter() - started,
        provider=evaluator.provider,
    )


def _example_warnings(examples: Examples, *, audit: int) -> list[str]:
    n = len(examples.labels)
    found = []
    labelled = int((examples.labels >= 0).sum())
    if labelled:
        found.append(f"{labelled} of {n} examples came with labels; they were not used")
    groups, copies = dependent_groups(examples.digests, examples.groups)
    if audit and groups is not None:
        what = f"{copies} of {n} images are copies of others" if copies else "images form groups"
        found.append(f"{what}; the intervals of the random sample count each as independent and are too narrow")
    return found


def queried_report(
    *,
    family: Family,
    release: Release,
    profile: ProfileTable,
    predictions: NDArray[np.integer],
    selector: ActiveSelector,
    alpha: float,
    delta: float,
    warnings: Sequence[str],
    seconds: float,
    selections_served: int,
    provider: str = "",
) -> SelectionReport:
    """What the labels given so far say.

    The candidates hold the best variant on these examples with probability 1 - alpha, after any number of labels.
    An accuracy is stated only where an audit, a uniform random sample, was drawn and is labelled in full; it then
    comes from that sample alone. ``p_within``, ``detectable`` and ``labels_to_separate`` cannot be stated honestly.

    Args:
        family: Whose variants.
        release: The release that was evaluated.
        profile: Stored stress profile of the family.
        predictions: int ``[N, M]`` class that each variant gives each example.
        selector: Holds the labels and what follows from them; made from the same predictions.
        alpha: One minus the coverage of the candidates and of each interval.
        delta: Passed on.
        warnings: What was noticed while the examples were evaluated.
        seconds: How long the evaluation took.
        selections_served: How many selections this dataset has served, this one included.
        provider: What ran the models.
    """
    choice = selector.choice(alpha, delta)
    state = selector.state()
    examples: NDArray[np.int64] = state["indices"]
    labels: NDArray[np.int64] = state["labels"]
    audit: NDArray[np.int64] = state["audit"]
    audited = audit.size > 0 and not math.isnan(choice.accuracy.estimate)
    names = [f"{family.name}/{variant.tag}" for variant in family.variants]
    winner = family.variants[choice.best]
    model = model_of(family.name, winner)
    accuracies = _accuracies(choice) if audited else [None] * len(names)
    relative = selector.relative
    by_estimate = np.lexsort((np.arange(len(names)), -np.round(relative, 12)))
    order = [*choice.candidates, *(int(m) for m in by_estimate if int(m) not in choice.candidates)]
    counts = np.bincount(labels, minlength=len(family.task.classes))
    class_counts = {name: int(count) for name, count in zip(family.task.classes, counts, strict=True)}
    return SelectionReport(
        family=family.name,
        release=release.id,
        recommended=names[choice.best],
        model_sha256=model.sha256,
        model_size=model.size,
        objective="accuracy",
        n_examples=len(examples),
        alpha=choice.alpha,
        delta=choice.delta,
        accuracy=accuracies[choice.best],
        value=accuracies[choice.best],
        candidates=tuple(names[index] for index in choice.candidates),
        p_within=None,
        detectable=None,
        labels_to_separate=None,
        reason=choice.reason,
        baselines=_baselines(choice) if audited else (),
        scores=tuple(
            VariantScore(
                variant=names[index],
                accuracy=accuracies[index],
                value=accuracies[index],
                candidate=index in choice.candidates,
                held_out_accuracy=family.variants[index].held_out_accuracy,
                expected_deviation=float(relative[index]),
            )
            for index in order
        ),
        profile=winner_profile(winner.tag, family, profile),
        class_counts=class_counts,
        warnings=(*_warnings(class_counts, examples, audit, audited=audited), *warnings),
        evaluations=int(predictions.size),
        seconds=seconds,
        selections_served=selections_served,
        label_doubts=label_doubts(predictions[examples].astype(np.int32), labels, family.task.classes, examples),
        evidence=Evidence.QUERIED_LABELS,
        n_unlabelled=len(predictions) - len(examples),
        evaluation=Evaluation.EXHAUSTIVE,
        evaluations_exhaustive=int(predictions.size),
        provider=provider,
    )


def _accuracies(choice: Choice) -> list[Interval | None]:
    lows, highs = choice.variant_intervals
    return [
        Interval(float(mean), float(low), float(high))
        for mean, low, high in zip(choice.means, lows, highs, strict=True)
    ]


def _baselines(choice: Choice) -> tuple[Baseline, ...]:
    """The family mean alone: of the ensemble no predictions are kept, and nothing else was asked of the audit."""
    mean = float(choice.means.mean())
    return (
        Baseline(
            name=FAMILY_MEAN,
            detail="a variant picked at random",
            accuracy=mean,
            value=mean,
            gain=interval(choice.gains[FAMILY_MEAN]),
        ),
    )


def _warnings(
    class_counts: dict[str, int], examples: NDArray[np.int64], audit: NDArray[np.int64], *, audited: bool
) -> list[str]:
    found = []
    if audited:
        found.append(
            f"the accuracies come from the random sample of {len(audit)} alone; the other labels were asked for and "
            "say nothing about how often a variant is right"
        )
        if len(audit) < _FEW_AUDITED:
            found.append(f"the random sample has only {len(audit)} examples: the intervals are wide")
    elif audit.size:
        missing = len(np.setdiff1d(audit, examples))
        found.append(
            f"{missing} of the {len(audit)} examples of the random sample have no label: no accuracy can be stated"
        )
    else:
        found.append(
            "labels were asked for, so they are no random sample: no accuracy can be stated; --audit N asks for a "
            "random sample too"
        )
    absent = [name for name, count in class_counts.items() if count == 0]
    if absent:
        found.append(f"no label is {', '.join(absent)}: how the variants do on them is a guess")
    return found
