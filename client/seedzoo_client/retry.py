"""Pauses between attempts to take up what broke off, and calls that are repeated until the server is back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from seedzoo_client.progress import Progress, ProgressCallback, Stage, ignore
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import asked_wait, from_rpc_error, is_transient, trouble

__all__ = ["Backoff", "patiently", "persistently"]

_TOLD_SECONDS = 1.0
"""Who waits for longer than that is told at once."""

_T = TypeVar("_T")


class Backoff:
    """Measures how long nothing has gone forward, and pauses longer after each failure in a row.

    Args:
        config: How long to go on.
        progress: Told from the second failure in a row on: a proxy that cuts a long stream is no trouble.
        clock: Seconds that only grow.
        sleep: Waits for that many seconds.
    """

    def __init__(
        self,
        config: RetryConfig,
        *,
        progress: ProgressCallback,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._since = 0.0

    def progressed(self) -> None:
        """Something went forward: the time starts again."""
        self._failures = 0

    def pause(self, failure: grpc.RpcError | None) -> bool:
        """Wait before the next attempt; False when it has been tried for long enough.

        Args:
            failure: What is wrong; None where a stream ended without saying so.
        """
        seconds = self.delay(failure)
        if seconds is None:
            return False
        self._sleep(seconds)
        return True

    def delay(self, failure: grpc.RpcError | None) -> float | None:
        """Seconds to wait before the next attempt; None when it has been tried for long enough.

        A server that says when it wants the call again is not asked earlier; where that is later than we go on, the
        answer is None at once.

        Args:
            failure: As for :meth:`pause`.
        """
        now = self._clock()
        if not self._failures:
            self._since = now
        self._failures += 1
        left = self._config.total_seconds - (now - self._since)
        if self._failures > 1 and left <= 0:
            return None
        asked = asked_wait(failure) or 0.0
        if asked > left:
            return None
        # Many clients that lost one server must not come back at the same moment.
        if asked:
            seconds = asked * random.uniform(1.0, 1.1)
        else:
            # The exponent is bounded: a long outage with short pauses must not overflow.
            growth: float = 2.0 ** min(self._failures - 1, 30)
            longest = min(self._config.initial_seconds * growth, self._config.maximum_seconds)
            seconds = longest * random.uniform(0.5, 1.0)
        long = asked > _TOLD_SECONDS
        if self._failures > 1 or long:
            detail = trouble(failure) + (f" (it asks to wait {asked:.0f} s)" if long else "")
            self._progress(Progress(Stage.RECONNECTING, detail=detail))
        return seconds


def persistently(call: Callable[[], _T], *, config: RetryConfig, server: str, progress: ProgressCallback) -> _T:
    """Make a call that may be made twice, again and again while the server is away.

    Only for calls after one that the server has answered: who names a wrong server should hear so at once.

    Args:
        call: Raises grpc's errors.
        config: How long to go on.
        server: The server's address as people are told.
        progress: Told when it takes more than one more attempt.

    Raises:
        ZooError: The call failed for good.
    """
    backoff = Backoff(config, progress=progress)
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if not (is_transient(error) and backoff.pause(error)):
                raise from_rpc_error(error, server=server) from error


def patiently(call: Callable[[], _T], *, seconds: float, server: str) -> _T:
    """Make a call that only reads, again where the server refuses it for now and says when it wants it.

    Nothing else is repeated: who names a wrong server should hear so at once.

    Args:
        call: Raises grpc's errors.
        seconds: How long to go on.
        server: The server's address as people are told.

    Raises:
        ZooError: The call failed.
    """
    backoff = Backoff(RetryConfig(total_seconds=seconds), progress=ignore)
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if asked_wait(error) is None or not backoff.pause(error):
                raise from_rpc_error(error, server=server) from error
