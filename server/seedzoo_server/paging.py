"""Page sizes and opaque page tokens (google.aip.dev/158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

from seedzoo.errors import RequestError

__all__ = ["page_of"]

Item = TypeVar("Item")
_LONGEST_TOKEN = 200


def page_of(
    items: Sequence[Item], *, page_size: int, page_token: str, default: int, largest: int, scope: str
) -> tuple[Sequence[Item], str]:
    """One page and the token of the next one (empty at the end).

    Args:
        items: All items, in a stable order.
        page_size: As requested; 0 for ``default``, more than ``largest`` gives ``largest``.
        page_token: As requested; empty for the first page.
        default: Page size where none is asked for.
        largest: Most items in a page.
        scope: All else that decides the listing; a token works only where this is the same.

    Raises:
        RequestError: A negative size, or a token that was not made for this listing.
    """
    if page_size < 0:
        raise RequestError(f"page_size = {page_size} is negative", field="page_size")
    size = min(page_size or default, largest)
    digest = hashlib.sha256(scope.encode()).hexdigest()[:16]
    start = _start(page_token, digest) if page_token else 0
    stop = start + size
    token = base64.urlsafe_b64encode(json.dumps([stop, digest]).encode()).decode() if stop < len(items) else ""
    return items[start:stop], token


def _start(token: str, digest: str) -> int:
    try:
        if len(token) > _LONGEST_TOKEN:
            raise ValueError("longer than any token of ours")
        start, found = json.loads(base64.urlsafe_b64decode(token.encode()))
        valid = found == digest and isinstance(start, int) and start >= 0
    except (ValueError, TypeError, binascii.Error, UnicodeDecodeError):
        valid = False
    if not valid:
        raise RequestError(
            "the page_token was not made by this listing", hint="Start again without it.", field="page_token"
        )
    return int(start)
