"""One selection: a user's examples and a family's variants in, a report out.

The server runs this for uploaded datasets; it knows nothing of where examples come from or who asks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seedzoo.cpu import usable_cores
from seedzoo.errors import Cancelled, DataError, ItemsError, RequestError
from seedzoo.inference.decode import DEFAULT_MAX_PIXELS, DecodedImage, decode_image
from seedzoo.inference.evaluate import Evaluator, block_length
from seedzoo.inference.session import Model
from seedzoo.records import Family, ProgressUpdate, Release, SelectionPhase, SelectionReport, Variant
from seedzoo.report import Notes, Scores, make_report
from seedzoo.selection import accuracy_scores, choose
from seedzoo.stress.table import ProfileTable

__all__ = ["Examples", "SelectionSettings", "check_settings", "run_selection"]

OBJECTIVES = ("accuracy",)
_MOST_FAULTS = 1000
_BLOCK_FILE_BYTES = 32 << 20


class Examples(Protocol):
    """A user's labelled examples, read a few at a time."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each example ``[n]``; -1 for an unlabelled one."""
        ...

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Group of each example ``[n]``: those of one group depend on each other. None where all are independent."""
        ...

    @property
    def digests(self) -> Sequence[str]:
        """SHA-256 of each example's file: equal ones are copies."""
        ...

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each example's file ``[n]``."""
        ...

    def read(self, start: int, stop: int) -> list[bytes]:
        """File contents of the examples ``start`` to ``stop - 1``."""
        ...


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """What the user may choose: objective, level of the statements, and what counts as just as good."""

    objective: str = "accuracy"
    alpha: float = 0.05
    delta: float = 0.01
    seed: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS


def check_settings(settings: SelectionSettings) -> None:
    """Refuse settings that cannot be used.

    Raises:
        RequestError: Unknown objective; alpha or delta out of range.
    """
    if settings.objective not in OBJECTIVES:
        raise RequestError(
            f"objective {settings.objective!r} is not known", hint=f"Known: {', '.join(OBJECTIVES)}.", field="objective"
        )
    if not 0.001 <= settings.alpha <= 0.5:
        raise RequestError(f"alpha = {settings.alpha} is not between 0.001 and 0.5", field="alpha")
    if not 0 < settings.delta < 1:
        raise RequestError(f"delta = {settings.delta} is not between 0 and 1", field="delta")


