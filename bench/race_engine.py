"""The race inside the engine against evaluating everything: predictions, wall time, and whether the winner is the same.

Two parts:

- The 50 variants of the starter family on Fashion-MNIST test images (PNG files, no two alike) under a mild and a
  strong stress condition: whole selections by the engine, race and everything alternating in one process, each run with
  an order of its own; no prediction is kept from one to the next.
- The predictions of 67 ImageNet models (`imagenetv2-b-33` of the shared data) replayed in many orders, at the cost of a
  ResNet-50's forward pass and of decoding a 224 x 224 JPEG, both measured in this run on all cores. Each block of the
  race takes as long as its variants need when they share the cores, one variant on one core at a time.

Run: python bench/race_engine.py [--quick] [--rounds 3] [--seeds 200] [--out build/bench/race_engine.json]
     [--docs docs/performance.md]
The exit status is 1 if the replayed races kept the best variant in play in fewer than
95 % of the orders, at one-sided binomial p < .001.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import write_results
from docs import replace_between
from end_to_end import write_images
from engine import FolderExamples, resnet_case
from numpy.typing import NDArray
from race import ALPHA, BLOCK, SHARED, shared_task
from scipy import stats

from seedzoo.catalog.bundle import PROFILE_FILE, Bundle, model_path, open_bundle
from seedzoo.cpu import usable_cores
from seedzoo.engine import SelectionSettings, run_selection
from seedzoo.engine.race import reserve_size
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS, decode_image
from seedzoo.inference.session import Model
from seedzoo.records import Evaluation, Release, SelectionReport
from seedzoo.selection import Race, choose
from seedzoo.starter import starter_bundle
from seedzoo.stress.table import read_profile

SIZES = (1000, 5000, 10_000)
CONDITIONS = {"brightness-1": "mild", "contrast-3": "strong"}
REPLAYED = "imagenetv2-b-33"
CORES = usable_cores()


class LabelledFolder(FolderExamples):
    """Image files in one folder per class, without copies, which may not race."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        by_content = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.glob("*/*"))}
        self.paths = list(by_content.values())
        self.digests = list(by_content)
        self.labels = np.array([classes.index(path.parent.name) for path in self.paths], dtype=np.int64)
        self.groups = None
        self.sizes = np.array([path.stat().st_size for path in self.paths], dtype=np.int64)
        self.slices = {}
        self.slice_columns = ()


# --- the starter family through the engine -------------------------------------------------------------------


class Starter:
    """Selections by the starter family, or by its first few variants."""

    def __init__(self, variants: int | None = None) -> None:
        self.bundle: Bundle = open_bundle(starter_bundle())
        self.family = replace(self.bundle.family, variants=self.bundle.family.variants[:variants])
        self.classes = self.family.task.classes
        self._profile = read_profile(self.bundle.folder / PROFILE_FILE)

    def select(self, examples: LabelledFolder, evaluation: Evaluation, seed: int) -> SelectionReport:
        family = self.family
        return run_selection(
            family=family,
            release=Release(family.name, "release", "2026-01-01T00:00:00+00:00", self.bundle.files),
            load_model=lambda variant: (self.bundle.folder / model_path(variant.tag)).read_bytes(),
            profile=self._profile,
            signatures=None,
            examples=examples,
            settings=SelectionSettings(evaluation=evaluation, seed=seed),
            selections_served=1,
        )


def through_engine(starter: Starter, folder: Path, condition: str, size: int, rounds: int) -> dict[str, Any]:
    """Medians of both ways on the same image files, alternating, and what the races picked."""
    write_images(folder, size, starter.classes, 0, condition)
    examples = LabelledFolder(folder, starter.classes)
    seconds: dict[Evaluation, list[float]] = {Evaluation.EXHAUSTIVE: [], Evaluation.RACE: []}
    ratios, shares, ends = [], [], []
    for turn in range(rounds):
        reports = {}
        ways = list(seconds) if turn % 2 == 0 else list(seconds)[::-1]
        for way in ways:
            started = time.perf_counter()
            reports[way] = starter.select(examples, way, seed=turn)
            seconds[way].append(time.perf_counter() - started)
        full, raced = reports[Evaluation.EXHAUSTIVE], reports[Evaluation.RACE]
        ratios.append(seconds[Evaluation.EXHAUSTIVE][-1] / seconds[Evaluation.RACE][-1])
        shares.append(raced.evaluations / full.evaluations)
        estimates = {score.variant: score.accuracy.estimate for score in full.scores if score.accuracy is not None}
        ends.append(
            {
                "same": raced.recommended == full.recommended,
                "inside": raced.recommended in full.candidates and full.recommended in raced.candidates,
                "points_below": 100 * (estimates[full.recommended] - estimates[raced.recommended]),
            }
        )
    return {
        "images": len(examples.paths),
        "condition": condition,
        "shift": CONDITIONS[condition],
        "rounds": rounds,
        "evaluated": round(statistics.median(shares), 3),
        "seconds_everything": round(statistics.median(seconds[Evaluation.EXHAUSTIVE]), 2),
        "seconds_race": round(statistics.median(seconds[Evaluation.RACE]), 2),
        "everything_over_race": round(statistics.median(ratios), 2),
        "same_winner": sum(end["same"] for end in ends),
        "same_or_inside": sum(end["same"] or end["inside"] for end in ends),
        "most_points_below": round(max(end["points_below"] for end in ends), 2),
    }


# --- real ImageNet models, replayed --------------------------------------------------------------------------


def resnet_costs(folder: Path, repeats: int, *, quick: bool) -> dict[str, float]:
    """Core-seconds of a ResNet-50's forward pass, and of decoding a JPEG of its size, with all cores at work."""
    case = resnet_case(folder, 4 if quick else 16, members=1, quick=quick)
    images, shape = case.decoded(), case.family.task.preprocessing
    models = [Model(case.raw[0], name=f"resnet50/{core}") for core in range(CORES)]
    files = [path.read_bytes() for path in case.examples.paths]

    def decode(_: int) -> None:
        for raw in files:
            decode_image(raw, shape, max_pixels=DEFAULT_MAX_PIXELS)

    return {
        "pass": _core_seconds(lambda core: models[core].logits(images), repeats) / len(images),
        "decode": _core_seconds(decode, 5 * repeats) / len(files),
    }


def _core_seconds(job: Callable[[int], object], repeats: int) -> float:
    """Median time of a job that every core does at once, after a first time that does not count."""
    with ThreadPoolExecutor(CORES) as pool:
        seconds = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            list(pool.map(job, range(CORES)))
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def block_seconds(examples: int, variants: int, costs: dict[str, float]) -> float:
    """A block of a selection: its variants share the cores, one on one core at a time, while the next is decoded."""
    longest = math.ceil(variants / CORES) * examples * costs["pass"]
    work = examples * (variants * costs["pass"] + costs["decode"]) / CORES
    return max(longest, work)


def replayed(scores: NDArray[np.bool_], costs: dict[str, float], seeds: int) -> dict[str, Any]:
    """Races on all examples in many orders, against everything evaluated."""
    n, variants = scores.shape
    full = choose(scores, alpha=ALPHA)
    means = scores.mean(axis=0)
    everything = block_seconds(n, variants, costs)
    reserved = reserve_size(n)
    shares, seconds, same, inside, kept, below = [], [], 0, 0, 0, []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(n)[reserved:]
        running = Race(variants, alpha=ALPHA, seed=seed)
        spent = block_seconds(reserved, variants, costs)
        for start in range(0, len(order), BLOCK):
            if running.decided:
                break
            alive = running.alive_ids
            rows = order[start : start + BLOCK]
            spent += block_seconds(len(rows), alive.size, costs)
            running.update(scores[np.ix_(rows, alive)])
        shares.append((running.evaluations + reserved * variants) / (n * variants))
        seconds.append(spent)
        same += running.leader == full.best
        inside += running.leader in full.candidates
        kept += full.best in running.alive_ids
        below.append(100 * float(means[full.best] - means[running.leader]))
    return {
        "task": REPLAYED,
        "images": n,
        "variants": variants,
        "seeds": seeds,
        "cores": CORES,
        "pass_ms": round(1000 * costs["pass"], 2),
        "decode_ms": round(1000 * costs["decode"], 2),
        "evaluated": round(statistics.mean(shares), 3),
        "minutes_everything": round(everything / 60, 1),
        "minutes_race": round(statistics.mean(seconds) / 60, 1),
        "everything_over_race": round(statistics.median(everything / spent for spent in seconds), 2),
        "same_winner": round(same / seeds, 3),
        "inside": round(inside / seeds, 3),
        "kept": round(kept / seeds, 3),
        "most_points_below": round(max(below), 2),
    }


def replay(folder: Path, seeds: int, *, repeats: int, quick: bool) -> dict[str, Any]:
    """The replay, or why there is none."""
    if not SHARED.is_dir():
        return {"skipped": f"there is no {SHARED.name} with the predictions of {REPLAYED}"}
    try:
        costs = resnet_costs(folder, repeats, quick=quick)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "timm", "onnxscript"):
            raise
        return {"skipped": f"{error.name} is needed to make the network whose cost it is"}
    return replayed(shared_task(REPLAYED), costs, seeds)


# --- report --------------------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> str:
    lines = [
        "| images | shift | predictions | everything | race | everything / race | same winner | most points below |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found["engine"]:
        lines.append(
            f"| {row['images']:,} | {row['condition']} ({row['shift']}) | {row['evaluated']:.2f} of all | "
            f"{row['seconds_everything']:.1f} s | {row['seconds_race']:.1f} s | {row['everything_over_race']:.2f} | "
            f"{row['same_winner']} of {row['rounds']} (or not told apart: {row['same_or_inside']}) | "
            f"{row['most_points_below']:.2f} |"
        )
    row = found["replay"]
    if "skipped" in row:
        return "\n".join([*lines, "", f"Not replayed: {row['skipped']}."])
    told = (
        f"Replay of {row['variants']} ImageNet models on {row['images']:,} images in {row['seeds']} orders, at "
        f"{row['pass_ms']:.1f} ms of a core for a ResNet-50's forward pass and {row['decode_ms']:.2f} ms for decoding "
        f"a JPEG: the race made {row['evaluated']:.2f} of all predictions, in {row['minutes_race']:.0f} instead of "
        f"{row['minutes_everything']:.0f} minutes on {row['cores']} cores, as modelled "
        f"({row['everything_over_race']:.2f} x as fast). Its winner was that of everything in "
        f"{100 * row['same_winner']:.1f} % of the races, one that everything does not tell from the best in "
        f"{100 * row['inside']:.1f} %, and {row['most_points_below']:.2f} points below it at most; "
        f"{100 * row['kept']:.1f} % of the races kept the best variant in play."
    )
    return "\n".join([*lines, "", told])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 variants, 1,000 images, one round, few orders.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=200, help="orders of the replay")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    sizes, rounds, seeds = (SIZES[:1], 1, 2) if given.quick else (SIZES, given.rounds, given.seeds)
    conditions = list(CONDITIONS)[1:] if given.quick else list(CONDITIONS)
    found: dict[str, Any] = {"engine": []}
    with tempfile.TemporaryDirectory() as name:
        starter = Starter(variants=4 if given.quick else None)
        write_images(Path(name) / "warm", 100, starter.classes, 0)
        # Whoever comes first would pay for reading everything from disk.
        starter.select(LabelledFolder(Path(name) / "warm", starter.classes), Evaluation.EXHAUSTIVE, seed=0)
        for size in sizes:
            for condition in conditions:
                row = through_engine(starter, Path(name) / f"{condition}-{size}", condition, size, rounds)
                found["engine"].append(row)
                print(json.dumps(row), flush=True)
        found["replay"] = replay(Path(name) / "resnet", seeds, repeats=1 if given.quick else 5, quick=given.quick)
        print(json.dumps(found["replay"]), flush=True)
    write_results(found, __file__, given.out, quick=given.quick)
    if given.docs is not None:
        replace_between(given.docs, "bench/race_engine.py", table(found))
    print(table(found))
    row = found["replay"]
    short = "kept" in row and stats.binom.cdf(round(row["kept"] * row["seeds"]), row["seeds"], 1 - ALPHA) < 0.001
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
