"""Standardising the input: the first part of every model, so that what is exported takes plain uint8 images."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import nn

from seedzoo.errors import RecipeError
from seedzoo.inference.sources import ArrayImages, ImageSource
from seedzoo.training.data import ImageData
from seedzoo.training.recipe import TrainingSection

__all__ = ["Normalisation", "normalisation_of"]

_MOST_FILES = 5000
_BLOCK = 128
_measured: weakref.WeakKeyDictionary[ImageSource, Normalisation] = weakref.WeakKeyDictionary()


class Normalisation(nn.Module):
    """uint8-valued ``[batch, H, W, C]`` to standardised float ``[batch, C, H, W]``; part of the exported graph."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", std.reshape(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Standardise each channel by the training set's mean and standard deviation."""
        return (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std


def normalisation_of(data: ImageData, training: TrainingSection | None = None) -> Normalisation:
    """Per-channel mean and standard deviation on the scale 0..255, the same for the whole family.

    Those that the recipe gives; else those of the training images, of which at most 5,000 are read where they are files
    (always the same ones).

    Raises:
        RecipeError: The recipe gives them for another number of channels.
        DataError: An image cannot be read.
    """
    if training is not None and training.mean:
        channels = data.preprocessing.channels
        if len(training.mean) != channels:
            raise RecipeError(
                f"training.mean and std have {len(training.mean)} values, but the images {channels} channel(s)",
                field="training.mean",
            )
        return Normalisation(torch.tensor(training.mean) * 255, torch.tensor(training.std) * 255)
    if data.train not in _measured:
        _measured[data.train] = _measure(data.train)
    known = _measured[data.train]
    return Normalisation(known.mean.clone(), known.std.clone())


def _measure(source: ImageSource) -> Normalisation:
    count = len(source.labels)
    if isinstance(source, ArrayImages):
        pixels = source.read(range(count)).astype(np.float64)
        mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
    else:
        rows = np.sort(np.random.default_rng(0).permutation(count)[:_MOST_FILES])
        # uint8 sums are exact in int64, so blocks give what one array would.
        total, squares, pixels_seen = 0, 0, 0
        for start in range(0, len(rows), _BLOCK):
            block = source.read(rows[start : start + _BLOCK]).astype(np.int64)
            total = total + block.sum(axis=(0, 1, 2))
            squares = squares + (block * block).sum(axis=(0, 1, 2))
            pixels_seen += block.shape[0] * block.shape[1] * block.shape[2]
        mean = total / np.float64(pixels_seen)
        std = np.sqrt(squares / np.float64(pixels_seen) - mean * mean)
    # A channel without contrast says nothing; dividing by its zero would make every activation NaN.
    std = np.where(std > 0, std, 1.0)
    return Normalisation(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))
