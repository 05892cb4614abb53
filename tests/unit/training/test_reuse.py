"""What an earlier run finished is reused only where the same recipe on the same contents would make the same."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from seedzoo.errors import DataError
from seedzoo.inference.sources import ArrayImages
from seedzoo.records import Preprocessing, Task, TrainingData
from seedzoo.training.data import ImageData
from seedzoo.training.finished import TrainedVariant, finished_variant, keep_in_folder
from seedzoo.training.pool import train_all
from seedzoo.training.recipe import Recipe, parse_recipe

RECIPE = """
[family]
name = "tiny"
train = 2
publish = 2
licence = "MIT"
[data]
source = "digits"
[model]
architecture = "seedzoo_cnn_small"
[training]
epochs = 1
batch_size = 2
lr = 0.004
[seeds]
root = 3
vary = ["order"]
"""
SHAPE = Preprocessing(height=8, width=8, channels=1)


def model(licence: str) -> bytes:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    proto = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", inputs, outputs))
    helper.set_model_props(proto, {"seedzoo.tag": "s000", "seedzoo.licence": licence})
    return bytes(proto.SerializeToString(deterministic=True))


def keep(folder: Path, recipe: Recipe, *, software: dict[str, str] | None = None, licence: str = "MIT") -> None:
    raw = model(licence)
    for tag in recipe.tags:
        keep_in_folder(
            folder,
            TrainedVariant(
                tag=tag, training_key=recipe.training_key, seeds={}, sha256=hashlib.sha256(raw).hexdigest(),
                size=len(raw), parity=0.0, seconds=1.0, licence=licence, software=software or {},
            ),
            {"model.onnx": raw},
        )  # fmt: skip


def data(pixel: int = 0, classes: tuple[str, ...] = ("a", "b")) -> ImageData:
    images = ArrayImages(np.full((4, 8, 8, 1), pixel, dtype=np.uint8), np.array([0, 1, 0, 1]))
    origin = TrainingData(name="made", train_examples=4, held_out_examples=4)
    return ImageData(train=images, test=images, reserved=images, classes=classes, preprocessing=SHAPE, origin=origin)


class NothingTrains:
    """An executor that must not be asked for anything but says what it was asked for."""

    shares_files = True
    shares_arguments = False
    gpus = 0

    def run(self, jobs: list[object], **_: object) -> None:
        raise AssertionError(f"{len(jobs)} variants would be trained")


def test_a_changed_licence_changes_the_metadata_and_trains_nothing(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE)
    keep(tmp_path, recipe)
    other = parse_recipe(RECIPE.replace("MIT", "CC0-1.0"))
    task = Task(name="t", classes=("a", "b"), preprocessing=SHAPE)
    found = train_all(other, folder=tmp_path, base=tmp_path, task=task, executor=NothingTrains(), on_notice=pytest.fail)
    raw = (tmp_path / "s000" / "model.onnx").read_bytes()
    assert raw == model("CC0-1.0")
    assert {item.key: item.value for item in onnx.load_from_string(raw).metadata_props}["seedzoo.tag"] == "s000"
    assert found["s000"].sha256 == hashlib.sha256(raw).hexdigest()
    assert finished_variant(tmp_path, "s000", other.training_key) == found["s000"]


@pytest.mark.parametrize(
    ("changed", "software", "says"),
    [
        ("root = 4", {}, "of another recipe"),
        ("root = 3", {"torch": "0.1"}, "by other versions of torch"),
    ],
)
def test_what_does_not_fit_is_trained_again_and_said(
    tmp_path: Path, changed: str, software: dict[str, str], says: str
) -> None:
    keep(tmp_path, parse_recipe(RECIPE), software=software)
    task = Task(name="t", classes=("a", "b"), preprocessing=SHAPE)
    said: list[str] = []
    with pytest.raises(AssertionError, match="2 variants would be trained"):
        train_all(
            parse_recipe(RECIPE.replace("root = 3", changed)), folder=tmp_path, base=tmp_path, task=task,
            executor=NothingTrains(), on_notice=said.append,
        )  # fmt: skip
    assert len(said) == 1
    assert says in said[0]
    assert said[0].startswith("2 variants that an earlier run finished")


def test_training_key_follows_contents_and_not_places(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the [train] extra")
    from seedzoo.training.build import pinned

    def key(text: str = RECIPE, found: ImageData | None = None) -> str:
        return pinned(parse_recipe(text), found or data(), tmp_path, here=False).training_key

    assert key() == key(RECIPE.replace('"digits"', '"digits"\npath = "elsewhere"'))
    assert key() != key(found=data(pixel=1))
    assert key() != key(found=data(classes=("a", "c")))
    assert key() == key(f"{RECIPE}[export]\nint8 = true\n[stress]\nsuite = 'cifar-c'\n")
    tuned = RECIPE.replace("[training]", 'checkpoint = "w.pth"\n[training]')
    (tmp_path / "w.pth").write_bytes(b"one")
    before = key(tuned)
    (tmp_path / "w.pth").write_bytes(b"two")
    assert key(tuned) != before


def test_other_data_than_the_recipe_means_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the [train] extra")
    from seedzoo.training.build import pinned

    recipe = parse_recipe(RECIPE)
    fixed = replace(recipe, data=replace(recipe.data, sha256=data().training_digest))
    assert pinned(fixed, data(), tmp_path, here=True).data.sha256 == data().training_digest
    with pytest.raises(DataError, match="not the training data that the recipe means"):
        pinned(fixed, data(pixel=9), tmp_path, here=True)
