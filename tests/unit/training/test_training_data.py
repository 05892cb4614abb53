"""Training data: idx files, the reserved part, checksums and downloads."""

from __future__ import annotations

import contextlib
import gzip
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
from seedzoo.training import data as data_module
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
    assert data.train_images.shape == (1500, 28, 28, 1)
    assert len(data.test_labels) == 500
    assert len(data.reserved_labels) == 100
    whole = load_data(replace(SECTION, reserve_test=0))
    assert np.array_equal(np.concatenate([data.test_images, data.reserved_images]), whole.test_images)
    assert data.classes[0] == "t-shirt"
    assert len(load_data(replace(SECTION, train_limit=10)).train_labels) == 10


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
        monkeypatch.setattr(data_module, "_DEBIAN", tmp_path / "no-debian")
        monkeypatch.setattr(data_module.platformdirs, "user_cache_path", lambda _: cache)
        with pytest.raises(IntegrityError, match="is not Fashion-MNIST"):
            load_data(DataSection(source="fashion-mnist"))
        assert not list((cache / "fashion-mnist").iterdir())
        import hashlib

        sums = {
            path.name[:-3]: hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
            for path in SUBSET.glob("*.gz")
        }
        monkeypatch.setattr(data_module, "_FILES", {name: sums[name] for name in data_module._FILES})
        assert len(load_data(DataSection(source="fashion-mnist")).train_labels) == 1500
        server.shutdown()
        assert len(load_data(DataSection(source="fashion-mnist")).train_labels) == 1500  # from the cache
        (cache / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
        server.server_close()
        with pytest.raises(DataError, match="cannot download") as caught:
            load_data(DataSection(source="fashion-mnist"))
        assert "dataset-fashion-mnist" in caught.value.hint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
