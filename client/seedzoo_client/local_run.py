"""What local mode does with the library: read the catalog of a store, and run the engine on files of this machine.

Only :mod:`seedzoo_client.local` imports this, when something is asked of it: the base install lacks what it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seedzoo.catalog.bundle import FAMILY_FILE
from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.names import parse_family, parse_variant
from seedzoo.catalog.open import open_store
from seedzoo.catalog.selectable import model_of
from seedzoo.engine import SelectionSettings, run_selection
from seedzoo.engine.predictions import keeps_predictions
from seedzoo.engine.spread_evaluator import OpenEvaluator, evaluators_on
from seedzoo.errors import DataError, ItemsError, LocalFailure, NotFound, RequestError, Unavailable
from seedzoo.executors import open_executor
from seedzoo.files import write_atomically
from seedzoo.inference.settings import InferenceSettings
from seedzoo.records import Evidence, ProgressUpdate, Release, SelectionPhase, SelectionReport
from seedzoo_client.cache import CachedModel, ModelCache, VariantName
from seedzoo_client.datasets import LocalDataset, bind
from seedzoo_client.fingerprint import HashedItem, dataset_fingerprint
from seedzoo_client.fitting import fitting_family
from seedzoo_client.labels import ClassMatcher, LabelMap
from seedzoo_client.local_catalog import LocalCatalog
from seedzoo_client.local_examples import LocalExamples
from seedzoo_client.local_kept import KeptFiles
from seedzoo_client.local_predictions import KeptPredictions
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.scan import Scan

__all__ = ["LocalRun"]

_PREDICTION_BYTES = 1 << 30
"""Several of the largest sets that the engine keeps."""
_QUESTION_BYTES = 16 << 20
_CHUNK = 1 << 20
_STAGES = {
    SelectionPhase.QUEUED: Stage.LOADING,
    SelectionPhase.LOADING: Stage.LOADING,
    SelectionPhase.EVALUATING: Stage.EVALUATING,
    SelectionPhase.CHOOSING: Stage.CHOOSING,
}


class LocalRun:
    """An opened store.

    Args:
        store: A directory, or ``s3://bucket/prefix``.
        home: The client's folder.
        offline: Whether nothing may be connected to.
        ray: Evaluate on Ray, and not in threads of this process.
        address: A Ray cluster that runs already.
        on_notice: Told what a person should know although the work goes on.

    Raises:
        RequestError: The store cannot be used.
        NotFound: The directory does not exist.
        Unavailable: Offline mode is on, and it is no directory.
    """

    def __init__(
        self,
        store: str,
        *,
        home: Path,
        offline: bool,
        ray: bool,
        address: str | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self._store = open_store(store)
        if isinstance(self._store, LocalStore):
            if not self._store.root.is_dir():
                raise NotFound(
                    f"the store {self._store.root} does not exist",
                    hint="Give the directory that `zoo publish` wrote to, or s3://bucket/prefix.",
                    reason="STORE_MISSING",
                    field="store",
                )
            if os.path.isfile(self._store.root / FAMILY_FILE):  # noqa: PTH113 - refuses nothing; the listing below does
                raise RequestError(
                    f"{self._store.root} is a bundle, and not a store",
                    hint=f"Publish it into one first: zoo publish {self._store.root} --store DIRECTORY.",
                    field="store",
                )
        elif offline:
            raise Unavailable(
                f"offline mode is on, and {self._store.url} is not on this machine",
                hint="Unset SEEDZOO_OFFLINE, or give a directory.",
                reason="OFFLINE",
            )
        self._catalog = Catalog(self._store)
        self.browse = LocalCatalog(self._catalog, on_notice=on_notice)
        self._home = home
        self._on_notice = on_notice
        self._open_evaluator: OpenEvaluator | None = None
        if ray:
            self._open_evaluator = evaluators_on(open_executor("ray", address=address), on_notice=on_notice)
        self._predictions = KeptFiles(home / "predictions", limit_bytes=_PREDICTION_BYTES)
        self._questions = KeptFiles(home / "questions", limit_bytes=_QUESTION_BYTES)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def bound(self, scan: Scan, family: str | None, label_map: LabelMap | None) -> tuple[str, LocalDataset]:
        """The family, by name and release, and the data with its labels.

        Raises:
            NotFound: There is no such family.
            DataError: The labels fit none.
            RequestError: They fit several, or it is for browsing only.
        """
        if family is not None:
            found, release = self._catalog.selectable(parse_family(family))
            return f"{found.name}@{release.id}", bind(scan, ClassMatcher(found.task.classes, label_map))
        views = self.browse.families()
        name, dataset = fitting_family(scan, views, label_map=label_map, server=self._store.url, kind="store")
        return f"{name}@{next(view.release for view in views if view.name == name)}", dataset

    def select(
        self,
        dataset: LocalDataset,
        items: Sequence[HashedItem],
        *,
        family: str,
        asked: dict[str, Any],
        progress: ProgressCallback,
        should_stop: Callable[[], bool],
    ) -> SelectionReport:
        """Run one selection in this thread.

        Args:
            dataset: The images with labels of the family's task.
            items: The same images, hashed.
            family: Whose variants.
            asked: Settings of the engine by name.
            progress: Called after each block.
            should_stop: Asked before each block.

        Raises:
            ItemsError: Some images cannot be decoded; names their files.
            Cancelled: ``should_stop`` said so.
        """
        found, release = self._catalog.selectable(parse_family(family))
        if found.task.classes != dataset.classes:
            raise DataError(
                f"the data's classes are not those of {found.name}: {', '.join(found.task.classes)}",
                hint="Read the data for this family.",
                reason="CLASSES_DIFFER",
            )
        examples = LocalExamples(dataset, items)
        settings = SelectionSettings(**asked)
        if not keeps_predictions(len(items), len(found.variants), len(found.task.classes)):
            self._on_notice("the predictions are too many to be kept: a run that is stopped begins anew")
        question = _Question(self._questions, dataset, items, release, settings)
        try:
            report = run_selection(
                family=found,
                release=release,
                load_model=lambda variant: self._catalog.model(release, variant),
                profile=self._catalog.profile(release),
                signatures=self._catalog.signatures(release),
                examples=examples,
                settings=settings,
                selections_served=question.number,
                predictions=KeptPredictions(self._predictions, found, examples.digests, on_notice=self._on_notice),
                on_progress=lambda update: progress(_progress(update)),
                should_stop=should_stop,
                open_evaluator=self._open_evaluator,
                inference=InferenceSettings(cache_folder=self._home),
            )
        except ItemsError as error:
            text = f"{error.message}: {dataset.name_faults(error.faults)}"
            raise ItemsError(text, faults=error.faults, hint=error.hint) from error
        if report.evidence is Evidence.LABELS:
            try:
                question.answered()
            except LocalFailure as error:
                self._on_notice(f"that this question was asked is not kept: {error.message}")
        progress(Progress(Stage.DONE, report.n_examples, report.n_examples))
        return report

    def download(self, name: VariantName, cache: ModelCache, *, int8: bool, progress: ProgressCallback) -> Path:
        """A variant's verified model in the cache. Raises NotFound, RequestError, DataError, LocalFailure."""
        variant, family, release = self._catalog.variant(parse_variant(str(name)))
        known = [] if variant.model is not None else self._catalog.selectable_names()
        entry = model_of(family.name, variant, int8=int8, selectable=known)
        path = cache.find(entry.sha256)
        if path is None:
            cache.make_folders()
            content = bytearray()
            for chunk in self._catalog.model_stream(release, entry, 0, _CHUNK):
                content += chunk
                progress(Progress(Stage.DOWNLOADING, len(content), entry.size))
            path = cache.model_path(entry.sha256)
            write_atomically(path, bytes(content))
        model = CachedModel(family.name, release.id, variant.tag, entry.sha256, entry.size, int8)
        cache.remember(model, asked=name)
        return path


