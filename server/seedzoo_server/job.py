"""What the runner knows of a selection that it has queued, works on or has given up for a while."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

from seedzoo.records import ProgressUpdate, SelectionPhase
from seedzoo_server.tracing import SelectionTrace

__all__ = ["GivenUp", "Job"]


@dataclass
class Job:
    """A selection that this process has queued or runs."""

    abandoned: str | None = None
    """Etag of the record of a worker that was found dead."""
    given_up: int = 0
    """How often in a row this process could not bring it to an end."""
    progress: ProgressUpdate = field(default_factory=lambda: ProgressUpdate(SelectionPhase.QUEUED))
    stop: threading.Event = field(default_factory=threading.Event)
    epoch: int = 0
    """Under which it is worked on; 0 while it waits."""
    lost: bool = False
    """Whether it was cancelled or taken over elsewhere."""
    origin: object = None
    """The call that started it, where this process served it."""
    trace: SelectionTrace = field(default_factory=SelectionTrace)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """This process works on it no more, well or ill; set and awaited in the event loop only."""
    moved: float = field(default_factory=time.monotonic)
    """When the work showed for the last time that it goes on."""

    def report(self, progress: ProgressUpdate) -> None:
        """The work is that far."""
        self.moved = time.monotonic()
        self.progress = progress
        self.trace.progress(progress)

    def should_stop(self) -> bool:
        """Whether to stop; asked before each batch of images, which is a sign of life."""
        self.moved = time.monotonic()
        return self.stop.is_set()


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A selection that this process could not bring to an end."""

    until: float
    """It rests until then, on the clock of :func:`time.monotonic`."""
    times: int
    """How often in a row."""
    epoch: int
    """Under which it was worked on; 0 where it could not even be claimed."""
