"""Finished variants: what is kept of each, in the build's folder and, where one is given, in an object store.

<folder>/<tag>/                          model.onnx, weights.safetensors if asked for, and, written last, result.json
builds/<training key>/<tag>/ in a store  the same, and the snapshot of one that is not finished
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.integrity import sha256_hex
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import IntegrityError, NotFound
from seedzoo.executors import FolderSnapshots, Snapshots, StoreSnapshots
from seedzoo.files import local_failure, write_atomically

__all__ = [
    "LICENCE_KEY",
    "MODEL_FILE",
    "WEIGHTS_FILE",
    "TrainedVariant",
    "finished_variant",
    "folder_snapshots",
    "has_result",
    "keep_in_folder",
    "keep_in_store",
    "store_snapshots",
    "stored_variant",
]

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "weights.safetensors"
LICENCE_KEY = "seedzoo.licence"
"""Of the model's metadata."""
_RESULT = "result.json"
_SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class TrainedVariant:
    """What is kept of one training run (``result.json``)."""

    tag: str
    training_key: str
    seeds: dict[str, int]
    sha256: str
    size: int
    parity: float
    """Largest |logit difference| between torch and ONNX Runtime at export."""
    seconds: float
    """Of the worker that finished it; what one that died before had done is not in it."""
    factors: dict[str, str] = field(default_factory=dict)
    """Level of each factor of a crossed design."""
    weights_sha256: str = ""
    """Of ``weights.safetensors``, where the recipe keeps it."""
    licence: str = ""
    """What the model's metadata say."""
    software: dict[str, str] = field(default_factory=dict)
    """Versions that trained and exported it; empty in results of older versions."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file beside the result."""
        return {MODEL_FILE: self.sha256} | ({WEIGHTS_FILE: self.weights_sha256} if self.weights_sha256 else {})


def finished_variant(folder: Path, tag: str, training_key: str) -> TrainedVariant | None:
    """The result of an earlier run under the same key, if its files are whole; else None."""
    try:
        result = msgspec.json.decode((folder / tag / _RESULT).read_bytes(), type=TrainedVariant)
        whole = result.training_key == training_key and all(
            _digest(folder / tag / name) == sha256 for name, sha256 in result.digests.items()
        )
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return result if whole else None


def has_result(folder: Path, tag: str) -> bool:
    """Whether an earlier run finished the variant, under whatever key."""
    return (folder / tag / _RESULT).exists()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_in_folder(folder: Path, variant: TrainedVariant, files: Mapping[str, bytes]) -> None:
    """Write a variant's files and then its result, and drop its snapshot.

    Raises:
        LocalFailure: The disk is full (``DISK_FULL``) or refuses; the variant then counts as not finished.
    """
    place = folder / variant.tag
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / _RESULT).unlink(missing_ok=True)  # of another recipe, and its files are about to go
    except OSError as error:
        raise local_failure(error, place / _RESULT) from error
    for name, content in files.items():
        write_atomically(place / name, content)
    write_atomically(place / _RESULT, encode_json(variant))
    folder_snapshots(folder, variant.tag, key="").clear()


def stored_variant(
    store: ObjectStore, tag: str, training_key: str, *, on_notice: Callable[[str], None]
) -> tuple[TrainedVariant, dict[str, bytes]] | None:
    """A variant that a worker finished and its files, if they are whole; else None.

    Raises:
        StoreError: The store fails.
    """
    place = _place(training_key, tag)
    try:
        variant = decode_json(store.get(f"{place}/{_RESULT}"), TrainedVariant, where=f"{place}/{_RESULT}")
        files = {name: store.get(f"{place}/{name}") for name in variant.digests}
    except NotFound:
        return None
    except IntegrityError as error:
        on_notice(f"{error.message}; {tag} is trained again")
        return None
    if variant.training_key != training_key or any(
        sha256_hex(files[name]) != sha256 for name, sha256 in variant.digests.items()
    ):
        on_notice(f"{place} in {store.url} is damaged; {tag} is trained again")
        return None
    return variant, files


def keep_in_store(store: ObjectStore, variant: TrainedVariant, files: Mapping[str, bytes]) -> None:
    """Write a variant's files and then its result, and drop its snapshot.

    Raises:
        StoreError: The store fails; the variant then counts as not finished.
    """
    place = _place(variant.training_key, variant.tag)
    for name, content in files.items():
        store.put(f"{place}/{name}", content)
    store.put(f"{place}/{_RESULT}", encode_json(variant))
    store.delete(f"{place}/{_SNAPSHOT}")


def folder_snapshots(
    folder: Path, tag: str, *, key: str, on_damage: Callable[[str], None] = lambda _: None
) -> Snapshots:
    """Where the snapshot of an unfinished variant is kept in the build's folder."""
    return FolderSnapshots(folder / tag / _SNAPSHOT, key=key, on_damage=on_damage)


def store_snapshots(
    store: ObjectStore, training_key: str, tag: str, *, key: str, on_damage: Callable[[str], None]
) -> Snapshots:
    """Where the snapshot of an unfinished variant is kept in a store."""
    return StoreSnapshots(store, f"{_place(training_key, tag)}/{_SNAPSHOT}", key=key, on_damage=on_damage)


def _place(training_key: str, tag: str) -> str:
    return f"builds/{training_key}/{tag}"
