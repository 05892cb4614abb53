"""Read a listing page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from seedzoo_client.status import translated

__all__ = ["pages"]


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


_PageT = TypeVar("_PageT", bound=_Page)


def pages(fetch: Callable[[str], _PageT], *, server: str) -> Iterator[_PageT]:
    """All pages, each asked for when it is wanted.

    Args:
        fetch: Gets the page that a token names; the first one for an empty token.
        server: The server's address as people are told.

    Raises:
        ZooError: The server refuses, or cannot be reached.
    """
    token = ""
    while True:
        with translated(server):
            page = fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
