"""Train many variants: one process per core with one thread each, resumable, stopped at once by Ctrl-C.

Every finished variant is a folder ``<tag>/`` with ``model.onnx`` and, written last, ``result.json``; a variant without
its result is trained again. A kill at any moment therefore costs at most the variants in flight.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import msgspec

from seedzoo.cpu import usable_cores
from seedzoo.errors import ZooError
from seedzoo.files import write_atomically
from seedzoo.records import Task
from seedzoo.training.recipe import Recipe

__all__ = ["TrainedVariant", "finished_variant", "train_all"]

_RESULT = "result.json"
_MODEL = "model.onnx"


@dataclass(frozen=True, slots=True)
class TrainedVariant:
    """What is kept of one training run (``result.json``)."""

    tag: str
    training_key: str
    seeds: dict[str, int]
    sha256: str
    size: int
    parity: float
    """Largest |logit difference| between torch and ONNX Runtime at export."""
    seconds: float


def finished_variant(folder: Path, tag: str, training_key: str) -> TrainedVariant | None:
    """The result of an earlier run under the same key, if its model file is whole; else None."""
    try:
        result = msgspec.json.decode((folder / tag / _RESULT).read_bytes(), type=TrainedVariant)
        raw = (folder / tag / _MODEL).read_bytes()
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    whole = result.training_key == training_key and hashlib.sha256(raw).hexdigest() == result.sha256
    return result if whole else None


def train_all(
    recipe: Recipe,
    *,
    folder: Path,
    base: Path,
    task: Task,
    workers: int | None = None,
    on_done: Callable[[TrainedVariant], None] = lambda _: None,
) -> dict[str, TrainedVariant]:
    """Train every variant of the recipe that is not finished yet.

    Args:
        recipe: What to train.
        folder: Where variants are kept; created when missing.
        base: Folder that relative data paths of the recipe start from.
        task: Goes into the models' metadata.
        workers: Processes; the usable cores when omitted.
        on_done: Called in this process for each finished variant, earlier ones included.

    Returns:
        All variants by tag.

    Raises:
        ZooError: A worker failed or died; finished variants are kept and a second call resumes.
    """
    done: dict[str, TrainedVariant] = {}
    for tag in recipe.tags:
        if (earlier := finished_variant(folder, tag, recipe.training_key)) is not None:
            done[tag] = earlier
            on_done(earlier)
    missing = [tag for tag in recipe.tags if tag not in done]
    if missing:
        _run(missing, recipe, folder, base, task, workers or usable_cores(), done, on_done)
    return {tag: done[tag] for tag in recipe.tags}


def _run(
    missing: Sequence[str],
    recipe: Recipe,
    folder: Path,
    base: Path,
    task: Task,
    workers: int,
    done: dict[str, TrainedVariant],
    on_done: Callable[[TrainedVariant], None],
) -> None:
    executor = ProcessPoolExecutor(
        max_workers=min(workers, len(missing)),
        mp_context=multiprocessing.get_context("spawn"),  # torch's threads do not survive a fork
        initializer=_start_worker,
        initargs=(os.getpid(), recipe, base),
    )
    try:
        futures: list[Future[TrainedVariant]] = [executor.submit(_train_one, tag, folder, task) for tag in missing]
        for future in as_completed(futures):
            result = future.result()
            done[result.tag] = result
            on_done(result)
    except BrokenProcessPool as error:
        raise ZooError(
            f"a training process died; {len(done)} of {recipe.family.train} variants are finished and kept",
            hint="Run the same command again to resume; if it dies again, look for memory limits (dmesg).",
            reason="WORKER_DIED",
        ) from error
    except BaseException:
        for child in multiprocessing.active_children():  # do not wait for minutes of training nobody wants
            child.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


_worker_state: dict[str, object] = {}


def _start_worker(parent: int, recipe: Recipe, base: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C for all
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    from seedzoo.training.data import load_data  # noqa: PLC0415  (the parent process need not pay for this)

    _worker_state["recipe"] = recipe
    _worker_state["data"] = load_data(recipe.data, base=base)


def _exit_with(parent: int) -> None:
    """A killed parent closes nothing; without this its workers would train on for nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _train_one(tag: str, folder: Path, task: Task) -> TrainedVariant:
    from seedzoo.training.data import ImageData  # noqa: PLC0415
    from seedzoo.training.export import check_parity, export_onnx  # noqa: PLC0415  (imports torch)
    from seedzoo.training.trainer import train_variant  # noqa: PLC0415

    recipe, data = _worker_state["recipe"], _worker_state["data"]
    if not isinstance(recipe, Recipe) or not isinstance(data, ImageData):
        raise TypeError("the worker was not started with a recipe and data")
    started = time.perf_counter()
    seeds = recipe.variant_seeds(tag)
    model = train_variant(recipe, data, seeds)
    raw = export_onnx(model, task=task, family=recipe.family.name, tag=tag, seeds=seeds)
    parity = check_parity(model, raw, data.test_images[:1000])
    result = TrainedVariant(
        tag=tag,
        training_key=recipe.training_key,
        seeds=seeds,
        sha256=hashlib.sha256(raw).hexdigest(),
        size=len(raw),
        parity=parity,
        seconds=round(time.perf_counter() - started, 1),
    )
    (folder / tag).mkdir(parents=True, exist_ok=True)
    write_atomically(folder / tag / _MODEL, raw)
    write_atomically(folder / tag / _RESULT, msgspec.json.format(msgspec.json.encode(result)))
    return result
