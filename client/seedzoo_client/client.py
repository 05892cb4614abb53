"""The client: what a seedzoo server offers, as plain method calls."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import grpc

from seedzoo.records import Evaluation, SelectionReport
from seedzoo_client.arguments import as_text
from seedzoo_client.asking import Inquiry
from seedzoo_client.background import in_background
from seedzoo_client.base import ClientBase, check_names
from seedzoo_client.cache import CachedModel, VariantName, copy_model
from seedzoo_client.catalog_calls import CatalogCalls
from seedzoo_client.channel import open_channel
from seedzoo_client.class_tables import ClassProportions, Costs
from seedzoo_client.datasets import DataSource, LocalDataset, bind, refuse_columns, scan_source
from seedzoo_client.fitting import browse_only, fitting_family
from seedzoo_client.labels import ClassMatcher, LabelMap
from seedzoo_client.progress import ProgressCallback, ignore
from seedzoo_client.retry import persistently
from seedzoo_client.scan import Scan
from seedzoo_client.upload import UploadedDataset, Uploader
from seedzoo_client.watch import Watcher
from seedzoo_protos.v1 import dataset_pb2_grpc, selection_pb2_grpc

if TYPE_CHECKING:
    from seedzoo_client.labelling import LabellingSession

__all__ = ["Client"]


_CLOSE_SECONDS = 1.0


class Client(ClientBase, CatalogCalls):
    """A connection to a seedzoo server; use it as a context manager.

    Nothing is sent before the first call. Every failure is a :class:`seedzoo.errors.ZooError`.

    Args:
        target: ``host:port``, ``https://host:port`` or ``unix:/path``; None for the environment's, the configuration
            file's or ``localhost:7316``.
        tls: True or a :class:`TLSConfig` for an encrypted connection.
        token: Access token.
        timeout: Seconds that one answer may take; uploads, downloads and selections last as long as they move on.
        home: Folder of the model cache.
        offline: Connect to nothing; :meth:`download` answers from the cache.
        retry: How long a connection that broke is taken up again.
    """

    _opened: grpc.Channel | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        if self._opened is not None:
            # Where Ctrl-C hits grpc at a bad moment, its close() waits for ever; see also background.py.
            closing = threading.Thread(target=self._opened.close, daemon=True)
            self._opened = None
            closing.start()
            closing.join(_CLOSE_SECONDS)

    def upload(
        self,
        data: DataSource | Scan,
        *,
        family: str | None = None,
        label_map: LabelMap | None = None,
        group: str | None = None,
        slices: str | Sequence[str] = (),
        check: Callable[[LocalDataset], None] = lambda _: None,
        progress: ProgressCallback | None = None,
    ) -> UploadedDataset:
        """Bring images to the server; what it already has is not sent again.

        Args:
            data: Folder, CSV file (``path,label``), or pairs of image path and class name; labels may be missing. Or
                what was found in such a folder or file already.
            family: Whose classes the labels are; may be left out when one family fits.
            label_map: The user's class names to the task's, or a CSV, JSON or TOML file with them.
            group: Column of the CSV file that says which images depend on each other (patient, video).
            slices: Columns of the CSV file that divide the images into slices; their names are sent.
            check: Called with the data, in another thread, before anything is sent: what it raises stops the upload.
            progress: Called as the work moves on.

        Raises:
            DataError: The data cannot be used; says which file or class.
            RequestError: An argument cannot be used, or several families fit.
        """
        self._dataset_id = None
        columns = check_names(family, group, slices)
        return in_background(
            lambda show: self._upload(data, family, label_map, group, columns, check=check, progress=show),
            progress=progress or ignore,
        )

    def select(
        self,
        data: DataSource | UploadedDataset,
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
        request_id: str | None = None,
    ) -> SelectionReport:
        """Choose the variant that is best on the given data.

        Ctrl-C cancels the selection on the server; the uploaded images are kept, so the same call goes on from there,
        or :meth:`delete_dataset` removes them (:attr:`last_dataset_id`).

        Args:
            data: As in :meth:`upload`, or what it returned.
            family: Which family to choose from; may be left out when one fits the data's classes.
            objective: The metric to maximise, with its parameter after a colon where it has one (``top_k:3``).
            requirements: What the variant must fulfil beside it, such as ``accuracy[camera=B] >= .8``.
            alpha: One minus the coverage of the intervals and of the confidence set.
            delta: What counts as just as good, as a fraction (0.01 is one point).
            class_proportions: Shares of the classes among the images, where known: by class name, as a file, or
                ``"uniform"``. They help where labels are missing.
            costs: For the objective ``cost``: true class to called class to cost, or a CSV file.
            evaluation: How much is evaluated; the server decides by default.
            prior: Whether unlabelled images and the family's stress profile may help to choose.
            label_map: As in :meth:`upload`.
            group: As in :meth:`upload`.
            slices: As in :meth:`upload`.
            progress: Called as the work moves on.
            request_id: Makes the call repeatable: the same id finds the same selection. Random when None.

        Raises:
            DataError: The data cannot be used; says which file or class.
            RequestError: An argument cannot be used, or several families fit.
            Cancelled: Somebody cancelled the selection.
        """
        inquiry = Inquiry(
            objective=objective, requirements=requirements, alpha=alpha, delta=delta, costs=costs,
            class_proportions=class_proportions, evaluation=evaluation, prior=prior,
        )  # fmt: skip
        inquiry.check()
        columns = check_names(family, group, slices)
        if request_id is not None:
            as_text(request_id, field="request_id")
        if isinstance(data, UploadedDataset):
            refuse_columns(group, columns)
            inquiry.check_labels(any_label=any(data.local.class_counts.values()))
        watcher = Watcher(self._channel(), server=self.server, retry=self._retry)
        started: list[str] = []
        self._dataset_id = data.id if isinstance(data, UploadedDataset) else None

        def work(show: ProgressCallback) -> SelectionReport:
            def check(dataset: LocalDataset) -> None:
                inquiry.check_labels(any_label=any(dataset.class_counts.values()))
                inquiry.check_classes(ClassMatcher(dataset.classes, label_map))

            uploaded = (
                data
                if isinstance(data, UploadedDataset)
                else self._upload(data, family, label_map, group, columns, check=check, progress=show)
            )
            request = inquiry.request(
                request_id=request_id or f"sel-{uuid.uuid4()}",
                dataset_id=uploaded.id,
                family=family or uploaded.family,
                matcher=ClassMatcher(uploaded.local.classes, label_map),
            )
            stub = selection_pb2_grpc.SelectionServiceStub(self._channel())
            selection = persistently(
                lambda: stub.StartSelection(request, timeout=self._timeout),
                config=self._retry,
                server=self.server,
                progress=show,
            )
            started.append(selection.id)
            return watcher.report(selection, dataset=uploaded.local, progress=show)

        def abandoned() -> None:
            for selection_id in started:
                watcher.cancel(selection_id)

        return in_background(work, progress=progress or ignore, abandoned=abandoned)

    def label(
        self,
        data: DataSource,
        *,
        budget: int,
        family: str | None = None,
        audit: int = 0,
        seed: int = 0,
        alpha: float = 0.05,
        delta: float = 0.01,
        progress: ProgressCallback | None = None,
    ) -> LabellingSession:
        """Choose with few labels, which are asked for one by one; see :mod:`seedzoo_client.labelling`.

        The same call goes on where an earlier one stopped.

        Args:
            data: Images as in :meth:`upload`; labels that come with them are not used.
            budget: Labels in all.
            family: Which family to choose from; may be left out where the server has only one.
            audit: Size of a random sample that is asked for first, from which the accuracy is stated; 0 for none.
            seed: Of the questions drawn.
            alpha: Chance that the best variant ever leaves the candidates.
            delta: What counts as just as good, as a fraction.
            progress: Called until the first question can be asked.

        Raises:
            DataError: The data cannot be used; says which file.
            RequestError: An argument cannot be used, or there are several families.
        """
        from seedzoo_client.labelling import LabellingSettings, open_session, without_labels  # noqa: PLC0415

        settings = LabellingSettings(budget=budget, audit=audit, seed=seed, alpha=alpha, delta=delta)
        check_names(family, None, ())
        self._dataset_id = None

        def work(show: ProgressCallback) -> LabellingSession:
            chosen, dataset = self._bind(without_labels(data), family, None)
            found = self.family(chosen)
            uploader = Uploader(self._channel(), server=self.server, timeout=self._timeout, retry=self._retry)
            uploaded = uploader.upload(dataset, family=chosen, progress=show, created=self._created)
            return open_session(
                self._channel(),
                uploaded,
                settings,
                family=f"{found.name}@{found.release}",
                server=self.server,
                timeout=self._timeout,
                retry=self._retry,
                progress=show,
            )

        return in_background(work, progress=progress or ignore)

    def download(
        self,
        variant: str,
        *,
        to: str | os.PathLike[str] | None = None,
        int8: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Get a variant's ONNX file, verified; from the cache where it is there.

        Args:
            variant: ``<family>/<tag>`` or ``<family>@<alias or release>/<tag>``.
            to: A file, or a folder for ``<family>-<tag>.onnx``; the file in the cache when None.
            int8: Get the quantised twin, another model with results of its own, instead.
            progress: Called as bytes arrive.

        Returns:
            Where the file is. Do not change a file in the cache.

        Raises:
            NotFound: There is no such variant; in offline mode, it is not in the cache.
            DataError: The twin is asked for and there is none.
            RequestError: The family is for browsing only and holds no models.
            IntegrityError: What arrived is not what was published; nothing is kept.
            LocalFailure: The disk is full or refuses; no half file is kept.
        """
        asked = VariantName.parse(as_text(variant, field="variant"))
        if self.settings.offline:
            path = self._cache.resolve(asked, int8=int8)
        else:
            path = in_background(lambda show: self._fetch(asked, show, int8=int8), progress=progress or ignore)
        return path if to is None else copy_model(path, to, name=asked, int8=int8)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete uploaded images, what was predicted for them, and the selections made with them.

        Raises:
            NotFound: There is no such dataset. Where the connection broke off and the dataset is gone afterwards, it
                is taken for deleted.
        """
        from seedzoo_client.deletion import Deletion  # noqa: PLC0415

        deletion = Deletion(dataset_id, server=self.server, retry=self._retry)
        stub = dataset_pb2_grpc.DatasetServiceStub(self._channel())
        while True:
            try:
                stub.DeleteDataset(deletion.request, timeout=self._timeout)
            except grpc.RpcError as error:
                seconds = deletion.failed(error)
            else:
                return
            if seconds is None:
                return
            time.sleep(seconds)

    def _channel(self) -> grpc.Channel:
        self._refuse_offline()
        if self._opened is None:
            self._opened = open_channel(self._address, tls=self.settings.tls, token=self.settings.token)
        return self._opened

    def _fetch(self, name: VariantName, progress: ProgressCallback, *, int8: bool) -> Path:
        variant = self.variant(str(name))
        if not variant.model_sha256:
            raise browse_only(self.family(f"{variant.family}@{variant.release}"), self.families())
        model = CachedModel.of(variant, int8=int8)
        from seedzoo_client.download import Downloader  # noqa: PLC0415

        downloader = Downloader(self._channel(), self._cache, server=self.server, retry=self._retry)
        path = downloader.fetch(model, progress=progress)
        self._cache.remember(model, asked=name)
        return path

    def _upload(
        self,
        data: DataSource | Scan,
        family: str | None,
        label_map: LabelMap | None,
        group: str | None,
        slices: Sequence[str] = (),
        *,
        check: Callable[[LocalDataset], None] = lambda _: None,
        progress: ProgressCallback,
    ) -> UploadedDataset:
        chosen, dataset = self._bind(scan_source(data, group=group, slices=slices), family, label_map)
        check(dataset)
        uploader = Uploader(self._channel(), server=self.server, timeout=self._timeout, retry=self._retry)
        return uploader.upload(dataset, family=chosen, progress=progress, created=self._created)

    def _bind(self, scan: Scan, family: str | None, label_map: LabelMap | None) -> tuple[str, LocalDataset]:
        if family is not None:
            found = self.family(family)
            if found.browse_only:
                raise browse_only(found, self.families())
            return family, bind(scan, ClassMatcher(found.task.classes, label_map))
        return fitting_family(scan, self.families(), label_map=label_map, server=self.server)
