"""SelectionService: start, watch, read and cancel selections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import parse_family
from seedzoo.engine import check_selection, profile_counts
from seedzoo.errors import DataError
from seedzoo.records import ProgressUpdate
from seedzoo_protos.v1 import selection_pb2, selection_pb2_grpc
from seedzoo_server.asked import settings_of, stored_request
from seedzoo_server.convert import phase_message, report_message, state_message, timestamp
from seedzoo_server.identity import caller
from seedzoo_server.labelling_service import Labelling, check_label_count, labelling_request
from seedzoo_server.paging import page_of
from seedzoo_server.runner import Runner
from seedzoo_server.storage.keys import derived_id
from seedzoo_server.storage.selections import SelectionRecord
from seedzoo_server.tenants import Tenant, Tenants

__all__ = ["SelectionServicer"]

Context = grpc.aio.ServicerContext[Any, Any]

_PAGE_DEFAULT = 50
_PAGE_LARGEST = 1000


class SelectionServicer(selection_pb2_grpc.SelectionServiceServicer):
    """Serves selections; the runner does the work."""

    def __init__(self, catalog: Catalog, tenants: Tenants, runner: Runner, labelling: Labelling) -> None:
        self._catalog = catalog
        self._tenants = tenants
        self._runner = runner
        self._labelling = labelling

    @property
    def _tenant(self) -> Tenant:
        """Whose call this is."""
        return self._tenants.of(caller().tenant)

    async def StartSelection(
        self, request: selection_pb2.StartSelectionRequest, context: Context
    ) -> selection_pb2.Selection:
        """Check the request, store the selection and queue it; once for a request id."""
        body = request.SerializeToString(deterministic=True)
        record = await asyncio.to_thread(self._tenant.selections.earlier, request.request_id, body)
        if record is None:
            self._runner.check_room()
            record = await asyncio.to_thread(self._create, request, body)
            self._runner.submit(self._tenant, record.id)
        return _message(record)

    def _create(self, request: selection_pb2.StartSelectionRequest, body: bytes) -> SelectionRecord:
        family, release = self._catalog.selectable(parse_family(request.family))
        state = self._tenant.datasets.state(request.dataset_id)
        if not state.complete:
            announced = state.record.item_count
            raise DataError(
                f"the dataset is not complete: {len(state.items)} of {announced} items are described, "
                f"{len(state.places)} have arrived",
                hint="Send what ListMissing lists, then start again.",
                reason="DATASET_INCOMPLETE",
            )
        if state.record.classes != family.task.classes:
            raise DataError(
                f"the dataset's classes are not those of {family.name}: {', '.join(family.task.classes)}",
                hint="Make the dataset with the classes of the family's task, in their order.",
                reason="CLASSES_DIFFER",
            )
        labelling = labelling_request(request, item_count=state.record.item_count)
        asked = stored_request(request, family, release, labelling=labelling)
        if labelling is None:
            check_selection(
                settings_of(asked),
                family,
                self._tenant.datasets.examples(state),
                lambda: list(profile_counts(family, self._catalog.profile(release))),
            )
        else:
            settings_of(asked).check(len(family.task.classes))
        # The mark comes first: a deletion of the dataset that happens now finds the selection by it.
        self._tenant.datasets.mark_selection(request.dataset_id, derived_id("sel", request.request_id))
        return self._tenant.selections.create(request.request_id, body, asked)

    async def WatchSelection(
        self, request: selection_pb2.WatchSelectionRequest, context: Context
    ) -> AsyncIterator[selection_pb2.WatchSelectionResponse]:
        """Progress until the end."""
        async for progress, record in self._runner.watch(self._tenant, request.selection_id):
            yield selection_pb2.WatchSelectionResponse(progress=_progress(progress), selection=_message(record))

    async def GetSelection(
        self, request: selection_pb2.GetSelectionRequest, context: Context
    ) -> selection_pb2.Selection:
        """One selection."""
        return _message(await asyncio.to_thread(self._tenant.selections.get, request.selection_id))

    async def ListSelections(
        self, request: selection_pb2.ListSelectionsRequest, context: Context
    ) -> selection_pb2.ListSelectionsResponse:
        """All selections, newest first, without reports."""
        records = await asyncio.to_thread(self._tenant.selections.listed)
        page, token = page_of(
            records,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope="selections",
        )
        return selection_pb2.ListSelectionsResponse(
            selections=[_message(record) for record in page], next_page_token=token
        )

    async def CancelSelection(
        self, request: selection_pb2.CancelSelectionRequest, context: Context
    ) -> selection_pb2.Selection:
        """Cancel; what has ended stays."""
        return _message(await self._runner.cancel(self._tenant, request.selection_id))

    async def NextItems(
        self, request: selection_pb2.NextItemsRequest, context: Context
    ) -> selection_pb2.NextItemsResponse:
        """What to label next."""
        return await asyncio.to_thread(self._labelling.next_items, self._tenant, request.selection_id)

    async def SubmitLabels(
        self, request: selection_pb2.SubmitLabelsRequest, context: Context
    ) -> selection_pb2.SubmitLabelsResponse:
        """Take labels; conclude where asked to."""
        check_label_count(len(request.labels))
        labels = [(item.index, item.label) for item in request.labels]
        record, count = await asyncio.to_thread(
            self._labelling.submit, self._tenant, request.selection_id, labels, finish=request.finish
        )
        return selection_pb2.SubmitLabelsResponse(selection=_message(record), labelled_count=count)


def _progress(progress: ProgressUpdate) -> selection_pb2.Progress:
    return selection_pb2.Progress(
        phase=phase_message(progress.phase),
        examples_seen=progress.examples_seen,
        examples_total=progress.examples_total,
        variants_in_race=progress.variants_in_race,
        leader=progress.leader,
    )


def _message(record: SelectionRecord) -> selection_pb2.Selection:
    request = record.request
    message = selection_pb2.Selection(
        id=record.id,
        dataset_id=request.dataset_id,
        family=request.family,
        release=request.release,
        objective=request.objective,
        alpha=request.alpha,
        delta=request.delta,
        state=state_message(record.state),
        create_time=timestamp(record.created),
        requirements=request.requirements,
    )
    if record.ended:
        message.end_time.CopyFrom(timestamp(record.ended))
    if record.failure is not None:
        message.error.CopyFrom(
            selection_pb2.SelectionError(
                kind=record.failure.kind,
                reason=record.failure.reason,
                message=record.failure.message,
                hint=record.failure.hint,
                items=[selection_pb2.ItemFault(index=index, message=what) for index, what in record.failure.items],
            )
        )
    if record.report is not None:
        message.report.CopyFrom(report_message(record.report))
    return message
