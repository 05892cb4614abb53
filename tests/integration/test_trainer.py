"""Whole training runs: their bits, resumption, fine-tuning from another family, and the ImageNet recipe on little."""

# ruff: noqa: E402  (no import of torch where it is not installed)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")
pytestmark = pytest.mark.train

import torch
from PIL import Image
from torch import nn

from seedzoo.training.data import ImageData, load_data
from seedzoo.training.models import create_model
from seedzoo.training.network import located_checkpoints
from seedzoo.training.recipe import Recipe, load_recipe, override, parse_recipe
from seedzoo.training.trainer import check_trainable, train_variant, weights_bytes

ROOT = Path(__file__).resolve().parents[2]
SUBSET = ROOT / "tests" / "data" / "fashion-subset"
RECIPE = f"""
[family]
name = "tiny"
train = 2
publish = 2
[data]
source = "idx"
path = "{SUBSET}"
reserve_test = 100
train_limit = 320
[model]
architecture = "seedzoo_cnn_small"
[training]
epochs = 2
batch_size = 32
lr = 0.004
device = "cpu"
[seeds]
root = 3
vary = ["init", "order", "dropout"]
"""
SEEDS = parse_recipe(RECIPE).variant_seeds("s000")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(parse_recipe(RECIPE).data)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 JPEGs in ImageNet's layout: four classes that differ in colour, 32 to train on and 8 to test on."""
    folder = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for row in range(40):
        label = row % 4
        place = folder / ("train" if row < 32 else "val") / f"n0000000{label}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (80, 90 + row, 3))
        pixels[..., label % 3] += 50 * (1 + label)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{row:02d}.JPEG")
    return folder


def changed(*changes: str) -> Recipe:
    return parse_recipe(override(RECIPE, changes))


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class Kept:
    """Snapshots in memory; the process that writes them is killed after ``last`` of them."""

    def __init__(self, last: int = 1000) -> None:
        self.raw: bytes | None = None
        self.last = last
        self.saved = 0

    def load(self) -> bytes | None:
        return self.raw

    def save(self, raw: bytes) -> None:
        self.raw = raw
        self.saved += 1
        if self.saved == self.last:
            raise KeyboardInterrupt


def first_version(recipe: Recipe, data: ImageData, seeds: dict[str, int], flip: float, shift: int) -> nn.Module:
    """How families were trained from the first release on, written down once more: AdamW, flips and shifts."""
    from timm.optim import create_optimizer_v2

    settings = recipe.training
    pixels = data.train.read(range(len(data.train.labels)))
    images, labels = torch.from_numpy(pixels), torch.from_numpy(data.train.labels)
    mean, std = (
        torch.tensor(float(part(pixels.astype(np.float64))), dtype=torch.float32) for part in (np.mean, np.std)
    )
    torch.manual_seed(seeds["init"])
    network = create_model(recipe.model.architecture, recipe.model.kwargs)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=settings.lr, weight_decay=settings.weight_decay)
    steps = len(labels) // settings.batch_size
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.lr, total_steps=steps * settings.epochs
    )  # fmt: skip
    order = torch.Generator().manual_seed(seeds["order"])
    augment = torch.Generator().manual_seed(seeds["augment"])
    network.train()
    torch.manual_seed(seeds["dropout"])
    for _ in range(settings.epochs):
        permutation = torch.randperm(len(labels), generator=order)
        for step in range(steps):
            picked = permutation[step * settings.batch_size : (step + 1) * settings.batch_size]
            batch = images[picked]
            if flip or shift:
                flips = torch.rand(len(batch), generator=augment) < flip
                moves = torch.randint(-shift, shift + 1, (len(batch), 2), generator=augment)
                batch = torch.where(flips[:, None, None, None], batch.flip(2), batch)
                shifted = torch.zeros_like(batch)
                for place, (down, right) in enumerate(moves.tolist()):
                    padded = nn.functional.pad(batch[place], (0, 0, shift, shift, shift, shift))
                    shifted[place] = padded[shift + down :, shift + right :][:28, :28]
                batch = shifted
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
                standardised = (batch.permute(0, 3, 1, 2).to(torch.float32) - mean) / std
                loss = nn.functional.cross_entropy(network(standardised), labels[picked])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
    return network.eval()


@pytest.mark.parametrize(
    ("changes", "flip", "shift"),
    [
        (["training.precision=bf16", "training.weight_decay=0.02"], 0.0, 0),
        (["training.augment={ flip = 0.5, shift = 2 }"], 0.5, 2),
    ],
)
def test_images_in_memory_give_the_bits_that_they_always_gave(
    changes: list[str], flip: float, shift: int, data: ImageData
) -> None:
    recipe = changed(*changes)
    trained = train_variant(recipe, data, SEEDS)
    assert isinstance(trained, nn.Sequential)
    assert same(trained[1], first_version(recipe, data, SEEDS, flip, shift))


def test_the_dropout_stream_decides_masks_and_nothing_else(data: ImageData) -> None:
    other = {**SEEDS, "dropout": 99}
    short = changed("training.epochs=1")
    assert not same(train_variant(short, data, SEEDS), train_variant(short, data, other))
    none = changed("training.epochs=1", "model.kwargs.drop_rate=0.0")
    assert same(train_variant(none, data, SEEDS), train_variant(none, data, other))


EVERYTHING = [
    "training.augment={ flip = 0.5, crop_scale = [0.5, 1.0], auto_augment = 'rand-m5-mstd0.5', erase = 0.3 }",
    "training.mixup={ mixup_alpha = 0.2, cutmix_alpha = 1.0 }",
    "training.label_smoothing=0.1",
    "training.optimizer=sgd",
    "training.schedule=cosine",
    "training.schedule_kwargs={ warmup_epochs = 1 }",
    "training.clip_norm=1.0",
    "training.channels_last=true",
]


