"""A soak test: several real servers on one SeaweedFS, simulated clients, and faults at random.

    OMP_NUM_THREADS=1 python -m tests.e2e.soak --seconds 360 --store-faults --docs docs/operations.md --out soak.json

Servers are killed and restarted (and stopped politely), with ``--store-faults`` the store too. Clients upload, select,
cancel, label and delete through the client library, each call through the next server; meanwhile somebody publishes
and is killed. When all is over and has settled, nothing may be lost, wrong, half there or left behind;
:mod:`tests.e2e.soak_checks` looks. The exit code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import grpc
from bench.docs import replace_between
from tests.e2e.soak_checks import AUDIT, BUDGET, Checks
from tests.e2e.soak_faults import GAVE_UP, Chaos, Server
from tests.e2e.soak_publishing import PUBLISHES_KILLED, Publisher
from tests.e2e.soak_report import SLOWEST, markdown, shown, write_json
from tests.support import example_files, small_bundle

from seedzoo.catalog.publish import publish
from seedzoo.errors import Cancelled, NotFound, StoreError, Unavailable
from seedzoo.records import SelectionReport
from seedzoo_client import Client, Progress, RetryConfig, Stage, UploadedDataset
from seedzoo_client.channel import open_channel, parse_address
from seedzoo_protos.v1 import selection_pb2, selection_pb2_grpc
from seedzoo_server.embedded_s3 import EmbeddedS3
from seedzoo_server.storage.keys import derived_id
from seedzoo_server.weed_process import pick_ports

T = TypeVar("T")

PATIENCE_S = 90.0
SETTLE_S = 90.0
QUESTIONS = (("accuracy", ()), ("macro_f1", ()), ("accuracy", ("accuracy[class=bag] >= .5",)))
FATES = {"wait": 50, "cancel": 12, "walk away": 8, "delete while it runs": 10, "label": 20}
"""What a client does with a selection, and how often."""
GONE = frozenset({"DATASET_UNKNOWN", "SELECTION_UNKNOWN", "DATASET_INCOMPLETE"})

Recipe = tuple[int, ...]
"""Which of the example images a dataset has, in order."""


@dataclass(frozen=True)
class Asked:
    """A selection that a client started."""

    recipe: Recipe
    dataset_id: str
    objective: str = "accuracy"
    requirements: tuple[str, ...] = ()
    labelling_seed: int | None = None


@dataclass
class Ledger:
    """What the clients did and were told; the lock is for everything."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: dict[str, Asked] = field(default_factory=dict)
    succeeded: set[str] = field(default_factory=set)
    """Selections whose report a client got."""
    cancelled: set[str] = field(default_factory=set)
    """Selections that a server said are cancelled."""
    uploaded: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    """Datasets whose deletion was answered; nobody uploads them again."""
    touched: set[str] = field(default_factory=set)
    """Datasets that somebody tried to delete."""
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    """The longest that a client waited for the answer to a question, its own repetitions included."""

    def add(self, kind: str) -> None:
        with self.lock:
            self.counts[kind] += 1

    def problem(self, text: str) -> None:
        with self.lock:
            self.problems.append(text)


class _WalkedAway(Exception):
    """What a client raises to leave a selection alone."""


