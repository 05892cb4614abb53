"""What must hold in the store and in the servers' folders when a soak test is over."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tests.e2e.soak_report import DONE
from tests.integration.real_server import serving
from tests.support import Engine, MemoryExamples

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.garbage import store_now
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.store import ObjectStore
from seedzoo.engine import SelectionSettings
from seedzoo.errors import NotFound
from seedzoo.records import SelectionReport, SelectionState
from seedzoo_client import Client
from seedzoo_server.storage.keys import DATASETS, QUEUE, SELECTIONS, dataset_prefix
from seedzoo_server.storage.selections import SelectionRecord
from seedzoo_server.sweeper import Sweeper
from seedzoo_server.tenants import Tenants

if TYPE_CHECKING:
    from tests.e2e.soak import Asked, Ledger, Recipe
    from tests.e2e.soak_faults import Server

BUDGET, AUDIT = 5, 2
"""Of every labelling."""


class Checks:
    """Looks at what is there, and writes what is wrong into the ledger.

    Args:
        store: The whole store.
        ledger: What the clients did.
        answer_all: Answers a labelling session.
        pairs: Paths and labels of a recipe.
        bundle: What was published.
    """

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        *,
        answer_all: Callable[..., SelectionReport | None],
        pairs: Callable[[Recipe], list[tuple[Path, str]]],
        bundle: Path,
    ) -> None:
        self._store, self._ledger = store, ledger
        self._answer_all, self._pairs, self._bundle = answer_all, pairs, bundle
        self._tenants = Tenants(store, max_items=1_000_000, max_item_bytes=1 << 25)
        self._tenant = self._tenants.of("default")

    def _names(self, folder: str) -> list[str]:
        return [info.key.rpartition("/")[2] for info in self._tenant.store.list(folder)]

    def _wrong(self, text: str) -> None:
        self._ledger.problem(text)

    def settle(self, seconds: float) -> None:
        """Wait until every mark of the queue that has a record is gone."""
        began = time.monotonic()
        while self._waiting() and time.monotonic() - began < seconds:
            time.sleep(0.2)
        self._ledger.counts["seconds to settle"] = round(time.monotonic() - began)

    def _waiting(self) -> list[str]:
        """Marks with a record; one without stands for a call that died, and is swept after an hour."""
        records = {name.removesuffix(".json") for name in self._names(SELECTIONS)}
        return [name for name in self._names(QUEUE) if name in records]

    def look(self) -> None:
        """Check selections, results, the queue and datasets."""
        for name in self._waiting():
            self._wrong(f"a queue mark is left: {name}")
        selections = self._tenant.selections
        records = {record.id: selections.get(record.id) for record in selections.listed()}
        self._check_selections(records)
        self._check_results(records.values())
        self._check_datasets(records)
        self._ledger.counts["queue marks without record"] = len(set(self._names(QUEUE)) - records.keys())

    def _check_selections(self, records: dict[str, SelectionRecord]) -> None:
        ledger = self._ledger
        lost = 0
        for selection_id in ledger.asked.keys() | records.keys():
            record, asked = records.get(selection_id), ledger.asked.get(selection_id)
            dataset = asked.dataset_id if asked is not None else record.request.dataset_id if record else ""
            gone = dataset in ledger.touched
            if record is None:
                if not gone:
                    lost += 1
                    self._wrong(f"{selection_id} is gone, and nobody deleted {dataset}")
                continue
            if dataset in ledger.deleted:
                self._wrong(f"{selection_id} ({record.state.value}) has outlived its dataset")
            elif not record.rests:
                lost += 1
                self._wrong(f"{selection_id} is {record.state.value} (epoch {record.epoch}, beat {record.beat})")
            elif record.state is SelectionState.FAILED and not gone:
                lost += 1
                failure = record.failure
                self._wrong(f"{selection_id} failed: {failure.reason if failure else ''} {failure and failure.message}")
            if selection_id in ledger.succeeded and record.state is not SelectionState.SUCCEEDED:
                self._wrong(f"{selection_id} was answered and is {record.state.value}")
            if selection_id in ledger.cancelled and record.state is not SelectionState.CANCELLED:
                self._wrong(f"{selection_id} was cancelled and is {record.state.value}")
        states = Counter(record.state.value for record in records.values())
        ledger.counts.update({f"records {state}": count for state, count in states.items()})
        ledger.counts["lost"] = lost
        gone_with = sum(asked.dataset_id in ledger.touched for key, asked in ledger.asked.items() if key not in records)
        ledger.counts.update(
            {
                "selections asked": len(ledger.asked),
                DONE: states[SelectionState.SUCCEEDED.value],
                "selections cancelled": states[SelectionState.CANCELLED.value],
                "selections deleted": gone_with,
                "selections left open": states[SelectionState.AWAITING_LABELS.value],
            }
        )
        ledger.counts["taken over (epoch > 1)"] = sum(record.epoch > 1 for record in records.values())

    def _check_results(self, records: Iterable[SelectionRecord]) -> None:
        reference = _Reference(self)
        compared = wrong = 0
        with ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory())
            port = stack.enter_context(serving(reference.store))
            zoo = stack.enter_context(Client(f"127.0.0.1:{port}", home=home, offline=False))
            for record in records:
                asked = self._ledger.asked.get(record.id)
                if record.report is None or asked is None:
                    continue
                compared += 1
                if _essence(record.report) != reference.essence(asked, zoo):
                    wrong += 1
                    self._wrong(f"{record.id} has another result than without faults: {asked}")
        self._ledger.counts["results compared"] = compared
        self._ledger.counts["wrong results"] = wrong

    def _check_datasets(self, records: dict[str, SelectionRecord]) -> None:
        store, ledger = self._tenant.store, self._ledger
        keys: dict[str, list[str]] = {}
        for info in store.list(DATASETS):
            keys.setdefault(info.key.split("/")[1], []).append(info.key)
        for dataset_id in ledger.deleted & keys.keys():
            self._wrong(f"{dataset_id} was deleted and has left {keys[dataset_id]}")
        for dataset_id in ledger.uploaded - ledger.touched:
            if dataset_id not in keys or not self._tenant.datasets.state(dataset_id).complete:
                self._wrong(f"{dataset_id} was uploaded and is not complete")
        complete = half = remains = 0
        for dataset_id, found in keys.items():
            if f"{dataset_prefix(dataset_id)}/dataset.json" not in found:
                remains += 1
                if dataset_id not in ledger.touched:
                    self._wrong(f"{dataset_id} has no record, and nobody deleted it: {found}")
                continue
            state = self._tenant.datasets.state(dataset_id)
            for index in [key for key in found if "/packs/" in key and key.endswith(".json")]:
                if index.removesuffix(".json") + ".bin" not in found:
                    self._wrong(f"{index} has no bytes")
            if state.complete:
                complete += 1
                half += not self._whole(dataset_id)
        ledger.counts.update({"datasets complete": complete, "datasets half visible": half})
        ledger.counts["remains of broken deletions"] = remains

    def _whole(self, dataset_id: str) -> bool:
        state = self._tenant.datasets.state(dataset_id)
        rows = sorted(state.items)
        try:
            contents = self._tenant.datasets.examples(state).read(rows)
        except NotFound as error:
            self._wrong(f"{dataset_id} is listed as complete: {error.message}")
            return False
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        if digests != [state.items[row].sha256 for row in rows]:
            self._wrong(f"{dataset_id} has other bytes than were described")
            return False
        return True

    def sweep(self) -> None:
        """Two days later nothing may be left of what broke off."""
        now = store_now(self._store) + timedelta(days=2)
        swept = Sweeper(self._tenants, self._store, dataset_days=0, clock=lambda: now).sweep()
        if swept.failures:
            self._wrong(f"the sweep failed {swept.failures} times")
        for name in self._names(QUEUE):
            self._wrong(f"a queue mark is left after a sweep: {name}")
        found = {info.key.split("/")[1]: info.key for info in self._tenant.store.list(DATASETS)}
        for dataset_id, key in found.items():
            if not self._tenant.store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):
                self._wrong(f"left after a sweep: {key}")

    def look_at_folders(self, servers: Iterable[Server]) -> None:
        """Nothing but logs in the servers' folders, and no traceback in the logs."""
        self._ledger.counts["temporary files left"] = 0
        for server in servers:
            for path in server.folder.rglob("*"):
                # Of onnxruntime's telemetry, one for all starts; ORT_DISABLE_TELEMETRY=1 prevents it.
                expected = path == server.log or path.name.startswith("start-")
                if path.is_file() and not expected:
                    self._ledger.counts["temporary files left"] += 1
                    self._wrong(f"{server.name} has left {path}")
            lines = server.log.read_text(errors="replace").splitlines()
            for number, line in enumerate(lines):
                if line.startswith("Traceback"):
                    ends = [later for later in lines[number + 1 :] if later and not later.startswith(" ")]
                    before = lines[number - 1] if number else ""
                    self._wrong(f"{server.log} line {number + 1}: {before} ... {ends[0] if ends else ''}")


