"""Sets of a user's own: folders, manifests and set files, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.stress.natural_folders import TINY, counted, names_of, picture, predicting, put

from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo.stress.natural import NaturalSet, SetFile, load_natural
from seedzoo.stress.natural.set_file import check_set_file, clean_name

CLASSES = ("cat", "dog", "bird")


def load(spec: object) -> NaturalSet:
    (found,) = load_natural(str(spec), classes=CLASSES, preprocessing=TINY)
    return found


def set_file(folder: Path, text: str) -> Path:
    path = folder / "shop.toml"
    path.write_text(text)
    return path


def refused(spec: object, reason: str = "") -> DataError:
    with pytest.raises(DataError) as caught:
        load(spec)
    assert not reason or caught.value.reason == reason
    return caught.value


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    root = put(tmp_path / "Other Writers", ["dog/b.png", "dog/deep/a.JPG", "cat/x.jpeg", "bird/y.webp"])
    (root / "dog" / ".DS_Store").write_bytes(b"x")
    found = load(root)
    assert found.name == "natural/other-writers"
    assert found.kind == "natural"
    assert names_of(found) == ["bird/y.webp", "cat/x.jpeg", "dog/b.png", "dog/deep/a.JPG"]
    assert found.images.labels.tolist() == [2, 0, 1, 1]
    assert found.accepted is None
    assert found.candidates is None
    assert found.anchors is None
    assert found.restricted_to is None
    assert found.notes == ()
    assert found.images.read([0]).shape == (1, 8, 8, 3)
    assert load(f"{root}?name=writers").name == "natural/writers"
    assert load(f"Thirty_Writers={root}").name == "natural/thirty-writers"
    with pytest.raises(NotFound, match="no known natural shift is named 'image-net-a'") as caught:
        load(f"image-net-a={root}")  # that must be a slip, not a name
    assert caught.value.hint.startswith("Did you mean imagenet-a?")


def test_a_class_without_images_is_noted_or_refused(tmp_path: Path) -> None:
    put(tmp_path, ["dog/a.png"])
    (tmp_path / "cat").mkdir()
    found = load(tmp_path)
    assert found.notes == ("no image of 2 labels: cat, bird",)
    assert found.restricted_to is not None
    assert found.restricted_to.tolist() == [1]
    assert "no image of 2 labels" in refused(f"{tmp_path}?complete=true", "CLASS_WITHOUT_IMAGES").message


def test_an_unknown_folder_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    put(tmp_path, ["dog/a.png", "Birds/b.png"])
    error = refused(tmp_path, "LABEL_UNKNOWN")
    assert "Birds is not a class of the task" in error.message
    assert error.hint.startswith("Did you mean bird?")
    found = load(f"{tmp_path}?ignore_unmapped=true")
    assert names_of(found) == ["dog/a.png"]
    assert "left out: 1 folder (1 image) of none of the task's classes: Birds" in found.notes


def test_the_folder_above_or_below_is_suggested(tmp_path: Path) -> None:
    root = put(tmp_path / "val", ["dog/a.png", "cat/b.png"])
    assert refused(tmp_path, "LABEL_UNKNOWN").hint.startswith(f"Did you mean {root}?")
    assert f"Did you mean {root}, whose folders" in refused(root / "dog", "LABEL_UNKNOWN").hint
    assert refused(tmp_path / "vall", "DATA_MISSING").hint == f"Did you mean {root}?"
    (tmp_path / "none").mkdir()
    assert "is empty" in refused(tmp_path / "none", "DATA_EMPTY").message
    assert str(tmp_path) in refused(tmp_path / "x" / "y" / "z", "DATA_MISSING").hint
    assert "cannot read" in refused(tmp_path / ("long" * 100), "DATA_UNREADABLE").message


def test_links_are_followed_and_named(tmp_path: Path) -> None:
    store = put(tmp_path / "store", ["1.png", "2.png"])
    root = tmp_path / "set"
    (root / "dog").mkdir(parents=True)
    (root / "dog" / "a.png").symlink_to(store / "1.png")
    (root / "dog" / "b.png").symlink_to(store / "1.png")
    (root / "dog" / "gone.png").symlink_to(store / "3.png")
    (root / "cat").symlink_to(store)
    found = load(root)
    assert names_of(found) == ["cat/1.png", "cat/2.png", "dog/a.png", "dog/b.png", "dog/gone.png"]
    assert any(note.startswith("counted again: 2 links to images that are there too") for note in found.notes)
    _, rows, skipped = found.images.read_usable(range(5))
    assert rows.tolist() == [0, 1, 2, 3]
    assert skipped[0].name == "dog/gone.png"
    (store / "loop").symlink_to(store)
    assert "link to a folder that it lies in" in refused(root, "DATA_UNREADABLE").message


def test_a_set_file_with_a_label_map_and_slices_from_paths(tmp_path: Path) -> None:
    put(tmp_path / "photos", ["kitten/s1-a.png", "pet/s1-b.png", "pet/s2-c.png", "dog/s2-d.png", "chair/s9-e.png"])
    path = set_file(
        tmp_path,
        """
        name = "shop"
        title = "Photographs from the shops"
        path = "photos"
        candidates = "mapped"
        slice_from_path = "/(?P<site>s[0-9])-"
        [labels]
        kitten = "cat"
        pet = ["cat", "dog"]
        chair = []
        """,
    )
    found = load(path)
    assert found.name == "natural/shop"
    assert found.title == "Photographs from the shops"
    assert names_of(found) == ["dog/s2-d.png", "kitten/s1-a.png", "pet/s1-b.png", "pet/s2-c.png"]
    assert found.images.labels.tolist() == [1, 0, 0, 0]
    assert found.accepted is not None
    assert found.accepted.tolist() == [
        [False, True, False], [True, False, False], [True, True, False], [True, True, False],
    ]  # fmt: skip
    assert found.candidates is not None
    assert found.candidates.tolist() == [0, 1]
    assert found.slices == {"site": ("s2", "s1", "s1", "s2")}
    assert found.notes == ("left out: 1 folder (1 image) of none of the task's classes: chair",)
    # A bird cannot be predicted; a cat and a dog are right on "pet".
    assert counted(found, predicting([2, 0, 0, 1], 3, second=[1, 1, 1, 1])) == (4, 4)
    assert counted(found, predicting([0, 0, 0, 1], 3)) == (3, 4)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_label_map_in_a_file_of_its_own(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, ["0/a.png", "1/b.png"])
    (tmp_path / "map.json").write_text(json.dumps({"0": "bird", "1": ["dog", "cat"]}))
    (tmp_path / "map.toml").write_text('0 = "bird"\n1 = ["dog", "cat"]\n')
    found = load(set_file(tmp_path, f'labels = "map.{suffix}"'))
    assert found.name == "natural/shop"
    assert found.images.labels.tolist() == [2, 0]
    assert found.accepted is not None
    assert np.flatnonzero(found.accepted[1]).tolist() == [0, 1]


def test_a_label_map_of_unknown_classes_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    put(tmp_path, ["k/a.png"])
    error = refused(
        set_file(tmp_path, '[labels]\nk = ["cat", "brid"]\nl = "wolf"\nm = "dog"\n'), "LABEL_MAP_UNKNOWN_CLASS"
    )
    assert "'k' stands for the class 'brid', and 1 more that the task lacks" in error.message
    assert error.hint == "Did you mean bird?"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('lables = "x.json"', "unknown key lables", "Did you mean labels?"),
        ('kind = "folder"', "kind cannot be 'folder'", "Did you mean folders?"),
        ('candidates = "some"', "candidates cannot be 'some'", "There are: all, mapped."),
        ('order = "imagenet-index"', "order cannot be", "Did you mean imagenet?"),
        ('name = "Shop one"', "name must be small letters", ""),
        ("border = -1", "border must lie between", ""),
        ("k = 11", "k must lie between", ""),
        ('border = "two"', "Expected `int`", ""),
        ('kind = "folders"\nslices = ["camera"]', "slices names columns of a manifest", ""),
        ('slice_from_path = "(?P<a"', "not a regular expression", ""),
        ('slice_from_path = "a+"', "has no named group", ""),
        ('slice_from_path = "^(?P<a>q)"', "does not match dog/a.png", ""),
        ('labels = "map.csv"', "is not a label map", ""),
        ('labels = "gone.json"', "cannot read", ""),
        ("[labels]\ndog = 3", "Expected", ""),
        ("name = ", "is not valid TOML", ""),
        ('base = "x"', "unknown key base", ""),
        ('kind = "files"', "needs labels", ""),
        ('kind = "files"\nlabels = "map.npz"', "is not a file of ReaL labels", ""),
        ('kind = "frames"\nlabels = "map.json"', "is not a file of scenes", ""),
    ],
)
def test_a_set_file_that_cannot_be_used(tmp_path: Path, text: str, message: str, hint: str) -> None:
    put(tmp_path, ["dog/a.png"])
    (tmp_path / "map.json").write_text('{"dog": "dog"}')
    (tmp_path / "map.npz").write_bytes(b"PK no")
    error = refused(set_file(tmp_path, text))
    assert message in error.message
    assert error.hint.startswith(hint)


def test_labels_by_file_name(tmp_path: Path) -> None:
    put(tmp_path / "images", ["a.png", "more/b.png", "c.png"])
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": ["cat", "dog"], "b.png": "bird", "d.png": "dog"}))
    text = 'kind = "files"\npath = "images"\nlabels = "labels.json"\n'
    assert "c.png has no entry" in refused(set_file(tmp_path, text), "LABEL_UNKNOWN").message
    found = load(set_file(tmp_path, text + "ignore_unmapped = true"))
    assert names_of(found) == ["a.png", "more/b.png"]
    assert counted(found, predicting([1, 2], 3)) == (2, 2)
    assert any(note == "not there: 1 file with a label: d.png" for note in found.notes)
    put(tmp_path / "images", ["more/a.png"])
    assert "have one name" in refused(set_file(tmp_path, text), "DATA_DUPLICATE").message


MANIFEST = "path,label,camera,id\nim/1.png,cat,A,x\nim/2.png,dog,B,y\nim/3.png,dog,A,z\n"


def manifest(folder: Path, text: str = MANIFEST, name: str = "field.csv") -> Path:
    put(folder, [f"im/{number}.png" for number in range(1, 5)])
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [MANIFEST, "\ufeff" + MANIFEST, MANIFEST.replace(",", ";"), MANIFEST + "\n,,,\n"])
def test_a_csv_manifest(tmp_path: Path, text: str) -> None:
    found = load(manifest(tmp_path, text))
    assert found.name == "natural/field"
    assert names_of(found) == ["im/1.png", "im/2.png", "im/3.png"]
    assert found.images.labels.tolist() == [0, 1, 1]
    assert found.slices == {"camera": ("A", "B", "A"), "id": ("x", "y", "z")}
    assert found.restricted_to is not None
    assert found.restricted_to.tolist() == [0, 1]
    assert load(f"{tmp_path / 'field.csv'}?slices=camera").slices == {"camera": ("A", "B", "A")}


def test_a_parquet_manifest_holds_numbers_too(tmp_path: Path) -> None:
    path = manifest(tmp_path, name="field.parquet")
    table = {"path": ["im/1.png", "im/2.png"], "label": ["dog", "bird"], "age": [30, None]}
    pq.write_table(pa.table(table), path)
    found = load(path)
    assert found.images.labels.tolist() == [1, 2]
    assert found.slices == {"age": ("30", "")}
    path.write_bytes(b"PAR1 no")
    assert "as Parquet" in refused(path, "MANIFEST_INVALID").message


def test_scenes_of_a_manifest_stand_together(tmp_path: Path) -> None:
    text = "path,label,scene\nim/1.png,cat,s1\nim/2.png,dog,s2\nim/3.png,cat,s1\nim/4.png,dog,s3\n"
    manifest(tmp_path, text)
    found = load(set_file(tmp_path, 'path = "field.csv"\nscene_column = "scene"'))
    assert names_of(found) == ["im/1.png", "im/3.png", "im/2.png", "im/4.png"]
    assert found.anchors is not None
    assert found.anchors.tolist() == [0, 0, 1, 2]
    assert found.images.labels.tolist() == [0, 0, 1, 1]
    assert found.slices == {}
    assert counted(found, predicting([0, 1, 1, 1], 3)) == (2, 3)


def test_a_column_of_many_values_forms_no_slices_unless_named(tmp_path: Path) -> None:
    rows = [f"im/{number}.png,dog,{number}" for number in range(60)]
    put(tmp_path, [f"im/{number}.png" for number in range(60)])
    path = manifest(tmp_path, "\n".join(["path,label,id", *rows]))
    found = load(path)
    assert found.slices == {}
    assert any("the column id has 60 values and forms no slices" in note for note in found.notes)
    assert len(set(load(f"{path}?slices=id").slices["id"])) == 60


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("file,label\nim/1.png,cat\n", "has no column path", "Its columns are: file, label."),
        ("path,label\nim/1.png,cta\n", "line 2: 'cta' is not a class of the task", "Did you mean cat?"),
        ("path,label\nim/1.png,\n", "line 2: no label", ""),
        ("path,label\n,cat\n", "line 2: no path", ""),
        ("path,label\nim/9.png,cat\n", "line 2: there is no image", "Paths in a manifest are relative"),
        ("path,label\nim/1.png,cat\n./im/1.png,dog\n", "lines 2 and 3 name the same image", ""),
        ("path,label\nim/1.png\n", "line 2: 1 cells, and there are 2 columns", ""),
        ("path,label,label\nim/1.png,cat,dog\n", "two columns are called label", ""),
        ('path,label\n"im/1.png,cat\n', "after line", ""),
        ("path,label\n", "no images that count", ""),
        ("", "has no column path", ""),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path: Path, text: str, message: str, hint: str) -> None:
    error = refused(manifest(tmp_path, text))
    assert message in error.message
    assert error.hint.startswith(hint)


def test_a_manifest_with_a_label_map(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label\nim/1.png,Katze\nim/2.png,dog\nim/3.png,Stuhl\nim/4.png,Tisch\n")
    text = 'path = "field.csv"\n[labels]\nKatze = "cat"\nStuhl = []\n'
    assert "'Tisch' is neither in the label map nor a class" in refused(set_file(tmp_path, text)).message
    found = load(set_file(tmp_path, "ignore_unmapped = true\n" + text))
    assert found.images.labels.tolist() == [0, 1]
    assert "left out: 2 images with 2 labels of none of the task's classes: Stuhl, Tisch" in found.notes
    error = refused(f"{tmp_path / 'field.csv'}?slices=kamera")
    assert "not a class" in error.message


def test_a_slice_column_that_is_not_there(tmp_path: Path) -> None:
    error = refused(f"{manifest(tmp_path)}?slices=camra", "MANIFEST_INVALID")
    assert "no column 'camra' for slices" in error.message
    assert error.hint == "Did you mean camera?"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "needs NAME=PATH"),
        ("objectnet=", "does not say where"),
        ("{}?odrer=imagenet", "unknown option 'odrer'"),
        ("{}?order", "has no value"),
        ("{}?complete=yes", "must be true or false"),
        ("{}?name=a&name=b", "twice"),
        ("objectnet={}?k=ten", "k must be a number"),
        ("imagenet-vid-robust={}?labels=x.json", "cannot be replaced"),
    ],
)
def test_words_that_cannot_be_read(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(spec.format(put(tmp_path, ["dog/a.png"])))
    assert message in caught.value.message


def test_a_path_may_hold_signs_that_mean_something(tmp_path: Path) -> None:
    root = put(tmp_path / "run=3?k", ["dog/a.png"])
    assert load(root).name == "natural/run-3-k"


def test_the_digest_depends_on_contents(tmp_path: Path) -> None:
    first = load(put(tmp_path / "a", ["dog/1.png"])).images.digest
    assert load(put(tmp_path / "b", ["dog/1.png"])).images.digest == first
    (tmp_path / "b" / "dog" / "1.png").write_bytes(picture(91))
    assert load(tmp_path / "b").images.digest != first


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_a_cleaned_name_is_a_name(text: str) -> None:
    name = clean_name(text)
    check_set_file(SetFile(name=name), "made")
    assert clean_name(name) == name
