"""What a selection is asked for: checked before anything is sent, then put into the request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seedzoo.errors import RequestError
from seedzoo.records import Evaluation
from seedzoo_client.arguments import as_names, as_number, as_text
from seedzoo_client.class_tables import ClassProportions, Costs, check_costs, cost_table, proportions, read_proportions
from seedzoo_client.labels import ClassMatcher
from seedzoo_client.quoting import brief, quoted
from seedzoo_protos.v1 import selection_pb2

__all__ = ["Inquiry"]

_EVALUATIONS = {
    Evaluation.AUTO: selection_pb2.EVALUATION_UNSPECIFIED,
    Evaluation.EXHAUSTIVE: selection_pb2.EVALUATION_EXHAUSTIVE,
    Evaluation.RACE: selection_pb2.EVALUATION_RACE,
    Evaluation.FAST: selection_pb2.EVALUATION_FAST,
}
_COST = "cost"
_UNBOUNDED = frozenset({_COST, "log_loss"})
"""Objectives whose values, and differences of them, may be larger than 1."""
_PARAMETERS = {"top_k": "5", "risk_at_coverage": "0.8"}
"""What the server takes where no parameter is named; it is sent, so that the report says which it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What to maximise, under which requirements, and what is known beside the data.

    The fields are the arguments of :meth:`seedzoo_client.client.Client.select`. Names of metrics and the form of
    requirements are the server's to judge.
    """

    objective: str = "accuracy"
    requirements: str | Sequence[str] = ()
    alpha: float = 0.05
    delta: float = 0.01
    class_proportions: ClassProportions | None = None
    costs: Costs | None = None
    evaluation: Evaluation | str = Evaluation.AUTO
    prior: bool = True

    def __post_init__(self) -> None:
        """Take what numbers and texts there are in Python as the ones that are sent."""
        objective = as_text(self.objective, field="objective", hint="For example accuracy.").strip()
        object.__setattr__(self, "objective", objective)
        object.__setattr__(self, "requirements", as_names(self.requirements, field="requirements"))
        object.__setattr__(self, "alpha", as_number(self.alpha, field="alpha"))
        object.__setattr__(self, "delta", as_number(self.delta, field="delta"))

    def check(self) -> None:
        """Refuse what cannot be asked of any data; files are read.

        Raises:
            RequestError: A number out of range, no such evaluation, or costs without the objective ``cost``.
            DataError: Class proportions or costs cannot be read.
        """
        if not 0 < self.alpha < 1:
            raise RequestError(f"alpha must lie between 0 and 1, not {self.alpha:g}", field="alpha")
        name = self.objective.partition(":")[0]
        if name in _UNBOUNDED:
            if not (math.isfinite(self.delta) and self.delta > 0):
                raise RequestError(f"delta must be more than 0, not {self.delta:g}", field="delta")
        elif not 0 < self.delta < 1:
            raise RequestError(
                f"delta must lie between 0 and 1, not {self.delta:g}",
                hint="It is in units of the objective: 0.01 is one point.",
                field="delta",
            )
        if self.evaluation not in list(Evaluation):
            raise RequestError(
                f"there is no evaluation {quoted(str(self.evaluation))}",
                hint=f"There are: {', '.join(Evaluation)}.",
                field="evaluation",
            )
        if (self.objective == _COST) != (self.costs is not None):
            raise RequestError(
                "the objective cost needs a table of costs"
                if self.costs is None
                else f"costs are for the objective cost, not for {brief(self.objective)}",
                hint="Give both: the objective cost and its table.",
                field="costs",
            )
        if self.class_proportions is not None:
            read_proportions(self.class_proportions)
        if self.costs is not None:
            check_costs(self.costs)

    def check_labels(self, *, any_label: bool) -> None:
        """Refuse what needs labels of data without any.

        Raises:
            RequestError: Without labels, the stored stress tests are all there is to choose by.
        """
        if not self.prior and not any_label:
            raise RequestError(
                "no image has a label, and ranking without labels rests on the stored stress tests",
                hint="Ask without --no-prior (prior=False), or label some images.",
                field="prior",
            )

    def check_classes(self, matcher: ClassMatcher) -> None:
        """Refuse class proportions and costs that do not fit the task.

        Raises:
            DataError: They name no class of it, or do not add up; says which.
        """
        self._proportions(matcher)
        self._costs(matcher)

    def request(
        self,
        *,
        request_id: str,
        dataset_id: str,
        family: str,
        matcher: ClassMatcher,
    ) -> selection_pb2.StartSelectionRequest:
        """The request that starts the selection.

        Args:
            request_id: Makes the call repeatable.
            dataset_id: An uploaded dataset.
            family: Which family to choose from.
            matcher: Finds the classes that proportions and costs name.

        Raises:
            DataError: As :meth:`check_classes`.
        """
        asked = self.asked(matcher)
        return selection_pb2.StartSelectionRequest(
            request_id=request_id,
            dataset_id=dataset_id,
            family=family,
            evaluation=_EVALUATIONS[asked.pop("evaluation")],
            without_prior=not asked.pop("use_prior"),
            **asked,
        )

    def asked(self, matcher: ClassMatcher) -> dict[str, Any]:
        """What the engine is asked, by the names of its settings.

        Args:
            matcher: Finds the classes that proportions and costs name.

        Raises:
            DataError: As :meth:`check_classes`.
        """
        return {
            "objective": self._objective(),
            "alpha": self.alpha,
            "delta": self.delta,
            "requirements": self.requirements,
            "class_proportions": self._proportions(matcher),
            "costs": self._costs(matcher),
            "evaluation": Evaluation(self.evaluation),
            "use_prior": self.prior,
        }

    def _objective(self) -> str:
        return f"{self.objective}:{_PARAMETERS[self.objective]}" if self.objective in _PARAMETERS else self.objective

    def _proportions(self, matcher: ClassMatcher) -> tuple[float, ...]:
        return () if self.class_proportions is None else proportions(self.class_proportions, matcher)

    def _costs(self, matcher: ClassMatcher) -> tuple[float, ...]:
        return () if self.costs is None else cost_table(self.costs, matcher)
