"""What a caller asked of a selection: from the message to the stored request, and on to the engine's settings."""

from __future__ import annotations

from seedzoo.engine import SelectionSettings
from seedzoo.errors import RequestError
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS
from seedzoo.records import Evaluation, Family, Release
from seedzoo_protos.v1 import selection_pb2
from seedzoo_server.storage.selections import LabellingRequest, SelectionRequest

__all__ = ["settings_of", "stored_request"]

_LONGEST_TEXT = 500
_MOST_TEXTS = 100
_EVALUATIONS = {
    selection_pb2.EVALUATION_UNSPECIFIED: Evaluation.AUTO,
    selection_pb2.EVALUATION_EXHAUSTIVE: Evaluation.EXHAUSTIVE,
    selection_pb2.EVALUATION_RACE: Evaluation.RACE,
    selection_pb2.EVALUATION_FAST: Evaluation.FAST,
}


def stored_request(
    message: selection_pb2.StartSelectionRequest,
    family: Family,
    release: Release,
    *,
    labelling: LabellingRequest | None,
) -> SelectionRequest:
    """What is stored of a request.

    Raises:
        RequestError: A value that this version does not know, or text beyond all measure.
    """
    defaults = SelectionSettings()
    if message.evaluation not in _EVALUATIONS:
        raise RequestError(f"evaluation {message.evaluation} is not known", field="evaluation")
    texts = [message.objective, *message.requirements]
    if len(texts) > _MOST_TEXTS or max(len(text) for text in texts) > _LONGEST_TEXT:
        raise RequestError(f"objective and requirements may have {_LONGEST_TEXT} characters each", field="requirements")
    return SelectionRequest(
        dataset_id=message.dataset_id,
        family=family.name,
        release=release.id,
        objective=message.objective or defaults.objective,
        alpha=message.alpha if message.HasField("alpha") else defaults.alpha,
        delta=message.delta if message.HasField("delta") else defaults.delta,
        labelling=labelling,
        requirements=tuple(message.requirements),
        class_proportions=tuple(message.class_proportions),
        costs=tuple(message.costs),
        evaluation=_EVALUATIONS[message.evaluation],
        use_prior=not message.without_prior,
    )


def settings_of(request: SelectionRequest, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> SelectionSettings:
    """The engine's settings for a stored request."""
    return SelectionSettings(
        objective=request.objective,
        alpha=request.alpha,
        delta=request.delta,
        requirements=request.requirements,
        class_proportions=request.class_proportions,
        costs=request.costs,
        evaluation=request.evaluation,
        use_prior=request.use_prior,
        max_pixels=max_pixels,
    )
