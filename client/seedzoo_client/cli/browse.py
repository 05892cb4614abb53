"""`zoo families`, `zoo variants` and `zoo show`."""

from __future__ import annotations

import math
import re

import click
from rich.console import Group, RenderableType
from rich.text import Text

from seedzoo.console import Console, plain
from seedzoo.errors import IntegrityError
from seedzoo_client.cli.options import open_client, server_option
from seedzoo_client.cli.text import count, listing, paragraph, percent, points, ratio, size, styled, table
from seedzoo_client.client import Client
from seedzoo_client.views import ConditionView, FamilyView, ProfileView, VariantView

__all__ = ["families", "show", "variants"]

_CONDITION = re.compile(r"accuracy\[([^\]]+)\]")


@click.command()
@server_option
def families(server: str | None) -> None:
    """List the families that the server offers."""
    console = Console.current()
    with open_client(server) as client:
        found = client.families()
    rows = table("family", "variants", "held-out accuracy", "classes", "all models", "title")
    rows.columns[5].justify = "left"
    for family in found:
        rows.add_row(
            styled(family.name, "bold"),
            f"{family.variant_count}",
            f"{percent(family.held_out_mean)} (sd {100 * family.held_out_sd:.2f})",
            f"{len(family.task.classes)}",
            size(family.model_bytes),
            styled(family.title),
        )
    console.result({"families": found}, rows if found else Text(f"{client.server} offers no families."))
    if found:
        console.hint(f"zoo show {plain(found[0].name)}")


@click.command()
@click.argument("family")
@click.option("--filter", "where", default="", help="For example: accuracy[pixelate-3] >= 0.6 AND accuracy[id] >= 0.9")
@click.option("--order-by", default="", help="For example: accuracy[contrast-4] desc.  By tag otherwise.")
@click.option("--limit", type=click.IntRange(min=1), help="At most that many.")
@server_option
def variants(family: str, where: str, order_by: str, limit: int | None, server: str | None) -> None:
    """List the variants of FAMILY. Conditions named in --filter and --order-by become columns."""
    console = Console.current()
    # The condition "id" has a column anyway.
    conditions = [name for name in dict.fromkeys(_CONDITION.findall(f"{order_by} {where}")) if name != "id"]
    with open_client(server) as client:
        found = client.variants(family, filter=where, order_by=order_by, limit=limit)
        profile = client.profile(family) if conditions and found else None
    columns = {name: _column(profile, name) for name in conditions} if profile else {}
    rows = table("variant", "held-out accuracy", *map(plain, columns), "SHA-256")
    for variant in found:
        values = [percent(column.get(variant.tag, float("nan"))) for column in columns.values()]
        rows.add_row(styled(variant.name), percent(variant.held_out_accuracy), *values, variant.model_sha256[:12])
    console.result({"variants": found}, rows if found else Text("No variant passes the filter."))


def _column(profile: ProfileView, condition: str) -> dict[str, float]:
    return dict(zip(profile.tags, profile.column(condition).tolist(), strict=True))


@click.command()
@click.argument("name", metavar="FAMILY|VARIANT")
@server_option
def show(name: str, server: str | None) -> None:
    """Show the evidence and the stress profile of a family, or of one variant (FAMILY/TAG)."""
    console = Console.current()
    with open_client(server) as client:
        if "/" in name:
            _show_variant(console, client, name)
        else:
            family, profile = client.family(name), client.profile(name)
            console.result({"family": family, "profile": profile}, _family_page(family, profile))


def _show_variant(console: Console, client: Client, name: str) -> None:
    variant = client.variant(name)
    # The variant's own release: an alias could move between two calls.
    profile = client.profile(f"{variant.family}@{variant.release}" if variant.release else variant.family)
    if variant.tag not in profile.tags:
        raise IntegrityError(f"the profile of {variant.family} has no row for {variant.tag}")
    accuracies = profile.row(variant.tag).tolist()
    rows = [
        {
            "condition": condition.condition,
            "accuracy": accuracy,
            "difference": accuracy - condition.mean,
            "family_mean": condition.mean,
            "family_sd": condition.sd,
            "n_examples": condition.n_examples,
        }
        for condition, accuracy in zip(profile.conditions, accuracies, strict=True)
    ]
    console.result({"variant": variant, "profile": rows}, _variant_page(variant, profile, accuracies))
    console.hint(f"zoo download {plain(variant.name)}")


