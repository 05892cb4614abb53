"""Bundles beside the usual one: browse-only families, quantised twins, crossed designs and model cards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bundles import edit_family, edit_profile, published_bundle, rich_bundle
from tests.support import small_bundle

from seedzoo.catalog.bundle import RECIPE_FILE, int8_path, open_bundle
from seedzoo.catalog.catalog import Catalog, release_prefix
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef, VariantRef
from seedzoo.catalog.publish import publish
from seedzoo.catalog.selectable import model_of
from seedzoo.errors import DataError, IntegrityError, NotFound, RequestError
from seedzoo.records import Family, FileEntry


def test_results_alone_are_published_and_browsed(tmp_path: Path) -> None:
    store = MemoryStore()
    release, new = publish(store, published_bundle(tmp_path / "papers"))
    assert new
    assert [entry.path for entry in release.files] == ["family.json", "profile.parquet"]
    catalog = Catalog(store)
    family, _ = catalog.family(FamilyRef("papers"))
    assert not family.selectable
    assert len(catalog.profile(release).rows) == 5
    with pytest.raises(RequestError, match="papers is for browsing only: it holds results") as refused:
        catalog.selectable(FamilyRef("papers"))
    assert refused.value.reason == "FAMILY_BROWSE_ONLY"
    publish(store, small_bundle(tmp_path / "mini"))
    with pytest.raises(RequestError) as refused:
        catalog.selectable(FamilyRef("papers"))
    assert refused.value.hint == "Families to select from: mini."
    with pytest.raises(RequestError, match="for browsing only"):
        catalog.model(release, family.variants[0])


def test_models_without_certificate_are_published_but_not_selected_from(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "mini")
    edit_family(bundle, lambda family: replace(family, certificate=None))
    (bundle / RECIPE_FILE).unlink()
    store = MemoryStore()
    release, _ = publish(store, bundle)
    catalog = Catalog(store)
    family, _ = catalog.family(FamilyRef("mini"))
    assert all(catalog.model(release, variant) for variant in family.variants)
    with pytest.raises(RequestError, match="its variants are not certified equally accurate"):
        catalog.selectable(FamilyRef("mini"))


def test_certified_bundle_needs_its_recipe(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "mini")
    (bundle / RECIPE_FILE).unlink()
    with pytest.raises(DataError, match=r"lacks recipe\.toml"):
        open_bundle(bundle)


def without_model(family: Family) -> Family:
    return replace(family, variants=(replace(family.variants[0], model=None), *family.variants[1:]))


def twin_elsewhere(family: Family) -> Family:
    entry = FileEntry("models/s002.onnx", 1, "0" * 64)
    return replace(family, variants=(replace(family.variants[0], int8=entry), *family.variants[1:]))


def odd_factors(family: Family) -> Family:
    return replace(family, variants=(replace(family.variants[0], factors={"site": "A"}), *family.variants[1:]))


def empty_level(family: Family) -> Family:
    return replace(family, variants=tuple(replace(each, factors={"site": ""}) for each in family.variants))


def called_readme(family: Family) -> Family:
    return replace(family, variants=(replace(family.variants[0], tag="README"), *family.variants[1:]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_model, "it is certified, and has no models of s000"),
        (twin_elsewhere, "the twin of s000 is not at its place"),
        (odd_factors, "s002 has other factors than s000"),
        (empty_level, "a factor of s000 has no level"),
        (called_readme, "a variant is called README"),
    ],
)
def test_certified_families_keep_all_rules(change: Callable[[Family], Family], told: str, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "mini")
    edit_family(bundle, change)
    with pytest.raises(DataError, match=told) as refused:
        open_bundle(bundle)
    assert refused.value.reason == "FAMILY_INVALID"


def test_results_say_where_they_come_from_and_have_an_in_distribution_column(tmp_path: Path) -> None:
    silent = published_bundle(tmp_path / "silent")
    edit_family(silent, lambda family: replace(family, provenance=" "))
    with pytest.raises(DataError, match="nothing says where its results come from"):
        open_bundle(silent)
    hard = published_bundle(tmp_path / "hard")
    edit_profile(hard, lambda rows: [*(row for row in rows if row.condition == "hard"), replace(
        next(row for row in rows if row.variant == "b"), condition="other")])  # fmt: skip
    with pytest.raises(DataError, match="no condition 'id'"):
        open_bundle(hard)


def test_twins_are_published_beside_their_variants(tmp_path: Path) -> None:
    bundle = rich_bundle(tmp_path / "rich")
    store = MemoryStore()
    release, _ = publish(store, bundle)
    catalog = Catalog(store)
    variant, family, _ = catalog.variant(VariantRef(FamilyRef("rich"), "s000"))
    assert variant.int8 is not None
    assert variant.model is not None
    assert variant.int8 in release.files
    twin = b"".join(catalog.model_stream(release, model_of("rich", variant, int8=True), 0, 1 << 20))
    assert twin == (bundle / int8_path("s000")).read_bytes()
    assert twin != catalog.model(release, variant)
    assert model_of("rich", variant) == variant.model
    with pytest.raises(DataError, match="rich/s002 has no int8 twin") as refused:
        model_of("rich", family.variants[1], int8=True)
    assert refused.value.reason == "INT8_MISSING"
    own, twins = catalog.profiles(release)
    assert {row.variant for row in own.rows} == {each.tag for each in family.variants}
    assert {row.variant for row in twins.rows} == {"s000"}
    assert catalog.profile(release) == own


def test_damaged_or_foreign_twins_are_refused(tmp_path: Path) -> None:
    bundle = rich_bundle(tmp_path / "rich")
    path = bundle / int8_path("s000")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"s000\.int8\.onnx differs"):
        open_bundle(bundle)
    path.unlink()
    with pytest.raises(DataError, match=r"lacks models/s000\.int8\.onnx"):
        open_bundle(bundle)
    path.write_bytes(good)
    edit_profile(bundle, lambda rows: [*rows, replace(rows[0], variant="s002.int8")])
    with pytest.raises(DataError, match=r"not of the family's variants: s002\.int8"):
        open_bundle(bundle)


def test_release_that_lists_another_twin_is_damaged(tmp_path: Path) -> None:
    store = MemoryStore()
    release, _ = publish(store, rich_bundle(tmp_path / "rich"))
    key = f"{release_prefix('rich', release.id)}/release.json"
    sha256 = next(entry.sha256 for entry in release.files if entry.path == int8_path("s000"))
    store.put(key, store.get(key).replace(sha256.encode(), b"0" * 64, 1))
    with pytest.raises(IntegrityError, match=r"lists another models/s000\.int8\.onnx than its manifest"):
        Catalog(store).family(FamilyRef("rich"))


def test_cards_are_carried_and_read_back(tmp_path: Path) -> None:
    store = MemoryStore()
    release, _ = publish(store, rich_bundle(tmp_path / "rich"))
    catalog = Catalog(store)
    assert "The whole family." in catalog.card(release)
    assert "One variant" in catalog.card(release, "s000")
    assert catalog.has_card(release, "s000")
    assert not catalog.has_card(release, "s002")
    with pytest.raises(NotFound, match="no model card of rich/s002") as missing:
        catalog.card(release, "s002")
    assert missing.value.reason == "CARD_MISSING"
    store.delete(f"{release_prefix('rich', release.id)}/cards/README.md")
    with pytest.raises(IntegrityError, match=r"has lost cards/README\.md"):
        catalog.card(release)


def test_cards_must_be_texts_of_some_size_and_no_links(tmp_path: Path) -> None:
    bundle = rich_bundle(tmp_path / "rich")
    card = bundle / "cards" / "s002.md"
    card.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"s002\.md is no UTF-8 text"):
        open_bundle(bundle)
    card.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(DataError, match=r"s002\.md has 1,048,577 bytes"):
        open_bundle(bundle)
    card.unlink()
    card.symlink_to(bundle / "family.json")
    with pytest.raises(DataError, match=r"lacks cards/s002\.md"):
        open_bundle(bundle)
