"""Batch sizes: which are compared, which wins, and what is remembered."""

from __future__ import annotations

import json
from itertools import accumulate, cycle
from pathlib import Path

import numpy as np
import pytest

from seedzoo.catalog.bundle import open_bundle
from seedzoo.errors import Cancelled
from seedzoo.inference.calibration import FILE, BatchSizes, candidates, fastest, machine
from seedzoo.inference.session import Model, default_batch, largest_batch
from seedzoo.starter import starter_bundle

BUNDLE = open_bundle(starter_bundle())
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1)).astype(np.uint8)
SMALL, LARGE = 28 * 28, 224 * 224 * 3


def model(column: int = 0) -> Model:
    file = BUNDLE.family.variants[column].model
    assert file is not None
    return Model((BUNDLE.folder / file.path).read_bytes(), name="m")


def test_sizes_follow_the_image() -> None:
    assert (default_batch(SMALL), largest_batch(SMALL)) == (64, 128)
    assert (default_batch(LARGE), largest_batch(LARGE)) == (4, 8)
    assert (default_batch(10**8), largest_batch(10**8)) == (1, 1)


@pytest.mark.parametrize(("image", "passes"), [(SMALL, 100_000), (SMALL, 30_000), (LARGE, 100_000), (LARGE, 2_000)])
def test_measuring_takes_no_more_than_a_hundredth(image: int, passes: int) -> None:
    sizes = candidates(image, passes)
    assert default_batch(image) in sizes
    assert len(sizes) > 1
    assert 3 * sum(sizes) <= passes / 100


def test_few_passes_are_not_worth_it() -> None:
    assert candidates(SMALL, 100_000) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert candidates(SMALL, 20_000) == []
    assert candidates(LARGE, 16 * 8) == []
    sizes = BatchSizes()
    assert sizes.measure("m", model(), IMAGES, 20_000) is None
    assert sizes.measured == 0


def test_the_smallest_that_is_fast_wins() -> None:
    assert fastest({8: 8.0, 16: 15.9, 32: 30.5, 64: 64.0}) == 8
    assert fastest({8: 8.0, 16: 14.0, 32: 27.9}) == 16
    assert fastest({1: 0.5, 2: 2.0}) == 1


def test_a_size_is_measured_once_and_outlives_the_process(tmp_path: Path) -> None:
    sizes = BatchSizes(tmp_path / "cache")
    size = sizes.measure("m", model(), IMAGES, 100_000)
    assert size in candidates(SMALL, 100_000)
    assert sizes.known("m", SMALL, model().provider) == size
    assert sizes.known("other", SMALL, model().provider) is None
    assert sizes.known("m", SMALL, "CUDAExecutionProvider") is None
    again = BatchSizes(tmp_path / "cache")
    assert again.known("m", SMALL, model().provider) == size
    assert again.measured == 0
    assert machine() in (tmp_path / "cache" / FILE).read_text()


def test_the_clock_decides() -> None:
    # Each run takes as long as the sequence says: three runs of each of 8 sizes, the first not counted.
    spent = [9.0, *[1.0] * 2] * 8  # the same time for any batch: the largest is the fastest
    ticks = accumulate(value for took in cycle(spent) for value in (0.0, took))
    sizes = BatchSizes(clock=lambda: next(ticks))
    assert sizes.measure("m", model(), IMAGES, 100_000) == 128


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"sizes": {}}',
        b'{"sizes": {"m": 3}, "sha256": "0"}',
        b"\xff\xfe",
        b'{"sizes": 3, "sha256": ""}',
    ],
)
def test_a_broken_file_is_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    sizes = BatchSizes(tmp_path)
    assert "measured again" in caplog.text
    assert sizes.measure("m", model(), IMAGES, 100_000) is not None
    assert BatchSizes(tmp_path).known("m", SMALL, model().provider) is not None


def test_a_changed_size_is_seen(tmp_path: Path) -> None:
    BatchSizes(tmp_path).measure("m", model(), IMAGES, 100_000)
    stored = json.loads((tmp_path / FILE).read_text())
    stored["sizes"] = dict.fromkeys(stored["sizes"], 77)
    (tmp_path / FILE).write_text(json.dumps(stored))
    assert BatchSizes(tmp_path).known("m", SMALL, model().provider) is None


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    sizes = BatchSizes(tmp_path / "file" / "below")
    assert sizes.measure("m", model(), IMAGES, 100_000) is not None
    assert "were not kept" in caplog.text


def test_a_folder_that_cannot_even_be_looked_at_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = BatchSizes(tmp_path / ("long" * 100))
    assert sizes.measure("m", model(), IMAGES, 100_000) is not None
    assert "were not kept" in caplog.text


def test_measuring_stops_when_it_is_told(tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    sizes = BatchSizes(tmp_path)
    with pytest.raises(Cancelled):
        sizes.measure("m", model(), IMAGES, 100_000, should_stop=stop)
    assert len(asked) == 5  # of 24 runs
    assert sizes.known("m", SMALL, model().provider) is None
    assert not (tmp_path / FILE).exists()


def test_what_a_model_says_does_not_depend_on_the_batch() -> None:
    """Kept predictions, resumed and repeated selections rest on it."""
    for column in (0, 7):
        session = model(column)
        one = session.logits(IMAGES, batch=64)
        for batch in (2, 3, 8, 32, 40, 128):
            other = session.logits(IMAGES, batch=batch)
            assert np.array_equal(one.argmax(axis=1), other.argmax(axis=1))
            assert np.allclose(one, other, rtol=1e-5, atol=1e-5)
