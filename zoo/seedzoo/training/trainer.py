"""Train one variant: one process, one thread, every random draw from a named stream."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from seedzoo.errors import RecipeError
from seedzoo.training.data import ImageData
from seedzoo.training.models import create_model
from seedzoo.training.recipe import AugmentSection, Recipe

__all__ = ["Normalisation", "normalisation_of", "train_variant"]


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


def normalisation_of(data: ImageData) -> Normalisation:
    """Per-channel mean and standard deviation of the training images, the same for the whole family."""
    pixels = data.train_images.astype(np.float64)
    mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
    return Normalisation(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))


def train_variant(recipe: Recipe, data: ImageData, seeds: dict[str, int]) -> nn.Module:
    """Train one variant from its seeds.

    The global generator serves initialisation and then dropout, each freshly seeded; example order and augmentation
    have generators of their own. So changing one seed changes only what that stream decides.

    Returns:
        The model in evaluation mode: uint8-valued ``[batch, H, W, C]`` in, logits ``[batch, classes]`` out.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seeds["init"])
    network = create_model(recipe.model.architecture, recipe.model.kwargs)
    model = nn.Sequential(normalisation_of(data), network)
    _check_output(model, data)

    settings = recipe.training
    images, labels = torch.from_numpy(data.train_images.copy()), torch.from_numpy(data.train_labels)
    optimizer = _optimizer(network, recipe)
    steps = len(labels) // settings.batch_size
    if steps == 0:
        raise RecipeError(
            f"training.batch_size = {settings.batch_size} is more than the {len(labels)} training examples",
            field="training.batch_size",
        )
    scheduler = (
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=settings.lr, total_steps=steps * settings.epochs)
        if settings.schedule == "onecycle"
        else None
    )
    order = torch.Generator().manual_seed(seeds["order"])
    augment = torch.Generator().manual_seed(seeds["augment"])
    loss_function = nn.CrossEntropyLoss()
    autocast = settings.precision == "bf16"
    model.train()
    torch.manual_seed(seeds["dropout"])
    for _ in range(settings.epochs):
        permutation = torch.randperm(len(labels), generator=order)
        for step in range(steps):
            picked = permutation[step * settings.batch_size : (step + 1) * settings.batch_size]
            batch = _augmented(images[picked], settings.augment, augment)
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                loss = loss_function(model(batch), labels[picked])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return model.eval()


def _check_output(model: nn.Module, data: ImageData) -> None:
    try:
        with torch.no_grad():
            shape = tuple(model.eval()(torch.from_numpy(data.train_images[:2].copy())).shape)
    except RuntimeError as error:
        raise RecipeError(
            f"the model does not take images {data.train_images.shape[1:]} (height, width, channels): "
            f"{str(error).splitlines()[0]}",
            hint="Check model.kwargs, for example in_chans.",
            field="model.kwargs",
        ) from error
    if shape != (2, len(data.classes)):
        raise RecipeError(
            f"the model gives outputs {shape[1:]}, but the data have {len(data.classes)} classes",
            hint=f"Set num_classes = {len(data.classes)} in model.kwargs.",
            field="model.kwargs",
        )


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]  # noqa: PLC0415  (needs the cure that models applies)

    settings = recipe.training
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            network, opt=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay
        )
    except (AssertionError, ValueError) as error:
        raise RecipeError(
            f"training.optimizer {settings.optimizer!r} is not known to timm: {error}", field="training.optimizer"
        ) from error
    return optimizer


def _augmented(batch: torch.Tensor, section: AugmentSection, generator: torch.Generator) -> torch.Tensor:
    if not section.active:
        return batch
    flips = torch.rand(len(batch), generator=generator) < section.flip
    reach = section.shift
    moves = torch.randint(-reach, reach + 1, (len(batch), 2), generator=generator) if reach else None
    result = torch.where(flips[:, None, None, None], batch.flip(2), batch)
    if moves is None:
        return result
    height, width = batch.shape[1:3]
    padded = nn.functional.pad(result, (0, 0, reach, reach, reach, reach))
    rows = torch.arange(height)[None, :] + reach + moves[:, :1]
    columns = torch.arange(width)[None, :] + reach + moves[:, 1:]
    return padded[torch.arange(len(batch))[:, None, None], rows[:, :, None], columns[:, None, :]]
