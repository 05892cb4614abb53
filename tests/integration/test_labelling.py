"""The label-efficient mode, end to end: the real server on port 0, spoken to by stubs and by the client."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.support import example_files, small_bundle

from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import AlreadyExists, Conflict, NotFound, RequestError
from seedzoo.records import Evidence, SelectionState
from seedzoo.selection.active import ActiveSelector
from seedzoo_client import Client
from seedzoo_client.progress import Progress, Stage
from seedzoo_client.settings import RetryConfig
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc, selection_pb2, selection_pb2_grpc
from seedzoo_server.app import ZooServer
from seedzoo_server.settings import ServerSettings
from seedzoo_server.storage.keys import queue_key, selection_key
from seedzoo_server.storage.labelling import Labellings
from seedzoo_server.storage.selections import Selections

AWAITING = selection_pb2.SELECTION_STATE_AWAITING_LABELS
SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED
PER_CLASS = 8


@contextmanager
def serving(store: ObjectStore, *, port: int = 0) -> Iterator[int]:
    """A real server in a thread of its own; its port."""
    ports: list[int] = []
    ready, stopping = threading.Event(), threading.Event()

    async def run() -> None:
        server = ZooServer(store, ServerSettings(port=port, shutdown_grace_s=0.5))
        try:
            ports.append(await server.start())
        finally:
            ready.set()
        while not stopping.is_set():
            await asyncio.sleep(0.02)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        stopping.set()
        thread.join()


class Caller:
    """Stubs of one server."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(self.channel)
        self.selections = selection_pb2_grpc.SelectionServiceStub(self.channel)

    def start(self, dataset_id: str, *, audit: int = 0, seed: int = 0, **fields: Any) -> selection_pb2.Selection:
        return self.selections.StartSelection(
            selection_pb2.StartSelectionRequest(
                **{"request_id": uuid.uuid4().hex, "dataset_id": dataset_id, "family": "mini", **fields},
                labelling=selection_pb2.Labelling(audit=audit, seed=seed),
            )
        )

    def settled(self, selection_id: str) -> selection_pb2.Selection:
        """The last message of the watch, which must end by itself."""
        *_, last = self.selections.WatchSelection(
            selection_pb2.WatchSelectionRequest(selection_id=selection_id), timeout=60
        )
        return last.selection

    def next(self, selection_id: str) -> selection_pb2.NextItemsResponse:
        return self.selections.NextItems(selection_pb2.NextItemsRequest(selection_id=selection_id))

    def submit(
        self, selection_id: str, *labels: tuple[int, int], finish: bool = False
    ) -> selection_pb2.SubmitLabelsResponse:
        return self.selections.SubmitLabels(
            selection_pb2.SubmitLabelsRequest(
                selection_id=selection_id,
                labels=[selection_pb2.ItemLabel(index=index, label=label) for index, label in labels],
                finish=finish,
            )
        )

    def answer(self, selection_id: str, truth: list[int], count: int) -> list[int]:
        """Answer that many questions; which images they were about."""
        asked = []
        for _ in range(count):
            (item,) = self.next(selection_id).items
            self.submit(selection_id, (item.index, truth[item.index]))
            asked.append(item.index)
        return asked


@pytest.fixture
def caller(port: int) -> Iterator[Caller]:
    found = Caller(port)
    with found.channel:
        yield found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    opened = LocalStore(tmp_path_factory.mktemp("store"))
    publish(opened, small_bundle(tmp_path_factory.mktemp("made") / "bundle", variants=8))
    return opened


@pytest.fixture(scope="module")
def port(store: ObjectStore) -> Iterator[int]:
    with serving(store) as found:
        yield found


def classes(caller: Caller) -> list[str]:
    from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc

    family = catalog_pb2_grpc.CatalogServiceStub(caller.channel).GetFamily(catalog_pb2.GetFamilyRequest(name="mini"))
    return list(family.task.classes)


