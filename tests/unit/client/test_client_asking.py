"""What a selection is asked for, as it is checked and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seedzoo.errors import DataError, RequestError
from seedzoo.records import Evaluation
from seedzoo_client.asking import Inquiry, as_names
from seedzoo_client.labels import ClassMatcher
from seedzoo_protos.v1 import selection_pb2

MATCHER = ClassMatcher(("Bag", "Coat"))


def sent(**fields: Any) -> selection_pb2.StartSelectionRequest:
    inquiry = Inquiry(**fields)
    inquiry.check()
    inquiry.check_classes(MATCHER)
    return inquiry.request(request_id="r", dataset_id="d", family="f", matcher=MATCHER)


def test_nothing_special_sends_nothing_special() -> None:
    assert sent() == selection_pb2.StartSelectionRequest(
        request_id="r", dataset_id="d", family="f", objective="accuracy", alpha=0.05, delta=0.01
    )


def test_everything_is_sent() -> None:
    assert sent(
        objective="cost",
        requirements=["accuracy[camera=B] >= .8", "profile[pixelate-3] >= .65"],
        alpha=0.1,
        delta=0.02,
        class_proportions="coat=1",
        costs={"coat": {"Bag": 2, "Coat": 0}, "bag": {"Bag": 0, "Coat": 3}},
        evaluation="exhaustive",
        prior=False,
    ) == selection_pb2.StartSelectionRequest(
        request_id="r",
        dataset_id="d",
        family="f",
        objective="cost",
        alpha=0.1,
        delta=0.02,
        requirements=["accuracy[camera=B] >= .8", "profile[pixelate-3] >= .65"],
        class_proportions=[0, 1],
        evaluation=selection_pb2.EVALUATION_EXHAUSTIVE,
        without_prior=True,
        costs=[0, 3, 2, 0],
    )


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ("auto", selection_pb2.EVALUATION_UNSPECIFIED),
        (Evaluation.AUTO, selection_pb2.EVALUATION_UNSPECIFIED),
        (Evaluation.RACE, selection_pb2.EVALUATION_RACE),
        ("fast", selection_pb2.EVALUATION_FAST),
    ],
)
def test_evaluations(evaluation: str, expected: int) -> None:
    assert sent(evaluation=evaluation).evaluation == expected


def test_a_lone_text_is_one_name() -> None:
    assert as_names("camera") == ("camera",)
    assert as_names(["camera", "blur"]) == ("camera", "blur")
    assert list(sent(requirements="accuracy >= .8").requirements) == ["accuracy >= .8"]


@pytest.mark.parametrize(
    ("fields", "error", "message", "field"),
    [
        ({"alpha": 0.0}, RequestError, "alpha must lie between 0 and 1, not 0", "alpha"),
        ({"delta": float("nan")}, RequestError, "delta must lie between 0 and 1", "delta"),
        ({"evaluation": "quick"}, RequestError, "there is no evaluation 'quick'", "evaluation"),
        ({"objective": "\udcff"}, RequestError, "is not UTF-8 text", "objective"),
        ({"requirements": ["a", "\udcff"]}, RequestError, "is not UTF-8 text", "requirements"),
        ({"objective": "cost"}, RequestError, "needs a table of costs", "costs"),
        ({"costs": {"Bag": {"Bag": 1}}}, RequestError, "not for accuracy", "costs"),
        ({"objective": "cost", "costs": Path("none.csv")}, DataError, "cannot read the table of costs", ""),
        ({"objective": "cost", "costs": {"Bag": {"Bag": 1}}}, DataError, "lack a row", ""),
        ({"class_proportions": "bag=2"}, DataError, "no number from 0 to 1", ""),
        ({"class_proportions": "hat=1"}, DataError, "'hat'", ""),
    ],
)
def test_what_cannot_be_asked(fields: dict[str, Any], error: type[Exception], message: str, field: str) -> None:
    with pytest.raises(error, match=message) as caught:
        sent(**fields)
    assert caught.value.field == field  # type: ignore[attr-defined]
