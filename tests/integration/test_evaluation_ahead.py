"""Blocks that executors evaluate without waiting between them: the scores are those of one after the other."""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.integration import evaluation_jobs as jobs
from tests.support import Engine, KeptPredictions, MemoryExamples, small_bundle, subset_images, without_costs

from seedzoo.catalog.bundle import open_bundle
from seedzoo.engine import SelectionSettings
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.spread_evaluator import Block, SpreadEvaluator, evaluators_on
from seedzoo.engine.spread_parts import PartScores, Round, SpreadScores
from seedzoo.errors import Cancelled, ItemsError
from seedzoo.executors import Executor, LocalExecutor
from seedzoo.inference.evaluate import BlockScores, Evaluator


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(open_bundle(small_bundle(tmp_path_factory.mktemp("ahead") / "mini", variants=4)))


@pytest.fixture(scope="module")
def many() -> tuple[list[bytes], NDArray[np.int64]]:
    contents, labels = subset_images()
    unique = dict(zip(contents, labels.tolist(), strict=True))
    return list(unique)[:900], np.array(list(unique.values())[:900])


def files_of(zoo: Engine) -> list[tuple[str, Callable[[], bytes]]]:
    return [(one.tag, functools.partial(zoo.load, one)) for one in zoo.family.variants]


def blocks_of(many: tuple[list[bytes], NDArray[np.int64]]) -> list[Block]:
    images, labels = jobs.pixels(many[0]), many[1].copy()
    labels[::5] = -1
    return [
        Block(images[:200], labels[:200]),
        Block(images[200:201], labels[200:201], [0], [3, 1]),
        Block(images[201:500], labels[201:500], np.arange(299)[::-1], [2]),
        Block(images[500:], labels[500:], [7, 7, 300]),
    ]


def assert_same(found: BlockScores, expected: BlockScores) -> None:
    for name in ("predicted", "label_probability", "ensemble", "probabilities"):
        theirs, ours = getattr(expected, name), getattr(found, name)
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()), name


