"""`zoo select` through gRPC and S3 against a plain script that downloads every model and evaluates it.

Both start from a folder of labelled PNG files (the reserved test images of Fashion-MNIST under a stress condition) and
end with the best variant; both run as processes of their own against the same S3 server on this machine. Then the same
question with another objective, which the server answers from kept predictions.

Run: python bench/end_to_end.py [--quick] [--images 2000] [--rounds 3] [--out build/bench/end_to_end.json]
     [--docs docs/performance.md]
The exit status is 1 if the first run is not at least 1.3 times as fast as the script, or the repeated one not 20 times.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docs import replace_between
from PIL import Image

from seedzoo.catalog.bundle import open_bundle
from seedzoo.starter import starter_bundle
from seedzoo.stress import get_condition
from seedzoo_server.embedded_s3 import EmbeddedS3

ROOT = Path(__file__).resolve().parents[1]
FASHION = Path("/usr/share/datasets/fashion-mnist")
ZOO = [sys.executable, "-m", "seedzoo_client"]
CONDITION = "brightness-1"
LEAST_FIRST, LEAST_REPEATED = 1.3, 20.0

PLAIN = """
import io, json, pathlib, sys
import boto3, numpy, onnxruntime
from PIL import Image

endpoint, bucket, folder = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint)
keys = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="families/")
        for item in page.get("Contents", []) if item["Key"].endswith(".onnx")]
files = sorted(pathlib.Path(folder).glob("*/*.png"))
images = numpy.stack([numpy.asarray(Image.open(file).convert("L"))[..., None] for file in files])
best = {}
for name in keys:
    session = onnxruntime.InferenceSession(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
    classes = json.loads(session.get_modelmeta().custom_metadata_map["seedzoo.classes"])
    labels = numpy.array([classes.index(file.parent.name) for file in files])
    logits = numpy.concatenate([session.run(None, {"images": images[i:i + 32]})[0] for i in range(0, len(images), 32)])
    best[name] = float((logits.argmax(1) == labels).mean())
print(json.dumps(max(best.items(), key=lambda item: item[1])))
"""


def write_images(folder: Path, count: int, classes: Sequence[str], first: int) -> None:
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(FASHION / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    rows = np.arange(first, first + count) % len(images)
    shown = get_condition(CONDITION).apply(images[rows], rows)
    for row, image in zip(rows.tolist(), shown, strict=True):
        place = folder / classes[int(labels[row])]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{row:05d}.png")


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, Any]:
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{command[:4]} failed: {done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout)


class Server:
    """`zoo serve` on a free port."""

    def __init__(self, store: str, environment: dict[str, str]) -> None:
        command = [*ZOO, "serve", "--store", store, "--port", "0", "--json"]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        text, self.address = b"", ""
        for line in self._process.stdout or ():
            text += line
            try:
                self.address = json.loads(text)["address"]
            except ValueError:
                continue
            break

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Few images, one round; says nothing about speed.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "end_to_end.json")
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    count, rounds = (100, 1) if given.quick else (given.images, given.rounds)
    seconds: dict[str, list[float]] = {"script": [], "select": [], "engine": [], "repeated": []}
    agree = []
    with tempfile.TemporaryDirectory() as name, EmbeddedS3(Path(name) / "s3") as s3:
        home = Path(name)
        environment = {
            **os.environ,
            "SEEDZOO_HOME": str(home / "home"),
            "SEEDZOO_S3_ENDPOINT": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        store = f"s3://{s3.bucket}"
        timed([*ZOO, "publish", "--starter", "--store", store, "--json"], environment)
        server = Server(store, environment)
        try:
            environment["SEEDZOO_SERVER"] = server.address
            classes = open_bundle(starter_bundle()).family.task.classes
            (home / "plain.py").write_text(PLAIN)
            for turn in range(rounds):
                folder = home / f"images{turn}"  # other images each time: the server keeps what it has seen
                write_images(folder, count, classes, first=8000 - count * turn)
                select = [*ZOO, "select", "--data", str(folder), "--json", "--quiet"]
                script = [sys.executable, str(home / "plain.py"), s3.endpoint_url, s3.bucket, str(folder)]
                spent, (_, best) = timed(script, environment)
                seconds["script"].append(spent)
                spent, answer = timed(select, environment)
                seconds["select"].append(spent)
                seconds["engine"].append(answer["seconds"])
                agree.append(abs(max(row["accuracy"]["estimate"] for row in answer["scores"]) - best) < 1e-9)
                spent, _ = timed([*select, "--objective", "macro_f1"], environment)
                seconds["repeated"].append(spent)
                print(turn, {key: round(values[-1], 2) for key, values in seconds.items()}, agree[-1], flush=True)
        finally:
            server.stop()
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    first, repeated = (medians["script"] / medians[key] for key in ("select", "repeated"))
    found = {
        "images": count,
        "rounds": rounds,
        "seconds": {key: round(value, 2) for key, value in medians.items()},
        "script_over_select": round(first, 2),
        "script_over_repeated": round(repeated, 1),
        "same_best_accuracy": all(agree),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    if given.docs is not None:
        replace_between(
            given.docs,
            "bench/end_to_end.py",
            f"{count:,} images, 50 variants, medians of {rounds}: the script {medians['script']:.1f} s, `zoo select` "
            f"{medians['select']:.1f} s ({first:.2f} x as fast), with another objective afterwards "
            f"{medians['repeated']:.1f} s ({repeated:.1f} x).",
        )
    return 0 if given.quick or (first >= LEAST_FIRST and repeated >= LEAST_REPEATED) else 1


if __name__ == "__main__":
    sys.exit(main())
