"""What a recipe may say: names of keys, ranges of values, and what goes together."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from seedzoo.errors import RecipeError
from seedzoo.training.design import CHECKPOINT, prefix_of
from seedzoo.training.seeds import STREAMS

if TYPE_CHECKING:  # recipe imports this module
    from seedzoo.training.recipe import AugmentSection, DataSection, MixupSection, Recipe, TrainingSection

__all__ = ["FEWEST_TO_CALIBRATE", "check_values", "refuse_unknown_keys", "unknown_key"]

Require = Callable[[bool, str, str], None]

SCHEDULES = ("onecycle", "constant", "cosine", "step", "multistep", "poly", "tanh", "wsd", "rsqrt")
_MOST_VARIANTS = 1000
FEWEST_TO_CALIBRATE = 16
"""Images that the value ranges of a quantised model are taken from."""


def refuse_unknown_keys(data: dict[str, Any], record: type, *, where: str, prefix: str = "") -> None:
    """Raise a RecipeError with the nearest known key for the first key that ``record`` does not have."""
    hints = get_type_hints(record)
    known = [item.name for item in fields(record)]
    for key, value in data.items():
        if key not in known:
            raise unknown_key(f"{prefix}{key}", [f"{prefix}{name}" for name in known], where=where)
        nested = [kind for kind in (hints[key], *get_args(hints[key])) if is_dataclass(kind)]
        for kind in nested:
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict) and isinstance(kind, type):
                    refuse_unknown_keys(part, kind, where=where, prefix=f"{prefix}{key}.")


def unknown_key(key: str, known: list[str], *, where: str) -> RecipeError:
    """The error for a key that does not exist."""
    leaf = [name.rpartition(".")[2] for name in known]
    near = difflib.get_close_matches(key.rpartition(".")[2], leaf, n=1)
    hint = f"Did you mean {known[leaf.index(near[0])]}?" if near else f"Known keys here: {', '.join(leaf)}."
    return RecipeError(f"{where}: unknown key {key}", hint=hint, field=key)


def check_values(recipe: Recipe, where: str, check_data: Callable[[DataSection, Require], None]) -> None:
    """Check values that the types leave open; ``check_data`` does so for ``[data]``.

    Raises:
        RecipeError: The first value that cannot be used.
    """

    def require(condition: bool, key: str, rule: str) -> None:
        if not condition:
            raise RecipeError(f"{where}: {key} {rule}", field=key)

    _check_design(recipe, require)
    name = recipe.family.name
    require(name != "" and all(c.isascii() and (c.isalnum() or c in "-_") for c in name), "family.name",
            f"must be letters, digits, - and _, not {name!r}")  # fmt: skip
    require(recipe.family.train >= 2, "family.train", "must be at least 2: one variant is no family")
    require(1 <= recipe.family.publish <= recipe.family.train, "family.publish", "must lie between 1 and family.train")
    require(recipe.family.train <= _MOST_VARIANTS, "family.train", f"must be at most {_MOST_VARIANTS}")
    check_data(recipe.data, require)
    _check_training(recipe.training, require)
    _check_augment(recipe.training.augment, require)
    _check_mixup(recipe.training.mixup, recipe.training.batch_size, require)
    _check_streams(recipe, require)
    _check_export(recipe, require)
    _check_model(recipe, require)
    require(0 < recipe.certificate.margin < 1, "certificate.margin", "must lie between 0 and 1")
    require(0 < recipe.certificate.alpha < 0.5, "certificate.alpha", "must lie between 0 and 0.5")


def _check_training(training: TrainingSection, require: Require) -> None:
    require(training.epochs >= 1, "training.epochs", "must be at least 1")
    require(training.batch_size >= 2, "training.batch_size", "must be at least 2 (batch norm needs two)")
    require(0 < training.lr < math.inf, "training.lr", "must be positive and finite")
    require(0 <= training.weight_decay < math.inf, "training.weight_decay", "must be finite and not negative")
    require(0 <= training.clip_norm < math.inf, "training.clip_norm", "must be finite and not negative")
    near = difflib.get_close_matches(training.schedule, SCHEDULES, n=1)
    require(training.schedule in SCHEDULES, "training.schedule",
            f"must be one of {', '.join(SCHEDULES)}" + (f" (did you mean {near[0]}?)" if near else ""))  # fmt: skip
    require(not training.schedule_kwargs or training.schedule not in ("onecycle", "constant"),
            "training.schedule_kwargs", "belong to timm's schedules, not to onecycle and constant")  # fmt: skip
    require(0 <= training.label_smoothing < 1, "training.label_smoothing", "must lie between 0 and 1")
    require(training.precision in ("fp32", "bf16", "fp16"), "training.precision", "must be fp32, bf16 or fp16")
    require(training.device in ("auto", "cpu", "cuda"), "training.device", "must be auto, cpu or cuda")
    require(training.precision != "fp16" or training.device != "cpu", "training.precision",
            "= fp16 needs a GPU; on a CPU use bf16 or fp32")  # fmt: skip
    require(0 <= training.loader_workers <= 256, "training.loader_workers", "must lie between 0 and 256")
    for key in ("lr", "weight_decay"):
        require(key not in training.optimizer_kwargs, f"training.optimizer_kwargs.{key}",
                f"would be a second training.{key}; leave it out")  # fmt: skip
    require(len(training.mean) == len(training.std), "training.mean", "and training.std must have the same length")
    require(all(0 <= value <= 1 for value in training.mean), "training.mean", "is on the scale 0..1, as in timm")
    require(all(0 < value <= 1 for value in training.std), "training.std", "is on the scale 0..1, as in timm")


def _check_augment(augment: AugmentSection, require: Require) -> None:
    section = "training.augment"
    for name in ("flip", "vertical_flip", "erase"):
        require(0 <= getattr(augment, name) <= 1, f"{section}.{name}", "must be a probability")
    require(augment.shift >= 0, f"{section}.shift", "must not be negative")
    require(augment.shift == 0 or not augment.uses_timm, f"{section}.shift",
            "does not go with timm's transforms; use crop_scale for random positions")  # fmt: skip
    scale, ratio = augment.crop_scale, augment.crop_ratio
    require(scale == () or (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1), f"{section}.crop_scale",
            "must be two shares of the area, such as [0.08, 1.0]")  # fmt: skip
    require(len(ratio) == 2 and 0 < ratio[0] <= ratio[1] < math.inf, f"{section}.crop_ratio",
            "must be two aspect ratios, such as [0.75, 1.3333]")  # fmt: skip
    require(augment.interpolation in ("bilinear", "bicubic", "nearest", "random"), f"{section}.interpolation",
            "must be bilinear, bicubic, nearest or random")  # fmt: skip
    jitter = augment.color_jitter if isinstance(augment.color_jitter, tuple) else (augment.color_jitter,) * 3
    require(len(jitter) in (3, 4) and all(0 <= value < math.inf for value in jitter), f"{section}.color_jitter",
            "must be one strength, or three (brightness, contrast, saturation), or four (hue)")  # fmt: skip
    require(len(jitter) == 3 or jitter[-1] <= 0.5, f"{section}.color_jitter", "has a hue above 0.5")
    require(augment.erase_mode in ("const", "rand", "pixel"), f"{section}.erase_mode", "must be const, rand or pixel")


def _check_mixup(mixup: MixupSection, batch_size: int, require: Require) -> None:
    section = "training.mixup"
    for name in ("mixup_alpha", "cutmix_alpha"):
        require(0 <= getattr(mixup, name) < math.inf, f"{section}.{name}", "must be finite and not negative")
    for name in ("prob", "switch_prob"):
        require(0 <= getattr(mixup, name) <= 1, f"{section}.{name}", "must be a probability")
    require(mixup.mode in ("batch", "pair", "elem"), f"{section}.mode", "must be batch, pair or elem")
    require(not mixup.active or batch_size % 2 == 0, "training.batch_size", "must be even with mixup: it forms pairs")


def _check_design(recipe: Recipe, require: Require) -> None:
    factors = recipe.seeds.factors
    if not factors:
        return
    for factor in factors:
        require(factor.name.isascii() and factor.name.replace("_", "").isalnum() and factor.name[:1].isalpha(),
                "seeds.factors.name", f"must be a word, not {factor.name!r}")  # fmt: skip
        require(prefix_of(factor).isascii() and prefix_of(factor).isalpha(), "seeds.factors.prefix",
                f"must be letters, not {factor.prefix!r}")  # fmt: skip
        require(factor.streams != (), "seeds.factors.streams",
                f"of {factor.name} must name at least one of {', '.join((*STREAMS, CHECKPOINT))}")  # fmt: skip
        require(1 <= factor.levels <= _MOST_VARIANTS, "seeds.factors.levels",
                f"of {factor.name} must lie between 1 and {_MOST_VARIANTS}")  # fmt: skip
        if CHECKPOINT in factor.streams:
            require(factor.levels == len(recipe.model.checkpoints), "seeds.factors.levels",
                    f"of {factor.name} is {factor.levels}, but model.checkpoints names "
                    f"{len(recipe.model.checkpoints)} files")  # fmt: skip
    for what, values in (("name", [f.name for f in factors]), ("prefix", [prefix_of(f) for f in factors])):
        require(len(set(values)) == len(values), f"seeds.factors.{what}",
                f"must differ between factors: {', '.join(values)}")  # fmt: skip
    found = math.prod(factor.levels for factor in factors)
    require(recipe.family.train == found, "family.train",
            f"= {recipe.family.train}, but the levels of seeds.factors give {found} variants; leave it out or "
            "change the levels")  # fmt: skip


def _check_export(recipe: Recipe, require: Require) -> None:
    calibration = recipe.export.calibration
    require(calibration >= FEWEST_TO_CALIBRATE, "export.calibration",
            f"must be at least {FEWEST_TO_CALIBRATE} images, not {calibration}")  # fmt: skip


def _check_streams(recipe: Recipe, require: Require) -> None:
    seeds, training = recipe.seeds, recipe.training
    require(seeds.vary != () or seeds.factors != (), "seeds.vary", f"must name at least one of {', '.join(STREAMS)}")
    governed = [("seeds.vary", stream) for stream in seeds.vary]
    governed += [("seeds.factors.streams", stream) for factor in seeds.factors for stream in factor.streams]
    known = {"seeds.vary": STREAMS, "seeds.factors.streams": (*STREAMS, CHECKPOINT)}
    for key, stream in governed:
        require(stream in known[key], key, f"names {stream!r}; known streams: {', '.join(known[key])}")
        require([other for _, other in governed].count(stream) == 1, key, f"names {stream!r}, which is named twice")
        require(stream != "augment" or training.augment.active or training.mixup.active, key,
                "names augment, but training.augment draws nothing")  # fmt: skip
        require(stream != "init" or not recipe.model.checkpoint_files, key,
                "names init, but a checkpoint gives the initial weights; the head is drawn from head_init")  # fmt: skip


def _check_model(recipe: Recipe, require: Require) -> None:
    model = recipe.model
    chosen = any(CHECKPOINT in factor.streams for factor in recipe.seeds.factors)
    require(
        not (model.checkpoint and model.checkpoints), "model.checkpoint", "and model.checkpoints exclude each other"
    )
    require(not model.checkpoints or chosen, "model.checkpoints", "need a factor that governs checkpoint")
    require(not chosen or model.checkpoints != (), "model.checkpoints", "are missing: a factor governs checkpoint")
    require(all(model.checkpoint_files), "model.checkpoints", "must not be empty names")
    require(
        not model.freeze_backbone or model.checkpoint_files != (), "model.freeze_backbone", "needs model.checkpoint"
    )
    require(len(model.checkpoint_sha256) in (0, len(model.checkpoint_files)), "model.checkpoint_sha256",
            "must have one entry for each checkpoint")  # fmt: skip
    for key in ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"):
        require(key not in model.kwargs, f"model.kwargs.{key}",
                "is not taken: a build calls no model hub; name a file of weights in model.checkpoint")  # fmt: skip
