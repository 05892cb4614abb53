"""Evaluate all variants on blocks of images by the workers of an executor: processes of this machine, or a cluster.

A job is one block under one condition by a group of variants. The block's images and each variant's file are shared, so
that each machine gets them once, and whoever is free takes the next job; machines of any speed work side by side. What
the variants got comes back here, where it is counted and kept as by :mod:`seedzoo.stress.run`, bit for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from seedzoo.errors import Cancelled
from seedzoo.executors import Executor, Job, Setup, Workers
from seedzoo.inference.open_models import ModelFile, model_file, opened
from seedzoo.inference.sources import ArrayImages, Skipped
from seedzoo.stress.blocks import Block
from seedzoo.stress.condition import Condition
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.packed import Pack, pack
from seedzoo.stress.run import VariantModel
from seedzoo.stress.scoring import Evaluated, evaluated, joined, truth_of
from seedzoo.stress.target import Target

__all__ = ["SpreadRun", "spread"]

_JOB_BYTES = 64 << 20
_MOST_VARIANTS = 25
_REMEMBERED = 2


def group_size(block_bytes: int) -> int:
    """Variants per job: many on small images, few on large ones, where each takes long."""
    return max(1, min(_MOST_VARIANTS, _JOB_BYTES // max(1, block_bytes)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SpreadRun:
    """See :class:`seedzoo.stress.target.Counting`."""

    members: NDArray[np.bool_]
    should_stop: Callable[[], bool]

    def check(self) -> None:
        """Raise Cancelled where the run ends early."""
        if self.should_stop():
            raise Cancelled("measuring was stopped; finished blocks are kept")


def spread(
    variants: Sequence[VariantModel],
    targets: Sequence[Target],
    executor: Executor,
    *,
    example_bytes: Callable[[EvaluationSet], int],
    should_stop: Callable[[], bool],
    on_notice: Callable[[str], None],
) -> Iterator[tuple[str, int]]:
    """Finish all targets; yields the name of the one that moved and the images that were evaluated under it.

    Raises:
        Cancelled: ``should_stop`` said so.
        ZooError: What a worker raised; finished blocks are kept.
    """
    run = SpreadRun(members=np.array([not variant.twin for variant in variants]), should_stop=should_stop)
    sets = list({id(target.images): target.images for target in targets}.values())
    for target in targets:
        if target.complete:
            target.finish(run)
            yield target.name, 0
    setup = Setup(_Worker, (tuple(_lean(one) for one in sets), targets[0].classes))
    with executor.open(setup=setup, on_notice=on_notice) as workers:
        units: dict[str, _Unit] = {}
        jobs = _jobs(variants, targets, sets, workers, example_bytes, units)
        for done in workers.results(jobs, should_stop=should_stop):
            name, number = done.name.rsplit("#", 1)
            unit = units[name]
            unit.parts[int(number)] = done.result
            if len(unit.parts) == unit.of:
                del units[name]
                yield unit.target.name, unit.counted(run)


def _lean(one: EvaluationSet) -> EvaluationSet:
    """What workers need of a set beside the blocks of images that they are sent."""
    none = np.zeros((0, 1, 1, 1), dtype=np.uint8)
    return replace(one, images=ArrayImages(none, one.images.labels), slices={})


@dataclass(frozen=True, eq=False)
class _Part:
    """What a job hands back."""

    rows: NDArray[np.intp]
    skipped: tuple[Skipped, ...]
    found: Evaluated


@dataclass(frozen=True, eq=False)
class _Unit:
    """One block under one condition."""

    target: Target
    block: Block
    of: int
    parts: dict[int, _Part] = field(default_factory=dict)

    def counted(self, run: SpreadRun) -> int:
        """Count and keep what all groups of variants got."""
        parts = [self.parts[number] for number in sorted(self.parts)]
        found = joined([part.found for part in parts])
        with threadpool_limits(limits=1, user_api="blas"):
            return self.target.count(self.block, parts[0].rows, parts[0].skipped, found, run)


def _jobs(
    variants: Sequence[VariantModel],
    targets: Sequence[Target],
    sets: Sequence[EvaluationSet],
    workers: Workers,
    example_bytes: Callable[[EvaluationSet], int],
    units: dict[str, _Unit],
) -> Iterator[Job[_Part]]:
    """Block by block, each under all conditions that it lacks; what is shared is read when it is first needed."""
    models: dict[int, Any] = {}

    def model(number: int) -> Any:
        if number not in models:
            models[number] = workers.share(model_file(variants[number].tag, variants[number].read()))
        return models[number]

    for place, images in enumerate(sets):
        together = [target for target in targets if target.images is images]
        bytes_each = example_bytes(images)
        for block in together[0].blocks:
            lacking = [target for target in together if target.is_open(block)]
            if not lacking:
                continue
            shared = workers.share(pack(images.images, block.rows, skip=lacking[0].skip))
            size = group_size(bytes_each * len(block.rows))
            groups = [range(start, min(start + size, len(variants))) for start in range(0, len(variants), size)]
            for target in lacking:
                name = f"{target.name}/{block.name}"
                units[name] = _Unit(target, block, len(groups))
                for number, group in enumerate(groups):
                    yield Job(
                        f"{name}#{number}",
                        _evaluate,
                        (place, block.name, target.condition, target.signs(block), lacking[0].skip),
                        shared=(shared, *(model(member) for member in group)),
                    )


class _Worker:
    """In a worker: what it knows of the run."""

    def __init__(self, sets: Sequence[EvaluationSet], classes: int) -> None:
        self.sets = sets
        self.classes = classes
        self._read: OrderedDict[tuple[int, str], tuple[NDArray[np.uint8], NDArray[np.intp], tuple[Skipped, ...]]] = (
            OrderedDict()
        )

    def read(
        self, key: tuple[int, str], images: Pack, *, skip: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.intp], tuple[Skipped, ...]]:
        """A block's images, decoded once for the jobs that follow each other."""
        if key not in self._read:
            self._read[key] = images.read(skip=skip)
            while len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        return self._read[key]


def _evaluate(worker: _Worker, images: Pack, *given: Any) -> _Part:
    *files, place, block, condition, signed, skip = given
    return _evaluated(worker, images, files, place, block, condition, signed=signed, skip=skip)


def _evaluated(
    worker: _Worker,
    images: Pack,
    files: Sequence[ModelFile],
    place: int,
    block: str,
    condition: Condition | None,
    *,
    signed: bool,
    skip: bool,
) -> _Part:
    pixels, rows, skipped = worker.read((place, block), images, skip=skip)
    if not len(rows):
        return _Part(rows, skipped, Evaluated())
    models = [opened(file) for file in files]
    # Corruptions multiply matrices; the cores are taken by other workers.
    with threadpool_limits(limits=1, user_api="blas"):
        changed = pixels if condition is None else condition.apply(pixels, rows)
        truth = truth_of(worker.sets[place], rows, classes=worker.classes)
        return _Part(rows, skipped, evaluated(models, changed, truth, signed=signed, check=_go_on))


def _go_on() -> None:
    """A worker is stopped from outside."""