def upload(caller: Caller, *, labelled: int = 0, copies: int = 0) -> tuple[str, list[int]]:
    """A dataset without labels (but for the first few), the first images once more at its end; the true labels."""
    names = classes(caller)
    examples = [(path.read_bytes(), names.index(name)) for path, name in example_files(per_class=PER_CLASS)]
    examples += examples[:copies]
    dataset = caller.datasets.CreateDataset(
        dataset_pb2.CreateDatasetRequest(request_id=uuid.uuid4().hex, classes=names, item_count=len(examples))
    )
    items = [
        dataset_pb2.ItemDescriptor(
            index=index,
            sha256=hashlib.sha256(raw).digest(),
            size=len(raw),
            label=label if index < labelled else None,
        )
        for index, (raw, label) in enumerate(examples)
    ]
    caller.datasets.AppendItems(dataset_pb2.AppendItemsRequest(dataset_id=dataset.id, items=items))
    caller.datasets.UploadItems(
        dataset_pb2.UploadItemsRequest(dataset_id="" if index else dataset.id, index=index, data=raw)
        for index, (raw, _) in enumerate(examples)
    )
    return dataset.id, [label for _, label in examples]


def fault(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason and fields of the error of a call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    fields = [violation.field for detail in status.details if detail.Unpack(bad) for violation in bad.field_violations]
    return caught.value.code(), info.reason, fields


def test_questions_are_those_of_the_selector_and_labels_make_the_report(caller: Caller, store: ObjectStore) -> None:
    dataset_id, truth = upload(caller)
    started = caller.start(dataset_id, seed=5)
    assert caller.settled(started.id).state == AWAITING
    with Labellings(ScopedStore(store, "tenants/default")).opened(dataset_id, started.id) as session:
        predictions = session.predictions
    assert predictions.shape == (len(truth), 8)
    twin = ActiveSelector(predictions, 10, seed=5)
    for given in range(12):
        answer = caller.next(started.id)
        assert answer.labelled_count == given
        assert answer.disagreement_left
        (item,) = answer.items
        assert item.index == twin.next()
        assert item.probability == twin.sampling[item.index]
        assert caller.next(started.id) == answer  # the same until it is answered
        twin.tell(item.index, truth[item.index])
        assert caller.submit(started.id, (item.index, truth[item.index])).labelled_count == given + 1
    done = caller.submit(started.id, finish=True)
    assert done.selection.state == SUCCEEDED
    report = done.selection.report
    assert report.provider == "CPUExecutionProvider"
    choice = twin.choice(0.05, 0.01)
    tags = {score.variant for score in report.scores}
    assert len(tags) == 8
    assert len(report.candidates) == len(choice.candidates)
    assert report.recommended == report.candidates[0] == report.scores[0].variant
    assert report.evidence == selection_pb2.EVIDENCE_QUERIED_LABELS
    assert (report.n_examples, report.n_unlabelled) == (12, len(truth) - 12)
    assert not report.HasField("accuracy")
    assert not report.HasField("p_within")
    assert not report.HasField("detectable")
    assert not report.baselines
    assert all(not score.HasField("accuracy") for score in report.scores)
    assert sum(report.class_counts.values()) == 12
    assert any("no random sample" in warning for warning in report.warnings)
    assert caller.submit(started.id, finish=True) == done
    assert caller.settled(started.id).report == report
    assert fault(lambda: caller.next(started.id))[1] == "SELECTION_CONCLUDED"
    index = next(index for index in range(len(truth)) if index not in twin.state()["indices"])
    assert fault(lambda: caller.submit(started.id, (index, 0)))[1] == "SELECTION_CONCLUDED"


def test_an_audit_comes_first_and_gives_accuracies(caller: Caller) -> None:
    dataset_id, truth = upload(caller, labelled=3)
    started = caller.start(dataset_id, audit=20)
    caller.settled(started.id)
    sample = caller.next(started.id)
    assert len(sample.items) == 20
    assert all(not item.HasField("probability") for item in sample.items)
    first, *rest = [item.index for item in sample.items]
    caller.submit(started.id, (first, truth[first]))
    assert [item.index for item in caller.next(started.id).items] == rest
    caller.submit(started.id, *((index, truth[index]) for index in reversed(rest)))  # in any order, all at once
    caller.answer(started.id, truth, 2)
    report = caller.submit(started.id, finish=True).selection.report
    right = {score.variant: score.accuracy.estimate for score in report.scores}
    assert report.accuracy.estimate == right[report.recommended]
    assert report.accuracy.low <= report.accuracy.estimate <= report.accuracy.high
    assert all(value * 20 == pytest.approx(round(value * 20)) for value in right.values())  # of 20 images alone
    (baseline,) = report.baselines
    assert baseline.name == "family_mean"
    assert baseline.accuracy == pytest.approx(np.mean(list(right.values())))
    assert report.n_examples == 22
    assert any("3 of 80 examples came with labels; they were not used" in warning for warning in report.warnings)


def test_an_audit_with_copies_is_warned_of(caller: Caller) -> None:
    dataset_id, truth = upload(caller, copies=4)
    started = caller.start(dataset_id, audit=2)
    caller.settled(started.id)
    sample = caller.next(started.id).items
    done = caller.submit(started.id, *((item.index, truth[item.index]) for item in sample), finish=True)
    assert any(
        "4 of 84 images are copies of others; the intervals of the random sample" in warning
        for warning in done.selection.report.warnings
    )


def test_an_unfinished_audit_states_no_accuracy(caller: Caller) -> None:
    dataset_id, truth = upload(caller)
    started = caller.start(dataset_id, audit=5)
    caller.settled(started.id)
    index = caller.next(started.id).items[0].index
    report = caller.submit(started.id, (index, truth[index]), finish=True).selection.report
    assert not report.HasField("accuracy")
    assert any("4 of the 5 examples of the random sample" in warning for warning in report.warnings)


def test_wrong_answers_get_one_clear_error_and_change_nothing(caller: Caller) -> None:
    dataset_id, truth = upload(caller)
    started = caller.start(dataset_id)
    caller.settled(started.id)
    (done,) = caller.answer(started.id, truth, 1)
    (item,) = caller.next(started.id).items
    other = next(index for index in range(len(truth)) if index not in (done, item.index))
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for labels, expected in (
        ([(other, 0)], (invalid, "ITEM_NOT_ASKED", ["labels"])),
        ([(item.index, truth[item.index]), (other, 0)], (invalid, "ITEM_NOT_ASKED", ["labels"])),
        ([(len(truth), 0)], (invalid, "REQUEST_INVALID", ["labels.index"])),
        ([(-1, 0)], (invalid, "REQUEST_INVALID", ["labels.index"])),
        ([(item.index, 10)], (invalid, "REQUEST_INVALID", ["labels.label"])),
        ([(item.index, -1)], (invalid, "REQUEST_INVALID", ["labels.label"])),
        ([(done, truth[done] ^ 1)], (grpc.StatusCode.ALREADY_EXISTS, "LABEL_DIFFERS", ["labels"])),
        ([(item.index, 1), (item.index, 2)], (grpc.StatusCode.ALREADY_EXISTS, "LABEL_DIFFERS", ["labels"])),
        ([(done, truth[done])] * 1001, (invalid, "REQUEST_INVALID", ["labels"])),
    ):
        assert fault(lambda labels=labels: caller.submit(started.id, *labels)) == expected
    answer = caller.next(started.id)
    assert (answer.labelled_count, answer.items[0].index) == (1, item.index)
    assert caller.submit(started.id, (done, truth[done])).labelled_count == 1  # the same again is fine


def test_selections_that_do_not_ask(caller: Caller) -> None:
    dataset_id, _ = upload(caller)
    assert fault(lambda: caller.next("sel-none"))[1] == "SELECTION_UNKNOWN"
    plain = caller.selections.StartSelection(
        selection_pb2.StartSelectionRequest(request_id=uuid.uuid4().hex, dataset_id=dataset_id, family="mini")
    )
    assert fault(lambda: caller.next(plain.id))[1] == "NOT_LABELLING"
    assert fault(lambda: caller.submit(plain.id, finish=True))[1] == "NOT_LABELLING"
    started = caller.start(dataset_id)
    caller.settled(started.id)
    cancelled = caller.selections.CancelSelection(selection_pb2.CancelSelectionRequest(selection_id=started.id))
    assert cancelled.state == selection_pb2.SELECTION_STATE_CANCELLED
    assert fault(lambda: caller.next(started.id))[1] == "SELECTION_ENDED"
    assert fault(lambda: caller.submit(started.id, finish=True))[1] == "SELECTION_ENDED"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"audit": 81}, "labelling.audit"),
        ({"audit": -1}, "labelling.audit"),
        ({"seed": -1}, "labelling.seed"),
        ({"objective": "macro_f1"}, "objective"),
        ({"requirements": ["accuracy[class=bag] >= .5"]}, "requirements"),
        ({"class_proportions": [0.1] * 10}, "class_proportions"),
        ({"evaluation": selection_pb2.EVALUATION_RACE}, "evaluation"),
    ],
)
def test_what_labelling_cannot_do_is_refused(caller: Caller, fields: dict[str, Any], field: str) -> None:
    dataset_id, _ = upload(caller)
    assert fault(lambda: caller.start(dataset_id, **fields)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_INVALID",
        [field],
    )


