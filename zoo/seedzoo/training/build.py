"""`zoo build`: train, export, certify, stress, and lay the result out as a bundle. Resumable at every step.

<out>/variants/<tag>/       trained variants, published or not
<out>/stress/<condition>    counts and signatures of finished conditions
<out>/bundle/               what `zoo publish` takes; replaced as a whole at the end
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from seedzoo.catalog.bundle import (
    FAMILY_FILE,
    PROFILE_FILE,
    RECIPE_FILE,
    SIGNATURES_FILE,
    Bundle,
    model_path,
    open_bundle,
)
from seedzoo.catalog.codec import encode_json
from seedzoo.files import local_failure, write_atomically
from seedzoo.inference.evaluate import Evaluator
from seedzoo.inference.session import Model
from seedzoo.records import Certificate, Family, FileEntry, Preprocessing, Task, Variant
from seedzoo.stress import get_condition, profile_bytes, suite
from seedzoo.stress.profile import evaluate_condition, measure_profile
from seedzoo.stress.signature_table import signature_table_bytes
from seedzoo.training.certify import certify
from seedzoo.training.data import ImageData, load_data
from seedzoo.training.pool import TrainedVariant, train_all
from seedzoo.training.recipe import Recipe, load_recipe

__all__ = ["BuildProgress", "build"]

_SOFTWARE = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One finished step: ``train``, ``certify`` or ``stress``."""

    step: str
    done: int
    total: int
    note: str = ""


def build(
    recipe_path: Path,
    out: Path,
    *,
    data_folder: Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[BuildProgress], None] = lambda _: None,
) -> Bundle:
    """Build a family's bundle below ``out``.

    Args:
        recipe_path: The recipe file; relative data paths in it start at its folder.
        out: Working folder; what an earlier run finished in it is reused.
        data_folder: Where the training data are, in place of the recipe's ``data.path``.
        workers: Training processes and evaluation threads; the usable cores when omitted.
        on_progress: Called after each finished variant and condition.

    Raises:
        RecipeError: The recipe cannot be used.
        DataError: The data cannot be used, or too few variants are equally accurate.
        ZooError: A worker died; running the same again resumes.
    """
    recipe, recipe_bytes = load_recipe(recipe_path)
    if data_folder is not None:
        recipe = replace(recipe, data=replace(recipe.data, path=str(data_folder.resolve())))
    conditions = suite(recipe.stress.suite)  # refused now rather than after hours of training
    base = recipe_path.resolve().parent
    data = load_data(recipe.data, base=base)
    height, width, channels = data.train_images.shape[1:]
    task = Task(
        name=recipe.data.source,
        classes=data.classes,
        preprocessing=Preprocessing(height=height, width=width, channels=channels),
    )
    try:
        (out / "variants").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise local_failure(error, out) from error

    count = 0

    def trained_one(variant: TrainedVariant) -> None:
        nonlocal count
        count += 1
        on_progress(BuildProgress("train", count, recipe.family.train, variant.tag))

    trained = train_all(recipe, folder=out / "variants", base=base, task=task, workers=workers, on_done=trained_one)
    raw = {tag: (out / "variants" / tag / "model.onnx").read_bytes() for tag in trained}
    certificate, accuracies, published = _certified(recipe, raw, data, workers)
    on_progress(BuildProgress("certify", len(published), len(trained)))

    steps = 0

    def stressed_one(condition: object) -> None:
        nonlocal steps
        steps += 1
        on_progress(BuildProgress("stress", steps, len(conditions), getattr(condition, "name", "")))

    with Evaluator([_loader(tag, raw[tag]) for tag in published], threads=workers) as evaluator:
        rows, signatures = measure_profile(
            evaluator,
            tags=published,
            models_key="/".join(trained[tag].sha256 for tag in published),
            conditions=conditions,
            images=data.test_images,
            labels=data.test_labels,
            folder=out / "stress",
            on_condition=stressed_one,
        )
    family = Family(
        name=recipe.family.name,
        title=recipe.family.title or recipe.family.name,
        task=task,
        variants=tuple(_variant(trained[tag], accuracies[tag]) for tag in published),
        certificate=certificate,
        data=replace(data.origin, licence=recipe.family.licence),
        recipe_sha256=hashlib.sha256(recipe_bytes).hexdigest(),
        licence=recipe.family.licence,
        suite=recipe.stress.suite,
        software={name: version(name) for name in _SOFTWARE},
    )
    profile = profile_bytes(
        rows,
        suite=recipe.stress.suite,
        dataset=f"{recipe.data.source}, {len(data.test_labels)} test examples",
        version=version("seedzoo"),
    )
    return _write_bundle(
        out,
        {
            FAMILY_FILE: encode_json(family),
            RECIPE_FILE: recipe_bytes,
            PROFILE_FILE: profile,
            SIGNATURES_FILE: signature_table_bytes(signatures),
            **{model_path(tag): raw[tag] for tag in published},
        },
    )


def _loader(tag: str, raw: bytes) -> Callable[[], Model]:
    return lambda: Model(raw, name=tag)


def _certified(
    recipe: Recipe, raw: dict[str, bytes], data: ImageData, workers: int | None
) -> tuple[Certificate, dict[str, float], tuple[str, ...]]:
    tags = list(raw)
    with Evaluator([_loader(tag, raw[tag]) for tag in tags], threads=workers) as evaluator:
        correct, _ = evaluate_condition(evaluator, get_condition("id"), data.test_images, data.test_labels)
    certificate, published = certify(recipe, tags, correct)
    means = np.asarray(correct.mean(axis=0))
    return certificate, {tag: float(mean) for tag, mean in zip(tags, means, strict=True)}, published


def _variant(trained: TrainedVariant, accuracy: float) -> Variant:
    return Variant(
        tag=trained.tag,
        model=FileEntry(path=model_path(trained.tag), size=trained.size, sha256=trained.sha256),
        seeds=trained.seeds,
        held_out_accuracy=accuracy,
    )


def _write_bundle(out: Path, files: dict[str, bytes]) -> Bundle:
    """Write beside the old bundle, check, then swap: a killed build leaves the old one or the new one."""
    fresh, final, old = out / "bundle.new", out / "bundle", out / "bundle.old"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "models").mkdir(parents=True)
        for name, content in files.items():
            write_atomically(fresh / name, content)
        bundle = open_bundle(fresh)
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        fresh.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise local_failure(error, out) from error
    return replace(bundle, folder=final)
