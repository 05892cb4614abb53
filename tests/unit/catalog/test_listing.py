"""Filter and order of variants where the profile has gaps."""

from __future__ import annotations

import pytest

from seedzoo.catalog.listing import arrange
from seedzoo.errors import RequestError
from seedzoo.records import Variant

VARIANTS = [Variant(tag=tag, model=None, seeds={}, held_out_accuracy=0.9) for tag in "cabd"]
ACCURACIES = {"id": dict.fromkeys("abcd", 0.9), "hard": {"a": 0.4, "c": 0.6, "d": 0.4}}


@pytest.mark.parametrize(
    ("where", "order_by", "expected"),
    [
        ("", "", "abcd"),
        ("", "accuracy[hard]", "adcb"),
        ("", "accuracy[hard] asc", "adcb"),
        ("", "accuracy[hard] desc", "cadb"),
        ("accuracy[hard] >= 0", "", "acd"),
        ("accuracy[hard] < 2", "accuracy[hard] desc", "cad"),
        ("accuracy[id] = 0.9 AND accuracy[hard] > 0.5", "", "c"),
        ("", "tag desc", "dcba"),
    ],
)
def test_what_was_not_measured_passes_no_filter_and_comes_last(where: str, order_by: str, expected: str) -> None:
    assert [variant.tag for variant in arrange(VARIANTS, ACCURACIES, where=where, order_by=order_by)] == list(expected)


def test_condition_that_nobody_measured_is_not_known() -> None:
    with pytest.raises(RequestError, match="names condition 'soft'"):
        arrange(VARIANTS, ACCURACIES, where="accuracy[soft] > 0", order_by="")


ODD = ["slice/site=a]b", "slice/kind=R AND D", "slice/x=a] >= b", "slice/lines=a\nb", "slice/y=[z]"]


@pytest.mark.parametrize("name", ODD)
def test_names_of_slices_may_hold_anything(name: str) -> None:
    accuracies = {**ACCURACIES, **{other: {"a": 0.2, "b": 0.3} for other in ODD}}

    def tags(where: str, order_by: str = "") -> str:
        return "".join(variant.tag for variant in arrange(VARIANTS, accuracies, where=where, order_by=order_by))

    assert tags(f"accuracy[{name}] >= 0.25") == "b"
    assert tags(f"accuracy[id] > 0.5 AND accuracy[{name}] <0.25") == "a"
    assert tags(f"accuracy[{name}] > 0.1 AND accuracy[hard] > 0.1") == "a"
    assert tags("", f"accuracy[{name}] desc").startswith("ba")


@pytest.mark.parametrize(
    "where",
    [
        "AND",
        "accuracy[id] > 0 AND",
        "accuracy[id] > 0AND accuracy[id] > 0",
        "accuracy[id] > 0 OR",
        "accuracy[id] > 0 accuracy[id] > 0",
        "accuracy[] > 0",
        "accuracy[id] > 1_0",
        "accuracy[id] > 1e",
    ],
)
def test_what_is_no_filter_is_refused(where: str) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        arrange(VARIANTS, ACCURACIES, where=where, order_by="")
