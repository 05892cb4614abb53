"""Many variants over the same examples, against one plain session each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.support import example_files

from seedzoo.catalog.bundle import open_bundle
from seedzoo.errors import DataError
from seedzoo.inference import Evaluator, decode_image, predict_files
from seedzoo.inference.evaluate import block_length, softmax
from seedzoo.inference.session import Model
from seedzoo.starter import starter_bundle

BUNDLE = open_bundle(starter_bundle())
FILES = example_files(per_class=3)


def raw_model(column: int) -> bytes:
    return (BUNDLE.folder / BUNDLE.family.variants[column].model.path).read_bytes()


def images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    task = BUNDLE.family.task
    images = np.stack([decode_image(path.read_bytes(), task.preprocessing).pixels for path, _ in FILES])
    return images, np.array([task.classes.index(name) for _, name in FILES])


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_are_those_of_plain_sessions(threads: int) -> None:
    images, labels = images_and_labels()
    labels = labels.copy()
    labels[4] = -1
    with Evaluator([lambda m=m: Model(raw_model(m), name="m") for m in range(5)], threads=threads) as evaluator:
        scores = evaluator.run(images, labels)
    total = 0
    for column in range(5):
        logits = onnxruntime.InferenceSession(raw_model(column)).run(None, {"images": images})[0]
        probability = softmax(logits)
        assert np.array_equal(scores.predicted[:, column], logits.argmax(1))
        expected = probability[np.arange(len(labels)), labels]
        assert np.allclose(np.delete(scores.label_probability[:, column], 4), np.delete(expected, 4), atol=1e-6)
        assert np.isnan(scores.label_probability[4, column])
        total = total + probability.astype(float)
    assert np.array_equal(scores.ensemble, total.argmax(1))


def test_probabilities_are_returned_for_the_examples_that_are_asked_for() -> None:
    images, labels = images_and_labels()
    with Evaluator([lambda m=m: Model(raw_model(m), name="m") for m in range(3)], threads=2) as evaluator:
        none = evaluator.run(images, labels)
        some = evaluator.run(images, labels, keep_probabilities=[5, 0, 7])
    assert none.probabilities.shape == (0, 3, 10)
    assert some.probabilities.shape == (3, 3, 10)
    assert some.probabilities.dtype == np.float32
    for column in range(3):
        logits = onnxruntime.InferenceSession(raw_model(column)).run(None, {"images": images})[0]
        assert np.allclose(some.probabilities[:, column], softmax(logits)[[5, 0, 7]], atol=1e-6)
    assert np.array_equal(some.predicted, none.predicted)
    assert np.array_equal(some.label_probability, none.label_probability)


def test_predict_files_is_the_same_computation() -> None:
    images, labels = images_and_labels()
    prediction = predict_files(raw_model(0), [path for path, _ in FILES], batch_size=7)
    logits = onnxruntime.InferenceSession(raw_model(0)).run(None, {"images": images})[0]
    assert np.array_equal(prediction.predicted, logits.argmax(1))
    assert prediction.classes == BUNDLE.family.task.classes
    assert np.allclose(prediction.probabilities.sum(1), 1, atol=1e-5)
    assert predict_files(raw_model(0), []).predicted.shape == (0,)
    assert (prediction.predicted == labels).mean() > 0.2


def test_what_is_no_model_or_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="s001 is not a usable ONNX model"):
        Model(b"<html>", name="s001")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad\.png: not an image"):
        predict_files(raw_model(0), [bad])
    with pytest.raises(DataError, match=r"cannot read .*gone"):
        predict_files(raw_model(0), [tmp_path / "gone.png"])


def test_block_length_bounds_memory() -> None:
    assert block_length(28 * 28) == 512
    assert block_length(224 * 224 * 3) * 224 * 224 * 3 <= 32 << 20
    assert block_length(10**9) == 1
    assert block_length(28 * 28, sessions_fit=False) == 4 * 512
    assert block_length(28 * 28, spread=True) == 4 * 512
    assert block_length(224 * 224 * 3, spread=True) == block_length(224 * 224 * 3)
