"""The part of the client that reads the catalog: families, variants, profiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import grpc

from seedzoo_client import convert
from seedzoo_client.catalog_requests import (
    VariantListing,
    card_request,
    family_request,
    profile_request,
    variant_request,
)
from seedzoo_client.pages import pages
from seedzoo_client.retry import patiently
from seedzoo_client.views import FamilyView, ProfileView, VariantView
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc

__all__ = ["CatalogCalls"]

_T = TypeVar("_T")


class CatalogCalls(ABC):
    """What a :class:`seedzoo_client.client.Client` can ask about families and variants."""

    _timeout: float
    """Seconds that one answer may take."""

    @property
    @abstractmethod
    def server(self) -> str:
        """The server's address as people write it."""

    @abstractmethod
    def _channel(self) -> grpc.Channel: ...

    def _answer(self, call: Callable[[], _T]) -> _T:
        return patiently(call, seconds=self._timeout, server=self.server)

    def families(self) -> list[FamilyView]:
        """All families that the server offers, by name."""
        stub = catalog_pb2_grpc.CatalogServiceStub(self._channel())
        found = pages(
            lambda token: stub.ListFamilies(catalog_pb2.ListFamiliesRequest(page_token=token), timeout=self._timeout),
            server=self.server,
            seconds=self._timeout,
        )
        return [convert.family_view(family) for page in found for family in page.families]

    def family(self, name: str) -> FamilyView:
        """One family: ``<family>``, ``<family>@<alias>`` or ``<family>@<release>``.

        Raises:
            NotFound: There is no such family.
        """
        request = family_request(name)
        stub = catalog_pb2_grpc.CatalogServiceStub(self._channel())
        return convert.family_view(self._answer(lambda: stub.GetFamily(request, timeout=self._timeout)))

    def variants(
        self, family: str, *, filter: str = "", order_by: str = "", limit: int | None = None
    ) -> list[VariantView]:
        """Variants of a family.

        Args:
            family: As in :meth:`family`.
            filter: Terms joined by AND, for example ``accuracy[pixelate-3] >= 0.6 AND accuracy[id] >= 0.9``.
            order_by: For example ``accuracy[contrast-4] desc``; by tag where empty.
            limit: At most that many.

        Raises:
            NotFound: There is no such family.
            RequestError: ``filter`` or ``order_by`` cannot be understood.
        """
        listing = VariantListing(family, filter, order_by, limit)
        stub = catalog_pb2_grpc.CatalogServiceStub(self._channel())
        found: list[VariantView] = []
        for page in pages(
            lambda token: stub.ListVariants(listing.page(token), timeout=self._timeout),
            server=self.server,
            seconds=self._timeout,
        ):
            found += [convert.variant_view(variant) for variant in page.variants]
            if listing.full(len(found)):
                return found[:limit]
        return found

    def variant(self, name: str) -> VariantView:
        """One variant: ``<family>/<tag>`` or ``<family>@<alias or release>/<tag>``.

        Raises:
            NotFound: There is no such variant.
        """
        request = variant_request(name)
        stub = catalog_pb2_grpc.CatalogServiceStub(self._channel())
        return convert.variant_view(self._answer(lambda: stub.GetVariant(request, timeout=self._timeout)))

    def card(self, name: str) -> str:
        """The model card of a family or of a variant, as Markdown.

        Args:
            name: As in :meth:`family` or :meth:`variant`.

        Raises:
            NotFound: There is no such family or variant, or it has no model card.
        """
        request = card_request(name)
        stub = catalog_pb2_grpc.CatalogServiceStub(self._channel())
        return str(self._answer(lambda: stub.GetCard(request, timeout=self._timeout)).text)

    def profile(self, family: str) -> ProfileView:
        """The measured table variant x condition of a family.

        Raises:
            NotFound: There is no such family, or it has no profile.
        """
        request = profile_request(family)
        stub = catalog_pb2_grpc.CatalogServiceStub(self._channel())
        return convert.profile_view(self._answer(lambda: stub.GetProfile(request, timeout=self._timeout)))
