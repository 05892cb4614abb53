"""A small real family and real images for the engine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support import Engine, MemoryExamples, example_files, small_bundle, subset_images

from seedzoo.catalog.bundle import open_bundle


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(open_bundle(small_bundle(tmp_path_factory.mktemp("engine") / "mini", variants=6)))


@pytest.fixture(scope="session")
def images(zoo: Engine) -> tuple[list[bytes], NDArray[np.int64]]:
    """The 300 example images and their labels."""
    found = example_files()
    classes = zoo.family.task.classes
    return [path.read_bytes() for path, _ in found], np.array([classes.index(name) for _, name in found])


@pytest.fixture
def labelled(images: tuple[list[bytes], NDArray[np.int64]]) -> MemoryExamples:
    return MemoryExamples(*images)


@pytest.fixture(scope="session")
def many() -> tuple[list[bytes], NDArray[np.int64]]:
    """1,800 small images and their labels, no two alike."""
    contents, labels = subset_images()
    unique = dict(zip(contents, labels.tolist(), strict=True))
    return list(unique), np.array(list(unique.values()))
