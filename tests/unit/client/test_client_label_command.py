"""Pieces of `zoo label`: the file of answers, and what counts as an answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.support import example_files

from seedzoo.console import Console
from seedzoo.errors import DataError, LocalFailure
from seedzoo_client.cli.ask import Asker, StoppedError
from seedzoo_client.datasets import Item, LocalDataset
from seedzoo_client.label_file import LabelFile
from seedzoo_client.labelling import Question
from seedzoo_client.labels import ClassMatcher

CLASSES = ("bag", "T-shirt/top", "q", "coat")
HEADER = "path,label,seedzoo_probability\n"


def data(folder: Path, names: tuple[str, ...] = ("1.png", "2.png", "ü b,c.png")) -> LocalDataset:
    (folder / "in").mkdir(exist_ok=True)
    for name in names:
        (folder / "in" / name).touch()
    items = tuple(Item(folder / "in" / name, None) for name in names)
    return LocalDataset("in", CLASSES, items, {})


def opened(path: Path, dataset: LocalDataset) -> LabelFile:
    file = LabelFile(path)
    file.bind(dataset, ClassMatcher(CLASSES))
    return file


def test_answers_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = data(Path())  # relative paths, as most people give them
    file = opened(Path("my.csv"), dataset)
    file.record(2, dataset.items[2].path, 1, "T-shirt/top", 0.1 + 0.2)
    file.record(0, dataset.items[0].path, 2, "q", None)
    assert file.path.read_text() == HEADER + '"in/ü b,c.png",T-shirt/top,0.30000000000000004\nin/1.png,q,\n'
    again = opened(tmp_path / "my.csv", dataset)
    assert again.labels == {2: 1, 0: 2}
    assert (again.probability(2), again.probability(0)) == (0.1 + 0.2, None)
    again.record(0, dataset.items[0].path, 2, "q", 0.5)  # asked again, of another seed
    assert opened(Path("my.csv"), dataset).probability(0) == 0.5
    assert list(opened(Path("my.csv"), dataset).labels) == [2, 0]


def test_an_image_that_is_listed_twice_has_one_row(tmp_path: Path) -> None:
    once = data(tmp_path, ("1.png",))
    twice = LocalDataset("in", CLASSES, (*once.items, *once.items), {})
    file = opened(tmp_path / "my.csv", twice)
    file.record(1, once.items[0].path, 0, "bag", 0.5)
    file.record(0, once.items[0].path, 0, "bag", 0.25)
    assert len(file.path.read_text().splitlines()) == 2
    assert opened(tmp_path / "my.csv", twice).labels == {0: 0, 1: 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\nin/1.png,bag\n", "not written by zoo label"),
        ("", "not written by zoo label"),
        (HEADER + "in/1.png,bag\n", "line 2"),
        (HEADER + "in/1.png,,0.5\n", "line 2"),
        (HEADER + "in/1.png,bag,nan\n", "'nan' is no probability"),
        (HEADER + "in/1.png,bag,0\n", "'0' is no probability"),
        (HEADER + "in/1.png,hat,0.5\n", "'hat' is no class"),
        (HEADER + "in/3.png,bag,0.5\n", "not among the images"),
        (HEADER + "in/1.png,bag,0.5\nin/../in/1.png,coat,0.5\n", "line 3"),
        (HEADER + '"in/1.png,bag,0.5\n', "no CSV file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "my.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        opened(tmp_path / "my.csv", data(tmp_path))
    assert words in caught.value.message
    assert (tmp_path / "my.csv").read_text() == text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure):
        LabelFile(tmp_path / "none" / "my.csv")


def asker(monkeypatch: pytest.MonkeyPatch, answers: str, classes: tuple[str, ...] = CLASSES) -> Asker:
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    numeric = any(name.isdecimal() for name in classes)
    return Asker(Console(quiet=True), ClassMatcher(classes), numeric_names=numeric, open_images=False)


QUESTION = Question(0, example_files(per_class=1)[0][0], 0.5)


@pytest.mark.parametrize(
    ("answer", "label"), [("coat", 3), (" COAT ", 3), ("t-shirt top", 1), ("1", 0), ("#3", 2), ("# 3", 2), ("4", 3)]
)
def test_names_and_numbers(monkeypatch: pytest.MonkeyPatch, answer: str, label: int) -> None:
    assert asker(monkeypatch, f"?\n{answer}\n")(QUESTION, "[1/1]") == label


def test_classes_that_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = ("0", "1", "2", "s")
    ask = asker(monkeypatch, "2\n#2\ns\n3\n", digits)
    assert [ask(QUESTION, "") for _ in range(3)] == [2, 1, 3]
    with pytest.raises(DataError, match="is no class"):
        ask(QUESTION, "")


def test_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for answers, asked_to in (("q\n", True), ("Q\n", True), ("", False)):
        with pytest.raises(StoppedError) as caught:
            asker(monkeypatch, answers)(QUESTION, "")
        assert caught.value.asked_to is asked_to
