"""Batches of training images in the order of the ``order`` stream: sliced from memory, or prepared image by image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from seedzoo.errors import DataError, RecipeError, ZooError
from seedzoo.inference.decode import decode_upright
from seedzoo.inference.sources import ArrayImages, FileImages, ImageSource
from seedzoo.training.augmentation import ImageTransform, drawn_from, flipped_and_shifted, image_transform
from seedzoo.training.data import ImageData
from seedzoo.training.normalisation import Normalisation
from seedzoo.training.recipe import AugmentSection, TrainingSection

__all__ = ["Batch", "Feed", "make_feed"]

Batch = tuple[torch.Tensor, torch.Tensor]
"""Rows int64 ``[batch]`` in the training set, and their images uint8 ``[batch, H, W, C]``."""


class Feed(Protocol):
    """Where batches come from."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """All whole batches of one epoch; epochs are asked for in turn."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """The generators between two epochs."""
        ...

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on where :meth:`state` was taken."""
        ...


def make_feed(
    training: TrainingSection,
    data: ImageData,
    seeds: dict[str, int],
    normalisation: Normalisation,
    *,
    pin: bool = False,
) -> Feed:
    """The feed that fits the data and the augmentation.

    Raises:
        RecipeError: There are fewer examples than a batch, or the augmentation does not fit the data.
    """
    source, augment = data.train, training.augment
    if len(source.labels) < training.batch_size:
        raise RecipeError(
            f"training.batch_size = {training.batch_size} is more than the {len(source.labels)} training examples",
            field="training.batch_size",
        )
    if isinstance(source, ArrayImages) and not augment.uses_timm:
        return _InMemory(source, training.batch_size, augment, seeds)
    if augment.shift:
        raise RecipeError(
            "training.augment.shift needs the images in memory",
            hint="Set data.in_memory = true, or use training.augment.crop_scale.",
            field="training.augment.shift",
        )
    transform = None
    if augment.active:
        mean, std = ((part.flatten() / 255).tolist() for part in (normalisation.mean, normalisation.std))
        transform = image_transform(augment, data.preprocessing, mean=tuple(mean), std=tuple(std))
    images = _Images(source, transform, seed=seeds["augment"], crops=bool(augment.crop_scale))
    return _Loaded(images, training.batch_size, seeds["order"], workers=training.loader_workers, pin=pin)


class _InMemory:
    def __init__(self, source: ArrayImages, batch_size: int, augment: AugmentSection, seeds: dict[str, int]) -> None:
        self._images = torch.from_numpy(source.read(range(len(source.labels))))
        self._batch_size = batch_size
        self._augment = augment
        self._order = torch.Generator().manual_seed(seeds["order"])
        self._draws = torch.Generator().manual_seed(seeds["augment"])

    def epoch(self, number: int) -> Iterator[Batch]:  # noqa: ARG002  (its generators run through all epochs)
        for rows in _whole_batches(len(self._images), self._batch_size, self._order):
            yield rows, flipped_and_shifted(self._images[rows], self._augment, self._draws)

    def state(self) -> dict[str, torch.Tensor]:
        return {"order": self._order.get_state(), "augment": self._draws.get_state()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self._order.set_state(state["order"])
        self._draws.set_state(state["augment"])


class _Loaded:
    def __init__(self, images: _Images, batch_size: int, order: int, *, workers: int, pin: bool) -> None:
        self._images = images
        self._batch_size = batch_size
        self._order = torch.Generator().manual_seed(order)
        self._plan: list[list[tuple[int, int]]] = []
        self._loader: DataLoader[Any] = DataLoader(
            images,
            batch_sampler=_Plan(self._plan),
            num_workers=workers,
            collate_fn=_stacked,
            pin_memory=pin,
            persistent_workers=workers > 0,
            # Each pass draws a seed for its workers; without a generator of its own it would take it from the dropout
            # stream.
            generator=torch.Generator().manual_seed(0),
        )

    def epoch(self, number: int) -> Iterator[Batch]:
        batches = _whole_batches(len(self._images), self._batch_size, self._order)
        self._plan[:] = [[(number, row) for row in rows.tolist()] for rows in batches]
        plan = list(self._plan)
        for keys, images in zip(plan, self._loader, strict=True):
            if isinstance(images, ZooError):
                raise images
            yield torch.tensor([row for _, row in keys]), images

    def state(self) -> dict[str, torch.Tensor]:
        return {"order": self._order.get_state()}  # an image's changes depend on epoch and row alone

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self._order.set_state(state["order"])


class _Plan:
    """The batches of the epoch to come; the loader asks for them anew at each pass."""

    def __init__(self, plan: list[list[tuple[int, int]]]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._plan)

    def __len__(self) -> int:
        return len(self._plan)


class _Images(Dataset[NDArray[np.uint8] | ZooError]):
    """(epoch, row) -> the image as it is shown in that epoch."""

    def __init__(self, source: ImageSource, transform: ImageTransform | None, *, seed: int, crops: bool) -> None:
        self._source = source
        self._transform = transform
        self._seed = seed
        self._crops = crops

    def __len__(self) -> int:
        return len(self._source.labels)

    def __getitem__(self, key: tuple[int, int]) -> NDArray[np.uint8] | ZooError:
        epoch, row = key
        try:
            if self._transform is None:
                pixels: NDArray[np.uint8] = self._source.read([row])[0]
                return pixels
            image = self._original(row)
        except ZooError as error:
            return error  # the loader would bury it in a worker's traceback
        with drawn_from(self._seed, epoch, row):
            return self._transform(image)

    def _original(self, row: int) -> Image.Image:
        """The image that transforms start from: for a random crop the whole file, else as the task takes it."""
        source = self._source
        if self._crops and isinstance(source, FileImages):
            raw = source.raw(row)
            try:
                return decode_upright(raw, channels=source.preprocessing.channels, border=source.border)
            except DataError as error:
                raise DataError(
                    f"{source.paths[row]}: {error.message}", hint=error.hint, reason=error.reason
                ) from error
        pixels = source.read([row])[0]
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _stacked(images: list[NDArray[np.uint8] | ZooError]) -> torch.Tensor | ZooError:
    for image in images:
        if isinstance(image, ZooError):
            return image
    return torch.from_numpy(np.stack([image for image in images if not isinstance(image, ZooError)]))


def _whole_batches(count: int, batch_size: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    permutation = torch.randperm(count, generator=order)
    for step in range(count // batch_size):
        yield permutation[step * batch_size : (step + 1) * batch_size]
