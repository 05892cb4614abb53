"""The race inside the engine: its order, when it starts by itself, and that only the data decide how it ends."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support import Engine, MemoryExamples

from seedzoo.engine import SelectionSettings
from seedzoo.engine.predictions import PredictionPart
from seedzoo.engine.race import race_blocks, race_order, reserve_size
from seedzoo.errors import Cancelled
from seedzoo.records import Evaluation, RaceDecision, SelectionReport

Images = tuple[list[bytes], NDArray[np.int64]]
VARIANTS = 6
RACE = SelectionSettings(evaluation=Evaluation.RACE)


class Kept:
    """Parts in memory."""

    def __init__(self) -> None:
        self.parts: list[PredictionPart] = []

    def load(self) -> Iterable[PredictionPart]:
        return list(self.parts)

    def save(self, parts: Sequence[PredictionPart]) -> None:
        self.parts += parts


def digests(rows: Iterable[int]) -> list[str]:
    return [hashlib.sha256(str(row).encode()).hexdigest() for row in rows]


def answer(report: SelectionReport) -> SelectionReport:
    return dataclasses.replace(report, seconds=0.0, evaluations=0)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200, unique=True), st.integers(0, 100))
def test_the_order_is_random_but_follows_from_the_seed_and_the_files(rows: list[int], seed: int) -> None:
    order = race_order(np.array(rows), digests(rows), seed).tolist()
    assert sorted(order) == sorted(rows)
    assert race_order(np.array(rows[::-1]), digests(rows[::-1]), seed).tolist() == order
    some = rows[: len(rows) // 2]
    assert race_order(np.array(some), digests(some), seed).tolist() == [row for row in order if row in set(some)]


def test_every_example_is_as_likely_to_be_reserved() -> None:
    rows = np.arange(10)
    first = [int(race_order(rows, digests(rows), seed)[0]) for seed in range(2000)]
    assert np.bincount(first, minlength=10) == pytest.approx(200, abs=70)  # five standard deviations


def test_the_reserve() -> None:
    assert [reserve_size(n) for n in (1000, 2500, 2504, 2505, 10_000)] == [500, 500, 500, 501, 2000]


def test_the_report_names_the_examples_that_raced_first(zoo: Engine, many: Images) -> None:
    examples = MemoryExamples(*many)
    report = zoo.select(examples, RACE)
    assert report.race is not None
    order = race_order(np.arange(len(examples.labels)), examples.digests, report.race.seed)
    assert report.race.first_block == tuple(order[500:550].tolist())
    assert set(examples.read_rows) == set(order[: 500 + report.race.n_raced].tolist()) | set(
        examples.read_rows[report.race.n_raced : report.race.n_raced + 50]  # decoded ahead when the race ended
    )
    other = zoo.select(MemoryExamples(*many), dataclasses.replace(RACE, seed=1))
    assert other.race is not None
    assert other.race.first_block != report.race.first_block


def test_where_blocks_end_does_not_depend_on_memory(zoo: Engine, many: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files cut blocks short; a replica with less memory must cut them alike."""
    size = int(MemoryExamples(*many).sizes.max())
    monkeypatch.setattr("seedzoo.engine.evaluation._BLOCK_FILE_BYTES", 20 * size)
    whole = zoo.select(MemoryExamples(*many), RACE)
    monkeypatch.setattr("seedzoo.inference.settings.usable_memory", lambda: 2)
    small = zoo.select(MemoryExamples(*many), RACE)
    assert answer(small) == answer(whole)
    assert small.race is not None
    examples = MemoryExamples(*many)
    order = race_order(np.arange(len(examples.labels)), examples.digests, small.race.seed)
    seen = len(small.race.first_block)
    assert 20 <= seen < 50
    assert small.race.first_block == tuple(order[500 : 500 + seen].tolist())


def test_blocks_grow_with_what_was_seen() -> None:
    small = race_blocks([300_000] * 50, 28 * 28)
    assert [small(seen) for seen in (0, 50, 2499, 2550, 5000, 102_400, 10**6)] == [50, 50, 50, 51, 100, 2048, 2048]
    large = race_blocks([100_000_000] * 50, 224 * 224 * 3)
    assert [large(seen) for seen in (0, 10_000, 10_600, 10**6)] == [200, 200, 212, 222]


