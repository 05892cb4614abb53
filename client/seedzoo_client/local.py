"""Local mode: the families of a store, selected from on this machine. No server takes part, and no image leaves it.

What was evaluated is kept in the client's home, so a run after Ctrl-C, another objective or more images evaluate only
what is missing.

::

    <home>/predictions/<sha256>.npz   what models said of images, by the SHA-256 of both; at most 1 GiB
    <home>/questions/<sha256>.json    which questions the labels of a dataset have answered, as hashes
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from seedzoo.errors import RequestError, Unavailable
from seedzoo.records import Evaluation, SelectionReport
from seedzoo_client.arguments import as_text, check_names
from seedzoo_client.asking import Inquiry
from seedzoo_client.background import in_background
from seedzoo_client.cache import ModelCache, VariantName, copy_model
from seedzoo_client.catalog_requests import VariantListing
from seedzoo_client.class_tables import ClassProportions, Costs
from seedzoo_client.datasets import DataSource, LocalDataset, refuse_columns, scan_source
from seedzoo_client.extras import lacking
from seedzoo_client.fingerprint import HashedItem, contradictions, hash_items
from seedzoo_client.labels import ClassMatcher, LabelMap
from seedzoo_client.progress import Progress, ProgressCallback, Stage, ignore
from seedzoo_client.quoting import quoted
from seedzoo_client.scan import Scan
from seedzoo_client.settings import load_settings
from seedzoo_client.views import FamilyView, ProfileView, VariantView

if TYPE_CHECKING:
    from seedzoo_client.local_run import LocalRun

__all__ = ["EXECUTORS", "LocalZoo", "ReadDataset"]

EXECUTORS = ("threads", "ray")
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ReadDataset:
    """Images that were found, matched with a family's classes and hashed."""

    family: str
    """The family, with its release, whose classes the labels are."""
    local: LocalDataset
    items: tuple[HashedItem, ...]
    warnings: tuple[str, ...]
    """What is probably a mistake in the data."""

    @property
    def id(self) -> None:
        """There is none: no server holds the images, so there is nothing to forget."""
        return


