"""Architectures by timm's name; our own small ones are registered with timm and named like any other."""

from __future__ import annotations

import difflib
import inspect
import re
from typing import Any

from seedzoo.training.torchvision_ops import define_missing_ops

define_missing_ops()

import timm  # noqa: E402  (after the cure above)
import torch  # noqa: E402
from timm.models import register_model  # noqa: E402
from torch import nn  # noqa: E402

from seedzoo.errors import RecipeError  # noqa: E402
from seedzoo.training.messages import first_line  # noqa: E402

__all__ = ["SmallCNN", "create_model"]


class SmallCNN(nn.Module):
    """Four convolutions (3x3, 5x5, 3x3, 3x3) with batch norm and three poolings, then a linear head.

    About 74,000 parameters for 28 x 28 images of one channel in ten classes; input ``[batch, in_chans, H, W]`` with
    H = W = ``img_size`` >= 8. The head sees where features are (no global pooling): worth 1.5 points here.
    """

    def __init__(self, *, in_chans: int = 1, num_classes: int = 10, drop_rate: float = 0.2, img_size: int = 28) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            *_block(in_chans, 16, 3),
            nn.MaxPool2d(2),
            *_block(16, 32, 5),
            nn.MaxPool2d(2),
            *_block(32, 64, 3),
            *_block(64, 64, 3),
            nn.MaxPool2d(2),
        )
        self.dropout = nn.Dropout(drop_rate)
        self.head = nn.Linear(64 * (img_size // 8) ** 2, num_classes)

    def get_classifier(self) -> nn.Module:
        """The head, as timm's models give theirs."""
        return self.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, num_classes]``."""
        found = self.features(images).flatten(1)
        logits: torch.Tensor = self.head(self.dropout(found))
        return logits


def _block(channels_in: int, channels_out: int, kernel: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


@register_model
def seedzoo_cnn_small(pretrained: bool = False, **kwargs: Any) -> SmallCNN:
    """The starter family's architecture; there are no pretrained weights."""
    if pretrained:
        raise RecipeError("seedzoo_cnn_small has no pretrained weights", hint="Set pretrained = false.")
    for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(unused, None)
    return SmallCNN(**kwargs)


def create_model(architecture: str, kwargs: dict[str, Any]) -> nn.Module:
    """A model of any architecture that timm knows, ours included.

    Raises:
        RecipeError: timm does not know the architecture or it does not take these arguments.
    """
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        raise RecipeError(
            f"model.architecture {architecture!r} is not known to timm {timm.__version__}",
            hint=f"Near names: {', '.join(near)}." if near else "timm.list_models() lists all names.",
            field="model.architecture",
        )
    try:
        model: nn.Module = timm.create_model(architecture, **kwargs)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, LookupError) as error:
        # timm's constructors check little: a wrong value fails wherever it is first used.
        raise RecipeError(
            f"model.kwargs do not fit {architecture}: {first_line(error)}",
            hint=_nearest_argument(architecture, str(error)),
            field="model.kwargs",
        ) from error
    return model


def _nearest_argument(architecture: str, message: str) -> str:
    found = re.search(r"unexpected keyword argument '(\w+)'", message)
    if not found:
        return ""
    known = list(inspect.signature(type(timm.create_model(architecture)).__init__).parameters)[1:]
    near = difflib.get_close_matches(found[1], known, n=1)
    return f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}."
