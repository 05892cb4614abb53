"""How evaluation grows: with variants, images and image size in time, with images in memory.

Every point is a process of its own that evaluates variants of the starter family (for the sizes: of the same network
with random weights) on image files in a folder. Times are medians of several rounds, as ratios to the first point;
memory is the process's largest resident set. Predictions are not kept between runs.

Run: python bench/growth.py [--quick] [--rounds 3] [--out build/bench/growth.json] [--docs docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from docs import replace_between
from engine import BUILT, Case, engine, starter_case
from PIL import Image

from seedzoo.records import Family, FileEntry, Preprocessing, Task, TrainingData, Variant


def point(folder: Path, images: int, variants: int, side: int) -> dict[str, float]:
    """Seconds and peak memory in this process, after a short run that opens everything once."""
    case = _sized(folder, images, variants, side) if side != 28 else _starter(folder, images, variants)
    started = time.perf_counter()
    found = engine(case)
    return {
        "seconds": time.perf_counter() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "kept_mib": found.nbytes / 2**20,
    }


def _starter(folder: Path, images: int, variants: int) -> Case:
    case = starter_case(folder, images)
    family = replace(case.family, variants=case.family.variants[:variants])
    return replace(case, family=family, models=case.models[:variants])


def _sized(folder: Path, images: int, variants: int, side: int) -> Case:
    rng = np.random.default_rng(side)
    folder.mkdir(parents=True)
    small = rng.integers(0, 256, (images, 8, 8), dtype=np.uint8)
    for number, image in enumerate(small):
        Image.fromarray(image).resize((side, side)).save(folder / f"{number:06d}.png")
    task = _task(side)
    models = _random_models(task, variants)
    members = tuple(
        Variant(tag=path.stem, model=FileEntry(path.name, path.stat().st_size, ""), seeds={}, held_out_accuracy=0.0)
        for path in models
    )
    family = Family(name="r", title="", task=task, variants=members, certificate=None, data=TrainingData("none", 0, 0))
    return Case(f"{side} px", family, models, folder)


def _task(side: int) -> Task:
    return Task(name="r", classes=tuple("abcdefghij"), preprocessing=Preprocessing(side, side, 1))


def _random_models(task: Task, count: int) -> list[Path]:
    return [_random_model(task, seed) for seed in range(count)]


def _random_model(task: Task, seed: int) -> Path:
    side = task.preprocessing.height
    path = BUILT / f"cnn-{side}" / f"r{seed}.onnx"
    if not path.exists():
        import torch  # noqa: PLC0415
        from torch import nn  # noqa: PLC0415

        from seedzoo.training.export import export_onnx  # noqa: PLC0415
        from seedzoo.training.models import create_model  # noqa: PLC0415
        from seedzoo.training.normalisation import Normalisation  # noqa: PLC0415

        torch.manual_seed(seed)
        kwargs = {"in_chans": 1, "num_classes": 10, "img_size": side}
        scale = Normalisation(torch.full((1,), 128.0), torch.full((1,), 64.0))
        model = nn.Sequential(scale, create_model("seedzoo_cnn_small", kwargs))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_bytes(export_onnx(model, task=task, family="r", tag=path.stem, seeds={"init": seed}))
        partial.replace(path)
    return path


def measured(images: int, variants: int, side: int, rounds: int) -> dict[str, float]:
    """A point's medians over processes of their own."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            command = [sys.executable, __file__, "--point", name, str(images), str(variants), str(side)]
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            found.append(json.loads(done.stdout))
    return {key: round(statistics.median(each[key] for each in found), 3) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=BUILT / "growth.json")
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--point", nargs=4, metavar=("FOLDER", "IMAGES", "VARIANTS", "SIDE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        folder, images, variants, side = given.point
        print(json.dumps(point(Path(folder) / "images", int(images), int(variants), int(side))))
        return
    scale, rounds = (20, 1) if given.quick else (1, given.rounds)
    sweeps = {
        "variants": [(2000 // scale, variants, 28) for variants in (6, 12, 25, 50)],
        "images": [(images // scale, 12, 28) for images in (1000, 2000, 4000, 8000)],
        "side": [(400 // scale, 4, side) for side in (32, 64, 128, 224)],
        "memory": [(images // scale, 4, 28) for images in (2000, 20_000, 100_000)],
    }
    results: dict[str, list[dict[str, float]]] = {}
    for name, points in sweeps.items():
        results[name] = []
        for images, variants, side in points:
            if side != 28:
                _random_models(_task(side), variants)  # here, as the export's memory is not the engine's
            found = measured(images, variants, side, 1 if name == "memory" else rounds)
            row = {"images": images, "variants": variants, "side": side, **found}
            row["ratio"] = round(
                found["seconds"] / (results[name][0]["seconds"] if results[name] else found["seconds"]), 2
            )
            results[name].append(row)
            print(name, json.dumps(row), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    if given.docs is not None:
        replace_between(given.docs, "bench/growth.py", table(results))


def table(results: dict[str, list[dict[str, float]]]) -> str:
    lines = ["| growing | images | variants | side, px | time | peak memory, MiB |", "|---|--:|--:|--:|--:|--:|"]
    for name, rows in results.items():
        lines += [
            f"| {name} | {row['images']:,} | {row['variants']} | {row['side']} | {row['ratio']} x "
            f"| {row['peak_mib']:.0f} |"
            for row in rows
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
