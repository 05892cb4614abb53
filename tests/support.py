"""Shared by tests: small bundles cut from the starter family, and images to send."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, RECIPE_FILE, open_bundle
from seedzoo.catalog.codec import encode_json
from seedzoo.starter import starter_bundle
from seedzoo.stress.table import read_profile, write_profile

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def small_bundle(folder: Path, *, variants: int = 4, name: str = "mini") -> Path:
    """A real bundle of the first few starter variants under another name."""
    source = open_bundle(starter_bundle())
    kept = source.family.variants[:variants]
    tags = {variant.tag for variant in kept}
    (folder / "models").mkdir(parents=True)
    for variant in kept:
        shutil.copy(source.folder / variant.model.path, folder / variant.model.path)
    shutil.copy(source.folder / RECIPE_FILE, folder / RECIPE_FILE)
    family = replace(
        source.family,
        name=name,
        variants=kept,
        certificate=replace(source.family.certificate, published=len(kept)),
    )
    (folder / FAMILY_FILE).write_bytes(encode_json(family))
    profile = read_profile(source.folder / PROFILE_FILE)
    rows = [row for row in profile.rows if row.variant in tags]
    write_profile(rows, folder / PROFILE_FILE, suite=profile.suite, dataset=profile.dataset, version=profile.version)
    return folder


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def example_files(folder: str = "mydata", classes: Sequence[str] = (), per_class: int = 30) -> list[tuple[Path, str]]:
    """Paths and class names of the example images."""
    found = []
    for directory in sorted((EXAMPLES / folder).iterdir()):
        if directory.is_dir() and (not classes or directory.name in classes):
            found += [(path, directory.name) for path in sorted(directory.glob("*.png"))[:per_class]]
    return found
