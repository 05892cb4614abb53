"""Selections end to end inside the engine: real models, real images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from tests.support import Engine, MemoryExamples

from seedzoo.engine import Examples, FamilyEvaluator, SelectionSettings
from seedzoo.errors import Cancelled, DataError, ItemsError, RequestError
from seedzoo.records import Evaluation, Evidence, ProgressUpdate, RequirementState, SelectionPhase, SelectionReport

VARIANTS = 6
Images = tuple[list[bytes], NDArray[np.int64]]


@pytest.fixture(scope="module")
def predictions(zoo: Engine, images: Images) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Predicted classes and probabilities, computed apart from the selection."""
    examples = MemoryExamples(*images)
    rows = np.arange(len(examples.labels))
    with FamilyEvaluator(family=zoo.family, load_model=zoo.load, examples=examples) as evaluator:
        blocks = [scores for _, scores in evaluator.blocks(rows, keep=np.ones(len(rows), dtype=np.bool_))]
    return np.concatenate([b.predicted for b in blocks]), np.concatenate([b.probabilities for b in blocks])


def by_variant(zoo: Engine, report: SelectionReport) -> dict[str, float]:
    return {score.variant.removeprefix(f"{zoo.family.name}/"): score.value.estimate for score in report.scores}


def test_the_accuracy_is_that_of_the_predictions(
    zoo: Engine, labelled: MemoryExamples, predictions: tuple[NDArray[np.int32], NDArray[np.float32]]
) -> None:
    report = zoo.select(labelled, SelectionSettings())
    right = (predictions[0] == labelled.labels[:, None]).mean(axis=0)
    expected = {variant.tag: float(share) for variant, share in zip(zoo.family.variants, right, strict=True)}
    assert by_variant(zoo, report) == pytest.approx(expected)
    assert report.recommended.endswith(max(expected, key=lambda tag: expected[tag]))
    assert report.value == report.accuracy
    assert (report.evaluations, report.evaluations_exhaustive) == (300 * VARIANTS, 300 * VARIANTS)
    assert report.evidence is Evidence.LABELS
    assert not report.prior_used


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        ("macro_f1", lambda y, p, q: metrics.f1_score(y, p, average="macro")),
        ("balanced_accuracy", lambda y, p, q: metrics.balanced_accuracy_score(y, p)),
        ("log_loss", lambda y, p, q: metrics.log_loss(y, q.astype(np.float64), labels=range(10))),
        ("auroc", lambda y, p, q: metrics.roc_auc_score(y, q, multi_class="ovr")),
        ("top_k:2", lambda y, p, q: metrics.top_k_accuracy_score(y, q, k=2, labels=range(10))),
        ("brier", lambda y, p, q: float(np.square(q - np.eye(10)[y]).sum(axis=1).mean())),
    ],
)
@pytest.mark.filterwarnings("ignore:The y_prob values do not sum to one")
def test_objectives_are_those_of_scikit_learn(
    zoo: Engine,
    labelled: MemoryExamples,
    predictions: tuple[NDArray[np.int32], NDArray[np.float32]],
    objective: str,
    reference: Any,
) -> None:
    report = zoo.select(labelled, SelectionSettings(objective=objective))
    predicted, probabilities = predictions
    expected = {
        variant.tag: reference(labelled.labels, predicted[:, m], probabilities[:, m])
        for m, variant in enumerate(zoo.family.variants)
    }
    assert by_variant(zoo, report) == pytest.approx(expected, abs=1e-6)
    best = (max if report.higher_is_better else min)(expected, key=lambda tag: expected[tag])
    assert report.recommended == f"{zoo.family.name}/{best}"
    assert report.value.low <= report.value.estimate <= report.value.high
    # The plain accuracy stands beside it, whatever the objective.
    right = float((predicted[:, [v.tag for v in zoo.family.variants].index(best)] == labelled.labels).mean())
    assert report.accuracy.estimate == pytest.approx(right)
    assert all(baseline.gain.low <= baseline.gain.estimate <= baseline.gain.high for baseline in report.baselines)


def test_costs_are_the_mean_of_the_table(
    zoo: Engine, labelled: MemoryExamples, predictions: tuple[NDArray[np.int32], NDArray[np.float32]]
) -> None:
    table = np.abs(np.subtract.outer(np.arange(10), np.arange(10))).astype(float)
    report = zoo.select(labelled, SelectionSettings(objective="cost", costs=tuple(table.ravel())))
    expected = {
        variant.tag: float(table[labelled.labels, predictions[0][:, m]].mean())
        for m, variant in enumerate(zoo.family.variants)
    }
    assert by_variant(zoo, report) == pytest.approx(expected)
    assert not report.higher_is_better


