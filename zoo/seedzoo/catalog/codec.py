"""Records to JSON and back: the one place that decides how they are written and how damage is reported."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from seedzoo.errors import IntegrityError

__all__ = ["decode_json", "encode_json"]

Record = TypeVar("Record")


def encode_json(record: object) -> bytes:
    """Indented JSON with a final newline: people read these files too."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=2) + b"\n"


def decode_json(raw: bytes, kind: type[Record], *, where: str) -> Record:
    """Parse a record; unknown fields of later versions are ignored.

    Raises:
        IntegrityError: The bytes are not such a record; ``where`` names them.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{where} is not a valid {kind.__name__} record: {error}",
            hint="It was changed by hand or written by an incompatible version.",
            reason="RECORD_INVALID",
        ) from error
