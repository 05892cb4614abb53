"""The part of the asynchronous client that reads the catalog: families, variants, profiles."""

from __future__ import annotations

from abc import ABC, abstractmethod

from seedzoo_client import convert
from seedzoo_client.aio.connection import Connection, pages
from seedzoo_client.catalog_requests import (
    VariantListing,
    card_request,
    family_request,
    profile_request,
    variant_request,
)
from seedzoo_client.views import FamilyView, ProfileView, VariantView
from seedzoo_protos.v1 import catalog_pb2

__all__ = ["AsyncCatalogCalls"]


class AsyncCatalogCalls(ABC):
    """What a :class:`seedzoo_client.AsyncClient` can ask about families and variants.

    Arguments, results and errors are those of :class:`seedzoo_client.catalog_calls.CatalogCalls`.
    """

    @property
    @abstractmethod
    def server(self) -> str:
        """The server's address as people write it."""

    @abstractmethod
    async def _connection(self) -> Connection: ...

    async def families(self) -> list[FamilyView]:
        """All families that the server offers, by name."""
        connection = await self._connection()
        return [
            convert.family_view(family)
            async for page in pages(
                lambda token: connection.patiently(
                    connection.catalog.ListFamilies, catalog_pb2.ListFamiliesRequest(page_token=token)
                )
            )
            for family in page.families
        ]

    async def family(self, name: str) -> FamilyView:
        """One family: ``<family>``, ``<family>@<alias>`` or ``<family>@<release>``.

        Raises:
            NotFound: There is no such family.
        """
        request = family_request(name)
        connection = await self._connection()
        return convert.family_view(await connection.patiently(connection.catalog.GetFamily, request))

    async def variants(
        self, family: str, *, filter: str = "", order_by: str = "", limit: int | None = None
    ) -> list[VariantView]:
        """Variants of a family; arguments as for :meth:`seedzoo_client.Client.variants`.

        Raises:
            NotFound: There is no such family.
            RequestError: ``filter`` or ``order_by`` cannot be understood.
        """
        listing = VariantListing(family, filter, order_by, limit)
        connection = await self._connection()
        found: list[VariantView] = []
        async for page in pages(
            lambda token: connection.patiently(connection.catalog.ListVariants, listing.page(token))
        ):
            found += [convert.variant_view(variant) for variant in page.variants]
            if listing.full(len(found)):
                return found[:limit]
        return found

    async def variant(self, name: str) -> VariantView:
        """One variant: ``<family>/<tag>`` or ``<family>@<alias or release>/<tag>``.

        Raises:
            NotFound: There is no such variant.
        """
        request = variant_request(name)
        connection = await self._connection()
        return convert.variant_view(await connection.patiently(connection.catalog.GetVariant, request))

    async def card(self, name: str) -> str:
        """The model card of a family or of a variant, as Markdown.

        Raises:
            NotFound: There is no such family or variant, or it has no model card.
        """
        request = card_request(name)
        connection = await self._connection()
        return str((await connection.patiently(connection.catalog.GetCard, request)).text)

    async def profile(self, family: str) -> ProfileView:
        """The measured table variant x condition of a family.

        Raises:
            NotFound: There is no such family, or it has no profile.
        """
        request = profile_request(family)
        connection = await self._connection()
        return convert.profile_view(await connection.patiently(connection.catalog.GetProfile, request))
