"""How evaluation scales: measured on this machine, and simulated for 1,000 variants on 1,000,000 images.

Measured: the starter family by threads, by processes and by Ray, with one and two workers, and by Ray also block after
block, as a race is; what a job costs beside its work; the costs of one forward pass, one decoded image and one opened
session of the starter's models and of ResNet-50 with random weights. bench/scaling_simulation.py plays a cluster from
these costs; first the measured case itself, whose predicted and measured times are printed side by side, then clusters
of 1 to 1,000 nodes.

What was not measured and is stated instead: the network (--gbit), the store's bandwidth (--store-gbit), cores per node,
slow nodes (--slow-share at --slow-speed). The race's share of all evaluations is read from docs/statistics.md.

Run: python bench/scaling.py [--quick] [--out build/bench/scaling.json] [--docs docs/scaling.md]
     [--price-per-node-hour 1.5]
"""

from __future__ import annotations

import argparse
import pickle
import re
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, require, test_images, write_results
from docs import replace_between
from engine import Case, resnet_case, starter_case
from numpy.typing import NDArray
from scaling_simulation import PASSES, Cluster, Costs, Outcome, simulate

from seedzoo.cpu import usable_cores
from seedzoo.engine.race import race_blocks, reserve_size
from seedzoo.engine.spread_evaluator import Block, SpreadEvaluator
from seedzoo.engine.spread_parts import SpreadScores, WorkerSettings, evaluate_part
from seedzoo.executors import Executor, Job, Setup, open_executor
from seedzoo.executors.cluster import RayExecutor, import_ray
from seedzoo.inference.decode import decode_image
from seedzoo.inference.evaluate import Evaluator, block_length
from seedzoo.inference.open_models import model_file, share_of_memory
from seedzoo.inference.session import Model, default_batch
from seedzoo.inference.sessions import session_bytes

RACE = ", as a race"
KINDS = {
    "threads": "threads of this process",
    "local": "processes",
    "ray": "Ray",
    f"ray{RACE}": "Ray, block after block",
}
AHEAD = ("local", "ray")
NODES = (1, 4, 16, 64, 250, 1000)
VARIANTS, IMAGES, CORES = 1000, 1_000_000, 16
WARMING = 512


@dataclass(frozen=True)
class Timed:
    """Seconds until sessions are open, and of the evaluation after it."""

    start_s: float
    seconds: float


def pixels(count: int) -> NDArray[np.uint8]:
    images = test_images()
    return images[np.arange(count) % len(images)]


def evaluator(kind: str, workers: int, case: Case, stack: ExitStack) -> Any:
    if kind == "threads":
        loads = [partial(Model, raw, name="m") for raw in case.raw]
        return stack.enter_context(Evaluator(loads, threads=workers))
    files = [(path.stem, partial(bytes, raw)) for path, raw in zip(case.models, case.raw, strict=True)]
    executor = open_executor(kind.removesuffix(RACE), cpus=workers)
    return stack.enter_context(SpreadEvaluator(files, executor))


def evaluated(kind: str, workers: int, case: Case, images: NDArray[np.uint8]) -> Timed:
    """Every variant on every image, as a selection does or a race; a few images before them open the sessions."""
    labels = np.full(len(images), -1)
    length = block_length(images[0].nbytes, spread=kind in AHEAD)
    blocks = [
        Block(images[start : start + length], labels[start : start + length]) for start in range(0, len(images), length)
    ]
    with ExitStack() as stack:
        begun = time.perf_counter()
        one = evaluator(kind, workers, case, stack)
        for _ in range(2):  # so that each worker opens most of them
            one.run(images[:WARMING], labels[:WARMING])
        started = time.perf_counter()
        if kind in AHEAD:
            deque(one.stream(blocks), maxlen=0)
        else:
            for block in blocks:
                one.run(block.images, block.labels)
        return Timed(started - begun, time.perf_counter() - started)


def overhead(executor: Executor, jobs: int) -> dict[str, float]:
    """Milliseconds of a job without work: until its result is there, and of the driver's own processor time."""
    batch = [Job(f"j{number}", len) for number in range(jobs)]
    with executor.open(setup=Setup(dict)) as workers:  # a job is the length of an empty dictionary
        list(workers.results(batch[:20]))
        wall, own = time.perf_counter(), time.process_time()
        list(workers.results(batch))
        return {
            "wall_ms": 1000 * (time.perf_counter() - wall) / jobs,
            "driver_ms": 1000 * (time.process_time() - own) / jobs,
        }


