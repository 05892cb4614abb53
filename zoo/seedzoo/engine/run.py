"""One selection: with labels, with some, or with none; everything evaluated or a race."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from seedzoo.engine.checks import check_selection
from seedzoo.engine.choosing import Help, Surroundings, choose_measured
from seedzoo.engine.deciding import many_enough, probe
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.examples import Examples, dependent_groups
from seedzoo.engine.measured import Measure, Measured
from seedzoo.engine.predictions import PredictionStore
from seedzoo.engine.profile_counts import profile_counts
from seedzoo.engine.race import FEWEST_TO_RACE, race, race_order
from seedzoo.engine.report import Circumstances, labelled_report
from seedzoo.engine.settings import SelectionSettings, needed_slices
from seedzoo.engine.spread_evaluator import OpenEvaluator
from seedzoo.engine.unlabelled import (
    family_prior,
    mix_warning,
    no_signatures,
    pool_of,
    signatures_of,
    unlabelled_report,
)
from seedzoo.errors import RequestError
from seedzoo.inference.decoding import Decoder
from seedzoo.inference.evaluate import BlockScores
from seedzoo.inference.settings import InferenceSettings
from seedzoo.records import (
    Evaluation,
    Family,
    ProgressUpdate,
    RaceDecision,
    Release,
    SelectionPhase,
    SelectionReport,
    Variant,
)
from seedzoo.selection import estimated_proportions
from seedzoo.stress.signature_table import SignatureTable
from seedzoo.stress.table import ProfileTable

__all__ = ["run_selection"]

_FEWEST_UNLABELLED = 100
_FAST_WARNING = (
    "stopped early because the leader was probably good enough: that probability is a model's and not calibrated"
)


def run_selection(
    *,
    family: Family,
    release: Release,
    load_model: Callable[[Variant], bytes],
    profile: ProfileTable,
    signatures: SignatureTable | None,
    examples: Examples,
    settings: SelectionSettings,
    selections_served: int,
    predictions: PredictionStore | None = None,
    decision: RaceDecision | None = None,
    on_decision: Callable[[RaceDecision], None] = lambda _: None,
    on_progress: Callable[[ProgressUpdate], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    decoder: Decoder | None = None,
    open_evaluator: OpenEvaluator | None = None,
    inference: InferenceSettings | None = None,
) -> SelectionReport:
    """Evaluate the variants on the user's examples and choose.

    Args:
        family: Whose variants.
        release: The release that the manifest belongs to.
        load_model: Reads and verifies a variant's ONNX file.
        profile: Stored stress profile of the family.
        signatures: Stored signatures; None where the release has none.
        examples: The user's data. Unlabelled ones help to choose inside the confidence set, at most 2,000 of them;
            where none is labelled the variants are ranked, unverified.
        settings: Objective, requirements and levels.
        selections_served: How many selections this dataset has served, this one included.
        predictions: Keeps predictions between selections on the same examples and release.
        decision: Whether to race, where this selection was begun before and found that out then.
        on_decision: Called when that was found out: it depends on how fast this machine is just now, so whoever goes on
            with the selection must be told.
        on_progress: Called from this thread after each block.
        should_stop: Asked before each block, and while images are decoded.
        decoder: Decodes the images; threads of its own when omitted.
        open_evaluator: Evaluates elsewhere than in threads of this process; the report is the same.
        inference: Hardware and memory for the threads of this process.

    Raises:
        RequestError: The settings cannot be used, or the family is for browsing only.
        DataError: There are no examples, labels outside the task, or no label and no signatures.
        ItemsError: Some images cannot be decoded; names all of them by index.
        Cancelled: ``should_stop`` said so.
        ZooError: CUDA is demanded and not active.
    """
    check_selection(settings, family, examples, lambda: list(profile_counts(family, profile)))
    labels = examples.labels
    if signatures is None and not (labels >= 0).any():
        raise no_signatures(family)
    on_progress(ProgressUpdate(SelectionPhase.LOADING, examples_total=len(labels)))
    started = time.perf_counter()
    with FamilyEvaluator(
        family=family,
        load_model=load_model,
        examples=examples,
        max_pixels=settings.max_pixels,
        predictions=predictions,
        should_stop=should_stop,
        decoder=decoder,
        open_evaluator=open_evaluator,
        inference=inference,
    ) as evaluator:
        work = _Selection(
            evaluator=evaluator,
            release=release,
            profile=profile,
            signatures=signatures,
            settings=settings,
            selections_served=selections_served,
            started=started,
            on_progress=on_progress,
            decision=decision,
            on_decision=on_decision,
        )
        return work.with_labels() if (labels >= 0).any() else work.without_labels()


@dataclass
class _Selection:
    """One selection at work."""

    evaluator: FamilyEvaluator
    release: Release
    profile: ProfileTable
    signatures: SignatureTable | None
    settings: SelectionSettings
    selections_served: int
    started: float
    on_progress: Callable[[ProgressUpdate], None]
    decision: RaceDecision | None
    on_decision: Callable[[RaceDecision], None]

    def __post_init__(self) -> None:
        self.family = self.evaluator.family
        self.examples = self.evaluator.examples
        self.labels = self.examples.labels
        self.labelled = np.flatnonzero(self.labels >= 0)
        self.n_classes = len(self.family.task.classes)
        self.held_out = np.array([variant.held_out_accuracy for variant in self.family.variants])

    def without_labels(self) -> SelectionReport:
        """Rank by outputs and stress profile."""
        pool = pool_of(np.arange(len(self.labels)), self.settings.seed)
        everything = np.ones(len(self.labels), dtype=np.bool_)
        blocks = self._evaluated(pool, keep=everything, total=len(pool))
        self._say(SelectionPhase.CHOOSING, len(pool), len(pool))
        if self.signatures is None:
            raise no_signatures(self.family)
        given = self.settings.class_proportions
        shares = given or (1 / self.n_classes,) * self.n_classes
        return unlabelled_report(
            self._circumstances(
                n_images=len(pool),
                n_counted=len(pool),
                n_unlabelled=len(pool),
                class_proportions=dict(zip(self.family.task.classes, shares, strict=True)),
                proportions_source="given" if given else "assumed",
            ),
            family_prior(self.family, self.profile, self.signatures),
            signatures_of(np.concatenate([scores.probabilities for _, scores in blocks]), given or None),
            np.concatenate([scores.predicted for _, scores in blocks]),
        )

    def with_labels(self) -> SelectionReport:
        """Choose by labels, with the help of what is unlabelled."""
        measure = Measure.of(
            self.settings,
            n_examples=len(self.labelled),
            n_variants=len(self.family.variants),
            n_classes=self.n_classes,
        )
        named = self.examples.groups
        digests = self.examples.digests
        groups, copies = dependent_groups(
            [digests[row] for row in self.labelled.tolist()], None if named is None else named[self.labelled]
        )
        if self._may_race(measure, dependent=groups is not None):
            order = race_order(self.labelled, [digests[row] for row in self.labelled.tolist()], self.settings.seed)
            first = self._decided(order, measure)
            if self.decision is None or self.decision.race:
                return self._raced(order, first, measure)
            rest = self.labelled if first is None else np.setdiff1d(self.labelled, first.rows)
            keep = np.full(len(self.labels), measure.needs_probabilities)
            blocks = self._evaluated(rest, keep=keep, total=len(order), done=len(order) - len(rest))
            parts = [] if first is None else [first]
            measured = Measured.joined([*parts, Measured.of(blocks, self.labels, measure, self.n_classes)]).by_row()
            return self._chosen(measured, measure, groups, copies, pool=None)
        unused = self._why_unused()
        use = len(self.labelled) < len(self.labels) and not unused
        pool = pool_of(np.arange(len(self.labels)), self.settings.seed) if use else np.zeros(0, dtype=np.int64)
        pooled = np.isin(np.arange(len(self.labels)), pool)
        unlabelled = pool[self.labels[pool] < 0]
        total = len(self.labelled) + len(unlabelled)
        blocks = self._evaluated(self.labelled, keep=pooled | measure.needs_probabilities, total=total)
        measured = Measured.of(blocks, self.labels, measure, self.n_classes)
        if not len(unlabelled):
            return self._chosen(measured, measure, groups, copies, pool=None)
        beside = self._evaluated(unlabelled, keep=pooled, total=total, done=len(self.labelled))
        return self._chosen(measured, measure, groups, copies, pool=[*blocks, *beside])

    def _why_unused(self) -> str:
        """Why unlabelled examples cannot help to choose; empty where they can."""
        if not self.settings.use_prior:
            return "as asked"
        if self.signatures is None:
            return "the release has no signatures"
        if self.settings.objective != "accuracy":
            return "they help with the objective accuracy only"
        if self.settings.requirements:
            return "requirements are judged by labels alone"
        unlabelled = len(self.labels) - len(self.labelled)
        if unlabelled < max(_FEWEST_UNLABELLED, len(self.labelled)):
            return f"they are too few to tell anything: {_FEWEST_UNLABELLED}, and as many as labelled ones, are needed"
        return ""

    def _may_race(self, measure: Measure, *, dependent: bool) -> bool:
        asked = self.settings.evaluation
        if asked is Evaluation.EXHAUSTIVE:
            return False
        why = ""
        if dependent:
            why = "some examples depend on each other (groups, or copies of one image)"
        elif len(self.labelled) < FEWEST_TO_RACE:
            why = f"it needs at least {FEWEST_TO_RACE:,} labelled examples, there are {len(self.labelled):,}"
        elif not measure.by_scores or self.settings.requirements:
            why = "the objective or the requirements need every variant on every example"
        if why and asked is not Evaluation.AUTO:
            raise RequestError(
                f"a race is not possible: {why}",
                hint="Evaluate everything: leave out --race or --fast.",
                field="evaluation",
            )
        return not why and (asked is not Evaluation.AUTO or many_enough(len(self.labelled)))

    def _decided(self, order: NDArray[np.int64], measure: Measure) -> Measured | None:
        """Decide whether to race where that is open; what was evaluated to find out."""
        if self.settings.evaluation is not Evaluation.AUTO:
            self.decision = None
            return None
        if self.decision is not None:
            return None
        keep = np.full(len(self.labels), measure.needs_probabilities)
        probed = probe(
            self.evaluator, order, lambda rows, done: self._evaluated(rows, keep=keep, total=len(order), done=done)
        )
        self.decision = probed.decision
        self.on_decision(probed.decision)
        return Measured.of(probed.blocks, self.labels, measure, self.n_classes) if probed.blocks else None

    def _raced(self, order: NDArray[np.int64], first: Measured | None, measure: Measure) -> SelectionReport:
        raced = race(
            self.evaluator,
            order,
            first,
            measure,
            self.settings,
            labels=self.labels,
            held_out=self.held_out,
            on_block=lambda seen, alive, leader: self._say(
                SelectionPhase.EVALUATING, seen, len(order), alive=alive, leader=leader
            ),
        )
        warnings = self._unused_warning("a race needs labels")
        around = self._circumstances(
            n_images=raced.summary.n_raced + len(raced.reserve.rows),
            n_counted=len(order),
            evaluation=Evaluation.FAST if raced.early else Evaluation.RACE,
            n_reserve=len(raced.reserve.rows),
            race=raced.summary,
            warnings=(_FAST_WARNING, *warnings) if raced.early else tuple(warnings),
        )
        return labelled_report(
            raced.outcome, around, labels=self.labels, judged=raced.reserve.rows, predicted=raced.reserve.predicted
        )

    def _chosen(
        self,
        measured: Measured,
        measure: Measure,
        groups: NDArray[np.int64] | None,
        copies: int,
        *,
        pool: Sequence[tuple[NDArray[np.int64], BlockScores]] | None,
    ) -> SelectionReport:
        n_images = len(measured.rows)
        self._say(SelectionPhase.CHOOSING, n_images, n_images)
        rows = measured.rows
        columns, slices = self.examples.slice_columns, self.examples.slices
        around = Surroundings(
            held_out=self.held_out,
            n_classes=self.n_classes,
            groups=groups,
            slices={name: slices[name][rows] for name in needed_slices(self.settings)},
            slice_numbers=self.examples.slice_numbers(columns[0])[rows] if len(columns) == 1 else None,
            profile=profile_counts(self.family, self.profile),
        )
        help_: Help | None = None
        shares: dict[str, float] = {}
        source, n_unlabelled = "", 0
        warnings = self._unused_warning(self._why_unused()) if pool is None else []
        if pool is not None and self.signatures is not None:
            n_unlabelled = sum(int((self.labels[block] < 0).sum()) for block, _ in pool)
            given = self.settings.class_proportions
            proportions = given or tuple(estimated_proportions(measured.labels, self.n_classes).tolist())
            source = "given" if given else "labels"
            shares = dict(zip(self.family.task.classes, proportions, strict=True))
            help_ = Help(
                prior=family_prior(self.family, self.profile, self.signatures),
                signatures=signatures_of(_pooled(pool), proportions),
            )
            warnings = mix_warning(np.concatenate([scores.predicted for _, scores in pool]), shares, source)
        # Matrices this small gain nothing from more threads, and many selections' threads get in each other's way.
        with threadpool_limits(1, user_api="blas"):
            outcome = choose_measured(measured, measure, self.settings, around, help_)
        return labelled_report(
            outcome,
            self._circumstances(
                n_images=n_images + n_unlabelled,
                n_counted=n_images + n_unlabelled,
                n_unlabelled=n_unlabelled,
                class_proportions=shares,
                proportions_source=source,
                prior_used=help_ is not None,
                n_groups=None if groups is None else len(np.unique(groups)),
                copies=copies,
                warnings=tuple(warnings),
            ),
            labels=self.labels,
            judged=rows,
            predicted=measured.predicted,
        )

    def _unused_warning(self, why: str) -> list[str]:
        unlabelled = len(self.labels) - len(self.labelled)
        found = [f"{unlabelled:,} images without label were not used: {why}"] if unlabelled and why else []
        if self.settings.class_proportions:
            found.append("the class proportions were not used: they matter for images without label only")
        return found

    def _evaluated(
        self, rows: NDArray[np.int64], *, keep: NDArray[np.bool_], total: int, done: int = 0
    ) -> list[tuple[NDArray[np.int64], BlockScores]]:
        """All variants on these examples, with progress."""
        blocks = []
        right = np.zeros(len(self.family.variants), dtype=np.int64)
        for block, scores in self.evaluator.blocks(rows, keep=keep):
            blocks.append((block, scores))
            done += len(block)
            right += (scores.predicted == self.labels[block, np.newaxis]).sum(axis=0)
            self._say(SelectionPhase.EVALUATING, done, total, leader=int(right.argmax()) if right.any() else None)
        return blocks

    def _say(
        self, phase: SelectionPhase, done: int, total: int, *, alive: int | None = None, leader: int | None = None
    ) -> None:
        members = self.family.variants
        name = "" if leader is None else f"{self.family.name}/{members[leader].tag}"
        self.on_progress(ProgressUpdate(phase, done, total, len(members) if alive is None else alive, name))

    def _circumstances(self, *, n_images: int, n_counted: int, **known: Any) -> Circumstances:
        return Circumstances(
            family=self.family,
            release=self.release,
            settings=self.settings,
            profile=self.profile,
            conversions=self.evaluator.conversions,
            n_images=n_images,
            evaluations=self.evaluator.passes,
            evaluations_exhaustive=n_counted * len(self.family.variants),
            selections_served=self.selections_served,
            decision=self.decision,
            provider=self.evaluator.provider,
            seconds=time.perf_counter() - self.started,
            **known,
        )


def _pooled(blocks: Sequence[tuple[NDArray[np.int64], BlockScores]]) -> NDArray[np.float32]:
    return np.concatenate([scores.probabilities for _, scores in blocks])
