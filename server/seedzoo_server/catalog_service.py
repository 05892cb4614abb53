"""CatalogService: families, variants, profiles and model downloads."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import grpc

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.listing import arrange
from seedzoo.catalog.names import FamilyRef, parse_family, parse_variant
from seedzoo.catalog.selectable import model_of
from seedzoo.errors import IntegrityError, NotFound, RequestError
from seedzoo.records import FileEntry, Release
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc
from seedzoo_server.convert import variant_message
from seedzoo_server.paging import page_of
from seedzoo_server.shelves import Shelf, ShelvedVariant, Shelves, variants_response

__all__ = ["CatalogServicer"]

Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PAGE_DEFAULT = 100
_PAGE_LARGEST = 1000
_THREADS = 8
_PROFILE_THREADS = 2
_AT_ONCE = 100_000
"""Variants times characters of a filter that are looked at between two calls; more goes to a thread."""

Result = TypeVar("Result")


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Serves a catalog: from memory at once, and every read of the store in a thread of its own pool.

    Args:
        catalog: What is served.
        url_expires_s: Life of a presigned URL.
        cache_bytes: Memory for what was served last.
    """

    def __init__(self, catalog: Catalog, *, url_expires_s: int, cache_bytes: int = 128 << 20) -> None:
        self._catalog = catalog
        self._url_expires_s = url_expires_s
        self._shelves = Shelves(catalog, cache_bytes)
        # Threads of its own: uploads that wait for the store must not keep anybody from browsing.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="seedzoo-catalog")
        # Few: reading a profile keeps the interpreter busy, and each more at once delays all answers.
        self._profile_threads = ThreadPoolExecutor(_PROFILE_THREADS, thread_name_prefix="seedzoo-profiles")

    def close(self) -> None:
        """Wait for what still reads."""
        self._threads.shutdown()
        self._profile_threads.shutdown()

    async def _in_thread(self, job: Callable[..., Result], *args: Any) -> Result:
        return await _run(self._threads, job, *args)

    async def _shelf(self, ref: FamilyRef) -> Shelf:
        known = self._shelves.known(ref)
        return known if known is not None else await self._in_thread(self._shelves.shelf, ref)

    async def ListFamilies(
        self, request: catalog_pb2.ListFamiliesRequest, context: Context
    ) -> catalog_pb2.ListFamiliesResponse:
        """All families, a page at a time."""
        names = await self._in_thread(self._catalog.folder_names)
        page, token = page_of(
            names,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope="families",
        )
        known = {name: self._shelves.known(FamilyRef(name)) for name in page}
        unknown = [name for name, shelf in known.items() if shelf is None]
        read = await asyncio.gather(*(self._in_thread(self._listed, name) for name in unknown))
        known |= dict(zip(unknown, read, strict=True))
        return catalog_pb2.ListFamiliesResponse(
            families=[catalog_pb2.Family.FromString(shelf.message) for shelf in known.values() if shelf is not None],
            next_page_token=token,
        )

    def _listed(self, name: str) -> Shelf | None:
        try:
            return self._shelves.default(name)
        except (IntegrityError, NotFound) as error:  # one that is damaged, or has just gone, hides no other
            _log.error("family %s is left out of the listing: %s", name, error.message)
            return None

    async def GetFamily(self, request: catalog_pb2.GetFamilyRequest, context: Context) -> catalog_pb2.Family:
        """One family."""
        return catalog_pb2.Family.FromString((await self._shelf(parse_family(request.name))).message)

    async def ListVariants(
        self, request: catalog_pb2.ListVariantsRequest, context: Context
    ) -> catalog_pb2.ListVariantsResponse:
        """Variants by filter and order, a page at a time."""
        shelf = await self._shelf(parse_family(request.family))
        kept = await self._arranged(shelf, request)
        page, token = page_of(
            kept,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope=f"{shelf.family}/{shelf.release}/{request.filter}/{request.order_by}",
        )
        response = variants_response(page)
        response.next_page_token = token
        response.total_size = len(kept)
        return response

    async def _arranged(self, shelf: Shelf, request: catalog_pb2.ListVariantsRequest) -> Sequence[ShelvedVariant]:
        if not request.filter.strip() and not request.order_by.strip():
            return shelf.variants
        accuracies = self._shelves.known_accuracies(shelf)
        if accuracies is None:
            accuracies = await _run(self._profile_threads, self._shelves.accuracies, shelf)
        arranged = partial(arrange, shelf.variants, accuracies, where=request.filter, order_by=request.order_by)
        brief = len(shelf.variants) * (1 + len(request.filter)) <= _AT_ONCE
        return arranged() if brief else await self._in_thread(arranged)

    async def GetVariant(self, request: catalog_pb2.GetVariantRequest, context: Context) -> catalog_pb2.Variant:
        """One variant, with presigned URLs if asked for and possible."""
        ref = parse_variant(request.name)
        shelf = await self._shelf(ref.family)
        held = next((variant for variant in shelf.variants if variant.tag == ref.tag), None)
        if held is not None and not request.with_download_url:
            return held.message()
        variant, family, release = await self._in_thread(self._catalog.variant, ref)
        urls = [""] * 2
        if request.with_download_url:
            urls = [await self._in_thread(self._url, release, entry) for entry in (variant.model, variant.int8)]
        return variant_message(
            variant,
            family,
            release,
            url=urls[0],
            int8_url=urls[1],
            has_card=self._catalog.has_card(release, variant.tag),
        )

    def _url(self, release: Release, entry: FileEntry | None) -> str:
        return "" if entry is None else self._catalog.model_url(release, entry, self._url_expires_s) or ""

    async def GetProfile(self, request: catalog_pb2.GetProfileRequest, context: Context) -> catalog_pb2.Profile:
        """The profile as a matrix, with its summary."""
        shelf = await self._shelf(parse_family(request.family))
        raw = self._shelves.known_profile(shelf)
        if raw is None:
            raw = await _run(self._profile_threads, self._shelves.profile, shelf)
        return catalog_pb2.Profile.FromString(raw)

    async def GetCard(self, request: catalog_pb2.GetCardRequest, context: Context) -> catalog_pb2.Card:
        """The model card of a family or of a variant."""
        if "/" in request.name:
            variant, family, release = await self._in_thread(self._catalog.variant, parse_variant(request.name))
            name, tag = f"{family.name}/{variant.tag}", variant.tag
        else:
            family, release = await self._in_thread(self._catalog.family, parse_family(request.name))
            name, tag = family.name, None
        text = await self._in_thread(self._catalog.card, release, tag)
        return catalog_pb2.Card(name=name, release=release.id, text=text)

    async def DownloadModel(
        self, request: catalog_pb2.DownloadModelRequest, context: Context
    ) -> AsyncIterator[catalog_pb2.DownloadModelResponse]:
        """Header, then chunks from the offset on; the last one only after the whole file was verified."""
        variant, family, release = await self._in_thread(self._catalog.variant, parse_variant(request.variant))
        known = [] if variant.model is not None else await self._in_thread(self._catalog.selectable_names)
        entry = model_of(family.name, variant, int8=request.int8, selectable=known)
        if not 0 <= request.offset <= entry.size:
            raise RequestError(f"offset {request.offset} is outside the file of {entry.size} bytes", field="offset")
        header = catalog_pb2.DownloadModelResponse.Header(size=entry.size, sha256=entry.sha256, release=release.id)
        yield catalog_pb2.DownloadModelResponse(header=header)
        chunks = self._catalog.model_stream(release, entry, request.offset, _CHUNK)
        # In the threads that all services share: who downloads keeps nobody from browsing.
        while (chunk := await asyncio.to_thread(_next, chunks)) is not None:
            yield catalog_pb2.DownloadModelResponse(chunk=chunk)


async def _run(pool: ThreadPoolExecutor, job: Callable[..., Result], *args: Any) -> Result:
    context = contextvars.copy_context()  # what is logged there names the call
    return await asyncio.get_running_loop().run_in_executor(pool, context.run, job, *args)


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
