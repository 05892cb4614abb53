"""Measure a profile: every variant on the in-distribution set under every condition, on natural shifts, and on slices.

What is finished is kept per block of images and condition, so a killed run loses what its threads had in hand: one
block under one condition each.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError, RequestError
from seedzoo.executors import Executor
from seedzoo.inference.sources import ImageSource, Skipped
from seedzoo.stress.blocks import Block, blocks
from seedzoo.stress.condition import Condition
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.kept import Kept
from seedzoo.stress.metrics import class_probabilities, row_of
from seedzoo.stress.run import DecodedBlock, Run, VariantModel
from seedzoo.stress.set_checks import check_set, check_slices
from seedzoo.stress.signature_table import SIGNATURE_METHOD, SignatureTable, signature_examples
from seedzoo.stress.spread import spread
from seedzoo.stress.table import Measurable, ProfileRow
from seedzoo.stress.target import Slice, Target, target_folder

__all__ = ["Measurement", "StressProgress", "VariantModel", "correctness", "measure"]

_METHOD = "2"
"""Raised when the same images and models would give other numbers: what was kept before is measured again."""
_ID = "id"


@dataclass(frozen=True, kw_only=True)
class StressProgress:
    """How far a measurement is.

    Attributes:
        condition: The one that moved.
        done: Images evaluated under it, earlier runs included.
        total: Images under it.
        all_done: Over all conditions.
        all_total: Over all conditions.
        rate: Images per second of this run, each counted once per condition and for all variants together.
    """

    condition: str
    done: int
    total: int
    all_done: int
    all_total: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What :func:`measure` found.

    Attributes:
        rows: Condition by condition, in each the variants in their order.
        signatures: Of the conditions that have some (all but slices and sets of anchors), in the rows' order; None
            where there are none.
        sum_squares: Condition -> over examples the squared number of variants that are right, twins left out.
        skipped: Images that cannot be read, by the name of their set.
    """

    rows: tuple[ProfileRow, ...]
    sum_squares: Mapping[str, int]
    signatures: SignatureTable | None
    skipped: Mapping[str, tuple[Skipped, ...]]


