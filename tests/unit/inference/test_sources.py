"""Image sources: reading by row, naming what cannot be read, and digests that notice every difference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedzoo.errors import DataError
from seedzoo.inference.sources import ArrayImages, FileImages
from seedzoo.records import Preprocessing

SHAPE = Preprocessing(height=8, width=6, channels=3)


def pixels(row: int) -> np.ndarray:
    return np.full((8, 6, 3), 10 * row, dtype=np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> FileImages:
    paths = [tmp_path / "a" / f"{row}.png" for row in range(4)]
    (tmp_path / "a").mkdir()
    for row, path in enumerate(paths):
        Image.fromarray(pixels(row)).save(path)
    return FileImages(paths, np.array([0, 1, 0, 1]), SHAPE, root=tmp_path)


@given(st.lists(st.integers(0, 4), max_size=8))
def test_images_in_memory_come_in_the_order_asked_for(rows: list[int]) -> None:
    source = ArrayImages(np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1), np.arange(5))
    images, usable, skipped = source.read_usable(rows)
    assert images.shape == (len(rows), 2, 2, 1)
    assert [int(image[0, 0, 0]) for image in images] == [4 * row for row in rows]
    assert usable.tolist() == rows
    assert skipped == []


def test_files_come_in_the_order_asked_for(files: FileImages) -> None:
    assert [int(image.max()) for image in files.read([3, 0, 3])] == [30, 0, 30]
    assert files.read([]).shape == (0, 8, 6, 3)
    assert files.name(2) == "a/2.png"


def test_a_damaged_or_missing_file_is_named_or_left_out(files: FileImages) -> None:
    files.paths[1].write_bytes(b"no picture")
    files.paths[2].unlink()
    with pytest.raises(DataError, match=r"1\.png: not an image of a known format"):
        files.read(range(4))
    with pytest.raises(DataError, match=r"cannot read .*2\.png: No such file"):
        files.read([2])
    images, usable, skipped = files.read_usable(range(4))
    assert usable.tolist() == [0, 3]
    assert [int(image.max()) for image in images] == [0, 30]
    assert [(item.row, item.name) for item in skipped] == [(1, "a/1.png"), (2, "a/2.png")]
    assert "not an image" in skipped[0].reason


def test_a_border_is_cut_off_before_resizing(tmp_path: Path) -> None:
    framed = np.full((10, 8, 3), 255, dtype=np.uint8)
    framed[1:-1, 1:-1] = pixels(5)
    Image.fromarray(framed).save(tmp_path / "x.png")
    source = FileImages([tmp_path / "x.png"], np.array([0]), SHAPE, root=tmp_path, border=1)
    assert np.array_equal(source.read([0])[0], pixels(5))


def test_the_digest_of_files_notices_contents_labels_names_and_preprocessing_but_not_the_place(
    files: FileImages, tmp_path: Path
) -> None:
    def fresh(**changes: object) -> str:
        return replace(files, **changes).digest  # type: ignore[arg-type]

    digests = {
        files.digest,
        fresh(labels=np.array([0, 1, 0, 0])),
        fresh(border=1),
        fresh(preprocessing=replace(SHAPE, height=9)),
        fresh(paths=list(files.paths)[::-1]),
    }
    assert len(digests) == 5
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moved").rename(tmp_path / "elsewhere" / "a")
    root = tmp_path / "elsewhere"
    assert fresh(paths=[root / "a" / path.name for path in files.paths], root=root) == files.digest
    Image.fromarray(pixels(9)).save(root / "a" / "0.png")
    assert fresh(paths=[root / "a" / path.name for path in files.paths], root=root) not in digests


def test_the_digest_of_an_array_notices_shape_pixels_and_labels() -> None:
    images, labels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1), np.array([0, 1])
    digests = {
        ArrayImages(images, labels).digest,
        ArrayImages(images.reshape(2, 2, 8, 1), labels).digest,
        ArrayImages(images ^ 1, labels).digest,
        ArrayImages(images, labels[::-1]).digest,
    }
    assert len(digests) == 4
    # A view that does not lie in one piece has the digest of its copy.
    wide = np.arange(64, dtype=np.uint8).reshape(2, 4, 8, 1)[:, :, ::2]
    assert ArrayImages(wide, labels).digest == ArrayImages(wide.copy(), labels).digest
