"""`zoo predict` with a real model of the starter family on the example images."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seedzoo.starter import starter_bundle
from seedzoo_client.cli import main

LATER = Path(__file__).resolve().parents[2] / "examples" / "later"


@pytest.fixture(scope="module")
def model() -> Path:
    return min((starter_bundle() / "models").glob("*.onnx"))


def zoo(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_labelled_folders_give_an_accuracy(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    done = zoo("predict", model, "--data", LATER, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Accuracy ")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["predicted"] == row["label"] for row in rows)
    as_json = json.loads(zoo("predict", model, "--data", LATER, "--json").stdout)
    assert as_json["accuracy"]["right"] == right
    assert as_json["accuracy"]["n"] == len(rows) == len(as_json["predictions"])
    assert as_json["accuracy"]["low"] < as_json["accuracy"]["estimate"] < as_json["accuracy"]["high"]


def test_one_image_and_folders_that_are_no_classes(model: Path, tmp_path: Path) -> None:
    image = min(LATER.rglob("*.png"))
    one = zoo("predict", model, "--data", image)
    assert one.exit_code == 0, one.stderr
    path, predicted, probability = one.stdout.strip().split("\t")
    assert (path, bool(predicted)) == (str(image), True)
    assert 0 < float(probability) <= 1
    (tmp_path / "monday").mkdir()
    shutil.copy(image, tmp_path / "monday" / "x.png")
    shutil.copy(image, tmp_path / "loose.png")
    done = zoo("predict", model, "--data", tmp_path)
    assert len(done.stdout.splitlines()) == 2
    assert "unlabelled" in done.stderr
    mapping = tmp_path / "map.csv"
    mapping.write_text(f"monday,{image.parent.name}\n")
    labelled = json.loads(zoo("predict", model, "--data", tmp_path, "--label-map", mapping, "--json").stdout)
    assert labelled["accuracy"]["n"] == 1


def test_bad_input_is_named(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = zoo("predict", model, "--data", bad)
    assert done.exit_code == 3
    assert str(bad) in done.stderr
    gone = zoo("predict", tmp_path / "gone.onnx", "--data", LATER)
    assert gone.exit_code == 3
    assert "gone.onnx does not exist" in gone.stderr
    assert zoo("predict", bad, "--data", LATER).exit_code == 3
    assert zoo("predict", model, "--data", tmp_path / "nothing").exit_code == 3
    assert zoo("predict", model, "--data", LATER, "--out", tmp_path / "no" / "x.csv").exit_code == 11
