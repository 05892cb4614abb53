"""How far a long call is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Progress", "ProgressCallback", "Stage", "ignore"]


class Stage(StrEnum):
    """What :meth:`seedzoo_client.Client.select` or ``download`` is doing."""

    READING = "reading"
    UPLOADING = "uploading"
    QUEUED = "queued"
    LOADING = "loading"
    EVALUATING = "evaluating"
    CHOOSING = "choosing"
    DONE = "done"
    DOWNLOADING = "downloading"
    RECONNECTING = "reconnecting"
    """The server cannot be reached or cannot go on; what was under way is taken up again."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: ``done`` of ``total`` images (bytes while downloading); 0 of 0 where nothing can be counted."""

    stage: Stage
    done: int = 0
    total: int = 0
    variants_in_race: int = 0
    leader: str = ""
    detail: str = ""
    """While reconnecting: what is wrong."""


ProgressCallback = Callable[[Progress], None]


def ignore(_progress: Progress) -> None:
    """For callers who do not want to know."""
