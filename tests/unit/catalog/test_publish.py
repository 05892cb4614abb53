"""Publishing and reading a family: whole or not at all, verified, by alias or release."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import small_bundle

from seedzoo.catalog.bundle import FAMILY_FILE, SIGNATURES_FILE, open_bundle
from seedzoo.catalog.catalog import Catalog, alias_key, release_key, release_prefix
from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef, VariantRef, parse_family, parse_variant
from seedzoo.catalog.publish import publish, set_alias
from seedzoo.errors import DataError, IntegrityError, NotFound, RequestError, StoreError
from seedzoo.records import Family
from seedzoo.starter import starter_bundle
from seedzoo.stress.signature_table import read_signature_table, signature_table_bytes


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small_bundle(tmp_path / "bundle")


class KilledStore(MemoryStore):
    """Stops working after so many writes, like a process that is killed there."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if self.left == 0:
            raise StoreError("killed")
        self.left -= 1
        return super().put(key, data, if_absent=if_absent, if_match=if_match)  # put_file comes through here too


def test_published_family_is_read_back_whole(bundle: Path) -> None:
    store = MemoryStore()
    release, new = publish(store, bundle)
    assert new
    catalog = Catalog(store)
    assert catalog.family_names() == ["mini"]
    family, found = catalog.family(FamilyRef("mini"))
    assert found == release
    assert family == open_bundle(bundle).family
    for variant in family.variants:
        raw = catalog.model(release, variant)
        assert hashlib.sha256(raw).hexdigest() == variant.model.sha256
        assert b"".join(catalog.model_stream(release, variant.model, 1000, 4096)) == raw[1000:]


def test_same_bundle_again_is_not_written_again(bundle: Path) -> None:
    store = MemoryStore()
    first, _ = publish(store, bundle)
    again, new = publish(store, bundle)
    assert (again.id, new) == (first.id, False)


def test_older_releases_stay_readable_and_aliases_move(bundle: Path) -> None:
    store = MemoryStore()
    first, _ = publish(store, bundle)
    family = decode_json((bundle / FAMILY_FILE).read_bytes(), Family, where="test")
    (bundle / FAMILY_FILE).write_bytes(encode_json(replace(family, title="second")))
    second, new = publish(store, bundle, alias="next")
    assert new
    assert second.id != first.id
    catalog = Catalog(store)
    assert catalog.family(FamilyRef("mini"))[1].id == first.id
    assert catalog.family(FamilyRef("mini", "next"))[0].title == "second"
    set_alias(store, "mini", "stable", second.id)
    assert catalog.family(FamilyRef("mini"))[1].id == second.id
    assert catalog.family(FamilyRef("mini", first.id))[1].id == first.id
    with pytest.raises(NotFound, match="no release"):
        set_alias(store, "mini", "stable", "01NONE")


def test_killed_at_any_write_leaves_nothing_visible(bundle: Path) -> None:
    whole = KilledStore(10_000)
    publish(whole, bundle)
    writes = 10_000 - whole.left
    assert writes > len(open_bundle(bundle).files)
    for survived in range(writes - 1):  # the last one tells servers of what is visible by then
        store = KilledStore(survived)
        with pytest.raises(StoreError):
            publish(store, bundle)
        store.left = 10_000
        assert Catalog(store).family_names() == []
        with pytest.raises(NotFound):
            Catalog(store).family(FamilyRef("mini"))
        release, _ = publish(store, bundle)  # and publishing again just works
        assert Catalog(store).family(FamilyRef("mini"))[1].id == release.id


