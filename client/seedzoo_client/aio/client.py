"""The asynchronous client: what a seedzoo server offers, as coroutines."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import grpc

from seedzoo.errors import RequestError
from seedzoo.records import Evaluation, SelectionReport
from seedzoo_client.aio.catalog_calls import AsyncCatalogCalls
from seedzoo_client.aio.connection import Connection
from seedzoo_client.aio.download import AsyncDownloader
from seedzoo_client.aio.labelling import AsyncLabellingSession, open_async_session
from seedzoo_client.aio.threads import finished, in_thread
from seedzoo_client.aio.upload import AsyncUploader
from seedzoo_client.aio.watch import AsyncWatcher
from seedzoo_client.arguments import as_text
from seedzoo_client.asking import Inquiry
from seedzoo_client.base import ClientBase, check_names
from seedzoo_client.cache import CachedModel, VariantName, copy_model
from seedzoo_client.channel import channel_credentials
from seedzoo_client.class_tables import ClassProportions, Costs
from seedzoo_client.datasets import DataSource, LocalDataset, bind, refuse_columns, scan_source
from seedzoo_client.deletion import Deletion
from seedzoo_client.fitting import browse_only, fitting_family
from seedzoo_client.labelling_state import LabellingSettings, without_labels
from seedzoo_client.labels import ClassMatcher, LabelMap
from seedzoo_client.progress import Progress, ProgressCallback, ignore
from seedzoo_client.scan import Scan
from seedzoo_client.upload_steps import UploadedDataset

__all__ = ["AsyncClient"]


class AsyncClient(ClientBase, AsyncCatalogCalls):
    """A connection to a seedzoo server for use in one event loop; an asynchronous context manager.

    ::

        async with AsyncClient("localhost:7316") as zoo:
            report = await zoo.select("mydata/")
            model = await zoo.download(report.recommended, to="model.onnx")

    Methods, arguments, results and errors are those of :class:`seedzoo_client.Client`; any number of them may run at
    the same time. Files are read in threads. Cancelling a task cancels the call that it waits for; a selection that it
    waits for is cancelled on the server. Where several tasks upload, ``last_dataset_id`` is that of the latest.

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

    _opened: Connection | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection: calls of other tasks end with Cancelled, and a later call opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def upload(
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
        """Bring images to the server; what it already has is not sent again. See :meth:`seedzoo_client.Client.upload`.

        Args:
            data: Folder, CSV file (``path,label``), or pairs of image path and class name; labels may be missing. Or
                what was found in such a folder or file already.
            family: Whose classes the labels are; may be left out when one family fits.
            label_map: The user's class names to the task's, or a CSV, JSON or TOML file with them.
            group: Column of the CSV file that says which images depend on each other (patient, video).
            slices: Columns of the CSV file that divide the images into slices; their names are sent.
            check: Called with the data, in a thread, before anything is sent: what it raises stops the upload.
            progress: Called, in the event loop, as the work moves on.

        Raises:
            DataError: The data cannot be used; says which file or class.
            RequestError: An argument cannot be used, or several families fit.
        """
        self._dataset_id = None
        columns = check_names(family, group, slices)
        return await self._upload(data, family, label_map, group, columns, check=check, progress=progress or ignore)

    async def select(
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
        """Choose the variant that is best on the given data; arguments as for :meth:`seedzoo_client.Client.select`.

        Cancelling the task cancels the selection on the server, which may take a few seconds; the uploaded images are
        kept, so the same call goes on from there, or :meth:`delete_dataset` removes them (:attr:`last_dataset_id`).

        Raises:
            DataError: The data cannot be used; says which file or class.
            RequestError: An argument cannot be used, or several families fit.
            Cancelled: Somebody cancelled the selection, or closed this client.
        """
        inquiry = Inquiry(
            objective=objective, requirements=requirements, alpha=alpha, delta=delta, costs=costs,
            class_proportions=class_proportions, evaluation=evaluation, prior=prior,
        )  # fmt: skip
        await finished(inquiry.check)
        columns = check_names(family, group, slices)
        if request_id is not None:
            as_text(request_id, field="request_id")
        if isinstance(data, UploadedDataset):
            refuse_columns(group, columns)
            inquiry.check_labels(any_label=any(data.local.class_counts.values()))

        def check(dataset: LocalDataset) -> None:
            inquiry.check_labels(any_label=any(dataset.class_counts.values()))
            inquiry.check_classes(ClassMatcher(dataset.classes, label_map))

        self._dataset_id = data.id if isinstance(data, UploadedDataset) else None
        listener = _Listener(progress or ignore)
        uploaded = (
            data
            if isinstance(data, UploadedDataset)
            else await self._upload(data, family, label_map, group, columns, check=check, progress=listener)
        )
        request = await finished(
            lambda: inquiry.request(
                request_id=request_id or f"sel-{uuid.uuid4()}",
                dataset_id=uploaded.id,
                family=family or uploaded.family,
                matcher=ClassMatcher(uploaded.local.classes, label_map),
            )
        )
        connection = await self._connection()
        watcher = AsyncWatcher(connection)
        selection_id = ""
        try:
            selection = await connection.persistently(connection.selections.StartSelection, request, progress=listener)
            selection_id = selection.id
            return await watcher.report(selection, dataset=uploaded.local, progress=listener)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) or listener.failed:
                await connection.last_words(watcher.abandon(request, selection_id))
            raise

    async def label(
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
    ) -> AsyncLabellingSession:
        """Choose with few labels, which are asked for one by one; see :meth:`seedzoo_client.Client.label`.

        The same call goes on where an earlier one stopped, or was cancelled.

        Raises:
            DataError: The data cannot be used; says which file.
            RequestError: An argument cannot be used, or there are several families.
        """
        settings = LabellingSettings(budget=budget, audit=audit, seed=seed, alpha=alpha, delta=delta)
        check_names(family, None, ())
        self._dataset_id = None
        show = progress or ignore
        scan = await in_thread(lambda _: without_labels(data))
        chosen, dataset = await self._bind(scan, family, None)
        found = await self.family(chosen)
        connection = await self._connection()
        uploaded = await AsyncUploader(connection).upload(dataset, family=chosen, progress=show, created=self._created)
        return await open_async_session(
            connection, uploaded, settings, family=f"{found.name}@{found.release}", progress=show
        )

    async def download(
        self,
        variant: str,
        *,
        to: str | os.PathLike[str] | None = None,
        int8: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Get a variant's ONNX file, verified; arguments and errors as for :meth:`seedzoo_client.Client.download`.

        A download that is cancelled goes on with the next call where it stopped.
        """
        asked = VariantName.parse(as_text(variant, field="variant"))
        if self.settings.offline:
            path = await finished(partial(self._cache.resolve, asked, int8=int8))
        else:
            path = await self._fetch(asked, progress or ignore, int8=int8)
        if to is None:
            return path
        return await finished(partial(copy_model, path, to, name=asked, int8=int8))

    async def delete_dataset(self, dataset_id: str) -> None:
        """Delete uploaded images, what was predicted for them, and the selections made with them.

        Raises:
            NotFound: There is no such dataset. Where the connection broke off and the dataset is gone afterwards, it
                is taken for deleted.
        """
        deletion = Deletion(dataset_id, server=self.server, retry=self._retry)
        connection = await self._connection()
        while True:
            try:
                await connection.call(connection.datasets.DeleteDataset, deletion.request)
            except grpc.RpcError as error:
                seconds = deletion.failed(error)
            else:
                return
            if seconds is None:
                return
            await asyncio.sleep(seconds)

    async def _connection(self) -> Connection:
        self._refuse_offline()
        if self._opened is None:
            credentials = await finished(
                partial(channel_credentials, self._address, tls=self.settings.tls, token=self.settings.token)
            )
        else:
            credentials = None
        # Another task may have been faster.
        if self._opened is None:
            self._opened = Connection(
                self._address,
                credentials=credentials,
                token=self.settings.token,
                timeout=self._timeout,
                retry=self._retry,
            )
        if self._opened.loop is not asyncio.get_running_loop():
            raise RequestError(
                "this AsyncClient was used in another event loop", hint="Make one inside each asyncio.run()."
            )
        return self._opened

    async def _fetch(self, name: VariantName, progress: ProgressCallback, *, int8: bool) -> Path:
        variant = await self.variant(str(name))
        if not variant.model_sha256:
            raise browse_only(await self.family(f"{variant.family}@{variant.release}"), await self.families())
        model = CachedModel.of(variant, int8=int8)
        path = await AsyncDownloader(await self._connection(), self._cache).fetch(model, progress=progress)
        await finished(partial(self._cache.remember, model, asked=name))
        return path

    async def _upload(
        self,
        data: DataSource | Scan,
        family: str | None,
        label_map: LabelMap | None,
        group: str | None,
        slices: Sequence[str],
        *,
        check: Callable[[LocalDataset], None],
        progress: ProgressCallback,
    ) -> UploadedDataset:
        scan = await in_thread(lambda _: scan_source(data, group=group, slices=slices))
        chosen, dataset = await self._bind(scan, family, label_map)
        await in_thread(lambda _: check(dataset))
        uploader = AsyncUploader(await self._connection())
        return await uploader.upload(dataset, family=chosen, progress=progress, created=self._created)

    async def _bind(self, scan: Scan, family: str | None, label_map: LabelMap | None) -> tuple[str, LocalDataset]:
        if family is not None:
            found = await self.family(family)
            if found.browse_only:
                raise browse_only(found, await self.families())
            return family, await in_thread(lambda _: bind(scan, ClassMatcher(found.task.classes, label_map)))
        families = await self.families()
        return await in_thread(lambda _: fitting_family(scan, families, label_map=label_map, server=self.server))


class _Listener:
    """Passes progress on, and remembers whether that failed: then nobody wants the result any more."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self.failed = False

    def __call__(self, report: Progress) -> None:
        try:
            self._progress(report)
        except BaseException:
            self.failed = True
            raise
