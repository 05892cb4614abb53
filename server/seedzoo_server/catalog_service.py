"""CatalogService: families, variants, profiles and model downloads."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import parse_family, parse_variant
from seedzoo.errors import IntegrityError, RequestError
from seedzoo.records import Family, Release
from seedzoo.stress.summary import ConditionSummary, summarise
from seedzoo.stress.table import ProfileRow, ProfileTable, read_profile
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc
from seedzoo_server.convert import family_message, variant_message
from seedzoo_server.listing import arrange
from seedzoo_server.paging import page_of

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
        names = await asyncio.to_thread(self._catalog.family_names)
        page, token = page_of(
            names,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope="families",
        )
        found = []
        for name in page:
            try:
                found.append(await asyncio.to_thread(self._catalog.family, parse_family(name)))
            except IntegrityError as error:
                _log.error("family %s is left out of the listing: %s", name, error.message)
        return catalog_pb2.ListFamiliesResponse(
            families=[family_message(family, release) for family, release in found], next_page_token=token
        )

    async def GetFamily(self, request: catalog_pb2.GetFamilyRequest, context: Context) -> catalog_pb2.Family:
        """One family."""
        return family_message(*await asyncio.to_thread(self._catalog.family, parse_family(request.name)))

    async def ListVariants(
        self, request: catalog_pb2.ListVariantsRequest, context: Context
    ) -> catalog_pb2.ListVariantsResponse:
        """Variants by filter and order, a page at a time."""
        family, release = await asyncio.to_thread(self._catalog.family, parse_family(request.family))
        profile = await asyncio.to_thread(self._profile, release)
        accuracies: dict[str, dict[str, float]] = {}
        for row in profile.rows:
            accuracies.setdefault(row.condition, {})[row.variant] = row.accuracy
        kept = arrange(family.variants, accuracies, where=request.filter, order_by=request.order_by)
        page, token = page_of(
            kept,
            page_size=request.page_size,
            page_token=request.page_token,
            default=_PAGE_DEFAULT,
            largest=_PAGE_LARGEST,
            scope=f"{family.name}/{release.id}/{request.filter}/{request.order_by}",
        )
        return catalog_pb2.ListVariantsResponse(
            variants=[variant_message(variant, family, release) for variant in page],
            next_page_token=token,
            total_size=len(kept),
        )

    async def GetVariant(self, request: catalog_pb2.GetVariantRequest, context: Context) -> catalog_pb2.Variant:
        """One variant, with a presigned URL if asked for and possible."""
        variant, family, release = await asyncio.to_thread(self._catalog.variant, parse_variant(request.name))
        url = None
        if request.with_download_url:
            url = await asyncio.to_thread(self._catalog.model_url, release, variant, self._url_expires_s)
        return variant_message(variant, family, release, url=url or "")

    async def GetProfile(self, request: catalog_pb2.GetProfileRequest, context: Context) -> catalog_pb2.Profile:
        """The profile as a matrix, with its summary."""
        family, release = await asyncio.to_thread(self._catalog.family, parse_family(request.family))
        profile = await asyncio.to_thread(self._profile, release)
        return await asyncio.to_thread(profile_message, profile, family, release)

    async def DownloadModel(
        self, request: catalog_pb2.DownloadModelRequest, context: Context
    ) -> AsyncIterator[catalog_pb2.DownloadModelResponse]:
        """Header, then chunks from the offset on; the last one only after the whole file was verified."""
        variant, _, release = await asyncio.to_thread(self._catalog.variant, parse_variant(request.variant))
        if not 0 <= request.offset <= variant.model.size:
            raise RequestError(
                f"offset {request.offset} is outside the file of {variant.model.size} bytes", field="offset"
            )
        header = catalog_pb2.DownloadModelResponse.Header(
            size=variant.model.size, sha256=variant.model.sha256, release=release.id
        )
        yield catalog_pb2.DownloadModelResponse(header=header)
        chunks = self._catalog.model_stream(release, variant, request.offset, _CHUNK)
        while (chunk := await asyncio.to_thread(_next, chunks)) is not None:
            yield catalog_pb2.DownloadModelResponse(chunk=chunk)

    def _profile(self, release: Release) -> ProfileTable:
        return read_profile(self._catalog.profile_bytes(release))


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def profile_message(profile: ProfileTable, family: Family, release: Release) -> catalog_pb2.Profile:
    """A profile as served: accuracies as a matrix and the summary of each condition."""
    tags = [variant.tag for variant in family.variants]
    conditions = profile.conditions
    matrix = np.full((len(tags), len(conditions)), math.nan)
    rows = {tag: index for index, tag in enumerate(tags)}
    columns = {name: index for index, name in enumerate(conditions)}
    first: dict[str, ProfileRow] = {}
    for row in profile.rows:
        if row.variant in rows:
            matrix[rows[row.variant], columns[row.condition]] = row.accuracy
        first.setdefault(row.condition, row)
    summary = summarise(matrix, variants=tags, conditions=conditions, n=[first[name].n for name in conditions])
    return catalog_pb2.Profile(
        family=family.name,
        release=release.id,
        suite=profile.suite,
        tags=tags,
        conditions=[
            _summary_message(item, kind=first[item.condition].kind, severity=first[item.condition].severity or 0)
            for item in summary
        ],
        accuracy=matrix.ravel(),
    )


def _summary_message(item: ConditionSummary, *, kind: str, severity: int) -> catalog_pb2.ConditionSummary:
    return catalog_pb2.ConditionSummary(
        condition=item.condition,
        kind=kind,
        severity=severity,
        n_examples=item.n,
        mean=item.mean,
        sd=item.sd,
        min=item.low,
        max=item.high,
        worst_variant=item.low_variant,
        best_variant=item.high_variant,
        sd_ratio=item.sd_ratio,
        spearman=item.correlation.rho,
        spearman_low=item.correlation.low,
        spearman_high=item.correlation.high,
    )
