"""Which of ONNX Runtime's execution providers runs a model, and whether it is the one that was meant.

A build with CUDA falls back to the CPU by itself where driver or libraries do not fit, so what was asked for says
nothing: what a session answers to ``get_providers()`` counts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from seedzoo.errors import ZooError
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.settings import Provider

__all__ = ["CPU", "CUDA", "checked", "wanted"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_log = logging.getLogger(__name__)


def wanted(provider: Provider) -> list[str]:
    """Providers to open a session with, the preferred one first.

    Raises:
        ZooError: CUDA is demanded and this ONNX Runtime was built without it.
    """
    if provider == "cpu":
        return [CPU]
    if CUDA in onnxruntime.get_available_providers():
        return [CUDA, CPU]
    if provider == "cuda":
        raise ZooError(
            f"CUDA was demanded, and this onnxruntime {onnxruntime.__version__} is built without it",
            hint="Install seedzoo[server-gpu] instead of seedzoo[server], or allow the CPU with provider auto.",
            reason="CUDA_NOT_ACTIVE",
        )
    return [CPU]


def checked(provider: Provider, meant: Sequence[str], active: Sequence[str]) -> str:
    """What to say of a session that was opened: the provider that runs it, and that CUDA failed where it did.

    Args:
        provider: As set.
        meant: What the session was opened with.
        active: What it says it has, first the one that runs.

    Raises:
        ZooError: CUDA is demanded and not active.
    """
    if meant[0] == active[0]:
        return active[0]
    if provider == "cuda":
        raise ZooError(
            f"CUDA was demanded, but ONNX Runtime fell back to {active[0]}",
            hint="Check the driver and the CUDA and cuDNN versions (nvidia-smi), or allow the CPU with provider auto.",
            reason="CUDA_NOT_ACTIVE",
        )
    _log.warning("%s could not be used; ONNX Runtime fell back to %s", meant[0], active[0])
    return f"{active[0]} ({meant[0]} could not be used)"
