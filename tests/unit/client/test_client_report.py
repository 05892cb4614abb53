"""The answer of `zoo select` at 80 columns: what it says, and what it does not claim."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType

from seedzoo import console as console_module
from seedzoo.records import (
    Baseline,
    ConditionAccuracy,
    Evaluation,
    Evidence,
    Interval,
    LabelDoubt,
    RaceDecision,
    RaceSummary,
    RequirementResult,
    RequirementState,
    SelectionReport,
    VariantScore,
)
from seedzoo.terminal import Unpadded
from seedzoo_client.cli.report import render_report
from seedzoo_client.cli.text import paragraph, percent, points, size, table

REPORT = SelectionReport(
    family="fashion-cnn", release="01JD", recommended="fashion-cnn/s017", model_sha256="ab" * 32, model_size=285_000,
    objective="accuracy", n_examples=300, alpha=0.05, delta=0.01, accuracy=Interval(0.823, 0.761, 0.872),
    value=Interval(0.823, 0.761, 0.872),
    candidates=tuple(f"fashion-cnn/s0{n:02d}" for n in (17, 3, 41, 8, 22, 30, 31, 35, 36, 37, 38, 39)),
    p_within=0.93, detectable=0.041, labels_to_separate=900, reason="Recommended for the highest sample mean.",
    baselines=(
        Baseline("family_mean", "a variant picked at random", 0.770, 0.770, Interval(0.053, 0.012, 0.094)),
        Baseline("best_held_out", "fashion-cnn/s009, best by held-out", 0.791, 0.791, Interval(0.032, -0.011, 0.075)),
        Baseline("ensemble", "all 50 variants together", 0.82, 0.82, Interval(0.003, -0.03, 0.035)),
    ),
    scores=tuple(
        VariantScore(f"fashion-cnn/s{n:03d}", Interval(0.8, 0.7, 0.9), Interval(0.8, 0.7, 0.9), n < 12, 0.906)
        for n in range(50)
    ),
    profile=(
        ConditionAccuracy("id", 0.905, 0.906, 0.002), ConditionAccuracy("pixelate-3", 0.6, 0.55, 0.03),
        ConditionAccuracy("contrast-4", 0.5, 0.58, 0.086), ConditionAccuracy("brightness-3", 0.71, 0.58, 0.08),
        ConditionAccuracy("jpeg-1", 0.9, 0.899, 0.002), ConditionAccuracy("rotation-2", 0.7, 0.69, 0.01),
    ),
    class_counts={"Bag": 300, "Coat": 0}, warnings=("no examples of Coat: the choice says nothing about them",),
    evaluations=15_000, seconds=12.3, selections_served=1,
)  # fmt: skip


def printed(part: RenderableType, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, highlight=False, emoji=False).print(Unpadded(part))
    return out.getvalue()


def rendered(report: SelectionReport, width: int = 80, paths: Sequence[object] = ()) -> str:
    return printed(render_report(report, paths=paths), width)


def words(report: SelectionReport) -> str:
    return re.sub(r"\s+", " ", rendered(report))


def test_fits_80_columns_at_any_width() -> None:
    assert max(map(len, rendered(REPORT).splitlines())) <= 80
    assert rendered(REPORT) == rendered(REPORT, 200)


HARD = replace(
    REPORT,
    warnings=(*REPORT.warnings, f"see /a/{'very/' * 30}long/path.png", "画像の分類が間違っている " * 6),
    label_doubts=(LabelDoubt(0, "Coat", "Bag", 0.98), LabelDoubt(1, "Bag", "Coat", 0.91)),
    n_groups=40,
)
PATHS = (f"/data/{'deep/' * 20}0.png", "1.png")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_nothing_is_lost_at_any_width(width: int) -> None:
    text = rendered(HARD, width, PATHS)
    # Tables fold inside their columns, so characters are compared, not words.
    assert Counter("".join(text.split())) == Counter("".join(rendered(HARD, 2_000, PATHS).split()))
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    sentence = "on more like them 76.1 to 87.2 % (95 % interval). Other variants may be as good, see below."
    assert sentence in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_words_of_tables_stay_whole_where_there_is_room(width: int) -> None:
    text = rendered(REPORT, width)
    for word in ("+9.4)", "distinguishable", "brightness-3", "58.0 ± 8.0 %", "difference"):
        assert word in text


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("40", 40), ("0", 20), (None, 80)])
def test_what_a_command_prints_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None, widest: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    console_module.Console().result({}, render_report(REPORT))
    text = capsys.readouterr().out
    assert Counter("".join(text.split())) == Counter("".join(rendered(REPORT).split()))
    assert max(map(len, text.splitlines())) <= widest
    assert not re.search(r" +$", text, re.MULTILINE)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_pages_of_the_catalog_fold(width: int) -> None:
    rows = table("variant", "held-out accuracy", "contrast-4", "SHA-256")
    for tag in ("s001", "s002"):
        rows.add_row(f"a-family-with-a-long-name/{tag}", percent(0.9061), percent(0.5), "0123456789ab")
    legend = paragraph("differences in points, A minus B; they hold for all conditions jointly", style="dim")
    page = Group(rows, legend)
    text = printed(page, width)
    assert Counter("".join(text.split())) == Counter("".join(printed(page, 300).split()))
    assert max(map(len, text.splitlines())) <= width


def test_what_unlabelled_images_do_to_the_certainty() -> None:
    said = "93 % sure that no variant is more than 1 point better."
    assert f"By the labels alone, which can be too high: {said}" in words(replace(REPORT, prior_used=True))
    assert "too high" not in words(REPORT)


def test_few_images_say_nothing_of_differences() -> None:
    assert "would be noticed" in words(replace(REPORT, n_examples=20))
    few = words(replace(REPORT, n_examples=19))
    assert "would be noticed" not in few
    assert "About 900 more labels have even odds to separate the two leaders, if the gap seen here is real." in few
    assert "more labels" not in words(replace(REPORT, n_examples=19, labels_to_separate=None))
    assert "would be noticed" not in words(replace(REPORT, n_groups=5))


@pytest.mark.parametrize(
    "phrase",
    [
        "Use fashion-cnn/s017",
        "82.3 % right on your 300 images; on more like them 76.1 to 87.2 % (95 % interval)",
        "Other variants may be as good, see below.",
        "93 % sure that no variant is more than 1 point better.",
        "11 of 49 other variants cannot be told apart from it with these images: s003, s041, s008, s022, s030 and 6",
        "With 300 images a real difference of 4.1 points between two variants would be noticed 4 times in 5",
        "about 900 more labels have even odds to separate the two leaders, if the gap seen here is real.",
        "a random variant 77.0 % +5.3 (+1.2 to +9.4) better",
        "best held-out (s009) 79.1 % +3.2 (-1.1 to +7.5) not distinguishable",
        "all as an ensemble 82.0 % +0.3 (-3.0 to +3.5) not distinguishable",
        "The ensemble runs 50 models on every image",
        "brightness-3 71.0 % 58.0 ± 8.0 % +13.0",
        "contrast-4 50.0 % 58.0 ± 8.6 % -8.0",
        "1 more: zoo show fashion-cnn/s017",
        "- no examples of Coat: the choice says nothing about them",
    ],
)
def test_says(phrase: str) -> None:
    assert phrase in words(REPORT)


def test_a_clear_winner() -> None:
    text = words(replace(REPORT, candidates=("fashion-cnn/s017",), labels_to_separate=None, p_within=0.9999))
    assert "More than 99 % sure that no variant" in text
    assert "None of the other 49 variants can be the best on such images (95 % sure)." in text
    assert "cannot be told apart" not in text
    assert "may be as good" not in text
    assert "more labels" not in text


def test_all_tied() -> None:
    text = words(replace(REPORT, candidates=tuple(score.variant for score in REPORT.scores), labels_to_separate=None))
    assert "All 49 other variants cannot be told apart" in text


def test_verdicts_follow_the_intervals() -> None:
    worse = Baseline("ensemble", "", 0.9, 0.9, Interval(-0.08, -0.1, -0.06))
    touching = Baseline("family_mean", "", 0.8, 0.8, Interval(0.02, 0.0, 0.04))
    same = Baseline("best_held_out", "fashion-cnn/s017, the best", 0.823, 0.823, Interval(0.0, 0.0, 0.0))
    text = words(replace(REPORT, baselines=(worse, touching, same)))
    assert "-8.0 (-10.0 to -6.0) worse" in text
    assert "+2.0 (+0.0 to +4.0) not distinguishable" in text
    assert "(s017) 82.3 % it is the same variant" in text


def test_another_level_and_a_used_dataset() -> None:
    text = words(replace(REPORT, alpha=0.1, delta=0.025, selections_served=4))
    assert "(90 % interval)" in text
    assert "no variant is more than 2.5 points better" in text
    assert "choice number 4 on the same images" in text


def test_one_variant_and_no_profile() -> None:
    text = words(
        replace(
            REPORT, candidates=REPORT.candidates[:1], scores=REPORT.scores[:1], baselines=(), profile=(), warnings=()
        )
    )
    assert "only variant" in text
    for title in ("Mind", "What it gains", "stored stress tests"):
        assert title not in text


def test_foreign_text_is_harmless() -> None:
    text = rendered(replace(REPORT, warnings=("\x1b[2J[red]gone[/red]\u202e",)))
    assert "\x1b" not in text
    assert "\\x1b[2J[red]gone[/red]\\u202e" in text


def test_another_objective_is_written_in_its_own_unit_with_the_accuracy_beside_it() -> None:
    report = replace(
        REPORT,
        objective="log_loss",
        higher_is_better=False,
        value=Interval(0.8679, 0.7664, 1.0121),
        detectable=0.1087,
        baselines=(Baseline("ensemble", "", 0.57, 1.173, Interval(0.3053, 0.1737, 0.385)),),
    )
    text = words(report)
    assert "log_loss 0.868 on your 300 images; on more like them 0.766 to 1.01 (95 % interval, lower is better)" in text
    assert "It is right on 82.3 % (76.1 to 87.2 %)." in text
    assert "no variant is more than 0.01 better" in text
    assert "a real difference of 0.109 between" in text
    assert "1.17 +0.305 (+0.174 to +0.385) better" in text


def test_requirements_are_met_open_or_not_met() -> None:
    results = tuple(
        RequirementResult(f"accuracy[c{n}] >= 80%", state, Interval(0.84, 0.8, 0.88), 12, 30, 8)
        for n, state in enumerate(RequirementState)
    )
    report = replace(REPORT, requirements=results[:2], requirement_status=RequirementState.OPEN)
    text = words(report)
    assert "Use fashion-cnn/s017" in text
    assert "accuracy[c0] >= 80% met 84.0 % (80.0 to 88.0 %) 12/30/8" in text
    assert "accuracy[c1] >= 80% open" in text
    assert "Whether it meets what is open is not settled; more labels may." in text
    refuted = replace(report, requirements=results, requirement_status=RequirementState.REFUTED, candidates=())
    text = words(refuted)
    assert text.startswith("No variant can meet the requirements; the nearest is fashion-cnn/s017")
    assert "accuracy[c2] >= 80% not met" in text
    assert "How sure" not in text


def test_without_labels_nothing_is_claimed() -> None:
    report = replace(
        REPORT,
        evidence=Evidence.NO_LABELS,
        accuracy=None,
        value=None,
        p_within=None,
        detectable=None,
        labels_to_separate=None,
        baselines=(),
        n_examples=0,
        n_unlabelled=1200,
        proportions_source="assumed",
        scores=tuple(
            VariantScore(f"fashion-cnn/s{n:03d}", None, None, True, 0.906, expected_deviation=0.05 - n / 1000)
            for n in range(50)
        ),
    )
    text = words(report)
    assert text.startswith("Look first at fashion-cnn/s017")
    assert "Unverified: no label backs this." in text
    assert "1,200 images" in text
    assert "give --class-proportions" in text
    assert "s000 +5.0" in text
    assert "40 more: --json" in text
    assert not re.search(r"sure|right on|interval", text)


def test_labels_that_were_asked_for_state_an_accuracy_only_with_an_audit() -> None:
    queried = replace(
        REPORT, evidence=Evidence.QUERIED_LABELS, accuracy=None, value=None, p_within=None, detectable=None,
        labels_to_separate=None, baselines=(), n_examples=50, n_unlabelled=250,
    )  # fmt: skip
    text = words(queried)
    assert "Picked with 50 labels that were asked for, of 300 images." in text
    assert "no accuracy can be stated" in text
    assert "11 of 49 other variants may still be the best one on these images" in text
    audited = replace(queried, accuracy=Interval(0.8, 0.7, 0.9), value=Interval(0.8, 0.7, 0.9))
    assert "right on 80.0 % of the random sample among them, on more like it 70.0 to 90.0 %" in words(audited)


def test_a_race_says_what_it_saved_and_what_it_rests_on() -> None:
    report = replace(
        REPORT, evaluation=Evaluation.RACE, evaluations=12_000, evaluations_exhaustive=50_000, n_reserve=500,
        n_examples=1_000,
        race=RaceSummary(
            seed=0, first_block=(3, 1), n_raced=500, predictions=20_000, predictions_saved=30_000,
            guarantee="in 95 of 100 such races the best variant stays in play",
        ),
    )  # fmt: skip
    text = words(report)
    assert "82.3 % right on 500 of your 1,000 images" in text
    # Kept predictions were not made, but no race saved them.
    assert "A race saved 30,000 of 50,000 predictions" in text
    assert "in 95 of 100 such races the best variant stays in play." in text
    assert "by itself" not in text
    unasked = words(replace(report, decision=RaceDecision(race=True, predicted_seconds=340.2)))
    assert "began by itself, as all of them were predicted to take 340 s" in unasked
    assert "began by itself; --exhaustive forbids it" in words(replace(report, decision=RaceDecision(race=True)))


def test_everything_was_evaluated_because_it_would_not_take_long() -> None:
    assert "predicted" not in words(REPORT)
    quick = replace(REPORT, decision=RaceDecision(race=False, predicted_seconds=12.4))
    assert "predicted to take 12 s on the machine that did it" in words(quick)
    assert "predicted" not in words(replace(REPORT, decision=RaceDecision(race=False, predicted_seconds=0.0)))


def test_numbers() -> None:
    assert (percent(0.8234), percent(float("nan")), points(-0.0001), points(0.053)) == ("82.3 %", "n/a", "+0.0", "+5.3")
    assert [size(n) for n in (12, 285_000, 3_000_000, 4_200_000_000)] == ["12 bytes", "285 KB", "3 MB", "4.2 GB"]
