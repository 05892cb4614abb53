"""Pauses between attempts to take up a broken stream."""

from __future__ import annotations

import random
import time

from seedzoo_client.settings import RetryConfig

__all__ = ["Backoff"]


class Backoff:
    """Counts failures in a row and pauses longer after each.

    Args:
        config: How often and how long.
    """

    def __init__(self, config: RetryConfig) -> None:
        self._config = config
        self._failures = 0

    def progressed(self) -> None:
        """Something went forward: the count starts again."""
        self._failures = 0

    def pause(self) -> bool:
        """Wait before the next attempt; False when there were enough."""
        self._failures += 1
        if self._failures >= self._config.attempts:
            return False
        pause = min(self._config.initial_seconds * 2 ** (self._failures - 1), self._config.maximum_seconds)
        # Many clients that lost one server must not come back at the same moment.
        time.sleep(pause * random.uniform(0.5, 1.0))
        return True