def run_selection(
    *,
    family: Family,
    release: Release,
    load_model: Callable[[Variant], bytes],
    profile: ProfileTable,
    examples: Examples,
    settings: SelectionSettings,
    selections_served: int,
    on_progress: Callable[[ProgressUpdate], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SelectionReport:
    """Evaluate every variant on every labelled example and choose.

    Args:
        family: Whose variants.
        release: The release that the manifest belongs to.
        load_model: Reads and verifies a variant's ONNX file.
        profile: Stored stress profile of the family.
        examples: The user's data.
        settings: Objective and levels.
        selections_served: How many selections this dataset has served, this one included.
        on_progress: Called from this thread after each block.
        should_stop: Asked after each block.

    Raises:
        RequestError: The settings cannot be used.
        DataError: There are no labelled examples, or labels outside the task.
        ItemsError: Some images cannot be decoded; names all of them by index.
        Cancelled: ``should_stop`` said so.
    """
    check_settings(settings)
    labels = _checked_labels(examples, family)
    started = time.perf_counter()
    total = len(labels)
    on_progress(ProgressUpdate(SelectionPhase.LOADING, examples_total=total))
    loaders = [_loader(family.name, variant, load_model) for variant in family.variants]
    notes = Notes()
    predicted, ensemble = [], []
    right = np.zeros(len(loaders), dtype=np.int64)
    with Evaluator(loaders) as evaluator:
        blocks = _decoded_blocks(examples, family, settings.max_pixels, notes, should_stop)
        for start, images in blocks:
            stop = start + len(images)
            scores = evaluator.run(images, labels[start:stop])
            predicted.append(scores.predicted)
            ensemble.append(scores.ensemble)
            right += (scores.predicted == labels[start:stop, np.newaxis]).sum(axis=0)
            leader = family.variants[int(right.argmax())].tag
            on_progress(ProgressUpdate(SelectionPhase.EVALUATING, stop, total, len(loaders), f"{family.name}/{leader}"))
    on_progress(ProgressUpdate(SelectionPhase.CHOOSING, total, total, len(loaders)))
    called = np.concatenate(predicted)
    correct = accuracy_scores(called, labels)
    ensemble_right = np.concatenate(ensemble) == labels
    groups, copies = _dependent(examples)
    held_out = np.array([variant.held_out_accuracy for variant in family.variants])
    choice = choose(
        correct,
        alpha=settings.alpha,
        delta=settings.delta,
        groups=groups,
        baselines={"ensemble": ensemble_right},
        reference=int(held_out.argmax()),
        order=held_out,
        seed=settings.seed,
    )
    return make_report(
        family=family,
        release=release,
        choice=choice,
        scores=Scores(
            predicted=called,
            correct=correct,
            ensemble_accuracy=float(ensemble_right.mean()),
            n_groups=None if groups is None else len(np.unique(groups)),
            copies=copies,
        ),
        labels=labels,
        objective=settings.objective,
        profile=profile,
        notes=notes,
        seconds=time.perf_counter() - started,
        selections_served=selections_served,
    )


def _checked_labels(examples: Examples, family: Family) -> NDArray[np.int64]:
    labels = examples.labels
    if len(labels) == 0:
        raise DataError("the dataset has no examples", reason="DATA_EMPTY")
    unlabelled = np.flatnonzero(labels < 0)
    if len(unlabelled):
        raise DataError(
            f"{len(unlabelled)} of {len(labels)} examples have no label",
            hint="Every example needs its true class: a folder per class, or a CSV with path,label.",
            reason="LABELS_MISSING",
        )
    if int(labels.max()) >= len(family.task.classes):
        raise DataError(
            f"label {int(labels.max())} is outside the {len(family.task.classes)} classes of {family.name}",
            reason="LABEL_UNKNOWN",
        )
    return labels


def _loader(family: str, variant: Variant, load_model: Callable[[Variant], bytes]) -> Callable[[], Model]:
    return lambda: Model(load_model(variant), name=f"{family}/{variant.tag}")


def _dependent(examples: Examples) -> tuple[NDArray[np.int64] | None, int]:
    """Groups of examples that depend on each other: those the user named, joined where they share a copied image.

    Returns:
        Group of each example ``[n]`` (None where all are independent), and how many examples are copies of others.
    """
    _, same_file = np.unique(np.asarray(examples.digests), return_inverse=True)
    copies = len(same_file) - int(same_file.max()) - 1
    named = examples.groups
    if named is None:
        return (same_file.astype(np.int64) if copies else None), copies
    # Groups and files are the nodes of a graph, examples its edges; what hangs together is one group.
    _, groups = np.unique(named, return_inverse=True)
    offset = int(groups.max()) + 1
    nodes = offset + int(same_file.max()) + 1
    edges = coo_array((np.ones(len(groups)), (groups, offset + same_file)), shape=(nodes, nodes))
    _, component = connected_components(edges, directed=False)
    return component[groups].astype(np.int64), copies


def _decoded_blocks(
    examples: Examples, family: Family, max_pixels: int, notes: Notes, should_stop: Callable[[], bool]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode block after block. After the first bad image only decode on, to name all bad ones at once."""
    shape = family.task.preprocessing
    length = block_length(shape.height * shape.width * shape.channels)
    total = len(examples.labels)
    faults: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="seedzoo-decode") as pool:

        def decode(raw: bytes) -> DecodedImage | DataError:
            try:
                return decode_image(raw, shape, max_pixels=max_pixels)
            except DataError as error:
                return error

        for start, stop in _blocks(examples.sizes, length):
            if should_stop():
                raise Cancelled("the selection was cancelled")
            decoded = list(pool.map(decode, examples.read(start, stop)))
            faults.update(
                {start + at: found.message for at, found in enumerate(decoded) if isinstance(found, DataError)}
            )
            if len(faults) >= _MOST_FAULTS:
                break
            if faults:
                continue
            images = [found for found in decoded if isinstance(found, DecodedImage)]
            _note_conversions(images, notes)
            yield start, np.stack([image.pixels for image in images])
    if faults:
        count = f"{len(faults)} of {total}" if len(faults) < _MOST_FAULTS else f"at least {len(faults)} of {total}"
        raise ItemsError(f"{count} images cannot be used", faults=faults, hint="Replace or remove them.")


def _blocks(sizes: NDArray[np.int64], length: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of at most ``length`` examples and about 32 MiB of files."""
    start, held = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= length or held + int(size) > _BLOCK_FILE_BYTES):
            yield start, index
            start, held = index, 0
        held += int(size)
    yield start, len(sizes)


def _note_conversions(images: Sequence[DecodedImage], notes: Notes) -> None:
    notes.colour_changes.update(Counter(image.colour_change for image in images if image.colour_change))
    notes.resized_from.update(Counter(image.resized_from for image in images if image.resized_from is not None))
