"""Random changes to training images, each drawn from the ``augment`` seed and nothing else.

Two ways: a batch in memory at once from one generator (flips and shifts), or image by image with timm's transforms.
Those draw from the global generators of Python, numpy and torch, so these are seeded for each image from (seed, epoch,
row) and put back afterwards: any number of loader processes gives the same pixels, and no other stream moves.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from seedzoo.errors import RecipeError
from seedzoo.records import Preprocessing
from seedzoo.training.recipe import AugmentSection, MixupSection

from seedzoo.training import models  # noqa: F401  # isort: skip  (the cure for timm's import)
from timm.data.mixup import Mixup  # isort: skip
from timm.data.random_erasing import RandomErasing  # isort: skip
from timm.data.transforms_factory import transforms_imagenet_train  # isort: skip

__all__ = ["ImageTransform", "batch_mixup", "drawn_from", "flipped_and_shifted", "image_transform"]

ImageTransform = Callable[[Image.Image], NDArray[np.uint8]]


@contextlib.contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch (CPU) from ``key``, and put them back at the end."""
    python, legacy, native = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002  (timm draws from it)
    torch.default_generator.manual_seed(int(words[2]) << 32 | int(words[3]))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(native)


def flipped_and_shifted(batch: torch.Tensor, section: AugmentSection, generator: torch.Generator) -> torch.Tensor:
    """Flips and shifts of a batch ``[batch, H, W, C]`` in memory; what a shift uncovers is 0."""
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


def image_transform(
    section: AugmentSection,
    preprocessing: Preprocessing,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> ImageTransform:
    """The training transforms of timm as the recipe wants them.

    Args:
        section: What is wanted.
        preprocessing: Size and channels of the result.
        mean: Of each channel on the scale 0..1; what autoaugmentation and erasing fill with.
        std: The same for the spread, which scales the noise of erasing.

    Returns:
        A function from an upright image (of any size where there is a random crop, else of the task's) to uint8
        ``[height, width, channels]``. It draws from global generators: call it inside :func:`drawn_from`.

    Raises:
        RecipeError: timm does not know the policy, or it does not work on images of one channel.
    """
    size = (preprocessing.height, preprocessing.width)
    options: dict[str, Any] = {
        "color_jitter": section.color_jitter or None,
        "ratio": section.crop_ratio,
        "scale": section.crop_scale or None,
    }
    try:
        composed = transforms_imagenet_train(
            img_size=size,
            hflip=section.flip,
            vflip=section.vertical_flip,
            auto_augment=section.auto_augment or None,
            force_color_jitter=True,
            interpolation=section.interpolation,
            mean=mean,
            std=std,
            normalize=False,
            **options,
        )
    except (AssertionError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _bad_policy(section, str(error) or "its description cannot be read") from error
    steps = composed.transforms[0 if section.crop_scale else 1 :]
    transform = _Transform(
        steps=tuple(steps),
        erase=_eraser(section),
        centre=torch.tensor(mean).reshape(-1, 1, 1) * 255,
        spread=torch.tensor(std).reshape(-1, 1, 1) * 255,
    )
    mode, channels = ("L", ()) if preprocessing.channels == 1 else ("RGB", (preprocessing.channels,))
    try:
        with drawn_from(0):
            for shade in range(
                8
            ):  # policies pick operations at random; the first image may not meet the one that fails
                transform(Image.fromarray(np.full((*size, *channels), 4 * shade, dtype=np.uint8), mode=mode))
    except (AssertionError, ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise _bad_policy(section, f"{error} (on images of {preprocessing.channels} channel(s))") from error
    return transform


@dataclass(frozen=True, eq=False)
class _Transform:
    """A class, not a closure: processes that load images are started anew and get it pickled."""

    steps: tuple[Callable[[Any], Any], ...]
    erase: Callable[[torch.Tensor], torch.Tensor] | None
    centre: torch.Tensor
    spread: torch.Tensor

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        changed: Any = image
        for step in self.steps:
            changed = step(changed)
        pixels = torch.as_tensor(changed)
        if self.erase is not None:  # it fills with 0 or unit noise, meant for standardised pixels
            standardised = self.erase((pixels - self.centre) / self.spread)
            pixels = (standardised * self.spread + self.centre).round().clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _eraser(section: AugmentSection) -> Callable[[torch.Tensor], torch.Tensor] | None:
    if not section.erase:
        return None
    eraser: Callable[[torch.Tensor], torch.Tensor] = RandomErasing(  # type: ignore[no-untyped-call]
        section.erase, mode=section.erase_mode, device="cpu"
    )
    return eraser


def _bad_policy(section: AugmentSection, why: str) -> RecipeError:
    return RecipeError(
        f"training.augment with auto_augment = {section.auto_augment!r} does not work: {why}",
        hint="Policies that timm knows: rand-m9-mstd0.5-inc1, original, v0, 3a, augmix-m3-w3; they want colour images.",
        field="training.augment.auto_augment",
    )


def batch_mixup(section: MixupSection, *, classes: int, label_smoothing: float) -> Mixup | None:
    """Mixup as timm does it, if the recipe wants any; for ``[batch, C, H, W]`` inside :func:`drawn_from`."""
    if not section.active:
        return None
    return Mixup(  # type: ignore[no-untyped-call]
        mixup_alpha=section.mixup_alpha,
        cutmix_alpha=section.cutmix_alpha,
        prob=section.prob,
        switch_prob=section.switch_prob,
        mode=section.mode,
        label_smoothing=label_smoothing,
        num_classes=classes,
    )
