"""What every condition promises, whatever it does."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedzoo.errors import DataError
from seedzoo.stress import Condition, Draws, Kind, conditions, get_condition
from seedzoo.stress.corruptions.imagenet_c import PUBLISHED_KINDS
from seedzoo.stress.corruptions.mnist_c import SHAPE_KINDS

# The published corruptions have tests of their own, in test_published_*.py.
PUBLISHED = {kind.name for kind in (*PUBLISHED_KINDS, *SHAPE_KINDS)}
ALL = tuple(one for one in conditions() if one.kind not in PUBLISHED)
each = pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)


@each
def test_shape_dtype_and_input_untouched(one, shaped):
    before = shaped.copy()
    after = one.apply(shaped, np.arange(len(shaped)))
    assert after.dtype == np.uint8
    assert after.shape == shaped.shape
    assert not np.shares_memory(after, shaped)
    np.testing.assert_array_equal(shaped, before)


@each
def test_order_and_split_of_batches_change_nothing(one, shaped):
    indices = np.array([4, 0, 9, 2**40, 7, 1])
    together = one.apply(shaped, indices)
    order = np.array([3, 5, 0, 4, 1, 2])
    np.testing.assert_array_equal(one.apply(shaped[order], indices[order]), together[order])
    alone = [one.apply(shaped[i : i + 1], indices[i : i + 1]) for i in range(len(shaped))]
    np.testing.assert_array_equal(np.concatenate(alone), together)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_batching_gives_the_same_pixels(images, data):
    one = data.draw(st.sampled_from(ALL))
    order = np.array(data.draw(st.permutations(range(24))))
    cuts = sorted(data.draw(st.sets(st.integers(1, 23), max_size=5)))
    whole = one.apply(images[:24], np.arange(24))
    parts = [one.apply(images[part], part) for part in np.split(order, cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[order])


def test_chunks_inside_a_condition_change_nothing(images, monkeypatch):
    one = get_condition("phone-photo-2")
    whole = one.apply(images, np.arange(len(images)))
    monkeypatch.setattr("seedzoo.stress.condition._CHUNK_BYTES", 3 * 28 * 28)
    np.testing.assert_array_equal(one.apply(images, np.arange(len(images))), whole)


@each
def test_no_examples(one):
    empty = np.empty((0, 28, 28, 1), np.uint8)
    assert one.apply(empty, []).shape == empty.shape


@each
def test_another_process_can_apply_it(one):
    assert pickle.loads(pickle.dumps(one)).name == one.name


@each
def test_extreme_images(one):
    images = np.stack([np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)])
    after = one.apply(images, [0, 1])
    if one.kind in ("brightness", "darkness", "inversion", "contrast", "pixelate", "rotation", "zoom-out"):
        assert (after == after[:, :1, :1]).all(), "a plain image has to stay plain"


PROGRAM = """
import hashlib, numpy as np
from seedzoo.stress import conditions
y, x = np.mgrid[:20, :16]
images = np.stack([(k * y * x) % 256 for k in range(5)]).astype(np.uint8)[..., None]
# The suites cifar-c and mnist-c are the functions of imagenet-c with other numbers.
shown = [c for c in conditions() if not c.name.startswith(("cifar-c", "mnist-c"))]
print(hashlib.sha256(b"".join(c.apply(images, np.arange(5)).tobytes() for c in shown)).hexdigest())
"""


def test_processes_agree():
    def run(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert run("1") == run("77")


def test_the_global_generator_is_left_alone(images):
    np.random.seed(3)  # noqa: NPY002 - the legacy state is what is looked at
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    get_condition("gaussian-noise-1").apply(images[:2], [0, 1])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def _kinds() -> dict[str, list[Condition]]:
    kinds = defaultdict(list)
    for one in ALL:
        if one.severity is not None:
            kinds[one.kind].append(one)
    return kinds


@pytest.mark.parametrize("kind", _kinds())
def test_severity_grows(kind, images):
    def change(one: Condition) -> float:
        after = one.apply(images, np.arange(len(images)))
        return float(np.abs(after.astype(int) - images).mean())

    levels = _kinds()[kind]
    assert 2 <= len(levels) <= 4
    assert [one.severity for one in levels] == list(range(1, len(levels) + 1))
    changes = [change(one) for one in levels]
    assert changes[0] > 0
    assert all(strong > 1.1 * mild for mild, strong in pairwise(changes)), changes


@pytest.mark.parametrize("kind", ["gaussian-noise-1", "rotation-2", "occlusion-2", "elastic-1", "background-1"])
def test_examples_differ_in_their_randomness(kind, images):
    same = np.repeat(images[:1], 8, axis=0)
    after = get_condition(kind).apply(same, np.arange(8))
    assert len({image.tobytes() for image in after}) >= 2
    np.testing.assert_array_equal(get_condition(kind).apply(same, np.full(8, 5)), np.repeat(after[5:6], 8, axis=0))


@pytest.mark.parametrize(
    ("indices", "text"),
    [([0], "shape"), ([[0, 1]], "shape"), ([0, -1], "integers from 0"), ([0.0, 1.0], "integers")],
)
def test_wrong_indices(indices, text, images):
    with pytest.raises(DataError, match=text):
        get_condition("id").apply(images[:2], indices)


@pytest.mark.parametrize(
    ("examples", "text"),
    [
        (np.zeros((2, 28, 28, 1), np.float32), "uint8"),
        (np.zeros((2, 28, 28), np.uint8), "channels"),
        (np.zeros((2, 28, 28, 2), np.uint8), "channels"),
        (np.zeros((2, 7, 28, 1), np.uint8), "at least 8"),
    ],
)
def test_wrong_images(examples, text):
    with pytest.raises(DataError, match=text):
        get_condition("flip").apply(examples, [0, 1])


def test_a_condition_need_not_be_about_images():
    (shout,) = Kind(name="shout", function=lambda texts, draws: np.char.upper(texts), description="Loud").conditions()
    assert shout.apply(np.array(["a", "bc"]), [0, 1]).tolist() == ["A", "BC"]
    assert get_condition("id").apply(np.array(["a", "bc"]), [0, 1]).tolist() == ["a", "bc"]


def test_draws_are_uniform_and_continue():
    draws = Draws("a stream", np.arange(2000))
    first, second = draws.uniform(20), draws.uniform(20)
    assert ((first > 0) & (first < 1)).all()
    assert abs(first.mean() - 0.5) < 5 * (1 / 12 / first.size) ** 0.5
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / first.size**0.5
    normal = draws.normal(20)
    assert abs(normal.mean()) < 5 / normal.size**0.5
    assert abs(normal.std() - 1) < 5 / (2 * normal.size) ** 0.5
    assert set(np.unique(draws.sign())) == {-1.0, 1.0}
    assert not np.array_equal(Draws("another", np.arange(2000)).uniform(20), first)


def test_draws_are_philox_words():
    # Key: the hash of the name and the index, as documented; words as numpy's bit generator gives them.
    import hashlib

    from numpy.random import Philox

    key = int.from_bytes(hashlib.sha256(b"x-1").digest()[:8], "little")
    word = int(Philox(key=np.array([key, 6], np.uint64)).random_raw())
    assert Draws("x-1", np.array([6])).uniform()[0] == ((word >> 12) + 0.5) / 2**52


def test_words_are_the_philox_words_in_pieces():
    draws = Draws("x-1", np.array([6, 7]))
    whole = Draws("x-1", np.array([6, 7])).words(np.uint32, 4)
    np.testing.assert_array_equal(draws.words(np.uint16, 2, 4), whole.view(np.uint16).reshape(2, 2, 4))
    # What is left of a word is not used again.
    draws = Draws("x-1", np.array([6]))
    first, second = draws.words(np.uint8, 3), draws.words(np.uint8, 8)
    bits = Draws("x-1", np.array([6])).words(np.uint8, 16)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), bits[:, [0, 1, 2, *range(8, 16)]])


def test_coarse_draws():
    draws = Draws("coarse", np.arange(400))
    uniform, normal = draws.coarse_uniform(1000), draws.coarse_normal(1000)
    assert uniform.dtype == normal.dtype == np.float32
    assert 0 < uniform.min() < uniform.max() < 1
    assert abs(uniform.mean(dtype=float) - 0.5) < 5 * (1 / 12 / uniform.size) ** 0.5
    assert abs(normal.mean(dtype=float)) < 5 / normal.size**0.5
    assert abs(normal.std(dtype=float) - 1) < 5 / (2 * normal.size) ** 0.5
    assert abs((np.abs(normal) > 1.96).mean() - 0.05) < 5 * (0.05 * 0.95 / normal.size) ** 0.5
