"""The evaluation engine against a plain loop, against the practical limit of ONNX Runtime, and against the arithmetic.

Every variant of a family on every image of a folder, image files decoded from disk:

- first: the engine from files to predictions, sessions opened on the way;
- steady: the same again with its sessions open, which is what more images would cost;
- naive: one variant after the other, a session with default options, batches of 32, images decoded anew for each;
- limit: decoded tensors in memory, open single-threaded sessions on all cores, the best of several batch sizes;
- arithmetic: multiply-adds of the models over what a large matrix product reaches on all cores;
- room for 3: the engine with memory for 3 open sessions, once.

Two families: the starter (50 small networks, 28 x 28 PNG) and 8 ResNet-50 with random weights (224 x 224 JPEG).
All are timed in each round, in alternating order; ratios are those of a round, and their medians are told.
With --quick a tiny network stands in for them, and what is told is not about speed.

Run: python bench/engine.py [--quick] [--rounds 3] [--out build/bench/engine.json] [--docs docs/performance.md]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from common import BUILT, require, test_images, write_results
from docs import replace_between
from numpy.typing import NDArray
from PIL import Image

from seedzoo.catalog.bundle import open_bundle
from seedzoo.cpu import usable_cores
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.inference.providers import CPU
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.sessions import session_bytes
from seedzoo.inference.settings import InferenceSettings
from seedzoo.records import Family, FileEntry, Preprocessing, Task, TrainingData, Variant
from seedzoo.starter import starter_bundle

TRIED_PIXELS = 16 * 8 * 224**2
"""Of all variants together, by which the batch sizes of the limit are compared."""
BATCHES = (1, 4, 8, 16, 32, 64, 128)


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
    return twice(case, again=False)["first"][1]


def twice(
    case: Case, inference: InferenceSettings | None = None, *, again: bool = True
) -> dict[str, tuple[float, NDArray[np.int32]]]:
    """Seconds and most probable classes [n, M] by the engine: a first time, and with its sessions open."""
    rows = np.arange(len(case.examples.paths))
    with FamilyEvaluator(
        family=case.family, load_model=case.load, examples=case.examples, inference=inference
    ) as evaluator:

        def once() -> NDArray[np.int32]:
            return np.concatenate([scores.predicted for _, scores in evaluator.blocks(rows)])

        return {"first": timed(once)} | ({"steady": timed(once)} if again else {})


def naive(case: Case) -> NDArray[np.int32]:
    """As a user would write it."""
    shape = case.family.task.preprocessing
    mode = "L" if shape.channels == 1 else "RGB"
    columns = []
    for path in case.models:
        session = onnxruntime.InferenceSession(path, providers=[CPU])
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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._sessions = [onnxruntime.InferenceSession(path, options, providers=[CPU]) for path in case.models]
        self._pool = ThreadPoolExecutor(usable_cores())

    def run(self, batch: int, most: int | None = None) -> NDArray[np.int32]:
        """All variants on the first ``most`` images."""
        images = self.images[:most]

        def one(session: onnxruntime.InferenceSession) -> NDArray[np.int64]:
            name = session.get_inputs()[0].name
            parts = [
                session.run(None, {name: images[start : start + batch]})[0].argmax(axis=1)
                for start in range(0, len(images), batch)
            ]
            return np.concatenate(parts)

        return np.stack(list(self._pool.map(one, self._sessions)), axis=1).astype(np.int32)


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


def matrix_product_rate(side: int = 3072) -> float:
    """Multiply-adds per second of a float32 product of side x side on all cores; the best of 5."""
    import torch  # noqa: PLC0415  (its matrix product is as fast as this machine's get)

    torch.set_num_threads(usable_cores())
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


def measure(case: Case, rounds: int, product_rate: float) -> dict[str, object]:
    limit = Limit(case)
    gc.freeze()  # collecting between the timings would look through all of PyTorch again and again
    n, members = len(case.examples.paths), len(case.models)
    shape = case.family.task.preprocessing
    some = min(n, TRIED_PIXELS // (shape.height * shape.width * members))
    fitting = [batch for batch in BATCHES if batch <= some]
    limit.run(fitting[-1], some)  # warms up
    tries = {batch: timed(lambda batch=batch: limit.run(batch, some))[0] for batch in fitting}
    batch = min(tries, key=tries.__getitem__)
    seconds: dict[str, list[float]] = {"first": [], "steady": [], "naive": [], "limit": []}
    changed = 0
    contenders: list[Callable[[], dict[str, tuple[float, NDArray[np.int32]]]]] = [
        lambda: twice(case),
        lambda: {"naive": timed(lambda: naive(case))},
        lambda: {"limit": timed(lambda: limit.run(batch))},
    ]
    for number in range(rounds):
        took: dict[str, tuple[float, NDArray[np.int32]]] = {}
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            took |= contender()
        for name, (spent, _) in took.items():
            seconds[name].append(spent)
        changed = max(changed, *(int((took[name][1] != took["naive"][1]).sum()) for name in ("first", "steady")))

    def ratio(slower: str, faster: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[slower], seconds[faster], strict=True))

    room = 3 * max(session_bytes(path.stat().st_size) for path in case.models)
    crowded = twice(case, InferenceSettings(memory_bytes=room), again=False)["first"][0]
    arithmetic = n * members * multiply_adds(case.raw[0]) / product_rate
    return {
        "images": n,
        "variants": members,
        "rounds": rounds,
        "seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "naive_over_first": round(ratio("naive", "first"), 2),
        "limit_over_first": round(ratio("limit", "first"), 3),
        "limit_over_steady": round(ratio("limit", "steady"), 3),
        "arithmetic_over_steady": round(arithmetic / statistics.median(seconds["steady"]), 3),
        "room_for_3_over_first": round(crowded / statistics.median(seconds["first"]), 2),
        "limit_batch": batch,
        "limit_seconds_by_batch": {str(size): round(spent, 3) for size, spent in tries.items()},
        "predictions_that_differ": changed,
        "cores": usable_cores(),
    }


def starter_case(folder: Path, n: int, members: int | None = None) -> Case:
    """The starter family, or its first few variants, and n of the test images as files."""
    bundle = open_bundle(starter_bundle())
    family = replace(bundle.family, variants=bundle.family.variants[:members])
    images = test_images()[..., 0]
    folder.mkdir(parents=True)
    for number in range(n):
        Image.fromarray(images[number % len(images)]).save(folder / f"{number:06d}.png")
    models = [bundle.folder / f"models/{variant.tag}.onnx" for variant in family.variants]
    return Case("starter, 28 x 28 PNG", family, models, folder)


def resnet_case(folder: Path, n: int, members: int = 8, *, quick: bool = False) -> Case:
    """ResNet-50s, or in a quick run tiny ones, with random weights, and n cuts of two photographs as files."""
    from sklearn.datasets import load_sample_images  # noqa: PLC0415 - slow to import

    title, architecture = ("tiny ResNet", "test_resnet") if quick else ("ResNet-50", "resnet50")
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(n):
        photograph = photographs[number % len(photographs)]
        left, top = (int(rng.integers(0, side - 224)) for side in photograph.size)
        photograph.crop((left, top, left + 224, top + 224)).save(folder / f"{number:05d}.jpg", quality=90)
    shape = Preprocessing(height=224, width=224, channels=3)
    task = Task(name="random", classes=tuple(f"c{index}" for index in range(1000)), preprocessing=shape)
    models = [_resnet(task, seed, architecture) for seed in range(members)]
    variants = tuple(
        Variant(tag=path.stem, model=FileEntry(path.name, path.stat().st_size, ""), seeds={}, held_out_accuracy=0.0)
        for path in models
    )
    family = Family(
        name=architecture, title="", task=task, variants=variants, certificate=None, data=TrainingData("none", 0, 0)
    )
    return Case(f"{title}, 224 x 224 JPEG", family, models, folder)


def _resnet(task: Task, seed: int, architecture: str) -> Path:
    path = BUILT / architecture / f"r{seed}.onnx"
    if not path.exists():
        import torch  # noqa: PLC0415
        from torch import nn  # noqa: PLC0415

        from seedzoo.training.export import export_onnx  # noqa: PLC0415
        from seedzoo.training.models import create_model  # noqa: PLC0415
        from seedzoo.training.normalisation import Normalisation  # noqa: PLC0415

        torch.manual_seed(seed)
        scale = Normalisation(torch.full((3,), 116.0), torch.full((3,), 58.0))
        model = nn.Sequential(scale, create_model(architecture, {"num_classes": 1000}))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_bytes(export_onnx(model, task=task, family=architecture, tag=path.stem, seeds={"init": seed}))
        partial.replace(path)
    return path


def table(results: dict[str, dict[str, object]]) -> str:
    """The engine against each; "open" without the time in which sessions are opened."""
    lines = [
        "| family and images | images x variants | naive | limit | limit, open | arithmetic, open | room for 3 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        lines.append(
            f"| {name} | {found['images']} x {found['variants']} | {found['naive_over_first']} x as fast | "
            f"{found['limit_over_first']} of it | {found['limit_over_steady']} of it | "
            f"{found['arithmetic_over_steady']} of it | {found['room_for_3_over_first']} x the time |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A few images, to see that it runs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    require("torch", "timm", "onnxscript", install="'.[train]'")
    results = {}
    product_rate = matrix_product_rate(512 if given.quick else 3072)
    with tempfile.TemporaryDirectory() as name:
        quick = given.quick
        cases = [starter_case(Path(name) / "starter", 20 if quick else 2000, members=3 if quick else None)]
        cases.append(resnet_case(Path(name) / "resnet", 4 if quick else 96, members=1 if quick else 8, quick=quick))
        for case in cases:
            results[case.name] = measure(case, 1 if quick else given.rounds, product_rate)
            print(case.name, json.dumps(results[case.name]), flush=True)
    write_results(results, __file__, given.out, quick=given.quick)
    if given.docs is not None:
        replace_between(given.docs, "bench/engine.py", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
