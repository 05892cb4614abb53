"""The catalog's calls on many families: start of the server, latency under many connections, memory.

Families of 100 variants under 20 conditions (results without models) are published to a real S3 server (SeaweedFS); a
server process is started on them, a few times; then a third process (bench/catalog_load.py) calls it over 50
connections: first each family in turn, then families at random. Latencies are those that a caller sees at the stated
rate of calls; beside them stands what the server's own histogram says. All processes share the machine's cores.

Run: python bench/catalog.py [--quick] [--families 1000] [--connections 50] [--out build/bench/catalog.json]
     [--docs docs/performance.md] [--operations docs/operations.md]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
from common import ROOT, require_s3, write_results
from docs import replace_between
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish
from seedzoo.records import Family, Preprocessing, Task, TrainingData, Variant
from seedzoo.selection.intervals import wilson
from seedzoo.stress.table import ProfileRow, write_profile
from seedzoo_server.embedded_s3 import EmbeddedS3

VARIANTS, CONDITIONS, EXAMPLES = 100, 20, 1000
PAGE = 50
STARTS = 3
PUBLISHERS = 2
WHERE = {"filter": "accuracy[shift-3] >= 0.7", "order_by": "accuracy[shift-5] desc"}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One kind of call.

    Attributes:
        label: Its name in the results.
        text: Its name in the tables.
        method: The RPC.
        field: Name of the request's field that gets the family.
        more: Its other fields.
        rate: Calls a second; None for as many as there are answers.
        seconds: How long, where families are picked at random; None for each family once, in turn.
    """

    label: str
    text: str
    method: str
    field: str
    more: dict[str, Any]
    rate: float | None
    seconds: float | None

    def asked(self, names: list[str], *, quick: bool) -> dict[str, Any]:
        """As bench/catalog_load.py takes it."""
        rng = random.Random(self.label)
        if self.seconds is None:
            chosen = list(names)
            rng.shuffle(chosen)
        else:
            count = round((self.rate or (250 if quick else 1500)) * (1.2 if quick else self.seconds))
            chosen = [rng.choice(names) for _ in range(count)]
        requests = [{**({self.field: name} if self.field else {}), **self.more} for name in chosen]
        if self.method == "GetVariant":
            requests = [{"name": f"{request['name']}/s{rng.randrange(VARIANTS):03d}"} for request in requests]
        return {"method": self.method, "rate": self.rate, "requests": requests, "in_turn": self.seconds is None}


def _variants(label: str, text: str, rate: float | None, seconds: float | None, **more: Any) -> Phase:
    fields = {"page_size": PAGE, **more}
    return Phase(label=label, text=text, method="ListVariants", field="family", more=fields, rate=rate, seconds=seconds)


PHASES = (
    _variants("first_variants", "ListVariants, each family for the first time", 50, None),
    _variants("variants", "ListVariants", 100, 30),
    _variants(
        "first_filtered", "ListVariants with filter and order, each family for the first time", 20, None, **WHERE
    ),
    _variants("filtered", "ListVariants with filter and order", 100, 30, **WHERE),
    Phase(label="family", text="GetFamily", method="GetFamily", field="name", more={}, rate=100, seconds=20),
    Phase(label="variant", text="GetVariant", method="GetVariant", field="name", more={}, rate=100, seconds=20),
    Phase(
        label="first_profile",
        text="GetProfile, each family for the first time",
        method="GetProfile",
        field="family",
        more={},
        rate=20,
        seconds=None,
    ),
    Phase(label="profile", text="GetProfile", method="GetProfile", field="family", more={}, rate=100, seconds=20),
    Phase(
        label="families",
        text="ListFamilies, the first 100",
        method="ListFamilies",
        field="",
        more={"page_size": 100},
        rate=20,
        seconds=20,
    ),
    _variants("saturated", "ListVariants, as many as it can", None, 15),
)