def test_bad_images_fail_it_by_name(caller: Caller) -> None:
    raw = b"no image"
    dataset = caller.datasets.CreateDataset(
        dataset_pb2.CreateDatasetRequest(request_id=uuid.uuid4().hex, classes=classes(caller), item_count=1)
    )
    item = dataset_pb2.ItemDescriptor(index=0, sha256=hashlib.sha256(raw).digest(), size=len(raw))
    caller.datasets.AppendItems(dataset_pb2.AppendItemsRequest(dataset_id=dataset.id, items=[item]))
    caller.datasets.UploadItems(iter([dataset_pb2.UploadItemsRequest(dataset_id=dataset.id, index=0, data=raw)]))
    failed = caller.settled(caller.start(dataset.id).id)
    assert failed.error.reason == "ITEMS_INVALID"
    assert [found.index for found in failed.error.items] == [0]


def test_servers_may_stop_and_share(tmp_path: Path) -> None:
    """A restart after every label, or two servers in turn: the same questions and report as in one go."""
    shared = MemoryStore()
    publish(shared, small_bundle(tmp_path / "bundle", variants=8))
    with serving(shared) as first, serving(shared) as second:
        one, two = Caller(first), Caller(second)
        with one.channel, two.channel:
            dataset_id, truth = upload(one)
            straight, turns = (one.start(dataset_id, seed=1).id for _ in range(2))
            for selection in (straight, turns):
                one.settled(selection)
            expected = one.answer(straight, truth, 8)
            in_turn = [index for turn in range(4) for index in (one, two)[turn % 2].answer(turns, truth, 1)]
            assert in_turn == expected[:4]
    for number in range(4, 8):
        with serving(shared) as again:
            caller = Caller(again)
            with caller.channel:
                (item,) = caller.next(turns).items
                assert item.index == expected[number]
                caller.submit(turns, (item.index, truth[item.index]))
                assert not list(shared.list("tenants/default/queue"))
    with serving(shared) as last:
        caller = Caller(last)
        with caller.channel:
            report = caller.submit(turns, finish=True).selection.report
            whole = caller.submit(straight, finish=True).selection.report
            assert report.scores == whole.scores
            assert report.candidates == whole.candidates


