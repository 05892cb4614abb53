"""Torch model to a self-describing ONNX file, checked against torch before anybody sees it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from seedzoo.errors import ZooError
from seedzoo.inference.runtime import onnxruntime
from seedzoo.records import Task

__all__ = ["INPUT_NAME", "OPSET", "OUTPUT_NAME", "check_parity", "export_onnx"]

OPSET = 18
INPUT_NAME = "images"
OUTPUT_NAME = "logits"
_PARITY_TOLERANCE = 1e-4


def export_onnx(model: nn.Module, *, task: Task, family: str, tag: str, seeds: dict[str, int]) -> bytes:
    """The model as ONNX bytes: uint8 ``images [batch, H, W, C]`` in, float32 ``logits [batch, classes]`` out.

    Normalisation is inside the graph and the batch axis is dynamic. The exporter's debugging notes (source paths,
    stack traces) are removed, so the same weights give the same bytes wherever they are exported.
    """
    shape = task.preprocessing
    example = torch.zeros(2, shape.height, shape.width, shape.channels, dtype=torch.uint8)
    buffer = io.BytesIO()
    with _quiet_exporter():
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        if program is None:
            raise ZooError("the ONNX exporter returned nothing", reason="EXPORT_FAILED")
        onnx.save(program.model_proto, buffer)
    proto = onnx.load_from_string(buffer.getvalue())
    _remove_debugging_notes(proto)
    onnx.helper.set_model_props(
        proto,
        {
            "seedzoo.family": family,
            "seedzoo.tag": tag,
            "seedzoo.seeds": json.dumps(seeds, sort_keys=True),
            "seedzoo.task": task.name,
            "seedzoo.classes": json.dumps(list(task.classes)),
            "seedzoo.preprocessing": json.dumps(
                {
                    "height": shape.height,
                    "width": shape.width,
                    "channels": shape.channels,
                    "layout": "NHWC",
                    "dtype": "uint8",
                    "resize": shape.resize,
                    "interpolation": shape.interpolation,
                    "normalisation": "inside the graph",
                },
                sort_keys=True,
            ),
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def check_parity(model: nn.Module, raw: bytes, images: NDArray[np.uint8]) -> float:
    """Largest absolute difference of logits between torch and ONNX Runtime on real images ``[n, H, W, C]``.

    Raises:
        ZooError: It exceeds 1e-4, or a predicted class differs.
    """
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    exported = session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]
    with torch.no_grad():
        original = model.eval()(torch.from_numpy(images.copy())).numpy()
    difference = float(np.abs(exported - original).max())
    changed = int((exported.argmax(1) != original.argmax(1)).sum())
    if difference > _PARITY_TOLERANCE or changed:
        raise ZooError(
            f"the exported model differs from the trained one: largest logit difference {difference:.2e}, "
            f"{changed} of {len(images)} predictions changed",
            hint="Do not publish it; report the torch, onnx and onnxruntime versions.",
            reason="EXPORT_PARITY",
        )
    return difference


def _remove_debugging_notes(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    holders: tuple[Any, ...] = (
        proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer,
    )  # fmt: skip
    for holder in holders:
        del holder.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    del proto.functions[:]


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter prints its steps and warns of its own internals; neither is for the operator."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