class _Question:
    """What is asked of a dataset's labels, beside what was asked of them before.

    Each further question makes it likelier that the best answer is so by chance; repeating one adds nothing.
    """

    def __init__(
        self,
        kept: KeptFiles,
        dataset: LocalDataset,
        items: Sequence[HashedItem],
        release: Release,
        settings: SelectionSettings,
    ) -> None:
        self._kept = kept
        self._name = f"{dataset_fingerprint(dataset.classes, items, dataset.slice_columns)}.json"
        this = hashlib.sha256(repr((release.family, release.id, settings)).encode()).hexdigest()
        self._asked = sorted({*self._earlier(), this})

    @property
    def number(self) -> int:
        """How many different questions there are now, this one included."""
        return len(self._asked)

    def answered(self) -> None:
        """Remember this one. Raises LocalFailure."""
        self._kept.put(self._name, json.dumps(self._asked).encode())

    def _earlier(self) -> list[str]:
        try:
            found = json.loads(self._kept.path(self._name).read_bytes())
        except (OSError, ValueError):  # absent or damaged: either way nothing is known
            return []
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _progress(update: ProgressUpdate) -> Progress:
    return Progress(
        stage=_STAGES.get(update.phase, Stage.LOADING),
        done=update.examples_seen,
        total=update.examples_total,
        variants_in_race=update.variants_in_race,
        leader=update.leader,
    )
