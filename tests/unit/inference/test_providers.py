"""Where models run: decided by what ONNX Runtime says is active, not by what was asked for."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from seedzoo.catalog.bundle import open_bundle
from seedzoo.errors import ZooError
from seedzoo.inference import Evaluator
from seedzoo.inference.providers import CPU, CUDA, checked, wanted
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.session import Model
from seedzoo.inference.settings import Provider
from seedzoo.starter import starter_bundle

BUNDLE = open_bundle(starter_bundle())


def raw() -> bytes:
    return next(
        (BUNDLE.folder / variant.model.path).read_bytes() for variant in BUNDLE.family.variants if variant.model
    )


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this build has CUDA")
def test_the_cpu_build_says_so_when_cuda_is_demanded() -> None:
    with pytest.raises(ZooError, match=r"CUDA was demanded, and this onnxruntime .* is built without it") as failed:
        Model(raw(), name="m", provider="cuda")
    assert failed.value.reason == "CUDA_NOT_ACTIVE"
    assert "seedzoo[server-gpu]" in failed.value.hint
    assert Model(raw(), name="m", provider="auto").provider == CPU


@pytest.mark.parametrize(
    ("provider", "built", "meant"),
    [
        ("auto", [CPU], [CPU]),
        ("auto", ["TensorrtExecutionProvider", CUDA, CPU], [CUDA, CPU]),
        ("cuda", [CUDA, CPU], [CUDA, CPU]),
        ("cpu", [CUDA, CPU], [CPU]),
    ],
)
def test_what_is_tried(monkeypatch: pytest.MonkeyPatch, provider: Provider, built: list[str], meant: list[str]) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    assert wanted(provider) == meant


def test_a_fall_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert checked("auto", [CUDA, CPU], [CUDA, CPU]) == CUDA
    assert checked("cpu", [CPU], [CPU]) == CPU
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert checked("auto", [CUDA, CPU], [CPU]) == f"{CPU} ({CUDA} could not be used)"
    assert "fell back" in caplog.text
    with pytest.raises(ZooError, match="fell back to CPUExecutionProvider") as failed:
        checked("cuda", [CUDA, CPU], [CPU])
    assert failed.value.reason == "CUDA_NOT_ACTIVE"


def test_the_evaluator_knows_what_ran() -> None:
    with Evaluator([lambda: Model(raw(), name="m", provider="auto")]) as evaluator:
        assert evaluator.provider == ""
        evaluator.run(np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.int64))
        assert evaluator.provider == CPU
