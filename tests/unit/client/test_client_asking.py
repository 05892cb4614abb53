"""What a selection is asked for, as it is checked and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedzoo.errors import DataError, RequestError
from seedzoo.records import Evaluation
from seedzoo_client.arguments import as_names
from seedzoo_client.asking import Inquiry
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
    assert as_names("camera", field="slices") == ("camera",)
    assert as_names(["camera", "blur"], field="slices") == ("camera", "blur")
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
        ({"alpha": "x"}, RequestError, "alpha must be a number, not 'x'", "alpha"),
        ({"alpha": None}, RequestError, "alpha must be a number, not None", "alpha"),
        ({"delta": True}, RequestError, "delta must be a number, not True", "delta"),
        ({"delta": 10**400}, RequestError, "delta is too large", "delta"),
        ({"delta": 1}, RequestError, "delta must lie between 0 and 1, not 1", "delta"),
        ({"delta": 1, "objective": "brier"}, RequestError, "delta must lie between 0 and 1", "delta"),
        ({"delta": 0, "objective": "log_loss"}, RequestError, "delta must be more than 0, not 0", "delta"),
        ({"delta": float("inf"), "objective": "log_loss"}, RequestError, "delta must be more than 0", "delta"),
        ({"objective": ""}, RequestError, "objective is empty", "objective"),
        ({"objective": None}, RequestError, "objective must be text, not None", "objective"),
        ({"objective": 5}, RequestError, "objective must be text, not 5", "objective"),
        ({"requirements": 5}, RequestError, "requirements must be a text or several, not 5", "requirements"),
        ({"requirements": [5]}, RequestError, "requirements must be text, not 5", "requirements"),
        ({"class_proportions": 5}, RequestError, "class_proportions must be a mapping", "class_proportions"),
        ({"class_proportions": [0.5, 0.5]}, RequestError, "class_proportions must be a map", "class_proportions"),
        ({"objective": "cost", "costs": 5}, RequestError, "costs must be a mapping, an array or a file", "costs"),
        ({"objective": "cost", "costs": [5]}, DataError, "has 1 rows, and one of them is 5", ""),
        ({"objective": "cost", "costs": [["a"]]}, DataError, "a cost in the array is 'a', no number", ""),
        ({"objective": "cost", "costs": np.eye(3)}, DataError, "has 3 rows, the task 2 classes", ""),
        ({"evaluation": 5}, RequestError, "there is no evaluation '5'", "evaluation"),
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


def test_numbers_of_numpy_are_numbers() -> None:
    request = sent(
        objective="cost", alpha=np.float32(0.5), costs=np.eye(2), delta=np.int64(3), class_proportions={
            "bag": np.float32(0.5), "coat": np.float64(0.5)
        },
    )  # fmt: skip
    assert (request.alpha, request.delta) == (0.5, 3)
    assert list(request.costs) == [1, 0, 0, 1]
    assert list(request.class_proportions) == [0.5, 0.5]
    assert list(sent(objective="cost", costs=[(0, 1), (2, 0)]).costs) == [0, 1, 2, 0]
    assert sent(objective="log_loss", delta=1.5).delta == 1.5


def test_the_parameter_of_an_objective_is_always_sent() -> None:
    sent_as = {name: sent(objective=name).objective for name in ("top_k", "risk_at_coverage", "top_k:3", " brier ")}
    assert list(sent_as.values()) == ["top_k:5", "risk_at_coverage:0.8", "top_k:3", "brier"]


def test_labels_alone_need_labels() -> None:
    Inquiry(prior=False).check_labels(any_label=True)
    Inquiry().check_labels(any_label=False)
    with pytest.raises(RequestError, match="rests on the stored stress tests"):
        Inquiry(prior=False).check_labels(any_label=False)