class LocalZoo:
    """What a store offers, without a server; use it as a context manager. Needs the extra ``[local]``.

    ::

        with LocalZoo("s3://models/zoo") as zoo:
            report = zoo.select("mydata/")
            model = zoo.download(report.recommended, to="model.onnx")

    A directory is read without any connection, a bucket over the network; nothing is written to either. Every failure
    is a :class:`seedzoo.errors.ZooError`.

    Args:
        store: A directory, or ``s3://bucket/prefix``.
        home: Folder of the cache.
        offline: Connect to nothing: only a directory can be used, and from a bucket what :meth:`download` has kept.
        executor: ``threads`` of this process, or ``ray``, which sends decoded images to the machines of its cluster.
        address: A Ray cluster that runs already; one of this machine's own when None.
        on_notice: Told, from another thread, what a person should know although the work goes on.

    Raises:
        RequestError: An argument or a setting cannot be used.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        *,
        home: str | os.PathLike[str] | None = None,
        offline: bool | None = None,
        executor: str = "threads",
        address: str | None = None,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = as_text(os.fspath(store) if isinstance(store, os.PathLike) else store, field="store")
        if executor not in EXECUTORS:
            raise RequestError(
                f"executor {quoted(executor)} is not known", hint=f"Known are {' and '.join(EXECUTORS)}.",
                field="executor",
            )  # fmt: skip
        if address is not None and executor != "ray":
            raise RequestError(
                "an address goes with the executor ray", hint="Add --executor ray (executor='ray').", field="address"
            )
        settings = load_settings(home=home, offline=offline)
        self._home, self._offline = settings.home, settings.offline
        self._cache = ModelCache(settings.home)
        self._executor = executor
        self._address = address
        self._on_notice = on_notice
        self._opened: LocalRun | None = None

    def __enter__(self) -> LocalZoo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store; a later call opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def read(
        self,
        data: DataSource | Scan,
        *,
        family: str | None = None,
        label_map: LabelMap | None = None,
        group: str | None = None,
        slices: str | Sequence[str] = (),
        check: Callable[[LocalDataset], None] = lambda _: None,
        progress: ProgressCallback | None = None,
    ) -> ReadDataset:
        """Find the images, the family that their labels fit, and hash each file; several questions need this once.

        Arguments and errors as for :meth:`seedzoo_client.Client.upload`, which is the same with a server.

        Raises:
            DataError: The data cannot be used; says which file or class.
            RequestError: An argument cannot be used, or several families fit.
            MissingExtra: The extra ``[local]`` is not installed.
        """
        columns = check_names(family, group, slices)
        return in_background(
            lambda show: self._read(data, family, label_map, group, columns, check=check, progress=show),
            progress=progress or ignore,
        )

    def select(
        self,
        data: DataSource | ReadDataset,
        *,
        family: str | None = None,
        objective: str = "accuracy",
        requirements: str | Sequence[str] = (),
        alpha: float = 0.05,
        delta: float = 0.01,
        class_proportions: ClassProportions | None = None,
        costs: Costs | None = None,
        evaluation: Evaluation | str = Evaluation.AUTO,
        prior: bool = True,
        label_map: LabelMap | None = None,
        group: str | None = None,
        slices: str | Sequence[str] = (),
        progress: ProgressCallback | None = None,
    ) -> SelectionReport:
        """Choose the variant that is best on the given data.

        The report is the one that a server with the same store gives. Ctrl-C stops it; what was evaluated is kept, so
        the same call goes on from there.

        Args:
            data: As in :meth:`read`, or what it returned.
            family: As for :meth:`seedzoo_client.Client.select`, as are all further arguments.
            objective: The metric to maximise.
            requirements: What the variant must fulfil beside it.
            alpha: One minus the coverage of the intervals and of the confidence set.
            delta: What counts as just as good, in units of the objective.
            class_proportions: Shares of the classes among the images, where known.
            costs: For the objective ``cost``.
            evaluation: How much is evaluated.
            prior: Whether unlabelled images and the family's stress profile may help to choose.
            label_map: The user's class names to the task's.
            group: Column of the CSV file that says which images depend on each other.
            slices: Columns of the CSV file that divide the images into slices.
            progress: Called as the work moves on.

        Raises:
            DataError: The data cannot be used; says which file or class.
            RequestError: An argument cannot be used, or several families fit.
            NotFound: There is no such family in the store.
            MissingExtra: The extra ``[local]``, or ``[cluster]`` for Ray, is not installed.
        """
        inquiry = Inquiry(
            objective=objective, requirements=requirements, alpha=alpha, delta=delta, costs=costs,
            class_proportions=class_proportions, evaluation=evaluation, prior=prior,
        )  # fmt: skip
        inquiry.check()
        columns = check_names(family, group, slices)
        if isinstance(data, ReadDataset):
            refuse_columns(group, columns, what="the data were read already, with their columns")
        begun, stop, ended = threading.Event(), threading.Event(), threading.Event()

        def check(dataset: LocalDataset) -> None:
            inquiry.check_labels(any_label=any(dataset.class_counts.values()))
            inquiry.check_classes(ClassMatcher(dataset.classes, label_map))

        def work(show: ProgressCallback) -> SelectionReport:
            begun.set()
            try:
                if isinstance(data, ReadDataset):
                    check(data.local)
                    read = data
                else:
                    read = self._read(data, family, label_map, group, columns, check=check, progress=show)
                return self._run().select(
                    read.local,
                    read.items,
                    family=family or read.family,
                    asked=inquiry.asked(ClassMatcher(read.local.classes, label_map)),
                    progress=show,
                    should_stop=stop.is_set,
                )
            finally:
                ended.set()

        def abandoned() -> None:
            stop.set()
            if begun.is_set():  # what was evaluated is written down before this process goes
                ended.wait(_STOP_SECONDS)

        return in_background(work, progress=progress or ignore, abandoned=abandoned)

    def families(self) -> list[FamilyView]:
        """All families of the store, by name; one that is damaged is left out and told to ``on_notice``."""
        return self._run().browse.families()

    def family(self, name: str) -> FamilyView:
        """As :meth:`seedzoo_client.Client.family`."""
        return self._run().browse.family(as_text(name, field="family"))

    def variants(
        self, family: str, *, filter: str = "", order_by: str = "", limit: int | None = None
    ) -> list[VariantView]:
        """As :meth:`seedzoo_client.Client.variants`."""
        return self._run().browse.variants(VariantListing(family, filter, order_by, limit))

    def variant(self, name: str) -> VariantView:
        """As :meth:`seedzoo_client.Client.variant`."""
        return self._run().browse.variant(str(VariantName.parse(as_text(name, field="variant"))))

    def profile(self, family: str) -> ProfileView:
        """As :meth:`seedzoo_client.Client.profile`."""
        return self._run().browse.profile(as_text(family, field="family"))

    def card(self, name: str) -> str:
        """As :meth:`seedzoo_client.Client.card`."""
        return self._run().browse.card(as_text(name, field="name"))

    def download(
        self,
        variant: str,
        *,
        to: str | os.PathLike[str] | None = None,
        int8: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Get a variant's ONNX file from the store, verified, into the cache; from there where it is there.

        Arguments, result and errors as for :meth:`seedzoo_client.Client.download`. In offline mode, a bucket is not
        asked, and the cache answers.
        """
        asked = VariantName.parse(as_text(variant, field="variant"))
        try:
            path = in_background(
                lambda show: self._run().download(asked, self._cache, int8=int8, progress=show),
                progress=progress or ignore,
            )
        except Unavailable as error:
            if error.reason != "OFFLINE":
                raise
            path = self._cache.resolve(asked, int8=int8)
        return path if to is None else copy_model(path, to, name=asked, int8=int8)

    def _read(
        self,
        data: DataSource | Scan,
        family: str | None,
        label_map: LabelMap | None,
        group: str | None,
        slices: Sequence[str],
        *,
        check: Callable[[LocalDataset], None],
        progress: ProgressCallback,
    ) -> ReadDataset:
        scan = scan_source(data, group=group, slices=slices)
        chosen, dataset = self._run().bound(scan, family, label_map)
        check(dataset)
        total = len(dataset.items)
        items = hash_items(dataset, progress=lambda done: progress(Progress(Stage.READING, done, total)))
        clash = contradictions(items)
        return ReadDataset(chosen, dataset, items, (*dataset.warnings, *([clash] if clash else [])))

    def _run(self) -> LocalRun:
        if self._opened is None:
            try:
                from seedzoo_client.local_run import LocalRun  # noqa: PLC0415 - the base install lacks what it needs
            except ImportError as error:
                missing = lacking(error, what="working without a server", extra="local")
                if missing is None:
                    raise
                raise missing from error
            self._opened = LocalRun(
                self._store,
                home=self._home,
                offline=self._offline,
                ray=self._executor == "ray",
                address=self._address,
                on_notice=self._on_notice,
            )
        return self._opened
