"""The recipe file: everything that a family's variants have in common, and which random streams vary."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from seedzoo.errors import RecipeError
from seedzoo.training.design import CHECKPOINT, Cell, FactorSection, cells, factor_seeds
from seedzoo.training.recipe_checks import check_values, refuse_unknown_keys
from seedzoo.training.recipe_override import override
from seedzoo.training.seeds import STREAMS, variant_seeds

__all__ = [
    "AugmentSection",
    "DataSection",
    "FactorSection",
    "MixupSection",
    "ModelSection",
    "Recipe",
    "TrainingSection",
    "load_recipe",
    "override",
    "parse_recipe",
]


@dataclass(frozen=True, slots=True)
class FamilySection:
    """``[family]``: name, and how many variants to train and to publish."""

    name: str
    publish: int
    train: int = 0
    """May be left out in a crossed design, which has as many variants as cells."""
    title: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class DataSection:
    """``[data]``: where examples come from and what of them is kept away from the family."""

    source: str
    path: str = ""
    """Folder with the data (for ``manifest``: the file); empty to look in the usual places."""
    reserve_test: int = 0
    """Test examples at the end of the set that training, certificate and profile never see."""
    train_limit: int = 0
    """Use only the first so many training examples; 0 for all."""
    root: str = ""
    """``manifest``: the folder that image paths start at and may not leave; the manifest's own when empty."""
    test_share: float = 0.0
    """Share of each class held out where the data come without a test set."""
    split_seed: int = 0
    """Decides which examples are held out and the order of both parts."""
    test_name: str = ""
    """Folder or split value of the held-out set, where ``val`` and ``test`` both exist."""
    classes: tuple[str, ...] | str = ()
    """Class names in the order of the outputs, or a file with one a line; the sorted names when empty."""
    slices: tuple[str, ...] = ()
    """``manifest``: columns whose values become conditions of their own."""
    height: int = 0
    """Pixels that image files are brought to."""
    width: int = 0
    """The same as ``height`` when 0."""
    channels: int = 3
    resize: str = "stretch"
    """``stretch`` or ``shorter_side_center_crop``."""
    interpolation: str = "bilinear"
    in_memory: bool | None = None
    """Hold decoded images in memory; when omitted, if they take less than 1 GiB."""
    sha256: str = ""
    """Expected digest of training images, labels and classes; filled in when a build starts."""


@dataclass(frozen=True, slots=True)
class ModelSection:
    """``[model]``: a timm architecture and its keyword arguments."""

    architecture: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    """File of pretrained weights (.pth or .safetensors) for all but the head, which is drawn from ``head_init``."""
    checkpoints: tuple[str, ...] = ()
    """Several such files, among which a factor that governs ``checkpoint`` chooses."""
    checkpoint_sha256: tuple[str, ...] = ()
    """Expected SHA-256 of each; filled in when a build starts."""
    freeze_backbone: bool = False
    """Train the head alone; batch norm then keeps the checkpoint's statistics."""

    @property
    def checkpoint_files(self) -> tuple[str, ...]:
        """All checkpoint files, one or several."""
        return (self.checkpoint,) if self.checkpoint else self.checkpoints


@dataclass(frozen=True, slots=True)
class AugmentSection:
    """``[training.augment]``: random changes to training images, drawn from the ``augment`` stream.

    With ``flip`` and ``shift`` alone, images in memory are changed a batch at a time. Any other key takes timm's
    transforms, image by image, for images from files as well.
    """

    flip: float = 0.0
    """Probability of a horizontal flip."""
    shift: int = 0
    """Largest random translation in pixels, each axis; for images in memory, not beside timm's transforms."""
    vertical_flip: float = 0.0
    """Probability of a vertical flip."""
    crop_scale: tuple[float, ...] = ()
    """Random resized crop: smallest and largest share of the area, such as [0.08, 1.0]; no crop when empty."""
    crop_ratio: tuple[float, ...] = (3 / 4, 4 / 3)
    """Random resized crop: narrowest and widest aspect ratio."""
    interpolation: str = "bilinear"
    """Of the random resized crop: bilinear, bicubic, nearest or random."""
    color_jitter: float | tuple[float, ...] = 0.0
    """Strength for brightness, contrast and saturation, or one each and a fourth for hue."""
    auto_augment: str = ""
    """A policy of timm: AutoAugment, RandAugment or AugMix, such as rand-m9-mstd0.5."""
    erase: float = 0.0
    """Probability of erasing a random rectangle."""
    erase_mode: str = "const"
    """What fills it: const (the mean), rand (one random colour) or pixel (random pixels)."""

    @property
    def uses_timm(self) -> bool:
        """Whether timm's transforms are needed."""
        wanted = (self.vertical_flip, self.crop_scale, self.color_jitter, self.auto_augment, self.erase)
        return any(wanted)

    @property
    def active(self) -> bool:
        """Whether anything is drawn at all."""
        return self.flip > 0 or self.shift > 0 or self.uses_timm


