"""The signatures of a profile: measured on a fixed subset, stored as plain arrays, and of use to the prior."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import example_files

from seedzoo.catalog.bundle import PROFILE_FILE, SIGNATURES_FILE, Bundle, open_bundle
from seedzoo.errors import DataError
from seedzoo.inference.decode import decode_image
from seedzoo.inference.evaluate import softmax
from seedzoo.inference.session import Model
from seedzoo.inference.sources import ArrayImages
from seedzoo.selection.prior import fit_prior, rank_unlabeled
from seedzoo.selection.signatures import signature
from seedzoo.starter import starter_bundle
from seedzoo.stress import get_condition, read_profile, spearman
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.measure import VariantModel, measure
from seedzoo.stress.signature_table import (
    SIGNATURE_METHOD,
    SignatureTable,
    of_variants,
    read_signature_table,
    signature_examples,
    signature_table_bytes,
)

CONDITIONS = [get_condition(name) for name in ("id", "pixelate-3")]
TABLE = SignatureTable(
    variants=("s000", "s007"),
    conditions=("id", "pixelate-3", "flip"),
    cot=np.array([[0.9, 0.8, 0.7], [0.9, 0.81, 0.1 + 0.2]]),
    nuclear=np.array([[0.5, 0.4, 1.0], [0.6, 0.0, 1 / 3]]),
    n=2000,
    method="by hand",
)
BYTES = signature_table_bytes(TABLE)


def same(first: SignatureTable, second: SignatureTable) -> bool:
    return (
        (first.variants, first.conditions, first.n, first.method)
        == (second.variants, second.conditions, second.n, second.method)
        and np.array_equal(first.cot, second.cot)
        and np.array_equal(first.nuclear, second.nuclear)
    )  # fmt: skip


def stored(**changes: object) -> bytes:
    """The table's file with some arrays changed; None leaves one out."""
    with np.load(io.BytesIO(BYTES)) as file:
        arrays = {**{name: file[name] for name in file.files}, **changes}
    sink = io.BytesIO()
    np.savez(sink, **{name: np.asarray(value) for name, value in arrays.items() if value is not None})
    return sink.getvalue()


class TestFile:
    def test_what_goes_in_comes_out(self) -> None:
        table = read_signature_table(BYTES, where="here")
        assert same(table, TABLE)
        assert table.signatures.shape == (2, 3, 2)
        assert table.signatures[1, 2].tolist() == [0.1 + 0.2, 1 / 3]

    def test_the_same_table_gives_the_same_bytes_at_another_time(self) -> None:
        time.sleep(2.1)  # zip archives count in steps of two seconds
        assert signature_table_bytes(read_signature_table(BYTES, where="here")) == BYTES

    def test_numpy_alone_opens_it(self) -> None:
        with np.load(io.BytesIO(BYTES)) as file:
            assert sorted(file.files) == ["conditions", "cot", "method", "n", "nuclear", "variants"]
            assert file["variants"].tolist() == ["s000", "s007"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "no npz file"),
            (b"junk", "no npz file"),
            (BYTES[:-40], "zip"),
            (BYTES[: len(BYTES) // 2], "zip"),
            (stored(cot=None), "it holds conditions, method, n, nuclear, variants, not"),
            (stored(more=[1.0]), "it holds conditions, cot, method, more"),
            (stored(cot=TABLE.cot.T), r"cot must have shape \(2, 3\), got \(3, 2\)"),
            (stored(nuclear=TABLE.nuclear[0]), "nuclear has 1 dimensions"),
            (stored(cot=[["a", "b", "c"], ["d", "e", "f"]]), "cot has 2 dimensions of type <U1"),
            (stored(cot=np.where(TABLE.cot == 0.9, np.nan, TABLE.cot)), r"cot must lie in \[0, 1\] and not be NaN"),
            (stored(nuclear=TABLE.nuclear + np.inf), "nuclear must lie in"),
            (stored(cot=TABLE.cot - 1), "cot must lie in"),
            (stored(variants=["s000", "s000"]), "no variants, or one of them twice"),
            (stored(conditions=["id", "flip", "id"]), "no conditions, or one of them twice"),
            (stored(variants=np.array([], "U1"), cot=np.empty((0, 3)), nuclear=np.empty((0, 3))), "no variants"),
            (stored(n=0), "n must be at least 1"),
            (stored(n=2.5), "n has 0 dimensions of type float64"),
            (stored(method=np.array({"a": 1}, dtype=object)), "Object arrays cannot be loaded"),
        ],
    )  # fmt: skip
    def test_what_is_no_table_is_refused(self, content: bytes, says: str) -> None:
        with pytest.raises(DataError, match=f"^here is no signature table: .*{says}") as refused:
            read_signature_table(content, where="here")
        assert refused.value.reason == "SIGNATURES_INVALID"

    @given(at=st.integers(0, len(BYTES) - 1), bit=st.integers(0, 7))
    @settings(deadline=None, max_examples=300)
    def test_a_changed_bit_is_found_or_harmless(self, at: int, bit: int) -> None:
        content = bytearray(BYTES)
        content[at] ^= 1 << bit
        try:
            table = read_signature_table(bytes(content), where="here")
        except DataError:
            return
        assert same(table, TABLE)


