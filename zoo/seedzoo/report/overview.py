"""The top of the page: what the family is, and how far its variants spread under every condition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from seedzoo.records import Certificate
from seedzoo.report.charts import axis_strip, strip, strip_axis
from seedzoo.report.figures import interval, number, p_text, percent
from seedzoo.report.markup import Markup, joined, tag
from seedzoo.report.source import Profiled
from seedzoo.selection.excess_variance import ExcessVariance
from seedzoo.stress.analysis import holm, profile_excess
from seedzoo.stress.analysis.correlations import FEW
from seedzoo.stress.summary import ConditionSummary, summarise

__all__ = ["head_section", "section", "spread_section", "summaries", "wide"]


def section(identity: str, title: str, *parts: str) -> Markup:
    """A section with a heading that can be linked to."""
    return tag("section", tag("h2", title), *parts, id=identity)


def wide(label: str, *parts: str) -> Markup:
    """What may be wider than the window: it scrolls by itself, with the keyboard too."""
    return tag("div", *parts, class_="wide", tabindex="0", role="region", aria_label=label)


def summaries(profiled: Profiled) -> tuple[ConditionSummary, ...]:
    """One summary for each condition of the profile."""
    matrix = profiled.matrix
    return summarise(matrix.accuracies, variants=matrix.variants, conditions=matrix.conditions, n=matrix.n)


def head_section(profiled: Profiled) -> Markup:
    """Name, origin and the figures that matter most."""
    family, rows = profiled.family, summaries(profiled)
    base = next(row for row in rows if row.condition == "id")
    others = [row for row in rows if row.condition != "id"]
    count = len(profiled.matrix.variants)
    facts = [
        ("variants", f"{count}", _certified(family.certificate)),
        ("conditions", f"{len(rows)}", f"{len(others)} beside in-distribution"),
        ("in distribution", f"{percent(base.mean)} %", f"sd {number(100 * base.sd)} points"),
    ]
    if others:
        widest = max(others, key=lambda row: -math.inf if math.isnan(row.sd) else row.sd)
        facts.append(
            ("widest spread", widest.condition,
             f"{percent(widest.low)} to {percent(widest.high)} %, sd {number(100 * widest.sd)} points")
        )  # fmt: skip
        ratios = [row.sd_ratio for row in others if math.isfinite(row.sd_ratio)]
        if ratios:
            middle = f"{np.median(ratios):.1f} ×"
            facts.append(("median sd under stress", middle, "the in-distribution sd"))
        tested = [row.correlation for row in others if math.isfinite(row.correlation.low)]
        if tested:
            apart = sum(one.low > 0 or one.high < 0 for one in tested)
            chance = number(0.05 * len(tested), 1)
            which = "conditions whose rank correlation's 95 % interval excludes 0, either way"
            facts.append(
                ("go with in-distribution accuracy", f"{apart} of {len(tested)}", f"{which}; by chance, about {chance}")
            )
    told = [tag("h1", family.title), tag("p", f"Stress profile of the family {family.name}, {profiled.origin}.")]
    if family.provenance:
        told.append(
            tag("p", f"Published results, to be browsed and compared only. Source: {family.provenance}", class_="quiet")
        )
    return tag(
        "header",
        *told,
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value, tag("small", more))) for name, value, more in facts),
            class_="facts",
        ),
    )


def _certified(certificate: Certificate | None) -> str:
    if certificate is None:
        return "not certified to be equally accurate"
    return f"certified: each within {100 * certificate.margin:g} point(s) of the mean of all trained"


def spread_section(profiled: Profiled) -> Markup:
    """The table of all conditions, each with a strip of its variants."""
    matrix, rows = profiled.matrix, summaries(profiled)
    excess = profile_excess(matrix, sum_squares=profiled.sum_squares)
    corrected = dict(zip(excess, holm([one.p_value for one in excess.values()]), strict=True))
    axis = strip_axis(matrix.accuracies)
    base = next(row for row in rows if row.condition == "id")
    head = tag(
        "tr",
        tag("th", "condition", scope="col", class_="left"),
        tag("th", axis_strip(axis), scope="col", aria_label="accuracy of each variant, %"),
        tag("th", "mean %", scope="col"),
        tag("th", "sd", scope="col"),
        tag("th", "× id", scope="col"),
        tag("th", "lowest to highest %", scope="col"),
        tag("th", "ρ with id ", tag("small", "95 %"), scope="col", class_="left"),
        *((tag("th", "beyond chance", scope="col"), tag("th", "p", scope="col")) if excess else ()),
        tag("th", "n", scope="col"),
    )
    body = [
        tag(
            "tr",
            tag("th", row.condition, scope="row"),
            tag("td", strip(matrix.column(row.condition), axis, label=_spoken(row), reference=base.mean)),
            tag("td", percent(row.mean)),
            tag("td", number(100 * row.sd)),
            tag("td", number(row.sd_ratio, 1)),
            tag("td", f"{percent(row.low)} – {percent(row.high)}"),
            tag("td", _correlation(row), class_="left"),
            *(_excess_cells(excess.get(row.condition), corrected.get(row.condition, math.nan)) if excess else ()),
            tag("td", "–" if row.n is None else f"{row.n:,}"),
            class_="base" if row.condition == "id" else None,
        )
        for row in rows
    ]
    return section(
        "spread",
        "Spread under every condition",
        tag("p", *_explained(profiled, list(excess.values()))),
        wide("spread per condition", tag("table", tag("thead", head), tag("tbody", joined(body)))),
    )


def _spoken(row: ConditionSummary) -> str:
    return f"{row.condition}: {percent(row.low)} to {percent(row.high)} %, mean {percent(row.mean)} %"


def _correlation(row: ConditionSummary) -> Markup:
    if row.condition == "id":
        return Markup("")
    one = row.correlation
    return joined([number(one.rho), " ", tag("small", interval(one.low, one.high))])


def _excess_cells(one: ExcessVariance | None, corrected: float) -> tuple[Markup, Markup]:
    if one is None:
        return tag("td", "–"), tag("td", "–")
    least = "≥ " if one.method == "bound" else ""
    return tag("td", f"{least}{number(100 * one.excess_sd)}"), tag("td", p_text(corrected))


def _explained(profiled: Profiled, excess: Sequence[ExcessVariance]) -> list[str]:
    count = len(profiled.matrix.variants)
    marks = "quartiles and range over the variants" if count > 120 else "one tick for each variant"
    told = [
        f"All on one scale: {marks}, a dot at the mean; the line through all rows is the in-distribution mean.",
        " sd and “beyond chance” are in points, “× id” is the sd relative to that of id. ρ is Spearman's rank",
        " correlation with in-distribution accuracy, with its 95 % interval.",
    ]
    told.append(" The intervals are not corrected for their number, and sampling noise is in both accuracies.")
    if count < FEW:
        told.append(f" With only {count} variants correlations and their intervals are rough.")
    if np.isnan(profiled.matrix.accuracies).any():
        told.append(" Where a variant was not measured, the row is over the others.")
    if excess:
        told.append(
            " “Beyond chance” estimates the sd that drawing the test examples does not explain, and p tests it:"
            " one-sided, paired (Cochran's Q), corrected by Holm over all conditions. The test asks whether the"
            " variants could be exchanged for each other; where some are more alike than others, p is too small."
        )
        if any(one.method == "bound" for one in excess):
            told.append(
                " With ≥ only counts are known: the paired estimate would be as large or larger, and its p as small or"
                " smaller, whatever examples the variants share."
            )
    if any(variant.factors for variant in profiled.family.variants):
        told.append(
            " These variants are cells of a crossed design, and those that share a level are alike: intervals and p"
            " take all for independent, so intervals are too narrow and p is too small."
        )
    return told
