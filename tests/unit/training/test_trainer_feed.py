"""Which images a variant sees, in which order and how changed: each decided by one stream alone."""

# ruff: noqa: E402, NPY002  (no import of torch where it is not installed; timm draws from numpy's global generator)

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")
pytestmark = pytest.mark.train

import torch
from PIL import Image

from seedzoo.errors import DataError, RecipeError
from seedzoo.inference.sources import ArrayImages, FileImages
from seedzoo.records import Preprocessing, TrainingData
from seedzoo.training.augmentation import batch_mixup, drawn_from, flipped_and_shifted, image_transform
from seedzoo.training.data import ImageData
from seedzoo.training.feed import make_feed
from seedzoo.training.normalisation import normalisation_of
from seedzoo.training.recipe import AugmentSection, MixupSection, TrainingSection

SEEDS = {"init": 1, "order": 2, "augment": 3, "dropout": 4}
COUNT, SIZE = 12, 16
EVERYTHING = AugmentSection(
    flip=0.5, vertical_flip=0.5, crop_scale=(0.3, 1.0), interpolation="random", color_jitter=0.4,
    auto_augment="rand-m9-mstd0.5", erase=0.5, erase_mode="pixel",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of different sizes, as from a camera."""
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for row in range(COUNT):
        pixels = rng.integers(0, 256, (20 + row, 40 - row, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made / f"{row:02d}.png")
    return made


def files(folder: Path) -> ImageData:
    shape = Preprocessing(height=SIZE, width=SIZE, channels=3, resize="shorter_side_center_crop")
    labels = np.arange(COUNT, dtype=np.int64) % 3
    source = FileImages(sorted(folder.iterdir()), labels, shape, root=folder)
    return as_data(source, shape)


def arrays(folder: Path) -> ImageData:
    data = files(folder)
    return as_data(ArrayImages(data.train.read(range(COUNT)), data.train.labels), data.preprocessing)


def as_data(source: ArrayImages | FileImages, shape: Preprocessing) -> ImageData:
    origin = TrainingData(name="made", train_examples=COUNT, held_out_examples=COUNT)
    return ImageData(source, source, source, ("a", "b", "c"), shape, origin)


def training(augment: AugmentSection, *, workers: int = 0) -> TrainingSection:
    return TrainingSection(epochs=2, batch_size=4, lr=0.1, augment=augment, loader_workers=workers)


def shown(
    data: ImageData, augment: AugmentSection, seeds: dict[str, int] = SEEDS, *, workers: int = 0, epochs: int = 2
) -> tuple[list[int], dict[tuple[int, int], np.ndarray]]:
    """The order of the rows, and what was shown of (epoch, row)."""
    feed = make_feed(training(augment, workers=workers), data, seeds, normalisation_of(data))
    order: list[int] = []
    images = {}
    for epoch in range(epochs):
        for rows, batch in feed.epoch(epoch):
            order += rows.tolist()
            assert batch.dtype == torch.uint8
            assert tuple(batch.shape) == (4, SIZE, SIZE, 3)
            images.update({(epoch, row): pixels for row, pixels in zip(rows.tolist(), batch.numpy(), strict=True)})
    return order, images


def same(first: dict[tuple[int, int], np.ndarray], second: dict[tuple[int, int], np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("kind", [files, arrays])
def test_order_and_augmentation_have_a_stream_each(kind: object, folder: Path) -> None:
    assert callable(kind)
    data = kind(folder)
    order, images = shown(data, EVERYTHING)
    assert sorted(order[:COUNT]) == sorted(order[COUNT:]) == list(range(COUNT))
    assert not same({k: v for k, v in images.items() if k[0] == 0}, {(0, r): v for (e, r), v in images.items() if e})

    again_order, again = shown(data, EVERYTHING)
    assert again_order == order
    assert same(again, images)

    other_order, unmoved = shown(data, EVERYTHING, {**SEEDS, "order": 9})
    assert other_order != order
    assert same(unmoved, images)  # an image is changed in the same way whenever its turn comes

    same_order, others = shown(data, EVERYTHING, {**SEEDS, "augment": 9})
    assert same_order == order
    assert not any(np.array_equal(others[key], images[key]) for key in images)

    for stream in ("init", "dropout"):
        assert same(shown(data, EVERYTHING, {**SEEDS, stream: 9})[1], images)


def test_loader_processes_change_no_pixel(folder: Path) -> None:
    alone, many = shown(files(folder), EVERYTHING), shown(files(folder), EVERYTHING, workers=2)
    assert alone[0] == many[0]
    assert same(alone[1], many[1])


@pytest.mark.parametrize("augment", [AugmentSection(), AugmentSection(flip=0.5, shift=1), EVERYTHING])
@pytest.mark.parametrize("kind", [files, arrays])
def test_the_feed_draws_nothing_from_the_global_generators(kind: object, augment: AugmentSection, folder: Path) -> None:
    assert callable(kind)
    if kind is files and augment.shift:
        augment = replace(augment, shift=0)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    shown(kind(folder), augment)
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()
    assert before[0] == after[0]
    assert np.array_equal(before[1][1], after[1][1])
    assert before[1][2] == after[1][2]
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize(("kind", "augment"), [(files, EVERYTHING), (arrays, AugmentSection(flip=0.5, shift=1))])
def test_a_feed_goes_on_where_its_state_was_taken(kind: object, augment: AugmentSection, folder: Path) -> None:
    assert callable(kind)
    data = kind(folder)
    first = make_feed(training(augment), data, SEEDS, normalisation_of(data))
    list(first.epoch(0))
    second = make_feed(training(augment), data, SEEDS, normalisation_of(data))
    second.restore(first.state())
    for (rows, batch), (other_rows, other) in zip(first.epoch(1), second.epoch(1), strict=True):
        assert torch.equal(rows, other_rows)
        assert torch.equal(batch, other)


def test_without_augmentation_files_and_arrays_show_the_same(folder: Path) -> None:
    first, second = shown(files(folder), AugmentSection()), shown(arrays(folder), AugmentSection())
    assert first[0] == second[0]
    assert same(first[1], second[1])


def test_random_crops_are_taken_from_the_whole_file(tmp_path: Path) -> None:
    # Left half black, right half white, 4 x 1: the task's own centre crop of it always holds both.
    for row in range(COUNT):
        pixels = np.zeros((32, 128, 3), dtype=np.uint8)
        pixels[:, 64:] = 255
        Image.fromarray(pixels).save(tmp_path / f"{row:02d}.png")
    _, images = shown(files(tmp_path), AugmentSection(crop_scale=(0.1, 0.2)))
    means = {key: float(image.mean()) for key, image in images.items()}
    assert 0.0 in means.values()
    assert 255.0 in means.values()


def test_an_unreadable_image_is_named_once(tmp_path: Path, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = files(tmp_path)
    normalisation = normalisation_of(data)
    (tmp_path / "07.png").write_bytes((folder / "07.png").read_bytes()[:100])
    for workers in (0, 1):
        feed = make_feed(training(EVERYTHING, workers=workers), data, SEEDS, normalisation)
        with pytest.raises(DataError) as caught:
            list(feed.epoch(0))
        assert "07.png" in caught.value.message
        assert "Traceback" not in caught.value.message
        assert caught.value.reason == "IMAGE_DAMAGED"


def test_shifts_want_images_in_memory(folder: Path) -> None:
    data = files(folder)
    with pytest.raises(RecipeError, match=r"training\.augment\.shift needs the images in memory"):
        make_feed(training(AugmentSection(shift=1)), data, SEEDS, normalisation_of(data))


def test_flips_and_shifts_by_hand() -> None:
    images = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 3, 3, 1)
    flipped = flipped_and_shifted(images, AugmentSection(flip=1.0), torch.Generator())
    assert flipped[0, :, :, 0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    seen = {
        str(
            flipped_and_shifted(images, AugmentSection(shift=1), torch.Generator().manual_seed(seed))[
                0, :, :, 0
            ].tolist()
        )
        for seed in range(200)
    }
    assert len(seen) == 9
    assert str([[5, 6, 0], [8, 9, 0], [0, 0, 0]]) in seen


def test_erasing_fills_with_the_mean() -> None:
    section = AugmentSection(erase=1.0)
    shape = Preprocessing(height=32, width=32, channels=3)
    transform = image_transform(section, shape, mean=(0.2, 0.4, 0.6), std=(0.1, 0.1, 0.1))
    image = Image.new("RGB", (32, 32), (255, 255, 255))
    with drawn_from(1):
        pixels = transform(image)
    erased = pixels[(pixels != 255).any(axis=2)]
    assert len(erased) > 0
    assert set(map(tuple, erased.tolist())) == {(51, 102, 153)}


@pytest.mark.parametrize("channels", [1, 3])
def test_unknown_policies_are_refused(channels: int) -> None:
    shape = Preprocessing(height=16, width=16, channels=channels)
    with pytest.raises(RecipeError, match="does not work"):
        image_transform(AugmentSection(auto_augment="rand-m9-z3"), shape, mean=(0.5,) * channels, std=(0.2,) * channels)


def test_mixup_mixes_labels_as_it_mixes_images() -> None:
    mixup = batch_mixup(MixupSection(mixup_alpha=1.0), classes=2, label_smoothing=0.0)
    assert mixup is not None
    with drawn_from(3, 1):
        images, labels = mixup(torch.tensor([0.0, 100.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1]))
    assert 0 < float(images[0]) < 100
    assert torch.allclose(images.flatten(), 100 * labels[:, 1])
    assert torch.allclose(labels.sum(dim=1), torch.ones(2))
    assert batch_mixup(MixupSection(), classes=2, label_smoothing=0.1) is None


def test_normalisation_of_files_is_that_of_their_pixels(folder: Path) -> None:
    by_files, by_arrays = normalisation_of(files(folder)), normalisation_of(arrays(folder))
    torch.testing.assert_close(by_files.mean, by_arrays.mean)
    torch.testing.assert_close(by_files.std, by_arrays.std)
    given = replace(training(AugmentSection()), mean=(0.5, 0.5, 0.5), std=(0.1, 0.2, 0.4))
    stated = normalisation_of(files(folder), given)
    torch.testing.assert_close(stated.std.flatten(), torch.tensor([25.5, 51.0, 102.0]))
    with pytest.raises(RecipeError, match="1 values"):
        normalisation_of(files(folder), replace(given, mean=(0.5,), std=(0.1,)))


def test_more_examples_in_a_batch_than_there_are_is_refused(folder: Path) -> None:
    data = arrays(folder)
    with pytest.raises(RecipeError, match="more than the 12 training examples"):
        make_feed(replace(training(AugmentSection()), batch_size=16), data, SEEDS, normalisation_of(data))


def test_transforms_reach_loader_processes_that_are_started_anew() -> None:
    # Training runs in spawned processes, whose loaders are spawned as well: all that they need is pickled.
    wanted = AugmentSection(
        crop_scale=(0.3, 1.0), flip=0.5, color_jitter=0.3, auto_augment="rand-m9-mstd0.5", erase=0.9
    )
    transform = image_transform(wanted, Preprocessing(16, 16, 3), mean=(0.5,) * 3, std=(0.2,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    for row in range(4):
        with drawn_from(1, row):
            here = transform(Image.fromarray(pixels))
        with drawn_from(1, row):
            assert np.array_equal(pickle.loads(pickle.dumps(transform))(Image.fromarray(pixels)), here)
