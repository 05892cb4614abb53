"""The real server on port 0 over a real store, spoken to through the generated stubs."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from PIL import Image
from tests.integration import real_server
from tests.support import example_files, png, small_bundle

from seedzoo.catalog.catalog import release_prefix
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.catalog.store import ObjectInfo, ObjectStore
from seedzoo.errors import LocalFailure, RequestError, StoreError, StoreUnsafe
from seedzoo.records import ProgressUpdate, SelectionState
from seedzoo_protos.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    selection_pb2,
    selection_pb2_grpc,
)
from seedzoo_server import runner
from seedzoo_server.storage.keys import queue_key, selection_key
from seedzoo_server.storage.selections import Selections

SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED
FAILED = selection_pb2.SELECTION_STATE_FAILED


@contextmanager
def serving(store: ObjectStore, **settings: Any) -> Iterator[grpc.Channel]:
    """A real server with short leases, and a channel to it."""
    with (
        real_server.serving(store, **{"lease_s": 1.0, **settings}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    opened = LocalStore(tmp_path_factory.mktemp("store"))
    publish(opened, small_bundle(tmp_path_factory.mktemp("made") / "bundle"))
    return opened


@pytest.fixture(scope="module")
def channel(store: ObjectStore) -> Iterator[grpc.Channel]:
    with serving(store, max_item_bytes=200_000, max_dataset_items=5000) as opened:
        yield opened


def classes_of(channel: grpc.Channel) -> list[str]:
    return list(catalog_pb2_grpc.CatalogServiceStub(channel).GetFamily(
        catalog_pb2.GetFamilyRequest(name="mini")).task.classes)  # fmt: skip


def describe(
    channel: grpc.Channel,
    items: list[tuple[bytes, int]],
    *,
    request_id: str | None = None,
    groups: list[int] | None = None,
) -> dataset_pb2.Dataset:
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    dataset = stub.CreateDataset(
        dataset_pb2.CreateDatasetRequest(
            request_id=request_id or uuid.uuid4().hex, classes=classes_of(channel), item_count=len(items)
        )
    )
    for start in range(0, len(items), 1000):
        stub.AppendItems(
            dataset_pb2.AppendItemsRequest(
                dataset_id=dataset.id,
                items=[
                    dataset_pb2.ItemDescriptor(
                        index=start + offset,
                        sha256=hashlib.sha256(raw).digest(),
                        size=len(raw),
                        label=label,
                        group=None if groups is None else groups[start + offset],
                    )
                    for offset, (raw, label) in enumerate(items[start : start + 1000])
                ],
            )
        )
    return stub.GetDataset(dataset_pb2.GetDatasetRequest(dataset_id=dataset.id))


def test_groups_widen_the_intervals(channel: grpc.Channel) -> None:
    """Each image four times, said to be one group: the same answer as each once, not twice as sure."""
    single = examples(channel)
    once = select(channel, upload(channel, single)).report
    # Bytes behind the end of a PNG change the file and not the picture: near duplicates that no digest shows.
    repeated = [(raw + bytes([copy]), label) for raw, label in single for copy in range(4)]
    naive = select(channel, upload(channel, repeated)).report
    dataset = describe(channel, repeated, groups=[index // 4 for index in range(len(repeated))])
    dataset_pb2_grpc.DatasetServiceStub(channel).UploadItems(
        pieces(dataset.id, list(enumerate(raw for raw, _ in repeated)))
    )
    grouped = select(channel, dataset.id).report

    def width(report: selection_pb2.SelectionReport) -> float:
        return report.accuracy.high - report.accuracy.low

    assert grouped.n_groups == len(single)
    assert not naive.HasField("n_groups")
    assert width(naive) < 0.7 * width(once)
    assert width(grouped) == pytest.approx(width(once), rel=0.25)


def pieces(
    dataset_id: str, items: list[tuple[int, bytes]], size: int = 300
) -> Iterator[dataset_pb2.UploadItemsRequest]:
    first = True
    for index, raw in items:
        for start in range(0, max(1, len(raw)), size):
            yield dataset_pb2.UploadItemsRequest(
                dataset_id=dataset_id if first else "", index=index, data=raw[start : start + size]
            )
            first = False


def upload(channel: grpc.Channel, items: list[tuple[bytes, int]]) -> str:
    dataset = describe(channel, items)
    dataset_pb2_grpc.DatasetServiceStub(channel).UploadItems(
        pieces(dataset.id, list(enumerate(raw for raw, _ in items)))
    )
    return dataset.id


def examples(channel: grpc.Channel, per_class: int = 6) -> list[tuple[bytes, int]]:
    names = classes_of(channel)
    return [(path.read_bytes(), names.index(name)) for path, name in example_files(per_class=per_class)]


def select(channel: grpc.Channel, dataset_id: str, **fields: Any) -> selection_pb2.Selection:
    stub = selection_pb2_grpc.SelectionServiceStub(channel)
    started = stub.StartSelection(
        selection_pb2.StartSelectionRequest(
            **{"request_id": uuid.uuid4().hex, "dataset_id": dataset_id, "family": "mini", **fields}
        )
    )
    last = None
    for message in stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=started.id), timeout=60):
        last = message
    assert last is not None
    return last.selection


def fault(caught: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and hint of an error; every error of ours carries them."""
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "seedzoo"
    return caught.value.code(), info.reason, info.metadata["hint"]


