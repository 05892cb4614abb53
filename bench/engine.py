"""The evaluation engine against a plain loop, against the practical limit of ONNX Runtime, and against the arithmetic.

Every variant of a family on every image of a folder, image files decoded from disk:

- naive: one variant after the other, a session with default options, batches of 32, images decoded anew for each;
- limit: decoded tensors in memory, one single-threaded session per core, the best of several batch sizes;
- arithmetic: multiply-adds of the models over what a large matrix product reaches on all cores.

Two families: the starter (50 small networks, 28 x 28 PNG) and 8 ResNet-50 with random weights (224 x 224 JPEG).

Run: python bench/engine.py [--quick] [--rounds 3] [--out build/bench/engine.json] [--docs docs/performance.md]
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from docs import replace_between
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from seedzoo.catalog.bundle import open_bundle
from seedzoo.cpu import usable_cores
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.session import Model
from seedzoo.records import Family, FileEntry, Preprocessing, Task, TrainingData, Variant
from seedzoo.starter import starter_bundle

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "build" / "bench"
FASHION = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
BATCHES = (4, 8, 16, 32, 64, 128)


class FolderExamples:
    """Image files of a folder as the engine takes them, unlabelled."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.iterdir())
        self.labels = np.full(len(self.paths), -1, dtype=np.int64)
        self.groups = None
        self.digests = [path.name for path in self.paths]
        self.sizes = np.array([path.stat().st_size for path in self.paths], dtype=np.int64)
        self.slices: dict[str, NDArray[np.bool_]] = {}
        self.slice_columns: tuple[str, ...] = ()

    def slice_numbers(self, column: str) -> NDArray[np.int64]:
        raise KeyError(column)

    def read(self, rows: Sequence[int]) -> list[bytes]:
        return [self.paths[row].read_bytes() for row in rows]


@dataclass(frozen=True)
class Case:
    """A family and a folder of images."""

    name: str
    family: Family
    models: Sequence[Path]
    folder: Path

    @cached_property
    def examples(self) -> FolderExamples:
        return FolderExamples(self.folder)

    @cached_property
    def raw(self) -> list[bytes]:
        return [path.read_bytes() for path in self.models]

    def load(self, variant: Variant) -> bytes:
        return self.raw[[member.tag for member in self.family.variants].index(variant.tag)]

    def decoded(self) -> NDArray[np.uint8]:
        shape = self.family.task.preprocessing
        mode = "L" if shape.channels == 1 else "RGB"
        images = [np.asarray(Image.open(path).convert(mode)) for path in self.examples.paths]
        return np.stack(images).reshape(len(images), shape.height, shape.width, shape.channels)


def engine(case: Case) -> NDArray[np.int32]:
    """Most probable classes [n, M] by the engine, from files to predictions, sessions opened on the way."""
    with FamilyEvaluator(family=case.family, load_model=case.load, examples=case.examples) as evaluator:
        found = [scores.predicted for _, scores in evaluator.blocks(np.arange(len(case.examples.paths)))]
    return np.concatenate(found)


def naive(case: Case) -> NDArray[np.int32]:
    """As a user would write it."""
    shape = case.family.task.preprocessing
    mode = "L" if shape.channels == 1 else "RGB"
    columns = []
    for path in case.models:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = []
        for start in range(0, len(case.examples.paths), 32):
            batch = [np.asarray(Image.open(file).convert(mode)) for file in case.examples.paths[start : start + 32]]
            images = np.stack(batch).reshape(len(batch), shape.height, shape.width, shape.channels)
            found.append(session.run(None, {session.get_inputs()[0].name: images})[0].argmax(axis=1))
        columns.append(np.concatenate(found))
    return np.stack(columns, axis=1).astype(np.int32)


class Limit:
    """Sessions and tensors are ready; only the forward passes are timed."""

    def __init__(self, case: Case) -> None:
        self.images = case.decoded()
        self._models = [Model(raw, name=path.stem) for raw, path in zip(case.raw, case.models, strict=True)]
        self._pool = ThreadPoolExecutor(usable_cores())

    def run(self, batch: int) -> NDArray[np.int32]:
        def one(model: Model) -> NDArray[np.int64]:
            session, name = model._session, model._input  # the limit is the runtime's, not ours
            parts = [
                session.run(None, {name: self.images[start : start + batch]})[0].argmax(axis=1)
                for start in range(0, len(self.images), batch)
            ]
            return np.concatenate(parts)

        return np.stack(list(self._pool.map(one, self._models)), axis=1).astype(np.int32)


def multiply_adds(raw: bytes) -> int:
    """Multiply-adds of convolutions and matrix products for one image."""
    proto = onnx.load_from_string(raw)
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0]
    batch.ClearField("dim_param")
    batch.dim_value = 1
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(shapes[node.input[1]][1:]))
        elif node.op_type in ("Gemm", "MatMul"):
            total += int(np.prod(shapes[node.output[0]])) * shapes[node.input[0]][-1]
    return total


