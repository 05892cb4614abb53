"""The int8 twin of an exported model: static quantisation, calibrated on training images.

A twin is another model with results of its own: it gets its own profile and is never handed out in place of the
float model. It holds QuantizeLinear and DequantizeLinear of the ONNX standard around float operators (QDQ), which
every runtime can run; those that know integer kernels use them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from seedzoo.errors import DataError, ZooError
from seedzoo.inference.evaluate import softmax
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.session import Model
from seedzoo.training.recipe_checks import FEWEST_TO_CALIBRATE

__all__ = ["CALIBRATION_KEY", "INT8_KEY", "Agreement", "agreement", "is_int8", "quantise_static"]

INT8_KEY = "seedzoo.int8"
CALIBRATION_KEY = "seedzoo.calibration"
_BATCH = 16
# What has integer kernels. Normalisation of the input, of layers and softmax stay in float: they cost little and
# suffer most. An activation function belongs to the operator before it.
_OPERATORS = (
    "Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat",
)  # fmt: skip
_WEIGHTY = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a twin stands to its float model on images that neither training nor calibration used.

    Attributes:
        n: Images.
        same: Of them put into the same class by both.
        distance: Mean total variation distance of the two models' probabilities, in 0..1.
    """

    n: int
    same: int
    distance: float

    @property
    def share(self) -> float:
        """Share of the images that both put into the same class."""
        return self.same / self.n


def quantise_static(raw: bytes, calibration: NDArray[np.uint8]) -> bytes:
    """The int8 twin of an exported model; the same input, output and metadata, and two entries more.

    Weights are int8 per output channel, activations uint8 between the least and the greatest value that the
    calibration images give. Weights use 7 of their 8 bits: processors without the instructions for int8 (VNNI) add
    pairs of products in 16 bits, which overflow otherwise, and the twin's measured results would hold on some
    machines only. Products of two activations (attention) stay in float. The same input gives the same bytes.

    Args:
        raw: The float model, as `export_onnx` makes it.
        calibration: uint8 ``[n, height, width, channels]``, at least 16 training images; some hundreds are enough.

    Raises:
        DataError: The calibration images do not suit the model (CALIBRATION_INVALID).
        ZooError: The model cannot be quantised (QUANTISE_FAILED).
    """
    source = onnx.load_model_from_string(raw)
    name = _checked_input(source, calibration)
    with tempfile.TemporaryDirectory(prefix="seedzoo-int8-") as folder:
        out = Path(folder) / "int8.onnx"
        try:
            _run(source, name, calibration, out)
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise _failed(f"the quantiser stopped: {said[0]}") from error
        twin = onnx.load(out)
    if not any(node.op_type == "QuantizeLinear" for node in twin.graph.node):
        raise _failed("it has no convolution or matrix product with stored weights")
    twin.producer_name, twin.producer_version = "seedzoo", ""
    onnx.helper.set_model_props(twin, _metadata(raw, calibration))
    made = twin.SerializeToString(deterministic=True)
    _check_twin(raw, made, calibration)
    return bytes(made)


def agreement(raw: bytes, twin: bytes, images: NDArray[np.uint8]) -> Agreement:
    """Compare a twin with its float model on held-out images uint8 ``[n, height, width, channels]``, n >= 1.

    Raises:
        DataError: There are no images, or one of the two is no usable model.
    """
    if not len(images):
        raise DataError("a twin cannot be compared with its float model on no images", field="images")
    one, other = (
        Model(content, name=name).logits(images) for content, name in ((raw, "the model"), (twin, "its twin"))
    )
    apart = 0.5 * np.abs(softmax(one) - softmax(other)).sum(axis=1)
    same = int((one.argmax(axis=1) == other.argmax(axis=1)).sum())
    return Agreement(n=len(images), same=same, distance=float(apart.mean()))


def is_int8(raw: bytes) -> bool:
    """Whether an ONNX file says of itself that it is an int8 twin."""
    return any(
        entry.key == INT8_KEY and entry.value == "true" for entry in onnx.load_model_from_string(raw).metadata_props
    )


