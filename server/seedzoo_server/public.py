"""What callers may see of an error: everything about their request, nothing about the operator's store."""

from __future__ import annotations

from seedzoo.errors import Conflict, LocalFailure, StoreError, ZooError

__all__ = ["public"]

# What a store says of a single object, which no caller ever names: it holds keys and the store's address.
_OF_OBJECTS = frozenset({"OBJECT_NOT_FOUND", "PRECONDITION_FAILED", "KEY_INVALID", "RANGE_INVALID"})


def public(error: ZooError) -> ZooError:
    """The error as callers see it; the operator's log has the original.

    Texts of the store name endpoints, buckets and keys.
    """
    if isinstance(error, StoreError | LocalFailure):
        return StoreError(
            "the server's store cannot be used now",
            hint="Try again later; the operator finds the reason in the server's log.",
            reason=StoreError.default_reason,
        )
    if error.reason in _OF_OBJECTS:
        return Conflict("what this needs was changed or deleted in the same moment", hint="Try again.")
    return error
