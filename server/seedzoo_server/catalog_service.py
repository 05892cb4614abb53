"""CatalogService: families, variants, profiles and model downloads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import parse_family, parse_variant
from seedzoo.catalog.selectable import model_of
from seedzoo.errors import IntegrityError, NotFound, RequestError
from seedzoo.records import Family, FileEntry, Release, Variant
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc
from seedzoo_server.convert import family_message, variant_message
from seedzoo_server.listing import arrange
from seedzoo_server.paging import page_of
from seedzoo_server.profiles import profile_message

__all__ = ["CatalogServicer"]

Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PAGE_DEFAULT = 100
_PAGE_LARGEST = 1000


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Serves a catalog; every read of the store runs in a thread."""

    def __init__(self, catalog: Catalog, *, url_expires_s: int) -> None:
        self._catalog = catalog
        self._url_expires_s = url_expires_s

    async def ListFamilies(
        self, request: catalog_pb2.ListFamiliesRequest, context: Context
    ) -> catalog_pb2.ListFamiliesResponse:
        """All families, a page at a time."""
        names = await asyncio.to_thread(self._catalog.folder_names)
        page, token = page_of(
            names,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope="families",
        )
        found = await asyncio.gather(*(asyncio.to_thread(self._listed, name) for name in page))
        return catalog_pb2.ListFamiliesResponse(
            families=[family_message(*published) for published in found if published is not None],
            next_page_token=token,
        )

    def _listed(self, name: str) -> tuple[Family, Release] | None:
        try:
            return self._catalog.default(name)
        except (IntegrityError, NotFound) as error:  # one that is damaged, or has just gone, hides no other
            _log.error("family %s is left out of the listing: %s", name, error.message)
            return None

    async def GetFamily(self, request: catalog_pb2.GetFamilyRequest, context: Context) -> catalog_pb2.Family:
        """One family."""
        return family_message(*await asyncio.to_thread(self._catalog.family, parse_family(request.name)))

    async def ListVariants(
        self, request: catalog_pb2.ListVariantsRequest, context: Context
    ) -> catalog_pb2.ListVariantsResponse:
        """Variants by filter and order, a page at a time."""
        family, release = await asyncio.to_thread(self._catalog.family, parse_family(request.family))
        kept = await asyncio.to_thread(self._arranged, family, release, request)
        page, token = page_of(
            kept,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope=f"{family.name}/{release.id}/{request.filter}/{request.order_by}",
        )
        return catalog_pb2.ListVariantsResponse(
            variants=[
                variant_message(variant, family, release, has_card=self._catalog.has_card(release, variant.tag))
                for variant in page
            ],
            next_page_token=token,
            total_size=len(kept),
        )

    def _arranged(self, family: Family, release: Release, request: catalog_pb2.ListVariantsRequest) -> list[Variant]:
        """In a thread: a profile may have a hundred thousand rows."""
        accuracies: dict[str, dict[str, float]] = {}
        for row in self._catalog.profile(release).rows:
            accuracies.setdefault(row.condition, {})[row.variant] = row.accuracy
        return arrange(family.variants, accuracies, where=request.filter, order_by=request.order_by)

    async def GetVariant(self, request: catalog_pb2.GetVariantRequest, context: Context) -> catalog_pb2.Variant:
        """One variant, with presigned URLs if asked for and possible."""
        variant, family, release = await asyncio.to_thread(self._catalog.variant, parse_variant(request.name))
        urls = [""] * 2
        if request.with_download_url:
            urls = [await asyncio.to_thread(self._url, release, entry) for entry in (variant.model, variant.int8)]
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
        family, release = await asyncio.to_thread(self._catalog.family, parse_family(request.family))
        own, twins = await asyncio.to_thread(self._catalog.profiles, release)
        return await asyncio.to_thread(profile_message, own, family, release, twins=twins)

    async def GetCard(self, request: catalog_pb2.GetCardRequest, context: Context) -> catalog_pb2.Card:
        """The model card of a family or of a variant."""
        if "/" in request.name:
            variant, family, release = await asyncio.to_thread(self._catalog.variant, parse_variant(request.name))
            name, tag = f"{family.name}/{variant.tag}", variant.tag
        else:
            family, release = await asyncio.to_thread(self._catalog.family, parse_family(request.name))
            name, tag = family.name, None
        text = await asyncio.to_thread(self._catalog.card, release, tag)
        return catalog_pb2.Card(name=name, release=release.id, text=text)

    async def DownloadModel(
        self, request: catalog_pb2.DownloadModelRequest, context: Context
    ) -> AsyncIterator[catalog_pb2.DownloadModelResponse]:
        """Header, then chunks from the offset on; the last one only after the whole file was verified."""
        variant, family, release = await asyncio.to_thread(self._catalog.variant, parse_variant(request.variant))
        known = [] if variant.model is not None else await asyncio.to_thread(self._catalog.selectable_names)
        entry = model_of(family.name, variant, int8=request.int8, selectable=known)
        if not 0 <= request.offset <= entry.size:
            raise RequestError(f"offset {request.offset} is outside the file of {entry.size} bytes", field="offset")
        header = catalog_pb2.DownloadModelResponse.Header(size=entry.size, sha256=entry.sha256, release=release.id)
        yield catalog_pb2.DownloadModelResponse(header=header)
        chunks = self._catalog.model_stream(release, entry, request.offset, _CHUNK)
        while (chunk := await asyncio.to_thread(_next, chunks)) is not None:
            yield catalog_pb2.DownloadModelResponse(chunk=chunk)


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
