"""A queue in which every tenant gets its turn: a thousand selections of one do not delay the first of another."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

__all__ = ["FairQueue"]


class FairQueue:
    """First in, first out for each tenant; tenants in rotation. For use inside one event loop."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[str]] = OrderedDict()
        self._count = asyncio.Semaphore(0)

    def __len__(self) -> int:
        return sum(len(items) for items in self._waiting.values())

    def put(self, tenant: str, item: str) -> None:
        """Add an item at the end of its tenant's line."""
        self._waiting.setdefault(tenant, deque()).append(item)
        self._count.release()

    async def get(self) -> tuple[str, str]:
        """The next tenant's first item, once there is one."""
        await self._count.acquire()
        tenant, items = next(iter(self._waiting.items()))
        item = items.popleft()
        if items:
            self._waiting.move_to_end(tenant)
        else:
            del self._waiting[tenant]
        return tenant, item