def measure(
    variants: Sequence[VariantModel],
    *,
    classes: int,
    sets: Sequence[EvaluationSet],
    conditions: Sequence[Condition],
    folder: Path,
    slices: Collection[str] = (),
    skip_unreadable: bool = False,
    threads: int | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[StressProgress], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Measurement:
    """Evaluate M variants; see :mod:`seedzoo.stress.metrics` for what is counted.

    Args:
        variants: What to evaluate.
        classes: C, the task's classes.
        sets: The set of kind ``id`` is evaluated under every condition, every other one as it is.
        conditions: For the set of kind ``id``; with slices of it, the condition ``id`` must be among them.
        folder: Where finished blocks are kept; another run on the same models and images finds them there.
        slices: Columns of the sets whose values become conditions ``slice/<column>=<value>`` (below the set's name
            where the set is not ``id``), on the images as they are. Images without a value are in no slice.
        skip_unreadable: Leave out images that cannot be read, and say which.
        threads: Worker threads of this process; the usable cores when omitted.
        executor: Evaluates in place of threads; what it finds is the same, bit for bit, and is kept here as well.
        on_progress: Called as blocks are finished.
        on_notice: Told what a person should know though the measurement goes on (a worker died).
        should_stop: Asked again and again.

    Raises:
        DataError: A set does not fit the classes or itself, an image cannot be read (named), or a set has none.
        RequestError: No set has a column of that name, it has too many values, or two rows would have the same name.
        LocalFailure: The folder cannot be written, for instance because the disk is full; running again resumes.
        Cancelled: ``should_stop`` said so; finished blocks are kept.
    """
    for one in sets:
        check_set(one, classes)
    check_slices(sets, slices)
    models = "/".join(variant.sha256 for variant in variants)
    targets = [
        target
        for one in sets
        for target in _targets(
            one, conditions, classes=classes, models=models, folder=folder, slices=slices, skip=skip_unreadable
        )
    ]
    names = [name for target in targets for name in (target.name, *(part.name for part in target.slices))]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise RequestError(f"two conditions are named {twice[0]!r}", hint="Name the sets and conditions differently.")
    if any(target.result is None for target in targets):
        if executor is None:
            with Run(variants, threads=threads, should_stop=should_stop) as run:
                _follow(run.work(_units(run, targets)), targets, on_progress)
        else:
            moved = spread(
                variants,
                [target for target in targets if target.result is None],
                executor,
                example_bytes=lambda one: _example_bytes(one.images),
                should_stop=should_stop,
                on_notice=on_notice,
            )
            _follow(moved, targets, on_progress)
    return _collected(variants, targets)


def correctness(
    variants: Sequence[VariantModel],
    images: ImageSource,
    *,
    folder: Path,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> NDArray[np.bool_]:
    """Which examples each variant gets right, block by block as :func:`measure` does, bit for bit the same.

    Args:
        variants: M variants.
        images: n images.
        folder: Where finished blocks are kept.
        threads: Worker threads; the usable cores when omitted.
        on_progress: Called with the images finished so far and n.
        should_stop: Asked again and again.

    Returns:
        bool ``[n, M]``.

    Raises:
        DataError: An image cannot be read.
        LocalFailure: The folder cannot be written.
        Cancelled: ``should_stop`` said so.
    """
    count = len(images.labels)
    key = "\0".join([_METHOD, "right", images.digest, *(variant.sha256 for variant in variants)])
    kept = Kept(target_folder(folder, "right"), key)
    right = np.zeros((count, len(variants)), dtype=np.bool_)
    missing: list[Block] = []
    for block in blocks(count, example_bytes=_example_bytes(images)):
        found = kept.get(block.name)
        if found is None:
            missing.append(block)
        else:
            right[block.rows] = found["right"]
    if not missing:
        return right
    done = count - sum(len(block.rows) for block in missing)
    with Run(variants, threads=threads, should_stop=should_stop) as run:

        def unit(block: Block) -> Callable[[], Block]:
            def evaluate() -> Block:
                pixels, labels = images.read(block.rows), images.labels[block.rows]
                for column, model in enumerate(run.models):
                    run.check()
                    right[block.rows, column] = class_probabilities(model.logits(pixels)).argmax(axis=1) == labels
                kept.put(block.name, {"right": right[block.rows]})
                return block

            return evaluate

        for block in run.work(unit(block) for block in missing):
            done += len(block.rows)
            on_progress(done, count)
    return right


def _targets(
    one: EvaluationSet,
    conditions: Sequence[Condition],
    *,
    classes: int,
    models: str,
    folder: Path,
    slices: Collection[str],
    skip: bool,
) -> Iterator[Target]:
    cut = blocks(len(one.images.labels), example_bytes=_example_bytes(one.images), anchors=one.anchors)
    parts = _slices(one, slices)
    key = "\0".join([_METHOD, SIGNATURE_METHOD, models, one.images.digest, _truth_digest(one, classes)])
    for condition in conditions if one.kind == _ID else [None]:
        # The condition `id` changes nothing: applying it would only copy.
        unchanged = condition is None or condition.name == _ID
        name = one.name if condition is None else condition.name
        sliced = parts if unchanged else []
        told = "" if condition is None else f"{condition.name}\0{condition.description}"
        yield Target(
            images=one,
            condition=condition,
            classes=classes,
            slices=sliced,
            blocks=cut,
            kept=Kept(target_folder(folder, name), f"{key}\0{told}\0{_slices_digest(sliced)}"),
            skip=skip,
        )


def _follow(
    moved: Iterator[tuple[str, int]], targets: Sequence[Target], on_progress: Callable[[StressProgress], None]
) -> None:
    """Tell how the work goes, of which each step names a condition and the images evaluated under it."""
    sizes = {target.name: len(target.images.images.labels) for target in targets}
    done = {
        target.name: sizes[target.name] - sum(len(block.rows) for block in target.blocks if target.is_open(block))
        for target in targets
    }
    started, fresh = time.perf_counter(), 0
    for name, images in moved:
        fresh += images
        done[name] += images
        on_progress(
            StressProgress(
                condition=name,
                done=done[name],
                total=sizes[name],
                all_done=sum(done.values()),
                all_total=sum(sizes.values()),
                rate=fresh / max(time.perf_counter() - started, 1e-9),
            )
        )


def _units(run: Run, targets: Sequence[Target]) -> Iterator[Callable[[], tuple[str, int]]]:
    """Block by block, each under all conditions that it still lacks."""
    complete = [target for target in targets if target.complete]
    by_set: dict[int, list[Target]] = {}
    for target in targets:
        by_set.setdefault(id(target.images), []).append(target)
    batches = [
        (together, batch)
        for together in by_set.values()
        for batch in _batches(together[0].blocks)
        if any(target.is_open(block) for target in together for block in batch)
    ]

    def begin(number: int) -> Callable[[], list[DecodedBlock]] | None:
        if number >= len(batches):
            return None
        together, batch = batches[number]
        wanted = [block for block in batch if any(target.is_open(block) for target in together)]
        return run.decode(together[0].images.images, wanted, skip=together[0].skip)

    coming = begin(0)
    for number, (together, _) in enumerate(batches):
        decoded = coming() if coming is not None else []
        coming = begin(number + 1)  # decoded while this batch is evaluated
        for target in together:
            for block in decoded:
                if target.is_open(block.block):
                    yield _unit(run, target, block)
    for target in complete:
        yield _finish(run, target)


def _batches(cut: Sequence[Block]) -> list[list[Block]]:
    """All blocks of the signatures at once, so that a condition's probabilities are needed for a short time only."""
    signed = [block for block in cut if block.signature]
    return [*([signed] if signed else []), *([block] for block in cut if not block.signature)]


def _unit(run: Run, target: Target, block: DecodedBlock) -> Callable[[], tuple[str, int]]:
    return lambda: (target.name, target.evaluate(block, run))


def _finish(run: Run, target: Target) -> Callable[[], tuple[str, int]]:
    return lambda: (target.name, target.finish(run))


def _collected(variants: Sequence[VariantModel], targets: Sequence[Target]) -> Measurement:
    rows: list[ProfileRow] = []
    signed: list[Target] = []
    skipped: dict[str, tuple[Skipped, ...]] = {}
    slices: list[ProfileRow] = []
    squares: dict[str, int] = {}
    last: EvaluationSet | None = None
    for target in targets:
        if target.images is not last:  # a set's slices stand behind all of its conditions
            rows, slices, last = [*rows, *slices], [], target.images
        result = target.result
        if result is None:
            raise AssertionError(f"{target.name} was left unfinished")
        if result.skipped:
            skipped[target.images.name] = result.skipped
        if not result.sums or not int(result.sums["n"]):
            raise DataError(
                f"no image of {target.images.name} can be read", hint="Check its files.", reason="SET_UNREADABLE"
            )
        found: list[tuple[Measurable, Mapping[str, NDArray[np.int64]], list[ProfileRow]]] = [
            (target.images if target.condition is None else target.condition, result.sums, rows)
        ]
        found += [
            (part, counted, slices) for part, counted in zip(target.slices, result.slices, strict=True) if counted
        ]
        for condition, counted, into in found:
            squares[condition.name] = int(counted["squares"])
            into += [
                row_of(counted, member, variant=variant.tag, condition=condition)
                for member, variant in enumerate(variants)
            ]
        if result.cot is not None:
            signed.append(target)
    return Measurement(
        rows=(*rows, *slices), sum_squares=squares, signatures=_signatures(variants, signed), skipped=skipped
    )


def _signatures(variants: Sequence[VariantModel], targets: Sequence[Target]) -> SignatureTable | None:
    cot = [target.result.cot for target in targets if target.result is not None and target.result.cot is not None]
    nuclear = [
        target.result.nuclear for target in targets if target.result is not None and target.result.nuclear is not None
    ]
    if not targets:
        return None
    return SignatureTable(
        variants=tuple(variant.tag for variant in variants),
        conditions=tuple(target.name for target in targets),
        cot=np.array(cot).T,
        nuclear=np.array(nuclear).T,
        n=len(signature_examples(len(targets[0].images.images.labels))),
        method=SIGNATURE_METHOD,
    )


def _slices(one: EvaluationSet, columns: Collection[str]) -> list[Slice]:
    prefix = "" if one.kind == _ID else f"{one.name}/"
    found = []
    for column in columns:
        values = one.slices.get(column, ())
        numbers = {value: number for number, value in enumerate(sorted(set(values) - {""}))}
        of_image = np.array([numbers.get(value, -1) for value in values])
        found += [Slice(name=f"{prefix}slice/{column}={value}", rows=of_image == k) for value, k in numbers.items()]
    return found


def _truth_digest(one: EvaluationSet, classes: int) -> str:
    whole = hashlib.sha256(f"{one.kind}/{one.name}/{classes}".encode())
    for array in (one.accepted, one.candidates, one.anchors):
        whole.update(b"\0" if array is None else repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return whole.hexdigest()


def _slices_digest(parts: Sequence[Slice]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.name.encode() + b"\0" + np.packbits(part.rows).tobytes())
    return whole.hexdigest()


def _example_bytes(images: ImageSource) -> int:
    """Size of one decoded image: of the first that can be read, as all have one shape."""
    for row in range(len(images.labels)):
        found, _, _ = images.read_usable([row])
        if len(found):
            return int(found[0].nbytes)
    return 1
