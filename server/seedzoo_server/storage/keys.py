"""Keys of one tenant's data, below the tenant's folder of the store, and identifiers made from request ids."""

from __future__ import annotations

import hashlib
import re

from seedzoo.errors import NotFound, RequestError

__all__ = [
    "DATASETS",
    "QUEUE",
    "SELECTIONS",
    "check_id",
    "dataset_prefix",
    "derived_id",
    "predictions_prefix",
    "queue_key",
    "selection_key",
    "unknown",
]

DATASETS, SELECTIONS, QUEUE = "datasets", "selections", "queue"
"""Folders of a tenant."""

_ID = re.compile(r"(ds|sel)-[0-9a-f]{32}")
_LONGEST_REQUEST_ID = 128


def derived_id(kind: str, request_id: str) -> str:
    """An identifier that is the same whenever the request is repeated.

    Raises:
        RequestError: The request id is empty or longer than 128 characters.
    """
    if not 0 < len(request_id) <= _LONGEST_REQUEST_ID:
        raise RequestError(
            f"request_id must have 1 to {_LONGEST_REQUEST_ID} characters, not {len(request_id)}",
            hint="Use a UUID, the same one when the call is repeated.",
            field="request_id",
        )
    return f"{kind}-{hashlib.sha256(request_id.encode()).hexdigest()[:32]}"


def check_id(kind: str, given: str) -> str:
    """Return an identifier of that kind; anything else names nothing. Raises NotFound."""
    if not _ID.fullmatch(given) or not given.startswith(f"{kind}-"):
        raise unknown(kind, given)
    return given


def unknown(kind: str, given: str) -> NotFound:
    """The error for an identifier that names nothing."""
    what = {"ds": "dataset", "sel": "selection"}[kind]
    return NotFound(f"there is no {what} {given[:60]!r}", reason=f"{what.upper()}_UNKNOWN", field=f"{what}_id")


def dataset_prefix(dataset_id: str) -> str:
    """Folder of a dataset."""
    return f"{DATASETS}/{dataset_id}"


def predictions_prefix(dataset_id: str) -> str:
    """Folder of what is kept of evaluations on a dataset."""
    return f"{dataset_prefix(dataset_id)}/predictions"


def selection_key(selection_id: str) -> str:
    """Key of a selection's record."""
    return f"{SELECTIONS}/{selection_id}.json"


def queue_key(selection_id: str) -> str:
    """Mark of an unfinished selection."""
    return f"{QUEUE}/{selection_id}"
