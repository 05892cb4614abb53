"""Answers kept as bytes: the same as fresh ones, made once however many ask, and bounded."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from pathlib import Path

import pytest
from tests.bundles import published_bundle, rich_bundle
from tests.support import small_bundle

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.current import CHANGED_KEY
from seedzoo.catalog.listing import Accuracies
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.publish import publish
from seedzoo.errors import RequestError
from seedzoo_protos.v1 import catalog_pb2
from seedzoo_server.catalog_service import CatalogServicer
from seedzoo_server.convert import family_message, variant_message
from seedzoo_server.profiles import profile_message
from seedzoo_server.shelves import Shelves


class Counting(MemoryStore):
    """Counts reads of each object."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self._counting = threading.Lock()

    def get(self, key: str) -> bytes:
        with self._counting:
            self.reads[key] += 1
        return super().get(key)

    def read_stream(self, key, offset=0, chunk_size=1 << 20):
        with self._counting:
            self.reads[key] += 1
        return super().read_stream(key, offset, chunk_size)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    store = Counting()
    folder = tmp_path_factory.mktemp("made")
    publish(store, small_bundle(folder / "mini"))
    publish(store, rich_bundle(folder / "rich"))
    publish(store, published_bundle(folder / "papers"))
    return store


def variants(family: str, **fields: object) -> catalog_pb2.ListVariantsRequest:
    return catalog_pb2.ListVariantsRequest(family=family, **fields)


@pytest.mark.parametrize("cache_bytes", [1, 1 << 20], ids=["no room", "room"])
@pytest.mark.parametrize("name", ["mini", "rich", "papers"])
def test_answers_are_those_of_the_release(store: Counting, name: str, cache_bytes: int) -> None:
    plain = Catalog(store)
    family, release = plain.family(FamilyRef(name))
    own, twins = plain.profiles(release)
    expected = [
        variant_message(variant, family, release, has_card=plain.has_card(release, variant.tag))
        for variant in sorted(family.variants, key=lambda variant: variant.tag)
    ]

    async def ask() -> None:
        servicer = CatalogServicer(Catalog(store, look_s=3600), url_expires_s=60, cache_bytes=cache_bytes)
        for _ in range(2):
            for other in ("mini", "rich", "papers"):  # pushes others out where there is no room
                await servicer.GetProfile(catalog_pb2.GetProfileRequest(family=other), None)
            listed = await servicer.ListVariants(variants(name), None)
            assert list(listed.variants) == expected
            assert listed.total_size == len(expected)
            first = await servicer.ListVariants(variants(name, page_size=2), None)
            assert list(first.variants) == expected[:2]
            rest = await servicer.ListVariants(variants(name, page_token=first.next_page_token), None)
            assert list(rest.variants) == expected[2:]
            got = await servicer.GetFamily(catalog_pb2.GetFamilyRequest(name=name), None)
            assert got == family_message(family, release)
            one = await servicer.GetVariant(catalog_pb2.GetVariantRequest(name=expected[1].name), None)
            assert one == expected[1]
            profile = await servicer.GetProfile(catalog_pb2.GetProfileRequest(family=name), None)
            # Bytes, since what is not a number equals nothing.
            assert profile.SerializeToString() == profile_message(own, family, release, twins=twins).SerializeToString()
        servicer.close()

    asyncio.run(ask())


def test_fifty_at_once_read_each_file_once(store: Counting) -> None:
    store.reads.clear()

    async def ask() -> None:
        servicer = CatalogServicer(Catalog(store, look_s=3600), url_expires_s=60)
        request = variants("mini", filter="accuracy[id] >= 0.1", order_by="accuracy[id] desc")
        answers = await asyncio.gather(*(servicer.ListVariants(request, None) for _ in range(50)))
        assert all(answer == answers[0] and answer.total_size == 4 for answer in answers)
        servicer.close()

    asyncio.run(ask())
    names = Counter(key.rsplit("/", 1)[1] for key in store.reads.elements() if key != CHANGED_KEY)
    assert names == {"stable.json": 1, "release.json": 1, "family.json": 1, "profile.parquet": 1}
    assert store.reads[CHANGED_KEY] == 1


def test_without_filter_no_profile_is_read(store: Counting) -> None:
    store.reads.clear()

    async def ask() -> None:
        servicer = CatalogServicer(Catalog(store, look_s=3600), url_expires_s=60)
        await servicer.ListVariants(variants("mini"), None)
        servicer.close()

    asyncio.run(ask())
    assert not [key for key in store.reads if key.endswith(".parquet")]


def test_accuracies_are_the_profiles(store: Counting) -> None:
    catalog = Catalog(store)
    profile = catalog.profile(catalog.release(FamilyRef("papers")))
    found = Accuracies(profile)
    assert {name: dict(found[name]) for name in found} == {
        "id": {"a": 0.91, "b": 0.9, "c": 0.89},
        "hard": {"a": 0.4, "c": 0.6},  # b was not measured on it
    }
    assert len(found) == 2
    assert "hard" in found
    assert "other" not in found
    assert not any(math.isnan(value) for name in found for value in found[name].values())


@pytest.mark.parametrize("name", ["mini", "rich", "papers"])
def test_a_profile_that_was_asked_for_serves_filters_too(store: Counting, name: str) -> None:
    catalog = Catalog(store)
    shelves = Shelves(catalog, 1 << 20)
    shelf = shelves.shelf(FamilyRef(name))
    assert shelves.known_accuracies(shelf) is None
    shelves.profile(shelf)
    found = shelves.known_accuracies(shelf)
    assert found is not None
    assert {condition: dict(found[condition]) for condition in found} == {
        condition: {row.variant: row.accuracy for row in profile.rows if row.condition == condition}
        for profile in [catalog.profile(catalog.release(FamilyRef(name)))]
        for condition in profile.conditions
    }


def test_a_token_of_another_release_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    publish(store, small_bundle(tmp_path / "one"))

    async def ask() -> None:
        servicer = CatalogServicer(Catalog(store), url_expires_s=60)
        first = await servicer.ListVariants(variants("mini", page_size=2), None)
        publish(store, rich_bundle(tmp_path / "two", name="mini"))
        with pytest.raises(RequestError, match="not made by this listing"):
            await servicer.ListVariants(variants("mini", page_token=first.next_page_token), None)
        servicer.close()

    asyncio.run(ask())
