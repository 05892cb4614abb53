"""What a selection is asked for: checked before anything is sent, then put into the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seedzoo.errors import RequestError
from seedzoo.records import Evaluation
from seedzoo_client.class_tables import ClassProportions, Costs, cost_table, proportions, read_costs, read_proportions
from seedzoo_client.labels import ClassMatcher
from seedzoo_protos.v1 import selection_pb2

__all__ = ["Inquiry", "as_names"]

_EVALUATIONS = {
    Evaluation.AUTO: selection_pb2.EVALUATION_UNSPECIFIED,
    Evaluation.EXHAUSTIVE: selection_pb2.EVALUATION_EXHAUSTIVE,
    Evaluation.RACE: selection_pb2.EVALUATION_RACE,
    Evaluation.FAST: selection_pb2.EVALUATION_FAST,
}
_COST = "cost"


def as_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several, as several: a lone text is not taken for its letters."""
    return (given,) if isinstance(given, str) else tuple(given)


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

    def check(self) -> None:
        """Refuse what cannot be asked of any data; files are read.

        Raises:
            RequestError: A number out of range, no such evaluation, or costs without the objective ``cost``.
            DataError: Class proportions or costs cannot be read.
        """
        for name, value in (("alpha", self.alpha), ("delta", self.delta)):
            if not 0 < value < 1:
                raise RequestError(f"{name} must lie between 0 and 1, not {value:g}", field=name)
        for name, texts in (("objective", (self.objective,)), ("requirements", as_names(self.requirements))):
            for text in texts:
                _check_text(name, text)
        if self.evaluation not in list(Evaluation):
            raise RequestError(
                f"there is no evaluation {str(self.evaluation)!r}",
                hint=f"There are: {', '.join(Evaluation)}.",
                field="evaluation",
            )
        if (self.objective == _COST) != (self.costs is not None):
            raise RequestError(
                "the objective cost needs a table of costs"
                if self.costs is None
                else f"costs are for the objective cost, not for {self.objective}",
                hint="Give both: the objective cost and its table.",
                field="costs",
            )
        if self.class_proportions is not None:
            read_proportions(self.class_proportions)
        if self.costs is not None:
            read_costs(self.costs)

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
        return selection_pb2.StartSelectionRequest(
            request_id=request_id,
            dataset_id=dataset_id,
            family=family,
            objective=self.objective,
            alpha=self.alpha,
            delta=self.delta,
            requirements=as_names(self.requirements),
            class_proportions=self._proportions(matcher),
            evaluation=_EVALUATIONS[Evaluation(self.evaluation)],
            without_prior=not self.prior,
            costs=self._costs(matcher),
        )

    def _proportions(self, matcher: ClassMatcher) -> tuple[float, ...]:
        return () if self.class_proportions is None else proportions(self.class_proportions, matcher)

    def _costs(self, matcher: ClassMatcher) -> tuple[float, ...]:
        return () if self.costs is None else cost_table(self.costs, matcher)


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # Bytes of a command line in another encoding; protobuf would fail on them without a word.
        raise RequestError(f"{name}: {text!r} is not UTF-8 text", hint="Type it again.", field=name) from error
