"""A real gRPC server with small in-memory servicers that can be told to break; for tests of the client."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from seedzoo_client import RetryConfig
from seedzoo_protos.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    selection_pb2,
    selection_pb2_grpc,
)

CLASSES = ("T-shirt/top", "Trouser", "Bag")
RELEASE = "01JDZZZZZZZZZZZZZZZZZZZZZZ"
CHUNK = 1 << 18
PNG = b"\x89PNG\r\n\x1a\n"
QUICK = RetryConfig(total_seconds=0.05, initial_seconds=0.01, maximum_seconds=0.02)


def abort(
    context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *, kind: str, reason: str, **more: str
) -> Any:
    """Fail as the seedzoo server does: google.rpc.Status in the trailing metadata."""
    info = error_details_pb2.ErrorInfo(
        reason=reason, domain="seedzoo", metadata={"kind": kind, "hint": more.get("hint", "")}
    )
    details = [info]
    if "field" in more:
        violation = error_details_pb2.BadRequest.FieldViolation(field=more["field"], description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


@dataclass
class FakeZoo(
    catalog_pb2_grpc.CatalogServiceServicer,
    dataset_pb2_grpc.DatasetServiceServicer,
    selection_pb2_grpc.SelectionServiceServicer,
):
    """All three services; the attributes say how to misbehave and what was seen."""

    families: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"toy": CLASSES})
    tags: tuple[str, ...] = tuple(f"s{index:03d}" for index in range(7))
    model: bytes = field(default_factory=lambda: random.Random(7).randbytes(3 << 20))
    # Misbehaviour
    break_uploads: int = 0
    swallow_uploads: bool = False
    break_downloads_after: int = 0
    break_downloads: int = 0
    damage: bool = False
    wrong_header: bool = False
    break_watches: int = 0
    failure: selection_pb2.SelectionError | None = None
    hang: bool = False
    store_trouble: bool = False
    """What breaks is the store behind the server, not the connection."""
    report: selection_pb2.SelectionReport | None = None
    # What was seen
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploaded: list[int] = field(default_factory=list)
    largest_message: int = 0
    uploads: int = 0
    appended: int = 0
    offsets: list[int] = field(default_factory=list)
    watches: int = 0
    starts: list[selection_pb2.StartSelectionRequest] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    watching: threading.Event = field(default_factory=threading.Event)

    def _break(self, context: grpc.ServicerContext) -> None:
        if self.store_trouble:
            abort(
                context, grpc.StatusCode.UNAVAILABLE, "the store does not answer", kind="StoreError",
                reason="STORE_FAILED",
            )  # fmt: skip
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    # -- catalog ----------------------------------------------------------------------------------------------------

    def _family(self, name: str) -> catalog_pb2.Family:
        task = catalog_pb2.Task(name=name, classes=self.families[name], input_kind="image", metric="accuracy")
        certificate = catalog_pb2.Certificate(
            method="paired TOST", margin=0.01, alpha=0.05, n_examples=8000, trained=9, published=7, family_mean=0.906,
            entries=[catalog_pb2.CertificateEntry(tag="s008", passed=False)],
        )  # fmt: skip
        return catalog_pb2.Family(
            name=name, title="A toy", release=RELEASE, task=task, variant_count=7, held_out_mean=0.906,
            held_out_sd=0.0018, certificate=certificate, model_bytes=len(self.model), data_name="toys", licence="MIT",
        )  # fmt: skip

    def _variant(self, family: str, tag: str) -> catalog_pb2.Variant:
        return catalog_pb2.Variant(
            name=f"{family}/{tag}", family=family, tag=tag, release=RELEASE, model_size=len(self.model),
            model_sha256=hashlib.sha256(self.model + tag.encode()).hexdigest() if tag != "s000" else self.sha256,
            seeds={"init": 1, "order": 2}, held_out_accuracy=0.906,
        )  # fmt: skip

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model).hexdigest()

    def ListFamilies(self, request: Any, context: Any) -> Any:
        names = sorted(self.families)
        at = names.index(request.page_token) if request.page_token else 0
        more = names[at + 1] if at + 1 < len(names) else ""
        found = [self._family(name) for name in names[at : at + 1]]
        return catalog_pb2.ListFamiliesResponse(families=found, next_page_token=more)

    def GetFamily(self, request: Any, context: Any) -> Any:
        name = request.name.partition("@")[0]
        if name not in self.families:
            abort(
                context, grpc.StatusCode.NOT_FOUND, f"there is no family {name!r}", kind="NotFound",
                reason="NOT_FOUND", hint="zoo families lists them.",
            )  # fmt: skip
        return self._family(name)

    def ListVariants(self, request: Any, context: Any) -> Any:
        if "nonsense" in request.filter:
            abort(
                context, grpc.StatusCode.INVALID_ARGUMENT, "filter cannot be read", kind="RequestError",
                reason="REQUEST_INVALID", field="filter",
            )  # fmt: skip
        size = min(request.page_size or 3, 3)
        at = int(request.page_token or 0)
        found = [self._variant(request.family, tag) for tag in self.tags[at : at + size]]
        more = str(at + size) if at + size < len(self.tags) else ""
        return catalog_pb2.ListVariantsResponse(variants=found, next_page_token=more, total_size=len(self.tags))

    def GetVariant(self, request: Any, context: Any) -> Any:
        family, _, tag = request.name.partition("/")
        family = family.partition("@")[0]
        if family not in self.families or tag not in self.tags:
            abort(
                context, grpc.StatusCode.NOT_FOUND, f"there is no variant {request.name!r}", kind="NotFound",
                reason="NOT_FOUND",
            )  # fmt: skip
        return self._variant(family, tag)

    def GetProfile(self, request: Any, context: Any) -> Any:
        family = request.family.partition("@")[0]
        nan = float("nan")
        conditions = [
            catalog_pb2.ConditionSummary(
                condition="id", n_examples=8000, mean=0.906, sd=0.0018, min=0.902, max=0.91, sd_ratio=1,
                spearman=nan, spearman_low=nan, spearman_high=nan,
            ),
            catalog_pb2.ConditionSummary(
                condition="contrast-4", kind="contrast", severity=4, n_examples=8000, mean=0.58, sd=0.086, min=0.4,
                max=0.7, sd_ratio=47.8, spearman=0.12, spearman_low=-0.17, spearman_high=0.39,
            ),
        ]  # fmt: skip
        table = [value for index, _ in enumerate(self.tags) for value in (0.906, 0.4 + 0.05 * index)]
        return catalog_pb2.Profile(
            family=family, release=RELEASE, suite="small", tags=self.tags, conditions=conditions, accuracy=table
        )

    def DownloadModel(self, request: Any, context: Any) -> Iterator[Any]:
        self.offsets.append(request.offset)
        sha256 = "0" * 64 if self.wrong_header else self.sha256
        header = catalog_pb2.DownloadModelResponse.Header(size=len(self.model), sha256=sha256, release=RELEASE)
        yield catalog_pb2.DownloadModelResponse(header=header)
        body = bytearray(self.model)
        if self.damage:
            body[len(body) // 2] ^= 1
        sent = 0
        for start in range(request.offset, len(body), CHUNK):
            if self.break_downloads > 0 and sent >= self.break_downloads_after:
                self.break_downloads -= 1
                self._break(context)
            chunk = bytes(body[start : start + CHUNK])
            sent += len(chunk)
            yield catalog_pb2.DownloadModelResponse(chunk=chunk)

    # -- datasets ---------------------------------------------------------------------------------------------------

    def _dataset(self, dataset_id: str) -> Any:
        state = self.datasets[dataset_id]
        return dataset_pb2.Dataset(
            id=dataset_id, classes=state["classes"], item_count=state["count"], described_count=len(state["items"]),
            received_count=len(state["bytes"]),
        )  # fmt: skip

    def CreateDataset(self, request: Any, context: Any) -> Any:
        made = {
            "classes": tuple(request.classes), "count": request.item_count, "items": {}, "bytes": {},
            "slice_columns": {column.name: list(column.values) for column in request.slice_columns},
        }  # fmt: skip
        self.datasets.setdefault(request.request_id, made)
        return self._dataset(request.request_id)

    def AppendItems(self, request: Any, context: Any) -> Any:
        assert len(request.items) <= 1000
        self.appended += len(request.items)
        items = self.datasets[request.dataset_id]["items"]
        items.update({item.index: item for item in request.items})
        return dataset_pb2.AppendItemsResponse(described_count=len(items))

    def ListMissing(self, request: Any, context: Any) -> Any:
        state = self.datasets[request.dataset_id]
        missing = sorted(set(state["items"]) - set(state["bytes"]))
        at = int(request.page_token or 0)
        rest = [index for index in missing if index >= at]
        more = str(rest[5]) if len(rest) > 5 else ""
        return dataset_pb2.ListMissingResponse(indices=rest[:5], next_page_token=more)

    def UploadItems(self, requests: Any, context: Any) -> Any:
        self.uploads += 1
        dataset_id, index, parts, count = "", -1, b"", 0
        for number, message in enumerate(requests):
            assert bool(message.dataset_id) == (number == 0)
            self.largest_message = max(self.largest_message, message.ByteSize())
            dataset_id = dataset_id or message.dataset_id
            if message.index != index:
                assert not parts
                index = message.index
            parts += message.data
            item = self.datasets[dataset_id]["items"][index]
            if len(parts) < item.size:
                continue
            assert hashlib.sha256(parts).digest() == item.sha256
            if not self.swallow_uploads:
                self.datasets[dataset_id]["bytes"][index] = parts
            self.uploaded.append(index)
            count += 1
            parts, index = b"", -1
            if self.break_uploads > 0 and count == 2:
                self.break_uploads -= 1
                self._break(context)
        assert not parts
        return dataset_pb2.UploadItemsResponse(stored_count=count)

    def DeleteDataset(self, request: Any, context: Any) -> Any:
        if self.datasets.pop(request.dataset_id, None) is None:
            abort(context, grpc.StatusCode.NOT_FOUND, "no such dataset", kind="NotFound", reason="NOT_FOUND")
        return dataset_pb2.DeleteDatasetResponse()

    # -- selections -------------------------------------------------------------------------------------------------

    def StartSelection(self, request: Any, context: Any) -> Any:
        self.starts.append(request)
        return selection_pb2.Selection(id="sel-1", state=selection_pb2.SELECTION_STATE_PENDING)

    def WatchSelection(self, request: Any, context: Any) -> Iterator[Any]:
        self.watches += 1
        yield self._watch(selection_pb2.SELECTION_STATE_RUNNING, seen=self.watches)
        self.watching.set()
        if self.break_watches > 0:
            self.break_watches -= 1
            self._break(context)
        if self.hang:
            self.cancelled.wait(30)
            yield self._watch(selection_pb2.SELECTION_STATE_CANCELLED)
        elif self.failure is not None:
            yield self._watch(selection_pb2.SELECTION_STATE_FAILED)
        else:
            yield self._watch(selection_pb2.SELECTION_STATE_SUCCEEDED)

    def _watch(self, state: Any, seen: int = 0) -> Any:
        selection = selection_pb2.Selection(id="sel-1", state=state)
        if state == selection_pb2.SELECTION_STATE_FAILED:
            selection.error.CopyFrom(self.failure)
        if state == selection_pb2.SELECTION_STATE_SUCCEEDED:
            selection.report.CopyFrom(self.report or made_up_report())
        progress = selection_pb2.Progress(
            phase=selection_pb2.SELECTION_PHASE_EVALUATING, examples_seen=seen, examples_total=9
        )
        return selection_pb2.WatchSelectionResponse(progress=progress, selection=selection)

    def CancelSelection(self, request: Any, context: Any) -> Any:
        self.cancelled.set()
        return selection_pb2.Selection(id="sel-1", state=selection_pb2.SELECTION_STATE_CANCELLED)


def made_up_report() -> selection_pb2.SelectionReport:
    """A plausible answer for the toy family."""
    interval = selection_pb2.Interval
    return selection_pb2.SelectionReport(
        family="toy", release=RELEASE, recommended="toy/s000", model_sha256="ab" * 32, model_size=3 << 20,
        objective="accuracy", n_examples=9, alpha=0.05, delta=0.01,
        accuracy=interval(estimate=0.8, low=0.5, high=0.95), candidates=["toy/s000", "toy/s003"], p_within=0.7,
        detectable=0.3, labels_to_separate=500, reason="Recommended for the highest sample mean on 9 examples.",
        baselines=[
            selection_pb2.Baseline(
                name="family_mean", detail="", accuracy=0.7, gain=interval(estimate=0.1, low=-0.1, high=0.3)
            )
        ],
        scores=[
            selection_pb2.VariantScore(
                variant="toy/s000", accuracy=interval(estimate=0.8, low=0.5, high=0.95), candidate=True,
                held_out_accuracy=0.906,
            ),
            selection_pb2.VariantScore(
                variant="toy/s003", accuracy=interval(estimate=0.7, low=0.4, high=0.9), candidate=True,
                held_out_accuracy=0.906,
            ),
        ],
        class_counts={"Bag": 9}, evaluations=18, seconds=0.1, selections_served=1,
    )  # fmt: skip


@contextmanager
def running(zoo: FakeZoo, *, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Serve ``zoo`` there, by default on a free port of this machine; yields host:port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(zoo, server)
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(zoo, server)
    selection_pb2_grpc.add_SelectionServiceServicer_to_server(zoo, server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        # Not stop(0), which cuts the connections a little later: who waits in a call must not see it answered.
        stopped = server.stop(None)
        zoo.cancelled.set()
        stopped.wait()
