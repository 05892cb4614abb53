"""`zoo build`: train, export, certify, stress, and lay the result out as a bundle. Resumable at every step.

<out>/variants/<tag>/       trained variants, published or not
<out>/certify, <out>/int8   what each trained variant gets right, and quantised twins
<out>/stress/<condition>    finished blocks of images under each condition
<out>/bundle/               what `zoo publish` takes; replaced as a whole at the end
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from seedzoo.alone import alone_in
from seedzoo.catalog.bundle import (
    FAMILY_FILE,
    PROFILE_FILE,
    RECIPE_FILE,
    SIGNATURES_FILE,
    Bundle,
    int8_path,
    model_path,
)
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.twins import twin_name
from seedzoo.catalog.write_bundle import write_bundle
from seedzoo.errors import DataError
from seedzoo.executors import Executor
from seedzoo.files import local_failure
from seedzoo.records import Certificate, Family, FileEntry, Task, Variant
from seedzoo.stress import profile_bytes, suite
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.kept import Kept
from seedzoo.stress.measure import StressProgress, VariantModel, correctness, measure
from seedzoo.stress.natural import load_natural
from seedzoo.stress.signature_table import of_variants, signature_table_bytes
from seedzoo.training.card_files import card_files
from seedzoo.training.certify import certify
from seedzoo.training.data import ImageData, load_data
from seedzoo.training.pool import TrainedVariant, train_all
from seedzoo.training.quantise import quantise_static
from seedzoo.training.recipe import Recipe, load_recipe
from seedzoo.training.working_folder import sole_use

__all__ = ["BuildProgress", "below", "build", "dataset_text", "pinned"]

_SOFTWARE = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far one step is: ``train``, ``certify``, ``int8`` or ``stress``."""

    step: str
    done: int
    total: int
    note: str = ""


