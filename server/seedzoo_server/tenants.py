"""Tenants: each has a folder of the store of its own, and nothing that serves one can name another's."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from seedzoo.catalog.scoped import ScopedStore
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import RequestError
from seedzoo_server.identity import TENANTS, check_tenant
from seedzoo_server.quotas import Quota, QuotaGuard, read_quota
from seedzoo_server.storage.datasets import Datasets
from seedzoo_server.storage.labelling import Labellings
from seedzoo_server.storage.selections import Selections

__all__ = ["TENANTS", "Tenant", "Tenants", "check_tenant"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tenant:
    """One tenant's data."""

    name: str
    store: ObjectStore
    """Its folder."""
    datasets: Datasets
    selections: Selections
    labellings: Labellings

    def largest_image(self, server_limit: int) -> int:
        """Pixels of the largest image that is decoded for this tenant: its quota, or the server's limit if smaller.

        Raises:
            IntegrityError: The stored quota is damaged.
        """
        own = read_quota(self.store)[0].max_image_pixels
        return min(own, server_limit) if own else server_limit


class Tenants:
    """Opens tenants' folders; safe to share between threads.

    Args:
        store: The whole store.
        max_items: Most items of a dataset.
        max_item_bytes: Largest item.
        default_quota: What tenants may keep who have no quota of their own; no limit when omitted.
    """

    def __init__(
        self, store: ObjectStore, *, max_items: int, max_item_bytes: int, default_quota: Quota | None = None
    ) -> None:
        self._store = store
        self._max_items = max_items
        self._max_item_bytes = max_item_bytes
        self._default_quota = default_quota or Quota()
        self._lock = threading.Lock()
        self._open: dict[str, Tenant] = {}

    def of(self, name: str) -> Tenant:
        """The tenant of that name, with or without data.

        Raises:
            RequestError: It is no name.
        """
        with self._lock:
            found = self._open.get(name)
            if found is None:
                scoped = ScopedStore(self._store, f"{TENANTS}/{check_tenant(name)}")
                found = self._open[name] = Tenant(
                    name=name,
                    store=scoped,
                    datasets=Datasets(
                        scoped,
                        max_items=self._max_items,
                        max_item_bytes=self._max_item_bytes,
                        quota=QuotaGuard(scoped, tenant=name, default=self._default_quota),
                    ),
                    selections=Selections(scoped),
                    labellings=Labellings(scoped),
                )
            return found

    def names(self) -> list[str]:
        """All tenants that have anything in the store, sorted; a folder that cannot be a tenant's is left out."""
        found = []
        for name in self._store.list_folders(TENANTS):
            try:
                found.append(check_tenant(name))
            except RequestError as error:
                _log.error("left alone in the store: %s/%s: %s", TENANTS, name, error.message)
        return found
