"""What may be published as a model: one file, sound, of standard operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seedzoo.catalog.bundle import model_path
from seedzoo.catalog.model_check import LARGEST_MODEL, check_model
from seedzoo.errors import DataError
from seedzoo.starter import starter_bundle


def classifier(
    *,
    nodes: list[onnx.NodeProto] | None = None,
    opset: int = 18,
    more: tuple[onnx.OperatorSetIdProto, ...] = (),
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    """From uint8 images of 2 x 2 x 1 to two logits; ``nodes`` stand between the flat floats and the last product."""
    weights = numpy_helper.from_array(np.ones((4, 2), dtype=np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            *(nodes or [helper.make_node("Identity", ["flat"], ["inner"])]),
            helper.make_node("MatMul", ["inner", "weights"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 2, 2, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [weights],
    )
    imports = [helper.make_opsetid("", opset), *more]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


MICROSOFT = helper.make_opsetid("com.microsoft", 1)
CUSTOM = helper.make_opsetid("acme.secret", 1)


def in_a_branch(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node inside both branches of an If."""
    branch = helper.make_graph(
        [node], "branch", [], [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)]
    )
    return helper.make_node("If", ["yes"], ["inner"], then_branch=branch, else_branch=branch)


def test_sound_models_run(tmp_path: Path) -> None:
    logits = check_model(written(tmp_path, classifier()), name="made").logits(np.full((3, 2, 2, 1), 2, np.uint8))
    assert logits.tolist() == [[8.0, 8.0]] * 3
    starter = check_model(starter_bundle() / model_path("s000"), name="starter")
    assert len(starter.classes) == 10


def test_quantised_operators_of_microsoft_and_functions_of_its_own_are_let_through(tmp_path: Path) -> None:
    scale = helper.make_node("Constant", [], ["scale"], value_float=1.0)
    zero = helper.make_node(
        "Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, dtype=np.uint16), "zero")
    )
    rounded = [
        scale,
        zero,
        helper.make_node("QuantizeLinear", ["flat", "scale", "zero"], ["q"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["inner"], domain="com.microsoft"),
    ]
    images = np.full((1, 2, 2, 1), 3, np.uint8)
    model = check_model(written(tmp_path, classifier(nodes=rounded, more=(MICROSOFT,))), name="qdq")
    assert model.logits(images).tolist() == [[12.0, 12.0]]
    twice = helper.make_function(
        "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    call = [helper.make_node("Twice", ["flat"], ["inner"], domain="own")]
    own = classifier(nodes=call, more=(helper.make_opsetid("own", 1),), functions=(twice,))
    assert check_model(written(tmp_path, own), name="own").logits(images).tolist() == [[24.0, 24.0]]


def custom_operator() -> onnx.ModelProto:
    return classifier(nodes=[helper.make_node("Secret", ["flat"], ["inner"], domain="acme.secret")], more=(CUSTOM,))


def custom_operator_in_a_branch() -> onnx.ModelProto:
    hidden = in_a_branch(helper.make_node("Secret", ["flat"], ["hidden"], domain="acme.secret"))
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True), "yes"))
    return classifier(nodes=[yes, hidden], more=(CUSTOM,))


def custom_operator_in_a_function() -> onnx.ModelProto:
    node = helper.make_node("Secret", ["x"], ["y"], domain="acme.secret")
    function = helper.make_function("own", "Wrap", ["x"], ["y"], [node], [CUSTOM])
    call = [helper.make_node("Wrap", ["flat"], ["inner"], domain="own")]
    return classifier(nodes=call, more=(helper.make_opsetid("own", 1),), functions=(function,))


def fused_operator() -> onnx.ModelProto:
    nodes = [helper.make_node("Gelu", ["flat"], ["inner"], domain="com.microsoft")]
    return classifier(nodes=nodes, more=(MICROSOFT,))


def external_weights() -> onnx.ModelProto:
    model = classifier()
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    return model


def external_constant() -> onnx.ModelProto:
    outside = helper.make_tensor("outside", TensorProto.FLOAT, [4], np.zeros(4, np.float32))
    outside.ClearField("float_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/hostname")
    constant = helper.make_node("Constant", [], ["c"], value=outside)
    return classifier(nodes=[constant, helper.make_node("Add", ["flat", "c"], ["inner"])])


def old_opset() -> onnx.ModelProto:
    return classifier(opset=12)


def unsound() -> onnx.ModelProto:
    return classifier(nodes=[helper.make_node("Identity", ["nowhere"], ["inner"])])


def floats_in() -> onnx.ModelProto:
    model = classifier()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return model


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (custom_operator, r"operator acme\.secret\.Secret"),
        (custom_operator_in_a_branch, r"operator acme\.secret\.Secret"),
        (custom_operator_in_a_function, r"operator acme\.secret\.Secret"),
        (fused_operator, r"operator com\.microsoft\.Gelu"),
        (external_weights, "keeps the tensor 'weights' in another file"),
        (external_constant, "keeps the tensor 'outside' in another file"),
        (old_opset, "uses opset 12, at least 13"),
        (unsound, "no sound ONNX model"),
        (floats_in, "does not take uint8 images"),
    ],
)
def test_other_models_are_refused(make: Callable[[], onnx.ModelProto], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as refused:
        check_model(written(tmp_path, make()), name="made")
    assert refused.value.reason == "MODEL_INVALID"


def test_rubbish_and_giants_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for rubbish in (b"", b"<html>not found</html>", b"\xff" * 100):
        path.write_bytes(rubbish)
        with pytest.raises(DataError, match=r"is no ONNX file|opset 0|no sound"):
            check_model(path, name="made")
    with path.open("wb") as file:
        file.truncate(LARGEST_MODEL + 1)  # a hole: takes no room on the disk
    with pytest.raises(DataError, match="a model may have 2,147,483,647"):
        check_model(path, name="made")