def test_catalog_is_served(channel: grpc.Channel) -> None:
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    families = stub.ListFamilies(catalog_pb2.ListFamiliesRequest()).families
    assert [family.name for family in families] == ["mini"]
    assert families[0].variant_count == 4
    assert families[0].certificate.trained == len(families[0].certificate.entries)
    profile = stub.GetProfile(catalog_pb2.GetProfileRequest(family="mini"))
    matrix = np.array(profile.accuracy).reshape(len(profile.tags), len(profile.conditions))
    assert np.isfinite(matrix).all()
    column = [row.condition for row in profile.conditions].index("id")
    assert profile.conditions[column].mean == pytest.approx(matrix[:, column].mean())


def test_variants_are_paged_filtered_and_ordered(channel: grpc.Channel) -> None:
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    first = stub.ListVariants(catalog_pb2.ListVariantsRequest(family="mini", page_size=3))
    assert [variant.tag for variant in first.variants] == ["s000", "s002", "s003"]
    assert first.total_size == 4
    rest = stub.ListVariants(
        catalog_pb2.ListVariantsRequest(family="mini", page_size=3, page_token=first.next_page_token)
    )
    assert len(rest.variants) == 1
    assert rest.next_page_token == ""
    profile = stub.GetProfile(catalog_pb2.GetProfileRequest(family="mini"))
    names = [row.condition for row in profile.conditions]
    matrix = np.array(profile.accuracy).reshape(4, len(names))[:, names.index("contrast-4")]
    ordered = stub.ListVariants(
        catalog_pb2.ListVariantsRequest(family="mini", order_by="accuracy[contrast-4] desc")
    ).variants
    assert [variant.tag for variant in ordered] == [profile.tags[index] for index in np.argsort(-matrix)]
    bound = float(np.sort(matrix)[1])
    kept = stub.ListVariants(
        catalog_pb2.ListVariantsRequest(
            family="mini", filter=f"accuracy[contrast-4] >= {bound!r} AND accuracy[id] > 0.5"
        )
    ).variants
    assert len(kept) == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"family": "nope"}, "FAMILY_UNKNOWN"),
        ({"family": "mini", "filter": "accuracy > 3"}, "REQUEST_INVALID"),
        ({"family": "mini", "filter": "accuracy[pixelate-9] > 0.5"}, "CONDITION_UNKNOWN"),
        ({"family": "mini", "order_by": "speed"}, "REQUEST_INVALID"),
        ({"family": "mini", "page_token": "xyz"}, "REQUEST_INVALID"),
        ({"family": "mini", "page_size": -1}, "REQUEST_INVALID"),
        ({"family": "../../etc"}, "NAME_INVALID"),
    ],
)
def test_bad_listings_get_one_clear_error(channel: grpc.Channel, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        catalog_pb2_grpc.CatalogServiceStub(channel).ListVariants(catalog_pb2.ListVariantsRequest(**fields))
    assert fault(caught)[1] == reason


def test_download_resumes_at_any_offset(channel: grpc.Channel) -> None:
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)

    def download(offset: int) -> tuple[catalog_pb2.DownloadModelResponse.Header, bytes]:
        header, *chunks = stub.DownloadModel(catalog_pb2.DownloadModelRequest(variant="mini/s004", offset=offset))
        return header.header, b"".join(part.chunk for part in chunks)

    header, whole = download(0)
    assert len(whole) == header.size
    assert hashlib.sha256(whole).hexdigest() == header.sha256
    for offset in (1, len(whole) - 1, len(whole)):
        assert download(offset)[1] == whole[offset:]
    with pytest.raises(grpc.RpcError) as caught:
        download(len(whole) + 1)
    assert fault(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_selection_end_to_end(channel: grpc.Channel) -> None:
    items = examples(channel)
    dataset_id = upload(channel, items)
    selection = select(channel, dataset_id)
    assert selection.state == SUCCEEDED
    report = selection.report
    assert report.n_examples == len(items) == 60
    assert report.recommended == report.candidates[0] == report.scores[0].variant
    assert report.accuracy.low <= report.accuracy.estimate <= report.accuracy.high
    assert {baseline.name for baseline in report.baselines} == {"family_mean", "best_held_out", "ensemble"}
    assert report.evaluations == 60 * 4
    assert report.provider == "CPUExecutionProvider"
    assert sum(report.class_counts.values()) == 60
    assert len(report.profile) > 30
    mean = np.mean([score.accuracy.estimate for score in report.scores])
    by_name = {baseline.name: baseline for baseline in report.baselines}
    assert by_name["family_mean"].accuracy == pytest.approx(mean)
    assert by_name["family_mean"].gain.estimate == pytest.approx(report.accuracy.estimate - mean)
    again = select(channel, dataset_id)
    assert again.report.scores == report.scores  # the same data, the same answer
    assert again.report.selections_served == 1  # repeating a question takes nothing from the data
    other = select(channel, dataset_id, delta=0.02)
    assert other.report.selections_served == 2
    listed = selection_pb2_grpc.SelectionServiceStub(channel).ListSelections(selection_pb2.ListSelectionsRequest())
    assert [item.id for item in listed.selections][:3] == [other.id, again.id, selection.id]
    assert not listed.selections[0].HasField("report")


def test_scores_are_those_of_a_plain_script(channel: grpc.Channel, store: ObjectStore) -> None:
    """The whole service against ten lines of onnxruntime."""
    import io

    import onnxruntime

    items = examples(channel)
    report = select(channel, upload(channel, items)).report
    images = np.stack([np.asarray(Image.open(io.BytesIO(raw)))[..., None] for raw, _ in items])
    labels = np.array([label for _, label in items])
    for score in report.scores:
        tag = score.variant.split("/")[1]
        raw = store.get(f"{release_prefix('mini', report.release)}/models/{tag}.onnx")
        logits = onnxruntime.InferenceSession(raw).run(None, {"images": images})[0]
        assert score.accuracy.estimate == pytest.approx((logits.argmax(1) == labels).mean())


def test_colour_and_large_images_are_converted_and_said_so(channel: grpc.Channel) -> None:
    grey = examples(channel, 3)
    colour = np.zeros((56, 40, 3), dtype=np.uint8)
    report = select(channel, upload(channel, [*grey, (png(colour), 0)])).report
    warnings = " | ".join(report.warnings)
    assert "1 of 31 images were converted from colour to grey" in warnings
    assert "1 of 31 images were stretched to 28 x 28 (most were 40 x 56)" in warnings
    assert "only 31 examples" in warnings


def test_one_class_and_single_examples_are_allowed_with_a_warning(channel: grpc.Channel) -> None:
    report = select(channel, upload(channel, examples(channel, 1)[:3])).report
    warnings = " | ".join(report.warnings)
    assert "no examples of" in warnings
    assert "only one example of" in warnings


def test_bad_images_are_all_named_by_index(channel: grpc.Channel) -> None:
    good = examples(channel, 2)
    whole = png(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8))
    bad = [b"", b"no image at all", whole[: len(whole) // 2]]
    items = [*good[:5], (bad[0], 0), *good[5:], (bad[1], 1), (bad[2], 2)]
    selection = select(channel, upload(channel, items))
    assert selection.state == FAILED
    assert selection.error.reason == "ITEMS_INVALID"
    faults = {fault.index: fault.message for fault in selection.error.items}
    assert list(faults) == [5, len(items) - 2, len(items) - 1]
    assert faults[5] == "the file is empty"
    assert "not an image" in faults[len(items) - 2]
    assert "cut off" in faults[len(items) - 1]


def test_image_bomb_is_refused_before_decoding(channel: grpc.Channel) -> None:
    import io

    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, format="PNG")
    assert len(buffer.getvalue()) < 200_000
    selection = select(channel, upload(channel, [*examples(channel, 1), (buffer.getvalue(), 0)]))
    assert selection.error.reason == "ITEMS_INVALID"
    assert "pixels" in selection.error.items[0].message


def test_upload_resumes_and_repeats_without_harm(channel: grpc.Channel) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    items = examples(channel, 2)
    request_id = uuid.uuid4().hex
    dataset = describe(channel, items, request_id=request_id)
    assert describe(channel, items, request_id=request_id).id == dataset.id
    half = list(enumerate(raw for raw, _ in items))[::2]
    assert stub.UploadItems(pieces(dataset.id, half)).stored_count == len(half)

    def broken() -> Iterator[dataset_pb2.UploadItemsRequest]:
        # Part of an item: a stream that breaks after a whole one may leave it stored or not, both are right.
        yield dataset_pb2.UploadItemsRequest(dataset_id=dataset.id, index=1, data=items[1][0][:100])
        raise ConnectionError("the client dies here")

    with pytest.raises((grpc.RpcError, ConnectionError)):
        stub.UploadItems(broken())
    missing = []
    token = ""
    while True:
        page = stub.ListMissing(dataset_pb2.ListMissingRequest(dataset_id=dataset.id, page_size=3, page_token=token))
        missing += page.indices
        token = page.next_page_token
        if not token:
            break
    assert missing == list(range(1, len(items), 2))
    with pytest.raises(grpc.RpcError) as caught:
        select(channel, dataset.id)
    assert fault(caught)[1] == "DATASET_INCOMPLETE"
    stored = stub.UploadItems(pieces(dataset.id, list(enumerate(raw for raw, _ in items))))
    assert stored.stored_count == len(missing)  # what had arrived before is not stored twice
    after = stub.GetDataset(dataset_pb2.GetDatasetRequest(dataset_id=dataset.id))
    assert after.received_count == len(items)
    assert after.received_bytes == sum(len(raw) for raw, _ in items)


def test_uploads_that_differ_from_their_description(channel: grpc.Channel) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    items = examples(channel, 1)
    dataset = describe(channel, items)
    raw = items[0][0]
    for wrong, reason in (
        (raw[:-1] + b"\0", "ITEM_CHANGED"),
        (raw + b"more", "ITEM_CHANGED"),
        (raw[:-1], "ITEM_CUT_OFF"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadItems(pieces(dataset.id, [(0, wrong)]))
        assert fault(caught)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    with pytest.raises(grpc.RpcError) as caught:
        stub.UploadItems(pieces(dataset.id, [(99, raw)]))
    assert "has not been described" in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        stub.UploadItems(iter(()))
    assert fault(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert stub.GetDataset(dataset_pb2.GetDatasetRequest(dataset_id=dataset.id)).received_count == 0


def test_descriptions_that_break_a_rule(channel: grpc.Channel) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    dataset = stub.CreateDataset(
        dataset_pb2.CreateDatasetRequest(request_id=uuid.uuid4().hex, classes=["a", "b"], item_count=3)
    )

    def append(*items: tuple[int, bytes, int, int]) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            stub.AppendItems(
                dataset_pb2.AppendItemsRequest(
                    dataset_id=dataset.id,
                    items=[
                        dataset_pb2.ItemDescriptor(index=index, sha256=sha, size=size, label=label)
                        for index, sha, size, label in items
                    ],
                )
            )
        fault(caught)
        return caught.value.details()

    sha = b"\0" * 32
    assert "consecutive" in append((0, sha, 1, 0), (2, sha, 1, 0))
    assert "between 0 and 2" in append((3, sha, 1, 0))
    assert "32 bytes" in append((0, b"short", 1, 0))
    assert "outside the 2 classes" in append((0, sha, 1, 2))
    assert "more than the 200000" in append((0, sha, 200_001, 0))
    assert "1 to 1000 items" in append()
    item = dataset_pb2.ItemDescriptor(index=0, sha256=sha, size=1, label=0)
    stub.AppendItems(dataset_pb2.AppendItemsRequest(dataset_id=dataset.id, items=[item]))
    stub.AppendItems(dataset_pb2.AppendItemsRequest(dataset_id=dataset.id, items=[item]))
    assert "described differently" in append((0, sha, 2, 0))


def test_request_ids_cannot_be_reused_for_something_else(channel: grpc.Channel) -> None:
    dataset_id = upload(channel, examples(channel, 1))
    stub = selection_pb2_grpc.SelectionServiceStub(channel)
    request = selection_pb2.StartSelectionRequest(request_id=uuid.uuid4().hex, dataset_id=dataset_id, family="mini")
    first = stub.StartSelection(request)
    assert stub.StartSelection(request).id == first.id
    request.delta = 0.02
    with pytest.raises(grpc.RpcError) as caught:
        stub.StartSelection(request)
    assert fault(caught)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    datasets = dataset_pb2_grpc.DatasetServiceStub(channel)
    body = {"request_id": uuid.uuid4().hex, "classes": ["a", "b"]}
    datasets.CreateDataset(dataset_pb2.CreateDatasetRequest(**body, item_count=1))
    with pytest.raises(grpc.RpcError) as caught:
        datasets.CreateDataset(dataset_pb2.CreateDatasetRequest(**body, item_count=2))
    assert fault(caught)[1] == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"family": "nope"}, "FAMILY_UNKNOWN"),
        ({"objective": "magic"}, "REQUEST_INVALID"),
        ({"alpha": 2.0}, "REQUEST_INVALID"),
        ({"delta": float("nan")}, "REQUEST_INVALID"),
        ({"dataset_id": "ds-none"}, "DATASET_UNKNOWN"),
        ({"dataset_id": "../../families"}, "DATASET_UNKNOWN"),
        ({"request_id": ""}, "REQUEST_INVALID"),
        ({"request_id": "x" * 129}, "REQUEST_INVALID"),
    ],
)
def test_bad_selections_get_one_clear_error(channel: grpc.Channel, fields: dict[str, Any], reason: str) -> None:
    dataset_id = upload(channel, examples(channel, 1))
    with pytest.raises(grpc.RpcError) as caught:
        select(channel, **{"dataset_id": dataset_id, **fields})
    assert fault(caught)[1] == reason


