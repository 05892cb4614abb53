"""Torch model to a self-describing ONNX file, checked against torch before anybody sees it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import itertools
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from seedzoo.errors import ZooError
from seedzoo.inference.runtime import onnxruntime
from seedzoo.records import Task
from seedzoo.training.finished import LICENCE_KEY

__all__ = ["INPUT_NAME", "LARGEST_MODEL", "OPSET", "OUTPUT_NAME", "check_parity", "export_onnx"]

OPSET = 18
INPUT_NAME = "images"
OUTPUT_NAME = "logits"
LARGEST_MODEL = 2**31 - 1
"""Bytes that a protobuf message, and so an ONNX file without a second one beside it, may have."""
# The graph itself, next to its weights.
_ROOM = 1 << 24
# Float32 sums in another order: errors grow with the depth and with the logits' size.
_ABSOLUTE, _RELATIVE = 1e-4, 1e-4
_BATCH = 32
_STANDARD = frozenset({"", "ai.onnx"})


def export_onnx(
    model: nn.Module,
    *,
    task: Task,
    family: str,
    tag: str,
    seeds: Mapping[str, int],
    factors: Mapping[str, str] | None = None,
    licence: str = "",
) -> bytes:
    """The model as ONNX bytes: uint8 ``images [batch, H, W, C]`` in, float32 ``logits [batch, classes]`` out.

    Normalisation is inside the graph and the batch axis is dynamic. The metadata say all that a user who has nothing
    but the file needs: classes, how to decode and resize, seeds, licence; nothing of a release, so the same variant
    is the same file in every release. The exporter's debugging notes (source paths, stack traces) are removed, so the
    same weights give the same bytes wherever they are exported.

    Args:
        model: Takes uint8 images, from any device, in any precision, compiled or not; it is left as it is.
        task: Classes and preprocessing.
        family: The family's name.
        tag: The variant's tag.
        seeds: Seed of each random stream.
        factors: Level of each factor of a crossed design.
        licence: Of the weights, an SPDX identifier where there is one.

    Raises:
        ZooError: The exporter fails (EXPORT_FAILED), or the model is larger than one ONNX file may be
            (EXPORT_TOO_LARGE).
    """
    _check_size(model)
    shape = task.preprocessing
    example = torch.zeros(2, shape.height, shape.width, shape.channels, dtype=torch.uint8)
    proto = _exported(_plain(model), example)
    _remove_debugging_notes(proto)
    _check_domains(proto)
    onnx.helper.set_model_props(
        proto,
        {
            "seedzoo.family": family,
            "seedzoo.tag": tag,
            "seedzoo.seeds": json.dumps(dict(seeds), sort_keys=True),
            "seedzoo.factors": json.dumps(dict(factors or {}), sort_keys=True),
            "seedzoo.task": task.name,
            "seedzoo.classes": json.dumps(list(task.classes)),
            LICENCE_KEY: licence,
            "seedzoo.preprocessing": json.dumps(
                {
                    **dataclasses.asdict(shape),
                    "layout": "NHWC",
                    "dtype": "uint8",
                    "colour": "RGB" if shape.channels == 3 else "grey",
                    "orientation": "upright as EXIF says",
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

    Both compute in float32 on the CPU. The first image goes alone and the others in batches, so a batch axis that is
    not dynamic shows.

    Raises:
        ZooError: It exceeds 1e-4 + 1e-4 x the largest logit of torch, or a predicted class differs where its lead is
            larger than that.
    """
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    plain = _plain(model)
    bounds = [0, *range(1, len(images), _BATCH), len(images)]
    difference, changed, tolerance = 0.0, 0, _ABSOLUTE
    for start, stop in itertools.pairwise(bounds):
        part = images[start:stop]
        exported = session.run([OUTPUT_NAME], {INPUT_NAME: part})[0]
        with torch.no_grad():
            original = plain(torch.from_numpy(part.copy())).numpy()
        tolerance = max(tolerance, _ABSOLUTE + _RELATIVE * float(np.abs(original).max()))
        # NaN compares false with everything: whatever is not clearly near counts as far.
        distance = np.abs(exported - original)
        difference = max(difference, float(distance.max()) if np.isfinite(distance).all() else float("inf"))
        rows, chosen = np.arange(len(part)), exported.argmax(axis=1)
        lead = original.max(axis=1) - original[rows, chosen]
        changed += int((lead > 2 * tolerance).sum())
    if difference > tolerance or changed:
        raise ZooError(
            f"the exported model differs from the trained one: largest logit difference {difference:.2e} "
            f"(allowed {tolerance:.2e}), {changed} of {len(images)} predictions changed",
            hint="Do not publish it; report the torch, onnx and onnxruntime versions.",
            reason="EXPORT_PARITY",
        )
    return difference


def _plain(model: nn.Module) -> nn.Module:
    """A copy as it is exported: not compiled, on the CPU, in float32, contiguous, in evaluation mode."""
    original = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    plain = copy.deepcopy(original).to(device="cpu", dtype=torch.float32).eval()
    for tensor in (*plain.parameters(), *plain.buffers()):
        # Not contiguous(), which keeps the strides of channels_last where a size of 1 leaves the choice.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    plain.requires_grad_(False)
    return plain


def _check_size(model: nn.Module) -> None:
    # Counted in float32, in which everything is exported.
    size = 4 * sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if size > LARGEST_MODEL - _ROOM:
        raise ZooError(
            f"the model has {size / 2**30:.1f} GiB of weights in float32; one ONNX file holds less than 2 GiB",
            hint="Choose a smaller architecture: model files are whole, without weights in a second file.",
            reason="EXPORT_TOO_LARGE",
        )


def _exported(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            # Its errors have a page of advice to the exporter's developers; the first line says what happened.
            cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise ZooError(
                f"the model cannot be exported to ONNX: {cause[0]}",
                hint="Usually the architecture decides on values or fixes the batch size; choose another one.",
                reason="EXPORT_FAILED",
            ) from error
        if program is None:
            raise ZooError("the ONNX exporter returned nothing", reason="EXPORT_FAILED")
        onnx.save(program.model_proto, buffer)
    return onnx.load_from_string(buffer.getvalue())


def _check_domains(proto: onnx.ModelProto) -> None:
    foreign = sorted({node.domain for node in proto.graph.node} - _STANDARD)
    opset = {entry.version for entry in proto.opset_import if entry.domain in _STANDARD}
    if foreign or opset != {OPSET}:
        raise ZooError(
            f"the exporter wrote opset {sorted(opset)} and operators of {foreign or 'the standard'} instead of the "
            f"standard's opset {OPSET}",
            hint="Report the architecture and the versions of torch and onnxscript.",
            reason="EXPORT_FAILED",
        )
    kept = [entry for entry in proto.opset_import if entry.domain in _STANDARD]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)


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
