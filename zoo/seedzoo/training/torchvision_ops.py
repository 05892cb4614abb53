"""Make ``import timm`` work beside a CPU build of torch.

timm imports torchvision, and torchvision registers fake kernels for its compiled operators on import. Where its
compiled library does not match the installed torch (a CPU torch beside the registry's CUDA torchvision), the operators
were never defined and the import stops with ``operator torchvision::nms does not exist``. Defining the two names that
it looks up first cures that; seedzoo calls neither of them.
"""

from __future__ import annotations

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_defined: list[torch.library.Library] = []


def define_missing_ops() -> None:
    """Define ``torchvision::nms`` and ``::qnms`` unless a matching torchvision already has; safe to call again."""
    if _defined or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _defined.append(library)  # the definitions live as long as the object
