"""Selections where the stored profile has gaps, twins or published shares, or the family is for browsing only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import Engine, MemoryExamples

from seedzoo.catalog.bundle import PROFILE_FILE, SIGNATURES_FILE
from seedzoo.engine import SelectionSettings, check_selection, profile_counts
from seedzoo.engine.queried import predict_all
from seedzoo.engine.report import winner_profile
from seedzoo.engine.unlabelled import family_prior
from seedzoo.errors import RequestError
from seedzoo.stress.signature_table import read_signature_table
from seedzoo.stress.table import ProfileTable, read_profile


@pytest.fixture
def profile(zoo: Engine) -> ProfileTable:
    return read_profile(zoo.bundle.folder / PROFILE_FILE)


def with_gaps(profile: ProfileTable, tag: str) -> ProfileTable:
    """``pixelate-1`` was not measured of one variant, ``pixelate-2`` is known of it as a share, ``pixelate-3`` of a
    single example; and it has a twin that is always wrong."""
    rows = []
    for row in profile.rows:
        if row.variant == tag and row.condition == "pixelate-1":
            continue
        if row.variant == tag and row.condition == "pixelate-2":
            rows.append(replace(row, n=None, correct=None, accuracy_low=None, accuracy_high=None))
        elif row.variant == tag and row.condition == "pixelate-3":
            rows.append(replace(row, n=1, correct=1, accuracy=1.0))
        else:
            rows.append(row)
    rows += [replace(row, variant=f"{tag}.int8", accuracy=0.0) for row in profile.rows if row.variant == tag]
    return replace(profile, rows=tuple(rows))


def test_requirements_rest_on_complete_counts_only(zoo: Engine, profile: ProfileTable) -> None:
    whole = profile_counts(zoo.family, profile)
    assert list(whole) == list(profile.conditions)
    tag = zoo.family.variants[1].tag
    counts = profile_counts(zoo.family, with_gaps(profile, tag))
    assert set(whole) - set(counts) == {"pixelate-1", "pixelate-2", "pixelate-3"}
    assert list(counts["id"].correct) == list(whole["id"].correct)


def test_reported_profile_leaves_out_gaps_and_twins(zoo: Engine, profile: ProfileTable) -> None:
    tag = zoo.family.variants[1].tag
    gaps = with_gaps(profile, tag)
    own = {row.condition: row for row in winner_profile(tag, zoo.family, gaps)}
    assert "pixelate-1" not in own
    whole = {row.condition: row for row in winner_profile(tag, zoo.family, profile)}
    assert own["id"] == whole["id"]
    other = {row.condition: row for row in winner_profile(zoo.family.variants[0].tag, zoo.family, gaps)}
    measured = [
        row.accuracy for row in profile.rows if row.condition == "pixelate-1" and row.variant != tag
    ]  # fmt: skip
    assert other["pixelate-1"].family_mean == pytest.approx(sum(measured) / len(measured))


def test_prior_learns_from_conditions_measured_of_all(zoo: Engine, profile: ProfileTable) -> None:
    table = read_signature_table((zoo.bundle.folder / SIGNATURES_FILE).read_bytes(), where="test")
    whole = family_prior(zoo.family, profile, table)
    gaps = family_prior(zoo.family, with_gaps(profile, zoo.family.variants[1].tag), table)
    assert gaps.conditions == whole.conditions - 1


def test_browse_only_family_is_refused_before_anything_is_read(zoo: Engine, labelled: MemoryExamples) -> None:
    bare = replace(zoo.family, certificate=None)
    hollow = replace(zoo.family, variants=tuple(replace(variant, model=None) for variant in zoo.family.variants))
    for family, why in ((bare, "not certified equally accurate"), (hollow, "holds results, and not the models")):
        with pytest.raises(RequestError, match=why) as refused:
            check_selection(SelectionSettings(), family, labelled, list)
        assert refused.value.reason == "FAMILY_BROWSE_ONLY"
        with pytest.raises(RequestError, match=why):
            predict_all(family=family, load_model=zoo.load, examples=labelled, audit=0, max_pixels=1000)
    assert labelled.read_rows == []