@pytest.mark.parametrize("unsure", [False, True])
def test_scores_are_those_of_threads_in_the_blocks_order(
    executor: Executor,
    zoo: Engine,
    many: tuple[list[bytes], NDArray[np.int64]],
    unsure: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where all sums are too near to tell, so that blocks are evaluated again for their probabilities."""
    files, blocks = files_of(zoo), blocks_of(many)
    with Evaluator([functools.partial(jobs.opened, *file) for file in files]) as threads:
        expected = [
            threads.run(one.images, one.labels, keep_probabilities=one.keep_probabilities, variants=one.variants)
            for one in blocks
        ]
    if unsure:
        monkeypatch.setattr(SpreadScores, "unsure", lambda self, _: np.ones(len(self.total), dtype=np.bool_))
    with SpreadEvaluator(files, executor) as workers:
        found = list(workers.stream(blocks))
        assert not list(workers.stream([]))
        again = workers.run(blocks[1].images, blocks[1].labels)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)
    assert again.predicted.shape == (1, 4)


def test_next_block_begins_before_the_last_one_has_ended(
    executor: Executor, zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]
) -> None:
    """And few are held in memory: those at work, one that waits, and one that is begun."""
    images, labels = jobs.pixels(many[0])[:512], many[1][:512]
    taken: list[int] = []

    def blocks() -> Iterator[Block]:
        for number in range(10):
            taken.append(number)
            yield Block(images, labels)

    ahead = []
    with SpreadEvaluator(files_of(zoo), executor) as workers:
        for number, _ in enumerate(workers.stream(blocks())):
            ahead.append(len(taken) - number)
    assert len(ahead) == 10
    assert max(ahead[:-1]) >= 2
    assert max(ahead) <= 4


def test_left_early_nothing_goes_on(zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]) -> None:
    with SpreadEvaluator(files_of(zoo), LocalExecutor(cpus=2)) as workers:
        stream = workers.stream(blocks_of(many))
        next(stream)
        pool = workers._workers
        stream.close()  # type: ignore[attr-defined]
        assert not pool.busy  # type: ignore[attr-defined]
        assert not pool.idle  # type: ignore[attr-defined]


def test_cancelled_between_blocks(zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]) -> None:
    ended: list[BlockScores] = []
    with SpreadEvaluator(files_of(zoo), LocalExecutor(cpus=2), should_stop=lambda: bool(ended)) as workers:
        stream = workers.stream(blocks_of(many))
        ended.append(next(stream))
        with pytest.raises(Cancelled):
            list(stream)


@pytest.mark.parametrize("known", ["none", "first", "scattered", "last", "all"])
def test_only_what_is_missing_is_evaluated(
    zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]], known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedzoo.engine.evaluation.block_length", lambda *_, **__: 128)  # some blocks known, some not
    contents, labels = many
    rows = {
        "none": [],
        "first": range(512),
        "scattered": range(0, 900, 7),
        "last": range(512, 900),
        "all": range(900),
    }[known]
    kept = KeptPredictions()
    expected = zoo.select(MemoryExamples(contents, labels), SelectionSettings(), predictions=kept)
    for place, part in enumerate(kept.parts):
        some = np.isin(part.rows, list(rows))
        conversions = [one for one, wanted in zip(part.conversions, some, strict=True) if wanted]
        kept.parts[place] = dataclasses.replace(
            part, rows=part.rows[some], probabilities=part.probabilities[some], conversions=conversions
        )
    kept.parts = [part for part in kept.parts if len(part.rows)]
    examples = MemoryExamples(contents, labels)
    found = zoo.select(
        examples, SelectionSettings(), predictions=kept, open_evaluator=evaluators_on(LocalExecutor(cpus=2))
    )
    assert found.evaluations == 4 * (900 - len(rows))
    assert sorted(examples.read_rows) == sorted(set(range(900)) - set(rows))
    assert without_costs(found) == dataclasses.replace(without_costs(expected), provider=found.provider)
    assert sum(len(part.rows) * len(part.variants) for part in kept.parts) == 4 * 900


def test_bad_images_are_all_named_and_what_was_evaluated_is_kept(
    zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]
) -> None:
    contents, labels = list(many[0]), many[1]
    contents[600], contents[899] = b"broken", b"broken too"
    kept = KeptPredictions()
    with (
        FamilyEvaluator(
            family=zoo.family,
            load_model=zoo.load,
            examples=MemoryExamples(contents, labels),
            predictions=kept,
            open_evaluator=evaluators_on(LocalExecutor(cpus=2)),
        ) as evaluator,
        pytest.raises(ItemsError, match="2 of 900 images cannot be used") as caught,
    ):
        list(evaluator.blocks(np.arange(900), length=100))
    assert sorted(caught.value.faults) == [600, 899]
    assert sorted(np.concatenate([part.rows for part in kept.parts]).tolist()) == list(range(600))


def test_length_of_a_block_may_depend_on_those_before_it(
    zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]
) -> None:
    with FamilyEvaluator(family=zoo.family, load_model=zoo.load, examples=MemoryExamples(*many)) as evaluator:
        lengths = [len(rows) for rows, _ in evaluator.blocks(np.arange(900), length=lambda seen: max(200, seen // 2))]
    assert lengths == [200, 200, 200, 300]


@pytest.mark.parametrize("how", ["left", "failed", "cancelled"])
def test_after_a_stream_that_broke_off_the_next_one_is_evaluated_anew(
    executor: Executor, zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]], how: str
) -> None:
    """Jobs have the same names in each: results of the first one would be taken for those of the second."""
    files, images, labels = files_of(zoo), jobs.pixels(many[0]), many[1]
    ended: list[BlockScores] = []

    def blocks() -> Iterator[Block]:
        for number in itertools.count():
            if how == "failed" and number == 3:
                raise OSError("the images are away")
            start = number % 3 * 100
            yield Block(images[start : start + 100], labels[start : start + 100])

    with (
        Evaluator([functools.partial(jobs.opened, *file) for file in files]) as threads,
        SpreadEvaluator(files, executor, should_stop=lambda: how == "cancelled" and bool(ended)) as workers,
    ):
        expected = threads.run(images[300:], labels[300:])
        stream = workers.stream(blocks())
        if how == "failed":
            with pytest.raises(OSError, match="away"):
                list(stream)
        else:
            ended.append(next(stream))
            if how == "cancelled":
                with pytest.raises(Cancelled):
                    list(stream)
            else:
                stream.close()  # type: ignore[attr-defined]
        ended.clear()
        assert_same(workers.run(images[300:], labels[300:]), expected)
    with pytest.raises(ValueError, match="closed"):
        workers.run(images[:1], labels[:1])


def test_two_streams_at_once_are_refused(zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]) -> None:
    blocks = blocks_of(many)
    with SpreadEvaluator(files_of(zoo), LocalExecutor(cpus=1)) as workers:
        stream = workers.stream(blocks)
        next(stream)
        with pytest.raises(ValueError, match="at work on other blocks"):
            workers.run(blocks[0].images, blocks[0].labels)
        assert len(list(stream)) == len(blocks) - 1


def test_examples_left_early_are_asked_for_again(
    executor: Executor, zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]
) -> None:
    given = {"family": zoo.family, "load_model": zoo.load}
    with (
        FamilyEvaluator(examples=MemoryExamples(*many), **given) as threads,
        FamilyEvaluator(examples=MemoryExamples(*many), open_evaluator=evaluators_on(executor), **given) as spread,
    ):
        for _ in spread.blocks(np.arange(900), length=100):
            break
        found = list(spread.blocks(np.arange(900), length=100))
        for (rows, ours), (same_rows, theirs) in zip(found, threads.blocks(np.arange(900), length=100), strict=True):
            assert np.array_equal(rows, same_rows)
            assert_same(ours, theirs)


def test_pixels_of_evaluated_blocks_are_not_held(zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]) -> None:
    """Also where the scores of the block before are not there yet."""
    pixels: list[weakref.ref[NDArray[np.uint8]]] = []

    class Slow(SpreadEvaluator):
        def stream(self, blocks: Iterable[Block]) -> Iterator[BlockScores]:
            scores = []
            for block in blocks:
                scores.append(self.run(block.images, block.labels, variants=block.variants))
                pixels.append(weakref.ref(whole(block.images)))
            del block
            gc.collect()
            assert len(pixels) == 9
            assert sum(one() is not None for one in pixels) <= 1
            yield from scores

    def slow(models: Any, *, should_stop: Callable[[], bool]) -> Slow:
        return Slow(models, LocalExecutor(cpus=2), should_stop=should_stop)

    examples = MemoryExamples(*many)
    with FamilyEvaluator(family=zoo.family, load_model=zoo.load, examples=examples, open_evaluator=slow) as evaluator:
        assert len(list(evaluator.blocks(np.arange(900), length=100))) == 9


def test_block_that_waits_for_the_one_before_it_holds_no_pixels() -> None:
    images = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    held = weakref.ref(images)
    one = Round(0, Block(images, np.zeros(3, dtype=np.int64)), [0])
    one.begin([(range(3), range(1))])
    found = np.full((3, 1), 0.5)
    part = PartScores(
        np.zeros((3, 1), dtype=np.int32),
        found.astype(np.float32),
        np.zeros((0, 1, 2), dtype=np.float32),
        np.tile([0.25, 0.75], (3, 1)),
        frozenset(),
    )
    del images
    assert held() is not None
    assert not one.put(0, part)
    assert one.scores is not None
    assert held() is None


def whole(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
