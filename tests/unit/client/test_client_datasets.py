"""Data on disk: what is taken, what is refused, and how it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.errors import DataError, RequestError
from seedzoo_client import LocalDataset, open_dataset
from seedzoo_client.fingerprint import contradictions, dataset_fingerprint, hash_items
from seedzoo_client.scan import scan_data

CLASSES = ("Bag", "Coat", "T-shirt/top")
PNG = b"\x89PNG\r\n\x1a\n"


def put(path: Path, content: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def opened(path: Path, **more: object) -> LocalDataset:
    return open_dataset(path, task_classes=CLASSES, **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mydata"
    put(root / "Bag" / "b.png")
    put(root / "Bag" / "deep" / "er" / "a.JPEG")
    put(root / "coat" / "c.png")
    return root


def test_class_folders(folder: Path) -> None:
    put(folder / "README.md", b"text")
    put(folder / "labels.txt", b"text")
    put(folder / "Bag" / ".DS_Store", b"x")
    put(folder / "Bag" / "Thumbs.db", b"x")
    put(folder / "Bag" / "README", b"x")
    put(folder / ".git" / "x.png")
    put(folder / "__MACOSX" / "x.png")
    (folder / "empty").mkdir()
    dataset = opened(folder)
    assert [(item.path.relative_to(folder).as_posix(), item.label) for item in dataset.items] == [
        ("Bag/b.png", 0),
        ("Bag/deep/er/a.JPEG", 0),
        ("coat/c.png", 1),
    ]
    assert dataset.class_counts == {"Bag": 2, "Coat": 1, "T-shirt/top": 0}
    assert dataset.is_labelled
    assert dataset.notes == ("'coat' is taken for 'Coat'",), "thin classes are the report's to tell, once"
    assert dataset.name_faults({0: "cut", 2: "dark", 99: "?"}) == (
        f"{folder}/Bag/b.png (cut), {folder}/coat/c.png (dark)"
    )


def test_files_without_suffix_count_when_they_are_images(folder: Path) -> None:
    put(folder / "Bag" / "img001")
    assert len(opened(folder).items) == 4


def test_links_are_followed_but_not_in_circles(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "x.png")
    (folder / "Bag" / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "Bag" / "one.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    assert len(opened(folder).items) == 5
    (folder / "Bag" / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="link to a folder above itself"):
        opened(folder)


@pytest.mark.parametrize(
    ("name", "content", "message", "reason"),
    [
        ("Bag/empty.png", b"", r"one file is empty \(zero bytes\): .*Bag/empty\.png", "FILE_EMPTY"),
        ("Bag/notes.docx", b"PK", r"Bag/notes\.docx is no image", "NOT_AN_IMAGE"),
        ("bags/x.png", PNG, r"has the class 'bags', which the task does not have; it has: Bag, Coat", "LABEL_UNKNOWN"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, name: str, content: bytes, message: str, reason: str) -> None:
    put(folder / name, content)
    with pytest.raises(DataError, match=message) as caught:
        opened(folder)
    assert caught.value.reason == reason
    assert caught.value.hint


@pytest.mark.parametrize(
    ("made", "message", "reason"),
    [
        (None, "does not exist", "DATA_MISSING"),
        ([], "is empty", "DATA_EMPTY"),
        (["Bag/", "Coat/"], "has 2 folders but no image", "DATA_EMPTY"),
        (["train/1.png", "val/1.png"], "has the classes 'train', 'val'", "LABEL_UNKNOWN"),
    ],
)
def test_folders_without_classes(tmp_path: Path, made: list[str] | None, message: str, reason: str) -> None:
    root = tmp_path / "mydata"
    if made is not None:
        root.mkdir()
    for name in made or []:
        if name.endswith("/"):
            (root / name).mkdir()
        else:
            put(root / name)
    with pytest.raises(DataError, match=message) as caught:
        opened(root)
    assert caught.value.reason == reason
    if made and "train/1.png" in made:
        assert caught.value.hint.endswith(f"--data {root}/val.")


def test_things_that_are_no_files(folder: Path) -> None:
    os.mkfifo(folder / "Bag" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is no regular file"):
        opened(folder)
    (folder / "Bag" / "pipe.png").unlink()
    (folder / "Bag" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png is a link to nothing"):
        opened(folder)
    (folder / "Bag" / "gone.png").unlink()
    (folder / "Bag" / "self.png").symlink_to("self.png")
    with pytest.raises(DataError, match=r"cannot read .*self\.png"):
        opened(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(folder: Path) -> None:
    (folder / "Bag" / "b.png").chmod(0)
    with pytest.raises(DataError, match=r"cannot read .*b\.png: Permission denied"):
        hash_items(opened(folder), progress=lambda _: None)


def test_a_file_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a CSV file"):
        opened(put(tmp_path / "x.png"))
    assert len(scan_data(tmp_path / "x.png", unlabelled=True).examples) == 1


def write_csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding, newline="")
    return path


def test_csv(folder: Path) -> None:
    path = write_csv(
        folder,
        '\ufeffid,Label, PATH \r\n1,Bag,Bag/b.png\r\n\r\n2,t-shirt/TOP,"coat/c.png"\r\n3,Bag,Bag/b.png\r\n',
    )
    dataset = opened(path)
    assert [(item.path, item.label) for item in dataset.items] == [
        (folder / "Bag/b.png", 0),
        (folder / "coat/c.png", 2),
        (folder / "Bag/b.png", 0),
    ]
    assert dataset.warnings == ("1 row repeats an earlier path; the intervals count such an image once",)


@pytest.mark.parametrize("other", ["sub/../sub/a.png", "./sub//a.png", "link/a.png", "linked.png", "{here}/sub/a.png"])
def test_one_file_under_two_spellings_has_one_label(tmp_path: Path, other: str) -> None:
    put(tmp_path / "sub" / "a.png")
    (tmp_path / "link").symlink_to("sub")
    (tmp_path / "linked.png").symlink_to("sub/a.png")
    rows = tmp_path / "rows.csv"
    second = other.format(here=tmp_path)
    rows.write_text(f"path,label\nsub/a.png,Bag\n{second},Coat\n")
    with pytest.raises(DataError, match="is 'Coat' here and 'Bag' before") as caught:
        opened(rows)
    assert caught.value.reason == "LABELS_CONTRADICT"
    rows.write_text(f"path,label\nsub/a.png,Bag\n{second},Bag\n")
    assert "1 row repeats" in opened(rows).warnings[0]


def test_csv_with_semicolons(folder: Path) -> None:
    assert len(opened(write_csv(folder, "path;label\nBag/b.png;Bag\n")).items) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with the header path,label"),
        ("file,class\na,b\n", "must begin with the header path,label"),
        ("path,label\n", "names no images"),
        ("path,label\nBag/b.png,Bag\nno.png,Bag\n", r"labels\.csv, line 3: .*no\.png does not exist"),
        ("path,label\n,Bag\n", "line 2: no path"),
        ("path,label\nBag/b.png,Hat\n", "has the class 'Hat'"),
        ("path,label\nBag/b.png,Bag\nBag/b.png,Coat\n", r"line 3: .*is 'Coat' here and 'Bag' before \(line 2\)"),
        ('path,label\n"Bag/b.png,Bag\n', "after line 1: unexpected end of data"),
        ("path,label\na\x00b,Bag\n", "line 2"),
        ("path,label\nBag,Bag\n", "line 2: .*Bag is a folder"),
    ],
)
def test_bad_csv(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(write_csv(folder, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path\tlabel\nBag/b.png\tBag\n", "separated by tabs"),
        ('path;label;"size, in mm"\nBag/b.png;Bag;3\n', "separated by semicolons"),
        ("file,class\n", "need the column path only"),
    ],
)
def test_separators_are_named(folder: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match="must begin with the header") as caught:
        opened(write_csv(folder, text))
    assert words in caught.value.hint


def test_the_empty_path_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert open_dataset(".", task_classes=("Bag", "Coat")).items
    with pytest.raises(RequestError, match="the path of the data is empty"):
        open_dataset("", task_classes=("Bag", "Coat"))


def test_csv_in_another_encoding(folder: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        opened(write_csv(folder, "path,label\nä.png,Bag\n", encoding="latin-1"))


@given(st.binary(max_size=80))
def test_any_csv_gives_data_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    path.write_bytes(b"path,label\n" + content)
    with pytest.raises(DataError):
        opened(path)


def test_items_given_one_by_one(folder: Path) -> None:
    pairs = [(folder / "Bag/b.png", "bag"), (str(folder / "coat/c.png"), "Coat")]
    assert [item.label for item in open_dataset(pairs, task_classes=CLASSES).items] == [0, 1]
    for wrong, message in (([], "no items"), ([("x",)], "pairs"), ([(folder / "no.png", "Bag")], "does not exist")):
        with pytest.raises(DataError, match=message):
            open_dataset(wrong, task_classes=CLASSES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
    ],
)
def test_what_download_tools_leave_behind(folder: Path, content: bytes, message: str) -> None:
    put(folder / "Bag" / "x.png", content)
    with pytest.raises(DataError, match=message):
        hash_items(opened(folder), progress=lambda _: None)


def test_fingerprint_depends_on_bytes_labels_and_order_only(folder: Path, tmp_path: Path) -> None:
    put(folder / "coat" / "c.png", PNG + b"coat")
    items = hash_items(opened(folder), progress=lambda _: None)
    assert [item.size for item in items] == [8, 8, 12]
    other = tmp_path / "renamed"
    put(other / "Bag" / "x.png")
    put(other / "Bag" / "y.png")
    put(other / "COAT" / "z.png", PNG + b"coat")
    same = hash_items(opened(other), progress=lambda _: None)
    assert dataset_fingerprint(CLASSES, items) == dataset_fingerprint(CLASSES, same)
    assert dataset_fingerprint(CLASSES, items) != dataset_fingerprint(CLASSES, items[::-1])
    assert dataset_fingerprint(CLASSES[::-1], items) != dataset_fingerprint(CLASSES, items)
    assert contradictions(items) == ""


def test_one_image_with_two_labels_is_told(folder: Path) -> None:
    items = hash_items(opened(folder), progress=lambda _: None)
    assert contradictions(items).startswith(f"the same image has different labels: {folder}/Bag/b.png = {folder}/coat")
