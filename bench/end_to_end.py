"""`zoo select` through gRPC and S3 against plain scripts that download every model and evaluate it.

All start from a folder of labelled PNG files (the reserved test images of Fashion-MNIST under a stress condition) and
end with the best variant; all run as processes of their own against the same S3 server on this machine.

The scripts, each with default ONNX Runtime sessions:

* each: for every model, decode every file anew, 32 images at a time: the loop that one writes first;
* single: the same, one image at a time;
* once: decode every file once, then 32 images at a time: the best of them.

Against them `zoo select` of images that the server has never seen (first), the same question with another objective,
which the server answers from kept predictions (repeated), and `zoo select --race` of the same images after `zoo forget`
(race). Methods alternate, and every round has other images. Python's byte code is compiled before, as it is where
packages are installed.

Run: python bench/end_to_end.py [--quick] [--condition brightness-1 contrast-3] [--images 2000] [--rounds 3]
     [--out build/bench/end_to_end.json] [--docs docs/performance.md]
The exit status is 1 if under a condition the first run is not at least 1.3 times as fast
as the script `each`, the repeated one not 20 times, or a first run ends with another best accuracy than the scripts.
"""

from __future__ import annotations

import argparse
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
from common import ROOT, require_s3, small_starter, test_images, test_labels, write_results
from docs import replace_between
from PIL import Image

from seedzoo.catalog.bundle import open_bundle
from seedzoo.starter import starter_bundle
from seedzoo.stress import get_condition
from seedzoo_server.embedded_s3 import EmbeddedS3

ZOO = [sys.executable, "-m", "seedzoo_client"]
CONDITIONS = ("brightness-1", "contrast-3")
LEAST_FIRST, LEAST_REPEATED = 1.3, 20.0
SCRIPTS = {
    "each": "decode every file anew for every model, batches of 32",
    "single": "the same, one image at a time",
    "once": "decode every file once, batches of 32",
}
RUNS = {"first": "first run", "race": "first run, `--race`", "repeated": "repeated with another objective"}
# More than there are images that are the same as another one, which a race refuses.
SPARE = 200

HEAD = """
import json, pathlib, sys
import boto3, numpy, onnxruntime
from PIL import Image

endpoint, bucket, folder = sys.argv[1:4]
s3 = boto3.client("s3", endpoint_url=endpoint)
keys = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="families/")
        for item in page.get("Contents", []) if item["Key"].endswith(".onnx")]
files = sorted(pathlib.Path(folder).glob("*/*.png"))
best = {}
"""
ANEW = """
batch = int(sys.argv[4])
for name in keys:
    session = onnxruntime.InferenceSession(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
    classes = json.loads(session.get_modelmeta().custom_metadata_map["seedzoo.classes"])
    right = 0
    for start in range(0, len(files), batch):
        part = files[start:start + batch]
        images = numpy.stack([numpy.asarray(Image.open(file).convert("L"))[..., None] for file in part])
        logits = session.run(None, {"images": images})[0]
        right += sum(classes[index] == file.parent.name for index, file in zip(logits.argmax(1), part))
    best[name] = right / len(files)
"""
ONCE = """
images = numpy.stack([numpy.asarray(Image.open(file).convert("L"))[..., None] for file in files])
for name in keys:
    session = onnxruntime.InferenceSession(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
    classes = json.loads(session.get_modelmeta().custom_metadata_map["seedzoo.classes"])
    labels = numpy.array([classes.index(file.parent.name) for file in files])
    logits = numpy.concatenate([session.run(None, {"images": images[i:i + 32]})[0] for i in range(0, len(images), 32)])
    best[name] = float((logits.argmax(1) == labels).mean())
"""
TAIL = """
print(json.dumps(max(best.items(), key=lambda item: item[1])))
"""


