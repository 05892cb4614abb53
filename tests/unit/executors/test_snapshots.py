"""Snapshots: the last one is found whole, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import LocalFailure
from seedzoo.executors import FolderSnapshots, Snapshots, StoreSnapshots


class Place:
    """One place for snapshots, and its raw bytes seen from outside."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.path, self.store = kind, folder / "s000" / "snapshot", MemoryStore()

    def open(self, key: str = "k1", **options: object) -> Snapshots:
        if self.kind == "folder":
            return FolderSnapshots(self.path, key=key, **options)  # type: ignore[arg-type]
        return StoreSnapshots(self.store, "builds/k/s000/snapshot", key=key, **options)  # type: ignore[arg-type]

    def raw(self) -> bytes:
        return self.path.read_bytes() if self.kind == "folder" else self.store.get("builds/k/s000/snapshot")

    def overwrite(self, raw: bytes) -> None:
        if self.kind == "folder":
            self.path.write_bytes(raw)
        else:
            self.store.put("builds/k/s000/snapshot", raw)


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


def test_the_last_one_is_found_until_it_is_cleared(place: Place) -> None:
    snapshots = place.open()
    assert snapshots.load() is None
    snapshots.clear()
    snapshots.save(b"first")
    snapshots.save(b"second\nwith lines\n")
    assert place.open().load() == b"second\nwith lines\n"
    snapshots.save(b"")
    assert place.open().load() == b""
    place.open().clear()
    assert snapshots.load() is None


def test_that_of_another_recipe_is_not_taken(place: Place) -> None:
    place.open("k1").save(b"state")
    assert place.open("k2").load() is None
    place.open("k2").save(b"other")
    assert place.open("k1").load() is None


def test_damage_is_noticed_wherever_it_is(place: Place) -> None:
    snapshots = place.open()
    snapshots.save(b"state of a network")
    whole = place.raw()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    damaged += [whole[:length] for length in range(len(whole))] + [whole + b"x", b"\n" + whole]
    said: list[str] = []
    for raw in damaged:
        place.overwrite(raw)
        assert place.open(on_damage=said.append).load() is None
    assert len(said) == len(damaged)
    assert "s000/snapshot" in said[0]
    assert "starts again from the beginning" in said[0]
    with pytest.warns(UserWarning, match="is damaged"):
        assert snapshots.load() is None
    place.overwrite(whole)
    assert snapshots.load() == b"state of a network"


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_snapshot(raw: bytes) -> None:
    store = MemoryStore()
    store.put("snapshot", raw)
    said: list[str] = []
    assert StoreSnapshots(store, "snapshot", key="k", on_damage=said.append).load() is None
    assert len(said) == 1


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "s000").write_bytes(b"a file where the folder should be")
    with pytest.raises(LocalFailure, match="s000"):
        FolderSnapshots(tmp_path / "s000" / "snapshot", key="k").save(b"state")