def test_subset_is_fixed_and_of_the_asked_size() -> None:
    assert signature_examples(3).tolist() == [0, 1, 2]
    chosen = signature_examples(8000)
    assert len(np.unique(chosen)) == 2000
    assert np.array_equal(chosen, np.sort(chosen))
    assert chosen[:6].tolist() == [1, 7, 10, 12, 14, 18]  # of every version of numpy
    quarters = np.bincount(chosen // 2000)
    assert quarters.min() > 400  # 500 +- 5 standard deviations of 19


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return open_bundle(starter_bundle())


@pytest.fixture(scope="module")
def raw_models(starter: Bundle) -> list[bytes]:
    return [(starter.folder / variant.model.path).read_bytes() for variant in starter.family.variants[:3]]


@pytest.fixture(scope="module")
def data(starter: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """All example images, many times over, so that they are several blocks and more than a subset."""
    task = starter.family.task
    files = example_files(per_class=10)
    images = np.stack([decode_image(path.read_bytes(), task.preprocessing).pixels for path, _ in files])
    labels = np.array([task.classes.index(name) for _, name in files])
    times = 2300 // len(files) + 1
    return np.tile(images, (times, 1, 1, 1))[:2300], np.tile(labels, times)[:2300]


def test_signatures_are_those_of_plain_sessions(
    raw_models: list[bytes], data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, labels = data
    variants = [
        VariantModel(tag=tag, sha256=tag, read=lambda raw=raw: raw) for tag, raw in zip("abc", raw_models, strict=True)
    ]
    id_set = EvaluationSet(name="id", kind="id", images=ArrayImages(images, labels))
    table = measure(
        variants, classes=10, sets=[id_set], conditions=CONDITIONS, folder=tmp_path, threads=2
    ).signatures  # fmt: skip
    assert table is not None
    assert (table.variants, table.conditions) == (("a", "b", "c"), ("id", "pixelate-3"))
    assert (table.n, table.method) == (2000, SIGNATURE_METHOD)
    assert "epsilon 0.02" in table.method
    subset = signature_examples(2300)
    shares = np.bincount(labels[subset], minlength=10) / 2000
    for column, condition in enumerate(CONDITIONS):
        changed = condition.apply(images, np.arange(2300))
        for row, raw in enumerate(raw_models):
            expected = signature(softmax(Model(raw, name="m").logits(changed[subset])), shares)
            # In another block an image's float32 logits may differ in the last bit.
            assert table.signatures[row, column] == pytest.approx([expected.cot, expected.nuclear], abs=1e-5)


def test_rows_of_some_variants() -> None:
    cut = of_variants(TABLE, ["s007"])
    assert cut.variants == ("s007",)
    assert np.array_equal(cut.cot, TABLE.cot[1:])
    assert np.array_equal(of_variants(TABLE, ["s007", "s000"]).nuclear, TABLE.nuclear[::-1])


def test_starter_signatures_foretell_which_variant_does_well(starter: Bundle) -> None:
    """Calibrated by the other kinds of stress, they rank the variants under a kind that the prior never saw."""
    table = read_signature_table((starter.folder / SIGNATURES_FILE).read_bytes(), where=SIGNATURES_FILE)
    rows = read_profile(starter.folder / PROFILE_FILE).rows
    accuracy = {(row.variant, row.condition): row.accuracy for row in rows}
    truth = np.array([[accuracy[variant, condition] for condition in table.conditions] for variant in table.variants])
    kinds = np.array([get_condition(name).kind for name in table.conditions])
    found = []
    for column, kind in enumerate(kinds):
        others = np.flatnonzero(kinds != kind)
        prior = fit_prior(truth[:, others], table.signatures[:, others])
        found.append(spearman(rank_unlabeled(table.signatures[:, column], prior), truth[:, column]).rho)
    assert np.mean(found) > 0.3, dict(zip(table.conditions, np.round(found, 2).tolist(), strict=True))
