"""Training data in idx files: the reserved part, checksums, downloads, and keys that mean nothing to a source."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import struct
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from seedzoo.errors import DataError, IntegrityError, RecipeError
from seedzoo.training.data import idx as idx_module
from seedzoo.training.data import load_data, read_idx
from seedzoo.training.recipe import DataSection

SUBSET = Path(__file__).resolve().parents[2] / "data" / "fashion-subset"
SECTION = DataSection(source="idx", path=str(SUBSET), reserve_test=100)


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, max_side=5)))
def test_idx_round_trip_and_any_cut_is_an_error(array: np.ndarray) -> None:
    raw = idx(array)
    assert np.array_equal(read_idx(raw, where="x"), array)
    with pytest.raises(DataError):
        read_idx(raw[:-1], where="x")
    with pytest.raises(DataError):
        read_idx(raw + b"\0", where="x")


@given(st.binary(max_size=64))
def test_any_bytes_parse_or_are_a_data_error(raw: bytes) -> None:
    with contextlib.suppress(DataError):
        read_idx(raw, where="x")


def test_reserved_examples_are_in_no_other_part() -> None:
    data = load_data(SECTION)
    assert data.train.read(range(1500)).shape == (1500, 28, 28, 1)
    assert len(data.test.labels) == 500
    assert len(data.reserved.labels) == 100
    whole = load_data(replace(SECTION, reserve_test=0))
    assert np.array_equal(
        np.concatenate([data.test.read(range(500)), data.reserved.read(range(100))]), whole.test.read(range(600))
    )
    assert data.classes[0] == "t-shirt"
    assert len(load_data(replace(SECTION, train_limit=10)).train.labels) == 10


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not known"):
        load_data(DataSection(source="imagenet"))
    with pytest.raises(DataError, match="cannot read"):
        load_data(DataSection(source="idx", path=str(tmp_path)))
    with pytest.raises(RecipeError, match="leaves none"):
        load_data(replace(SECTION, reserve_test=600))
    # Another data set of the same form is not taken for Fashion-MNIST.
    with pytest.raises(IntegrityError, match="not Fashion-MNIST"):
        load_data(DataSection(source="fashion-mnist", path=str(SUBSET)))
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        (tmp_path / f"{name}.gz").write_bytes((SUBSET / f"{name}.gz").read_bytes())
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes((SUBSET / "t10k-labels-idx1-ubyte.gz").read_bytes()[:50])
    with pytest.raises(DataError, match="cannot read"):
        load_data(DataSection(source="idx", path=str(tmp_path)))


def written(folder: Path, images: np.ndarray, labels: np.ndarray, *, kind: str = "idx4") -> DataSection:
    for part in ("train", "t10k"):
        (folder / f"{part}-images-{kind}-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return DataSection(source="idx", path=str(folder))


@pytest.mark.parametrize("kind", ["idx3", "idx4"])
def test_colour_images_are_taken_by_either_name(tmp_path: Path, kind: str) -> None:
    images = np.arange(2 * 8 * 9 * 3, dtype=np.uint8).reshape(2, 8, 9, 3)
    data = load_data(written(tmp_path, images, np.array([0, 11], dtype=np.uint8), kind=kind))
    assert np.array_equal(data.test.read([0, 1]), images)
    assert (data.preprocessing.height, data.preprocessing.width, data.preprocessing.channels) == (8, 9, 3)
    assert data.classes[11] == "class-11"
    assert data.origin.files[0].path == f"train-images-{kind}-ubyte"


@pytest.mark.parametrize("shape", [(2, 8, 8, 2), (2, 8), (3, 8, 8), (0, 8, 8), (2, 0, 8)])
def test_images_of_another_form_are_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    section = written(tmp_path, np.zeros(shape, dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    with pytest.raises(DataError, match="do not belong together"):
        load_data(section)


def test_both_parts_have_images_of_one_size(tmp_path: Path) -> None:
    section = written(tmp_path, np.zeros((2, 8, 8), dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    (tmp_path / "t10k-images-idx4-ubyte").write_bytes(idx(np.zeros((2, 9, 8), dtype=np.uint8)))
    with pytest.raises(DataError, match="of the test set"):
        load_data(section)


@pytest.mark.parametrize(("source", "key"), [("idx", "test_share"), ("digits", "height"), ("image-folder", "slices")])
def test_a_key_that_means_nothing_to_the_source_is_refused(source: str, key: str) -> None:
    value = {"test_share": 0.2, "height": 8, "slices": ("camera",)}[key]
    with pytest.raises(RecipeError, match=f"data.{key} means nothing to the source {source}"):
        load_data(replace(DataSection(source=source), **{key: value}))


def test_download_is_checked_and_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served, cache = tmp_path / "served", tmp_path / "cache"
    served.mkdir()
    for path in SUBSET.glob("*.gz"):
        (served / path.name).write_bytes(path.read_bytes())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(served))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("SEEDZOO_FASHION_MNIST_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(idx_module, "_DEBIAN", tmp_path / "no-debian")
        monkeypatch.setattr(idx_module.platformdirs, "user_cache_path", lambda _: cache)
        with pytest.raises(IntegrityError, match="is not Fashion-MNIST"):
            load_data(DataSection(source="fashion-mnist"))
        assert not list(cache.glob("fashion-mnist/*"))
        sums = {
            path.name[:-3]: hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
            for path in SUBSET.glob("*.gz")
        }
        monkeypatch.setattr(idx_module, "_FILES", {name: sums[name] for name in idx_module._FILES})
        assert len(load_data(DataSection(source="fashion-mnist")).train.labels) == 1500
        server.shutdown()
        assert len(load_data(DataSection(source="fashion-mnist")).train.labels) == 1500  # from the cache
        (cache / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
        server.server_close()
        with pytest.raises(DataError, match="cannot download") as caught:
            load_data(DataSection(source="fashion-mnist"))
        assert "dataset-fashion-mnist" in caught.value.hint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
