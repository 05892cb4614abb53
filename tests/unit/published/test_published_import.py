"""Published results become bundles; what cannot be used is refused with its place and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.names import check_name
from seedzoo.errors import AlreadyExists, DataError, InvalidInput, RequestError
from seedzoo.published import read_published, write_published
from seedzoo.published.bundle import variant_tags
from seedzoo.stress import read_profile

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def _file(folder, text, name="results.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


TABLE = "model,id,blur,note\nresnet 50,75.9,40,big\nα/β,80,-,\n\n,,,\nthird,70.5%,39.5,small\n"


def test_any_table(tmp_path):
    table = read_published([_file(tmp_path, TABLE)], factor_columns=["note"])
    assert table.models == ("resnet 50", "α/β", "third")
    assert [column.name for column in table.columns] == ["id", "blur"]
    assert table.accuracies[:, 0] == pytest.approx([0.759, 0.8, 0.705])
    assert np.isnan(table.accuracies[1, 1])
    assert [factors["note"] for factors in table.factors] == ["big", "unknown", "small"]


def test_a_bundle_that_can_be_opened(tmp_path):
    table = read_published([_file(tmp_path, TABLE)], skip=["note"])
    done = write_published(
        table, tmp_path / "out", name="mine", provenance="a paper", n={"id": 1000, "blur": 500}, title="<Mine>"
    )
    assert (done.conditions, done.rows) == (2, 5)
    bundle = open_bundle(tmp_path / "out")
    assert not bundle.family.selectable
    assert bundle.family.provenance == "a paper"
    assert [variant.tag for variant in bundle.family.variants] == list(variant_tags(table.models))
    assert [variant.factors["model"] for variant in bundle.family.variants] == ["resnet 50", "α/β", "third"]
    assert bundle.family.variants[2].held_out_accuracy == pytest.approx(0.705)
    rows = {(row.variant, row.condition): row for row in read_profile(tmp_path / "out" / "profile.parquet").rows}
    assert rows["resnet-50", "id"].n == 1000
    assert rows["resnet-50", "id"].correct is None
    assert rows["resnet-50", "id"].accuracy_low < 0.759 < rows["resnet-50", "id"].accuracy_high
    with pytest.raises(AlreadyExists, match="not empty"):
        write_published(table, tmp_path / "out", name="mine", provenance="a paper")


def test_conditions_keep_their_order_but_id_comes_first(tmp_path):
    table = read_published([_file(tmp_path, "m,b,val,a\nx,.1,.9,.2\n")], identity="val")
    assert [(column.name, column.source) for column in table.columns] == [("id", "val"), ("b", "b"), ("a", "a")]


def test_scales(tmp_path):
    path = _file(tmp_path, "m,id\nx,0.9\ny,1\n")
    assert read_published([path]).accuracies[:, 0].tolist() == [0.9, 1]
    assert read_published([path], scale="percent").accuracies[:, 0] == pytest.approx([0.009, 0.01])
    with pytest.raises(DataError, match=r"line 2.*75 is no accuracy as a share"):
        read_published([_file(tmp_path, "m,id\nx,75\n")], scale="share")
    with pytest.raises(DataError, match="750 is no accuracy as a percentage"):
        read_published([_file(tmp_path, "m,id\nx,750\n")])
    with pytest.raises(DataError, match="-1 is no accuracy"):
        read_published([_file(tmp_path, "m,id\nx,-1\n")])


def test_percent_signs_and_mixed_scales(tmp_path):
    low = _file(tmp_path, "m,id,hard\nx,0.9%,0.2 %\n")
    assert read_published([low]).accuracies[0] == pytest.approx([0.009, 0.002])
    with pytest.raises(DataError, match="line 2, column 'id': a percentage in a table of shares"):
        read_published([low], scale="share")
    mixed = _file(tmp_path, "m,id,hard\nx,0.91,35.2\ny,0.92,33\n")
    with pytest.raises(DataError, match=r"column 'id': its numbers up to 0.92 look like shares") as caught:
        read_published([mixed])
    assert "--scale percent" in caught.value.hint
    assert read_published([mixed], scale="percent").accuracies[0] == pytest.approx([0.0091, 0.352])
    # A column of nothing but 0 is 0 on either scale; signs say what is meant.
    told = _file(tmp_path, "m,id,zero,hard\nx,91,0,0.4%\n")
    assert read_published([told]).accuracies[0] == pytest.approx([0.91, 0, 0.004])


def test_no_factor_takes_the_place_of_the_name(tmp_path):
    path = _file(tmp_path, "name,model,id\nA,resnet,90\n")
    with pytest.raises(RequestError, match="cannot be called 'model'"):
        read_published([path], factor_columns=["model"])
    with pytest.raises(RequestError, match="cannot be called 'model'"):
        read_published([_file(tmp_path, "m,id\nA,90\n")], factors={"A": {"model": "resnet"}})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "holds no results", "names the columns"),
        ("model,id\n", "holds no results", "each further one"),
        ("model\nx\n", "one column", "comma"),
        ("model,id,id\nx,1,1\n", "column 'id' is there twice", "once"),
        ("model,,id\nx,1,1\n", "a column has no name", "Name every"),
        ("model,id\nx,1\nx,1\n", "model 'x' is there twice", "once"),
        ("model,id\n,1\n", "a model has no name", "Name every"),
        ("model,id\nx,1,2\n", "line 2: 3 cells", "quote"),
        ("model,id,year\nx,1,new\n", "line 2, column 'year': 'new' is no number", "--factor"),
        ("model,id\nx,inf\n", "'inf' is no number", "--skip"),
        ("model,id\nx,1_0\n", "'1_0' is no number", "--skip"),
        ("model,val,b\nx,1,1\n", "no column 'id'", "--id"),
        ("model,ids,b\nx,1,1\n", "no column 'id'", "Did you mean ids"),
        ("model,id\nx,-\n", "no model has an in-distribution accuracy", "--id"),
        ('model,id\nx,"1\n', "line", "comma-separated"),
        ("model,id\nx,1\0\n", "no text file", "UTF-8"),
    ],
)
def test_bad_tables(tmp_path, text, message, hint):
    with pytest.raises(DataError, match=message) as caught:
        read_published([_file(tmp_path, text)])
    assert hint in caught.value.hint


def test_bad_files_and_arguments(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_published([tmp_path / "absent.csv"])
    (tmp_path / "latin.csv").write_bytes(b"model,id\n\xe9,1\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_published([tmp_path / "latin.csv"])
    path = _file(tmp_path, TABLE)
    for arguments, text in (
        ({"form": "xls"}, "no format"),
        ({"scale": "points"}, "no scale"),
        ({"only": "("}, "regular expression"),
        ({"identity": "note", "skip": ["note"]}, "left out"),
    ):
        with pytest.raises(RequestError, match=text):
            read_published([path], **arguments)
    with pytest.raises(DataError, match="matches"):
        read_published([path], only="res")
    with pytest.raises(DataError, match="no column 'nte'") as caught:
        read_published([path], skip=["nte"])
    assert "note" in caught.value.hint
    with pytest.raises(DataError, match="beside"):
        read_published([_file(tmp_path, "m,id,val\nx,1,1\n", "both.csv")], identity="val")
    with pytest.raises(DataError, match="none of the models"):
        read_published([path], skip=["note"], factors={"other": {"type": "a"}})
    table = read_published([path], skip=["note"])
    for arguments, text in (
        ({"name": "a b"}, "no family"),
        ({"provenance": " "}, "source"),
        ({"n": {"blurr": 5}}, "no condition 'blurr'"),
    ):
        with pytest.raises(RequestError, match=text):
            write_published(table, tmp_path / "out", **{"name": "f", "provenance": "p"} | arguments)
    assert not (tmp_path / "out").exists()


def test_models_without_identity_are_named(tmp_path):
    table = read_published([_file(tmp_path, "m,id,b,c\nx,.9,.5,\ny,,.4,.3\nz,.8,,\n")])
    assert (table.models, table.left_out) == (("x", "z"), ("y",))
    assert [column.name for column in table.columns] == ["id", "b"]  # c held nothing but y's


def test_the_grid(tmp_path):
    text = (
        "model,val,objectnet-1.0-beta,imagenet-c.glass_blur.3_in-memory,imagenet-c.glass_blur.3_on-disk,"
        "val-on-objectnet-classes,greyscale\nalexnet,56.5,10,20,30,50,40\n"
    )
    factors = {"alexnet": {"type": "STANDARD"}, "other": {"type": "ROBUST"}}
    table = read_published([_file(tmp_path, text)], factors=factors)
    assert [(column.name, column.kind, column.severity) for column in table.columns] == [
        ("id", "id", None),
        ("natural/objectnet-1.0-beta", "natural", None),
        ("imagenet-c-glass-blur-3", "imagenet-c-glass-blur", 3),
        ("imagenet-c-disk-glass-blur-3", "imagenet-c-disk-glass-blur", 3),
        ("val-on-objectnet-classes", "id-subset", None),
        ("greyscale", "published", None),
    ]
    assert table.factors == ({"type": "STANDARD"},)


def _timm(folder):
    head = "model,img_size,top1,top1_err,top5,top5_err,param_count\n"
    one = _file(folder, head + 'a,224,80,20,95,5,"1,013.01"\na,288,81,19,96,4,2\nb,224,70,30,90,10,1\n',
                "results-imagenet.csv")  # fmt: skip
    two = _file(folder, head + "b,224,20,80,40,60,1\na,288,30,70,50,50,2\n", "results-imagenet-a.csv")
    return one, two


def test_timm(tmp_path):
    one, two = _timm(tmp_path)
    table = read_published([two, one])
    assert table.models == ("a@224", "a@288", "b")
    assert [column.name for column in table.columns] == ["id", "natural/imagenet-a"]
    assert table.accuracies[:, 0].tolist() == [0.8, 0.81, 0.7]
    assert table.accuracies[1:, 1].tolist() == [0.3, 0.2]
    assert table.factors[1] == {"img_size": "288"}
    write_published(table, tmp_path / "out", name="timm", provenance="timm")
    rows = read_profile(tmp_path / "out" / "profile.parquet").rows
    assert [row.top5 for row in rows if row.condition == "id"] == [0.95, 0.96, 0.9]


def test_timm_refuses(tmp_path):
    one, two = _timm(tmp_path)
    with pytest.raises(DataError, match="'imagenet'") as caught:
        read_published([two])
    assert "results-imagenet.csv" in caught.value.hint
    with pytest.raises(DataError, match="two files"):
        read_published([one, one])
    with pytest.raises(DataError, match="lacks"):
        read_published([one, _file(tmp_path, TABLE)], form="timm")
    with pytest.raises(RequestError, match="fixed columns"):
        read_published([one], skip=["top5"])
    with pytest.raises(RequestError, match="2 files"):
        read_published([_file(tmp_path, TABLE), one])


@given(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=12, unique=True))
def test_tags_are_valid_and_unique(names):
    tags = variant_tags(names)
    assert len({tag.lower() for tag in tags}) == len(names)
    for tag in tags:
        check_name(tag, "variant")
        assert tag != "README"


def test_tags_that_need_no_change_stay():
    assert variant_tags(["ResNet50_v2", "s007"]) == ("ResNet50_v2", "s007")
    first, second = variant_tags(["a.b", "a/b"])
    assert first.startswith("a-b-")
    assert first != second
    assert variant_tags(["a/b", "a.b"]) == (second, first)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        table = read_published([path])
    except InvalidInput:
        return
    assert np.nanmax(table.accuracies) <= 1


@pytest.mark.skipif(not SHARED.exists(), reason="the published results are not on this machine")
def test_real_results():
    folder = SHARED / "imagenet-testbed"
    types = {model: {"type": kind} for model, kind in json.loads((folder / "model_types.json").read_text()).items()}
    grid = read_published([folder / "robustness_top1s.csv"], factors=types)
    assert (len(grid.models), len(grid.left_out), len(grid.columns)) == (335, 3, 213)
    alexnet = grid.models.index("alexnet")
    assert grid.accuracies[alexnet, 0] == pytest.approx(0.56522)
    assert grid.factors[alexnet] == {"type": "STANDARD"}
    sets = read_published(sorted((SHARED / "timm-results").glob("*.csv")))
    assert (len(sets.models), len(sets.columns)) == (1556, 8)
    runs = read_published(
        sorted((SHARED / "berts_of_a_feather").glob("*.csv")), identity="MNLI dev acc.", only=r"Run \d+"
    )
    assert len(runs.models) == 100
    assert runs.accuracies[:, 0].std(ddof=1) == pytest.approx(0.0024, abs=5e-5)
