"""ONNX Runtime, told to send nothing anywhere before it is loaded: some of its builds report their use by default."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
