"""How evaluation grows: with variants, images and image size in time, with images in memory.

Every point is a process of its own that evaluates variants of the starter family (for the sizes: of the same network
with random weights) on image files in a folder. Times are medians of several rounds, as ratios to the first point;
memory is the process's largest resident set. Predictions are not kept between runs.

Memory is that of whole selections, from the files to the report: everything evaluated, and a race. What must grow are
the labels, names and digests of the images and the scores of n images by M variants that the choice is made from; the
images themselves must not add up.

Run: python bench/growth.py [--quick] [--rounds 3] [--out build/bench/growth.json] [--docs docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import BUILT, test_images, test_labels, write_results
from docs import replace_between
from engine import Case, engine, starter_case
from PIL import Image
from race_engine import LabelledFolder, Starter

from seedzoo.records import Evaluation, Family, FileEntry, Preprocessing, Task, TrainingData, Variant

_WAYS = (Evaluation.EXHAUSTIVE.value, Evaluation.RACE.value)
Point = tuple[int, int, int | str]
"""Images, variants, and the side of an image or, for a whole selection, how much it evaluates."""
SWEEPS: dict[str, list[Point]] = {
    "variants": [(2000, variants, 28) for variants in (6, 12, 25, 50)],
    "images": [(images, 12, 28) for images in (1000, 2000, 4000, 8000)],
    "side": [(400, 4, side) for side in (32, 64, 128, 224)],
    "memory, everything evaluated": [(images, 4, _WAYS[0]) for images in (2000, 20_000, 100_000)],
    "memory, race": [(images, 4, _WAYS[1]) for images in (2000, 20_000, 100_000)],
}
QUICK: dict[str, list[Point]] = {
    "variants": [(20, 4, 28)],
    "images": [(40, 2, 28)],
    "side": [(20, 1, 32)],
    "memory, everything evaluated": [(100, 2, _WAYS[0])],
    "memory, race": [(images, 2, _WAYS[1]) for images in (1000, 1100)],
}


def point(folder: Path, images: int, variants: int, side: int) -> dict[str, float]:
    """Seconds and peak memory in this process, after a short run that opens everything once."""
    case = _sized(folder, images, variants, side) if side != 28 else starter_case(folder, images, variants)
    started = time.perf_counter()
    found = engine(case)
    return {
        "seconds": time.perf_counter() - started,
        "peak_mib": _peak_mib(),
        "kept_mib": found.nbytes / 2**20,
    }


def selecting(folder: Path, images: int, variants: int, evaluation: Evaluation) -> dict[str, float]:
    """Seconds and peak memory of a whole selection in this process."""
    starter = Starter(variants)
    _labelled(folder, images, starter.classes)
    examples = LabelledFolder(folder, starter.classes)
    before = _peak_mib()
    started = time.perf_counter()
    report = starter.select(examples, evaluation, seed=0)
    return {
        "seconds": time.perf_counter() - started,
        "peak_mib": _peak_mib(),
        "before_mib": before,
        "evaluations": report.evaluations,
    }


def _peak_mib() -> float:
    # Not ru_maxrss: a process that another one starts begins with the other one's.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def _labelled(folder: Path, images: int, classes: tuple[str, ...]) -> None:
    """Test images over and over, each time with another number in a corner, as copies may not race."""
    pixels, labels = test_images()[..., 0], test_labels()
    for name in classes:
        (folder / name).mkdir(parents=True)
    for number in range(images):
        image = pixels[number % len(pixels)].copy()
        image[0, :3] = number >> 16, number >> 8 & 255, number & 255
        Image.fromarray(image).save(folder / classes[int(labels[number % len(labels)])] / f"{number:06d}.png")


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


def _can_make_models(task: Task, count: int) -> bool:
    """Make networks with random weights here, as the export's memory is not the engine's; False without PyTorch."""
    try:
        _random_models(task, count)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "timm", "onnxscript"):
            raise
        return False
    return True


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


def measured(images: int, variants: int, side: int | str, rounds: int) -> dict[str, float]:
    """A point's medians over processes of their own; instead of a side, how much a selection evaluates."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            command = [sys.executable, __file__, "--point", name, str(images), str(variants), str(side)]
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            found.append(json.loads(done.stdout))
    return {key: round(statistics.median(each[key] for each in found), 3) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A few small points, to see that it runs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--point", nargs=4, metavar=("FOLDER", "IMAGES", "VARIANTS", "SIDE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        folder, images, variants, side = given.point
        place = Path(folder) / "images"
        if side in _WAYS:
            print(json.dumps(selecting(place, int(images), int(variants), Evaluation(side))))
        else:
            print(json.dumps(point(place, int(images), int(variants), int(side))))
        return
    test_images()  # before any process of its own that could not say what is missing
    rounds = 1 if given.quick else given.rounds
    results: dict[str, list[dict[str, float | str]]] = {}
    for name, points in (QUICK if given.quick else SWEEPS).items():
        results[name] = []
        for images, variants, side in points:
            if side not in (28, *_WAYS) and not _can_make_models(_task(int(side)), variants):
                print(f"{name}: skipped, the networks of {side} px need PyTorch", flush=True)
                continue
            once = name.startswith("memory")
            found = measured(images, variants, side, 1 if once else rounds)
            row = {"images": images, "variants": variants, "side": 28 if once else side, **found}
            first = results[name][0]["seconds"] if results[name] else found["seconds"]
            row["ratio"] = round(found["seconds"] / float(first), 2)
            results[name].append(row)
            print(name, json.dumps(row), flush=True)
    write_results(results, __file__, given.out, quick=given.quick)
    text = table(results)
    print(text)
    if given.docs is not None:
        replace_between(given.docs, "bench/growth.py", text)


def table(results: dict[str, list[dict[str, float | str]]]) -> str:
    lines = ["| growing | images | variants | side, px | time | peak memory, MiB |", "|---|--:|--:|--:|--:|--:|"]
    for name, rows in results.items():
        lines += [
            f"| {name} | {row['images']:,} | {row['variants']} | {row['side']} | {row['ratio']} x "
            f"| {row['peak_mib']:.0f} |"
            for row in rows
        ]
    for name, rows in results.items():
        if name.startswith("memory") and len(rows) > 1:
            first, last = rows[0], rows[-1]
            more = (float(last["peak_mib"]) - float(first["peak_mib"])) * 2**20
            each = more / (int(last["images"]) - int(first["images"]))
            lines += ["", f"{name.capitalize()}: {each:,.0f} bytes for each image more."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
