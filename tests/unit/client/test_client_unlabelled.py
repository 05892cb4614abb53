"""Images without label, slices, and what a person who forgot the labels is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedzoo.errors import DataError, RequestError, ZooError
from seedzoo_client import LocalDataset, open_dataset
from seedzoo_client.datasets import SliceColumn, bind, scan_source
from seedzoo_client.fingerprint import HashedItem, contradictions, dataset_fingerprint, hash_items
from seedzoo_client.fitting import fitting_family
from seedzoo_client.labels import ClassMatcher
from seedzoo_client.scan import scan_data

CLASSES = ("Bag", "Coat", "T-shirt/top")
PNG = b"\x89PNG\r\n\x1a\n"


def put(path: Path, content: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    for image in ("a.png", "b.png", "c.png"):
        put(folder / image, PNG + image.encode())
    path = folder / name
    path.write_text(text, newline="")
    return path


def sliced(path: Path, *columns: str, group: str | None = None) -> LocalDataset:
    return bind(scan_source(path, slices=columns, group=group), ClassMatcher(CLASSES))


# -- images without label -----------------------------------------------------------------------------------------


def test_a_folder_without_class_folders_is_unlabelled(tmp_path: Path) -> None:
    for name in ("2.jpg", "1.png", "img003"):
        put(tmp_path / name)
    put(tmp_path / "notes.txt", b"text")
    scan = scan_data(tmp_path)
    assert [example.path.name for example in scan.examples] == ["1.png", "2.jpg", "img003"]
    assert scan.labels == ()
    assert scan.label_note == "no image has a label: variants are ranked without evidence, unverified"
    assert scan.warnings == ()
    dataset = open_dataset(tmp_path, task_classes=CLASSES)
    assert {item.label for item in dataset.items} == {None}
    assert dataset.class_counts == dict.fromkeys(CLASSES, 0)


def test_a_table_that_lies_beside_the_images_is_pointed_at(tmp_path: Path) -> None:
    table(tmp_path, "path,label\na.png,Bag\n")
    (warning,) = scan_data(tmp_path).warnings
    assert warning.startswith("labels.csv in")
    assert "--data" in warning
    assert scan_data(tmp_path, unlabelled=True).warnings == ()


@pytest.mark.parametrize(
    "text", ["path\na.png\nb.png\n", "path,label\na.png,\nb.png, \n", "path,label\na.png\nb.png\n"]
)
def test_a_table_without_labels_is_unlabelled(tmp_path: Path, text: str) -> None:
    scan = scan_data(table(tmp_path, text))
    assert [example.label for example in scan.examples] == [None, None]
    assert scan.label_note.startswith("no image has a label")
    assert scan.warnings == ()


def test_a_label_column_of_another_name_is_noticed(tmp_path: Path) -> None:
    scan = scan_data(table(tmp_path, "path,class,camera\na.png,Bag,x\n"), slices=("camera",))
    assert scan.warnings == ("there is no column label; ignored: class",)


def test_mixed_folder(tmp_path: Path) -> None:
    for number in range(7):
        put(tmp_path / f"{number}.png")
    put(tmp_path / "Bag" / "x.png")
    put(tmp_path / "Coat" / "x.png")
    scan = scan_data(tmp_path)
    assert [example.label for example in scan.examples] == ["Bag", "Coat", *[None] * 7]
    assert scan.label_note.startswith("2 images have labels, 7 have none: the latter only help to choose (")
    assert scan.warnings == (), "seven are no accident"


def test_a_few_stray_images_are_named(tmp_path: Path) -> None:
    put(tmp_path / "Bag" / "x.png")
    stray = put(tmp_path / "stray.png")
    scan = scan_data(tmp_path)
    assert scan.warnings == (f"1 image lies beside the class folders and counts as unlabelled: {stray}",)
    assert scan.label_note.startswith("1 image has a label, 1 has none")
    put(tmp_path / "more.png")
    assert scan_data(tmp_path).warnings[0].startswith("2 images lie beside the class folders and count as")
    assert scan_data(tmp_path, unlabelled=True).warnings == ()


def test_mixed_table(tmp_path: Path) -> None:
    scan = scan_data(table(tmp_path, "path,label\na.png,Bag\nb.png,\nc.png,Coat\n"))
    assert [example.label for example in scan.examples] == ["Bag", None, "Coat"]
    assert scan.warnings == ("1 row has no label: line 3",)
    assert scan.label_note.startswith("2 images have labels, 1 has none")
    half = scan_data(table(tmp_path, "path,label\na.png,Bag\nb.png,\n"))
    assert half.warnings == ()


def test_one_image_cannot_have_a_label_and_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is without label here and 'Bag' before") as caught:
        scan_data(table(tmp_path, "path,label\na.png,Bag\na.png,\n"))
    assert caught.value.reason == "LABELS_CONTRADICT"


def test_splits_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path / "val" / "1.png")
    put(tmp_path / "stray.png")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, task_classes=CLASSES)
    assert caught.value.hint.endswith(f"--data {tmp_path}/val.")
    assert len(open_dataset(tmp_path / "val", task_classes=CLASSES).items) == 1


def test_folders_that_are_no_classes_say_where_images_without_label_go(tmp_path: Path) -> None:
    put(tmp_path / "2023" / "1.png")
    with pytest.raises(DataError, match="'2023'") as caught:
        open_dataset(tmp_path, task_classes=CLASSES)
    assert "Images without label lie directly in the folder" in caught.value.hint
    put(tmp_path / "Bag" / "1.png")
    with pytest.raises(DataError, match="'2023'") as caught:
        open_dataset(tmp_path, task_classes=CLASSES)
    assert "without label" not in caught.value.hint


def test_labels_that_were_asked_for_are_no_sample(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label,seedzoo_probability\na.png,Bag,0.5\n")
    with pytest.raises(DataError, match="no random sample") as caught:
        scan_data(path)
    assert caught.value.reason == "LABELS_QUERIED"
    assert f"--from {path}" in caught.value.hint
    assert len(scan_data(path, unlabelled=True).examples) == 1, "zoo predict may use them"


def test_pairs_may_lack_labels(tmp_path: Path) -> None:
    image = put(tmp_path / "a.png")
    dataset = open_dataset([(image, None), (image, "Bag")], task_classes=CLASSES)
    assert [item.label for item in dataset.items] == [None, 0]
    with pytest.raises(DataError, match="must be a name or None, not 3"):
        open_dataset([(image, 3)], task_classes=CLASSES)  # type: ignore[list-item]
    for options in ({"group": "patient"}, {"slices": ("camera",)}):
        with pytest.raises(RequestError, match="have no columns"):
            scan_source([(image, None)], **options)  # type: ignore[arg-type]


def test_unlabelled_images_fit_every_family(tmp_path: Path) -> None:
    from types import SimpleNamespace

    def family(name: str) -> object:
        return SimpleNamespace(name=name, task=SimpleNamespace(classes=CLASSES), browse_only=False)

    put(tmp_path / "a.png")
    scan = scan_data(tmp_path)
    assert fitting_family(scan, [family("toy")], label_map=None, server="s")[0] == "toy"  # type: ignore[list-item]
    with pytest.raises(RequestError, match="nothing says which family is meant: toy, other") as caught:
        fitting_family(scan, [family("toy"), family("other")], label_map=None, server="s")  # type: ignore[list-item]
    assert caught.value.hint == "Name one: --family toy."


# -- slices -------------------------------------------------------------------------------------------------------


def test_slices_are_numbered_in_order_of_appearance(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label,camera,blur\na.png,Bag,B,yes\nb.png,,A,yes\nc.png,Coat, B ,no\n")
    dataset = sliced(path, "blur", "camera", group="camera")
    assert dataset.slice_columns == (SliceColumn("blur", ("yes", "no")), SliceColumn("camera", ("B", "A")))
    assert [item.slices for item in dataset.items] == [(0, 0), (0, 1), (1, 0)]
    assert [item.group for item in dataset.items] == [0, 1, 0]
    assert [item.slices for item in hash_items(dataset, progress=lambda _: None)] == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("text", "columns", "error", "message"),
    [
        ("path,camera\na.png,B\nb.png,\n", ["camera"], DataError, "line 3: nothing in the column 'camera'"),
        ("path,camera\na.png,B\nb.png\n", ["camera"], DataError, "line 3: nothing in the column 'camera'"),
        (f"path,camera\na.png,{'x' * 201}\n", ["camera"], DataError, "line 2: .* has 201 characters, more than 200"),
        ("path,camera\na.png,B\n", ["Camera"], DataError, "no column 'Camera'; it has path, camera"),
        ("path,camera,camera\na.png,B,C\n", ["camera"], DataError, "'camera' more than once"),
        ("path,label\na.png,Bag\n", ["label"], RequestError, "'label' holds no slices"),
        ("path,label\na.png,Bag\n", ["Path"], RequestError, "'Path' holds no slices"),
        ("path,camera\na.png,B\n", ["camera", "camera"], RequestError, "named twice"),
        ("path,camera\na.png,B\n", [str(number) for number in range(21)], RequestError, "21 columns of slices"),
        ("path,camera\na.png,B\n", [""], RequestError, "1 to 200 characters, not 0"),
        ("path,class\na.png,B\n", ["class"], RequestError, "'class' holds no slices: class=NAME stands"),
        ("path,Class\na.png,B\n", ["Class"], RequestError, "'Class' holds no slices: class=NAME stands"),
        ("path,class=a\na.png,B\n", ["class=a"], RequestError, "'class=a' holds no slices"),
        ("path,camera\na.png,class=Bag\n", ["camera"], DataError, "line 2: the value 'class=Bag' in .* is the name"),
    ],
)
def test_bad_slices(tmp_path: Path, text: str, columns: list[str], error: type[ZooError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        sliced(table(tmp_path, text), *columns)
    assert caught.value.hint or "column" in caught.value.message


def test_too_many_slices(tmp_path: Path) -> None:
    rows = "".join(f"a.png,{number}\n" for number in range(1001))
    with pytest.raises(DataError, match="1,001 different values in the column 'camera', more than 1,000"):
        sliced(table(tmp_path, "path,camera\n" + rows), "camera")


def test_the_names_of_slices_fit_into_a_message(tmp_path: Path) -> None:
    header = ",".join(f"c{number}" for number in range(8))
    rows = "".join(f"a.png,{','.join([f'{number:0199d}'] * 8)}\n" for number in range(999))
    with pytest.raises(DataError, match=r"the names of all slices in .* bytes, more than"):
        sliced(table(tmp_path, f"path,{header}\n{rows}"), *header.split(","))


def test_only_tables_have_slices(tmp_path: Path) -> None:
    put(tmp_path / "Bag" / "x.png")
    with pytest.raises(DataError, match="no column 'camera'"):
        sliced(tmp_path, "camera")


# -- fingerprint --------------------------------------------------------------------------------------------------


def hashed(label: int | None, *slices: int) -> HashedItem:
    return HashedItem(Path("x"), label, b"\0" * 32, 8, None, slices)


def test_fingerprint_tells_slices_and_missing_labels_apart() -> None:
    camera, blur = SliceColumn("camera", ("A", "B")), SliceColumn("blur", ("A", "B"))
    found = [
        dataset_fingerprint(CLASSES, [hashed(0)]),
        dataset_fingerprint(CLASSES, [hashed(None)]),
        dataset_fingerprint(CLASSES, [hashed(0, 0)], [camera]),
        dataset_fingerprint(CLASSES, [hashed(0, 1)], [camera]),
        dataset_fingerprint(CLASSES, [hashed(0, 0)], [blur]),
        dataset_fingerprint(CLASSES, [hashed(0, 0)], [SliceColumn("camera", ("B", "A"))]),
        dataset_fingerprint(CLASSES, [hashed(0, 0, 1)], [camera, blur]),
        dataset_fingerprint(CLASSES, [hashed(0, 0, 1)], [blur, camera]),
    ]
    assert len(set(found)) == len(found)


def test_data_without_slices_keep_their_fingerprint() -> None:
    """Written down from the version before there were slices: what is uploaded is found again."""
    assert dataset_fingerprint(("Bag", "Coat"), [hashed(0), hashed(None)]) == (
        "a6e3d9363faf0f7eec6c23b7fec5c6631db5df613e8ad019f441e3e470fbb8df"
    )


def test_a_missing_label_contradicts_nothing() -> None:
    assert contradictions([hashed(None), hashed(0), hashed(None)]) == ""
    assert contradictions([hashed(None), hashed(0), hashed(1)]) == "the same image has different labels: x = x"
