"""What is asked about families and variants: checked, and put into requests."""

from __future__ import annotations

from dataclasses import dataclass

from seedzoo.errors import RequestError
from seedzoo_client.arguments import as_text, as_whole
from seedzoo_client.cache import VariantName
from seedzoo_protos.v1 import catalog_pb2

__all__ = ["VariantListing", "card_request", "family_request", "profile_request", "variant_request"]

_LARGEST_PAGE = 1_000


def family_request(name: str) -> catalog_pb2.GetFamilyRequest:
    """For GetFamily. Raises RequestError for what is no text."""
    return catalog_pb2.GetFamilyRequest(name=as_text(name, field="family"))


def variant_request(name: str) -> catalog_pb2.GetVariantRequest:
    """For GetVariant. Raises RequestError for what is no variant's name."""
    return catalog_pb2.GetVariantRequest(name=str(VariantName.parse(as_text(name, field="variant"))))


def card_request(name: str) -> catalog_pb2.GetCardRequest:
    """For GetCard. Raises RequestError for what is no text."""
    return catalog_pb2.GetCardRequest(name=as_text(name, field="name"))


def profile_request(family: str) -> catalog_pb2.GetProfileRequest:
    """For GetProfile. Raises RequestError for what is no text."""
    return catalog_pb2.GetProfileRequest(family=as_text(family, field="family"))


@dataclass(frozen=True, slots=True)
class VariantListing:
    """What is asked of ListVariants.

    Raises:
        RequestError: A name that is none, or a limit below 1.
    """

    family: str
    filter: str
    order_by: str
    limit: int | None

    def __post_init__(self) -> None:
        as_text(self.family, field="family")
        for field, text in (("filter", self.filter), ("order_by", self.order_by)):
            if text != "":
                as_text(text, field=field)
        if self.limit is not None and as_whole(self.limit, field="limit") < 1:
            raise RequestError(f"limit must be at least 1, not {self.limit}", field="limit")

    def page(self, token: str) -> catalog_pb2.ListVariantsRequest:
        """The request for the page that a token names; the first one for an empty token."""
        return catalog_pb2.ListVariantsRequest(
            family=self.family,
            filter=self.filter,
            order_by=self.order_by,
            page_token=token,
            page_size=min(self.limit or 0, _LARGEST_PAGE),
        )

    def full(self, found: int) -> bool:
        """Whether that many are all that is wanted."""
        return self.limit is not None and found >= self.limit