class _Reference:
    """The same questions without faults: the engine, and for labelling a server of its own."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._engine = Engine(open_bundle(checks._bundle))
        self._known: dict[tuple[Any, ...], Any] = {}
        self.store = MemoryStore()
        publish(self.store, checks._bundle)

    def essence(self, asked: Asked, zoo: Client) -> Any:
        key = (asked.recipe, asked.objective, asked.requirements, asked.labelling_seed)
        if key not in self._known:
            report = self._selected(asked) if asked.labelling_seed is None else self._labelled(asked, zoo)
            self._known[key] = _essence(report)
        return self._known[key]

    def _selected(self, asked: Asked) -> SelectionReport:
        data = self._checks._pairs(asked.recipe)
        classes = self._engine.family.task.classes
        labels = np.array([classes.index(name) for _, name in data])
        slices = {f"class={name}": labels == number for number, name in enumerate(classes)}
        examples = MemoryExamples([path.read_bytes() for path, _ in data], labels, slices=slices)
        settings = SelectionSettings(objective=asked.objective, requirements=asked.requirements)
        return self._engine.select(examples, settings)

    def _labelled(self, asked: Asked, zoo: Client) -> SelectionReport:
        assert asked.labelling_seed is not None
        data = [(path, None) for path, _ in self._checks._pairs(asked.recipe)]
        session = zoo.label(data, budget=BUDGET, audit=AUDIT, seed=asked.labelling_seed, family="mini")
        report = self._checks._answer_all(session, asked.recipe, finish=True)
        assert report is not None
        return report


def _essence(report: SelectionReport) -> tuple[Any, ...]:
    """What must not depend on faults."""
    scores = [
        (each.variant, *(None if value is None else round(value.estimate, 9) for value in (each.accuracy, each.value)))
        for each in report.scores
    ]
    return report.recommended, report.candidates, report.n_examples, report.requirement_status, scores