def test_requirements_are_judged_on_slices_and_profile(zoo: Engine, images: Images) -> None:
    contents, labels = images
    bags = labels == zoo.family.task.classes.index("bag")
    examples = MemoryExamples(contents, labels, slices={"bags": bags})
    asked = ("accuracy[bags] >= 1%", "profile[pixelate-3] >= 1%", "accuracy >= 99.9%")
    report = zoo.select(examples, SelectionSettings(requirements=asked[:2]))
    assert [result.text for result in report.requirements] == list(asked[:2])
    assert report.requirement_status is RequirementState.MET
    assert report.requirements[1].met == VARIANTS
    impossible = zoo.select(examples, SelectionSettings(requirements=asked))
    assert impossible.requirement_status is RequirementState.REFUTED
    assert impossible.candidates == ()
    assert impossible.requirements[2].refuted == VARIANTS
    # An objective other than accuracy does not change what "accuracy" means in a requirement.
    other = zoo.select(examples, SelectionSettings(objective="brier", requirements=asked[:1]))
    assert other.requirements[0].value.estimate == pytest.approx(
        next(s.accuracy.estimate for s in zoo.select(
            MemoryExamples([c for c, b in zip(contents, bags, strict=True) if b], labels[bags]), SelectionSettings()
        ).scores if s.variant == other.recommended)
    )  # fmt: skip


def test_worst_slice_is_the_worst_of_the_column(zoo: Engine, images: Images) -> None:
    contents, labels = images
    numbers = np.arange(len(labels)) % 3
    examples = MemoryExamples(contents, labels, columns={"camera": numbers})
    report = zoo.select(examples, SelectionSettings(objective="worst_slice"))
    each = [by_variant(zoo, zoo.select(_rows(examples, contents, numbers == k), SelectionSettings())) for k in range(3)]
    assert by_variant(zoo, report) == pytest.approx({tag: min(part[tag] for part in each) for tag in each[0]})
    with pytest.raises(RequestError, match="needs one slice column, the data have 0"):
        zoo.select(MemoryExamples(contents, labels), SelectionSettings(objective="worst_slice"))


def _rows(examples: MemoryExamples, contents: list[bytes], mask: NDArray[np.bool_]) -> MemoryExamples:
    return MemoryExamples([c for c, kept in zip(contents, mask, strict=True) if kept], examples.labels[mask])


def test_unlabelled_images_help_to_choose_and_leave_the_statements_alone(zoo: Engine, images: Images) -> None:
    contents, labels = images
    known = np.where(np.arange(len(labels)) % 3 == 0, labels, -1)
    mixed = zoo.select(MemoryExamples(contents, known), SelectionSettings())
    alone = zoo.select(_rows(MemoryExamples(contents, labels), contents, known >= 0), SelectionSettings())
    assert mixed.prior_used
    assert (mixed.n_examples, mixed.n_unlabelled, mixed.proportions_source) == (100, 200, "labels")
    assert sum(mixed.class_proportions.values()) == pytest.approx(1.0)
    assert set(mixed.candidates) == set(alone.candidates)
    assert {s.variant: s.accuracy for s in mixed.scores} == {s.variant: s.accuracy for s in alone.scores}
    assert sum(mixed.class_counts.values()) == 100
    without = zoo.select(MemoryExamples(contents, known), SelectionSettings(use_prior=False))
    assert not without.prior_used
    assert without.recommended == alone.recommended
    assert any("200 images without label were not used: as asked" in warning for warning in without.warnings)


def test_without_labels_variants_are_ranked_and_nothing_is_claimed(zoo: Engine, images: Images) -> None:
    examples = MemoryExamples(images[0], np.full(300, -1))
    report = zoo.select(examples, SelectionSettings())
    assert report.evidence is Evidence.NO_LABELS
    assert (report.accuracy, report.value, report.p_within, report.detectable) == (None, None, None, None)
    assert len(report.candidates) == VARIANTS
    assert report.proportions_source == "assumed"
    expected = [score.expected_deviation for score in report.scores]
    assert expected == sorted(expected, reverse=True)
    assert sum(expected) == pytest.approx(0.0, abs=1e-12)
    shares = (0.55, *([0.05] * 9))
    given = zoo.select(examples, SelectionSettings(class_proportions=shares))
    assert given.proportions_source == "given"
    assert tuple(given.class_proportions.values()) == shares
    assert any("another mix of classes than was given" in warning for warning in given.warnings)
    with pytest.raises(DataError, match="no signatures") as caught:
        zoo.select(examples, SelectionSettings(), signatures=False)
    assert caught.value.reason == "SIGNATURES_MISSING"


def test_a_race_saves_evaluations_and_judges_by_what_it_never_saw(zoo: Engine, many: Images) -> None:
    seen: list[ProgressUpdate] = []
    examples = MemoryExamples(*many)
    report = zoo.select(examples, SelectionSettings(evaluation=Evaluation.RACE), on_progress=seen.append)
    full = zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.EXHAUSTIVE))
    assert report.evaluation is Evaluation.RACE
    assert report.n_reserve == 500
    assert report.decision is None
    assert report.race is not None
    assert report.race.predictions == report.evaluations
    assert report.race.predictions + report.race.predictions_saved == report.evaluations_exhaustive
    assert "in 95 of 100 such races the best variant stays in play" in report.race.guarantee
    assert "500 images that the race never saw" in report.race.guarantee
    assert report.evaluations <= report.evaluations_exhaustive == len(many[1]) * VARIANTS
    assert report.recommended in full.candidates
    assert {score.variant for score in report.scores} == {score.variant for score in full.scores}
    assert report.accuracy.low <= report.accuracy.estimate <= report.accuracy.high
    assert len(examples.read_rows) == len(set(examples.read_rows))
    alive = [update.variants_in_race for update in seen if update.phase is SelectionPhase.EVALUATING]
    assert alive == sorted(alive, reverse=True)
    again = zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.RACE))
    assert dataclasses.replace(again, seconds=report.seconds) == report


