"""What callers may see of an error: everything about their request, nothing about the operator's store."""

from __future__ import annotations

from seedzoo.errors import LocalFailure, StoreError, ZooError

__all__ = ["public"]


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
    return error
