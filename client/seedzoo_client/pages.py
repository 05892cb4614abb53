"""Read a listing page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

from seedzoo_client.retry import patiently

__all__ = ["pages"]


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


_PageT = TypeVar("_PageT", bound=_Page)


def pages(fetch: Callable[[str], _PageT], *, server: str, seconds: float) -> Iterator[_PageT]:
    """All pages, each asked for when it is wanted.

    Args:
        fetch: Gets the page that a token names; the first one for an empty token.
        server: The server's address as people are told.
        seconds: How long to go on with a page that the server refuses for now.

    Raises:
        ZooError: The server refuses, or cannot be reached.
    """
    token = ""
    while True:
        page = patiently(partial(fetch, token), seconds=seconds, server=server)
        yield page
        token = page.next_page_token
        if not token:
            return
