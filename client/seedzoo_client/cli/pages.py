"""What `zoo show` prints of a family and of a variant."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from seedzoo.console import plain
from seedzoo.records import Certificate
from seedzoo_client.cli.text import count, listing, paragraph, percent, points, ratio, size, table
from seedzoo_client.views import ConditionView, FamilyView, ProfileView, VariantView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["family_page", "number", "share", "variant_page"]

_METRICS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "worst_class": ("worst class", lambda value: number(100 * value, 1)),
    "top5": ("top 5", lambda value: number(100 * value, 1)),
    "ece": ("ECE", lambda value: number(100 * value, 1)),
    "log_loss": ("log loss", lambda value: number(value, 3)),
    "brier": ("Brier", lambda value: number(value, 3)),
}
"""Column and form of each metric beside the accuracy."""
_METRICS_LEGEND = (
    "worst class: accuracy of the class that is predicted worst; top 5: the class is among the five most probable; "
    "ECE: expected calibration error; all in percent. log loss: -ln of the probability of the true class, in nats. "
    "ECE, log loss and Brier: less is better."
)
_LEGEND = (
    "mean, sd, min, max: accuracy over the variants in percent; sd/id: sd relative to "
    "in distribution (id); rank corr.: Spearman correlation with the accuracy on id and "
    "its 95 % interval. Near 0, held-out accuracy does not tell who does well there."
)
_FEW_LEVELS = 12


def number(value: float, digits: int) -> str:
    """So many digits; nothing for what is not known."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def share(value: float) -> str:
    """In percent; nothing for what was not measured."""
    return "" if math.isnan(value) else percent(value)


def family_page(family: FamilyView, profile: ProfileView, *, metrics: bool) -> Group:
    """Evidence and stress profile of a family; with ``metrics`` what else was measured, as means over the variants."""
    # One variant has no spread.
    sd = f"sd {100 * family.held_out_sd:.2f} points over " if family.variant_count > 1 else ""
    spread = f" ({sd}{count(family.variant_count, 'variant')})"
    trained = f"; trained on {family.train_examples:,} images of {family.data_name}" if family.train_examples else ""
    facts = [
        f"Release {family.release}",
        f"all models {size(family.model_bytes)}" if family.model_bytes else "no models",
        *([f"licence {family.licence}"] if family.licence else []),
    ]
    parts: list[RenderableType] = [
        Text.assemble((plain(family.name), "bold"), f"  {plain(family.title)}"),
        Text(""),
        *_evidence(family),
        paragraph(f"Held-out accuracy {percent(family.held_out_mean)}{spread}{trained}."),
        *([paragraph(_factors(family))] if family.factors else []),
        *([paragraph(f"Classes: {listing(family.task.classes, limit=30)}")] if family.task.classes else []),
        paragraph("; ".join(facts)),
    ]
    if not profile.conditions:
        return Group(*parts)
    shown = _metric_means(profile) if metrics else [_conditions(profile), Text(""), paragraph(_LEGEND, style="dim")]
    return Group(*parts, Text(""), *shown)


def _evidence(family: FamilyView) -> list[RenderableType]:
    certificate = family.certificate
    found: list[RenderableType] = []
    if certificate is not None:
        test = f"Test: {certificate.method}; level {certificate.alpha:g} over all."
        unchecked = "As published: the server recomputes the certificate before it selects, not to show it here."
        found = [paragraph(_certificate_sentence(certificate)), paragraph(test), paragraph(unchecked, style="dim")]
    if family.browse_only:
        why = "it has no models" if certificate is not None else "it is not certified that they are equally accurate"
        found.append(paragraph(f"For browsing only: no variant can be selected, as {why}."))
    if family.provenance:
        found.append(paragraph(f"Results from: {family.provenance}"))
    return found


def _certificate_sentence(certificate: Certificate) -> str:
    failed = len(certificate.discarded)
    kept_back = f", {len(certificate.set_aside)} more passed and were not needed" if certificate.set_aside else ""
    return (
        f"{certificate.published} of {certificate.trained} trained variants are published. Each is certified equally "
        f"accurate: within {100 * certificate.margin:g} point{'s' * (certificate.margin != 0.01)} of the mean of all "
        f"trained ({percent(certificate.family_mean)}) on {certificate.n_examples:,} held-out images. "
        f"{failed} failed and {'was' if failed == 1 else 'were'} discarded{kept_back}."
    )


def _factors(family: FamilyView) -> str:
    def told(name: str, levels: tuple[str, ...]) -> str:
        # Imported results keep the published name of each model as a factor: no design, and no list for this page.
        if len(levels) == family.variant_count > _FEW_LEVELS:
            return f"{name} (another one in each variant)"
        return f"{name} ({count(len(levels), 'level')}: {listing(levels, limit=_FEW_LEVELS)})"

    return f"Varied: {' x '.join(told(name, levels) for name, levels in family.factors.items())}"


