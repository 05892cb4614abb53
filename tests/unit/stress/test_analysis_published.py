"""Corruption errors, effective robustness and excess variance of profiles, by hand and against published numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from seedzoo.errors import DataError
from seedzoo.stress import profile_row, published_row
from seedzoo.stress.analysis import (
    LogitLine,
    alexnet,
    corruption_errors,
    effective_robustness,
    family_robustness,
    fit_line,
    profile_excess,
    profile_matrix,
    published_lines,
    reference_from,
)
from seedzoo.stress.analysis.corruption_errors import complete_variants
from seedzoo.stress.corruptions.imagenet_c import kind_name
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON
from seedzoo.stress.registry import get_condition

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
NEEDS_GRID = pytest.mark.skipif(
    not (SHARED / "imagenet-testbed").exists(), reason="the published grid is not on this machine"
)


def _rows(errors, clean, variant, suite="imagenet-c"):
    """All 75 conditions: the error of each corruption, a hundredth more with each severity around the middle."""
    rows = [published_row(variant=variant, condition="id", kind="id", accuracy=1 - clean)]
    for name in COMMON:
        kind = kind_name(suite, name)
        rows += [
            published_row(
                variant=variant,
                condition=f"{kind}-{severity}",
                kind=kind,
                severity=severity,
                accuracy=1 - errors[name] - (severity - 3) / 100,
            )
            for severity in (1, 2, 3, 4, 5)
        ]
    return rows


HALF = {name: value / 2 for name, value in alexnet().errors.items()}


def test_alexnet_itself_is_one():
    profile = profile_matrix(_rows(alexnet().errors, alexnet().clean, "alexnet") + _rows(HALF, 0.2, "half"))
    found = corruption_errors(profile, alexnet())
    assert found.mce == pytest.approx([1, 0.5])
    assert found.ce == pytest.approx(np.array([[1.0] * 15, [0.5] * 15]))
    assert found.relative_mce[0] == pytest.approx(1)
    by_hand = np.mean([(HALF[c] - 0.2) / (alexnet().errors[c] - alexnet().clean) for c in COMMON])
    assert found.relative_mce[1] == pytest.approx(by_hand)


@pytest.mark.skipif(not SHARED.exists(), reason="the published constants are not on this machine")
def test_alexnet_is_as_published():
    published = json.loads((SHARED / "corruption_severities.json").read_text())["alexnet_err_augmix"]
    assert dict(alexnet().errors) == published
    assert tuple(published) == COMMON


def test_other_references():
    profile = profile_matrix(_rows(alexnet().errors, 0.4, "a") + _rows(HALF, 0.2, "b"))
    mean = reference_from(profile)
    assert (mean.name, mean.clean) == ("family mean", pytest.approx(0.3))
    found = corruption_errors(profile, mean)
    assert found.mce == pytest.approx([4 / 3, 2 / 3])  # 1 and 1/2 of a mean of 3/4
    against = corruption_errors(profile, reference_from(profile, variant="b", name="old model"))
    assert against.reference.name == "old model"
    assert against.mce == pytest.approx([2, 1])
    assert against.relative_mce[1] == pytest.approx(1)


def test_a_reference_that_loses_nothing():
    sure = dict.fromkeys(COMMON, 0.3)
    profile = profile_matrix(_rows(sure, 0.3, "a"))
    found = corruption_errors(profile, reference_from(profile))
    assert found.mce == pytest.approx([1])
    assert np.isnan(found.relative_mce).all()


def test_incomplete_severities_are_refused():
    rows = _rows(HALF, 0.2, "a")
    lacking = [row for row in rows if row.condition != "imagenet-c-fog-3"]
    with pytest.raises(DataError, match="imagenet-c-fog-3"):
        corruption_errors(profile_matrix(lacking), alexnet())
    holes = profile_matrix(rows + [row for row in _rows(HALF, 0.2, "b") if row.condition != "imagenet-c-fog-3"])
    with pytest.raises(DataError, match="for every variant"):
        corruption_errors(holes, alexnet())
    assert complete_variants(holes, suite="imagenet-c").tolist() == [True, False]
    assert not complete_variants(holes, suite="cifar-c").any()
    assert corruption_errors(holes.only(np.array([True, False])), alexnet()).mce == pytest.approx([0.5])
    with pytest.raises(DataError, match="70 more"):
        corruption_errors(holes, alexnet(), suite="mnist-c")


def test_line_by_hand():
    x = np.array([0.5, 0.6, 0.8, math.nan])
    line = LogitLine(slope=2.0, intercept=-1.0, r=1.0, models=3)
    fitted = fit_line(x, line.predict(x))
    assert (fitted.slope, fitted.intercept, fitted.r, fitted.models) == (
        pytest.approx(2), pytest.approx(-1), pytest.approx(1), 3,
    )  # fmt: skip
    assert line.predict([0.5]) == pytest.approx([1 / (1 + math.e)])
    assert effective_robustness([0.5], [0.3], line) == pytest.approx([0.3 - 1 / (1 + math.e)])
    assert family_robustness([0.5, 0.7, math.nan])[:2] == pytest.approx([-0.1, 0.1])


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        ([0.1, 0.2], [0.1], "same length"),
        ([0.1, 0.2, 1.0], [0.1, 0.2, 0.3], "strictly between"),
        ([0.1, 0.2], [0.1, 0.2], "three models"),
        ([0.2, 0.2, 0.2], [0.1, 0.2, 0.3], "differ"),
    ],
)
def test_no_line(x, y, text):
    with pytest.raises(DataError, match=text):
        fit_line(x, y)


@NEEDS_GRID
def test_refit_of_the_published_grid():
    from tools.fit_lines import fit, standard_columns

    folder = SHARED / "imagenet-testbed"
    fitted = fit(standard_columns(folder / "robustness_top1s.csv", folder / "model_types.json"))
    _, v2 = fitted["imagenetv2-matched-frequency-format-val"]
    _, objectnet = fitted["objectnet-1.0-beta"]
    _, sketch = fitted["imagenet-sketch"]
    assert (v2.models, objectnet.models, sketch.models) == (85, 85, 85)
    assert [round(value, 3) for value in (v2.slope, v2.intercept, v2.r)] == [0.923, -0.498, 0.998]
    assert [round(value, 3) for value in (objectnet.slope, objectnet.intercept, objectnet.r)] == [0.981, -1.928, 0.976]
    assert round(sketch.r, 3) == 0.932
    stored = published_lines()
    assert set(stored) == set(fitted)
    for name, (matched, line) in fitted.items():
        assert stored[name][0] == matched
        assert (stored[name][1].slope, stored[name][1].intercept) == (
            pytest.approx(line.slope), pytest.approx(line.intercept),
        )  # fmt: skip


def test_excess_variance_of_a_profile():
    def row(variant, condition, correct, n):
        return profile_row(variant=variant, condition=get_condition(condition), n=n, correct=correct, log_loss=None)

    rows = [row("a", "id", 4, 4), row("b", "id", 2, 4), row("c", "id", 1, 4)]
    rows += [row("a", "flip", 9, 10), row("b", "flip", 1, 10), row("a", "pixelate-1", 1, 2)]
    rows.append(published_row(variant="b", condition="elsewhere", kind="natural", accuracy=0.5))
    rows.append(published_row(variant="a", condition="elsewhere", kind="natural", accuracy=0.5))
    profile = profile_matrix(rows)
    assert profile.n == (4, 10, 2, None)
    found = profile_excess(profile, sum_squares={"id": 15, "flip": 999})
    assert set(found) == {"id", "flip"}  # pixelate-1 has one variant, elsewhere no n
    assert (found["id"].method, found["id"].variants) == ("chi2", 3)
    # The sum is over all variants, of which one was not measured under flip.
    assert (found["flip"].method, found["flip"].variants) == ("bound", 2)
    assert profile_excess(profile)["id"].method == "bound"


def test_matrix_says_what_is_missing():
    profile = profile_matrix([published_row(variant="a", condition="id", kind="id", accuracy=0.5)])
    with pytest.raises(DataError, match="'blur'"):
        profile.column("blur")
    with pytest.raises(DataError, match="at least one"):
        profile_matrix([])
    with pytest.raises(DataError, match="twice"):
        profile_matrix([published_row(variant="a", condition="id", kind="id", accuracy=0.5)] * 2)
