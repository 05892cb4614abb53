"""Tenants: each has a folder of the store of its own, and nothing that serves one can name another's."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from seedzoo.catalog.names import check_name
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import RequestError
from seedzoo_server.storage.datasets import Datasets
from seedzoo_server.storage.labelling import Labellings
from seedzoo_server.storage.selections import Selections

__all__ = ["TENANTS", "Tenant", "Tenants", "check_tenant"]

TENANTS = "tenants"
"""Folder of the store."""


def check_tenant(name: str) -> str:
    """Return a tenant's name. Raises RequestError for what is no name or has capitals.

    A store on a file system that takes ``Acme`` and ``acme`` for the same would give one tenant the other's data.
    """
    if check_name(name, "tenant") != name.lower():
        raise RequestError(f"the tenant {name!r} must be in lower case", field="tenant")
    return name


@dataclass(frozen=True)
class Tenant:
    """One tenant's data."""

    name: str
    datasets: Datasets
    selections: Selections
    labellings: Labellings


class Tenants:
    """Opens tenants' folders; safe to share between threads.

    Args:
        store: The whole store.
        max_items: Most items of a dataset.
        max_item_bytes: Largest item.
    """

    def __init__(self, store: ObjectStore, *, max_items: int, max_item_bytes: int) -> None:
        self._store = store
        self._max_items = max_items
        self._max_item_bytes = max_item_bytes
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
                    datasets=Datasets(scoped, max_items=self._max_items, max_item_bytes=self._max_item_bytes),
                    selections=Selections(scoped),
                    labellings=Labellings(scoped),
                )
            return found

    def names(self) -> list[str]:
        """All tenants that have anything in the store, sorted."""
        return list(self._store.list_folders(TENANTS))