def test_other_classes_are_refused(channel: grpc.Channel) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    raw = png(np.zeros((28, 28), dtype=np.uint8))
    dataset = stub.CreateDataset(
        dataset_pb2.CreateDatasetRequest(request_id=uuid.uuid4().hex, classes=["cat", "dog"], item_count=1)
    )
    item = dataset_pb2.ItemDescriptor(index=0, sha256=hashlib.sha256(raw).digest(), size=len(raw), label=1)
    stub.AppendItems(dataset_pb2.AppendItemsRequest(dataset_id=dataset.id, items=[item]))
    stub.UploadItems(pieces(dataset.id, [(0, raw)]))
    with pytest.raises(grpc.RpcError) as caught:
        select(channel, dataset.id)
    assert fault(caught)[1] == "CLASSES_DIFFER"


def test_unlabelled_examples_are_ranked_and_nothing_is_claimed(channel: grpc.Channel) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    raw = png(np.zeros((28, 28), dtype=np.uint8))
    dataset = stub.CreateDataset(
        dataset_pb2.CreateDatasetRequest(request_id=uuid.uuid4().hex, classes=classes_of(channel), item_count=1)
    )
    item = dataset_pb2.ItemDescriptor(index=0, sha256=hashlib.sha256(raw).digest(), size=len(raw))
    stub.AppendItems(dataset_pb2.AppendItemsRequest(dataset_id=dataset.id, items=[item]))
    stub.UploadItems(pieces(dataset.id, [(0, raw)]))
    report = select(channel, dataset.id).report
    assert report.evidence == selection_pb2.EVIDENCE_NO_LABELS
    assert not report.HasField("accuracy")
    assert not report.HasField("p_within")
    assert all(score.HasField("expected_deviation") for score in report.scores)


