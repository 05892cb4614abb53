"""How models are run: on which hardware, in how much memory, and where to note what was measured of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from seedzoo.cpu import usable_memory
from seedzoo.errors import RequestError

__all__ = ["PROVIDERS", "InferenceSettings", "Provider"]

Provider = Literal["auto", "cpu", "cuda"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
_SHARE = 2


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """Settings of one evaluation.

    Attributes:
        provider: ``cuda`` fails where CUDA is not active; ``auto`` uses it where it is.
        memory_bytes: What open sessions may take together, as :func:`seedzoo.inference.sessions.session_bytes`
            estimates it; half of what this process may use when None.
        cache_folder: Where measured batch sizes outlive the process; nowhere when None.
    """

    provider: Provider = "auto"
    memory_bytes: int | None = None
    cache_folder: Path | None = None

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise RequestError(f"provider {self.provider!r} is none of {', '.join(PROVIDERS)}", field="provider")
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise RequestError(f"{self.memory_bytes} bytes hold no model", field="memory_bytes")

    def budget(self) -> int:
        """Bytes that open sessions may take together."""
        return usable_memory() // _SHARE if self.memory_bytes is None else self.memory_bytes
