"""What the README tells an application developer to paste really is what the choice was made for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedzoo.inference import decode_image
from seedzoo.records import Preprocessing
from seedzoo.starter import starter_bundle

ROOT = Path(__file__).resolve().parents[2]


def test_snippet_prepares_images_as_the_server_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = [text for text in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
                  if "onnxruntime" in text]  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    (tmp_path / "model.onnx").write_bytes((starter_bundle() / "models" / "s000.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(snippet, names)
    expected = decode_image((tmp_path / "photo.png").read_bytes(), Preprocessing(28, 28, 1)).pixels
    assert np.array_equal(names["image"][0], expected)
    assert names["logits"].shape == (1, 10)