def test_deleted_dataset_is_gone_with_its_selections(channel: grpc.Channel, store: ObjectStore) -> None:
    dataset_id = upload(channel, examples(channel, 1))
    selection = select(channel, dataset_id)
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id))
    assert not [info.key for info in store.list("tenants") if dataset_id in info.key or selection.id in info.key]
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetDataset(dataset_pb2.GetDatasetRequest(dataset_id=dataset_id))
    assert fault(caught)[1] == "DATASET_UNKNOWN"
    with pytest.raises(grpc.RpcError) as caught:
        selection_pb2_grpc.SelectionServiceStub(channel).GetSelection(
            selection_pb2.GetSelectionRequest(selection_id=selection.id)
        )
    assert fault(caught)[1] == "SELECTION_UNKNOWN"


def test_predictions_that_somebody_kept_while_they_were_deleted_go_too(tmp_path: Path) -> None:
    class Kept(MemoryStore):
        """As if a server kept predictions after the first look of a deletion, and was killed at once."""

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            yield from super().list(prefix)
            if prefix.startswith("tenants/") and prefix.endswith(f"{dataset_id}/"):
                self.put(f"{prefix}predictions/release/{'0' * 64}.npz", b"late")

    store, dataset_id = Kept(), "not yet"
    publish(store, small_bundle(tmp_path / "bundle"))
    with serving(store) as channel:
        uploaded = upload(channel, examples(channel, 1))
        dataset_id = uploaded
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=uploaded))
    dataset_id = "not any more"
    assert not [info.key for info in store.list("tenants") if uploaded in info.key]


