"""Predictions kept between selections: the same answers, without evaluating again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support import Engine, KeptPredictions, MemoryExamples, without_costs

from seedzoo.catalog.memory import MemoryStore
from seedzoo.engine import SelectionSettings
from seedzoo.engine.predictions import Conversion, PredictionCache, PredictionPart
from seedzoo.errors import Cancelled, StoreError
from seedzoo.records import Evaluation
from seedzoo_server.storage.predictions import StoredPredictions

Images = tuple[list[bytes], NDArray[np.int64]]
DATASET = "ds-" + "0" * 32


@pytest.fixture
def store() -> MemoryStore:
    memory = MemoryStore()
    memory.put(f"datasets/{DATASET}/dataset.json", b"{}")
    return memory


def test_another_question_evaluates_nothing(zoo: Engine, images: Images, store: MemoryStore) -> None:
    kept = StoredPredictions(store, DATASET, "release")
    first = zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=kept)
    assert first.evaluations == 300 * 6
    for settings in (
        SelectionSettings(),
        SelectionSettings(objective="log_loss"),
        SelectionSettings(objective="auroc", requirements=("brier <= 1.9",)),
    ):
        examples = MemoryExamples(*images)
        again = zoo.select(examples, settings, predictions=kept)
        assert again.evaluations == 0
        assert (first.provider, again.provider) == ("CPUExecutionProvider", "")
        assert examples.read_rows == []
        fresh = zoo.select(MemoryExamples(*images), settings)
        assert without_costs(again) == without_costs(fresh)


def test_only_what_is_missing_is_evaluated(zoo: Engine, images: Images) -> None:
    contents, labels = images
    kept = KeptPredictions()
    some = np.where(np.arange(300) % 2 == 0, labels, -1)
    zoo.select(MemoryExamples(contents, some), SelectionSettings(use_prior=False), predictions=kept)
    examples = MemoryExamples(contents, labels)
    report = zoo.select(examples, SelectionSettings(), predictions=kept)
    assert sorted(examples.read_rows) == list(range(1, 300, 2))
    assert report.evaluations == 150 * 6
    assert without_costs(report) == without_costs(zoo.select(MemoryExamples(contents, labels), SelectionSettings()))


def test_a_race_and_an_exhaustive_evaluation_share(zoo: Engine, many: Images) -> None:
    kept = KeptPredictions()
    early = SelectionSettings(evaluation=Evaluation.FAST, delta=0.05)
    raced = zoo.select(MemoryExamples(*many), early, predictions=kept)
    full = zoo.select(MemoryExamples(*many), SelectionSettings(evaluation=Evaluation.EXHAUSTIVE), predictions=kept)
    assert 0 < full.evaluations < full.evaluations_exhaustive
    again = zoo.select(MemoryExamples(*many), early, predictions=kept)
    assert again.evaluations == 0
    assert without_costs(again) == without_costs(raced)


def test_a_cancelled_selection_leaves_what_it_found(zoo: Engine, many: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedzoo.inference.evaluate._BLOCK_EXAMPLES", 100)
    kept = KeptPredictions()
    seen = 0

    def stop(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen > 6:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        zoo.select(MemoryExamples(*many), SelectionSettings(), predictions=kept, on_progress=stop)
    found = sum(len(part.rows) for part in kept.parts)
    assert 100 <= found < len(many[1])
    report = zoo.select(MemoryExamples(*many), SelectionSettings(), predictions=kept)
    assert report.evaluations == (len(many[1]) - found) * 6


def test_damage_is_seen_and_evaluated_again(zoo: Engine, images: Images, store: MemoryStore) -> None:
    kept = StoredPredictions(store, DATASET, "release")
    zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=kept)
    (info,) = store.list(f"datasets/{DATASET}/predictions")
    raw = bytearray(store.get(info.key))
    raw[len(raw) // 2] ^= 1
    store.put(info.key, bytes(raw))
    assert zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=kept).evaluations == 300 * 6
    assert zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=kept).evaluations == 0


def test_damage_anywhere_is_seen(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    kept = StoredPredictions(store, DATASET, "release")
    part = PredictionPart(np.array([3]), np.array([1]), np.ones((1, 1, 4), np.float32), [Conversion("", (5, 6))])
    kept.save([part])
    (info,) = store.list(f"datasets/{DATASET}/predictions")
    whole = store.get(info.key)
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 7)]
    cut = [whole[:length] for length in range(0, len(whole), 31)]
    for damaged in (*flipped, *cut, whole + b"x"):
        store.put(info.key, damaged)
        caplog.clear()
        assert list(kept.load()) == []
        assert "damaged" in caplog.text
        assert not store.exists(info.key)
    store.put(info.key, whole)
    (again,) = kept.load()
    assert again.rows.tolist() == [3]
    assert again.conversions == [Conversion("", (5, 6))]


def test_entries_that_belong_elsewhere_are_not_used(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    def part(value: float) -> PredictionPart:
        return PredictionPart(
            np.array([0]), np.array([0]), np.full((1, 1, 2), value, np.float32), [Conversion("", None)]
        )

    one, two = StoredPredictions(store, DATASET, "one"), StoredPredictions(store, DATASET, "two")
    one.save([part(0.25)])
    two.save([part(0.75)])
    (first,), (second,) = (list(store.list(f"datasets/{DATASET}/predictions/{name}")) for name in ("one", "two"))
    # Moved with its name, it is whole and yet of another release.
    store.put(first.key.rpartition("/")[0] + "/" + second.key.rpartition("/")[2], store.get(second.key))
    assert [float(found.probabilities[0, 0, 0]) for found in one.load()] == [0.25]
    assert "were found in" in caplog.text
    # Swapped under the names of each other, neither is what its name says.
    contents = store.get(first.key), store.get(second.key)
    store.put(first.key, contents[1])
    store.put(second.key, contents[0])
    assert [float(found.probabilities[0, 0, 0]) for found in two.load()] == []


def test_another_release_or_a_deleted_dataset_shares_nothing(zoo: Engine, images: Images, store: MemoryStore) -> None:
    zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=StoredPredictions(store, DATASET, "one"))
    other = StoredPredictions(store, DATASET, "two")
    assert zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=other).evaluations == 300 * 6
    store.delete_prefix(f"datasets/{DATASET}")
    zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=other)
    assert not list(store.list("datasets"))


def test_a_store_that_takes_nothing_costs_nothing_but_time(zoo: Engine, images: Images) -> None:
    class Full(MemoryStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
            raise StoreError("full")

    kept = StoredPredictions(Full(), DATASET, "release")
    assert zoo.select(MemoryExamples(*images), SelectionSettings(), predictions=kept).evaluations == 300 * 6


def test_too_many_predictions_are_not_kept() -> None:
    cache = PredictionCache(10, 2, 3, KeptPredictions(), limit=239)
    assert not cache.keeps
    assert not cache.known(np.arange(10), np.arange(2)).any()
    assert PredictionCache(10, 2, 3, KeptPredictions(), limit=240).keeps


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True),
            st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
        ),
        max_size=8,
    )
)
def test_the_cache_knows_what_it_was_given(parts: list[tuple[list[int], list[int]]]) -> None:
    truth = np.random.default_rng(0).random((10, 4, 3)).astype(np.float32)
    kept = KeptPredictions()
    cache = PredictionCache(10, 4, 3, kept)
    known = np.zeros((10, 4), dtype=np.bool_)
    for rows, variants in parts:
        cells = np.ix_(rows, variants)
        conversions = [Conversion("", (row + 1, 1)) for row in rows]
        cache.put(PredictionPart(np.array(rows), np.array(variants), truth[cells], conversions))
        known[cells] = True
    cache.flush()
    for each in (cache, PredictionCache(10, 4, 3, kept)):
        for asked in ([0], [1, 3], [0, 1, 2, 3]):
            whole = known[:, asked].all(axis=1)
            assert each.known(np.arange(10), np.array(asked)).tolist() == whole.tolist()
            at = np.flatnonzero(whole)
            found, made = each.get(at, np.array(asked))
            assert np.array_equal(found, truth[np.ix_(at, asked)])
            assert [conversion.resized_from for conversion in made] == [(row + 1, 1) for row in at.tolist()]


def test_parts_that_do_not_fit_are_not_used() -> None:
    kept = KeptPredictions()
    good = PredictionPart(np.array([0]), np.array([1]), np.ones((1, 1, 3), np.float32), [Conversion("", None)])
    kept.parts += [
        dataclasses.replace(good, rows=np.array([10])),
        dataclasses.replace(good, rows=np.array([-1])),
        dataclasses.replace(good, variants=np.array([4])),
        dataclasses.replace(good, probabilities=np.ones((1, 1, 4), np.float32)),
        dataclasses.replace(good, conversions=[]),
    ]
    assert not PredictionCache(10, 4, 3, kept).known(np.arange(10), np.array([1])).any()
    kept.parts.append(good)
    assert PredictionCache(10, 4, 3, kept).known(np.arange(10), np.array([1])).sum() == 1
