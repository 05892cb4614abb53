"""The answer of `zoo select`, to be read in ten seconds. It never says more than the intervals do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from seedzoo.console import plain
from seedzoo.records import (
    Baseline,
    ConditionAccuracy,
    Evaluation,
    Evidence,
    Interval,
    RequirementState,
    SelectionReport,
)
from seedzoo_client.cli.text import about, count, level, listing, paragraph, percent, points, table
from seedzoo_client.cli.units import Unit

__all__ = ["render_report"]

_PROFILE_ROWS = 5
_DOUBT_ROWS = 5
_RANKED = 10
_LONGEST_TAG = 6
# With fewer images, what could be noticed is most of the scale: true, and no help.
_FEWEST_FOR_RESOLUTION = 20
_COMPARED = {
    "family_mean": "a random variant",
    "best_held_out": "best held-out",
    "ensemble": "all as an ensemble",
}


def render_report(report: SelectionReport, *, paths: Sequence[object] = ()) -> Group:
    """Lay out a report for 80 columns or fewer; ``paths`` names the images by index."""
    parts: list[RenderableType] = list(_headline(report))
    for title, lines in (
        ("Requirements", list(_requirements(report))),
        ("How sure is this?", list(_certainty(report))),
        ("Ranking (expected accuracy against the family mean; unverified)", list(_ranking(report))),
        (f"What it gains on your images ({level(report.alpha)} intervals)", list(_gains(report))),
        ("Where it differs from its family (stored stress tests)", list(_profile(report))),
        ("Labels to check", list(_doubts(report, paths))),
        ("Mind", [paragraph(warning, lead="- ") for warning in _warnings(report)]),
    ):
        if lines:
            parts += [
                Text(""),
                Text(title, style="bold"),
                *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines),
            ]
    return Group(*parts)


def _headline(report: SelectionReport) -> Iterator[RenderableType]:
    lead = "Use "
    if report.evidence is Evidence.NO_LABELS:
        lead = "Look first at "
    elif report.requirement_status is RequirementState.REFUTED:
        lead = "No variant can meet the requirements; the nearest is "
    yield Text.assemble((lead, "bold"), (plain(report.recommended), "bold green"))
    for text in _summary(report):
        yield Padding(paragraph(text), (0, 0, 0, 2), expand=False)


def _summary(report: SelectionReport) -> Iterator[str]:
    if report.evidence is Evidence.NO_LABELS:
        yield (
            f"Unverified: no label backs this. It follows from what the variants say about your "
            f"{count(report.n_unlabelled, 'image')}, and what such outputs meant in the family's stress tests."
        )
        yield _PROPORTIONS[report.proportions_source]
        return
    if report.accuracy is None or report.value is None:
        yield (
            f"Picked with {count(report.n_examples, 'label')} that were asked for, of "
            f"{count(report.n_examples + report.n_unlabelled, 'image')}. They are no random sample, so no accuracy "
            "can be stated."
        )
        return
    if report.evidence is Evidence.QUERIED_LABELS:
        yield (
            f"Picked with {count(report.n_examples, 'label')}; right on {percent(report.accuracy.estimate)} of the "
            f"random sample among them, on more like it {_range(report.accuracy)} ({level(report.alpha)} interval)."
        )
        return
    grouped = f" in {report.n_groups:,} independent groups" if report.n_groups is not None else ""
    tied = " Other variants may be as good, see below." if len(report.candidates) > 1 else ""
    images = count(report.n_examples, "image")
    where = f"{report.n_reserve:,} of your {images}" if report.n_reserve else f"your {images}"
    if report.objective == "accuracy":
        yield (
            f"{percent(report.accuracy.estimate)} right on {where}{grouped}; on more like them "
            f"{_range(report.accuracy)} ({level(report.alpha)} interval).{tied}"
        )
        return
    unit = Unit.of(report.objective)
    better = "" if report.higher_is_better else ", lower is better"
    yield (
        f"{plain(report.objective)} {unit.value(report.value.estimate)} on {where}{grouped}; on more like them "
        f"{unit.range(report.value.low, report.value.high)} ({level(report.alpha)} interval{better})."
        f"{tied}"
    )
    yield f"It is right on {percent(report.accuracy.estimate)} ({_range(report.accuracy)})."


_PROPORTIONS = {
    "given": "It rests on the class shares that you gave.",
    "labels": "It rests on the class shares of the labelled images.",
    "assumed": "It assumes that all classes are equally frequent: if they are not, give --class-proportions, or this "
    "can be worse than guessing.",
}
_STANDING = {
    RequirementState.MET: "met",
    RequirementState.OPEN: "open",
    RequirementState.REFUTED: "not met",
}


def _requirements(report: SelectionReport) -> Iterator[RenderableType]:
    if not report.requirements:
        return
    shown = table("requirement", "here", "value of this variant", "met/open/not", left=2)
    for result in report.requirements:
        unit = Unit.of(result.text)
        value = result.value
        shown.add_row(
            plain(result.text),
            _STANDING[result.status],
            f"{unit.value(value.estimate)} ({unit.range(value.low, value.high)})",
            f"{result.met}/{result.open}/{result.refuted}",
        )
    yield shown
    yield paragraph("Last column: of how many variants the data show that they meet it, may meet it, or do not.")
    if report.requirement_status is RequirementState.OPEN:
        open_ones = [each.text for each in report.requirements if each.status is RequirementState.OPEN]
        more = "" if all(text.lstrip().startswith("profile") for text in open_ones) else "; more labels may"
        yield paragraph(f"Whether it meets what is open is not settled{more}.")


def _certainty(report: SelectionReport) -> Iterator[RenderableType]:
    if report.evidence is Evidence.NO_LABELS or not report.candidates:
        return
    n_variants, n_tied = len(report.scores), len(report.candidates) - 1
    unit = Unit.of(report.objective)
    if report.p_within is not None:
        # Where unlabelled images helped, it was too high on a task of docs/statistics.md.
        lead = "By the labels alone, which can be too high: " if report.prior_used else ""
        chance = _chance(report.p_within)
        yield paragraph(
            f"{lead}{chance if not lead else chance.lower()} that no variant is more than {unit.amount(report.delta)} "
            "better."
        )
    if n_variants < 2:
        yield paragraph("It is the only variant of this family.")
        return
    names = [_tag(name, report.family) for name in report.candidates[1:]]
    share = "All" if n_tied == n_variants - 1 else f"{n_tied} of"
    if n_tied <= 0:
        which = "these" if report.evidence is Evidence.QUERIED_LABELS else "such"
        best = "meet the requirements and be better" if report.requirements else "be the best"
        yield paragraph(
            f"None of the other {n_variants - 1} variants can {best} on {which} images ({level(report.alpha)} sure)."
        )
    elif report.evidence is Evidence.QUERIED_LABELS:
        yield paragraph(
            f"{share} {n_variants - 1} other variants may still be the best one on these images "
            f"({level(report.alpha)} sure that none but them): {listing(names)}."
        )
    else:
        may = "may meet the requirements too and " if report.requirements else ""
        yield paragraph(
            f"{share} {n_variants - 1} other variants {may}cannot be told apart from it with these images: "
            f"{listing(names)}."
        )
    if n_tied > 0:
        yield paragraph(report.reason)
    if (effort := _effort(report)) is not None:
        yield paragraph(effort)
    if resolution := _resolution(report):
        yield paragraph(resolution)


def _effort(report: SelectionReport) -> str | None:
    """What a race saved and what still holds, or why there was none; None where that was no question."""
    seconds = None if report.decision is None else report.decision.predicted_seconds
    if report.evaluation is Evaluation.EXHAUSTIVE:
        if not seconds:
            return None
        return (
            f"Every variant was evaluated on every image, as that was predicted to take {seconds:.0f} s on the machine "
            "that did it, no more than a minute; --race evaluates less."
        )
    race = report.race
    saved = report.evaluations_exhaustive - report.evaluations if race is None else race.predictions_saved
    unasked = "" if report.decision is None else " It began by itself; --exhaustive forbids it."
    if seconds is not None:
        unasked = (
            f" It began by itself, as all of them were predicted to take {seconds:.0f} s on the machine that made "
            "them; --exhaustive forbids it."
        )
    promise = "" if race is None else f" What holds: {race.guarantee}."
    return (
        f"A race saved {saved:,} of {report.evaluations_exhaustive:,} predictions: variants left it as soon as they "
        f"could not be the best.{promise}{unasked}"
    )


def _ranking(report: SelectionReport) -> Iterator[RenderableType]:
    if report.evidence is not Evidence.NO_LABELS:
        return
    shown = table("variant", "difference in points", "held-out accuracy")
    for score in report.scores[:_RANKED]:
        deviation = math.nan if score.expected_deviation is None else score.expected_deviation
        shown.add_row(_tag(score.variant, report.family), points(deviation), percent(score.held_out_accuracy))
    yield shown
    more = len(report.scores) - _RANKED
    if more > 0:
        yield paragraph(f"{more} more: --json lists them all.")


def _resolution(report: SelectionReport) -> str:
    sentences = []
    if report.detectable is not None and (report.n_groups or report.n_examples) >= _FEWEST_FOR_RESOLUTION:
        sentences.append(
            f"with {count(report.n_examples, 'image')} a real difference of "
            f"{Unit.of(report.objective).amount(report.detectable)} between two variants would be noticed "
            "4 times in 5"
        )
    if report.labels_to_separate is not None:
        sentences.append(
            f"about {about(report.labels_to_separate)} more labels have even odds to separate the two leaders, "
            "if the gap seen here is real"
        )
    said = "; ".join(sentences)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _gains(report: SelectionReport) -> Iterator[RenderableType]:
    if not report.baselines:
        return
    unit = Unit.of(report.objective)
    rows = table("compared with", unit.name, f"gain{unit.of_gains}", "", left=1)
    rows.columns[3].justify = "left"
    for baseline in report.baselines:
        rows.add_row(*_gain_row(baseline, report, unit))
    yield rows
    if any(baseline.name == "ensemble" for baseline in report.baselines):
        yield paragraph(f"The ensemble runs {len(report.scores)} models on every image: that many times the cost.")


def _gain_row(baseline: Baseline, report: SelectionReport, unit: Unit) -> tuple[Text, str, str, str]:
    gain = baseline.gain
    name = _COMPARED.get(baseline.name, plain(baseline.name))
    if baseline.name == "best_held_out":
        tag = _tag(baseline.detail.partition(",")[0], report.family)
        name = f"{name} ({tag})" if len(tag) <= _LONGEST_TAG else name
    value = unit.value(baseline.value)
    if (gain.estimate, gain.low, gain.high) == (0.0, 0.0, 0.0) and baseline.name == "best_held_out":
        return Text(name), value, "", "it is the same variant"
    if gain.low > 0:
        verdict = "better"
    elif gain.high < 0:
        verdict = "worse"
    else:
        verdict = "not distinguishable"
    numbers = f"{unit.gain(gain.estimate)} ({unit.gain(gain.low)} to {unit.gain(gain.high)})"
    return Text(name), value, numbers, verdict


def _profile(report: SelectionReport) -> Iterator[RenderableType]:
    rows = sorted(report.profile, key=_deviation, reverse=True)[:_PROFILE_ROWS]
    if not rows:
        return
    shown: Table = table("condition", "this variant", "family mean ± sd", "difference")
    for row in rows:
        shown.add_row(
            plain(row.condition),
            percent(row.accuracy),
            f"{100 * row.family_mean:.1f} ± {100 * row.family_sd:.1f} %",
            points(row.accuracy - row.family_mean),
        )
    yield shown
    more = len(report.profile) - len(rows)
    if more > 0:
        yield paragraph(f"{more} more: zoo show {plain(report.recommended)}")


def _deviation(row: ConditionAccuracy) -> float:
    return abs(row.accuracy - row.family_mean)


def _doubts(report: SelectionReport, paths: Sequence[object]) -> Iterator[RenderableType]:
    doubts = report.label_doubts
    if not doubts:
        return
    yield paragraph(
        f"{count(len(doubts), 'image')} that nearly all variants call another class: a wrong label, "
        "or an image that the whole family gets wrong. All of them were counted."
    )
    for doubt in doubts[:_DOUBT_ROWS]:
        name = plain(paths[doubt.index]) if doubt.index < len(paths) else f"image {doubt.index}"
        # A path that is cut cannot be opened; the terminal wraps it.
        line = f"- {name}: labelled {plain(doubt.label)}, {100 * doubt.share:.0f} % say {plain(doubt.called)}"
        yield Text(line, overflow="fold")
    if len(doubts) > _DOUBT_ROWS:
        yield paragraph(f"{len(doubts) - _DOUBT_ROWS} more: --json lists them all.")


def _warnings(report: SelectionReport) -> list[str]:
    found = list(report.warnings)
    if report.selections_served > 1 and report.accuracy is not None:
        found.append(
            f"this is choice number {report.selections_served} on the same images: "
            "the intervals hold for one; use fresh images to check the variant you ship"
        )
    return found


def _chance(probability: float) -> str:
    # "100 % sure" is something that no sample can say.
    if probability > 0.995:
        return "More than 99 % sure"
    if probability < 0.01:
        return "Less than 1 % sure"
    return f"{100 * probability:.0f} % sure"


def _range(interval: Interval) -> str:
    return Unit.of("accuracy").range(interval.low, interval.high)


def _tag(name: str, family: str) -> str:
    return plain(name.removeprefix(f"{family}/"))
