"""`zoo families`, `zoo variants` and `zoo show`."""

from __future__ import annotations

import re

import click
from rich.text import Text

from seedzoo.console import Console, Rows, plain
from seedzoo_client.cli.options import in_store, open_zoo, profile_of, server_option, store_option
from seedzoo_client.cli.pages import family_page, share, variant_page
from seedzoo_client.cli.text import percent, size, styled, table
from seedzoo_client.views import ProfileView, VariantView

__all__ = ["families", "show", "variants"]

# As the server reads them: a name ends before a comparison, a direction or the end.
_CONDITION = re.compile(r"accuracy\[(.+?)\]\s*(?:[<>=]|asc\b|desc\b|$)", re.DOTALL)


@click.command()
@store_option
@server_option
def families(store: str | None, server: str | None) -> None:
    """List the families of the server, or of a store. From those marked "browse only" no variant can be selected."""
    console = Console.current()
    with open_zoo(server, store, console) as zoo:
        found = zoo.families()
    rows = table("family", "variants", "held-out accuracy", "classes", "all models", "title")
    rows.columns[5].justify = "left"
    for family in found:
        rows.add_row(
            styled(family.name, "bold"),
            f"{family.variant_count}",
            percent(family.held_out_mean)
            + (f" (sd {100 * family.held_out_sd:.2f})" if family.variant_count > 1 else ""),
            f"{len(family.task.classes) or ''}",
            size(family.model_bytes) if family.model_bytes else "",
            Text.assemble(("browse only: ", "dim") if family.browse_only else "", plain(family.title)),
        )
    console.result({"families": found}, rows if found else Text(f"{store or 'The server'} offers no families."))
    if found:
        first = next((family for family in found if not family.browse_only), found[0])
        console.hint(f"zoo show {plain(first.name)}{in_store(store)}")
    elif store is not None:
        console.hint("nothing was published there; give the directory or bucket that `zoo publish --store` wrote to")


@click.command()
@click.argument("family")
@click.option("--filter", "where", default="", help="For example: accuracy[pixelate-3] >= 0.6 AND accuracy[id] >= 0.9")
@click.option("--order-by", default="", help="For example: accuracy[contrast-4] desc.  By tag otherwise.")
@click.option("--limit", type=click.IntRange(min=1), help="At most that many.")
@store_option
@server_option
def variants(family: str, where: str, order_by: str, limit: int | None, store: str | None, server: str | None) -> None:
    """List the variants of FAMILY. Conditions named in --filter and --order-by become columns.

    So do the factors of a crossed design. A variant that was not measured on a condition passes no filter on it and
    comes last.
    """
    console = Console.current()
    # The condition "id" has a column anyway.
    conditions = [name for name in dict.fromkeys(_named(order_by, where)) if name != "id"]
    with open_zoo(server, store, console) as zoo:
        found = zoo.variants(family, filter=where, order_by=order_by, limit=limit)
        profile = zoo.profile(family) if conditions and found else None
    columns = {name: _column(profile, name) for name in conditions} if profile else {}
    factors = list(dict.fromkeys(name for variant in found for name in variant.factors))
    twins = any(variant.int8_sha256 for variant in found)
    rows = table(
        "variant", *map(plain, factors), "held-out accuracy", *map(plain, columns), "SHA-256",
        *(["int8 twin"] if twins else []), left=1 + len(factors),
    )  # fmt: skip
    for variant in found:
        rows.add_row(
            styled(variant.name),
            *(styled(variant.factors.get(name, "")) for name in factors),
            percent(variant.held_out_accuracy),
            *(share(column.get(variant.tag, float("nan"))) for column in columns.values()),
            variant.model_sha256[:12],
            *([variant.int8_sha256[:12]] if twins else []),
        )
    console.result({"variants": found}, rows if found else Text("No variant passes the filter."))


def _named(*texts: str) -> list[str]:
    return [name for text in texts for name in _CONDITION.findall(text)]


def _column(profile: ProfileView, condition: str) -> dict[str, float]:
    return dict(zip(profile.tags, profile.column(condition).tolist(), strict=True))


@click.command()
@click.argument("name", metavar="FAMILY|VARIANT")
@click.option("--metrics", is_flag=True, help="Worst class, top 5, calibration, log loss and Brier score instead.")
@click.option("--card", is_flag=True, help="Print the model card (Markdown) and nothing else.")
@store_option
@server_option
def show(name: str, metrics: bool, card: bool, store: str | None, server: str | None) -> None:
    """Show the evidence and the stress profile of a family, or of one variant (FAMILY/TAG)."""
    if metrics and card:
        raise click.UsageError("--metrics and --card exclude each other")
    console = Console.current()
    with open_zoo(server, store, console) as zoo:
        if card:
            text = zoo.card(name)
            console.result({"name": name, "card": text}, Rows([[line] for line in text.splitlines()]))
        elif "/" in name:
            variant = zoo.variant(name)
            _show_variant(console, variant, profile_of(zoo, variant), metrics=metrics)
            if variant.model_sha256:
                console.hint(f"zoo download {plain(variant.name)}{in_store(store)}")
        else:
            family, profile = zoo.family(name), zoo.profile(name)
            console.result({"family": family, "profile": profile}, family_page(family, profile, metrics=metrics))


def _show_variant(console: Console, variant: VariantView, profile: ProfileView, *, metrics: bool) -> None:
    position = profile.tags.index(variant.tag)
    accuracies = profile.row(variant.tag).tolist()
    twin = profile.int8_accuracy.get(variant.tag)
    rows = [
        {
            "condition": condition.condition,
            "accuracy": accuracy,
            "difference": accuracy - condition.mean,
            "family_mean": condition.mean,
            "family_sd": condition.sd,
            "n_examples": condition.n_examples,
            "int8_accuracy": None if twin is None else float(twin[column]),
            **{metric: float(values[position, column]) for metric, values in profile.metrics.items()},
        }
        for column, (condition, accuracy) in enumerate(zip(profile.conditions, accuracies, strict=True))
    ]
    console.result({"variant": variant, "profile": rows}, variant_page(variant, profile, metrics=metrics))
