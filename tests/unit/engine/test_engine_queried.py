"""The report of labels that were asked for: nothing is claimed that they do not give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seedzoo.engine.queried import queried_report
from seedzoo.records import Evidence, Family, Release, SelectionReport
from seedzoo.selection.active import ActiveSelector
from seedzoo.starter import starter_bundle
from seedzoo.stress.table import ProfileTable, read_profile

N, VARIANTS = 300, 5


@pytest.fixture(scope="module")
def family() -> Family:
    from seedzoo.catalog.bundle import open_bundle

    whole = open_bundle(starter_bundle()).family
    return replace(whole, variants=whole.variants[:VARIANTS])


@pytest.fixture(scope="module")
def profile(family: Family) -> ProfileTable:
    from seedzoo.catalog.bundle import PROFILE_FILE

    whole = read_profile(starter_bundle() / PROFILE_FILE)
    tags = {variant.tag for variant in family.variants}
    return replace(whole, rows=tuple(row for row in whole.rows if row.variant in tags))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, N)  # the last class has no example


@pytest.fixture(scope="module")
def predictions(truth: np.ndarray) -> np.ndarray:
    """Variant 2 is right on 90 % of the examples, the others on 60 to 75 %."""
    rng = np.random.default_rng(1)
    right = np.array([0.6, 0.7, 0.9, 0.75, 0.65])
    wrong = (truth[:, None] + rng.integers(1, 9, (N, VARIANTS))) % 9
    return np.where(rng.random((N, VARIANTS)) < right, truth[:, None], wrong).astype(np.uint8)


def report(
    family: Family, profile: ProfileTable, predictions: np.ndarray, selector: ActiveSelector, alpha: float = 0.05
) -> SelectionReport:
    return queried_report(
        family=family,
        release=Release(family=family.name, id="r1", created="2026-01-01T00:00:00+00:00", files=()),
        profile=profile,
        predictions=predictions,
        selector=selector,
        alpha=alpha,
        delta=0.02,
        warnings=("3 images were turned around",),
        seconds=1.5,
        selections_served=2,
    )


def labelled(predictions: np.ndarray, truth: np.ndarray, count: int, *, audit: int = 0) -> ActiveSelector:
    selector = ActiveSelector(predictions, 10, seed=3)
    for index in selector.audit(audit) if audit else ():
        selector.tell(int(index), int(truth[index]))
    while selector.n_labels < count:
        index = selector.next()
        selector.tell(index, int(truth[index]))
    return selector


def test_without_an_audit_no_accuracy_is_stated(
    family: Family, profile: ProfileTable, predictions: np.ndarray, truth: np.ndarray
) -> None:
    selector = labelled(predictions, truth, 60)
    found = report(family, profile, predictions, selector)
    choice = selector.choice(0.05, 0.02)
    best = family.variants[2]
    assert found.recommended == found.candidates[0] == f"{family.name}/{best.tag}"
    assert (found.model_sha256, found.model_size) == (best.model.sha256, best.model.size)
    assert found.evidence is Evidence.QUERIED_LABELS
    assert (found.accuracy, found.value, found.p_within, found.detectable, found.labels_to_separate) == (None,) * 5
    assert found.baselines == ()
    assert (found.n_examples, found.n_unlabelled) == (60, N - 60)
    assert (found.alpha, found.delta, found.selections_served, found.seconds) == (0.05, 0.02, 2, 1.5)
    assert found.evaluations == found.evaluations_exhaustive == N * VARIANTS
    assert found.reason == choice.reason
    assert sum(found.class_counts.values()) == 60
    assert found.class_counts[family.task.classes[9]] == 0
    assert found.warnings[-1] == "3 images were turned around"
    assert any("--audit N asks for a random sample" in warning for warning in found.warnings)
    assert any(family.task.classes[9] in warning for warning in found.warnings)
    assert len(found.profile) > 30
    assert [score.candidate for score in found.scores] == sorted((s.candidate for s in found.scores), reverse=True)
    assert [score.variant for score in found.scores][: len(found.candidates)] == list(found.candidates)
    rest = [score.expected_deviation for score in found.scores if not score.candidate]
    assert rest == sorted(rest, reverse=True)
    assert {score.variant: score.expected_deviation for score in found.scores} == {
        f"{family.name}/{variant.tag}": value for variant, value in zip(family.variants, selector.relative, strict=True)
    }


def test_an_audit_gives_accuracies_of_its_sample_alone(
    family: Family, profile: ProfileTable, predictions: np.ndarray, truth: np.ndarray
) -> None:
    selector = labelled(predictions, truth, 150, audit=100)
    found = report(family, profile, predictions, selector)
    sample = selector.state()["audit"]
    means = (predictions[sample] == truth[sample, None]).mean(axis=0)
    by_name = {score.variant: score for score in found.scores}
    for variant, mean in zip(family.variants, means, strict=True):
        score = by_name[f"{family.name}/{variant.tag}"]
        assert score.accuracy is not None
        assert score.accuracy.estimate == pytest.approx(mean)
        assert score.accuracy.low < mean < score.accuracy.high
        assert score.value == score.accuracy
    assert found.accuracy == found.value == by_name[found.recommended].accuracy
    (baseline,) = found.baselines
    assert (baseline.name, baseline.accuracy, baseline.value) == (
        "family_mean", pytest.approx(means.mean()), pytest.approx(means.mean()),
    )  # fmt: skip
    assert baseline.gain.estimate == pytest.approx(means[2] - means.mean())
    assert baseline.gain.low < baseline.gain.estimate < baseline.gain.high
    assert found.warnings[0].startswith("the accuracies come from the random sample of 100 alone")


def test_an_unfinished_audit_states_none(
    family: Family, profile: ProfileTable, predictions: np.ndarray, truth: np.ndarray
) -> None:
    selector = ActiveSelector(predictions, 10)
    first, *_ = selector.audit(10)
    selector.tell(int(first), int(truth[first]))
    found = report(family, profile, predictions, selector)
    assert found.accuracy is None
    assert found.baselines == ()
    assert found.warnings[0].startswith("9 of the 10 examples of the random sample have no label")


def test_no_label_at_all(family: Family, profile: ProfileTable, predictions: np.ndarray) -> None:
    found = report(family, profile, predictions, ActiveSelector(predictions, 10))
    assert found.n_examples == 0
    assert len(found.candidates) == VARIANTS
    assert found.label_doubts == ()


def test_label_doubts_name_the_examples(
    family: Family, profile: ProfileTable, predictions: np.ndarray, truth: np.ndarray
) -> None:
    agreed = np.flatnonzero((predictions == truth[:, None]).all(axis=1))
    selector = ActiveSelector(predictions, 10)
    selector.tell(int(agreed[5]), 9)
    (doubt,) = report(family, profile, predictions, selector).label_doubts
    assert doubt.index == agreed[5]
    assert doubt.label == family.task.classes[9]
    assert doubt.called == family.task.classes[truth[agreed[5]]]