def test_damaged_upload_fails_the_selection_and_nothing_else(channel: grpc.Channel, store: ObjectStore) -> None:
    dataset_id = upload(channel, examples(channel, 1))
    (pack,) = [info.key for info in store.list("tenants") if dataset_id in info.key and info.key.endswith(".bin")]
    raw = bytearray(store.get(pack))
    raw[10] ^= 1
    store.put(pack, bytes(raw))
    assert select(channel, dataset_id).error.reason == "ITEM_DAMAGED"
    assert select(channel, upload(channel, examples(channel, 1))).state == SUCCEEDED


def test_tampered_model_fails_the_selection(tmp_path: Path) -> None:
    tampered = MemoryStore()
    release, _ = publish(tampered, small_bundle(tmp_path / "bundle"))
    key = f"{release_prefix('mini', release.id)}/models/s002.onnx"
    raw = bytearray(tampered.get(key))
    raw[1000] ^= 1
    tampered.put(key, bytes(raw))
    with serving(tampered) as opened:
        failed = select(opened, upload(opened, examples(opened, 1)))
        assert failed.error.reason == "INTEGRITY"
        with pytest.raises(grpc.RpcError) as caught:
            list(catalog_pb2_grpc.CatalogServiceStub(opened).DownloadModel(
                catalog_pb2.DownloadModelRequest(variant="mini/s002")))  # fmt: skip
        assert fault(caught)[0] is grpc.StatusCode.DATA_LOSS


