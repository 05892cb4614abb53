"""Train many variants on an executor: resumable, stopped at once by Ctrl-C.

Workers hand back what they made, so that they need not share a file system with this process. A kill at any moment
costs at most what the variants in flight did since their last snapshot.
"""

from __future__ import annotations

import hashlib
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.open import open_store
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import DataError, RecipeError, RequestError, ZooError
from seedzoo.executors import Executor, Job, LocalExecutor, Setup, Snapshots
from seedzoo.inference.sources import ArrayImages, ImageSource
from seedzoo.records import Task
from seedzoo.training.finished import (
    LICENCE_KEY,
    MODEL_FILE,
    WEIGHTS_FILE,
    TrainedVariant,
    finished_variant,
    folder_snapshots,
    has_result,
    keep_in_folder,
    keep_in_store,
    store_snapshots,
    stored_variant,
)
from seedzoo.training.recipe import Recipe

if TYPE_CHECKING:
    from seedzoo.training.data import ImageData

__all__ = ["TrainedVariant", "finished_variant", "train_all"]

_MAKERS = ("torch", "timm", "onnx", "onnxscript")
"""What decides the bits of a model."""
_SOFTWARE = ("seedzoo", "torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")
_PARITY_IMAGES = 1000


def train_all(
    recipe: Recipe,
    *,
    folder: Path,
    base: Path,
    task: Task,
    workers: int | None = None,
    executor: Executor | None = None,
    data: ImageData | None = None,
    checkpoints: str | None = None,
    on_done: Callable[[TrainedVariant], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> dict[str, TrainedVariant]:
    """Train every variant of the recipe that is not finished yet.

    Args:
        recipe: What to train.
        folder: Where variants are kept; created when missing.
        base: Folder that relative paths of the recipe start from.
        task: Goes into the models' metadata.
        workers: Processes of this machine, where no executor is given; the usable cores when omitted.
        executor: What the variants are trained on; processes of this machine when omitted.
        data: The recipe's data, where they are loaded already; each worker loads them itself when omitted, or when
            that costs less than sending them.
        checkpoints: Store that all workers reach (URL or shared folder), for finished variants and snapshots; in
            ``folder`` when omitted.
        on_done: Called in this process for each finished variant, earlier ones included.
        on_notice: Told what a person should know though training goes on: a worker died, a snapshot was damaged.

    Returns:
        All variants by tag.

    Raises:
        ZooError: Training failed, or a worker died once too often; finished variants are kept and a second call
            resumes.
        LocalFailure: The disk is full (``DISK_FULL``).
    """
    folder, base = folder.resolve(), base.resolve()
    done = _earlier(recipe, folder, checkpoints, on_notice)
    for variant in done.values():
        on_done(variant)
    missing = [tag for tag in recipe.tags if tag not in done]
    if missing:
        used = executor or LocalExecutor(cpus=workers)
        if not used.shares_files and checkpoints is None:
            on_notice("no store for checkpoints is given: a variant whose worker dies starts again from its beginning")
        with used.run(
            _jobs(missing, recipe, task, used), setup=_setup(recipe, folder, base, used, data, checkpoints),
            on_notice=on_notice,
        ) as results:  # fmt: skip
            for finished in results:
                for notice in finished.result.notices:
                    on_notice(notice)
                keep_in_folder(folder, finished.result.variant, finished.result.files)
                done[finished.name] = finished.result.variant
                on_done(finished.result.variant)
    return {tag: done[tag] for tag in recipe.tags}


def _makers() -> dict[str, str]:
    return {name: version(name) for name in _MAKERS}


def _licensed(folder: Path, variant: TrainedVariant, licence: str) -> TrainedVariant:
    """The variant under the recipe's licence, which stands in its model; what it computes stays."""
    if variant.licence == licence:
        return variant
    import onnx  # noqa: PLC0415  (only where something is to be changed)

    proto = onnx.load(folder / variant.tag / MODEL_FILE)
    for entry in proto.metadata_props:
        if entry.key == LICENCE_KEY:
            entry.value = licence
    raw = proto.SerializeToString(deterministic=True)
    changed = replace(variant, licence=licence, sha256=hashlib.sha256(raw).hexdigest(), size=len(raw))
    keep_in_folder(folder, changed, {MODEL_FILE: raw})
    return changed


def _earlier(
    recipe: Recipe, folder: Path, checkpoints: str | None, on_notice: Callable[[str], None]
) -> dict[str, TrainedVariant]:
    """What earlier runs finished and can be used."""
    store = _open(checkpoints)
    done: dict[str, TrainedVariant] = {}
    damaged, outdated = 0, 0
    try:
        for tag in recipe.tags:
            found = finished_variant(folder, tag, recipe.training_key)
            if found is None and store is not None:
                stored = stored_variant(store, tag, recipe.training_key, on_notice=on_notice)
                if stored is not None:
                    found = stored[0]
                    keep_in_folder(folder, *stored)
            if found is None:
                damaged += has_result(folder, tag)
            elif found.software and found.software != _makers():
                outdated += 1
            else:
                done[tag] = _licensed(folder, found, recipe.family.licence)
    finally:
        if store is not None:
            store.close()
    for count, why in (
        (damaged, "are of another recipe, other training data or another checkpoint, or damaged"),
        (outdated, f"were made by other versions of {', '.join(_MAKERS)}"),
    ):
        if count:
            on_notice(f"{count} variants that an earlier run finished {why}: they are trained again")
    return done


@dataclass(frozen=True)
class _Trained:
    """What a worker hands back."""

    variant: TrainedVariant
    files: dict[str, bytes]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Prepared:
    """What a worker has ready for all its variants."""

    recipe: Recipe
    data: ImageData
    base: Path
    folder: Path | None
    """Where snapshots go; None where this machine does not see the build's folder."""
    store: ObjectStore | None
    files: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Checkpoints that the recipe names, where this machine need not have them."""


def _open(checkpoints: str | None) -> ObjectStore | None:
    if checkpoints is None:
        return None
    if checkpoints.startswith("memory:"):
        raise RequestError(
            "checkpoints in memory:// would be lost with the process that wrote them",
            hint="Name a folder that all workers see, or s3://bucket/prefix.",
            field="checkpoints",
        )
    return open_store(_absolute(checkpoints))


def _absolute(checkpoints: str) -> str:
    return checkpoints if "://" in checkpoints else str(Path(checkpoints).resolve())


def _jobs(missing: Sequence[str], recipe: Recipe, task: Task, executor: Executor) -> list[Job[_Trained]]:
    gpus = 1 if _uses_gpu(recipe, executor) else 0
    return [
        Job(name=tag, function=_train_one, arguments=(tag, task), cpus=1 + recipe.training.loader_workers, gpus=gpus)
        for tag in missing
    ]


def _uses_gpu(recipe: Recipe, executor: Executor) -> bool:
    if recipe.training.device != "auto":
        return recipe.training.device != "cpu"
    if executor.gpus == 0:
        return False
    if not executor.shares_files:
        return True
    import torch  # noqa: PLC0415  (only where there is a GPU to ask for)

    return torch.cuda.is_available()  # torch may have been built without


def _setup(
    recipe: Recipe, folder: Path, base: Path, executor: Executor, data: ImageData | None, checkpoints: str | None
) -> Setup[_Prepared]:
    here = executor.shares_files
    return Setup(
        _prepare,
        (
            recipe,
            base,
            folder if here else None,
            None if checkpoints is None else _absolute(checkpoints),
            data if executor.shares_arguments else None,
            {} if here else {name: _contents(base / name) for name in recipe.model.checkpoint_files},
            {} if here else {name: version(name) for name in _SOFTWARE},
        ),
    )


def _contents(path: Path) -> NDArray[np.uint8]:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise RecipeError(f"cannot read checkpoint {path}: {error.strerror}", field="model.checkpoint") from error


def _prepare(
    recipe: Recipe,
    base: Path,
    folder: Path | None,
    checkpoints: str | None,
    data: ImageData | None,
    files: Mapping[str, NDArray[np.uint8]],
    software: Mapping[str, str],
) -> _Prepared:
    """Once in each worker."""
    differing = {name: version(name) for name, wanted in software.items() if version(name) != wanted}
    if differing:
        raise ZooError(
            f"{socket.gethostname()} has {', '.join(f'{name} {found}' for name, found in differing.items())}, but the "
            f"build was started with {', '.join(f'{name} {software[name]}' for name in differing)}",
            hint="Install the same versions on every machine, or one family would be made by several programs.",
            reason="WORKER_UNFIT",
        )
    if data is None:
        from seedzoo.training.data import load_data  # noqa: PLC0415  (the parent process need not pay for this)

        data = load_data(recipe.data, base=base)
        if recipe.data.sha256 and isinstance(data.train, ArrayImages) and data.training_digest != recipe.data.sha256:
            raise DataError("the training data have changed since the build was started", hint="Run it again.")
    else:
        data = replace(data, train=_own_labels(data.train), test=_own_labels(data.test))
    return _Prepared(recipe, data, base, folder, _open(checkpoints), files)


def _own_labels(source: ImageSource) -> ImageSource:
    """Arrays that workers share cannot be written to, which torch wants of labels even if it only reads them."""
    if source.labels.flags.writeable:
        return source
    return replace(source, labels=source.labels.copy())  # type: ignore[type-var]


def _train_one(prepared: _Prepared, tag: str, task: Task) -> _Trained:
    """In a worker."""
    from seedzoo.training.export import check_parity, export_onnx  # noqa: PLC0415  (imports torch)
    from seedzoo.training.trainer import train_variant, weights_bytes  # noqa: PLC0415

    recipe, data = prepared.recipe, prepared.data
    notices: list[str] = []
    started = time.perf_counter()
    seeds = recipe.variant_seeds(tag)
    with tempfile.TemporaryDirectory(prefix="seedzoo-") as temporary:
        model = train_variant(
            recipe,
            data,
            seeds,
            checkpoint=_checkpoint(prepared, tag, Path(temporary)),
            snapshots=_snapshots(prepared, tag, notices.append),
        )
    factors = recipe.variant_factors(tag)
    raw = export_onnx(
        model, task=task, family=recipe.family.name, tag=tag, seeds=seeds, factors=factors,
        licence=recipe.family.licence,
    )  # fmt: skip
    parity = check_parity(model, raw, data.test.read(range(min(_PARITY_IMAGES, len(data.test.labels)))))
    files = {MODEL_FILE: raw}
    if recipe.training.keep_weights:
        files[WEIGHTS_FILE] = weights_bytes(model)
    variant = TrainedVariant(
        tag=tag,
        training_key=recipe.training_key,
        seeds=seeds,
        sha256=hashlib.sha256(raw).hexdigest(),
        size=len(raw),
        parity=parity,
        seconds=round(time.perf_counter() - started, 1),
        factors=factors,
        weights_sha256=hashlib.sha256(files[WEIGHTS_FILE]).hexdigest() if WEIGHTS_FILE in files else "",
        licence=recipe.family.licence,
        software=_makers(),
    )
    if prepared.store is not None:
        keep_in_store(prepared.store, variant, files)
    return _Trained(variant, files, tuple(notices))


def _checkpoint(prepared: _Prepared, tag: str, temporary: Path) -> Path | None:
    name = prepared.recipe.variant_checkpoint(tag)
    if name is None:
        return None
    if name not in prepared.files:
        return prepared.base / name
    path = temporary / Path(name).name
    prepared.files[name].tofile(path)
    return path


def _snapshots(prepared: _Prepared, tag: str, on_damage: Callable[[str], None]) -> Snapshots | None:
    training_key = prepared.recipe.training_key
    # Another torch may draw and round otherwise: what it began, this one must not go on with.
    key = hashlib.sha256(f"{training_key}/{version('torch')}".encode()).hexdigest()
    if prepared.store is not None:
        return store_snapshots(prepared.store, training_key, tag, key=key, on_damage=on_damage)
    if prepared.folder is not None:
        return folder_snapshots(prepared.folder, tag, key=key, on_damage=on_damage)
    return None