def build(
    recipe_path: Path,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    data_folder: Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    checkpoints: str | None = None,
    on_progress: Callable[[BuildProgress], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Build a family's bundle below ``out``.

    Args:
        recipe_path: The recipe file; relative data paths in it start at its folder.
        out: Working folder; what an earlier run finished in it is reused.
        overrides: ``section.key=value`` each, in place of what the recipe says; they travel with the family.
        data_folder: Where the training data are, in place of the recipe's ``data.path``.
        workers: Training processes and evaluation threads; the usable cores when omitted.
        executor: What variants are trained on; processes of this machine when omitted.
        checkpoints: Store for finished variants and snapshots that the executor's workers reach.
        on_progress: Called as variants and blocks of images are finished.
        on_notice: Told what a person should know though the build goes on.

    Raises:
        RecipeError: The recipe cannot be used.
        Conflict: Another build is at work in ``out`` (``BUILD_RUNNING``).
        DataError: The data cannot be used, or too few variants are equally accurate.
        ZooError: A worker died; running the same again resumes.
    """
    with sole_use(out):
        return _build(
            recipe_path, out, overrides=overrides, data_folder=data_folder, workers=workers, executor=executor,
            checkpoints=checkpoints, on_progress=on_progress, on_notice=on_notice,
        )  # fmt: skip


def _build(
    recipe_path: Path,
    out: Path,
    *,
    overrides: Sequence[str],
    data_folder: Path | None,
    workers: int | None,
    executor: Executor | None,
    checkpoints: str | None,
    on_progress: Callable[[BuildProgress], None],
    on_notice: Callable[[str], None],
) -> Bundle:
    recipe, recipe_bytes = load_recipe(recipe_path, overrides=overrides)
    if data_folder is not None:
        recipe = replace(recipe, data=replace(recipe.data, path=str(data_folder.resolve())))
    # What cannot be measured is refused now rather than after hours of training.
    conditions = suite(recipe.stress.suite)
    base = recipe_path.resolve().parent
    data = load_data(recipe.data, base=base)
    recipe = pinned(recipe, data, base, here=executor is None or executor.shares_files)
    sets = _sets(recipe, data, base, on_notice)
    task = Task(name=recipe.data.source, classes=data.classes, preprocessing=data.preprocessing)
    try:
        (out / "variants").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise local_failure(error, out) from error

    count = 0

    def trained_one(variant: TrainedVariant) -> None:
        nonlocal count
        count += 1
        on_progress(BuildProgress("train", count, recipe.family.train, variant.tag))

    trained = train_all(
        recipe, folder=out / "variants", base=base, task=task, workers=workers, executor=executor, data=data,
        checkpoints=checkpoints, on_done=trained_one, on_notice=on_notice,
    )  # fmt: skip
    files = {tag: out / "variants" / tag / "model.onnx" for tag in trained}
    certificate, accuracies, published = _certified(recipe, trained, files, data, out / "certify", workers, on_progress)
    twins = _twins(recipe, published, files, data, out / "int8", on_progress) if recipe.export.int8 else {}

    def stressed(progress: StressProgress) -> None:
        note = f"{progress.condition}, {progress.rate:,.0f} images/s"
        on_progress(BuildProgress("stress", progress.all_done, progress.all_total, note))

    with alone_in(out / "stress"):  # `zoo stress` on this bundle keeps its blocks there too
        measured = measure(
            [
                *(_from_file(tag, trained[tag].sha256, files[tag]) for tag in published),
                *(_twin(twin_name(tag), raw) for tag, raw in twins.items()),
            ],
            classes=len(data.classes),
            sets=sets,
            conditions=conditions,
            folder=out / "stress",
            slices=tuple(dict.fromkeys((*data.test_slices, *recipe.stress.slices))),
            threads=workers,
            on_progress=stressed,
        )
    family = Family(
        name=recipe.family.name,
        title=recipe.family.title or recipe.family.name,
        task=task,
        variants=tuple(_variant(recipe, trained[tag], accuracies[tag], twins.get(tag)) for tag in published),
        certificate=certificate,
        data=replace(data.origin, licence=recipe.family.licence),
        recipe_sha256=hashlib.sha256(recipe_bytes).hexdigest(),
        licence=recipe.family.licence,
        suite=recipe.stress.suite,
        software={name: version(name) for name in _SOFTWARE},
    )
    profile = profile_bytes(
        measured.rows,
        suite=recipe.stress.suite,
        dataset=dataset_text(recipe, data),
        version=version("seedzoo"),
        sum_squares=measured.sum_squares,
    )
    contents: dict[str, bytes | Path] = {
        FAMILY_FILE: encode_json(family),
        RECIPE_FILE: recipe_bytes,
        PROFILE_FILE: profile,
        **{model_path(tag): files[tag] for tag in published},
        **{int8_path(tag): raw for tag, raw in twins.items()},
    }

    def read(entry: FileEntry) -> bytes:
        content = contents[entry.path]
        return content if isinstance(content, bytes) else content.read_bytes()

    contents.update(card_files(family, measured.rows, data.test, read))
    if measured.signatures is not None:
        contents[SIGNATURES_FILE] = signature_table_bytes(of_variants(measured.signatures, published))
    return write_bundle(out / "bundle", contents)


def dataset_text(recipe: Recipe, data: ImageData) -> str:
    """What a profile says it was measured on."""
    return f"{recipe.data.source}, {len(data.test.labels)} test examples"


def below(base: Path, spec: str) -> str:
    """A recipe's words for a natural shift, with its path below the recipe's folder."""
    words, mark, options = spec.partition("?")
    name, equals, path = words.rpartition("=")
    return f"{name}{equals}{base / path}{mark}{options}"


def pinned(recipe: Recipe, data: ImageData, base: Path, *, here: bool) -> Recipe:
    """The recipe with digests of training data and checkpoints: what an earlier run made of others is not reused.

    Args:
        recipe: As it was read.
        data: Its data.
        base: Its folder.
        here: Whether this machine's files and devices are those that variants are trained with.

    Raises:
        RecipeError: A checkpoint cannot be used, or is not the one that the recipe means.
        DataError: The data are not those that the recipe means.
    """
    digest = data.training_digest
    if recipe.data.sha256.lower() not in ("", digest):
        raise DataError(
            f"these are not the training data that the recipe means: their digest is {digest}",
            hint="Fetch the right data, or change data.sha256.",
            field="data.sha256",
        )
    recipe = replace(recipe, data=replace(recipe.data, sha256=digest))
    if recipe.model.checkpoint_files:
        from seedzoo.training.network import located_checkpoints  # noqa: PLC0415  (imports torch)
        from seedzoo.training.trainer import check_trainable  # noqa: PLC0415

        recipe = located_checkpoints(recipe, base=base)
        if here:  # the last of many checkpoints might fail after hours
            check_trainable(recipe, base=base)
    return recipe


def _sets(recipe: Recipe, data: ImageData, base: Path, on_notice: Callable[[str], None]) -> list[EvaluationSet]:
    sets: list[EvaluationSet] = [EvaluationSet(name="id", kind="id", images=data.test, slices=data.test_slices)]
    for spec in recipe.stress.natural:
        for found in load_natural(below(base, spec), classes=data.classes, preprocessing=data.preprocessing):
            sets.append(found)
            for note in found.notes:
                on_notice(f"{found.name}: {note}")
    return sets


def _from_file(tag: str, sha256: str, path: Path) -> VariantModel:
    return VariantModel(tag=tag, sha256=sha256, read=path.read_bytes)


def _twin(name: str, raw: bytes) -> VariantModel:
    sha256 = hashlib.sha256(raw).hexdigest()
    return VariantModel(tag=name, sha256=sha256, read=lambda: raw, twin=True)


def _certified(
    recipe: Recipe,
    trained: dict[str, TrainedVariant],
    files: dict[str, Path],
    data: ImageData,
    folder: Path,
    workers: int | None,
    on_progress: Callable[[BuildProgress], None],
) -> tuple[Certificate, dict[str, float], tuple[str, ...]]:
    correct = correctness(
        [_from_file(tag, trained[tag].sha256, files[tag]) for tag in trained],
        data.test,
        folder=folder,
        threads=workers,
        on_progress=lambda done, total: on_progress(BuildProgress("certify", done, total)),
    )
    certificate, published = certify(recipe, list(trained), correct)
    means = np.asarray(correct.mean(axis=0))
    return certificate, {tag: float(mean) for tag, mean in zip(trained, means, strict=True)}, published


def _twins(
    recipe: Recipe,
    published: Sequence[str],
    files: dict[str, Path],
    data: ImageData,
    folder: Path,
    on_progress: Callable[[BuildProgress], None],
) -> dict[str, bytes]:
    """Quantised twins of the published variants, made once."""
    count = len(data.train.labels)
    rows = np.sort(np.random.default_rng(recipe.seeds.root).permutation(count)[: recipe.export.calibration])
    images = data.train.read(rows)
    software = "/".join(version(name) for name in ("onnx", "onnxruntime"))
    twins: dict[str, bytes] = {}
    for done, tag in enumerate(published, start=1):
        raw = files[tag].read_bytes()
        content = hashlib.sha256(raw + images.tobytes()).hexdigest()
        kept = Kept(folder, f"{content}/{software}")
        found = kept.get(tag)
        if found is None:
            twins[tag] = quantise_static(raw, images)
            kept.put(tag, {"onnx": np.frombuffer(twins[tag], dtype=np.uint8)}, compress=False)
        else:
            twins[tag] = found["onnx"].tobytes()
        on_progress(BuildProgress("int8", done, len(published), tag))
    return twins


def _variant(recipe: Recipe, trained: TrainedVariant, accuracy: float, twin: bytes | None) -> Variant:
    tag = trained.tag
    int8 = None
    if twin is not None:
        int8 = FileEntry(path=int8_path(tag), size=len(twin), sha256=hashlib.sha256(twin).hexdigest())
    return Variant(
        tag=tag,
        model=FileEntry(path=model_path(tag), size=trained.size, sha256=trained.sha256),
        seeds=trained.seeds,
        held_out_accuracy=accuracy,
        factors=recipe.variant_factors(tag),
        int8=int8,
    )