def test_health_and_reflection(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "seedzoo.v1.SelectionService"):
        status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
        assert status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([request]))
    names = {service.name for service in answer.list_services_response.service}
    assert {"seedzoo.v1.CatalogService", "seedzoo.v1.DatasetService", "seedzoo.v1.SelectionService"} <= names


def test_restarted_server_takes_up_what_was_left(tmp_path: Path) -> None:
    shared = LocalStore(tmp_path / "store")
    publish(shared, small_bundle(tmp_path / "bundle"))
    with serving(shared) as first:
        dataset_id = upload(first, examples(first, 2))
        done = select(first, dataset_id)
    # What a killed server leaves: a running record and its mark.
    own = ScopedStore(shared, "tenants/default")
    record = Selections(own).get(done.id)
    running = replace(record, state=SelectionState.RUNNING, report=None, ended="", worker="dead")
    own.put(selection_key(done.id), encode_json(running))
    own.put(queue_key(done.id), b"{}")
    with serving(shared) as second:
        stub = selection_pb2_grpc.SelectionServiceStub(second)
        *_, last = stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=done.id), timeout=60)
        assert last.selection.state == SUCCEEDED
        assert last.selection.report.scores == done.report.scores
        assert Selections(own).get(done.id).epoch == record.epoch + 1
        assert not list(shared.list("tenants/default/queue"))