def write_images(folder: Path, count: int, classes: Sequence[str], first: int, condition: str = CONDITIONS[0]) -> None:
    """Write that many test images (at most all), no two alike, from row ``first`` on."""
    images, labels = test_images(), test_labels()
    rows = np.arange(first, first + min(count + SPARE, len(images))) % len(images)
    shown = get_condition(condition).apply(images[rows], rows)
    distinct = {image.tobytes(): place for place, image in reversed(list(enumerate(shown)))}
    for place in sorted(distinct.values())[:count]:
        row = int(rows[place])
        target = folder / classes[int(labels[row])]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown[place][..., 0]).save(target / f"{row:05d}.png")


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, Any]:
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{command[:4]} failed: {done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout)


def compiled(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment of programs whose byte code is there, as pip leaves it; the tree stays as it is."""
    environment = {**environment, "PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    folders = [str(ROOT / name) for name in ("client", "protos", "server", "zoo")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], env=environment, check=True)
    return environment


class Server:
    """`zoo serve` on a free port."""

    def __init__(self, store: str, environment: dict[str, str]) -> None:
        command = [*ZOO, "serve", "--store", store, "--port", "0", "--json"]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
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


class Contest:
    """Methods at work on the same images.

    Args:
        scripts: Command of each script, without the folder.
        environment: Of all processes.
    """

    def __init__(self, scripts: dict[str, list[str]], environment: dict[str, str]) -> None:
        self._scripts = scripts
        self._environment = environment
        self.seconds: dict[str, list[float]] = {name: [] for name in (*scripts, *RUNS, "engine")}
        self.best_agrees: list[bool] = []
        self.race_agrees: list[bool] = []
        self.race_shortfall: list[float] = []
        self.race_saved: list[float] = []

    def play(self, folder: Path, turn: int) -> None:
        """One round; who begins changes from turn to turn."""
        methods = [*self._scripts, "zoo"]
        bests = {}
        for name in (*methods[turn % 4 :], *methods[: turn % 4]):
            if name == "zoo":
                answer = self._ask(folder)
                continue
            command = self._scripts[name]
            spent, (_, bests[name]) = timed([*command[:4], str(folder), *command[4:]], self._environment)
            self.seconds[name].append(spent)
        found = max(row["accuracy"]["estimate"] for row in answer["scores"])
        self.best_agrees.append(all(abs(found - best) < 1e-9 for best in bests.values()))

    def _ask(self, folder: Path) -> Any:
        select = [*ZOO, "select", "--data", str(folder), "--json", "--quiet"]
        spent, answer = timed(select, self._environment)
        self.seconds["first"].append(spent)
        self.seconds["engine"].append(answer["seconds"])
        self.seconds["repeated"].append(timed([*select, "--objective", "macro_f1"], self._environment)[0])
        self._forget(answer)
        spent, raced = timed([*select, "--race"], self._environment)
        self.seconds["race"].append(spent)
        self._forget(raced)
        accuracy = {row["variant"]: row["accuracy"]["estimate"] for row in answer["scores"]}
        self.race_agrees.append(raced["recommended"] == answer["recommended"])
        self.race_shortfall.append(accuracy[answer["recommended"]] - accuracy[raced["recommended"]])
        self.race_saved.append(1 - raced["evaluations"] / raced["evaluations_exhaustive"])
        return answer

    def _forget(self, answer: Any) -> None:
        timed([*ZOO, "forget", answer["dataset_id"], "--json"], self._environment)

    def found(self) -> dict[str, Any]:
        medians = {name: statistics.median(values) for name, values in self.seconds.items()}
        return {
            "seconds": {name: round(value, 3) for name, value in medians.items()},
            "ratios": {run: {name: round(medians[name] / medians[run], 2) for name in SCRIPTS} for run in RUNS},
            "same_best_accuracy": all(self.best_agrees),
            "race_same_pick": f"{sum(self.race_agrees)} of {len(self.race_agrees)}",
            "race_largest_shortfall": round(max(self.race_shortfall), 4),
            "race_predictions_saved": round(statistics.median(self.race_saved), 3),
        }


def table(found: dict[str, Any]) -> str:
    """The measured table, with what is not faster said below it."""
    lines = ["| condition | method | seconds | against `each` | against `single` | against `once` |"]
    lines.append("|---|---|---|---|---|---|")
    slower, races = [], []
    for condition, each in found["conditions"].items():
        seconds, ratios = each["seconds"], each["ratios"]
        lines += [f"| {condition} | script `{name}` | {seconds[name]:.2f} | | | |" for name in SCRIPTS]
        for run, text in RUNS.items():
            shown = " | ".join(f"{ratios[run][name]:.2f} x as fast" for name in SCRIPTS)
            lines.append(f"| {condition} | `zoo select`, {text} | {seconds[run]:.2f} | {shown} |")
            slower += [
                f"{text} against `{name}` under {condition} ({ratios[run][name]:.2f})"
                for name in SCRIPTS
                if ratios[run][name] < 1
            ]
        races.append(
            f"under {condition} the race left out {each['race_predictions_saved']:.0%} of the predictions and picked "
            f"what evaluating everything picks in {each['race_same_pick']} rounds (largest loss on the images "
            f"{100 * each['race_largest_shortfall']:.2f} points)"
        )
    lines += [
        "",
        f"{found['images']:,} images, {found['variants']} variants, medians of {found['rounds']} rounds. Scripts:",
    ]
    lines[-1] += "".join(f" `{name}`, {text};" for name, text in SCRIPTS.items()).removesuffix(";") + "."
    lines.append(f"Not faster: {'; '.join(slower)}." if slower else "Every run is faster than every script.")
    joined = "; ".join(races)
    lines.append(f"{joined[0].upper()}{joined[1:]}.")
    return "\n".join(lines)


def good(each: dict[str, Any]) -> bool:
    first, repeated = (float(each["ratios"][run]["each"]) for run in ("first", "repeated"))
    return bool(first >= LEAST_FIRST and repeated >= LEAST_REPEATED and each["same_best_accuracy"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="2 variants, 1,000 images, one condition, one round, byte code as it comes; no targets.",
    )
    parser.add_argument("--condition", nargs="+", default=CONDITIONS, metavar="NAME", help="Stress conditions.")
    parser.add_argument("--images", type=int, default=2000, help="At least 1,000: fewer cannot race.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    require_s3()
    test_images()
    count, rounds = (1000, 1) if given.quick else (given.images, given.rounds)
    conditions = given.condition[:1] if given.quick else given.condition
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
        if not given.quick:
            environment = compiled(environment, home / "bytecode")
        store = f"s3://{s3.bucket}"
        bundle = small_starter(home / "bundle") if given.quick else starter_bundle()
        timed([*ZOO, "publish", str(bundle), "--store", store, "--json"], environment)
        (home / "anew.py").write_text(HEAD + ANEW + TAIL)
        (home / "once.py").write_text(HEAD + ONCE + TAIL)
        anew, once = ([sys.executable, str(home / text), s3.endpoint_url, s3.bucket] for text in ("anew.py", "once.py"))
        server = Server(store, environment)
        try:
            environment["SEEDZOO_SERVER"] = server.address
            family = open_bundle(bundle).family
            scripts = {"each": [*anew, "32"], "single": [*anew, "1"], "once": once}
            contests = {condition: Contest(scripts, environment) for condition in conditions}
            for turn in range(rounds):
                for condition, contest in contests.items():
                    folder = home / f"{condition}-{turn}".replace("/", "-")
                    write_images(folder, count, family.task.classes, first=8000 - count * turn, condition=condition)
                    contest.play(folder, turn)
                    last = {method: round(values[-1], 2) for method, values in contest.seconds.items()}
                    print(turn, condition, last, contest.best_agrees[-1], contest.race_agrees[-1], flush=True)
        finally:
            server.stop()
    measured = {condition: contest.found() for condition, contest in contests.items()}
    found = {"images": count, "variants": len(family.variants), "rounds": rounds, "conditions": measured}
    write_results(found, __file__, given.out, quick=given.quick)
    text = table(found)
    print(text)
    if given.docs is not None:
        replace_between(given.docs, "bench/end_to_end.py", text)
    return 0 if given.quick or all(good(each) for each in measured.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