def test_large_families_race_by_longer_blocks_on_any_machine(
    zoo: Engine, many: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedzoo.engine.race._LARGE_FAMILY_BYTES", 1)
    reports = []
    for memory in (2, 1 << 40):
        monkeypatch.setattr("seedzoo.inference.settings.usable_memory", lambda memory=memory: memory)
        reports.append(zoo.select(MemoryExamples(*many), RACE))
        race = reports[-1].race
        assert race is not None
        assert len(race.first_block) == 200
    assert answer(reports[0]) == answer(reports[1])


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A race may start by itself on the 1,800 images, if it must not take long."""
    monkeypatch.setattr("seedzoo.engine.deciding._FEWEST_TO_RACE_UNASKED", 1500)
    return monkeypatch


def test_many_examples_that_take_long_race_by_themselves(
    zoo: Engine, many: Images, unasked: pytest.MonkeyPatch
) -> None:
    made: list[RaceDecision] = []
    quick = zoo.select(MemoryExamples(*many), SelectionSettings(), on_decision=made.append)
    assert quick.evaluation is Evaluation.EXHAUSTIVE
    assert made == [quick.decision]
    assert not made[0].race
    assert made[0].predicted_seconds
    exhaustive = zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.EXHAUSTIVE))
    assert exhaustive.decision is None
    assert answer(dataclasses.replace(quick, decision=None)) == answer(exhaustive)
    unasked.setattr("seedzoo.engine.deciding._LONG_S", 0.0)
    slow = zoo.select(MemoryExamples(*many), SelectionSettings(), on_decision=made.append)
    assert slow.decision == made[1]
    assert made[1].race
    raced = zoo.select(MemoryExamples(*many), RACE)
    assert answer(dataclasses.replace(slow, decision=None)) == answer(raced)
    assert slow.evaluations == raced.evaluations  # the first block is part of the reserve
    unasked.setattr("seedzoo.engine.deciding._FEWEST_TO_RACE_UNASKED", 2500)
    few = zoo.select(MemoryExamples(*many), SelectionSettings())
    assert (few.evaluation, few.decision) == (Evaluation.EXHAUSTIVE, None)


@pytest.mark.parametrize("race", [True, False])
def test_what_was_decided_before_holds_on_any_machine(
    zoo: Engine, many: Images, unasked: pytest.MonkeyPatch, race: bool
) -> None:
    unasked.setattr("seedzoo.engine.deciding._LONG_S", 1e9 if race else 0.0)
    decision = RaceDecision(race=race, predicted_seconds=61.0)
    again: list[RaceDecision] = []
    report = zoo.select(MemoryExamples(*many), SelectionSettings(), decision=decision, on_decision=again.append)
    assert report.evaluation is (Evaluation.RACE if race else Evaluation.EXHAUSTIVE)
    assert report.decision == decision
    assert again == []


def test_an_interrupted_race_ends_as_it_would_have(zoo: Engine, many: Images, unasked: pytest.MonkeyPatch) -> None:
    unasked.setattr("seedzoo.engine.deciding._LONG_S", 0.0)
    kept, made, calls = Kept(), list[RaceDecision](), 0

    def stop(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise Cancelled("enough")

    whole = zoo.select(MemoryExamples(*many), SelectionSettings())
    with pytest.raises(Cancelled):
        zoo.select(
            MemoryExamples(*many), SelectionSettings(), predictions=kept, on_decision=made.append, on_progress=stop
        )
    assert kept.parts
    unasked.setattr("seedzoo.engine.deciding._LONG_S", 1e9)  # another machine would not have raced
    report = zoo.select(MemoryExamples(*many), SelectionSettings(), predictions=kept, decision=made[0])
    assert 0 < report.evaluations < whole.evaluations
    assert dataclasses.replace(answer(report), decision=None) == dataclasses.replace(answer(whole), decision=None)


def test_a_race_goes_on_where_an_earlier_one_left_off(zoo: Engine, many: Images, unasked: pytest.MonkeyPatch) -> None:
    kept = Kept()
    settings = SelectionSettings(evaluation=Evaluation.FAST, delta=0.1)
    zoo.select(MemoryExamples(*many), settings, predictions=kept)
    unasked.setattr("seedzoo.engine.deciding._LONG_S", 1e9)
    report = zoo.select(MemoryExamples(*many), SelectionSettings(), predictions=kept)
    assert report.decision == RaceDecision(race=True)
    assert report.evaluation is Evaluation.RACE
    zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.EXHAUSTIVE), predictions=kept)
    report = zoo.select(MemoryExamples(*many), SelectionSettings(), predictions=kept)
    assert report.decision == RaceDecision(race=False, predicted_seconds=0.0)
    assert report.evaluations == 0


def test_more_examples_use_what_is_known_of_the_others(zoo: Engine, many: Images) -> None:
    contents, labels = many
    kept = Kept()
    zoo.select(MemoryExamples(contents[:1500], labels[:1500]), RACE, predictions=kept)
    examples = MemoryExamples(contents, labels)
    report = zoo.select(examples, RACE, predictions=kept)
    fresh = zoo.select(MemoryExamples(contents, labels), RACE)
    assert answer(report) == answer(fresh)
    assert report.evaluations < 0.4 * fresh.evaluations