def test_cancelled_selection_stays_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = MemoryStore()
    publish(shared, small_bundle(tmp_path / "bundle"))
    entered, release = threading.Event(), threading.Event()
    original = runner.run_selection

    def held(**arguments: Any) -> Any:
        def wait(progress: ProgressUpdate) -> None:
            entered.set()
            release.wait(30)

        return original(**{**arguments, "on_progress": wait})

    monkeypatch.setattr(runner, "run_selection", held)
    with serving(shared) as opened:
        stub = selection_pb2_grpc.SelectionServiceStub(opened)
        dataset_id = upload(opened, examples(opened, 1))
        started = stub.StartSelection(
            selection_pb2.StartSelectionRequest(request_id="r", dataset_id=dataset_id, family="mini")
        )
        assert entered.wait(30)
        cancelled = stub.CancelSelection(selection_pb2.CancelSelectionRequest(selection_id=started.id))
        release.set()
        assert cancelled.state == selection_pb2.SELECTION_STATE_CANCELLED
        *_, last = stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=started.id), timeout=30)
        assert last.selection.state == selection_pb2.SELECTION_STATE_CANCELLED


def test_selection_outlives_a_store_that_fails_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PAUSES_S", (0.01,) * 4)

    class Flaky(MemoryStore):
        failures = 0

        def read_stream(self, key: str, offset: int = 0, chunk_size: int = 1 << 20) -> Iterator[bytes]:
            if self.failures > 0 and key.endswith(".onnx"):
                self.failures -= 1
                raise StoreError("the store is away")
            return super().read_stream(key, offset, chunk_size)

    flaky = Flaky()
    publish(flaky, small_bundle(tmp_path / "bundle"))
    with serving(flaky) as opened:
        dataset_id = upload(opened, examples(opened, 1))
        flaky.failures = 3
        assert select(opened, dataset_id).state == SUCCEEDED
        assert flaky.failures == 0
        flaky.failures = 1_000_000
        # Other images: of those before, everything is known and no model is needed.
        failed = select(opened, upload(opened, examples(opened, 2)))
        assert (failed.state, failed.error.reason) == (FAILED, "STORE_FAILED")
        assert "the store is away" not in failed.error.message  # the operator's text is not the caller's


def test_result_that_cannot_be_stored_is_not_computed_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PAUSES_S", (0.01,) * 3)
    evaluated: list[int] = []
    original = runner.run_selection
    monkeypatch.setattr(runner, "run_selection", lambda **given: (evaluated.append(1), original(**given))[1])

    class Full(MemoryStore):
        full = True

        def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
            if self.full and b'"succeeded"' in data:
                raise LocalFailure("the disk is full", reason="DISK_FULL")
            return super().put(key, data, if_absent=if_absent, if_match=if_match)

    full = Full()
    publish(full, small_bundle(tmp_path / "bundle"))
    with serving(full) as opened:
        dataset_id = upload(opened, examples(opened, 1))
        with pytest.raises(grpc.RpcError) as caught:
            select(opened, dataset_id)
        assert fault(caught)[0] is grpc.StatusCode.UNAVAILABLE
        assert len(evaluated) == 1
        (waiting,) = [info.key.rpartition("/")[2] for info in full.list("tenants/default/queue")]
    full.full = False
    with serving(full) as opened:  # and a restart takes it up
        stub = selection_pb2_grpc.SelectionServiceStub(opened)
        *_, last = stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=waiting), timeout=60)
        assert last.selection.state == SUCCEEDED