def test_a_release_that_servers_were_not_told_of_is_published(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = KilledStore(10_000)
    publish(whole, bundle)
    store = KilledStore(10_000 - whole.left - 1)
    release, new = publish(store, bundle)
    assert new
    assert "servers may take 60 s to notice mini@stable" in caplog.text
    assert Catalog(store).family(FamilyRef("mini"))[1].id == release.id


@pytest.mark.parametrize("victim", ["models/s000.onnx", "family.json", "profile.parquet", "signatures.npz"])
def test_tampered_blob_is_refused(bundle: Path, victim: str) -> None:
    store = MemoryStore()
    release, _ = publish(store, bundle)
    key = f"{release_prefix('mini', release.id)}/{victim}"
    raw = bytearray(store.get(key))
    raw[len(raw) // 2] ^= 1
    store.put(key, bytes(raw))
    catalog = Catalog(store)

    def read_all() -> None:
        family, found = catalog.family(FamilyRef("mini"))
        catalog.profile_bytes(found)
        catalog.signatures(found)
        catalog.model(found, family.variants[0])

    with pytest.raises(IntegrityError, match=re.escape(victim)):
        read_all()


def test_publishing_again_repairs_what_was_damaged(bundle: Path) -> None:
    store = MemoryStore()
    first, _ = publish(store, bundle)
    key = f"{release_prefix('mini', first.id)}/models/s003.onnx"
    store.put(key, store.get(key)[:-1] + b"x")
    second, new = publish(store, bundle)
    assert new
    assert second.id != first.id
    store.put(alias_key("mini", "stable"), b"garbage")
    third, new = publish(store, bundle)
    assert new
    catalog = Catalog(store)
    family, release = catalog.family(FamilyRef("mini"))
    assert release.id == third.id
    assert all(catalog.model(release, variant) for variant in family.variants)


def test_what_was_damaged_and_restored_is_read_again(bundle: Path) -> None:
    store = MemoryStore()
    release, _ = publish(store, bundle)
    catalog, key = Catalog(store), release_key("mini", release.id)
    good = store.get(key)
    store.put(key, good.replace(b"models/s003.onnx", b"models/s009.onnx"))
    with pytest.raises(IntegrityError):
        catalog.family(FamilyRef("mini"))
    store.put(key, good)
    assert catalog.family(FamilyRef("mini"))[1] == release
    store.delete(f"{release_prefix('mini', release.id)}/models/s003.onnx")
    lost = next(variant for variant in catalog.family(FamilyRef("mini"))[0].variants if variant.tag == "s003")
    with pytest.raises(IntegrityError, match=r"has lost models/s003\.onnx"):
        catalog.model(release, lost)


def test_bundle_with_foreign_contents_is_refused(bundle: Path, tmp_path: Path) -> None:
    good = (bundle / "profile.parquet").read_bytes()
    (bundle / "profile.parquet").write_bytes(b"junk")
    with pytest.raises(IntegrityError, match="profile"):
        publish(MemoryStore(), bundle)
    shutil.copy(starter_bundle() / "profile.parquet", bundle / "profile.parquet")
    with pytest.raises(DataError, match="is not of the family's variants"):
        publish(MemoryStore(), bundle)
    (bundle / "profile.parquet").write_bytes(good)
    family = decode_json((bundle / FAMILY_FILE).read_bytes(), Family, where="test")
    more = replace(family, task=replace(family.task, classes=(*family.task.classes, "hat")))
    (bundle / FAMILY_FILE).write_bytes(encode_json(more))
    with pytest.raises(DataError, match="classes of"):
        publish(MemoryStore(), bundle)
    (bundle / FAMILY_FILE).write_bytes(encode_json(family))
    secret = tmp_path / "secret"
    secret.write_text("password")
    (bundle / "recipe.toml").unlink()
    (bundle / "recipe.toml").symlink_to(secret)
    with pytest.raises(DataError, match=r"lacks recipe\.toml"):
        publish(MemoryStore(), bundle)


def test_signatures_are_published_and_read_back(bundle: Path) -> None:
    store = MemoryStore()
    release, _ = publish(store, bundle)
    assert SIGNATURES_FILE in [entry.path for entry in release.files]
    table = Catalog(store).signatures(release)
    assert table is not None
    assert table.variants == tuple(variant.tag for variant in open_bundle(bundle).family.variants)
    assert signature_table_bytes(table) == (bundle / SIGNATURES_FILE).read_bytes()
    store.delete(f"{release_prefix('mini', release.id)}/{SIGNATURES_FILE}")
    with pytest.raises(IntegrityError, match=r"has lost signatures\.npz"):
        Catalog(store).signatures(release)


def test_family_without_signatures_is_published_and_read(bundle: Path) -> None:
    (bundle / SIGNATURES_FILE).unlink()
    store = MemoryStore()
    release, _ = publish(store, bundle)
    catalog = Catalog(store)
    assert catalog.signatures(release) is None
    assert catalog.family(FamilyRef("mini"))[1] == release
    assert catalog.profile_bytes(release)


def test_published_signatures_that_are_no_table_are_damage(bundle: Path) -> None:
    store = MemoryStore()
    release, _ = publish(store, bundle)
    junk = b"junk"
    store.put(f"{release_prefix('mini', release.id)}/{SIGNATURES_FILE}", junk)
    files = tuple(
        replace(entry, size=len(junk), sha256=hashlib.sha256(junk).hexdigest())
        if entry.path == SIGNATURES_FILE else entry
        for entry in release.files
    )  # fmt: skip
    with pytest.raises(IntegrityError, match=r"signatures\.npz is no signature table"):
        Catalog(store).signatures(replace(release, files=files))


def test_bundle_with_foreign_signatures_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = bundle / SIGNATURES_FILE
    table = read_signature_table(path.read_bytes(), where="test")
    foreign = [
        replace(table, variants=("other", *table.variants[1:])),
        replace(table, variants=table.variants[::-1]),
        replace(table, conditions=("other", *table.conditions[1:])),
        replace(table, conditions=(table.conditions[1], table.conditions[0], *table.conditions[2:])),
    ]
    for other in foreign:
        path.write_bytes(signature_table_bytes(other))
        with pytest.raises(DataError, match=r"signatures\.npz is not of the family's variants") as refused:
            publish(MemoryStore(), bundle)
        assert refused.value.reason == "BUNDLE_INVALID"
    # Some conditions, such as slices, have no signatures.
    fewer = replace(table, conditions=table.conditions[:-1], cot=table.cot[:, :-1], nuclear=table.nuclear[:, :-1])
    path.write_bytes(signature_table_bytes(fewer))
    publish(MemoryStore(), bundle)
    path.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"signatures\.npz is no signature table"):
        publish(MemoryStore(), bundle)
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"lacks signatures\.npz"):
        publish(MemoryStore(), bundle)


