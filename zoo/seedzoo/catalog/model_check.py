"""Whether a model file may be published: a sound ONNX graph of standard operators, whole in one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seedzoo.errors import DataError
from seedzoo.inference.session import Model

__all__ = ["LARGEST_MODEL", "check_model"]

LARGEST_MODEL = (2 << 30) - 1
"""Bytes; a protobuf message, which an ONNX file is, cannot be larger."""
_OLDEST_OPSET = 13
"""The first with quantisation per channel."""
_STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear"})
_MICROSOFT = "com.microsoft"


def check_model(path: Path, *, name: str) -> Model:
    """Read a model file and check it, before anything runs it.

    Args:
        path: The ONNX file.
        name: What to call it in errors.

    Returns:
        The model, ready to run.

    Raises:
        DataError: It is too large, no sound ONNX model, refers to other files, or uses operators that not every ONNX
            runtime has.
    """
    # Reading a release needs no onnx, publishing one does; a missing package is told by the command line.
    import onnx  # noqa: PLC0415

    size = path.stat().st_size
    if size > LARGEST_MODEL:
        raise _refused(f"{path} has {size:,} bytes, a model may have {LARGEST_MODEL:,}")
    raw = path.read_bytes()
    try:
        proto = onnx.load_model_from_string(raw)
    except Exception as error:
        raise _refused(f"{path} is no ONNX file: {error}") from error
    # Before the checker and the runtime, which would open the files that it names.
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise _refused(f"{path} keeps the tensor {tensor.name!r} in another file")
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    opset = max(opsets.get("", 0), opsets.get("ai.onnx", 0))
    if opset < _OLDEST_OPSET:
        raise _refused(f"{path} uses opset {opset}, at least {_OLDEST_OPSET} is needed")
    own = {function.domain for function in proto.functions}
    for node in _nodes(proto):
        quantises = node.domain == _MICROSOFT and node.op_type in _QUANTISED
        if node.domain not in _STANDARD | own and not quantises:
            raise _refused(f"{path} uses the operator {node.domain}.{node.op_type}, which is not in the ONNX standard")
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        raise _refused(f"{path} is no sound ONNX model: {error}") from error
    return Model(raw, name=name)


def _refused(message: str) -> DataError:
    return DataError(
        message,
        hint="Export it as one file with the standard operators, as zoo build does.",
        reason="MODEL_INVALID",
    )


def _nodes(proto: Any) -> Iterator[Any]:
    """Every node, in subgraphs and functions too."""
    yield from _inner(proto.graph.node)
    for function in proto.functions:
        yield from _inner(function.node)


def _inner(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _inner(graph.node)


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor: weights, constants and attributes, in subgraphs and functions too."""
    yield from _stored(proto.graph)
    for node in _nodes(proto):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield from _sparse(attribute.sparse_tensor)
            for sparse in attribute.sparse_tensors:
                yield from _sparse(sparse)
            for graph in (attribute.g, *attribute.graphs):
                yield from _stored(graph)


def _stored(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _sparse(sparse)


def _sparse(tensor: Any) -> Iterator[Any]:
    yield tensor.values
    yield tensor.indices