class Person:
    """A simulated client: repeats a turn until it is told to stop."""

    def __init__(self, number: int, targets: list[str], ledger: Ledger, *, seed: int, shared: list[Recipe]) -> None:
        self._number, self._ledger, self._shared, self._seed = number, ledger, shared, seed
        self._random = random.Random(f"client {number} {seed}")
        retry = RetryConfig(total_seconds=30.0, initial_seconds=0.1, maximum_seconds=1.0)
        clients = [Client(target, offline=False, timeout=20.0, retry=retry) for target in targets]
        self._clients = itertools.cycle(clients[number % len(clients) :] + clients[: number % len(clients)])
        self._open = clients
        self._requests = itertools.count()

    def run(self, stopping: threading.Event) -> None:
        try:
            while not stopping.is_set():
                self._turn()
        except Exception as error:  # noqa: BLE001  (whatever a client meets belongs in the table)
            self._ledger.problem(f"client {self._number} met {type(error).__name__}: {error}")
        finally:
            for client in self._open:
                client.close()

    def _patiently(self, action: Callable[[Client], T]) -> T:
        """Do something through the next server, or the one after it, as a user repeats a command."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return action(next(self._clients))
            except (Unavailable, StoreError):
                self._ledger.add("calls that clients made again")
                if time.monotonic() > deadline:
                    raise
                time.sleep(self._random.uniform(0.1, 0.5))

    def _turn(self) -> None:
        mine = self._random.random() < 0.6
        recipe = draw_recipe(self._random) if mine else self._random.choice(self._shared)
        (fate,) = self._random.choices(list(FATES), weights=list(FATES.values()))
        if fate == "label":
            dataset_id = self._label(recipe)
        else:
            if not mine and fate.startswith("delete"):
                fate = "wait"
            dataset = self._patiently(lambda zoo: zoo.upload(pairs(recipe), family="mini"))
            dataset_id = dataset.id
            with self._ledger.lock:
                self._ledger.uploaded.add(dataset_id)
            for objective, requirements in self._random.sample(QUESTIONS, self._random.choice((1, 1, 2))):
                if not self._select(dataset, Asked(recipe, dataset_id, objective, requirements), fate):
                    return
        if mine and self._random.random() < 0.4:
            self._delete(dataset_id)

    def _select(self, dataset: UploadedDataset, asked: Asked, fate: str) -> bool:
        """Ask a question; False where the dataset is gone after it."""
        request_id = f"soak-{self._seed}-{self._number}-{next(self._requests)}"
        selection_id = derived_id("sel", request_id)
        interfered = False

        def interfere(progress: Progress) -> None:
            nonlocal interfered
            # While the client cannot reach the server, the selection may not have started.
            if interfered or fate == "wait" or progress.stage is Stage.RECONNECTING:
                return
            interfered = True
            if fate == "cancel":
                self._cancel(selection_id)
            elif fate == "delete while it runs":
                self._delete(dataset.id)
            else:
                raise _WalkedAway

        with self._ledger.lock:
            self._ledger.asked[selection_id] = asked
        began = time.monotonic()
        try:
            self._patiently(
                lambda zoo: zoo.select(
                    dataset, objective=asked.objective, requirements=asked.requirements, request_id=request_id,
                    progress=interfere,
                )
            )  # fmt: skip
        except _WalkedAway:
            self._ledger.add("walked away")
        except Cancelled:
            if not interfered:
                self._ledger.problem(f"{selection_id} was cancelled by nobody")
            self._ledger.add("cancelled")
        except NotFound as error:
            if not (interfered and fate == "delete while it runs" and error.reason in GONE):
                self._ledger.problem(f"{selection_id} ({fate}): {error.reason} {error.message}")
        else:
            with self._ledger.lock:
                self._ledger.succeeded.add(selection_id)
                self._ledger.slowest_s = max(self._ledger.slowest_s, time.monotonic() - began)
            self._ledger.add("selections answered")
        return not (fate == "delete while it runs" and interfered)

    def _cancel(self, selection_id: str) -> None:
        def cancel(zoo: Client) -> None:
            with open_channel(parse_address(zoo.server), tls=None, token=None) as channel:
                try:
                    answer = selection_pb2_grpc.SelectionServiceStub(channel).CancelSelection(
                        selection_pb2.CancelSelectionRequest(selection_id=selection_id), timeout=20.0
                    )
                except grpc.RpcError as error:
                    if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
                        return  # not started yet
                    raise Unavailable("cancelling failed") from error
            if answer.state == selection_pb2.SELECTION_STATE_CANCELLED:
                with self._ledger.lock:
                    self._ledger.cancelled.add(selection_id)

        self._patiently(cancel)

    def _label(self, recipe: Recipe) -> str:
        seed = self._random.randrange(1 << 30)
        finish = self._random.random() < 0.7
        found: list[tuple[str, str]] = []

        def label(zoo: Client) -> SelectionReport | None:
            data = [(path, None) for path, _ in pairs(recipe)]
            session = zoo.label(data, budget=BUDGET, audit=AUDIT, seed=seed, family="mini")
            found[:] = [(session.selection_id, session.dataset_id)]
            return answer_all(session, recipe, finish=finish)

        report = self._patiently(label)
        ((selection_id, dataset_id),) = found
        with self._ledger.lock:
            self._ledger.uploaded.add(dataset_id)
            self._ledger.asked[selection_id] = Asked(recipe, dataset_id, labelling_seed=seed)
            if report is not None:
                self._ledger.succeeded.add(selection_id)
        self._ledger.add("labellings finished" if report is not None else "labellings left open")
        return dataset_id

    def _delete(self, dataset_id: str) -> None:
        with self._ledger.lock:
            self._ledger.touched.add(dataset_id)
        deadline = time.monotonic() + PATIENCE_S
        for attempt in itertools.count():
            try:
                next(self._clients).delete_dataset(dataset_id)
            except NotFound as error:
                if error.reason != "DATASET_UNKNOWN" or attempt == 0:
                    self._ledger.problem(f"deleting {dataset_id} (attempt {attempt}): {error.reason} {error.message}")
                else:
                    self._ledger.add("deletions broken off after the record")
                return
            except (Unavailable, StoreError) as error:
                if time.monotonic() > deadline:
                    self._ledger.problem(f"{dataset_id} was not deleted: {error.message}")
                    return
                time.sleep(self._random.uniform(0.1, 0.5))
            else:
                break
        with self._ledger.lock:
            self._ledger.deleted.add(dataset_id)
        self._ledger.add("datasets deleted")


_FILES = example_files()


def draw_recipe(numbers: random.Random) -> Recipe:
    """Some images in an order of their own, practically unique; the first is of the class that a requirement names."""
    first = numbers.choice([index for index, (_, name) in enumerate(_FILES) if name == "bag"])
    rest = [index for index in range(len(_FILES)) if index != first]
    return (first, *numbers.sample(rest, numbers.randint(30, 60)))


def pairs(recipe: Recipe) -> list[tuple[Path, str]]:
    return [_FILES[index] for index in recipe]


def answer_all(session: Any, recipe: Recipe, *, finish: bool) -> SelectionReport | None:
    """Answer a labelling session's questions truthfully; without ``finish`` only the first ones."""
    while questions := session.next():
        session.submit({question.index: _FILES[recipe[question.index]][1] for question in questions})
        if not finish:
            return None
    report: SelectionReport = session.finish()
    return report