def bundle(folder: Path, name: str, seed: int) -> Path:
    """A family of made-up results."""
    rng = np.random.default_rng(seed)
    conditions = ["id", *(f"shift-{index}" for index in range(1, CONDITIONS))]
    correct = np.clip(rng.normal(0.7, 0.05, (VARIANTS, CONDITIONS)) * EXAMPLES, 0, EXAMPLES).astype(int)
    low, high = wilson(correct / EXAMPLES, EXAMPLES)
    tags = [f"s{index:03d}" for index in range(VARIANTS)]
    family = Family(
        name=name,
        title="made for a benchmark",
        task=Task(name="made", classes=("a", "b"), preprocessing=Preprocessing(28, 28, 1)),
        variants=tuple(
            Variant(tag=tag, model=None, seeds={"init": index, "order": index}, held_out_accuracy=row[0] / EXAMPLES)
            for index, (tag, row) in enumerate(zip(tags, correct.tolist(), strict=True))
        ),
        certificate=None,
        data=TrainingData("made", 0, 0),
        provenance="made for a benchmark",
    )
    folder.mkdir(parents=True)
    (folder / FAMILY_FILE).write_bytes(encode_json(family))
    rows = [
        ProfileRow(
            variant=tag,
            condition=condition,
            kind=condition,
            severity=None,
            n=EXAMPLES,
            correct=int(correct[at]),
            accuracy=float(correct[at] / EXAMPLES),
            accuracy_low=float(low[at]),
            accuracy_high=float(high[at]),
            log_loss=None,
        )
        for i, tag in enumerate(tags)
        for j, condition in enumerate(conditions)
        for at in [(i, j)]
    ]
    write_profile(rows, folder / PROFILE_FILE, suite="made", dataset="made", version="bench")
    return folder


def publish_some(url: str, folder: Path, numbered: list[tuple[int, str]]) -> None:
    """In a process: make and publish families."""
    store = open_store(url)
    for seed, name in numbered:
        publish(store, bundle(folder / name, name, seed))
        shutil.rmtree(folder / name)
    store.close()