def test_damaged_records_stop_nobody(tmp_path: Path) -> None:
    shared = LocalStore(tmp_path / "store")
    publish(shared, small_bundle(tmp_path / "bundle"))
    publish(shared, small_bundle(tmp_path / "other", name="other"))
    shared.put("families/other/aliases/stable.json", b"garbage")
    broken = "sel-" + "0" * 32
    own = ScopedStore(shared, "tenants/default")
    own.put(selection_key(broken), b"garbage")
    own.put(queue_key(broken), b"{}")
    with serving(shared) as opened:
        listed = catalog_pb2_grpc.CatalogServiceStub(opened).ListFamilies(catalog_pb2.ListFamiliesRequest())
        assert [family.name for family in listed.families] == ["mini"]
        done = select(opened, upload(opened, examples(opened, 1)))
        stub = selection_pb2_grpc.SelectionServiceStub(opened)
        selections = stub.ListSelections(selection_pb2.ListSelectionsRequest()).selections
        assert [item.id for item in selections] == [done.id]


def test_dataset_made_again_is_read_anew_by_other_servers(tmp_path: Path) -> None:
    shared = LocalStore(tmp_path / "store")
    publish(shared, small_bundle(tmp_path / "bundle"))
    with serving(shared) as one, serving(shared) as two:
        items = examples(one, 1)

        def send(channel: grpc.Channel) -> str:
            dataset = describe(channel, items, request_id="the same")
            stub = dataset_pb2_grpc.DatasetServiceStub(channel)
            stub.UploadItems(pieces(dataset.id, list(enumerate(raw for raw, _ in items))))
            return dataset.id

        dataset_id = send(one)
        assert select(two, dataset_id).state == SUCCEEDED
        stub = dataset_pb2_grpc.DatasetServiceStub(one)
        stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id))
        assert send(one) == dataset_id
        assert select(two, dataset_id).state == SUCCEEDED


def test_dataset_deleted_during_an_upload_leaves_nothing(channel: grpc.Channel, store: ObjectStore) -> None:
    items = examples(channel, 1)
    dataset = describe(channel, items)
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    deleted = threading.Event()

    def slowly() -> Iterator[dataset_pb2.UploadItemsRequest]:
        first, *rest = pieces(dataset.id, list(enumerate(raw for raw, _ in items)))
        yield first
        assert deleted.wait(30)
        yield from rest

    call = stub.UploadItems.future(slowly())
    # The call has begun once the server has read the first piece, which it shows by nothing; deleting works either way.
    stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset.id))
    deleted.set()
    with pytest.raises(grpc.RpcError) as caught:
        call.result(timeout=30)
    assert fault(caught)[1] == "DATASET_UNKNOWN"
    assert not [info.key for info in store.list("tenants") if dataset.id in info.key]


def test_copies_do_not_make_the_answer_surer(channel: grpc.Channel) -> None:
    single = examples(channel)
    once = select(channel, upload(channel, single)).report
    copied = select(channel, upload(channel, single * 5)).report
    assert copied.n_groups == len(single)
    assert any("240 of 300 images are copies" in warning for warning in copied.warnings)
    width = copied.accuracy.high - copied.accuracy.low
    assert width == pytest.approx(once.accuracy.high - once.accuracy.low, rel=0.25)
    assert set(copied.candidates) >= {copied.recommended}
    assert len(copied.candidates) == pytest.approx(len(once.candidates), abs=1)


def test_rubbish_gets_invalid_argument(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/seedzoo.v1.CatalogService/GetFamily")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff\xff")
    assert fault(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary("/seedzoo.v1.DatasetService/UploadItems")(iter([b"\xff\xff"]))
    assert fault(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
    token = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    with pytest.raises(grpc.RpcError) as caught:
        catalog_pb2_grpc.CatalogServiceStub(channel).ListFamilies(catalog_pb2.ListFamiliesRequest(page_token=token))
    assert fault(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
    dataset = describe(channel, [(b"abc", 0)])
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    many = [(0, b"abc")] * 50
    assert stub.UploadItems(pieces(dataset.id, many)).stored_count == 1
    with pytest.raises(grpc.RpcError) as caught:
        stub.UploadItems(iter([dataset_pb2.UploadItemsRequest(dataset_id=dataset.id, index=0)]))
    assert "no data" in caught.value.details()


def test_server_refuses_what_is_unsafe(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="refusing to listen"), serving(MemoryStore(), host="0.0.0.0"):
        pass

    class Ignoring(MemoryStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
            return super().put(key, data)

    with pytest.raises(StoreUnsafe), serving(Ignoring()):
        pass


def test_taken_port_is_one_clear_error() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalFailure, match="taken"), serving(MemoryStore(), port=port):
            pass
