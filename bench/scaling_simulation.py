"""A cluster that evaluates a family, event by event, from costs that bench/scaling.py measured.

One driver decodes blocks of images and hands out jobs (a part of a block by a group of variants) in order; whichever
core is free first takes the next one. Simulated are: decoding in the driver's cores while the blocks before are
evaluated, the way of a block to all nodes, the driver's own time for each job and its result, opening a session where a
worker does not hold it, the worker's overhead per job, the forward passes at the speed of the core, and that a block
begins when the last one has ended or, without a race, as soon as few enough jobs wait. Blocks are cut and jobs are
held back by the functions that the program itself uses.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from dataclasses import dataclass

from seedzoo.engine.spread_evaluator import cut_block, jobs_of_block
from seedzoo.executors.cluster import most_waiting

__all__ = ["PASSES", "Cluster", "Costs", "Outcome", "simulate"]

_SIMULATED_JOBS = 60_000
PASSES = "forward passes"


@dataclass(frozen=True)
class Costs:
    """Seconds of one core, and bytes.

    Attributes:
        forward_s: One image by one variant.
        decode_s: One image.
        open_s: One session.
        model_bytes: Of one file.
        image_bytes: Of one decoded image.
        batch: Images of one call of the runtime.
        block: Images that are decoded together.
        driver_job_s: The driver's own time for a job: sending it, reading and placing its result.
        driver_image_s: The same for each image of it.
        worker_job_s: A worker's time for a job beside its work.
        result_bytes: Of the result, for each image and variant.
        sum_bytes: Of the result, for each image whatever the variants: the sum of their probabilities.
        held: Sessions that a worker keeps open.
    """

    forward_s: float
    decode_s: float
    open_s: float
    model_bytes: int
    image_bytes: int
    batch: int
    block: int
    driver_job_s: float
    driver_image_s: float
    worker_job_s: float
    result_bytes: float
    sum_bytes: float
    held: int


@dataclass(frozen=True)
class Cluster:
    """Nodes of some cores; the driver decodes on a node's worth of cores of its own.

    Attributes:
        nodes: How many.
        cores: Of each.
        bytes_per_s: Between a node and the others; 0 where nothing is sent.
        slow_share: Share of nodes that are slow.
        slow_speed: Their speed, of 1.
        ahead: Whether a block begins before the last one has ended, as it does unless variants race.
        decoders: Cores that decode.
    """

    nodes: int
    cores: int
    bytes_per_s: float
    slow_share: float = 0.0
    slow_speed: float = 1.0
    ahead: bool = False
    decoders: int = 16

    def jobs(self, block_bytes: int) -> int:
        """About how many jobs a block is cut into."""
        return jobs_of_block(self.nodes * self.cores, block_bytes, ahead=self.ahead)


@dataclass(frozen=True)
class Outcome:
    """What it took.

    Attributes:
        seconds: From the first image to the last result; with the models on their way before.
        shares: Cause -> share of all cores' time: passes, opening, overhead, and idle cores by what they waited for.
        models_s: Of the seconds, until every node has every model.
    """

    seconds: float
    shares: dict[str, float]
    models_s: float

    @property
    def limit(self) -> str:
        """What takes the most time beside forward passes, or the passes where they take most of all."""
        return max(self.shares, key=self.shares.__getitem__)


def cut(examples: int, variants: int, costs: Costs, cluster: Cluster) -> list[tuple[int, int, int]]:
    """Of each job of a block its first variant, images and variants."""
    parts, groups = cut_block(examples, variants, batch=costs.batch, jobs=cluster.jobs(examples * costs.image_bytes))
    return [(group.start, len(part), len(group)) for part in parts for group in groups]


def in_flight(cluster: Cluster, jobs: int) -> int:
    """Blocks of so many jobs that are at work or waiting at the same time."""
    return 1 + math.ceil(most_waiting(cluster.nodes * cluster.cores) / jobs) if cluster.ahead else 1


def simulate(images: int, variants: int, costs: Costs, cluster: Cluster, *, store_bytes_per_s: float = 0.0) -> Outcome:
    """Evaluate images x variants. Beyond some 60,000 jobs the rate of the second half of them is continued.

    Args:
        images: n.
        variants: M.
        costs: Measured.
        cluster: What it runs on.
        store_bytes_per_s: At which the driver reads models; 0 where they are there.
    """
    total_blocks = math.ceil(images / costs.block)
    per_block = cut(costs.block, variants, costs, cluster)
    blocks = min(total_blocks, max(8, 4 * in_flight(cluster, len(per_block)), _SIMULATED_JOBS // len(per_block)))
    ends, spent, driver_s = _blocks(blocks, per_block, costs, cluster)
    seconds = ends[-1]
    if blocks < total_blocks:
        half = blocks // 2
        seconds += (total_blocks - blocks) * (ends[-1] - ends[half - 1]) / (blocks - half)
    models_s = 0.0
    if cluster.bytes_per_s:
        size = variants * costs.model_bytes
        models_s = size / cluster.bytes_per_s + (size / store_bytes_per_s if store_bytes_per_s else 0.0)
    scale = seconds / ends[-1]
    capacity = (seconds + models_s) * cluster.nodes * cluster.cores
    shares = {name: scale * value / capacity for name, value in spent.items()}
    shares["waiting for models"] = models_s / (seconds + models_s)
    idle = max(0.0, 1 - sum(shares.values()))
    # The driver sends jobs and reads results at the same time here, each by a clock of its own.
    shares["waiting for the driver" if driver_s > ends[-1] / 2 else "idle at the end of blocks"] = idle
    return Outcome(seconds + models_s, shares, models_s)


def _blocks(
    blocks: int, per_block: list[tuple[int, int, int]], costs: Costs, cluster: Cluster
) -> tuple[list[float], dict[str, float], float]:
    """When each block ended, core-seconds by cause, and the driver's own time."""
    total = cluster.nodes * cluster.cores
    slow = round(cluster.slow_share * cluster.nodes) * cluster.cores
    free = [(0.0, core) for core in range(total)]
    held: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(total)]
    spent = dict.fromkeys((PASSES, "opening sessions", "overhead of jobs", "waiting for images"), 0.0)
    wire = 1 / cluster.bytes_per_s if cluster.bytes_per_s else 0.0
    hops = math.ceil(math.log2(cluster.nodes + 1))  # nodes that have a block hand it on
    travel = hops * costs.block * costs.image_bytes * wire
    decode = costs.block * costs.decode_s / cluster.decoders
    decoded, sent, read, together = 0.0, 0.0, 0.0, in_flight(cluster, len(per_block))
    driver_s = 0.0
    ends: list[float] = []
    for number in range(blocks):
        # Decoded while those before are evaluated, one further than may be in flight.
        behind = number - together - 1
        decoded = max(decoded, ends[behind] if behind >= 0 else 0.0) + decode
        before = ends[number - together] if number >= together else 0.0
        ready = max(decoded + travel, before)
        if together == 1:
            spent["waiting for images"] += (ready - before) * total
        sent, results = max(sent, before), []
        for first, height, width in per_block:
            sent += costs.driver_job_s / 2
            driver_s += costs.driver_job_s / 2
            at, core = heapq.heappop(free)
            speed = cluster.slow_speed if core < slow else 1.0
            missing = 0
            for variant in range(first, first + width):
                missing += variant not in held[core]
                held[core][variant] = None
                held[core].move_to_end(variant)
                if len(held[core]) > costs.held:
                    held[core].popitem(last=False)
            opening, passes = missing * costs.open_s / speed, height * width * costs.forward_s / speed
            end = max(at, ready, sent) + costs.worker_job_s + opening + passes
            heapq.heappush(free, (end, core))
            results.append((end, height, width))
            spent[PASSES] += passes
            spent["opening sessions"] += opening
            spent["overhead of jobs"] += costs.worker_job_s
        for end, height, width in sorted(results):
            received = height * (width * costs.result_bytes + costs.sum_bytes) * wire
            handling = costs.driver_job_s / 2 + height * costs.driver_image_s + received
            read = max(read, end) + handling
            driver_s += handling
        ends.append(read)
    return ends, spent, driver_s
