"""Where selections are evaluated: in this process, or on a Ray cluster that is connected as long as the server runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from seedzoo.engine.spread_evaluator import OpenEvaluator, evaluators_on
from seedzoo.errors import RequestError
from seedzoo_server.settings import ServerSettings

if TYPE_CHECKING:
    from seedzoo.executors.cluster import RayExecutor

__all__ = ["Evaluators"]

_log = logging.getLogger(__name__)


class Evaluators:
    """Made when the server is, connected when it starts.

    Args:
        settings: See there.

    Raises:
        RequestError: Settings that mean nothing on Ray.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._exit = ExitStack()
        self._executor: RayExecutor | None = None
        self.open_evaluator: OpenEvaluator | None = None
        """Makes evaluators; None for threads of this process."""
        if settings.evaluate_on == "ray":
            _check(settings)
            from seedzoo.executors.cluster import RayExecutor  # noqa: PLC0415  (its own extra)

            # As Ray's own programs: the cluster that RAY_ADDRESS names, or one of this machine's own.
            self._executor = RayExecutor(address=os.environ.get("RAY_ADDRESS") or None)
            self.open_evaluator = evaluators_on(
                self._executor, memory_bytes=settings.model_memory_bytes, on_notice=_log.warning
            )

    async def connect(self) -> None:
        """Connect, where there is something to connect to; called in the event loop.

        Raises:
            MissingExtra: Ray is not installed.
            Unavailable: The cluster does not answer.
            LocalFailure: No cluster can be started on this machine.
        """
        if self._executor is None:
            return
        handler = signal.getsignal(signal.SIGTERM)
        await asyncio.to_thread(self._connect, self._executor)
        if handler is not None and threading.current_thread() is threading.main_thread():
            # Ray puts one of its own below Python's, which would abort the server while it stops.
            signal.signal(signal.SIGTERM, handler)
            signal.siginterrupt(signal.SIGTERM, False)

    def _connect(self, executor: RayExecutor) -> None:
        from seedzoo.executors.cluster import import_ray  # noqa: PLC0415

        self._exit.enter_context(executor.connected(import_ray()))
        _log.info("selections are evaluated on Ray, with %d cores now", executor.cores)

    def close(self) -> None:
        """Let go of the cluster; one of this machine's own ends."""
        self._exit.close()


def _check(settings: ServerSettings) -> None:
    """Refuse what would be ignored on Ray. Raises RequestError."""
    if settings.provider == "cuda":
        raise RequestError(
            "provider cuda does not go with evaluate_on ray: there models run on CPU cores",
            hint="Leave the provider out, or evaluate on this machine.",
            field="provider",
        )
    if settings.calibration_folder is not None:
        raise RequestError(
            "a calibration_folder does not go with evaluate_on ray: there no batch sizes are measured",
            hint="Leave it out.",
            field="calibration_folder",
        )