def test_two_answers_at_once_are_one(caller: Caller) -> None:
    dataset_id, truth = upload(caller)
    started = caller.start(dataset_id, audit=30)
    caller.settled(started.id)
    sample = [item.index for item in caller.next(started.id).items]
    failures: list[BaseException] = []

    def give(indices: list[int]) -> None:
        try:
            for index in indices:
                caller.submit(started.id, (index, truth[index]))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=give, args=(part,)) for part in (sample[:20], sample[10:], sample[::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert caller.next(started.id).labelled_count == 30


def test_what_a_killed_server_leaves(tmp_path: Path) -> None:
    shared = LocalStore(tmp_path / "store")
    publish(shared, small_bundle(tmp_path / "bundle"))
    with serving(shared) as port:
        caller = Caller(port)
        with caller.channel:
            dataset_id, truth = upload(caller)
            selection_id = caller.start(dataset_id).id
            caller.settled(selection_id)
            asked = caller.answer(selection_id, truth, 1)
    records = Selections(ScopedStore(shared, "tenants/default"))
    # Killed after the state was changed and before its mark was removed: nothing is evaluated again.
    shared.put(queue_key(selection_id), b"{}")
    assert records.unfinished() == []
    assert not list(shared.list("tenants/default/queue"))
    # Killed after everything was stored and before the state was changed: the labels there are stay.
    running = replace(records.get(selection_id), state=SelectionState.RUNNING)
    shared.put(selection_key(selection_id), encode_json(running))
    shared.put(queue_key(selection_id), b"{}")
    with serving(shared) as port:
        caller = Caller(port)
        with caller.channel:
            assert caller.settled(selection_id).state == AWAITING
            assert caller.next(selection_id).labelled_count == 1
            assert caller.submit(selection_id, (asked[0], truth[asked[0]])).labelled_count == 1
    # Killed after the labels were closed and before the report was stored: finishing again makes it.
    sessions = Labellings(ScopedStore(shared, "tenants/default"))
    with sessions.opened(dataset_id, selection_id) as session:
        sessions.save(session, closed=True)
    with serving(shared) as port:
        caller = Caller(port)
        with caller.channel:
            assert fault(lambda: caller.next(selection_id))[1] == "SELECTION_CONCLUDED"
            assert caller.submit(selection_id, finish=True).selection.state == SUCCEEDED


def test_a_deleted_dataset_takes_the_labels_along(caller: Caller, store: ObjectStore) -> None:
    dataset_id, truth = upload(caller)
    started = caller.start(dataset_id)
    caller.settled(started.id)
    caller.answer(started.id, truth, 2)
    sessions = Labellings(ScopedStore(store, "tenants/default"))
    with sessions.opened(dataset_id, started.id) as session:
        caller.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id))
        assert not [info.key for info in store.list("tenants") if started.id in info.key or dataset_id in info.key]
        with pytest.raises(Conflict):  # a label that was on its way
            sessions.save(session)
    with pytest.raises(NotFound):  # an evaluation that was under way
        sessions.create(
            dataset_id,
            started.id,
            predictions=session.predictions,
            n_classes=10,
            audit=0,
            seed=0,
            seconds=0.0,
            warnings=(),
        )
    assert not [info.key for info in store.list("tenants") if started.id in info.key]
    assert fault(lambda: caller.next(started.id))[1] == "SELECTION_UNKNOWN"
    assert fault(lambda: caller.submit(started.id, finish=True))[1] == "SELECTION_UNKNOWN"