def soak(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    clients: int,
    servers: int,
    store_faults: bool,
    publishing: bool = False,
    pause_s: float = 4.0,
) -> tuple[dict[str, float], list[str]]:
    """Run it; the table and what is wrong (nothing, if all is well)."""
    began = time.monotonic()
    ledger = Ledger()
    shared_random = random.Random(f"shared {seed}")
    shared = [draw_recipe(shared_random) for _ in range(4)]
    with ExitStack() as stack:
        s3 = stack.enter_context(EmbeddedS3(folder / "s3"))
        store = stack.enter_context(s3.store("soak"))
        publish(store, small_bundle(folder / "bundle"))
        url = f"s3://{s3.bucket}/soak?endpoint={quote(s3.endpoint_url, safe='')}"
        keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        ports = astuple(pick_ports())
        running = [Server(f"server-{n}", folder, ports[n], url, keys) for n in range(servers)]
        for server in running:
            stack.callback(server.end, signal.SIGKILL)
            server.start()
        chaos = Chaos(running, s3, ledger, seed=seed, store_faults=store_faults, pause_s=pause_s)
        chaos.calm()
        stopping = threading.Event()
        people = [
            Person(n, [server.address for server in running], ledger, seed=seed, shared=shared) for n in range(clients)
        ]
        threads = [threading.Thread(target=person.run, args=[stopping]) for person in people]
        publisher = Publisher(store, url, {**os.environ, **keys}, folder, ledger, seed=seed) if publishing else None
        started = time.monotonic()
        with chaos, publisher or nullcontext():
            for thread in threads:
                thread.start()
            stopping.wait(seconds)
            stopping.set()
        chaos.calm()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
            if thread.is_alive():
                ledger.problem("a client did not come to an end")
        active = time.monotonic() - started
        checks = Checks(store, ledger, answer_all=answer_all, pairs=pairs, bundle=folder / "bundle")
        checks.settle(SETTLE_S)
        if publisher is not None:
            publisher.look()
        checks.look()
        for server in running:
            if (code := server.end(signal.SIGTERM)) != 0:
                ledger.problem(f"{server.name} ended with {code} at the end")
        checks.look_at_folders(running)
        checks.sweep()
    counts = dict(sorted(ledger.counts.items()))
    faults = {kind: counts.pop(kind) for kind in (*chaos.kinds, GAVE_UP, PUBLISHES_KILLED) if kind in counts}
    times = {
        "servers": servers,
        "clients": clients,
        SLOWEST: round(ledger.slowest_s, 1),
        "seconds under faults": round(active, 1),
        "seconds in all": round(time.monotonic() - began, 1),
    }
    table: dict[str, float] = {**faults, **counts, **times}
    return table, ledger.problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--servers", type=int, default=3, choices=range(1, 9))
    parser.add_argument("--store-faults", action="store_true", help="kill and restart the S3 server too")
    parser.add_argument("--keep", type=Path, help="folder for stores and logs, kept; a temporary one by default")
    parser.add_argument("--out", type=Path, help="write all counts into this JSON file")
    parser.add_argument("--docs", type=Path, help="write a small table into this file, between its markers")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seedzoo-soak-")))
        table, problems = soak(
            folder, seconds=options.seconds, seed=options.seed, clients=options.clients, servers=options.servers,
            store_faults=options.store_faults, publishing=True,
        )  # fmt: skip
    sys.stdout.write(shown(table, problems) + "\n")
    runs = [(options.seed, table, problems)]
    if options.out is not None:
        write_json(options.out, runs)
    if options.docs is not None:
        replace_between(options.docs, "tests/e2e/soak.py", markdown(runs))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
