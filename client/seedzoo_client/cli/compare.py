"""`zoo compare`: two variants, condition by condition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import click
from rich.console import Group
from rich.text import Text

from seedzoo.console import Console, plain
from seedzoo.errors import NotFound, RequestError
from seedzoo_client.cli.options import in_store, open_zoo, profile_of, server_option, store_option
from seedzoo_client.cli.text import paragraph, percent, points, table
from seedzoo_client.views import ProfileView, VariantView

__all__ = ["Difference", "compare", "differences"]

_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """Two variants on one condition."""

    condition: str
    first: float
    second: float
    margin: float
    """Half-width of an interval for the difference, 95 % for all conditions jointly, on the safe side; NaN where the
    number of examples is not known."""
    n_examples: int
    """0 where not known."""

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second

    @property
    def clear(self) -> bool:
        """Whether the difference is larger than its margin."""
        return abs(self.difference) > self.margin


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@store_option
@server_option
def compare(first: str, second: str, store: str | None, server: str | None) -> None:
    """Compare the stress profiles of two variants, largest difference first."""
    console = Console.current()
    with open_zoo(server, store, console) as zoo:
        one, two = zoo.variant(first), zoo.variant(second)
        # Variants for browsing only have no models to tell them apart by.
        if (one.name, one.release) == (two.name, two.release) or (
            one.model_sha256 and one.model_sha256 == two.model_sha256
        ):
            raise RequestError(f"{first} and {second} are the same model", hint="Name two different variants.")
        found = differences(_row(one, profile_of(zoo, one)), _row(two, profile_of(zoo, two)))
    if not found:
        raise NotFound(f"{first} and {second} have no condition in common")
    rows = table("condition", plain(one.name), plain(two.name), "difference", "", left=1)
    rows.columns[4].justify = "left"
    for row in found:
        rows.add_row(
            plain(row.condition),
            percent(row.first),
            percent(row.second),
            points(row.difference) if math.isnan(row.margin) else f"{points(row.difference)} ± {100 * row.margin:.1f}",
            _verdict(row),
        )
    clear = [row for row in found if row.clear]
    ahead = sum(row.difference > 0 for row in clear)
    summary = (
        f"Clear on {len(clear)} of {len(found)} conditions: {plain(one.name)} is ahead on {ahead}, "
        f"{plain(two.name)} on {len(clear) - ahead}."
    )
    legend = (
        "Differences in points, A minus B. ± holds for all conditions jointly (95 %) and is "
        "rather too wide: it does not use that both saw the same images."
    )
    document = {
        "first": one.name,
        "second": two.name,
        "conditions": [
            {
                "condition": row.condition,
                "first": row.first,
                "second": row.second,
                "difference": row.difference,
                "margin": row.margin,
                "clear": row.clear,
                "n_examples": row.n_examples,
            }
            for row in found
        ],
    }
    console.result(document, Group(paragraph(summary), Text(""), rows, Text(""), paragraph(legend, style="dim")))
    if one.model_sha256 and two.model_sha256:
        console.hint(
            f"which of them is better for you depends on your images: zoo select --data YOUR_IMAGES/{in_store(store)}"
        )


def _verdict(row: Difference) -> str:
    if math.isnan(row.margin):
        return "number of images not known"
    return "" if row.clear else "not distinguishable"


def differences(first: dict[str, tuple[float, int]], second: dict[str, tuple[float, int]]) -> list[Difference]:
    """Differences on the conditions that both have, largest first.

    The variance of a difference is taken as if the two had seen different images. They saw the same ones and mostly
    agree, so the margins are too wide rather than too narrow. Bonferroni over the conditions. Conditions that one of
    them was not measured on are left out.

    Args:
        first: Condition to accuracy (NaN: not measured) and number of images (0: not known).
        second: The same of the other variant.
    """
    common = [
        condition
        for condition in first
        if condition in second and not math.isnan(first[condition][0] + second[condition][0])
    ]
    z = NormalDist().inv_cdf(1 - _ALPHA / (2 * max(len(common), 1)))
    found = [
        Difference(
            condition=condition,
            first=first[condition][0],
            second=second[condition][0],
            margin=z * math.sqrt(_variance(*first[condition]) + _variance(*second[condition])),
            n_examples=min(first[condition][1], second[condition][1]),
        )
        for condition in common
    ]
    return sorted(found, key=lambda row: (-abs(row.difference), row.condition))


def _variance(accuracy: float, n: int) -> float:
    if n < 1:
        return math.nan
    # One success and one failure added: an accuracy of 100 % is not known without error.
    smoothed = (accuracy * n + 1) / (n + 2)
    return smoothed * (1 - smoothed) / n


def _row(variant: VariantView, profile: ProfileView) -> dict[str, tuple[float, int]]:
    accuracies = profile.row(variant.tag).tolist()
    return {
        condition.condition: (accuracy, condition.n_examples)
        for condition, accuracy in zip(profile.conditions, accuracies, strict=True)
    }