def test_predictions_that_changed_are_not_used(caller: Caller, store: ObjectStore) -> None:
    dataset_id, _ = upload(caller)
    started = caller.start(dataset_id)
    caller.settled(started.id)
    key = f"tenants/default/datasets/{dataset_id}/labelling/{started.id}.npz"
    raw = bytearray(store.get(key))
    raw[-40] ^= 1
    store.put(key, bytes(raw))
    code, reason, _ = fault(lambda: caller.next(started.id))
    assert (code, reason) == (grpc.StatusCode.DATA_LOSS, "LABELLING_DAMAGED")


def folder_of_images(folder: Path, count: int = PER_CLASS) -> dict[str, str]:
    """A folder of images without labels, like no other on the server; the class of each file."""
    folder.mkdir()
    salt = uuid.uuid4().bytes  # bytes behind the end of a PNG change the file and not the picture
    truth = {}
    for path, name in example_files(per_class=count):
        target = folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:8]}.png"
        target.write_bytes(path.read_bytes() + salt)
        truth[target.name] = name
    return truth


def test_the_client_asks_answers_and_resumes(port: int, tmp_path: Path) -> None:
    truth = folder_of_images(tmp_path / "images")
    retry = RetryConfig(initial_seconds=0.01, maximum_seconds=0.05, total_seconds=5.0)
    with Client(f"127.0.0.1:{port}", home=tmp_path / "home", offline=False, retry=retry) as client:
        session = client.label(tmp_path / "images", budget=12, audit=5)
        assert len(session.next()) == 5
        seen = []
        while questions := session.next():
            seen += [question.path.name for question in questions]
            session.submit({question.index: truth[question.path.name] for question in questions})
            if session.labelled >= 7:
                break
        again = client.label(tmp_path / "images", budget=12, audit=5)
        assert again.selection_id == session.selection_id
        (question,) = again.next()
        assert question.path.name not in seen
        assert question.probability is not None
        label = truth[question.path.name]
        assert again.knows(question.index, label)
        wrong = next(name for name in again.dataset.classes if name != label)
        with pytest.raises(AlreadyExists) as differs:
            again.submit({question.index: wrong})
        assert differs.value.reason == "LABEL_DIFFERS"
        with pytest.raises(RequestError, match="is no class"):
            again.submit({question.index: "submarine"})
        while questions := again.next():
            again.submit({found.index: truth[found.path.name] for found in questions})
        report = again.finish()
        assert report == again.finish()
        assert report.evidence is Evidence.QUERIED_LABELS
        assert report.n_examples == again.labelled <= 12
        assert report.accuracy is not None
        concluded = client.label(tmp_path / "images", budget=12, audit=5)
        assert concluded.report == report
        assert concluded.next() == ()
        larger = client.label(tmp_path / "images", budget=20, audit=5)
        assert larger.selection_id != session.selection_id
        assert {found.path.name for found in larger.next()} == set(seen[:5])


