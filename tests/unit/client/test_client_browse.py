"""What the client makes of families for browsing only, of twins and of gaps in a profile."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seedzoo.errors import DataError, IntegrityError, NotFound, RequestError
from seedzoo.records import Preprocessing, Task
from seedzoo_client import convert
from seedzoo_client.cache import CachedModel, ModelCache, VariantName, file_sha256
from seedzoo_client.cli.compare import differences
from seedzoo_client.fitting import browse_only, fitting_family
from seedzoo_client.scan import scan_data
from seedzoo_client.views import FamilyView, VariantView
from seedzoo_protos.v1 import catalog_pb2


def family(name: str, *, models: int = 1, only: bool = False) -> FamilyView:
    return FamilyView(
        name=name, title="", release="r", released=None, variant_count=2, held_out_mean=0.9, held_out_sd=0.01,
        task=Task(name=name, classes=("a", "b"), preprocessing=Preprocessing(8, 8, 1)), certificate=None, suite="",
        data_name="", train_examples=0, held_out_examples=0, licence="", model_bytes=models, browse_only=only,
    )  # fmt: skip


def test_error_names_families_to_select_from() -> None:
    error = browse_only(family("papers", models=0, only=True), [family("x", only=True), family("y"), family("z")])
    assert (error.reason, error.hint) == ("FAMILY_BROWSE_ONLY", "Families to select from: y, z.")
    assert error.message == "family papers is for browsing only: it holds results, and not the models"
    alone = browse_only(family("bare", only=True), [])
    assert alone.hint == "This server has none to select from."
    assert "not certified equally accurate" in alone.message


def test_families_for_browsing_are_no_candidates(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    scan = scan_data(tmp_path)
    offered = [family("papers", models=0, only=True), family("toy")]
    assert fitting_family(scan, offered, label_map=None, server="s")[0] == "toy"
    with pytest.raises(RequestError, match="papers is for browsing only"):
        fitting_family(scan, offered[:1], label_map=None, server="s")
    with pytest.raises(NotFound, match="offers no families"):
        fitting_family(scan, [], label_map=None, server="s")


def test_twin_and_variant_have_places_of_their_own_in_the_cache(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    cache.make_folders()
    hashes = {}
    for int8, content in ((False, b"model"), (True, b"twin")):
        path = tmp_path / "content"
        path.write_bytes(content)
        hashes[int8] = file_sha256(path)
        path.rename(cache.model_path(hashes[int8]))
    view = VariantView("f/t", "f", "t", "r", 5, hashes[False], {}, 0.9, int8_size=4, int8_sha256=hashes[True])
    name = VariantName.parse("f/t")
    cache.remember(CachedModel.of(view), asked=name)
    assert cache.resolve(name).read_bytes() == b"model"
    with pytest.raises(NotFound, match="the int8 twin of f/t is not in the cache"):
        cache.resolve(name, int8=True)
    cache.remember(CachedModel.of(view, int8=True), asked=name)
    assert cache.resolve(name).read_bytes() == b"model"
    assert cache.resolve(name, int8=True).read_bytes() == b"twin"
    bare = VariantView("f/t", "f", "t", "r", 5, hashes[False], {}, 0.9)
    with pytest.raises(DataError) as refused:
        CachedModel.of(bare, int8=True)
    assert refused.value.reason == "INT8_MISSING"


def test_gaps_are_not_compared_and_unknown_numbers_give_no_margin() -> None:
    first = {"id": (0.9, 1000), "hard": (0.5, 0), "gap": (math.nan, 1000), "own": (0.1, 10)}
    second = {"id": (0.8, 1000), "hard": (0.2, 0), "gap": (0.3, 1000)}
    hard, known = differences(first, second)
    assert (hard.condition, hard.difference) == ("hard", pytest.approx(0.3))
    assert math.isnan(hard.margin)
    assert not hard.clear
    # By hand: z for 95 % over 2 conditions is 2.2414, the variances
    # (901/1002)(101/1002)/1000 and (801/1002)(201/1002)/1000.
    assert known.margin == pytest.approx(2.2414 * math.sqrt((901 * 101 + 801 * 201) / 1002**2 / 1000), rel=1e-4)
    assert known.clear


def test_answers_of_an_older_server_are_families_to_select_from() -> None:
    old = catalog_pb2.Family(name="f", certificate=catalog_pb2.Certificate(trained=3, published=2))
    view = convert.family_view(old)
    assert not view.browse_only
    assert view.certificate is not None
    assert view.factors == {}
    assert convert.family_view(catalog_pb2.Family(name="f", browse_only=True)).certificate is None
    variant = convert.variant_view(catalog_pb2.Variant(name="f/t"))
    assert (variant.int8_sha256, variant.factors, variant.has_card) == ("", {}, False)
    profile = convert.profile_view(
        catalog_pb2.Profile(tags=["t"], conditions=[catalog_pb2.ConditionSummary(condition="id")], accuracy=[0.9])
    )
    assert (profile.metrics, profile.int8_accuracy) == ({}, {})


@pytest.mark.parametrize("field", ["accuracy", "ece", "int8_accuracy"])
def test_matrices_of_another_size_are_refused(field: str) -> None:
    message = catalog_pb2.Profile(
        tags=["t"], conditions=[catalog_pb2.ConditionSummary(condition="id")], accuracy=[0.9], int8_tags=["t"],
        int8_accuracy=[0.8],
    )  # fmt: skip
    getattr(message, field).extend([0.1, 0.2])
    with pytest.raises(IntegrityError, match="numbers for 1 x 1 cells"):
        convert.profile_view(message)