def test_unknown_names_say_what_there_is(bundle: Path) -> None:
    store = MemoryStore()
    publish(store, bundle)
    catalog = Catalog(store)
    with pytest.raises(NotFound, match="no family minii") as unknown_family:
        catalog.family(FamilyRef("minii"))
    assert "mini" in unknown_family.value.hint
    with pytest.raises(NotFound, match="no variant s999") as unknown_variant:
        catalog.variant(VariantRef(FamilyRef("mini"), "s999"))
    assert unknown_variant.value.reason == "VARIANT_UNKNOWN"
    with pytest.raises(NotFound, match="no release or alias nope"):
        catalog.family(FamilyRef("mini", "nope"))


def test_bundle_that_breaks_a_rule_is_refused(bundle: Path) -> None:
    family = decode_json((bundle / FAMILY_FILE).read_bytes(), Family, where="test")
    entries = tuple(
        replace(entry, passed=False) if entry.tag == "s003" else entry for entry in family.certificate.entries
    )
    broken = replace(family, certificate=replace(family.certificate, entries=entries))
    (bundle / FAMILY_FILE).write_bytes(encode_json(broken))
    with pytest.raises(DataError, match="not certified equally accurate: s003"):
        publish(MemoryStore(), bundle)
    (bundle / FAMILY_FILE).write_bytes(encode_json(family))
    (bundle / "models" / "s002.onnx").write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"s002\.onnx"):
        publish(MemoryStore(), bundle)
    (bundle / "models" / "s002.onnx").unlink()
    with pytest.raises(DataError, match=r"lacks models/s002\.onnx"):
        publish(MemoryStore(), bundle)
    with pytest.raises(DataError, match="is no bundle"):
        publish(MemoryStore(), bundle / "models")


def test_concurrent_publishers_both_commit_and_the_alias_means_one_of_them(bundle: Path) -> None:
    store = MemoryStore()
    releases: list[str] = []

    def run() -> None:
        releases.append(publish(store, bundle)[0].id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(releases) == 4
    assert Catalog(store).release(FamilyRef("mini")).id in releases
    assert store.exists(alias_key("mini", "stable"))


@pytest.mark.parametrize("text", ["", "a b", "../x", "a@", "a@b/c@", "x" * 65, "é"])
def test_names_that_are_no_families(text: str) -> None:
    with pytest.raises(RequestError):
        parse_family(text)


def test_names_that_are_variants() -> None:
    assert parse_variant("fam@next/s003") == VariantRef(FamilyRef("fam", "next"), "s003")
    assert str(parse_variant("fam/s003")) == "fam/s003"
    with pytest.raises(RequestError, match="names no variant"):
        parse_variant("fam")
