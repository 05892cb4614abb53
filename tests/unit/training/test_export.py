"""Exported models: what the file says, which graphs it holds, and that it computes what torch computes."""

from __future__ import annotations

import copy
import json
import logging

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import onnx
import torch
from torch import nn

from seedzoo.errors import ZooError
from seedzoo.inference.session import Model
from seedzoo.records import Preprocessing, Task
from seedzoo.training.export import LARGEST_MODEL, OPSET, check_parity, export_onnx
from seedzoo.training.models import create_model

CLASSES = ("a", "b", "c")


class Scaled(nn.Module):
    """What a variant's normalisation does: uint8 [n, h, w, c] to standardised float [n, c, h, w]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.permute(0, 3, 1, 2).to(torch.float32) - 120.0) / 60.0


def task(side: int, channels: int = 3, **others: str) -> Task:
    return Task(name="made", classes=CLASSES, preprocessing=Preprocessing(side, side, channels, **others))


def exported(model: nn.Module, about: Task, **others: object) -> bytes:
    return export_onnx(model, task=about, family="made", tag="s001", seeds={"order": 2, "init": 1}, **others)


def noise(count: int, side: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_timm_architectures(architecture: str, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    size = {"img_size": 32, "depth": 1} if "vit" in architecture else {}
    model = nn.Sequential(Scaled(), create_model(architecture, {"num_classes": len(CLASSES), **size}))
    raw = exported(model, task(32))  # any warning is an error in these tests
    assert capfd.readouterr() == ("", "")
    assert check_parity(model, raw, noise(40, 32)) < 1e-4
    proto = onnx.load_model_from_string(raw)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", OPSET)]
    assert {node.domain for node in proto.graph.node} == {""}
    assert not proto.functions
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)


ABOUT = task(16, 1, resize="shorter_side_center_crop", interpolation="bicubic")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small network whose weights bfloat16 can hold."""
    torch.manual_seed(0)
    network = create_model("seedzoo_cnn_small", {"num_classes": len(CLASSES), "img_size": 16})
    return nn.Sequential(Scaled(), network).bfloat16().float()


@pytest.fixture(scope="module")
def raw(model: nn.Module) -> bytes:
    return exported(model, ABOUT, factors={"pretraining": "p2"}, licence="MIT")


def test_the_file_says_all_that_is_needed(raw: bytes) -> None:
    found = Model(raw, name="it")
    assert found.classes == CLASSES
    assert json.loads(found.metadata["seedzoo.preprocessing"]) == {
        "height": 16,
        "width": 16,
        "channels": 1,
        "resize": "shorter_side_center_crop",
        "interpolation": "bicubic",
        "layout": "NHWC",
        "dtype": "uint8",
        "colour": "grey",
        "orientation": "upright as EXIF says",
        "normalisation": "inside the graph",
    }
    assert found.metadata["seedzoo.seeds"] == '{"init": 1, "order": 2}'
    assert found.metadata["seedzoo.factors"] == '{"pretraining": "p2"}'
    assert {key: found.metadata[f"seedzoo.{key}"] for key in ("family", "tag", "task", "licence")} == {
        "family": "made",
        "tag": "s001",
        "task": "made",
        "licence": "MIT",
    }
    assert found.logits(noise(1, 16, 1)).shape == (1, 3)
    assert found.logits(noise(7, 16, 1)).shape == (7, 3)
    assert b"site-packages" not in raw  # no source paths of the exporter's notes
    assert b"test_export" not in raw


def test_the_same_weights_give_the_same_bytes_however_they_are_held(model: nn.Module, raw: bytes) -> None:
    held = copy.deepcopy(model).to(memory_format=torch.channels_last).bfloat16().train()
    before = {name: tensor.clone() for name, tensor in held.state_dict().items()}
    again = exported(torch.compile(held, backend="eager"), ABOUT, factors={"pretraining": "p2"}, licence="MIT")
    assert again == raw
    assert check_parity(held, raw, noise(40, 16, 1)) < 1e-4
    # And it is left as it was.
    assert held.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in held.state_dict().items())
    assert all(parameter.dtype == torch.bfloat16 and parameter.requires_grad for parameter in held.parameters())


class Factor(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits * self.factor


def test_parity_allows_for_the_size_of_the_logits(model: nn.Module) -> None:
    large = nn.Sequential(*model, Factor(1e5))
    raw = exported(large, task(16, 1))
    images = noise(30, 16, 1)
    scale = float(np.abs(Model(raw, name="it").logits(images)).max())
    assert check_parity(large, raw, images) <= 1e-4 + 1e-4 * scale


@pytest.mark.parametrize("change", [0.01, float("nan")])
def test_parity_finds_another_model(model: nn.Module, raw: bytes, change: float) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[1].head.bias[0] += change
    with pytest.raises(ZooError, match="differs from the trained one") as caught:
        check_parity(other, raw, noise(3, 16, 1))
    assert caught.value.reason == "EXPORT_PARITY"


def test_too_large_models_are_refused_before_anything_is_done() -> None:
    with torch.device("meta"):
        huge = nn.Linear(2**15, LARGEST_MODEL // 2**17 + 1)
    with pytest.raises(ZooError, match=r"2\.0 GiB of weights") as caught:
        exported(huge, task(16))
    assert caught.value.reason == "EXPORT_TOO_LARGE"


class Undecided(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        total = images.to(torch.float32).sum(dim=(1, 2, 3), keepdim=False)
        if total[0] > 1:
            return total[:, None]
        return -total[:, None]


def test_what_the_exporter_cannot_do_is_one_clear_error() -> None:
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(ZooError, match="cannot be exported to ONNX") as caught:
        exported(Undecided(), task(16))
    assert caught.value.reason == "EXPORT_FAILED"
    assert "\n" not in caught.value.message
    assert logging.getLogger("torch.onnx").level == level
