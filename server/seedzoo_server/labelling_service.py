"""The label-efficient mode: a selection that evaluates everything, then asks for labels one by one.

Labels that the dataset carries are not used: a selection that uses them needs no questions, and as answers they would
have to be a random sample that they need not be. The report says so where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import FamilyRef
from seedzoo.engine.queried import predict_all, queried_report
from seedzoo.engine.spread_evaluator import OpenEvaluator
from seedzoo.errors import AlreadyExists, Conflict, DataError, RequestError
from seedzoo.inference.decoding import Decoder
from seedzoo.inference.settings import InferenceSettings
from seedzoo.records import ProgressUpdate, SelectionReport, SelectionState
from seedzoo_protos.v1 import selection_pb2
from seedzoo_server.storage.labelling import OpenLabelling
from seedzoo_server.storage.selections import LabellingRequest, SelectionRecord
from seedzoo_server.tenants import Tenant

__all__ = ["Labelling", "check_label_count", "labelling_request"]

_MOST_LABELS = 1000
_ATTEMPTS = 20


def labelling_request(request: selection_pb2.StartSelectionRequest, *, item_count: int) -> LabellingRequest | None:
    """What a request says of labelling; None for a selection that uses the labels there are.

    Raises:
        RequestError: An audit larger than the dataset, a negative number, or an option for labelled data.
    """
    if not request.HasField("labelling"):
        return None
    audit, seed = request.labelling.audit, request.labelling.seed
    if not 0 <= audit <= item_count:
        raise RequestError(
            f"an audit of {audit} is not possible: the dataset has {item_count} items",
            hint="Ask for at most as many, or 0 for none.",
            field="labelling.audit",
        )
    if seed < 0:
        raise RequestError(f"seed = {seed} is negative", field="labelling.seed")
    for field, given in (
        ("objective", request.objective not in ("", "accuracy")),
        ("requirements", bool(request.requirements)),
        ("class_proportions", bool(request.class_proportions)),
        ("costs", bool(request.costs)),
        ("evaluation", request.evaluation in (selection_pb2.EVALUATION_RACE, selection_pb2.EVALUATION_FAST)),
    ):
        if given:
            raise RequestError(
                f"labelling cannot be combined with {field}: it evaluates everything and compares accuracies",
                hint=f"Leave out {field}, or label a random sample and select on that.",
                field=field,
            )
    return LabellingRequest(audit=audit, seed=seed)


def check_label_count(count: int) -> None:
    """Refuse more labels than go in one call. Raises RequestError."""
    if count > _MOST_LABELS:
        raise RequestError(f"{count} labels are more than {_MOST_LABELS} in one call", field="labels")


class Labelling:
    """Prepares, asks and concludes; blocking, safe to share between threads.

    Args:
        catalog: Where families come from.
        max_pixels: Largest image that is decoded.
        decoder: Decodes the images.
        open_evaluator: Evaluates elsewhere than in this process; None for here.
        inference: Hardware and memory for models in this process.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        max_pixels: int,
        decoder: Decoder,
        open_evaluator: OpenEvaluator | None = None,
        inference: InferenceSettings | None = None,
    ) -> None:
        self._catalog = catalog
        self._max_pixels = max_pixels
        self._decoder = decoder
        self._open_evaluator = open_evaluator
        self._inference = inference

    def prepare(
        self,
        tenant: Tenant,
        record: SelectionRecord,
        *,
        on_progress: Callable[[ProgressUpdate], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Evaluate every variant on every example and store what they predict.

        Raises:
            ItemsError: Some images cannot be decoded; names all of them by index.
            Cancelled: ``should_stop`` said so.
            NotFound: The dataset was deleted meanwhile.
        """
        request, wanted = record.request, _wanted(record)
        family, release = self._catalog.selectable(FamilyRef(request.family, request.release))
        state = tenant.datasets.state(request.dataset_id)
        if not state.complete:
            raise DataError("the dataset is not complete", reason="DATASET_INCOMPLETE")
        found = predict_all(
            family=family,
            load_model=lambda variant: self._catalog.model(release, variant),
            examples=tenant.datasets.examples(state),
            audit=wanted.audit,
            max_pixels=tenant.largest_image(self._max_pixels),
            predictions=tenant.datasets.predictions(request.dataset_id, release.id),
            on_progress=on_progress,
            should_stop=should_stop,
            decoder=self._decoder,
            open_evaluator=self._open_evaluator,
            inference=self._inference,
        )
        tenant.labellings.create(
            request.dataset_id,
            record.id,
            predictions=found.classes,
            n_classes=len(family.task.classes),
            audit=wanted.audit,
            seed=wanted.seed,
            seconds=found.seconds,
            warnings=found.warnings,
            provider=found.provider,
        )

    def next_items(self, tenant: Tenant, selection_id: str) -> selection_pb2.NextItemsResponse:
        """What should be labelled next; the question is stored before it is told.

        Raises:
            NotFound: There is no such selection.
            RequestError: It does not await labels.
        """
        for _ in range(_ATTEMPTS):
            record = tenant.selections.get(selection_id)
            _require_awaiting(record)
            try:
                with tenant.labellings.opened(record.request.dataset_id, record.id) as session:
                    if session.record.closed:
                        raise _concluded()
                    return self._ask(tenant, record, session)
            except Conflict:
                continue
        raise _busy(selection_id)

    def _ask(self, tenant: Tenant, record: SelectionRecord, session: OpenLabelling) -> selection_pb2.NextItemsResponse:
        selector = session.selector
        items = [selection_pb2.NextItem(index=index) for index in session.audit_left]
        if not items and selector.n_labels < len(session.predictions):
            if session.record.pending < 0:
                selector.next()
                tenant.labellings.save(session)
            items = [
                selection_pb2.NextItem(index=session.record.pending, probability=session.record.pending_probability)
            ]
        choice = selector.choice(record.request.alpha, record.request.delta)
        family, _ = self._catalog.selectable(FamilyRef(record.request.family, record.request.release))
        return selection_pb2.NextItemsResponse(
            items=items,
            labelled_count=selector.n_labels,
            disagreement_left=bool(selector.sampling.any()),
            leader=f"{family.name}/{family.variants[choice.best].tag}",
            candidate_count=len(choice.candidates),
        )

    def submit(
        self, tenant: Tenant, selection_id: str, labels: Sequence[tuple[int, int]], *, finish: bool
    ) -> tuple[SelectionRecord, int]:
        """Take labels (index of the item, its class), all or none; conclude where asked to.

        Returns:
            The selection, and how many labels it has.

        Raises:
            NotFound: There is no such selection.
            RequestError: It does not await labels, or an item or class is not what was asked.
            AlreadyExists: An item has another label already.
        """
        for _ in range(_ATTEMPTS):
            record = tenant.selections.get(selection_id)
            if record.state is not SelectionState.SUCCEEDED or record.request.labelling is None:
                _require_awaiting(record)
            try:
                with tenant.labellings.opened(record.request.dataset_id, record.id) as session:
                    self._take(tenant, session, labels, close=finish)
                    count = session.selector.n_labels
                    report = self._report(tenant, record, session) if finish and not record.state.finished else None
            except Conflict:
                continue
            return record if report is None else tenant.selections.succeed(selection_id, report), count
        raise _busy(selection_id)

    def _take(self, tenant: Tenant, session: OpenLabelling, labels: Sequence[tuple[int, int]], *, close: bool) -> None:
        fresh = _fresh(session, labels, session.record.n_classes)
        if fresh and session.record.closed:
            raise _concluded()
        asked = set(session.audit_left) or {session.record.pending}
        for index, _ in fresh:
            if index not in asked:
                raise RequestError(
                    f"item {index} was not asked for",
                    hint="Label what NextItems names: which items are labelled must not depend on who is asked.",
                    reason="ITEM_NOT_ASKED",
                    field="labels",
                )
        for index, label in fresh:
            session.selector.tell(index, label)
        closed = session.record.closed or close
        if fresh or closed != session.record.closed:
            tenant.labellings.save(session, closed=closed)

    def _report(self, tenant: Tenant, record: SelectionRecord, session: OpenLabelling) -> SelectionReport:
        request = record.request
        family, release = self._catalog.selectable(FamilyRef(request.family, request.release))
        return queried_report(
            family=family,
            release=release,
            profile=self._catalog.profile(release),
            predictions=session.predictions,
            selector=session.selector,
            alpha=request.alpha,
            delta=request.delta,
            warnings=session.record.warnings,
            seconds=session.record.seconds,
            provider=session.record.provider,
            selections_served=tenant.selections.served(record, tenant.datasets.selections(request.dataset_id)),
        )


def _wanted(record: SelectionRecord) -> LabellingRequest:
    if record.request.labelling is None:
        raise RequestError(
            f"selection {record.id} was not started with labelling",
            hint="Start one with the field labelling.",
            reason="NOT_LABELLING",
            field="selection_id",
        )
    return record.request.labelling


def _require_awaiting(record: SelectionRecord) -> None:
    _wanted(record)
    if record.state is SelectionState.SUCCEEDED:
        raise _concluded()
    if record.state.finished:
        raise RequestError(
            f"selection {record.id} has ended ({record.state.value}): it takes no labels",
            hint="Start another one.",
            reason="SELECTION_ENDED",
            field="selection_id",
        )
    if record.state is not SelectionState.AWAITING_LABELS:
        raise RequestError(
            f"selection {record.id} is {record.state.value}: it does not ask for labels yet",
            hint="Watch it until it awaits labels.",
            reason="NOT_AWAITING_LABELS",
            field="selection_id",
        )


def _concluded() -> RequestError:
    return RequestError(
        "the selection is concluded and takes no more labels",
        hint="Start another one, and give it the labels again as it asks for them.",
        reason="SELECTION_CONCLUDED",
        field="selection_id",
    )


def _busy(selection_id: str) -> Conflict:
    return Conflict(f"the labels of selection {selection_id} kept changing while they were updated", hint="Try again.")


def _fresh(session: OpenLabelling, labels: Sequence[tuple[int, int]], n_classes: int) -> list[tuple[int, int]]:
    """Those of the labels that are not known yet, each once.

    Raises:
        RequestError: An index or a class that does not exist.
        AlreadyExists: Another label than before.
    """
    known, fresh = session.given, []
    for index, label in labels:
        if not 0 <= index < len(session.predictions):
            raise RequestError(
                f"there is no item {index}: the dataset has {len(session.predictions)}", field="labels.index"
            )
        if not 0 <= label < n_classes:
            raise RequestError(f"item {index}: label {label} is outside the {n_classes} classes", field="labels.label")
        if index not in known:
            known[index] = label
            fresh.append((index, label))
        elif known[index] != label:
            raise AlreadyExists(
                f"item {index} has the label {known[index]} already, not {label}",
                hint="A label cannot be changed, the later questions follow from it: start anew with another seed.",
                reason="LABEL_DIFFERS",
                field="labels",
            )
    return fresh
