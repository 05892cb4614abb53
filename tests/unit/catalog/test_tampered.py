"""Releases changed by whoever can write to the store, digests included: one that does not fit itself is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import small_bundle

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, SIGNATURES_FILE
from seedzoo.catalog.catalog import Catalog, alias_key, release_key, release_prefix
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.integrity import sha256_hex
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.publish import publish
from seedzoo.errors import IntegrityError
from seedzoo.records import Release
from seedzoo.stress.signature_table import read_signature_table, signature_table_bytes
from seedzoo.stress.table import ProfileRow, profile_bytes, read_profile
from seedzoo_protos.v1 import catalog_pb2
from seedzoo_server.catalog_service import CatalogServicer

MINI = FamilyRef("mini")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("zoo") / "bundle", variants=2)


@pytest.fixture
def store(bundle: Path) -> MemoryStore:
    store = MemoryStore()
    publish(store, bundle)
    return store


def edit(store: MemoryStore, change: Callable[[Release], Release]) -> None:
    release = Catalog(store).release(MINI)
    store.put(release_key("mini", release.id), encode_json(change(release)))


def swap(store: MemoryStore, path: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file, and what the release says of it."""
    release = Catalog(store).release(MINI)
    key = f"{release_prefix('mini', release.id)}/{path}"
    raw = change(store.get(key))
    store.put(key, raw)
    edit(store, lambda release: replace(release, files=tuple(
        replace(entry, size=len(raw), sha256=sha256_hex(raw)) if entry.path == path else entry
        for entry in release.files
    )))  # fmt: skip


def profiled(store: MemoryStore, change: Callable[[tuple[ProfileRow, ...]], Sequence[ProfileRow]]) -> None:
    def rewritten(raw: bytes) -> bytes:
        table = read_profile(raw)
        return profile_bytes(change(table.rows), suite=table.suite, dataset=table.dataset, version=table.version)

    swap(store, PROFILE_FILE, rewritten)


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("variants: s000, s002, xs000", lambda rows: [replace(r, variant=f"x{r.variant}") for r in rows]),
        ("variants: ghost", lambda rows: [*rows, replace(rows[0], variant="ghost", condition="new")]),
        ("variants: s000", lambda rows: [r for r in rows if r.variant != "s000"]),
        ("no condition 'id'", lambda rows: [r for r in rows if r.condition != "id"]),
    ],
)  # fmt: skip
def test_profile_of_something_else_is_neither_shown_nor_selected_on(store: MemoryStore, says: str, change) -> None:
    profiled(store, change)
    catalog = Catalog(store)
    family, release = catalog.family(MINI)
    with pytest.raises(IntegrityError, match=says):
        catalog.profile(release)
    with pytest.raises(IntegrityError, match=says):
        catalog.selectable(MINI)
    assert family.name == "mini"


def test_signatures_of_others_are_refused(store: MemoryStore) -> None:
    def turned(raw: bytes) -> bytes:
        table = read_signature_table(raw, where="test")
        return signature_table_bytes(replace(table, variants=table.variants[::-1]))

    assert Catalog(store).signatures(Catalog(store).release(MINI)) is not None
    swap(store, SIGNATURES_FILE, turned)
    with pytest.raises(IntegrityError, match="not of the family's variants"):
        Catalog(store).signatures(Catalog(store).release(MINI))


def test_garbage_is_damage_and_no_fault_of_who_asks(store: MemoryStore) -> None:
    swap(store, FAMILY_FILE, lambda raw: raw.replace(b'"tag": "s000"', b'"tag": "../s0"'))
    with pytest.raises(IntegrityError, match="is no variant"):
        Catalog(store).family(MINI)
    swap(store, FAMILY_FILE, lambda raw: raw.replace(b'"tag": "../s0"', b'"tag": "s000"'))
    swap(store, FAMILY_FILE, lambda raw: raw.replace(b'"name": "mini"', b'"name": "other"'))
    with pytest.raises(IntegrityError, match="manifest of other"):
        Catalog(store).family(MINI)


def test_no_broken_family_hides_the_others(store: MemoryStore) -> None:
    raw = store.get(alias_key("mini", "stable"))
    store.put("families/Bad Name!/aliases/stable.json", raw)
    store.put(alias_key("dangling", "stable"), raw)
    release = Catalog(store).release(MINI)
    store.put(alias_key("undated", "stable"), raw)
    undated = replace(release, family="undated", created="yesterday")
    store.put(release_key("undated", release.id), encode_json(undated))
    with pytest.raises(IntegrityError, match="does not say when"):
        Catalog(store).family(FamilyRef("undated"))
    servicer = CatalogServicer(Catalog(store), url_expires_s=60)
    listed = asyncio.run(servicer.ListFamilies(catalog_pb2.ListFamiliesRequest(), None))
    assert [family.name for family in listed.families] == ["mini"]
