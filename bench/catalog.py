"""The catalog's calls on many families: start of the server, latency under many clients, memory.

Families of 100 variants under 20 conditions (results without models) are published to a real S3 server (SeaweedFS); a
server process is started on them; then clients in threads ask for pages of variants, families and profiles, first of
each family in turn, then at random. Latencies are the clients'.

Run: python bench/catalog.py [--quick] [--families 1000] [--clients 50] [--calls 4000] [--out build/bench/catalog.json]
     [--docs docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from docs import replace_between

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.publish import publish
from seedzoo.records import Family, Preprocessing, Task, TrainingData, Variant
from seedzoo.stress.table import published_row, write_profile
from seedzoo_client import Client
from seedzoo_server.embedded_s3 import EmbeddedS3

ROOT = Path(__file__).resolve().parents[1]
VARIANTS, CONDITIONS = 100, 20


def bundle(folder: Path, name: str, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    conditions = ["id", *(f"shift-{index}" for index in range(1, CONDITIONS))]
    accuracies = np.clip(rng.normal(0.7, 0.05, (VARIANTS, CONDITIONS)), 0, 1)
    tags = [f"s{index:03d}" for index in range(VARIANTS)]
    family = Family(
        name=name,
        title="made for a benchmark",
        task=Task(name="made", classes=("a", "b"), preprocessing=Preprocessing(28, 28, 1)),
        variants=tuple(
            Variant(tag=tag, model=None, seeds={}, held_out_accuracy=float(row[0]))
            for tag, row in zip(tags, accuracies, strict=True)
        ),
        certificate=None,
        data=TrainingData("made", 0, 0),
        provenance="made for a benchmark",
    )
    folder.mkdir(parents=True)
    (folder / FAMILY_FILE).write_bytes(encode_json(family))
    rows = [
        published_row(variant=tag, condition=condition, kind=condition, accuracy=float(value), n=1000)
        for tag, row in zip(tags, accuracies, strict=True)
        for condition, value in zip(conditions, row, strict=True)
    ]
    write_profile(rows, folder / PROFILE_FILE, suite="made", dataset="made", version="bench")
    return folder


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"calls": len(seconds), "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--families", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "catalog.json")
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    families, clients, calls = (10, 4, 40) if given.quick else (given.families, given.clients, given.calls)
    with tempfile.TemporaryDirectory() as name, EmbeddedS3(Path(name) / "s3") as s3:
        store = s3.store()
        names = [f"family-{index:04d}" for index in range(families)]
        for index, family in enumerate(names):
            publish(store, bundle(Path(name) / "bundles" / family, family, index))
        store.close()
        environment = {
            **os.environ,
            "SEEDZOO_HOME": f"{name}/home",
            "SEEDZOO_S3_ENDPOINT": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        serve = ["serve", "--store", f"s3://{s3.bucket}", "--port", "0", "--json"]
        command = [sys.executable, "-m", "seedzoo_client", *serve]
        started = time.perf_counter()
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            text, address = b"", ""
            for line in server.stdout or ():
                text += line
                try:
                    address = json.loads(text)["address"]
                except ValueError:
                    continue
                break
            start_s = time.perf_counter() - started
            found = {
                "families": families,
                "clients": clients,
                "start_s": round(start_s, 2),
                "idle_mib": round(resident_mib(server.pid)),
                **measured(address, names, clients, calls),
                "after_mib": round(resident_mib(server.pid)),
            }
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    if given.docs is not None:
        replace_between(given.docs, "bench/catalog.py", table(found))


def timed(
    job: Callable[[Client, str], object],
    zoos: list[Client],
    names: list[str],
    worker: int,
    *,
    share: int,
    in_turn: bool,
) -> list[float]:
    """Seconds of each of a worker's calls."""
    rng, seconds = random.Random(worker), []
    for number in range(share):
        name = names[(worker * share + number) % len(names)] if in_turn else rng.choice(names)
        started = time.perf_counter()
        job(zoos[worker], name)
        seconds.append(time.perf_counter() - started)
    return seconds


def measured(address: str, names: list[str], clients: int, calls: int) -> dict[str, object]:
    """Latencies of each call by ``clients`` threads with a connection each."""
    where = {"filter": "accuracy[shift-3] >= 0.7", "order_by": "accuracy[shift-5] desc"}
    jobs: dict[str, Callable[[Client, str], object]] = {
        "first_variants": lambda zoo, name: zoo.variants(name, limit=50),
        "variants": lambda zoo, name: zoo.variants(name, limit=50),
        "filtered": lambda zoo, name: zoo.variants(name, limit=50, **where),
        "family": lambda zoo, name: zoo.family(name),
        "profile": lambda zoo, name: zoo.profile(name),
    }
    zoos = [Client(address) for _ in range(clients)]
    found: dict[str, object] = {}
    try:
        for label, job in jobs.items():
            share = max(1, (len(names) if label == "first_variants" else calls) // clients)

            in_turn = label == "first_variants"
            work = partial(timed, job, zoos, names, share=share, in_turn=in_turn)
            with ThreadPoolExecutor(clients) as pool:
                found[label] = percentiles([one for part in pool.map(work, range(clients)) for one in part])
        started = time.perf_counter()
        listed = zoos[0].families()
        found["all_families_s"] = round(time.perf_counter() - started, 2)
        if len(listed) != len(names):
            raise SystemExit(f"{len(listed)} of {len(names)} families were listed")
        # One client alone: what a call costs without others in front of it.
        alone = timed(jobs["variants"], zoos, names, 0, share=max(10, calls // 20), in_turn=False)
        found["variants_alone"] = percentiles(alone)
    finally:
        for zoo in zoos:
            zoo.close()
    return found


def table(found: dict[str, object]) -> str:
    told = (
        f"{found['families']:,} families of {VARIANTS} variants, {found['clients']} clients at once; the server was "
        f"ready after {found['start_s']} s and took {found['idle_mib']} MiB, afterwards {found['after_mib']} MiB; "
        f"listing all families took {found['all_families_s']} s."
    )
    lines = [
        told,
        "",
        "| call | calls | p50, ms | p99, ms |",
        "|---|--:|--:|--:|",
    ]
    for label, text in (
        ("first_variants", "ListVariants, each family for the first time"),
        ("variants", "ListVariants"),
        ("filtered", "ListVariants with filter and order"),
        ("family", "GetFamily"),
        ("profile", "GetProfile"),
        ("variants_alone", "ListVariants, one client alone"),
    ):
        one = found[label]
        lines.append(f"| {text} | {one['calls']:,} | {one['p50_ms']} | {one['p99_ms']} |")  # type: ignore[index]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
