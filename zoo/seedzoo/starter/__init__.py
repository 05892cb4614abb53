"""The starter family that ships with seedzoo: 50 small CNNs on Fashion-MNIST, as a bundle ready to publish."""

from __future__ import annotations

from pathlib import Path

from seedzoo.errors import NotFound

__all__ = ["STARTER_FAMILY", "starter_bundle"]

STARTER_FAMILY = "fashion-cnn"


def starter_bundle(name: str = STARTER_FAMILY) -> Path:
    """Folder of a family's bundle inside the installed package. Raises NotFound."""
    folder = Path(__file__).parent / name
    if not folder.is_dir():
        raise NotFound(f"seedzoo ships no family {name!r}", hint=f"It ships {STARTER_FAMILY}.", reason="FAMILY_UNKNOWN")
    return folder