@dataclass(frozen=True, slots=True)
class MixupSection:
    """``[training.mixup]``: timm's Mixup, which blends images of a batch; drawn from the ``augment`` stream."""

    mixup_alpha: float = 0.0
    """Parameter of the beta distribution of shares; 0 for no mixup."""
    cutmix_alpha: float = 0.0
    """The same for pasted rectangles; 0 for no cutmix."""
    prob: float = 1.0
    """Probability of changing a batch (or pair, or element) at all."""
    switch_prob: float = 0.5
    """Probability of cutmix where both are wanted."""
    mode: str = "batch"
    """What has a share of its own: batch, pair or elem."""

    @property
    def active(self) -> bool:
        """Whether anything is drawn at all."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0


@dataclass(frozen=True, slots=True)
class TrainingSection:
    """``[training]``: hyper-parameters, and how to compute."""

    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "adamw"
    """Any of timm's."""
    optimizer_kwargs: dict[str, Any] = field(default_factory=dict)
    """More arguments of timm's ``create_optimizer_v2``, such as momentum or betas."""
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 for no clipping."""
    schedule: str = "onecycle"
    """onecycle, constant, or any of timm's: cosine, step, multistep, poly, tanh, wsd, rsqrt."""
    schedule_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of timm's ``create_scheduler_v2``; its step is the update unless ``step_on_epochs`` is true."""
    label_smoothing: float = 0.0
    precision: str = "fp32"
    """fp32, or mixed: bf16, or fp16 on CUDA."""
    device: str = "auto"
    """auto (a GPU when there is one), cpu or cuda."""
    channels_last: bool = False
    compile: bool = False
    """Train through ``torch.compile``, which draws other dropout masks than without it."""
    loader_workers: int = 0
    """Processes that decode and change images of one variant; 0 to do so in the training process."""
    mean: tuple[float, ...] = ()
    """Mean of each channel on timm's scale 0..1; measured on the training images when empty."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel on the same scale; goes with ``mean``."""
    keep_weights: bool = False
    """Keep ``weights.safetensors`` beside each variant, so that it can be another family's checkpoint."""
    augment: AugmentSection = field(default_factory=AugmentSection)
    mixup: MixupSection = field(default_factory=MixupSection)


@dataclass(frozen=True, slots=True)
class SeedsSection:
    """``[seeds]``: the root seed and the streams that differ between variants."""

    root: int
    vary: tuple[str, ...] = ()
    """Streams that every variant has for itself."""
    factors: tuple[FactorSection, ...] = ()
    """A crossed design."""


@dataclass(frozen=True, slots=True)
class CertificateSection:
    """``[certificate]``: margin (fraction of 1) and family-wise level of the equivalence test."""

    margin: float = 0.01
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class StressSection:
    """``[stress]``: what the profile measures beside the held-out test set as it is."""

    suite: str = "small-images"
    natural: tuple[str, ...] = ()
    """Natural shifts, ``name=path`` each; relative paths start from the recipe's folder."""
    slices: tuple[str, ...] = ()
    """Columns of these sets whose values become conditions, beside those that ``[data] slices`` names."""


