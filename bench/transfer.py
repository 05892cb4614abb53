"""Uploads, downloads and memory: what the API costs beside bare gRPC streams, boto3 and the aws command line.

A real S3 server (SeaweedFS), a server process and, for the bare streams, another process run on this machine; the
clients run in this process, each contender alone, in an order that changes from round to round. Images are random
bytes in files. A stream that is "kept" was hashed and put to the same S3 server in objects of 16 MiB before it was
answered: what whoever promises to keep the bytes has to do. The ratio that counts is to that stream with a message an
image; a server that discards promises nothing, and what it shows is what the transport would allow.

Memory is the server's own, while 20 clients upload at once; no models are loaded.

Run: python bench/transfer.py [--quick] [--rounds 5] [--part upload|download|memory ...]
     [--out build/bench/transfer.json] [--docs docs/operations.md]
The exit status is 1 if an upload has less than .7 of the throughput of
the kept stream, or the server takes 600 MB or more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import grpc
from common import ROOT, require_s3, small_starter, write_results
from docs import replace_between
from end_to_end import Server
from transfer_download import WAYS, aws_command, measure_downloads, padded_bundle
from transfer_memory import measure_memory
from transfer_upload import CONTENDERS, measure_uploads, write_images

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.publish import publish
from seedzoo.starter import starter_bundle
from seedzoo_client import Client
from seedzoo_server.embedded_s3 import EmbeddedS3

LEAST_OF_KEPT, MOST_MB = 0.7, 600.0
PARTS = ("upload", "download", "memory")
SETS = {"small": (10_000, 1_000), "large": (400, 500_000)}
MEMORY_SETS = {"small": (20, 10_000, 1_000), "large": (20, 100, 500_000)}
PADDING = 100_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="2 variants, few images and clients, one round, no aws command line; no targets.",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", action="append", choices=PARTS, help="Only this part; may be repeated.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    if given.docs is not None and given.part is not None:
        parser.error("--docs wants all parts")
    require_s3()
    found = measured(given.part or PARTS, rounds=1 if given.quick else given.rounds, quick=given.quick)
    write_results(found, __file__, given.out, quick=given.quick)
    print(json.dumps(found, indent=1))
    missed = misses(found)
    for line in missed:
        print(line, file=sys.stderr)
    if given.docs is not None:
        replace_between(given.docs, "bench/transfer.py", transfer_tables(found))
        replace_between(given.docs, "bench/transfer.py memory", memory_table(found))
    return 1 if missed and not given.quick else 0


def measured(parts: Sequence[str], *, rounds: int, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"rounds": rounds, "cores": os.cpu_count(), "machine": platform.machine()}
    with tempfile.TemporaryDirectory() as name, EmbeddedS3(Path(name) / "s3") as embedded:
        work = Path(name)
        bundle = small_starter(work / "small") if quick else starter_bundle()
        family = open_bundle(bundle).family
        keys = {"AWS_ACCESS_KEY_ID": embedded.access_key, "AWS_SECRET_ACCESS_KEY": embedded.secret_key}
        environment = {
            **os.environ,
            **keys,
            "SEEDZOO_HOME": str(work / "home"),
            "SEEDZOO_S3_ENDPOINT": embedded.endpoint_url,
            "AWS_ENDPOINT_URL": embedded.endpoint_url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        os.environ["SEEDZOO_HOME"] = environment["SEEDZOO_HOME"]
        s3 = boto3.client(
            "s3",
            endpoint_url=embedded.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=embedded.access_key,
            aws_secret_access_key=embedded.secret_key,
        )
        store = embedded.store()
        publish(store, bundle)
        if "download" in parts:
            size = PADDING // 100 if quick else PADDING
            publish(store, padded_bundle(bundle, work / "padded", name="padded", size=size))
        models = {f"{info.key.split('/')[1]}/{Path(info.key).stem}": info for info in store.list("families")
                  if info.key.endswith(".onnx")}  # fmt: skip
        store.close()
        server = Server(f"s3://{embedded.bucket}", environment)
        try:
            if "upload" in parts:
                found["upload"] = uploads(
                    work, server.address, family.name, family.task.classes, s3, embedded, environment, rounds, quick
                )
            if "download" in parts:
                none: tuple[list[str], str] = [], "it is left out of quick runs"
                aws, found["aws"] = none if quick else aws_command(ROOT / "build" / "awscli")
                found["download"] = {}
                for each in (family.name, "padded"):
                    variant = f"{each}/{family.variants[0].tag}"
                    seconds = measure_downloads(
                        variant,
                        address=server.address,
                        home=work / f"downloads-{each}",
                        s3=s3,
                        bucket=embedded.bucket,
                        key=models[variant].key,
                        aws=aws,
                        environment=environment,
                        rounds=rounds,
                    )
                    found["download"][each] = {"bytes": models[variant].size, "seconds": medians(seconds)}
        finally:
            server.stop()
        if "memory" in parts:
            found["memory"] = {}
            server = Server(f"s3://{embedded.bucket}", environment)
            try:
                for label, (clients, count, size) in MEMORY_SETS.items():
                    found["memory"][label] = measure_memory(
                        work / f"memory-{label}",
                        address=server.address,
                        pid=server.pid,
                        family=family.name,
                        classes=family.task.classes,
                        clients=4 if quick else clients,
                        count=max(2, count // 1000) if quick else count,
                        size=size,
                    )
                    print(label, found["memory"][label], flush=True)
            finally:
                server.stop()
    return found


def uploads(
    work: Path,
    address: str,
    family: str,
    classes: tuple[str, ...],
    s3: Any,
    embedded: EmbeddedS3,
    environment: Mapping[str, str],
    rounds: int,
    quick: bool,
) -> dict[str, Any]:
    """Medians of the seconds that each contender took, for each set of images."""
    command = [sys.executable, str(ROOT / "bench" / "raw_stream.py"), embedded.endpoint_url, embedded.bucket]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE)
    found: dict[str, Any] = {}
    try:
        port = int((process.stdout or sys.exit("the bare stream has no output")).readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as raw, Client(address) as zoo:
            for label, (count, size) in SETS.items():
                images = count // 200 if quick else count
                folder = work / f"images-{label}"
                write_images(folder, classes, count=images, size=size)
                seconds = medians(
                    measure_uploads(
                        folder, zoo=zoo, family=family, raw=raw, s3=s3, bucket=embedded.bucket, rounds=rounds
                    )
                )
                found[label] = {
                    "images": images,
                    "image_bytes": size,
                    "seconds": seconds,
                    "mb_per_s": {name: round(images * size / each / 1e6, 1) for name, each in seconds.items()},
                    "throughput_over": {name: round(each / seconds["api"], 2) for name, each in seconds.items()},
                }
    finally:
        process.terminate()
        process.wait(60)
    return found


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: round(statistics.median(values), 3) for name, values in seconds.items()}


def misses(found: Mapping[str, Any]) -> list[str]:
    """What is not as good as it has to be."""
    lines = []
    for label, one in found.get("upload", {}).items():
        ratio = one["throughput_over"]["kept"]
        if ratio < LEAST_OF_KEPT:
            lines.append(f"uploads of {label} images have {ratio:.2f} of the kept stream, not {LEAST_OF_KEPT}")
    many = found.get("memory", {}).get("small")
    if many is not None and many["peak_mib"] * 1.048576 >= MOST_MB:
        lines.append(f"the server takes {many['peak_mib']} MiB under uploads of small images")
    return lines


def transfer_tables(found: Mapping[str, Any]) -> str:
    small, large = (found["upload"][label] for label in SETS)
    told = (
        f"{found['cores']} cores, medians of {found['rounds']} rounds. In brackets the throughput of `Client.upload` "
        "over this one's: above 1 it is faster."
    )
    lines = [
        told,
        "",
        f"| upload | {_many(small)}, MB/s | {_many(large)}, MB/s |",
        "|---|--:|--:|",
    ]
    for name, text in CONTENDERS.items():
        cells = (
            f"{one['mb_per_s'][name]:.1f}" + ("" if name == "api" else f" ({one['throughput_over'][name]:.2f})")
            for one in (small, large)
        )
        lines.append(f"| {text} | {' | '.join(cells)} |")
    downloads = list(found["download"].values())
    sizes = [
        f"{one['bytes'] / 1e6:.1f} MB" if one["bytes"] >= 1e6 else f"{one['bytes'] / 1e3:.0f} KB" for one in downloads
    ]
    lines += ["", f"| download | {sizes[0]}, s | {sizes[1]}, s |", "|---|--:|--:|"]
    for name, text in WAYS.items():
        if name in downloads[0]["seconds"]:
            cells = (f"{one['seconds'][name]:.3f}" for one in downloads)
            lines.append(f"| {text} | {' | '.join(cells)} |")
    command = (
        f"`{found['aws']}`" if "aws" in downloads[0]["seconds"] else f"without the aws command line: {found['aws']}"
    )
    return "\n".join([*lines, "", f"The aws command line includes the start of its process; here {command}."])


def memory_table(found: Mapping[str, Any]) -> str:
    lines = [
        "| clients | images of each | before, MiB | median, MiB | peak, MiB | after, MiB | all together, MB/s |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for one in found["memory"].values():
        lines.append(
            f"| {one['clients']} | {_many(one)} | {one['before_mib']} | {one['median_mib']} | {one['peak_mib']} | "
            f"{one['after_mib']} | {one['mb_per_s']} |"
        )
    return "\n".join(lines)


def _many(one: Mapping[str, Any]) -> str:
    return f"{one['images']:,} of {one['image_bytes'] // 1000:,} kB"


if __name__ == "__main__":
    sys.exit(main())
