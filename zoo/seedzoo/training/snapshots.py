"""The state of an unfinished training run, so that one killed after an epoch goes on from there."""

from __future__ import annotations

import io
import pickle
from typing import Any, Protocol

import torch

from seedzoo.errors import IntegrityError
from seedzoo.training.messages import first_line

__all__ = ["Snapshots", "decode_state", "encode_state"]

_VERSION = 1


class Snapshots(Protocol):
    """Where one variant's snapshot is kept: a file, or an object of a store. Only the latest is needed."""

    def load(self) -> bytes | None:
        """The snapshot saved last, or None."""
        ...

    def save(self, raw: bytes) -> None:
        """Replace it as a whole or not at all."""
        ...


def encode_state(state: dict[str, Any], *, key: str) -> bytes:
    """The state as bytes; ``key`` says which run it belongs to."""
    buffer = io.BytesIO()
    torch.save({"version": _VERSION, "key": key, "state": state}, buffer)
    return buffer.getvalue()


def decode_state(raw: bytes, *, key: str) -> dict[str, Any] | None:
    """The state, or None where it is that of another run: an older recipe, or other seeds.

    Raises:
        IntegrityError: The bytes are no snapshot. Nothing in them is executed.
    """
    try:
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        fits = content["version"] == _VERSION and content["key"] == key
        state: dict[str, Any] = content["state"]
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, OSError) as error:
        raise IntegrityError(
            f"the snapshot of an unfinished variant cannot be read: {first_line(error)}",
            hint="Delete it; that variant then starts again.",
        ) from error
    return state if fits else None