@dataclass(frozen=True, slots=True)
class ExportSection:
    """``[export]``: what is made of a trained variant beside its model."""

    int8: bool = False
    """Whether each published variant has a statically quantised twin, with results of its own."""
    calibration: int = 512
    """Training images that the twin's value ranges come from."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A parsed and validated recipe."""

    family: FamilySection
    data: DataSection
    model: ModelSection
    training: TrainingSection
    seeds: SeedsSection
    certificate: CertificateSection = field(default_factory=CertificateSection)
    stress: StressSection = field(default_factory=StressSection)
    export: ExportSection = field(default_factory=ExportSection)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The variants to train: s000, s001, ..., or the cells of a crossed design."""
        if self.seeds.factors:
            return cells(self.seeds.factors)
        return tuple(Cell(tag=f"s{index:03d}", levels=(), factors={}) for index in range(self.family.train))

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the variants to train."""
        return tuple(cell.tag for cell in self.cells)

    @property
    def streams(self) -> tuple[str, ...]:
        """The random streams in use; without ``head_init``, ``init`` draws the head as well."""
        own_head = bool(self.model.checkpoint_files) or "head_init" in (
            *self.seeds.vary, *(stream for factor in self.seeds.factors for stream in factor.streams)
        )  # fmt: skip
        return tuple(stream for stream in STREAMS if stream != "head_init" or own_head)

    def variant_seeds(self, tag: str) -> dict[str, int]:
        """Seeds of all random streams for the variant ``tag``."""
        seeds = variant_seeds(self.seeds.root, tag, self.seeds.vary, streams=self.streams)
        return seeds | factor_seeds(self.seeds.root, self.seeds.factors, self._cell(tag))

    def variant_factors(self, tag: str) -> dict[str, str]:
        """Level of each factor for the variant ``tag``; empty where the design is not crossed."""
        return self._cell(tag).factors

    def variant_checkpoint(self, tag: str) -> str | None:
        """The checkpoint file that the variant ``tag`` starts from, as the recipe names it."""
        for factor, level in zip(self.seeds.factors, self._cell(tag).levels, strict=True):
            if CHECKPOINT in factor.streams:
                return self.model.checkpoints[level]
        return self.model.checkpoint or None

    def _cell(self, tag: str) -> Cell:
        for cell in self.cells:
            if cell.tag == tag:
                return cell
        if not self.seeds.factors:  # seeds of one more variant than the recipe trains are well defined
            return Cell(tag=tag, levels=(), factors={})
        raise RecipeError(f"{self.family.name} has no variant {tag!r}", hint=f"It has {', '.join(self.tags[:5])}, ...")

    @property
    def training_key(self) -> str:
        """SHA-256 over all that decides a trained variant; a finished variant is reused only under the same key.

        Checkpoints and training data count by their contents where these are known, not by where they lie.
        """
        model, data = self.model, self.data
        if model.checkpoint_sha256:
            model = replace(model, checkpoint="", checkpoints=())
        if data.sha256:
            data = replace(data, path="", root="")
        decisive = {
            "family": self.family.name,
            "data": data,
            "model": model,
            "training": replace(self.training, loader_workers=0),
            "seeds": self.seeds,
        }
        return hashlib.sha256(msgspec.json.encode(decisive, order="deterministic")).hexdigest()


def load_recipe(path: Path, *, overrides: Sequence[str] = ()) -> tuple[Recipe, bytes]:
    """Read and validate a recipe file.

    Args:
        path: The file.
        overrides: ``section.key=value`` each, in place of what the file says.

    Returns:
        The recipe and its text in bytes (they travel with the family); with overrides, the text that holds them.

    Raises:
        RecipeError: The file is missing, is no TOML, or a key or value in it cannot be used.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {path}: {error.strerror}", hint="Name a recipe file such as recipes/fashion-cnn.toml."
        ) from error
    text = raw.decode("utf-8", errors="replace")
    if overrides:
        text = override(text, overrides, where=str(path))
        raw = text.encode()
    return parse_recipe(text, where=str(path)), raw


def parse_recipe(text: str, *, where: str = "recipe") -> Recipe:
    """Parse and validate a recipe's text; ``where`` names it in errors.

    Raises:
        RecipeError: See :func:`load_recipe`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}") from error
    refuse_unknown_keys(data, Recipe, where=where)
    try:
        recipe = msgspec.convert(data, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {error}") from error
    recipe = _with_derived(recipe)
    check_values(recipe, where, _check_data)
    return recipe


def _with_derived(recipe: Recipe) -> Recipe:
    """What follows from the design: levels of a factor of checkpoints, and the number of variants."""
    factors = tuple(
        replace(factor, levels=factor.levels or len(recipe.model.checkpoints))
        if CHECKPOINT in factor.streams
        else factor
        for factor in recipe.seeds.factors
    )
    train = recipe.family.train
    if factors and not train:
        train = math.prod(max(factor.levels, 0) for factor in factors)
    return replace(recipe, seeds=replace(recipe.seeds, factors=factors), family=replace(recipe.family, train=train))


def _check_data(data: DataSection, require: Callable[[bool, str, str], None]) -> None:
    require(data.reserve_test >= 0, "data.reserve_test", "must not be negative")
    require(data.train_limit >= 0, "data.train_limit", "must not be negative")
    require(0 <= data.test_share < 1, "data.test_share", "must lie between 0 and 1")
    require(data.split_seed >= 0, "data.split_seed", "must not be negative")
    require(data.height == 0 or data.height >= 8, "data.height", "must be at least 8 pixels")
    require(data.width == 0 or data.width >= 8, "data.width", "must be at least 8 pixels")
    require(data.channels in (1, 3), "data.channels", "must be 1 or 3")
    require(data.resize in ("stretch", "shorter_side_center_crop"), "data.resize",
            "must be stretch or shorter_side_center_crop")  # fmt: skip
    require(data.interpolation in ("bilinear", "bicubic", "nearest"), "data.interpolation",
            "must be bilinear, bicubic or nearest")  # fmt: skip