def _conditions(profile: ProfileView) -> RenderableType:
    # Imported tables have gaps: how many variants a row is of is told where it is not all of them.
    gaps = any(0 < entry.measured < len(profile.tags) for entry in profile.conditions)
    columns = ["mean", "sd", "min", "max", "sd/id", "rank corr."]
    rows = table("condition", *(["variants"] if gaps else []), *columns)
    for entry in profile.conditions:
        rows.add_row(
            plain(entry.condition),
            *([f"{entry.measured}"] if gaps else []),
            number(100 * entry.mean, 1),
            number(100 * entry.sd, 2),
            number(100 * entry.min, 1),
            number(100 * entry.max, 1),
            number(entry.sd_ratio, 1),
            _correlation(entry),
        )
    return rows


def _correlation(entry: ConditionView) -> str:
    # NaN: undefined, as on id itself, which would be compared with itself.
    if math.isnan(entry.spearman) or entry.condition == "id":
        return ""
    if math.isnan(entry.spearman_low):
        return f"{entry.spearman:+.2f}"
    return f"{entry.spearman:+.2f} ({entry.spearman_low:+.2f} to {entry.spearman_high:+.2f})"


def _metric_means(profile: ProfileView) -> list[RenderableType]:
    def mean(values: NDArray[np.float64]) -> float:
        known = [value for value in values.tolist() if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    rows = [
        {name: mean(values[:, column]) for name, values in profile.metrics.items()}
        for column in range(len(profile.conditions))
    ]
    accuracies = [entry.mean for entry in profile.conditions]
    return [
        Text("Means over the variants"),
        *_metric_table(profile, accuracies, rows),
    ]


def _metric_table(
    profile: ProfileView, accuracies: Sequence[float], rows: Sequence[Mapping[str, float]], int8: Sequence[float] = ()
) -> list[RenderableType]:
    columns = {name: form for name, form in _METRICS.items() if name in profile.metrics}
    if not columns:
        return [paragraph("No other metrics than the accuracy were measured.")]
    titles = [title for title, _ in columns.values()]
    made = table("condition", "accuracy", *(["int8 twin"] if int8 else []), *titles)
    for position, (condition, accuracy) in enumerate(zip(profile.conditions, accuracies, strict=True)):
        made.add_row(
            plain(condition.condition),
            number(100 * accuracy, 1),
            *([number(100 * int8[position], 1)] if int8 else []),
            *(form(rows[position][name]) for name, (_, form) in columns.items()),
        )
    return [made, Text(""), paragraph(_METRICS_LEGEND, style="dim")]


def variant_page(variant: VariantView, profile: ProfileView, *, metrics: bool) -> Group:
    """One variant beside its family; with ``metrics`` what else was measured of it."""
    accuracies = profile.row(variant.tag).tolist()
    twin = profile.int8_accuracy.get(variant.tag)
    int8 = [] if twin is None else twin.tolist()
    if metrics:
        row = profile.tags.index(variant.tag)
        others = [
            {name: float(values[row, column]) for name, values in profile.metrics.items()}
            for column in range(len(profile.conditions))
        ]
        shown = _metric_table(profile, accuracies, others, int8)
    else:
        shown = [_variant_table(profile, accuracies, int8)]
    model = f"; {size(variant.model_size)}" if variant.model_sha256 else "; no model: for browsing only"
    lines = [f"Held-out accuracy {percent(variant.held_out_accuracy)}{model}"]
    if variant.seeds:
        lines.append(f"Seeds: {', '.join(f'{plain(stream)} {seed}' for stream, seed in variant.seeds.items())}")
    if variant.factors:
        told = ", ".join(f"{plain(factor)} {plain(level)}" for factor, level in variant.factors.items())
        lines.append(f"Factors: {told}")
    if variant.model_sha256:
        lines.append(f"SHA-256 {plain(variant.model_sha256)}")
    if variant.int8_sha256:
        lines.append(f"int8 twin: {size(variant.int8_size)}, SHA-256 {plain(variant.int8_sha256)}")
    lines.append(f"Release {plain(variant.release)}")
    return Group(Text(plain(variant.name), style="bold"), *(Text(line) for line in lines), Text(""), *shown)


def _variant_table(profile: ProfileView, accuracies: Sequence[float], int8: Sequence[float]) -> RenderableType:
    rows = table("condition", "accuracy", *(["int8 twin"] if int8 else []), "family mean ± sd", "difference", "in sd")
    for position, (condition, accuracy) in enumerate(zip(profile.conditions, accuracies, strict=True)):
        difference = accuracy - condition.mean
        known = not math.isnan(difference)
        spread = "" if math.isnan(condition.sd) else f" ± {100 * condition.sd:.1f}"
        rows.add_row(
            plain(condition.condition),
            share(accuracy),
            *([share(int8[position])] if int8 else []),
            f"{100 * condition.mean:.1f}{spread} %",
            points(difference) if known else "",
            ratio(difference / condition.sd) if known and condition.sd > 0 else "",
        )
    return rows