def test_a_fast_race_says_that_it_is_not_calibrated(zoo: Engine, many: Images) -> None:
    report = zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.FAST, delta=0.05))
    guaranteed = zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.RACE, delta=0.05))
    assert report.evaluation is Evaluation.FAST
    assert report.evaluations < guaranteed.evaluations
    assert any("not calibrated" in warning for warning in report.warnings)
    assert report.race is not None
    assert report.race.guarantee.startswith("none for the winner")


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"objective": "f2"}, "objective", "objective 'f2' is not known"),
        ({"objective": "ece"}, "objective", "only reported"),
        ({"objective": "top_k:many"}, "objective", "must be a number of classes"),
        ({"objective": "macro_f1:3"}, "objective", "takes no parameter"),
        ({"objective": "risk_at_coverage:2"}, "objective", "risk_at_coverage:2"),
        ({"objective": "cost"}, "costs", "the objective cost needs costs"),
        ({"costs": (1.0,)}, "costs", "costs belong to the objective cost"),
        ({"objective": "cost", "costs": (1.0, 2.0)}, "costs", "do not make a table of 10 x 10"),
        ({"alpha": float("nan")}, "alpha", "not between 0.001 and 0.5"),
        ({"delta": 0.0}, "delta", "not between 0 and 1"),
        ({"requirements": ("accuracy > .8",)}, "requirements", "must read"),
        ({"requirements": ("accuracy[sunny] >= .8",)}, "requirements", "no slice 'sunny'"),
        ({"requirements": ("profile[rain-2] >= .8",)}, "requirements", "no condition 'rain-2'"),
        ({"requirements": ("multilabel_accuracy >= .8",)}, "requirements", "one class per image"),
        ({"requirements": ("accuracy >= .5",) * 21}, "requirements", "more than 20"),
        ({"class_proportions": (0.5, 0.5)}, "class_proportions", "2 class proportions for 10 classes"),
        ({"class_proportions": (0.2,) * 10}, "class_proportions", "sum to 2"),
        ({"class_proportions": (-0.8, *(0.2,) * 9)}, "class_proportions", "must not be negative"),
        ({"evaluation": Evaluation.RACE}, "evaluation", "at least 1,000 labelled examples"),
        ({"evaluation": Evaluation.RACE, "objective": "macro_f1"}, "evaluation", "no mean of bounded scores"),
        ({"evaluation": Evaluation.RACE, "requirements": ("accuracy >= .5",)}, "evaluation", "requirements need every"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(
    zoo: Engine, labelled: MemoryExamples, change: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        zoo.select(labelled, SelectionSettings(**change))
    assert message in caught.value.message
    assert caught.value.field == field


@pytest.mark.parametrize(
    "change", [{"objective": "macro_f1"}, {"requirements": ("accuracy >= .5",)}, {"evaluation": Evaluation.RACE}]
)
def test_what_needs_labels_says_so(zoo: Engine, images: Images, change: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"needs? labels, and no example has one"):
        zoo.select(MemoryExamples(images[0], np.full(300, -1)), SelectionSettings(**change))


def test_probabilities_beyond_memory_are_refused(
    zoo: Engine, labelled: MemoryExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedzoo.engine.measured._MOST_BYTES", 1 << 16)
    with pytest.raises(RequestError, match="GiB of probabilities"):
        zoo.select(labelled, SelectionSettings(objective="auroc"))
    assert zoo.select(labelled, SelectionSettings(objective="brier")).objective == "brier"


def test_all_bad_images_are_named_and_a_cancelled_selection_stops(zoo: Engine, images: Images) -> None:
    contents = [b"no image", *images[0][1:299], b""]
    examples: Examples = MemoryExamples(contents, images[1])
    with pytest.raises(ItemsError) as caught:
        zoo.select(examples, SelectionSettings())
    assert sorted(caught.value.faults) == [0, 299]
    with (
        FamilyEvaluator(
            family=zoo.family, load_model=zoo.load, examples=MemoryExamples(*images), should_stop=lambda: True
        ) as evaluator,
        pytest.raises(Cancelled),
    ):
        next(evaluator.blocks(np.arange(300)))


def test_copies_count_once_and_forbid_a_race(zoo: Engine, many: Images) -> None:
    contents, labels = [*many[0], many[0][0]], np.append(many[1], many[1][0])
    report = zoo.select(MemoryExamples(contents, labels), SelectionSettings(evaluation=Evaluation.EXHAUSTIVE))
    assert report.n_groups == len(contents) - 1
    with pytest.raises(RequestError, match="depend on each other"):
        zoo.select(MemoryExamples(contents, labels), SelectionSettings(evaluation=Evaluation.RACE))
