"""How values of an objective are written."""

from __future__ import annotations

import math

import pytest

from seedzoo_client.cli.units import Unit


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy[blurry] >= .8", "top_k:3", "macro_f1", "profile[jpeg-1] >= 65%"]
)
def test_shares_are_percent_and_points(text: str) -> None:
    unit = Unit.of(text)
    assert unit.share
    assert unit.value(0.7125) == "71.2 %"
    assert unit.range(0.605, 0.764) == "60.5 to 76.4 %"
    assert unit.gain(-0.053) == "-5.3"
    assert (unit.amount(0.01), unit.amount(0.0679)) == ("1 point", "6.79 points")
    assert unit.of_gains == " in points"


@pytest.mark.parametrize("text", ["log_loss", "brier <= .3", "cost"])
def test_losses_are_plain_numbers(text: str) -> None:
    unit = Unit.of(text)
    assert not unit.share
    assert unit.value(0.86792) == "0.868"
    assert unit.range(0.3743, 0.4901) == "0.374 to 0.49"
    assert (unit.gain(0.4564), unit.amount(0.01), unit.of_gains) == ("+0.456", "0.01", "")
    assert (unit.value(math.nan), unit.gain(math.nan)) == ("n/a", "n/a")