def test_the_client_waits_for_a_server_that_restarts(tmp_path: Path) -> None:
    shared = MemoryStore()
    publish(shared, small_bundle(tmp_path / "bundle"))
    truth = folder_of_images(tmp_path / "images", 3)
    missed, done = threading.Event(), threading.Event()
    stages = []

    def told(progress: Progress) -> None:
        stages.append(progress.stage)
        missed.set()

    def restart(port: int) -> None:
        missed.wait(60)
        with serving(shared, port=port):
            done.wait(60)

    retry = RetryConfig(initial_seconds=0.01, maximum_seconds=0.1, total_seconds=60.0)
    with serving(shared) as port:
        client = Client(f"127.0.0.1:{port}", home=tmp_path / "home", offline=False, retry=retry)
        session = client.label(tmp_path / "images", budget=5)
        (question,) = session.next()
    thread = threading.Thread(target=restart, args=(port,))
    thread.start()
    try:
        assert session.submit({question.index: truth[question.path.name]}, progress=told) == 1
        assert stages[0] is Stage.RECONNECTING
        assert session.next()[0].index != question.index
    finally:
        missed.set()
        done.set()
        thread.join()
        client.close()


def test_the_client_refuses_impossible_numbers(port: int, tmp_path: Path) -> None:
    with Client(f"127.0.0.1:{port}", home=tmp_path, offline=False) as client:
        for numbers in ({"budget": 0}, {"budget": 5, "audit": 6}, {"budget": 5, "seed": -1}, {"budget": 5, "alpha": 2}):
            with pytest.raises(RequestError):
                client.label(tmp_path, **numbers)


def test_a_failed_evaluation_can_be_tried_again(port: int, tmp_path: Path) -> None:
    images = tmp_path / "images"
    folder_of_images(images, 2)
    (images / "broken.png").write_bytes(b"\x89PNG\r\n but no more")
    with Client(f"127.0.0.1:{port}", home=tmp_path / "home", offline=False) as client:
        for _ in range(2):
            with pytest.raises(Exception, match=r"broken\.png"):
                client.label(images, budget=3)
        (images / "broken.png").unlink()
        assert len(client.label(images, budget=3).next()) == 1
