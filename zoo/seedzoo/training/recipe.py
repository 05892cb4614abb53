"""The recipe file: everything that a family's variants have in common, and which random streams vary."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from seedzoo.errors import RecipeError
from seedzoo.training.seeds import STREAMS, variant_seeds

__all__ = ["Recipe", "load_recipe", "parse_recipe"]


@dataclass(frozen=True, slots=True)
class FamilySection:
    """``[family]``: name, and how many variants to train and to publish."""

    name: str
    train: int
    publish: int
    title: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class DataSection:
    """``[data]``: where examples come from and what of them is kept away from the family."""

    source: str
    path: str = ""
    """Folder with the data; empty to look in the usual places."""
    reserve_test: int = 0
    """Test examples at the end of the set that training, certificate and profile never see."""
    train_limit: int = 0
    """Use only the first so many training examples; 0 for all."""


@dataclass(frozen=True, slots=True)
class ModelSection:
    """``[model]``: a timm architecture and its keyword arguments."""

    architecture: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AugmentSection:
    """``[training.augment]``: random changes to training images, drawn from the ``augment`` stream."""

    flip: float = 0.0
    """Probability of a horizontal flip."""
    shift: int = 0
    """Largest random translation in pixels, each axis."""

    @property
    def active(self) -> bool:
        """Whether anything is drawn at all."""
        return self.flip > 0 or self.shift > 0


@dataclass(frozen=True, slots=True)
class TrainingSection:
    """``[training]``: hyper-parameters."""

    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    precision: str = "fp32"
    augment: AugmentSection = field(default_factory=AugmentSection)


@dataclass(frozen=True, slots=True)
class SeedsSection:
    """``[seeds]``: the root seed and the streams that differ between variants."""

    root: int
    vary: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificateSection:
    """``[certificate]``: margin (fraction of 1) and family-wise level of the equivalence test."""

    margin: float = 0.01
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class StressSection:
    """``[stress]``: the suite of conditions that the profile measures."""

    suite: str = "small-images"


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

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the variants to train: s000, s001, ..."""
        return tuple(f"s{index:03d}" for index in range(self.family.train))

    def variant_seeds(self, tag: str) -> dict[str, int]:
        """Seeds of all random streams for the variant ``tag``."""
        return variant_seeds(self.seeds.root, tag, self.seeds.vary)

    @property
    def training_key(self) -> str:
        """SHA-256 over all that decides a trained variant; a finished variant is reused only under the same key."""
        decisive = {
            "family": self.family.name,
            "data": self.data,
            "model": self.model,
            "training": self.training,
            "seeds": self.seeds,
        }
        return hashlib.sha256(msgspec.json.encode(decisive, order="deterministic")).hexdigest()


def load_recipe(path: Path) -> tuple[Recipe, bytes]:
    """Read and validate a recipe file.

    Returns:
        The recipe and the file's bytes (they travel with the family).

    Raises:
        RecipeError: The file is missing, is no TOML, or a key or value in it cannot be used.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {path}: {error.strerror}", hint="Name a recipe file such as recipes/fashion-cnn.toml."
        ) from error
    return parse_recipe(raw.decode("utf-8", errors="replace"), where=str(path)), raw


def parse_recipe(text: str, *, where: str = "recipe") -> Recipe:
    """Parse and validate a recipe's text; ``where`` names it in errors.

    Raises:
        RecipeError: See :func:`load_recipe`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}") from error
    _refuse_unknown_keys(data, Recipe, where, "")
    try:
        recipe = msgspec.convert(data, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {error}") from error
    _check_values(recipe, where)
    return recipe


def _refuse_unknown_keys(data: dict[str, Any], record: type, where: str, prefix: str) -> None:
    hints = get_type_hints(record)
    known = [item.name for item in fields(record)]
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {prefix}{near[0]}?" if near else f"Known keys here: {', '.join(known)}."
            raise RecipeError(f"{where}: unknown key {prefix}{key}", hint=hint, field=f"{prefix}{key}")
        if is_dataclass(hints[key]) and isinstance(value, dict):
            _refuse_unknown_keys(value, hints[key], where, f"{prefix}{key}.")


def _check_values(recipe: Recipe, where: str) -> None:
    def require(condition: bool, key: str, rule: str) -> None:
        if not condition:
            raise RecipeError(f"{where}: {key} {rule}", field=key)

    name = recipe.family.name
    require(name != "" and all(c.isascii() and (c.isalnum() or c in "-_") for c in name), "family.name",
            f"must be letters, digits, - and _, not {name!r}")  # fmt: skip
    require(recipe.family.train >= 2, "family.train", "must be at least 2: one variant is no family")
    require(1 <= recipe.family.publish <= recipe.family.train, "family.publish", "must lie between 1 and family.train")
    require(recipe.family.train <= 1000, "family.train", "must be at most 1000 (tags have three digits)")
    require(recipe.training.epochs >= 1, "training.epochs", "must be at least 1")
    require(recipe.training.batch_size >= 2, "training.batch_size", "must be at least 2 (batch norm needs two)")
    require(recipe.training.lr > 0, "training.lr", "must be positive")
    require(recipe.training.schedule in ("onecycle", "constant"), "training.schedule", "must be onecycle or constant")
    require(recipe.training.precision in ("fp32", "bf16"), "training.precision", "must be fp32 or bf16")
    require(0 <= recipe.training.augment.flip <= 1, "training.augment.flip", "must be a probability")
    require(recipe.training.augment.shift >= 0, "training.augment.shift", "must not be negative")
    require(0 < recipe.certificate.margin < 1, "certificate.margin", "must lie between 0 and 1")
    require(0 < recipe.certificate.alpha < 0.5, "certificate.alpha", "must lie between 0 and 0.5")
    require(recipe.seeds.vary != (), "seeds.vary", f"must name at least one of {', '.join(STREAMS)}")
    for stream in recipe.seeds.vary:
        require(stream in STREAMS, "seeds.vary", f"names {stream!r}; known streams: {', '.join(STREAMS)}")
    require("augment" not in recipe.seeds.vary or recipe.training.augment.active, "seeds.vary",
            "names augment, but training.augment draws nothing")  # fmt: skip