def _checked_input(source: onnx.ModelProto, calibration: NDArray[np.uint8]) -> str:
    """The name of the only input, which the images fit."""
    if any(node.op_type == "QuantizeLinear" for node in source.graph.node):
        raise _failed("it is quantised already")
    if len(source.graph.input) != 1:
        raise _failed(f"it has {len(source.graph.input)} inputs instead of one")
    (entry,) = source.graph.input
    wanted = [dimension.dim_value for dimension in entry.type.tensor_type.shape.dim][1:]
    if calibration.dtype != np.uint8 or list(calibration.shape[1:]) != wanted:
        raise DataError(
            f"calibration images are {calibration.dtype} {list(calibration.shape)}, the model takes uint8 "
            f"[n, {', '.join(map(str, wanted))}]",
            hint="Prepare them as the training images.",
            reason="CALIBRATION_INVALID",
        )
    if len(calibration) < FEWEST_TO_CALIBRATE:
        raise DataError(
            f"{len(calibration)} calibration images are too few, at least {FEWEST_TO_CALIBRATE} are needed",
            hint="Take some hundreds of training images.",
            reason="CALIBRATION_INVALID",
        )
    return str(entry.name)


def _run(source: onnx.ModelProto, name: str, calibration: NDArray[np.uint8], out: Path) -> None:
    # Imported here: the module configures logging when it is loaded, which a build without twins need not bear.
    with _quiet_quantiser():
        from onnxruntime import quantization  # noqa: PLC0415

        class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._starts = iter(range(0, len(calibration), _BATCH))

            def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
                start = next(self._starts, None)
                return None if start is None else {name: calibration[start : start + _BATCH]}

        quantization.quantize_static(
            source,
            out,
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=_before_weights(source),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            calibration_providers=["CPUExecutionProvider"],
            extra_options={"MatMulConstBOnly": True},
        )


def _before_weights(source: onnx.ModelProto) -> list[str]:
    """Names of the nodes that prepare the images: all before the first one with weights."""
    names: list[str] = []
    for node in source.graph.node:
        if node.op_type in _WEIGHTY:
            return names
        names.append(node.name)
    return names


def _metadata(raw: bytes, calibration: NDArray[np.uint8]) -> dict[str, str]:
    kept = {entry.key: entry.value for entry in onnx.load_model_from_string(raw).metadata_props}
    note = {
        "images": len(calibration),
        "images_sha256": hashlib.sha256(np.ascontiguousarray(calibration).tobytes()).hexdigest(),
        "float_sha256": hashlib.sha256(raw).hexdigest(),
        "method": "least and greatest value",
        "onnxruntime": version("onnxruntime"),
    }
    return {**kept, INT8_KEY: "true", CALIBRATION_KEY: json.dumps(note, sort_keys=True)}


def _check_twin(raw: bytes, made: bytes, calibration: NDArray[np.uint8]) -> None:
    try:
        onnx.checker.check_model(onnx.load_model_from_string(made), full_check=True)
        sessions = [
            onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]) for content in (raw, made)
        ]
    except Exception as error:
        raise _failed(f"the result does not load: {str(error).strip().splitlines()[0]}") from error
    before, after = (
        [(entry.name, entry.type) for entry in (*session.get_inputs(), *session.get_outputs())] for session in sessions
    )
    if before != after:
        raise _failed(f"its inputs and outputs became {after} instead of {before}")
    if not math.isfinite(float(Model(made, name="the twin").logits(calibration[:_BATCH]).sum())):
        raise _failed("its twin gives outputs that are no finite numbers")


def _failed(what: str) -> ZooError:
    return ZooError(
        f"the model cannot be quantised to int8: {what}",
        hint="Build the family without int8 twins, or choose an architecture of convolutions.",
        reason="QUANTISE_FAILED",
    )


@contextlib.contextmanager
def _quiet_quantiser() -> Iterator[None]:
    """It gives advice on the root logger, which would also set up logging for the whole program where none is yet."""
    root, silent = logging.getLogger(), logging.NullHandler()

    def other(record: logging.LogRecord) -> bool:
        return record.name != "root" or "quantiz" not in record.pathname

    root.addHandler(silent)
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)
        root.removeHandler(silent)
