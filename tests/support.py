"""Shared by tests: small bundles cut from the starter family, and images to send."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
from seedzoo.engine import Examples, SelectionSettings, run_selection
from seedzoo.engine.predictions import PredictionPart, PredictionStore
from seedzoo.engine.spread_evaluator import OpenEvaluator
from seedzoo.records import Family, ProgressUpdate, RaceDecision, Release, SelectionReport, Variant
from seedzoo.starter import starter_bundle
from seedzoo.stress.signature_table import read_signature_table, signature_table_bytes
from seedzoo.stress.table import read_profile, write_profile

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def small_bundle(folder: Path, *, variants: int = 4, name: str = "mini") -> Path:
    """A real bundle of the first few starter variants under another name."""
    source = open_bundle(starter_bundle())
    kept = source.family.variants[:variants]
    tags = {variant.tag for variant in kept}
    (folder / "models").mkdir(parents=True)
    for variant in kept:
        shutil.copy(source.folder / model_path(variant.tag), folder / model_path(variant.tag))
    shutil.copy(source.folder / RECIPE_FILE, folder / RECIPE_FILE)
    certificate = source.family.certificate
    assert certificate is not None
    family = replace(
        source.family,
        name=name,
        variants=kept,
        certificate=replace(
            certificate,
            published=len(kept),
            set_aside=tuple(entry.tag for entry in certificate.entries if entry.passed and entry.tag not in tags),
        ),
    )
    (folder / FAMILY_FILE).write_bytes(encode_json(family))
    profile = read_profile(source.folder / PROFILE_FILE)
    rows = [row for row in profile.rows if row.variant in tags]
    write_profile(rows, folder / PROFILE_FILE, suite=profile.suite, dataset=profile.dataset, version=profile.version)
    table = read_signature_table((source.folder / SIGNATURES_FILE).read_bytes(), where=SIGNATURES_FILE)
    cut = replace(
        table,
        variants=table.variants[:variants],
        cot=table.cot[:variants],
        nuclear=table.nuclear[:variants],
    )
    (folder / SIGNATURES_FILE).write_bytes(signature_table_bytes(cut))
    return folder


class MemoryExamples:
    """Examples as the engine takes them: image files in memory.

    Args:
        contents: Bytes of each image file.
        labels: Class index of each, -1 for none.
        groups: Group of each, or None.
        slices: By name which examples belong to a slice.
        columns: By slice column the number of each example's slice.
    """

    def __init__(
        self,
        contents: Sequence[bytes],
        labels: Sequence[int] | NDArray[np.int64],
        *,
        groups: NDArray[np.int64] | None = None,
        slices: Mapping[str, NDArray[np.bool_]] | None = None,
        columns: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        self._contents = contents
        self._columns = dict(columns or {})
        self.labels = np.asarray(labels, dtype=np.int64)
        self.groups = groups
        self.digests = [hashlib.sha256(content).hexdigest() for content in contents]
        self.sizes = np.array([len(content) for content in contents], dtype=np.int64)
        self.slices = dict(slices or {})
        self.slice_columns = tuple(self._columns)
        self.read_rows: list[int] = []

    def slice_numbers(self, column: str) -> NDArray[np.int64]:
        return self._columns[column]

    def read(self, rows: Sequence[int]) -> list[bytes]:
        self.read_rows += rows
        return [self._contents[row] for row in rows]


@dataclass(frozen=True)
class Engine:
    """The engine on a bundle."""

    bundle: Bundle

    @property
    def family(self) -> Family:
        return self.bundle.family

    def load(self, variant: Variant) -> bytes:
        return (self.bundle.folder / model_path(variant.tag)).read_bytes()

    def select(
        self,
        examples: Examples,
        settings: SelectionSettings,
        *,
        signatures: bool = True,
        predictions: PredictionStore | None = None,
        decision: RaceDecision | None = None,
        on_decision: Callable[[RaceDecision], None] = lambda _: None,
        on_progress: Callable[[ProgressUpdate], None] = lambda _: None,
        open_evaluator: OpenEvaluator | None = None,
    ) -> SelectionReport:
        folder = self.bundle.folder
        return run_selection(
            family=self.family,
            release=Release(self.family.name, "release", "2026-01-01T00:00:00+00:00", self.bundle.files),
            load_model=self.load,
            profile=read_profile(folder / PROFILE_FILE),
            signatures=read_signature_table((folder / SIGNATURES_FILE).read_bytes(), where="test")
            if signatures
            else None,
            examples=examples,
            settings=settings,
            selections_served=1,
            predictions=predictions,
            decision=decision,
            on_decision=on_decision,
            on_progress=on_progress,
            open_evaluator=open_evaluator,
        )


class KeptPredictions:
    """Parts of predictions, kept in memory."""

    def __init__(self) -> None:
        self.parts: list[PredictionPart] = []

    def load(self) -> Iterable[PredictionPart]:
        return list(self.parts)

    def save(self, parts: Sequence[PredictionPart]) -> None:
        self.parts += parts


def without_costs(report: SelectionReport) -> SelectionReport:
    """A report without what depends on the time and on what was known before."""
    return replace(report, seconds=0.0, evaluations=0)


def subset_images() -> tuple[list[bytes], NDArray[np.int64]]:
    """The small Fashion-MNIST subset of the tests: PNG files and labels."""
    folder = Path(__file__).resolve().parent / "data" / "fashion-subset"
    contents, labels = [], []
    for part in ("train", "t10k"):
        raw = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        contents += [png(image) for image in np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)]
        raw = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        labels.append(np.frombuffer(raw, np.uint8, offset=8).astype(np.int64))
    return contents, np.concatenate(labels)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def example_files(folder: str = "mydata", classes: Sequence[str] = (), per_class: int = 30) -> list[tuple[Path, str]]:
    """Paths and class names of the example images."""
    found = []
    for directory in sorted((EXAMPLES / folder).iterdir()):
        if directory.is_dir() and (not classes or directory.name in classes):
            found += [(path, directory.name) for path in sorted(directory.glob("*.png"))[:per_class]]
    return found