def matrix_product_rate() -> float:
    """Multiply-adds per second of a float32 product of 3072 x 3072 on all cores; the best of 5."""
    import torch  # noqa: PLC0415  (its matrix product is as fast as this machine's get)

    torch.set_num_threads(usable_cores())
    side = 3072
    a, b = torch.rand(side, side), torch.rand(side, side)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return side**3 / min(seconds)


def timed(job: Callable[[], NDArray[np.int32]]) -> tuple[float, NDArray[np.int32]]:
    gc.collect()
    started = time.perf_counter()
    found = job()
    return time.perf_counter() - started, found


def measure(case: Case, rounds: int) -> dict[str, object]:
    limit = Limit(case)
    tries = {batch: timed(lambda batch=batch: limit.run(batch))[0] for batch in BATCHES if batch <= len(limit.images)}
    batch = min(tries, key=tries.__getitem__)
    seconds: dict[str, list[float]] = {"engine": [], "naive": [], "limit": []}
    changed = 0
    for _ in range(rounds):
        took = {
            "engine": timed(lambda: engine(case)),
            "naive": timed(lambda: naive(case)),
            "limit": timed(lambda: limit.run(batch)),
        }
        for name, (spent, _) in took.items():
            seconds[name].append(spent)
        changed = int((took["engine"][1] != took["naive"][1]).sum())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    n, members = len(case.examples.paths), len(case.models)
    arithmetic = n * members * multiply_adds(case.raw[0]) / matrix_product_rate()
    return {
        "images": n,
        "variants": members,
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "naive_over_engine": round(medians["naive"] / medians["engine"], 2),
        "limit_over_engine": round(medians["limit"] / medians["engine"], 3),
        "arithmetic_over_engine": round(arithmetic / medians["engine"], 3),
        "limit_batch": batch,
        "predictions_that_differ": changed,
        "cores": usable_cores(),
    }


def starter_case(folder: Path, n: int) -> Case:
    bundle = open_bundle(starter_bundle())
    with gzip.open(FASHION) as file:
        images = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 28, 28)
    folder.mkdir(parents=True)
    for number in range(n):
        Image.fromarray(images[number % len(images)]).save(folder / f"{number:06d}.png")
    models = [bundle.folder / f"models/{variant.tag}.onnx" for variant in bundle.family.variants]
    return Case("starter, 28 x 28 PNG", bundle.family, models, folder)


def resnet_case(folder: Path, n: int, members: int = 8) -> Case:
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(n):
        photograph = photographs[number % len(photographs)]
        left, top = (int(rng.integers(0, side - 224)) for side in photograph.size)
        photograph.crop((left, top, left + 224, top + 224)).save(folder / f"{number:05d}.jpg", quality=90)
    shape = Preprocessing(height=224, width=224, channels=3)
    task = Task(name="random", classes=tuple(f"c{index}" for index in range(1000)), preprocessing=shape)
    models = [_resnet(task, seed) for seed in range(members)]
    variants = tuple(
        Variant(tag=path.stem, model=FileEntry(path.name, path.stat().st_size, ""), seeds={}, held_out_accuracy=0.0)
        for path in models
    )
    family = Family(
        name="resnet50", title="", task=task, variants=variants, certificate=None, data=TrainingData("none", 0, 0)
    )
    return Case("ResNet-50, 224 x 224 JPEG", family, models, folder)


def _resnet(task: Task, seed: int) -> Path:
    path = BUILT / "resnet50" / f"r{seed}.onnx"
    if not path.exists():
        import torch  # noqa: PLC0415
        from torch import nn  # noqa: PLC0415

        from seedzoo.training.export import export_onnx  # noqa: PLC0415
        from seedzoo.training.models import create_model  # noqa: PLC0415
        from seedzoo.training.normalisation import Normalisation  # noqa: PLC0415

        torch.manual_seed(seed)
        scale = Normalisation(torch.full((3,), 116.0), torch.full((3,), 58.0))
        model = nn.Sequential(scale, create_model("resnet50", {"num_classes": 1000}))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_bytes(export_onnx(model, task=task, family="resnet50", tag=path.stem, seeds={"init": seed}))
        partial.replace(path)
    return path


def table(results: dict[str, dict[str, object]]) -> str:
    lines = [
        "| family and images | images x variants | engine against naive | against the limit | against the arithmetic |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        lines.append(
            f"| {name} | {found['images']} x {found['variants']} | {found['naive_over_engine']} x as fast | "
            f"{found['limit_over_engine']} of it | {found['arithmetic_over_engine']} of it |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A few images, to see that it runs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=BUILT / "engine.json")
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        cases = [starter_case(Path(name) / "starter", 100 if given.quick else 2000)]
        cases.append(resnet_case(Path(name) / "resnet", 4 if given.quick else 16, members=2 if given.quick else 8))
        for case in cases:
            results[case.name] = measure(case, 1 if given.quick else given.rounds)
            print(case.name, json.dumps(results[case.name]), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    if given.docs is not None:
        replace_between(given.docs, "bench/engine.py", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
