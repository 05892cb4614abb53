"""What is measured against something else: corruption errors, effective robustness, the certificate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seedzoo.records import Certificate, CertificateEntry
from seedzoo.report.charts import Axis
from seedzoo.report.figures import INK, MARK, RULE, number, p_text, percent, points
from seedzoo.report.markup import Markup, joined, tag
from seedzoo.report.overview import section, wide
from seedzoo.report.source import Profiled
from seedzoo.stress.analysis import (
    alexnet,
    corruption_errors,
    effective_robustness,
    published_lines,
    reference_from,
)
from seedzoo.stress.analysis.corruption_errors import complete_variants

__all__ = ["certificate_section", "corruption_section", "robustness_section"]

_AT_224 = ("imagenet-c-disk", "imagenet-c")
_SMALL = ("cifar-c", "mnist-c")
_PIXELS = 224


def corruption_section(profiled: Profiled) -> Markup | None:
    """The mCE of every published suite that is complete; AlexNet is the reference only where the images are its."""
    input_ = profiled.family.task.preprocessing
    # Height 0: not told, as in published results; the imagenet-c of small images has another scale of errors.
    comparable = input_.height in (0, _PIXELS) and input_.channels in (0, 3)
    parts = []
    for suite in (*_AT_224, *_SMALL):
        rows = complete_variants(profiled.matrix, suite=suite)
        if not rows.any():
            continue
        matrix = profiled.matrix.only(rows)
        reference = alexnet() if suite in _AT_224 and comparable else reference_from(matrix, suite=suite)
        found = corruption_errors(matrix, reference, suite=suite)
        order = np.argsort(found.mce, kind="stable")
        lines = [
            tag("tr", tag("th", name, scope="row"), *(tag("td", text) for text in _span(values)))
            for name, values in (
                ("mCE", found.mce),
                ("relative mCE", found.relative_mce),
                *((f"CE {name.replace('_', ' ')}", found.ce[:, k]) for k, name in enumerate(found.corruptions)),
            )
        ]
        best = ", ".join(f"{matrix.variants[i]} {percent(float(found.mce[i]))}" for i in order[:3])
        parts.append(
            tag(
                "p",
                tag("b", suite),
                f": errors in % of those of {reference.name}, over the {len(matrix.variants)} variants with all"
                f" severities. Lowest mCE: {best}. ",
                tag("small", f"Reference: {reference.source}"),
            )
        )
        names = ("", "mean", "lowest", "highest")
        head = tag("tr", *(tag("th", name, scope="col") for name in names))
        parts.append(
            wide(f"corruption errors of {suite}", tag("table", tag("thead", head), tag("tbody", joined(lines))))
        )
    return section("mce", "Corruption errors", *parts) if parts else None


def _span(values: NDArray[np.float64]) -> tuple[str, str, str]:
    if np.isnan(values).all():
        return ("–", "–", "–")
    return percent(float(values.mean())), percent(float(values.min())), percent(float(values.max()))


def robustness_section(profiled: Profiled) -> Markup | None:
    """Effective robustness over the published lines, for the test sets of which the profile has both sides."""
    matrix = profiled.matrix
    rows = []
    for name, (matched, line) in published_lines().items():
        shift, base = f"natural/{name}", "id" if matched == "val" else matched
        if not {shift, base} <= set(matrix.conditions):
            continue
        x, y = matrix.column(base), matrix.column(shift)
        usable = np.flatnonzero((x > 0) & (x < 1) & ~np.isnan(y))
        if not len(usable):
            continue
        found = effective_robustness(x[usable], y[usable], line)
        rows.append(
            tag(
                "tr",
                tag("th", shift, scope="row"),
                tag("td", base, class_="left"),
                tag("td", f"{len(usable)}"),
                tag("td", number(line.slope, 3)),
                tag("td", number(line.intercept, 3)),
                tag("td", points(float(found.mean()), 1)),
                *(
                    tag("td", f"{points(float(found[i]), 1)} ", tag("small", matrix.variants[usable[i]]), class_="left")
                    for i in (int(found.argmax()), int(found.argmin()))
                ),
            )
        )
    if not rows:
        return None
    names = ("test set", "in distribution", "models", "slope", "intercept", "mean", "highest", "lowest")
    head = tag(
        "tr",
        *(tag("th", name, scope="col", class_="left" if k in (0, 1, 6, 7) else None) for k, name in enumerate(names)),
    )
    return section(
        "robustness",
        "Effective robustness",
        tag(
            "p",
            "Points above what in-distribution accuracy foretells by the line (between logits) of the standard ImageNet"
            " models of Taori et al. (2020).",
        ),
        wide("effective robustness", tag("table", tag("thead", head), tag("tbody", joined(rows)))),
    )


def certificate_section(profiled: Profiled) -> Markup:
    """The equivalence test of every trained variant."""
    certificate = profiled.family.certificate
    if certificate is None:
        text = "This family has none: its variants are not shown to be equally accurate, and none can be selected."
        return section("certificate", "Certificate of equal accuracy", tag("p", text))
    ends = [certificate.margin, *(abs(end) for entry in certificate.entries for end in (entry.low, entry.high))]
    axis = Axis(low=-1.05 * max(ends), high=1.05 * max(ends), start=0, width=240)
    head = tag(
        "tr",
        tag("th", "variant", scope="col", class_="left"),
        tag("th", "difference from the mean", scope="col"),
        tag("th", "interval", scope="col"),
        tag("th", f"−{100 * certificate.margin:g} … +{100 * certificate.margin:g} points", scope="col"),
        tag("th", "p", scope="col"),
        tag("th", "verdict", scope="col", class_="left"),
    )
    rows = [_entry_row(entry, certificate, axis) for entry in certificate.entries]
    failed = len(certificate.discarded)
    return section(
        "certificate",
        "Certificate of equal accuracy",
        tag(
            "p",
            f"{certificate.method[:1].upper()}{certificate.method[1:]}, on {certificate.n_examples:,} held-out"
            f" examples: each of {certificate.trained} trained variants is tested for lying within"
            f" {100 * certificate.margin:g} point(s) of the mean of all,"
            f" {percent(certificate.family_mean, 2)} %, together at level {certificate.alpha:g}. {failed} failed,"
            f" {len(certificate.set_aside)} passed and were not needed, {certificate.published} are published.",
        ),
        wide("certificate", tag("table", tag("thead", head), tag("tbody", joined(rows)))),
    )


def _entry_row(entry: CertificateEntry, certificate: Certificate, axis: Axis) -> Markup:
    aside = entry.tag in certificate.set_aside
    verdict = "failed, not published" if not entry.passed else "passed, not needed" if aside else "passed"
    drawn = tag(
        "svg",
        *(
            tag("line", x1=axis.at(at), x2=axis.at(at), y1=0, y2=16, stroke=colour, stroke_dasharray=dash)
            for at, colour, dash in (
                (-certificate.margin, INK, "3 2"), (0.0, RULE, None), (certificate.margin, INK, "3 2")
            )
        ),
        tag("line", x1=axis.at(entry.low), x2=axis.at(entry.high), y1=8, y2=8, stroke=MARK, stroke_width=2),
        tag("circle", cx=axis.at(entry.difference), cy=8, r=3, fill=MARK),
        width=240, height=16, viewBox="0 0 240 16", role="img", aria_label=f"interval of {entry.tag}",
    )  # fmt: skip
    return tag(
        "tr",
        tag("th", entry.tag, scope="row"),
        tag("td", points(entry.difference)),
        tag("td", f"{points(entry.low)} … {points(entry.high)}"),
        tag("td", drawn),
        tag("td", p_text(entry.p_value)),
        tag("td", verdict, class_="left" if entry.passed else "left fail"),
    )
