"""The certificate is recomputed: what does not follow from its own numbers is refused, and that once per release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bundles import edit_family
from tests.support import small_bundle

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, open_bundle
from seedzoo.catalog.catalog import Catalog, release_key, release_prefix
from seedzoo.catalog.certificate import check_certificate
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.integrity import sha256_hex
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.publish import publish
from seedzoo.errors import DataError, IntegrityError
from seedzoo.records import Certificate, CertificateEntry, Family, FileEntry, Preprocessing, Task, TrainingData, Variant
from seedzoo.selection import equivalence_to_mean
from seedzoo.starter import starter_bundle
from seedzoo.stress.table import ProfileTable, profile_row, read_profile

Change = Callable[[Family], Family]


def certified(seed: int, *, trained: int = 6, n: int = 3000, spread: float = 0.01, margin: float = 0.02) -> Family:
    """A family as a build would make it, of variants that are right on random examples."""
    draws = np.random.default_rng(seed)
    hard = draws.random((n, 1)) < 0.1
    correct = np.where(hard, draws.random((n, trained)) < 0.5, draws.random((n, trained)) > spread * np.arange(trained))
    found = equivalence_to_mean(correct, margin=margin)
    tags = [f"s{index}" for index in range(trained)]
    passed = [tag for tag, ok in zip(tags, found.passed, strict=True) if ok]
    published = passed[:3]
    return Family(
        name="made",
        title="",
        task=Task(name="made", classes=("a", "b"), preprocessing=Preprocessing(8, 8, 1)),
        variants=tuple(
            Variant(tag, FileEntry(f"models/{tag}.onnx", 1, "0" * 64), {}, float(correct[:, tags.index(tag)].mean()))
            for tag in published
        ),
        certificate=Certificate(
            method="TOST",
            margin=margin,
            alpha=0.05,
            n_examples=n,
            trained=trained,
            published=len(published),
            family_mean=float(correct.mean()),
            entries=tuple(
                CertificateEntry(
                    tag,
                    float(found.difference[column]),
                    float(found.low[column]),
                    float(found.high[column]),
                    float(found.p_value[column]),
                    bool(found.passed[column]),
                )
                for column, tag in enumerate(tags)
            ),
            set_aside=tuple(passed[3:]),
        ),
        data=TrainingData("made", 10, n),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.sampled_from([50, 3000]),
    st.sampled_from([0.0, 0.002, 0.01]),
    st.sampled_from([0.005, 0.02, 0.2]),
)
def test_what_the_test_finds_always_holds(seed: int, trained: int, n: int, spread: float, margin: float) -> None:
    check_certificate(certified(seed, trained=trained, n=n, spread=spread, margin=margin))


def test_starter_family_holds() -> None:
    bundle = open_bundle(starter_bundle())
    check_certificate(bundle.family, read_profile(bundle.folder / PROFILE_FILE))


def entry_changed(**fields: float | bool | str) -> Change:
    def change(family: Family) -> Family:
        assert family.certificate is not None
        first, *rest = family.certificate.entries
        entries = (replace(first, **fields), *rest)  # type: ignore[arg-type]
        return replace(family, certificate=replace(family.certificate, entries=entries))

    return change


def certificate_changed(**fields: object) -> Change:
    def change(family: Family) -> Family:
        assert family.certificate is not None
        return replace(family, certificate=replace(family.certificate, **fields))  # type: ignore[arg-type]

    return change


def more_accurate(family: Family) -> Family:
    first, *rest = family.variants
    return replace(family, variants=(replace(first, held_out_accuracy=first.held_out_accuracy + 1e-6), *rest))


def cases() -> Iterator[tuple[str, Change]]:
    yield "s0 is said to have failed", entry_changed(passed=False)
    yield "the p-value of s0", entry_changed(p_value=0.9)
    yield "the p-value of s0", entry_changed(p_value=float("nan"))
    yield "the interval of s0", entry_changed(difference=0.0191)
    yield "the interval of s0", entry_changed(low=-0.5)
    yield "the interval of s0", entry_changed(high=float("inf"))
    yield "the interval of s0", entry_changed(low=float("nan"))
    yield "tests a variant twice", entry_changed(tag="s1")
    yield "counts 60 trained variants and tests 6", certificate_changed(trained=60)
    yield "the p-value of", certificate_changed(margin=0.03)
    yield "the p-value of", certificate_changed(alpha=0.1)
    yield "out of range", certificate_changed(alpha=0.7)
    yield "out of range", certificate_changed(margin=float("nan"))
    yield "held-out accuracy of s0", certificate_changed(family_mean=0.9)
    yield "other published variants", certificate_changed(published=2)
    yield "published and those set aside", certificate_changed(set_aside=())
    yield "held-out accuracy of s0", more_accurate


@pytest.mark.parametrize(("told", "change"), list(cases()))
def test_what_was_changed_by_hand_is_refused(told: str, change: Change) -> None:
    family = certified(1, spread=0.0)
    assert family.certificate is not None
    assert family.certificate.set_aside
    with pytest.raises(DataError, match=told) as refused:
        check_certificate(change(family))
    assert refused.value.reason == "CERTIFICATE_INVALID"


def test_verdict_and_numbers_forged_together_miss_the_mean() -> None:
    """A variant that failed, moved into the margin with an interval and a p-value that fit each other."""
    family = certified(3, spread=0.01)
    assert family.certificate is not None
    column, failed = next((i, e) for i, e in enumerate(family.certificate.entries) if not e.passed)
    twin = next((e for e in family.certificate.entries if e.passed), None)
    assert twin is not None
    entries = list(family.certificate.entries)
    entries[column] = replace(twin, tag=failed.tag)
    forged = replace(family, certificate=replace(family.certificate, entries=tuple(entries)))
    with pytest.raises(DataError, match="do not add up to nothing"):
        check_certificate(forged)


def test_verdict_on_the_edge_may_be_rounded_either_way() -> None:
    """By hand: one variant, so difference 0 and level alpha; the margin is put where p is exactly alpha."""
    family = certified(5, trained=1)
    assert family.certificate is not None
    (entry,) = family.certificate.entries
    half = (entry.high - entry.low) / 2
    for passed in (True, False):
        edge = replace(
            family,
            variants=family.variants if passed else (),
            certificate=replace(
                family.certificate,
                margin=half,
                published=int(passed),
                entries=(replace(entry, difference=0.0, low=-half, high=half, p_value=0.05, passed=passed),),
            ),
        )
        check_certificate(edge)


def test_profile_on_the_same_examples_must_agree() -> None:
    family = certified(1, spread=0.0)
    assert family.certificate is not None
    n = family.certificate.n_examples

    class Id:
        name, kind, severity = "id", "id", None

    def profile(n: int, wrong: int) -> ProfileTable:
        rows = tuple(
            profile_row(
                variant=variant.tag,
                condition=Id(),
                n=n,
                correct=round(variant.held_out_accuracy * n) - wrong,
                log_loss=None,
            )
            for variant in family.variants
        )
        return ProfileTable(rows=rows, suite="", dataset="", version="")

    check_certificate(family, profile(n, 0))
    check_certificate(family, profile(n // 2, 7))  # other examples have other accuracies
    with pytest.raises(DataError, match="another accuracy of s0 on the same 3,000"):
        check_certificate(family, profile(n, 1))


def forge(family: Family) -> Family:
    """Accuracies that nobody measured; flags and counts stay as they are."""
    return replace(family, variants=tuple(replace(each, held_out_accuracy=0.99) for each in family.variants))


def test_bundle_with_a_forged_certificate_is_not_published(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    edit_family(bundle, forge)
    store = MemoryStore()
    with pytest.raises(DataError, match="does not hold") as refused:
        publish(store, bundle)
    assert refused.value.reason == "CERTIFICATE_INVALID"
    assert list(store.list("families")) == []


class CountingStore(MemoryStore):
    """Counts who reads profiles."""

    profiles_read = 0

    def read_stream(self, key: str, *args: object, **more: object) -> Iterator[bytes]:
        self.profiles_read += key.endswith(PROFILE_FILE)
        return super().read_stream(key, *args, **more)  # type: ignore[arg-type]


def rewrite_manifest(store: MemoryStore, change: Change) -> None:
    """Put another manifest into the published release, with the right digest: what a forger with write access does."""
    catalog = Catalog(store)
    family, release = catalog.family(FamilyRef("mini"))
    raw = encode_json(change(family))
    store.put(f"{release_prefix('mini', release.id)}/{FAMILY_FILE}", raw)
    files = tuple(
        FileEntry(FAMILY_FILE, len(raw), sha256_hex(raw)) if entry.path == FAMILY_FILE else entry
        for entry in release.files
    )
    store.put(release_key("mini", release.id), encode_json(replace(release, files=files)))


def test_release_is_recomputed_once_and_a_forged_one_can_be_browsed_only(tmp_path: Path) -> None:
    store = CountingStore()
    publish(store, small_bundle(tmp_path / "bundle"))
    catalog = Catalog(store)
    for _ in range(3):
        assert catalog.selectable(FamilyRef("mini"))[0].name == "mini"
    assert store.profiles_read == 1
    rewrite_manifest(store, forge)
    forged = Catalog(store)
    assert forged.family(FamilyRef("mini"))[0].variants[0].held_out_accuracy == 0.99
    store.profiles_read = 0
    for _ in range(3):
        with pytest.raises(IntegrityError, match="the certificate of mini does not hold") as refused:
            forged.selectable(FamilyRef("mini"))
        assert refused.value.reason == "CERTIFICATE_INVALID"
    assert store.profiles_read == 1
