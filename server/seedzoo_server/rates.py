"""How often a tenant may call: one bucket of calls for each, which fills up as time goes by."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from seedzoo.errors import LimitExceeded

__all__ = ["CallRates"]

_SAVED_S = 10.0


class CallRates:
    """Lets so many calls of a tenant begin in a second, on average of ten; used in one thread.

    Args:
        per_second: Calls; 0 for any number.
        clock: Seconds that only grow.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, _SAVED_S * per_second)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        """Of each tenant, how many calls it had left, and when."""

    def count(self, tenant: str) -> None:
        """A call begins. Raises LimitExceeded where none is left, and then counts none."""
        if not self._per_second:
            return
        now = self._clock()
        left, then = self._left.get(tenant, (self._most, now))
        left = min(self._most, left + (now - then) * self._per_second)
        if left < 1:
            self._left[tenant] = left, now
            wait_s = (1 - left) / self._per_second
            raise LimitExceeded(
                f"more than {self._per_second:g} calls a second on average",
                hint=f"Try again in {math.ceil(wait_s)} s, and call less often.",
                reason="RATE_LIMITED",
                retry_s=wait_s,
            )
        self._left[tenant] = left - 1, now
