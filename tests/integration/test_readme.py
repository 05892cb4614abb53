"""What the pages tell an application developer to paste runs, and is what the choice was made for."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_server import serving
from tests.support import EXAMPLES, small_bundle

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.publish import publish
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


def test_snippets_of_the_user_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, as somebody pastes it; server and store are the only words that are changed."""
    for name in [name for name in os.environ if name.startswith("SEEDZOO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEEDZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    publish(LocalStore(tmp_path / "store"), small_bundle(tmp_path / "bundle"))
    shutil.copytree(EXAMPLES / "mydata", "mydata")
    Path("unlabelled").mkdir()
    for path in sorted((EXAMPLES / "later").glob("*/*.png")):
        shutil.copy(path, Path("unlabelled") / f"{path.parent.name}_{path.name}")
    asked: list[str] = []

    def ask_somebody(path: Path) -> str:
        asked.append(path.name)
        return path.name.partition("_")[0]

    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "users.md").read_text(), re.DOTALL)
    assert len(snippets) == 4
    with serving(LocalStore(tmp_path / "store"), decoder_processes=0) as port:
        for snippet in snippets:
            words = snippet.replace("zoo.example:7316", f"localhost:{port}")
            exec(words.replace("s3://bucket/prefix", str(tmp_path / "store")), {"ask_somebody": ask_somebody})
    assert 0 < len(asked) <= 50
    assert Path("model.onnx").stat().st_size > 0
