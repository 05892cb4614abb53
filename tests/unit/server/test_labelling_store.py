"""Labelling sessions in the store: what comes back, who wins, and what is kept in memory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import Conflict, IntegrityError, NotFound
from seedzoo.selection.active import ActiveSelector
from seedzoo_server.storage.keys import dataset_prefix, derived_id
from seedzoo_server.storage.labelling import Labellings

DATASET, SELECTION = derived_id("ds", "d"), derived_id("sel", "s")
KEY = f"{dataset_prefix(DATASET)}/labelling/{SELECTION}"


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    opened: ObjectStore = MemoryStore() if request.param == "memory" else LocalStore(tmp_path)
    opened.put(f"{dataset_prefix(DATASET)}/dataset.json", b"{}")
    return opened


def predictions(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, (60, 5)).astype(np.int32)


def create(sessions: Labellings, *, seed: int = 0, audit: int = 0) -> None:
    sessions.create(
        DATASET,
        SELECTION,
        predictions=predictions(seed),
        n_classes=4,
        audit=audit,
        seed=7,
        seconds=2.5,
        warnings=("mind",),
        provider="CPUExecutionProvider",
    )


def test_a_state_comes_back_as_it_was(store: ObjectStore) -> None:
    create(Labellings(store), audit=3)
    twin = ActiveSelector(predictions(), 4, seed=7)
    for index in twin.audit(3):
        twin.tell(int(index), 1)
    sessions = Labellings(store)
    with sessions.opened(DATASET, SELECTION) as session:
        assert session.record.warnings == ("mind",)
        assert session.record.seconds == 2.5
        assert session.record.provider == "CPUExecutionProvider"
        for index in session.audit_left:
            session.selector.tell(index, 1)
        sessions.save(session)
        assert session.audit_left == []
    for label in (0, 2, 3):
        with Labellings(store).opened(DATASET, SELECTION) as session:  # nothing in memory
            assert session.selector.next() == twin.next()
            sessions.save(session)
        with Labellings(store).opened(DATASET, SELECTION) as session:
            assert session.record.pending == twin.next()  # the question is stored
            assert (session.predictions == predictions()).all()
            session.selector.tell(twin.next(), label)
            twin.tell(twin.next(), label)
            sessions.save(session)
    with Labellings(store).opened(DATASET, SELECTION) as session:
        for name, value in twin.state().items():
            assert np.array_equal(session.selector.state()[name], value, equal_nan=True), name
        assert session.given == dict(zip(twin.state()["indices"].tolist(), [1, 1, 1, 0, 2, 3], strict=True))
        assert session.record.probabilities[:3] == (None,) * 3
        assert all(q is not None and not math.isnan(q) for q in session.record.probabilities[3:])
        assert session.selector.choice().candidates == twin.choice().candidates


def test_only_one_of_two_writers_wins(store: ObjectStore) -> None:
    here, there = Labellings(store), Labellings(store)
    create(here)
    with here.opened(DATASET, SELECTION) as mine:
        mine.selector.next()
        here.save(mine)
    with there.opened(DATASET, SELECTION) as theirs:
        theirs.selector.tell(theirs.record.pending, 2)
        with pytest.raises(Conflict), here.opened(DATASET, SELECTION) as mine:  # noqa: PT012
            mine.selector.tell(mine.record.pending, 3)
            there.save(theirs)
            here.save(mine)
    with here.opened(DATASET, SELECTION) as mine:  # what lost is forgotten, in memory too
        assert mine.record.labels == (2,)
        assert mine.selector.state()["labels"].tolist() == [2]


def test_memory_serves_until_somebody_else_writes(store: ObjectStore) -> None:
    here, there = Labellings(store), Labellings(store)
    create(here)
    with here.opened(DATASET, SELECTION) as session:
        first = session.selector
    with here.opened(DATASET, SELECTION) as session:
        assert session.selector is first
    with there.opened(DATASET, SELECTION) as session:
        session.selector.next()
        there.save(session)
    with here.opened(DATASET, SELECTION) as session:
        assert session.selector is not first
        assert session.record.pending >= 0
    with pytest.raises(RuntimeError), here.opened(DATASET, SELECTION) as session:  # noqa: PT012
        session.selector.tell(session.record.pending, 0)
        raise RuntimeError("before it was stored")
    with here.opened(DATASET, SELECTION) as session:
        assert session.selector.n_labels == 0


def test_a_selection_made_anew_does_not_meet_the_old_one_in_memory(store: ObjectStore) -> None:
    sessions = Labellings(store)
    create(sessions)
    with sessions.opened(DATASET, SELECTION) as session:
        assert (session.predictions == predictions()).all()
    store.delete_prefix(f"{dataset_prefix(DATASET)}/labelling")
    create(sessions, seed=1)
    with sessions.opened(DATASET, SELECTION) as session:
        assert (session.predictions == predictions(1)).all()


def test_what_an_earlier_attempt_stored_stays(store: ObjectStore) -> None:
    create(Labellings(store))
    with Labellings(store).opened(DATASET, SELECTION) as session:
        session.selector.next()
        Labellings(store).save(session)
    create(Labellings(store), seed=1)
    with Labellings(store).opened(DATASET, SELECTION) as session:
        assert session.record.pending >= 0
        assert (session.predictions == predictions()).all()
    store.delete(f"{KEY}.json")  # died between the two files
    create(Labellings(store), seed=1)
    with Labellings(store).opened(DATASET, SELECTION) as session:
        assert (session.predictions == predictions()).all()


def test_a_deleted_dataset_leaves_nothing(store: ObjectStore) -> None:
    store.delete(f"{dataset_prefix(DATASET)}/dataset.json")
    with pytest.raises(NotFound):
        create(Labellings(store))
    assert not list(store.list(dataset_prefix(DATASET)))
    with pytest.raises(NotFound), Labellings(store).opened(DATASET, SELECTION):
        pass


@pytest.mark.parametrize("damage", ["gone", "changed", "state"])
def test_damage_is_told(store: ObjectStore, damage: str) -> None:
    create(Labellings(store))
    if damage == "gone":
        store.delete(f"{KEY}.npz")
    elif damage == "changed":
        store.put(f"{KEY}.npz", store.get(f"{KEY}.npz") + b"0")
    else:
        store.put(f"{KEY}.json", store.get(f"{KEY}.json").replace(b'"pending": -1', b'"pending": 60'))
    with pytest.raises(IntegrityError) as caught, Labellings(store).opened(DATASET, SELECTION):
        pass
    assert caught.value.reason == "LABELLING_DAMAGED"