def resident_mib(pid: int) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(url: str) -> Iterator[tuple[subprocess.Popen[bytes], str, str, float]]:
    """A server process, its address, that of its metrics, and seconds from its start to SERVING."""
    port, metrics = free_port(), free_port()
    options = ["--store", url, "--port", str(port), "--metrics-port", str(metrics), "--log-level", "warning"]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "seedzoo_client", "serve", *options], stdout=subprocess.DEVNULL)
    try:
        address = f"127.0.0.1:{port}"
        while not _serves(address):
            if process.poll() is not None or time.perf_counter() - started > 60:
                raise SystemExit("the server did not come up")
            time.sleep(0.02)
        yield process, address, f"http://127.0.0.1:{metrics}/metrics", time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _serves(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def histogram(metrics: str, method: str) -> dict[float, float]:
    """Calls of a method by the longest time that they took, in seconds, as the server counted them."""
    with urlopen(metrics) as answer:
        text = answer.read().decode()
    line = re.compile(rf'seedzoo_call_seconds_bucket\{{le="([^"]+)",method="[^"]*/{method}"\}} (\S+)')
    return {float(le): float(count) for le, count in line.findall(text)}


def within_ms(before: dict[float, float], after: dict[float, float]) -> float:
    """The least bound of the histogram that 99 % of the calls in between kept, in ms."""
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    return next(1000 * bound for bound in sorted(counts) if counts[bound] >= 0.99 * counts[float("inf")])


def measured(
    process: subprocess.Popen[bytes], address: str, metrics: str, names: list[str], given: Any
) -> dict[str, Any]:
    """Each phase's latencies, and the server's memory after it."""
    found: dict[str, Any] = {"idle_mib": resident_mib(process.pid), "phases": {}}
    command = [sys.executable, str(ROOT / "bench" / "catalog_load.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdin.write(json.dumps({"address": address, "connections": given.connections}) + "\n")
        for phase in PHASES:
            before = histogram(metrics, phase.method)
            load.stdin.write(json.dumps(phase.asked(names, quick=given.quick)) + "\n")
            load.stdin.flush()
            result = json.loads(load.stdout.readline())
            result["server_within_ms"] = within_ms(before, histogram(metrics, phase.method))
            result["server_mib"] = resident_mib(process.pid)
            found["phases"][phase.label] = result
            print(f"{phase.text}: {json.dumps(result)}", flush=True)
        load.stdin.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 families, 10 connections, few calls; tells nothing.")
    parser.add_argument("--families", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--operations", type=Path)
    given = parser.parse_args()
    require_s3()
    if given.quick:
        given.families, given.connections = 4, 10
    server_starts = 1 if given.quick else STARTS
    for path in filter(None, (given.docs, given.operations)):
        if "<!-- bench/catalog.py -->" not in path.read_text():
            raise SystemExit(f"{path} has no place for the table")
    names = [f"family-{index:04d}" for index in range(given.families)]
    with tempfile.TemporaryDirectory() as folder, EmbeddedS3(Path(folder) / "s3") as s3:
        os.environ |= {
            "SEEDZOO_HOME": f"{folder}/home",
            "SEEDZOO_S3_ENDPOINT": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        url = f"s3://{s3.bucket}"
        started = time.perf_counter()
        numbered = list(enumerate(names))
        with ProcessPoolExecutor(PUBLISHERS, mp_context=multiprocessing.get_context("spawn")) as pool:
            job = partial(publish_some, url, Path(folder) / "bundles")
            list(pool.map(job, [numbered[part::PUBLISHERS] for part in range(PUBLISHERS)]))
        found: dict[str, Any] = {
            "families": given.families,
            "connections": given.connections,
            "publish_s": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(found), flush=True)
        starts = []
        for number in range(server_starts):
            with server(url) as (process, address, metrics, seconds):
                starts.append(round(seconds, 2))
                if number == server_starts - 1:
                    found |= measured(process, address, metrics, names, given)
        found["starts_s"] = starts
    write_results(found, __file__, given.out, quick=given.quick)
    print(told(found))
    if given.docs is not None:
        labels = ["first_variants", "variants", "first_filtered", "filtered", "saturated"]
        replace_between(given.docs, "bench/catalog.py", f"{told(found)}\n\n{table(found, labels)}")
    if given.operations is not None:
        labels = [phase.label for phase in PHASES]
        replace_between(given.operations, "bench/catalog.py", f"{told(found)}\n\n{table(found, labels)}")


def told(found: dict[str, Any]) -> str:
    """The frame of the measurement in a sentence."""
    phases = list(found["phases"].values())
    starts = found["starts_s"]
    return (
        f"{found['families']:,} families of {VARIANTS} variants under {CONDITIONS} conditions, pages of {PAGE} "
        f"variants, {found['connections']} connections; client, server and SeaweedFS on the same {os.cpu_count()} "
        f"cores. From the start of the process until it says SERVING: {statistics.median(starts)} s (median of "
        f"{len(starts)}). Memory of the server: {found['idle_mib']} MiB idle, {phases[0]['server_mib']} MiB after each "
        f"family was asked for once, {phases[-1]['server_mib']} MiB at the end."
    )


def table(found: dict[str, Any], labels: list[str]) -> str:
    """A row for each phase."""
    lines = [
        "| call | calls | a second | p50, ms | p99, ms | 99 % by the server's clock |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for phase in PHASES:
        if phase.label in labels:
            one = found["phases"][phase.label]
            rate = f"{one['calls_per_s']:,.0f}" if phase.rate is None else f"{phase.rate:g}"
            lines.append(
                f"| {phase.text} | {one['calls']:,} | {rate} | {one['p50_ms']} | {one['p99_ms']} | "
                f"within {one['server_within_ms']:g} ms |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
