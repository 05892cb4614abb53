"""How the engine has images decoded: one block ahead, in processes where it is told so, and not a block too many."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support import Engine, MemoryExamples

from seedzoo.engine import FamilyEvaluator
from seedzoo.engine.predictions import PredictionPart
from seedzoo.errors import Cancelled, ItemsError, StoreError
from seedzoo.inference.decoding import DecodedBlock, ThreadDecoder
from seedzoo.inference.decoding_processes import ProcessDecoder
from seedzoo.records import Preprocessing

Images = tuple[list[bytes], NDArray[np.int64]]
ROWS = np.arange(300, dtype=np.int64)
_WAIT_S = 60


class Watched(ThreadDecoder):
    """Real threads, and what is known of the blocks that they were given."""

    def __init__(self) -> None:
        super().__init__(2)
        self.begun: list[threading.Event] = [threading.Event() for _ in range(20)]
        self.sizes: list[int] = []
        self.most_held = 0
        self._held: list[weakref.ref[NDArray[np.uint8]]] = []

    def decode(
        self,
        contents: Sequence[bytes],
        preprocessing: Preprocessing,
        *,
        max_pixels: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> DecodedBlock:
        self.begun[len(self.sizes)].set()
        self.sizes.append(len(contents))
        block = super().decode(contents, preprocessing, max_pixels=max_pixels, should_stop=should_stop)
        self._held.append(weakref.ref(block.pixels))
        self.most_held = max(self.most_held, sum(each() is not None for each in self._held))
        return block


class Kept:
    """Predictions in memory."""

    def __init__(self) -> None:
        self.parts: list[PredictionPart] = []

    def load(self) -> list[PredictionPart]:
        return self.parts

    def save(self, parts: Sequence[PredictionPart]) -> None:
        self.parts += parts


@pytest.fixture
def watched() -> Iterator[Watched]:
    decoder = Watched()
    yield decoder
    decoder.close()


def evaluator(zoo: Engine, images: Images, **more: Any) -> FamilyEvaluator:
    return FamilyEvaluator(family=zoo.family, load_model=zoo.load, examples=MemoryExamples(*images), **more)


def predicted(found: FamilyEvaluator, **more: Any) -> NDArray[np.int32]:
    return np.concatenate([scores.predicted for _, scores in found.blocks(ROWS, **more)])


def test_the_next_block_is_decoded_while_one_is_evaluated(zoo: Engine, images: Images, watched: Watched) -> None:
    with evaluator(zoo, images, decoder=watched) as found:
        for number, (block, _) in enumerate(found.blocks(ROWS, length=50)):
            assert len(block) == 50
            if number < 5:  # the next one does not wait for us
                assert watched.begun[number + 1].wait(_WAIT_S)
    assert watched.sizes[:6] == [50] * 6
    assert sum(watched.sizes) == 300
    assert watched.most_held == 2


def test_leaving_early_reads_one_block_too_many_at_most(zoo: Engine, images: Images, watched: Watched) -> None:
    with evaluator(zoo, images, decoder=watched) as found:
        next(iter(found.blocks(ROWS, length=50)))
        later = predicted(found, length=300)
    assert sum(watched.sizes) <= 50 + 50 + 300
    with evaluator(zoo, images) as alone:
        assert np.array_equal(predicted(alone), later)


def test_fewer_variants_and_known_predictions(zoo: Engine, images: Images, watched: Watched) -> None:
    """What was decoded ahead for all variants is not what the next block needs once some of them are out."""
    everybody = np.arange(len(zoo.family.variants))
    kept = Kept()
    with evaluator(zoo, images, predictions=kept) as found:
        for _ in found.blocks(ROWS[60:120], variants=lambda: everybody[:2]):
            pass
    asked = iter([everybody, everybody[:2], everybody])
    with evaluator(zoo, images, predictions=kept, decoder=watched) as found:
        some = [scores.predicted for _, scores in found.blocks(ROWS[:150], length=50, variants=lambda: next(asked))]
    with evaluator(zoo, images) as alone:
        whole = predicted(alone)
    assert np.array_equal(some[0], whole[:50])
    assert np.array_equal(some[1], whole[50:100, :2])
    assert np.array_equal(some[2], whole[100:150])
    # Of the second block only ten were new to the two that were left.
    assert 10 in watched.sizes


def test_cancelling_does_not_wait_for_a_block(zoo: Engine, images: Images) -> None:
    working, stop = threading.Event(), threading.Event()

    class Slow(ThreadDecoder):
        def decode(self, contents: Sequence[bytes], *_: Any, should_stop: Callable[[], bool], **__: Any) -> Any:
            working.set()
            for _ in range(1000):
                if should_stop():
                    raise Cancelled("as it was told")
                stop.wait(0.05)
            pytest.fail("nobody stopped it")

    def should_stop() -> bool:
        if working.is_set():
            stop.set()
        return stop.is_set()

    decoder = Slow(1)
    with (
        evaluator(zoo, images, decoder=decoder, should_stop=should_stop) as found,
        pytest.raises(Cancelled, match="sel"),
    ):
        next(iter(found.blocks(ROWS)))
    decoder.close()


def test_what_cannot_be_read_ahead_fails_where_it_is_needed(zoo: Engine, images: Images) -> None:
    class Torn(MemoryExamples):
        def read(self, rows: Sequence[int]) -> list[bytes]:
            if 60 in rows:
                raise StoreError("the store is away")
            return super().read(rows)

    with FamilyEvaluator(family=zoo.family, load_model=zoo.load, examples=Torn(*images)) as found:
        blocks = iter(found.blocks(ROWS, length=50))
        assert len(next(blocks)[0]) == 50
        with pytest.raises(StoreError):
            next(blocks)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessDecoder]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "inference"))
    decoder = ProcessDecoder(2, function="decoder_parts:troubled")
    yield decoder
    decoder.close()


def test_processes_give_the_same_scores(zoo: Engine, images: Images, processes: ProcessDecoder) -> None:
    with evaluator(zoo, images, decoder=processes) as found, evaluator(zoo, images) as alone:
        assert np.array_equal(predicted(found, length=70), predicted(alone))
        assert found.conversions == alone.conversions
    assert processes.pids  # they stay for the next one


def test_images_that_crash_decoders_are_named_with_the_others(
    zoo: Engine, images: Images, processes: ProcessDecoder
) -> None:
    contents = list(images[0])
    contents[7], contents[130], contents[299] = b"crash", b"no image", b"crash"
    with evaluator(zoo, (contents, images[1]), decoder=processes) as found, pytest.raises(ItemsError) as caught:
        predicted(found, length=100)
    assert sorted(caught.value.faults) == [7, 130, 299]
    assert "crashes the decoder" in caught.value.faults[7]
    assert caught.value.message == "3 of 300 images cannot be used"


def test_a_few_crashes_in_each_block_end_it_too(zoo: Engine, images: Images, processes: ProcessDecoder) -> None:
    contents = list(images[0])
    for row in (20, 60, 120, 140, 180, 220, 260):  # at most two in each block of 50
        contents[row] = b"crash"
    with evaluator(zoo, (contents, images[1]), decoder=processes) as found, pytest.raises(ItemsError) as caught:
        predicted(found, length=50)
    assert sorted(caught.value.faults) == [20, 60, 120, 140, 180]
    assert caught.value.message == "at least 5 of 300 images cannot be used"


def test_many_crashes_end_it(zoo: Engine, images: Images, processes: ProcessDecoder) -> None:
    contents = [*images[0][:100], *[b"crash"] * 200]
    with evaluator(zoo, (contents, images[1]), decoder=processes) as found, pytest.raises(ItemsError) as caught:
        predicted(found, length=100)
    assert 5 <= len(caught.value.faults) <= 6
    assert set(caught.value.faults) <= set(range(100, 200))
    assert caught.value.message.startswith("at least ")