def _family_page(family: FamilyView, profile: ProfileView) -> Group:
    parts: list[RenderableType] = [
        Text.assemble((plain(family.name), "bold"), f"  {plain(family.title)}"),
        Text(""),
        paragraph(_certificate_sentence(family)),
        paragraph(f"Test: {family.certificate.method}; level {family.certificate.alpha:g} over all."),
        paragraph(
            f"Held-out accuracy {percent(family.held_out_mean)} (sd {100 * family.held_out_sd:.2f} points over "
            f"{count(family.variant_count, 'variant')}); trained on {family.train_examples:,} images of "
            f"{family.data_name}."
        ),
        paragraph(f"Classes: {listing(family.task.classes, limit=30)}"),
        paragraph(f"Release {family.release}; all models {size(family.model_bytes)}; licence {family.licence}"),
    ]
    if profile.conditions:
        parts += [Text(""), _conditions(profile.conditions), Text(""), paragraph(_LEGEND, style="dim")]
    return Group(*parts)


_LEGEND = (
    "mean, sd, min, max: accuracy over the variants in percent; sd/id: sd relative to "
    "in distribution (id); rank corr.: Spearman correlation with the accuracy on id and "
    "its 95 % interval. Near 0, held-out accuracy does not tell who does well there."
)


def _certificate_sentence(family: FamilyView) -> str:
    certificate = family.certificate
    failed = len(certificate.discarded)
    kept_back = f", {len(certificate.set_aside)} more passed and were not needed" if certificate.set_aside else ""
    return (
        f"{certificate.published} of {certificate.trained} trained variants are published. Each is certified equally "
        f"accurate: within {100 * certificate.margin:g} point{'s' * (certificate.margin != 0.01)} of the mean of all "
        f"trained ({percent(certificate.family_mean)}) on {certificate.n_examples:,} held-out images. "
        f"{failed} failed and {'was' if failed == 1 else 'were'} discarded{kept_back}."
    )


def _conditions(conditions: tuple[ConditionView, ...]) -> RenderableType:
    rows = table("condition", "mean", "sd", "min", "max", "sd/id", "rank corr.")
    for entry in conditions:
        rows.add_row(
            plain(entry.condition),
            _number(100 * entry.mean, 1),
            _number(100 * entry.sd, 2),
            _number(100 * entry.min, 1),
            _number(100 * entry.max, 1),
            _number(entry.sd_ratio, 1),
            _correlation(entry),
        )
    return rows


def _correlation(entry: ConditionView) -> str:
    # NaN: undefined, as on id itself, which would be compared with itself.
    if math.isnan(entry.spearman) or entry.condition == "id":
        return ""
    return f"{entry.spearman:+.2f} ({entry.spearman_low:+.2f} to {entry.spearman_high:+.2f})"


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _variant_page(variant: VariantView, profile: ProfileView, accuracies: list[float]) -> Group:
    seeds = ", ".join(f"{plain(stream)} {seed}" for stream, seed in variant.seeds.items())
    rows = table("condition", "accuracy", "family mean ± sd", "difference", "in sd")
    for condition, accuracy in zip(profile.conditions, accuracies, strict=True):
        difference = accuracy - condition.mean
        rows.add_row(
            plain(condition.condition),
            percent(accuracy),
            f"{100 * condition.mean:.1f} ± {100 * condition.sd:.1f} %",
            points(difference),
            ratio(difference / condition.sd) if condition.sd > 0 else "",
        )
    return Group(
        Text(plain(variant.name), style="bold"),
        Text(f"Held-out accuracy {percent(variant.held_out_accuracy)}; {size(variant.model_size)}"),
        Text(f"Seeds: {seeds}"),
        Text(f"SHA-256 {plain(variant.model_sha256)}"),
        Text(f"Release {plain(variant.release)}"),
        Text(""),
        rows,
    )
