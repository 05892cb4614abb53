"""The int8 twin: what it keeps, what it adds, and that it answers nearly as its float model."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

from tests.unit.stress.conftest import made_images

from seedzoo.catalog.model_check import check_model
from seedzoo.errors import DataError, ZooError
from seedzoo.inference.session import Model
from seedzoo.training.quantise import Agreement, agreement, is_int8, quantise_static

RAW = (files("seedzoo.starter") / "fashion-cnn" / "models" / "s000.onnx").read_bytes()
CALIBRATION = made_images(64, 28, 28, 1)
HELD_OUT = made_images(300, 28, 28, 1)[100:]


@pytest.fixture(scope="module")
def twin() -> bytes:
    return quantise_static(RAW, CALIBRATION)


def test_metadata_are_kept_and_marked(twin: bytes) -> None:
    before, after = Model(RAW, name="float").metadata, Model(twin, name="int8").metadata
    note = json.loads(after.pop("seedzoo.calibration"))
    assert after.pop("seedzoo.int8") == "true"
    assert after == before
    assert note["images"] == 64
    assert note["float_sha256"] == hashlib.sha256(RAW).hexdigest()
    assert note["images_sha256"] == hashlib.sha256(CALIBRATION.tobytes()).hexdigest()
    assert is_int8(twin)
    assert not is_int8(RAW)


def test_weights_are_int8_per_channel_and_normalisation_stays_float(twin: bytes) -> None:
    graph = onnx.load_model_from_string(twin).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(convolutions) == 5
    for node in convolutions:
        weights = made_by[node.input[1]]
        assert weights.op_type == "DequantizeLinear"
        assert stored[weights.input[0]].data_type == onnx.TensorProto.INT8
        assert stored[weights.input[1]].dims[0] in stored[weights.input[0]].dims  # one scale for each output channel
        values = onnx.numpy_helper.to_array(stored[weights.input[0]])
        assert np.abs(values.astype(int)).max() <= 64  # 7 bits
        assert made_by[node.input[0]].op_type == "DequantizeLinear"
    for node in graph.node:
        if node.op_type in ("Cast", "Sub", "Div"):
            assert not any(name in made_by and made_by[name].op_type == "DequantizeLinear" for name in node.input)


def test_it_is_smaller_and_agrees(twin: bytes) -> None:
    assert len(twin) < 0.4 * len(RAW)
    found = agreement(RAW, twin, HELD_OUT)
    assert found.n == 200
    assert found.share >= 0.95
    assert 0 < found.distance < 0.05


def test_agreement_by_hand() -> None:
    assert agreement(RAW, RAW, HELD_OUT) == Agreement(n=200, same=200, distance=0.0)
    assert Agreement(n=8, same=6, distance=0.1).share == 0.75
    with pytest.raises(DataError):
        agreement(RAW, RAW, HELD_OUT[:0])


def test_a_release_takes_it(twin: bytes, tmp_path: Path) -> None:
    (tmp_path / "s000.int8.onnx").write_bytes(twin)
    assert check_model(tmp_path / "s000.int8.onnx", name="the twin").logits(HELD_OUT[:3]).shape == (3, 10)


def test_same_bytes_nothing_left_behind_and_nothing_said(
    twin: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers = list(logging.getLogger().handlers)
    assert quantise_static(RAW, CALIBRATION) == twin
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (CALIBRATION[:15], "15 calibration images are too few"),
        (CALIBRATION.astype(np.float32), "float32"),
        (made_images(20, 28, 28, 3), r"\[n, 28, 28, 1\]"),
        (CALIBRATION[:0], "too few"),
    ],
    ids=["few", "float", "colour", "none"],
)
def test_unfit_calibration_images(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        quantise_static(RAW, images)
    assert caught.value.reason == "CALIBRATION_INVALID"


def _without_weights() -> bytes:
    info = onnx.helper.make_tensor_value_info
    axes = onnx.numpy_helper.from_array(np.array([1, 2]), "axes")
    nodes = [
        onnx.helper.make_node("Cast", ["images"], ["float"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["float", "axes"], ["logits"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "means",
        [info("images", onnx.TensorProto.UINT8, ["batch", 28, 28, 1])],
        [info("logits", onnx.TensorProto.FLOAT, ["batch", 1])],
        [axes],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def test_models_that_cannot_be_quantised(twin: bytes) -> None:
    for raw, message in ((twin, "quantised already"), (_without_weights(), "no convolution or matrix product")):
        with pytest.raises(ZooError, match=message) as caught:
            quantise_static(raw, CALIBRATION)
        assert caught.value.reason == "QUANTISE_FAILED"
        assert caught.value.hint
