"""Pieces of `zoo label`: the file of answers, and what counts as an answer."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import example_files

from seedzoo.console import Console
from seedzoo.errors import Conflict, DataError, LocalFailure, RequestError
from seedzoo_client.cli.ask import Asker, StoppedError
from seedzoo_client.datasets import Item, LocalDataset
from seedzoo_client.label_file import LabelFile
from seedzoo_client.labelling import LabellingSettings, Question
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


def test_one_process_at_a_time_has_the_file(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("my.csv")
    code = (
        "import sys\nfrom pathlib import Path\nfrom seedzoo_client.label_file import LabelFile\n"
        "with LabelFile.opened(Path('my.csv')):\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for name in ("my.csv", "link.csv"):
            with pytest.raises(Conflict) as caught, LabelFile.opened(tmp_path / name):
                pass
            assert caught.value.message.endswith(f"(process {other.pid}) writes its answers to {tmp_path / name}")
            assert "--progress" in caught.value.hint
        with LabelFile.opened(tmp_path / "another.csv"):
            pass
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert (tmp_path / ".my.csv.lock").exists()  # what a killed process leaves holds nobody up
    with LabelFile.opened(tmp_path / "my.csv"), pytest.raises(Conflict), LabelFile.opened(tmp_path / "my.csv"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["link.csv"]


def test_a_file_that_somebody_changes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    dataset = data(tmp_path)
    file = opened(tmp_path / "my.csv", dataset)
    file.record(0, dataset.items[0].path, 0, "bag", 0.5)
    theirs = HEADER + "in/1.png,bag,0.5\nin/2.png,coat,0.5\n"
    file.path.write_text(theirs)
    with pytest.raises(Conflict, match="was changed by somebody else"):
        file.record(2, dataset.items[2].path, 0, "bag", 0.5)
    assert file.path.read_text() == theirs


def test_a_link_stays_one(tmp_path: Path) -> None:
    dataset = data(tmp_path)
    (tmp_path / "link.csv").symlink_to("my.csv")
    opened(tmp_path / "link.csv", dataset).record(0, dataset.items[0].path, 0, "bag", 0.5)
    assert (tmp_path / "link.csv").is_symlink()
    assert opened(tmp_path / "my.csv", dataset).labels == {0: 0}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"budget": "x"}, "budget must be a whole number, not 'x'"),
        ({"budget": None}, "budget must be a whole number, not None"),
        ({"budget": 2.5}, "budget must be a whole number, not 2.5"),
        ({"budget": True}, "budget must be a whole number, not True"),
        ({"budget": 5, "audit": 1.5}, "audit must be"),
        ({"budget": 5, "seed": "0"}, "seed must be"),
        ({"budget": 5, "alpha": None}, "alpha must be a number"),
    ],
)
def test_settings_that_are_no_numbers(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        LabellingSettings(**fields)
    assert LabellingSettings(budget=np.int64(5)).request_id("d", "f", 0) == LabellingSettings(budget=5).request_id(
        "d", "f", 0
    )


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