def best(action: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds."""
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        action()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def costs_of(case: Case, passes: int, jobs: dict[str, float]) -> tuple[Costs, dict[str, float]]:
    """What the simulation needs, measured on one core, and how a job's time is shared."""
    images = case.decoded()
    images = images[np.arange(max(passes, 8)) % len(images)]
    file = model_file("m", case.raw[0])
    model = Model(case.raw[0], name="m")
    model.logits(images[:8])
    forward = best(lambda: model.logits(images[:passes])) / passes
    opening = best(lambda: Model(case.raw[0], name="m"))
    files = case.examples.read(range(min(64, len(case.examples.paths))))
    shape = case.family.task.preprocessing
    decode = best(lambda: [decode_image(raw, shape) for raw in files]) / len(files)
    labels, none = np.zeros(len(images), dtype=np.int64), np.zeros(0, dtype=np.intp)
    part = evaluate_part(WorkerSettings(None), (images, labels, none), file, (0, len(images)))
    packed = pickle.dumps(part)
    pairs = part.predicted.size
    block = pickle.dumps(images, protocol=5)
    # A job's input and its result, packed and unpacked; the block goes once for all variants.
    packing = best(lambda: (pickle.loads(pickle.dumps(part)), pickle.loads(block)), 5)
    found = SpreadScores.empty(len(images), 1, part.total.shape[1], none)
    placing = best(lambda: found.put(part, range(len(images)), range(1)), 5)
    sizes = [len(raw) for raw in case.raw]
    costs = Costs(
        forward_s=forward,
        decode_s=decode,
        open_s=opening,
        model_bytes=round(statistics.mean(sizes)),
        image_bytes=images[0].nbytes,
        batch=default_batch(images[0].nbytes),
        block=block_length(images[0].nbytes, spread=True),
        driver_job_s=jobs["driver_ms"] / 1000,
        driver_image_s=placing / len(images),
        worker_job_s=max(0.0, jobs["wall_ms"] - jobs["driver_ms"]) / 1000,
        result_bytes=(len(packed) - part.total.nbytes) / pairs,
        sum_bytes=part.total.nbytes / len(images),
        held=max(1, share_of_memory(None) // session_bytes(round(statistics.mean(sizes)))),
    )
    return costs, {"serialisation": packing / (packing + forward * pairs)}


def race_share() -> tuple[float, str]:
    """Measured by bench/race.py at the most examples there, on tasks that nothing was tuned on."""
    rows = re.findall(
        r"^\| ([\d,]+) \| held out \(\d+\) \| ([\d.]+) \(", (ROOT / "docs" / "statistics.md").read_text(), re.MULTILINE
    )
    n, share = max(rows, key=lambda row: int(row[0].replace(",", "")))
    return float(share), n


def plan(costs: Costs, given: argparse.Namespace, nodes: tuple[int, ...]) -> list[dict[str, Any]]:
    share, _ = race_share()
    rows = []
    for count in nodes:
        cluster = Cluster(
            nodes=count, cores=CORES, bytes_per_s=given.gbit * 1e9 / 8, slow_share=given.slow_share,
            slow_speed=given.slow_speed, decoders=CORES,
        )  # fmt: skip
        store = given.store_gbit * 1e9 / 8
        ways = {
            "all": simulate(IMAGES, VARIANTS, costs, replace(cluster, ahead=True), store_bytes_per_s=store),
            "block": simulate(IMAGES, VARIANTS, costs, cluster, store_bytes_per_s=store),
            "race": simulate(
                IMAGES,
                round(share * VARIANTS),
                replace(costs, block=mean_race_block(costs)),
                cluster,
                store_bytes_per_s=store,
            ),
        }
        rows.append({"nodes": count, **{name: _told(way, count) for name, way in ways.items()}})
    return rows


def mean_race_block(costs: Costs) -> int:
    """Images of a race's blocks, on average."""
    length = race_blocks([costs.model_bytes] * VARIANTS, costs.image_bytes)
    raced, seen, blocks = IMAGES - reserve_size(IMAGES), 0, 0
    while seen < raced:
        seen, blocks = seen + length(seen), blocks + 1
    return raced // blocks


def _told(way: Outcome, nodes: int) -> dict[str, Any]:
    beside = {name: share for name, share in way.shares.items() if name != PASSES}
    return {
        "hours": way.seconds / 3600,
        "node_hours": nodes * way.seconds / 3600,
        "used": way.shares[PASSES],
        "next": max(beside, key=beside.__getitem__),
        "shares": way.shares,
    }


def validate(costs: Costs, measured: dict[str, dict[int, Timed]], case: Case, images: int) -> list[dict[str, Any]]:
    """The measured case by the simulation: Ray on this machine, one and two workers."""
    rows: list[dict[str, Any]] = []
    warm = replace(costs, open_s=0.0, decode_s=0.0)  # as measured: images in memory, sessions open
    for kind in ("ray", f"ray{RACE}"):
        for workers, timed in measured[kind].items():
            here = Cluster(nodes=1, cores=workers, bytes_per_s=0.0, decoders=1, ahead=kind in AHEAD)
            block = block_length(costs.image_bytes, spread=kind in AHEAD)
            predicted = simulate(images, len(case.models), replace(warm, block=block), here).seconds
            rows.append({"kind": kind, "workers": workers, "predicted_s": predicted, "measured_s": timed.seconds})
    return rows


def rounds_told(rounds: int) -> str:
    return "one run each" if rounds == 1 else f"seconds are medians of {rounds} runs"


def written(found: dict[str, Any], given: argparse.Namespace) -> str:
    evaluated_what = (
        f"Evaluated: {found['images']:,} images x {found['variants']} variants of the starter family, images in "
        f"memory, {found['cores']} cores; {rounds_told(found['rounds'])}. *Start* is until twice "
        f"{WARMING} images were evaluated, which opens the sessions."
    )
    lines = [
        evaluated_what,
        "",
        "| evaluated by | 1 worker | 2 workers | speed-up | start with 2 |",
        "|---|--:|--:|--:|--:|",
    ]
    for kind, by in found["measured"].items():
        one, two = by[1], by[2]
        lines.append(
            f"| {KINDS[kind]} | {one.seconds:.2f} s | {two.seconds:.2f} s | {one.seconds / two.seconds:.2f} x | "
            f"{two.start_s:.1f} s |"
        )
    lines += ["", "| a job without work | until its result is there | the driver's own time |", "|---|--:|--:|"]
    for kind, job in found["overhead"].items():
        lines.append(f"| {KINDS[kind]} | {job['wall_ms']:.2f} ms | {job['driver_ms']:.2f} ms |")
    lines += [
        "",
        "| measured on one core | " + " | ".join(found["costs"]) + " |",
        "|---|" + "--:|" * len(found["costs"]),
    ]
    every = list(found["costs"].values())
    for title, told in (
        ("forward pass", lambda c: f"{1000 * c.forward_s:.3g} ms"),
        ("decoding an image", lambda c: f"{1000 * c.decode_s:.3g} ms"),
        ("opening a session", lambda c: f"{1000 * c.open_s:.3g} ms"),
        ("model file", lambda c: f"{c.model_bytes / 1e6:.3g} MB"),
        ("decoded image", lambda c: f"{c.image_bytes:,} bytes"),
        ("result of an image by a variant", lambda c: f"{c.result_bytes:.3g} bytes"),
        ("and by any group of variants", lambda c: f"{c.sum_bytes:,.0f} bytes"),
        ("images decoded together", lambda c: f"{c.block:,}"),
    ):
        lines.append(f"| {title} | " + " | ".join(told(one) for one in every) + " |")
    shares = " | ".join(f"{100 * share:.2g} %" for share in found["serialisation"].values())
    lines += [f"| packing and unpacking, of a job's time | {shares} |", ""]
    for row in found["validation"]:
        lines.append(
            f"The simulation of the measured case, {KINDS[row['kind']]}, {row['workers']} worker(s): predicted "
            f"{row['predicted_s']:.2f} s, measured {row['measured_s']:.2f} s "
            f"({row['predicted_s'] / row['measured_s']:.2f} of it)."
        )
    share, n = race_share()
    simulated_what = (
        f"**{VARIANTS:,} variants x {IMAGES:,} images**, nodes of {CORES} cores, {given.gbit:g} Gbit/s each, "
        f"{given.store_gbit:g} Gbit/s from the store to the driver, {100 * given.slow_share:g} % of the nodes at "
        f"{given.slow_speed:g} of the speed; decoding on the driver's {CORES} cores. *Race*: {share:g} of all "
        f"evaluations, as bench/race.py measured at {n} examples, not at a million."
    )
    lines += ["", simulated_what]
    price = given.price_per_node_hour
    for name, rows in found["plan"].items():
        lines += [
            "",
            f"{name}:",
            "",
            "| nodes | everything | node-hours | in passes | beside them most to | the same block after block | "
            "race | node-hours |" + (" cost of everything | of the race |" if price else ""),
            "|--:|--:|--:|--:|---|--:|--:|--:|" + ("--:|--:|" if price else ""),
        ]
        for row in rows:
            every, block, race = row["all"], row["block"], row["race"]
            cells = [
                f"{row['nodes']:,}", _hours(every["hours"]), f"{every['node_hours']:,.1f}",
                f"{100 * every['used']:.0f} %", every["next"],
                _hours(block["hours"]), _hours(race["hours"]), f"{race['node_hours']:,.1f}",
            ]  # fmt: skip
            if price:
                cells += [f"{price * way['node_hours']:,.0f}" for way in (every, race)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="A few images and variants, one Ray for all; tells nothing."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gbit", type=float, default=10.0, help="network of a node, Gbit/s")
    parser.add_argument("--store-gbit", type=float, default=5.0, help="from the store to the driver, Gbit/s")
    parser.add_argument("--slow-share", type=float, default=0.25, help="share of nodes that are slow")
    parser.add_argument("--slow-speed", type=float, default=0.5, help="their speed")
    parser.add_argument("--price-per-node-hour", type=float, help="in any currency; no cost is told without it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    require("ray", install="'.[cluster]'")
    require("torch", "timm", "onnxscript", install="'.[train]'")
    images, rounds = (512, 1) if given.quick else (10_240, given.rounds)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        if given.quick:  # starting a cluster takes longer than all that is measured on it
            stack.enter_context(RayExecutor(cpus=2).connected(import_ray()))
        starter = starter_case(Path(name) / "starter", 64, members=4 if given.quick else None)
        resnet = resnet_case(Path(name) / "resnet", 8, members=1, quick=given.quick)
        runs: dict[str, dict[int, list[Timed]]] = {kind: {1: [], 2: []} for kind in KINDS}
        jobs: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
        for _ in range(rounds):
            for kind, by in runs.items():
                for workers, timings in by.items():
                    timings.append(evaluated(kind, workers, starter, pixels(images)))
                    print(kind, workers, timings[-1], flush=True)
            for kind, overheads in jobs.items():
                overheads.append(overhead(open_executor(kind, cpus=1), 100 if given.quick else 1000))
                print(kind, overheads[-1], flush=True)
        measured = {
            kind: {
                workers: sorted(timings, key=lambda one: one.seconds)[len(timings) // 2]
                for workers, timings in by.items()
            }
            for kind, by in runs.items()
        }
        per_job = {
            kind: {key: statistics.median(one[key] for one in overheads) for key in overheads[0]}
            for kind, overheads in jobs.items()
        }
        costs, shares = {}, {}
        for title, case, passes in (
            ("starter CNN, 28 x 28", starter, 512),
            (resnet.name.removesuffix(" JPEG"), resnet, 8),
        ):
            costs[title], told_shares = costs_of(case, passes, per_job["ray"])
            shares[title] = told_shares["serialisation"]
        validation = validate(next(iter(costs.values())), measured, starter, images)
        nodes = NODES[1:2] if given.quick else NODES
        found: dict[str, Any] = {
            "images": images,
            "variants": len(starter.models),
            "cores": usable_cores(),
            "rounds": rounds,
            "measured": measured,
            "overhead": per_job,
            "costs": costs,
            "serialisation": shares,
            "validation": validation,
            "plan": {title: plan(one, given, nodes) for title, one in costs.items()},
        }
    text = written(found, given)
    told = {**found, "costs": {title: asdict(one) for title, one in costs.items()}}
    told["measured"] = {kind: {w: asdict(one) for w, one in by.items()} for kind, by in measured.items()}
    write_results(told, __file__, given.out, quick=given.quick)
    if given.docs is not None:
        replace_between(given.docs, "bench/scaling.py", text)
    print(text)


if __name__ == "__main__":
    main()