@pytest.mark.parametrize("changes", [["training.precision=bf16", "training.augment.shift=1"], EVERYTHING])
def test_a_run_killed_after_an_epoch_ends_with_the_same_bits(changes: list[str], data: ImageData) -> None:
    recipe = changed("training.epochs=3", *changes)
    straight = train_variant(recipe, data, SEEDS)
    kept = Kept(last=1)
    with pytest.raises(KeyboardInterrupt):
        train_variant(recipe, data, SEEDS, snapshots=kept)
    torch.manual_seed(0)  # whatever the next process starts with
    resumed = train_variant(recipe, data, SEEDS, snapshots=kept)
    assert kept.saved == 3
    assert same(straight, resumed)
    assert same(straight, train_variant(recipe, data, SEEDS, snapshots=kept))  # nothing is left to train
    assert kept.saved == 3


def test_a_snapshot_of_other_seeds_or_another_recipe_is_not_used(data: ImageData) -> None:
    recipe = changed("training.epochs=1")
    kept = Kept()
    train_variant(recipe, data, SEEDS, snapshots=kept)
    other = {**SEEDS, "order": 1}
    assert same(train_variant(recipe, data, other, snapshots=kept), train_variant(recipe, data, other))
    slower = changed("training.epochs=1", "training.lr=0.001")
    assert same(train_variant(slower, data, SEEDS, snapshots=kept), train_variant(slower, data, SEEDS))


def test_pretraining_feeds_a_crossed_fine_tuning_family(data: ImageData, tmp_path: Path) -> None:
    pretraining = changed("training.epochs=1", "training.keep_weights=true")
    for tag in pretraining.tags:
        raw = weights_bytes(train_variant(pretraining, data, pretraining.variant_seeds(tag)))
        (tmp_path / f"{tag}.safetensors").write_bytes(raw)
    crossed = changed(
        "training.epochs=1", "family.train=4", "seeds.vary=[]", "model.freeze_backbone=true",
        'model.checkpoints=["s000.safetensors", "s001.safetensors"]',
        'seeds.factors=[{ name = "pretraining", streams = ["checkpoint"] }, '
        '{ name = "finetuning", levels = 2, streams = ["head_init", "order"] }]',
    )  # fmt: skip
    recipe = located_checkpoints(crossed, base=tmp_path)
    check_trainable(recipe)
    models = {}
    for tag in recipe.tags:
        file = recipe.variant_checkpoint(tag)
        assert file is not None
        models[tag] = weights(train_variant(recipe, data, recipe.variant_seeds(tag), checkpoint=Path(file)))
    heads = {name for name in models["p0f0"] if "head" in name}
    for name in models["p0f0"]:
        across_pretraining = np.array_equal(models["p0f0"][name], models["p1f0"][name])
        across_finetuning = np.array_equal(models["p0f0"][name], models["p0f1"][name])
        if name in heads:
            assert not across_pretraining
            assert not across_finetuning
        else:
            assert across_finetuning, name  # frozen, statistics of batch norm included
    assert not np.array_equal(models["p0f0"]["1.features.0.weight"], models["p1f0"]["1.features.0.weight"])


def small_imagenet(imagenet: Path, *more: str) -> Recipe:
    recipe, raw = load_recipe(
        ROOT / "recipes" / "imagenet-resnet50.toml",
        overrides=[
            f"data.path={imagenet}", "data.reserve_test=0", "data.height=64", "data.width=64", "family.train=2",
            "family.publish=2", "training.epochs=1", "training.batch_size=16", "training.loader_workers=1",
            "training.schedule_kwargs.warmup_epochs=0", "model.kwargs.num_classes=4", *more,
        ],
    )  # fmt: skip
    assert parse_recipe(raw.decode()) == recipe
    return recipe


def test_the_imagenet_recipe_runs_on_40_images(imagenet: Path) -> None:
    recipe = small_imagenet(imagenet, "training.device=cpu")
    check_trainable(recipe)
    data = load_data(recipe.data)
    assert len(data.train.labels) == 32
    first = train_variant(recipe, data, recipe.variant_seeds("s000"))
    with torch.no_grad():
        logits = first(torch.from_numpy(data.test.read(range(8))))
    assert tuple(logits.shape) == (8, 4)
    assert bool(torch.isfinite(logits).all())
    alone = replace(recipe, training=replace(recipe.training, loader_workers=0))
    assert same(first, train_variant(alone, data, recipe.variant_seeds("s000")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_epoch_in_mixed_precision_on_a_gpu(precision: str, imagenet: Path) -> None:
    recipe = small_imagenet(imagenet, f"training.precision={precision}", "training.device=cuda", "training.epochs=2")
    data = load_data(recipe.data)
    kept = Kept()
    model = train_variant(recipe, data, recipe.variant_seeds("s000"), snapshots=kept)
    assert kept.saved == 2
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    with torch.no_grad():
        assert bool(torch.isfinite(model(torch.from_numpy(data.test.read(range(8))))).all())
    images = load_data(parse_recipe(RECIPE).data)
    quick = changed(f"training.precision={precision}", "training.device=cuda", "training.epochs=4")
    learned = train_variant(quick, images, SEEDS)
    with torch.no_grad():
        called = learned(torch.from_numpy(images.test.read(range(500)))).argmax(dim=1).numpy()
    assert (called == images.test.labels[:500]).mean() > 0.5
