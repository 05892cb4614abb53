"""How variants and conditions hang together: heat map, scatter plots, rank correlations."""

from __future__ import annotations

import math

import numpy as np

from seedzoo.report.charts import colour_bar, heat_map, scatter
from seedzoo.report.figures import colour, diverging, interval, number, p_text, percent, points
from seedzoo.report.markup import Markup, joined, tag
from seedzoo.report.overview import section, summaries, wide
from seedzoo.report.source import Profiled
from seedzoo.stress.analysis import correlation_matrix

__all__ = ["correlation_section", "heat_section", "scatter_section"]

_SCATTERS = 12
_CORRELATED = 40


def heat_section(profiled: Profiled) -> Markup:
    """Every variant under every condition."""
    matrix = profiled.matrix
    order = np.argsort(-matrix.column("id"), kind="stable")
    shares = matrix.accuracies[order]
    names = [matrix.variants[i] for i in order]
    means = np.nanmean(matrix.accuracies, axis=0)

    def tell(i: int, k: int) -> str:
        value = float(shares[i, k])
        if math.isnan(value):
            return f"{names[i]} under {matrix.conditions[k]}: not measured"
        apart = points(value - float(means[k]))
        return f"{names[i]} under {matrix.conditions[k]}: {percent(value, 2)} %, {apart} to the mean"

    if profiled.family.certificate is not None:
        values = 100 * (shares - means)
        most = float(max(0.5, np.nanpercentile(np.abs(values), 97)))
        title = "Who is good at what"
        text = (
            "Points above (blue) or below (orange) the mean of all variants under each condition. Variants are sorted"
            " by in-distribution accuracy, the best on top: where that foretold the rest, blue would be above and"
            f" orange below. The strongest colours stand for {number(most, 1)} points and more. Point at a cell for its"
            " numbers."
        )
        legend = colour_bar(
            lambda value: diverging(value / most), -most, most,
            labels=[(-most, f"−{most:.1f}"), (0, "0"), (most, f"+{most:.1f} points")],
        )  # fmt: skip
        drawn = heat_map(
            values, rows=names, columns=matrix.conditions, paint=lambda value: diverging(value / most), tell=tell,
            label="accuracy of each variant minus the mean, for each condition",
        )  # fmt: skip
    else:
        title = "Every model under every condition"
        text = (
            "Accuracy, dark for low and light for high; white where nothing was published. Models are sorted by"
            " in-distribution accuracy, the best on top."
        )
        legend = colour_bar(lambda value: colour(None, value), 0, 1, labels=[(0, "0"), (0.5, "50"), (1, "100 %")])
        drawn = heat_map(
            shares, rows=names, columns=matrix.conditions, paint=lambda value: colour(None, value), tell=tell,
            label="accuracy of each model under each condition",
        )  # fmt: skip
    return section("heat", title, tag("p", text), legend, wide("heat map", drawn))


def scatter_section(profiled: Profiled) -> Markup | None:
    """In-distribution accuracy against the conditions with the widest spread."""
    matrix = profiled.matrix
    rows = [row for row in summaries(profiled) if row.condition != "id" and row.measured > 1]
    if not rows:
        return None
    shown = sorted(rows, key=lambda row: -row.sd)[:_SCATTERS]
    plots = [
        scatter(
            matrix.column("id"), matrix.column(row.condition), names=matrix.variants, title=row.condition,
            subtitle=f"ρ = {number(row.correlation.rho)} {interval(row.correlation.low, row.correlation.high)}",
        )
        for row in shown
    ]  # fmt: skip
    which = "all" if len(shown) == len(rows) else f"the {len(shown)} with the widest spread of all {len(rows)}"
    return section(
        "scatter",
        "Does in-distribution accuracy foretell it?",
        tag(
            "p",
            f"Accuracy under a condition (upwards, in %) against in-distribution accuracy: {which} conditions."
            " Each plot has its own scales; ρ is Spearman's rank correlation with its 95 % interval. An interval"
            " around 0 does not show that there is no relation.",
        ),
        tag("div", joined(plots), class_="many"),
    )


def correlation_section(profiled: Profiled) -> Markup | None:
    """Rank correlations between conditions."""
    matrix = profiled.matrix
    rows = [(k, row) for k, row in enumerate(summaries(profiled)) if row.measured > 2 and row.sd > 0]
    if len(rows) < 3:
        return None
    kept = sorted(rows, key=lambda pair: (pair[1].condition != "id", -pair[1].sd))[:_CORRELATED]
    columns = sorted(k for k, _ in kept)
    found = correlation_matrix(matrix.accuracies[:, columns], conditions=[matrix.conditions[k] for k in columns])
    names = found.conditions

    def tell(i: int, k: int) -> str:
        if i == k:
            return names[i]
        bounds = interval(float(found.low[i, k]), float(found.high[i, k]))
        return (
            f"{names[i]} and {names[k]}: ρ = {number(float(found.rho[i, k]))} {bounds},"
            f" p = {p_text(float(found.p_holm[i, k]))} after Holm"
        )

    pairs = len(names) * (len(names) - 1) // 2
    clear = int(np.sum(np.triu(found.p_holm < 0.05, 1)))
    which = "" if len(kept) == len(rows) else f"the {len(kept)} with the widest spread of all {len(rows)}; "
    return section(
        "correlations",
        "Which conditions go together",
        tag(
            "p",
            f"Spearman's rank correlation between conditions over the variants ({which}{pairs} pairs): blue where a"
            " variant that is good at one is good at the other, orange where it is bad. A dot marks the"
            f" {clear} pairs that differ from 0 at 5 %, after Holm's correction over all pairs.",
        ),
        colour_bar(diverging, -1, 1, labels=[(-1, "−1"), (0, "0"), (1, "+1")]),
        wide(
            "rank correlations between conditions",
            heat_map(
                found.rho, rows=names, columns=names, paint=diverging, tell=tell, marked=found.p_holm < 0.05,
                label="rank correlations between conditions",
            ),
        ),
    )  # fmt: skip
