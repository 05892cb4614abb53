"""Image folders and manifests: layouts, splits, slices, digests, and one clear error for everything that is wrong."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedzoo.errors import DataError, RecipeError
from seedzoo.inference.sources import FileImages
from seedzoo.training.data import load_data
from seedzoo.training.data.listing import sorted_classes
from seedzoo.training.data.manifest import read_manifest
from seedzoo.training.recipe import DataSection

SECTION = DataSection(source="image-folder", height=8)


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(path)


def layout(root: Path, folders: Iterable[str], *, each: int = 4) -> DataSection:
    """Class folders with ``each`` pictures; a picture's value is 10 x folder + number."""
    for place, folder in enumerate(folders):
        for number in range(each):
            picture(root / folder / f"{number}.png", 10 * place + number)
    return replace(SECTION, path=str(root))


@pytest.fixture
def split(tmp_path: Path) -> DataSection:
    return layout(tmp_path, ("train/cat", "train/dog", "val/cat", "val/dog"))


@pytest.fixture
def flat(tmp_path: Path) -> DataSection:
    return replace(layout(tmp_path, ("cat", "dog")), test_share=0.25)


def test_train_and_val_folders(split: DataSection) -> None:
    data = load_data(split)
    assert data.classes == ("cat", "dog")
    assert sorted(data.train.read(range(8))[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert [int(image[0, 0, 0]) // 10 - 2 for image in data.test.read(range(8))] == data.test.labels.tolist()
    assert (data.origin.train_examples, data.origin.held_out_examples) == (8, 8)


def test_one_folder_is_split_by_share_and_relative_to_the_recipe(flat: DataSection, tmp_path: Path) -> None:
    data = load_data(flat)
    assert len(data.train.labels) == 6
    assert np.bincount(data.test.labels).tolist() == [1, 1]
    values = [source.read(range(len(source.labels)))[:, 0, 0, 0].tolist() for source in (data.train, data.test)]
    assert sorted(values[0] + values[1]) == [0, 1, 2, 3, 10, 11, 12, 13]
    again = load_data(replace(flat, path=tmp_path.name), base=tmp_path.parent)
    assert again.test.digest == data.test.digest
    with pytest.raises(RecipeError, match="test_share must say"):
        load_data(replace(flat, test_share=0.0))


def test_large_sets_are_read_from_files_with_the_same_pixels(split: DataSection) -> None:
    held, lazy = load_data(replace(split, reserve_test=2)), load_data(replace(split, reserve_test=2, in_memory=False))
    for name, count in (("train", 8), ("test", 6), ("reserved", 2)):
        first, second = getattr(held, name), getattr(lazy, name)
        assert isinstance(second, FileImages)
        assert not isinstance(first, FileImages)
        assert np.array_equal(first.read(range(count)), second.read(range(count)))
        assert np.array_equal(first.labels, second.labels)
    assert np.bincount(held.test.labels).tolist() == [3, 3]
    assert np.bincount(load_data(replace(split, train_limit=4)).train.labels).tolist() == [2, 2]


def test_size_and_channels_are_those_of_the_recipe(split: DataSection) -> None:
    data = load_data(replace(split, height=10, width=12, channels=1, resize="shorter_side_center_crop"))
    assert data.train.read([0]).shape == (1, 10, 12, 1)
    assert data.preprocessing.resize == "shorter_side_center_crop"
    with pytest.raises(RecipeError, match=r"data\.height must say"):
        load_data(replace(split, height=0))


def test_classes_come_in_the_order_that_the_recipe_states(split: DataSection, tmp_path: Path) -> None:
    listed = load_data(replace(split, classes=("dog", "cat")))
    assert listed.classes == ("dog", "cat")
    assert int(listed.test.labels.sum()) == 4
    (tmp_path / "classes.txt").write_text("dog\ncat\n\n")
    assert load_data(replace(split, classes="classes.txt"), base=tmp_path).test.digest == listed.test.digest
    with pytest.raises(DataError, match=r"dog is no class that is trained"):
        load_data(replace(split, classes=("Dog", "cat")))
    with pytest.raises(DataError, match=r"there is 'Dog': capitals differ"):
        load_data(replace(split, classes=("Dog", "cat", "dogs")))
    with pytest.raises(DataError, match="'emu' has no folder in"):
        load_data(replace(split, classes=("dog", "cat", "emu")))
    with pytest.raises(RecipeError, match="names 'dog' twice"):
        load_data(replace(split, classes=("dog", "cat", "dog")))
    with pytest.raises(DataError, match=r"cannot read data\.classes"):
        load_data(replace(split, classes="nowhere.txt"))
    assert sorted_classes(["10", "9", "9"]) == ("9", "10")
    assert sorted_classes(["10", "9", "x"]) == ("10", "9", "x")


def test_hidden_files_other_files_nested_folders_and_loops_of_links(split: DataSection, tmp_path: Path) -> None:
    clean = load_data(split)
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / "notes.txt").write_text("x")
    (tmp_path / "train" / "cat" / "again").symlink_to(tmp_path / "train" / "cat", target_is_directory=True)
    (tmp_path / "train" / "dog" / "up").symlink_to(tmp_path / "train" / "dog", target_is_directory=True)
    data = load_data(split)
    assert data.train.digest == clean.train.digest
    assert data.origin == clean.origin
    picture(tmp_path / "train" / "cat" / "deep" / "er" / "9.JPEG", 99)
    more = load_data(split)
    assert len(more.train.labels) == 9
    assert more.origin.files[0].sha256 != clean.origin.files[0].sha256
    (tmp_path / "train" / "cat" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"cannot read .*lost\.png: No such file"):
        load_data(split)


def test_a_missing_empty_or_unknown_class_is_one_clear_error(split: DataSection, tmp_path: Path) -> None:
    (tmp_path / "train" / "emu").mkdir()
    with pytest.raises(DataError, match=r"the class folder .*train/emu has no images$"):
        load_data(split)
    (tmp_path / "train" / "emu" / "1.txt").write_text("x")
    with pytest.raises(DataError, match=r"has no images \(but 1 files of other endings\)"):
        load_data(split)
    picture(tmp_path / "train" / "emu" / "1.png", 1)
    with pytest.raises(DataError, match=r"class 'emu' has no folder in .*val") as caught:
        load_data(split)
    assert caught.value.reason == "CLASS_MISSING"
    (tmp_path / "train" / "emu").rename(tmp_path / "val" / "emu")
    with pytest.raises(DataError, match="val/emu is no class that is trained"):
        load_data(split)


def test_which_folder_is_the_test_set_must_be_clear(split: DataSection, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.test_share is of no use"):
        load_data(replace(split, test_share=0.2))
    layout(tmp_path, ("test/cat", "test/dog"), each=1)
    with pytest.raises(RecipeError, match="both val and test"):
        load_data(split)
    assert len(load_data(replace(split, test_name="test")).test.labels) == 2
    assert len(load_data(replace(split, test_name="val")).test.labels) == 8
    with pytest.raises(DataError, match=r"cannot read the folder .*nope"):
        load_data(replace(split, test_name="nope"))
    alone = tmp_path / "alone"
    with pytest.raises(DataError, match="neither val nor test"):
        load_data(layout(alone, ("train/cat", "train/dog")))
    with pytest.raises(DataError, match="cannot read the folder"):
        load_data(replace(split, path=str(tmp_path / "missing")))
    with pytest.raises(DataError, match="has no class folders"):
        load_data(replace(split, path=str(tmp_path / "train" / "cat")))
    with pytest.raises(DataError, match="1 class; a classifier needs at least two"):
        load_data(replace(layout(tmp_path / "single", ("cat",)), test_share=0.5))


def test_all_unreadable_images_are_named_at_once(flat: DataSection, tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "dog" / f"{number + 4}.png", 1)
    for number in range(7):
        (tmp_path / "dog" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"[1-7] of \d+ images cannot be used: .*dog.*not an image") as caught:
        load_data(replace(flat, test_share=0.13))
    assert caught.value.reason == "ITEM_UNREADABLE"
    assert "and 1 more" in caught.value.message or "and 2 more" in caught.value.message
    lazy = load_data(replace(flat, in_memory=False))  # found when they are read
    with pytest.raises(DataError, match="not an image"):
        lazy.train.read(range(len(lazy.train.labels)))


def manifest(root: Path, rows: list[dict[str, object]], *, name: str = "manifest.csv") -> DataSection:
    for number, row in enumerate(rows):
        if not (root / str(row["path"])).exists():
            picture(root / str(row["path"]), number)
    if name.endswith(".csv"):
        with (root / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), root / name)
    return DataSection(source="manifest", path=str(root / name), height=8)


def rows_of(split: bool = True) -> list[dict[str, object]]:
    return [
        {
            "path": f"images/{number}.png",
            "label": number % 2,
            "camera": "AB"[number // 2 % 2],
            **({"split": "train" if number < 8 else "test"} if split else {}),
        }
        for number in range(12)
    ]


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_a_manifest_with_splits_and_slices(tmp_path: Path, name: str) -> None:
    section = manifest(tmp_path, rows_of(), name=name)
    data = load_data(replace(section, slices=("camera",), reserve_test=1))
    assert data.classes == ("0", "1")
    assert (len(data.train.labels), len(data.test.labels), len(data.reserved.labels)) == (8, 3, 1)
    values = data.test.read(range(3))[:, 0, 0, 0].tolist()
    assert data.test_slices == {"camera": tuple("AB"[value // 2 % 2] for value in values)}
    assert [value % 2 for value in values] == data.test.labels.tolist()
    assert [entry.path for entry in data.origin.files] == [name, "list of 12 images"]
    folder = load_data(replace(section, path=str(tmp_path)))  # the folder names the manifest in it
    assert folder.train.digest == data.train.digest


def test_a_manifest_without_splits_and_with_another_root(tmp_path: Path) -> None:
    section = manifest(tmp_path, rows_of(split=False))
    data = load_data(replace(section, test_share=0.25))
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "m.csv").write_bytes((tmp_path / "manifest.csv").read_bytes())
    moved = replace(section, path="lists/m.csv", root=".", test_share=0.25)
    assert load_data(moved, base=tmp_path).test.digest == data.test.digest
    with pytest.raises(DataError, match=r"12 of 12 images .* the first: images/0\.png"):
        load_data(replace(moved, root=""), base=tmp_path)
    with pytest.raises(RecipeError, match="test_name is of no use"):
        load_data(replace(section, test_share=0.25, test_name="val"))


def test_splits_of_a_manifest_must_be_clear(tmp_path: Path) -> None:
    rows = rows_of()
    rows[0]["split"] = "val"
    section = manifest(tmp_path, rows)
    with pytest.raises(RecipeError, match="the splits val and test"):
        load_data(section)
    assert len(load_data(replace(section, test_name="test")).train.labels) == 7
    with pytest.raises(DataError, match="no row of the split 'holdout'"):
        load_data(replace(section, test_name="holdout"))
    rows[0]["split"] = "trian"
    with pytest.raises(DataError, match="row 1 has the split 'trian'; known are train, val and test"):
        load_data(manifest(tmp_path, rows))
    for row in rows:
        row["split"] = "train"
    with pytest.raises(DataError, match="no row of the split 'test'"):
        load_data(manifest(tmp_path, rows))
    rows[0]["split"] = "test"
    with pytest.raises(DataError, match="1 has no image in the test set"):
        load_data(manifest(tmp_path, rows))


def test_labels_that_the_recipe_does_not_know(tmp_path: Path) -> None:
    section = replace(manifest(tmp_path, rows_of()), classes=("0", "11"))
    with pytest.raises(DataError, match="row 2: the label '1' is not among the classes") as caught:
        load_data(section)
    assert caught.value.hint == "Did you mean 11?"
    with pytest.raises(DataError, match="2 has no image to train on"):
        load_data(replace(section, classes=("0", "1", "2")))


HEAD = "path,label\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a whole CSV table"),
        ("file,label\na.png,x\n", "no column 'path'"),
        ("path,lable\na.png,x\n", "no column 'label'"),
        ("path,label,label\na.png,x,y\n", "more than one column 'label'"),
        (HEAD, "has no rows"),
        (HEAD + "a.png\n", "is not a whole CSV table"),
        (HEAD + "a.png,\n", "row 1 has no label"),
        (HEAD + "a.png,x\n ,x\n", "row 2 has no path"),
        (HEAD + "a.png,x\n./a.png,y\n", "row 2 names a.png, as row 1 does"),
        (HEAD + "../a.png,x\n", "does not stay in the root"),
        (HEAD + "b/../../a.png,x\n", "does not stay in the root"),
        (HEAD + "/etc/passwd,x\n", "does not stay in the root"),
        (HEAD + "//host/x,x\n", "does not stay in the root"),
        ("path,label,split\na.png,x,\n", "row 1 has no split"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(text.encode(), where="m.csv")


def test_near_columns_are_named_and_missing_values_of_slices_have_a_name() -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(b"path,lable\na.png,x\n", where="m.csv")
    assert caught.value.hint == "Did you mean lable?"
    with pytest.raises(DataError, match="no column 'camera'"):
        read_manifest(b"path,label\na.png,x\n", where="m.csv", slices=("camera",))
    rows = read_manifest(b"path,label,camera\na.png,007,\nb.png,NA,B\n", where="m.csv", slices=("camera",))
    assert [row.slices["camera"] for row in rows] == ["not given", "B"]
    assert [row.label for row in rows] == ["007", "NA"]
    with pytest.raises(DataError, match="not a whole Parquet table"):
        read_manifest(b"PAR1", where="m.parquet", parquet=True)


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n", exclude_categories=("Z", "C")), min_size=1)


@given(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=5, unique_by=lambda row: row[0]))
def test_any_text_survives_a_manifest(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("path", "label"))
    writer.writerows((f"f{number}-{path.replace('/', '')}", label) for number, (path, label) in enumerate(rows))
    read = read_manifest(text.getvalue().encode(), where="m.csv")
    assert [row.label for row in read] == [label for _, label in rows]
    assert [row.path for row in read] == [f"f{n}-{path.replace('/', '')}" for n, (path, _) in enumerate(rows)]


@given(st.binary(max_size=60), st.booleans(), st.sampled_from([b"", HEAD.encode(), b"path,label,split\n"]))
def test_any_bytes_are_a_manifest_or_a_data_error(raw: bytes, parquet: bool, head: bytes) -> None:
    with contextlib.suppress(DataError):
        for row in read_manifest(head + raw, where="m", parquet=parquet):
            assert row.label
            assert not row.path.startswith(("/", ".."))
