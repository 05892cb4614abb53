"""The answer of `zoo select`, to be read in ten seconds. It never says more than the intervals do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from seedzoo.console import plain
from seedzoo.records import Baseline, ConditionAccuracy, Interval, SelectionReport
from seedzoo_client.cli.text import about, count, level, listing, paragraph, percent, points, table

__all__ = ["render_report"]

_PROFILE_ROWS = 5
_DOUBT_ROWS = 5
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
        ("How sure is this?", list(_certainty(report))),
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
    tied = len(report.candidates) > 1
    yield Text.assemble(("Use ", "bold"), (plain(report.recommended), "bold green"))
    accuracy = report.accuracy
    grouped = f" in {report.n_groups:,} independent groups" if report.n_groups is not None else ""
    yield Padding(
        paragraph(
            f"{percent(accuracy.estimate)} right on your {count(report.n_examples, 'image')}{grouped}; "
            f"on more like them "
            f"{_range(accuracy)} ({level(report.alpha)} interval)."
            + (" Other variants may be as good, see below." if tied else "")
        ),
        (0, 0, 0, 2),
        expand=False,
    )


def _certainty(report: SelectionReport) -> Iterator[RenderableType]:
    n_variants, n_tied = len(report.scores), len(report.candidates) - 1
    delta = f"{100 * report.delta:g} point{'s' * (report.delta != 0.01)}"
    yield paragraph(f"{_chance(report.p_within)} that no variant is more than {delta} better.")
    if n_variants < 2:
        yield paragraph("It is the only variant of this family.")
        return
    if n_tied <= 0:
        yield paragraph(
            f"None of the other {n_variants - 1} variants can be the best on such images ({level(report.alpha)} sure)."
        )
    else:
        share = "All" if n_tied == n_variants - 1 else f"{n_tied} of"
        names = [_tag(name, report.family) for name in report.candidates[1:]]
        yield paragraph(
            f"{share} {n_variants - 1} other variants cannot be told apart from it with these images: {listing(names)}."
        )
    if resolution := _resolution(report):
        yield paragraph(resolution)


def _resolution(report: SelectionReport) -> str:
    sentences = []
    if (report.n_groups or report.n_examples) >= _FEWEST_FOR_RESOLUTION:
        sentences.append(
            f"with {count(report.n_examples, 'image')} a real difference of {100 * report.detectable:.1f} points "
            "between two variants would be noticed 4 times in 5"
        )
    if report.labels_to_separate is not None:
        sentences.append(
            f"about {about(report.labels_to_separate)} more labels would separate the two leaders, "
            "if the gap seen here is real"
        )
    said = "; ".join(sentences)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _gains(report: SelectionReport) -> Iterator[RenderableType]:
    if not report.baselines:
        return
    rows = table("compared with", "accuracy", "gain in points", "", left=1)
    rows.columns[3].justify = "left"
    for baseline in report.baselines:
        rows.add_row(*_gain_row(baseline, report))
    yield rows
    if any(baseline.name == "ensemble" for baseline in report.baselines):
        yield paragraph(f"The ensemble runs {len(report.scores)} models on every image: that many times the cost.")


def _gain_row(baseline: Baseline, report: SelectionReport) -> tuple[Text, str, str, str]:
    gain = baseline.gain
    name = _COMPARED.get(baseline.name, plain(baseline.name))
    if baseline.name == "best_held_out":
        tag = _tag(baseline.detail.partition(",")[0], report.family)
        name = f"{name} ({tag})" if len(tag) <= _LONGEST_TAG else name
    if (gain.estimate, gain.low, gain.high) == (0.0, 0.0, 0.0) and baseline.name == "best_held_out":
        return Text(name), percent(baseline.accuracy), "", "it is the same variant"
    if gain.low > 0:
        verdict = "better"
    elif gain.high < 0:
        verdict = "worse"
    else:
        verdict = "not distinguishable"
    numbers = f"{points(gain.estimate)} ({points(gain.low)} to {points(gain.high)})"
    return Text(name), percent(baseline.accuracy), numbers, verdict


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
    if report.selections_served > 1:
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
    return f"{100 * interval.low:.1f} to {percent(interval.high)}"


def _tag(name: str, family: str) -> str:
    return plain(name.removeprefix(f"{family}/"))
