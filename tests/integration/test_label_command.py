"""`zoo label` as people and scripts run it: a process of its own against a real server."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_labelling import folder_of_images, serving
from tests.support import small_bundle

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import AlreadyExists, NotFound, RequestError
from seedzoo_client import Client


class Command:
    """`zoo label` on a folder of images whose classes are known."""

    def __init__(self, port: int, folder: Path) -> None:
        self.images = folder / "images"
        self.truth = folder_of_images(self.images)
        self.folder = folder
        self.port = port
        self.file = folder / "images.labels.csv"
        self.oracle = folder / "oracle.csv"
        with self.oracle.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label"])
            writer.writerows((f"images/{name}", label) for name, label in self.truth.items())

    def started(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEEDZOO_")}
        return subprocess.Popen(
            [sys.executable, "-m", "seedzoo_client", "label", "--data", "images", "--server", f"127.0.0.1:{self.port}",
             *map(str, arguments)],
            cwd=self.folder,
            env={**environment, "SEEDZOO_HOME": str(self.folder / "home"), "COLUMNS": "100"},
            text=True,
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )  # fmt: skip

    def __call__(self, *arguments: object, answers: str = "", code: int = 0) -> tuple[str, str]:
        """Output and messages."""
        process = self.started(*arguments)
        out, err = process.communicate(answers, timeout=120)
        assert process.returncode == code, err
        return out, err

    def json(self, *arguments: object, answers: str = "", code: int = 0) -> dict[str, Any]:
        out, _ = self(*arguments, "--json", answers=answers, code=code)
        found: dict[str, Any] = json.loads(out)
        return found

    @property
    def rows(self) -> list[dict[str, str]]:
        with self.file.open(newline="") as file:
            return list(csv.DictReader(file))

    def truly(self, rows: list[dict[str, str]]) -> bool:
        return all(self.truth[Path(row["path"]).name] == row["label"] for row in rows)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("made") / "bundle", variants=8)


def zoo_of(bundle: Path) -> ObjectStore:
    store = MemoryStore()
    publish(store, bundle)
    return store


@pytest.fixture(scope="module")
def port(bundle: Path) -> Iterator[int]:
    with serving(zoo_of(bundle)) as found:
        yield found


@pytest.fixture
def zoo(port: int, tmp_path: Path) -> Command:
    return Command(port, tmp_path)


def test_answers_from_a_file_make_the_report(zoo: Command) -> None:
    report = zoo.json("--budget", 12, "--from", "oracle.csv")
    assert report["evidence"] == "queried_labels"
    assert report["finished"] is True
    assert report["accuracy"] is None
    assert report["labelled"] == report["n_examples"] == len(report["labels"]) <= 12
    assert report["dataset_id"].startswith("ds-")
    assert report["recommended"] == report["candidates"][0]
    rows = zoo.rows
    assert list(rows[0]) == ["path", "label", "seedzoo_probability"]
    assert [row["path"] for row in rows] == [label["path"] for label in report["labels"]]
    assert all(0 < float(row["seedzoo_probability"]) <= 1 for row in rows)
    assert zoo.truly(rows)
    assert zoo.json("--budget", 12) == report  # concluded: the same answer, nothing asked
    shown, notes = zoo("--budget", 12)
    assert report["recommended"] in shown
    assert "concluded before" in notes


def test_its_file_answers_too_and_select_refuses_it(zoo: Command, bundle: Path) -> None:
    first = zoo.json("--budget", 8, "--from", "oracle.csv")
    saved = zoo.file.rename(zoo.folder / "kept.csv")
    with serving(zoo_of(bundle)) as other:
        zoo.port = other
        second = zoo.json("--budget", 8, "--from", saved, "--progress", "new.csv")
    assert second["labels"] == first["labels"]
    process = subprocess.run(
        [sys.executable, "-m", "seedzoo_client", "select", "--data", saved, "--server", f"127.0.0.1:{zoo.port}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 3
    assert "no random sample" in process.stderr


def test_an_audit_is_asked_first(zoo: Command) -> None:
    report = zoo.json("--budget", 12, "--audit", 10, "--from", "oracle.csv")
    assert report["accuracy"]["low"] < report["accuracy"]["high"]
    assert [row["seedzoo_probability"] == "" for row in zoo.rows[:10]] == [True] * 10
    shown, _ = zoo("--budget", 12, "--audit", 10)
    assert report["recommended"] in shown


def test_answers_line_by_line(zoo: Command) -> None:
    out, err = zoo("--budget", 3, answers="bag\n3\n#1\n")
    labels = [row["label"] for row in zoo.rows]
    assert labels == ["bag", zoo_class(err, 3), zoo_class(err, 1)]
    assert "[3/3]" in err
    assert "label" in out


def zoo_class(listed: str, number: int) -> str:
    found = re.search(rf"^  {number} +(\S+)$", listed, flags=re.MULTILINE)
    assert found is not None, listed
    return found[1]


def test_too_few_answers_keep_what_there_is(zoo: Command) -> None:
    _, err = zoo("--budget", 4, answers="bag\ncoat\n", code=130)
    assert "ended: 2 of 4 labels are given, in images.labels.csv and on the server" in err
    assert [row["label"] for row in zoo.rows] == ["bag", "coat"]
    document = zoo.json("--budget", 4, answers="bag\n", code=130)
    assert document["error"]["reason"] == "CANCELLED"
    assert document["error"]["dataset_id"].startswith("ds-")
    report = zoo.json("--budget", 4, answers="sandal\n")
    assert [label["label"] for label in report["labels"]] == ["bag", "coat", "bag", "sandal"]


def test_stopping_by_q(zoo: Command) -> None:
    stopped = zoo.json("--budget", 4, answers="bag\nq\n")
    assert (stopped["finished"], stopped["labelled"], stopped["budget"]) == (False, 1, 4)
    assert stopped["leader"].startswith("mini/")
    out, err = zoo("--budget", 4, answers="q\n")
    assert "1 of 4 labels" in out
    assert "same command" in err


@pytest.mark.parametrize("answer", ["submarine", "0", "99", "s", ""])
def test_wrong_answers_of_a_program_end_it(zoo: Command, answer: str) -> None:
    _, err = zoo("--budget", 4, answers=f"bag\n{answer}\nbag\n", code=3)
    assert ("cannot be skipped" if answer in ("s", "") else "is no class") in err
    assert len(zoo.rows) == 1


def test_a_person_is_asked_again(zoo: Command) -> None:
    terminal, theirs = pty.openpty()
    process = zoo.started("--budget", "2", stdin=theirs, stderr=theirs)
    os.close(theirs)
    os.write(terminal, b"bagg\n?\ns\nT-SHIRT\n2\n")
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # the other side was closed
        pass
    out, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0, shown
    text = shown.decode()
    assert "did you mean 'bag'?" in text
    assert "cannot be skipped" in text
    assert text.count("class>") == 5
    assert zoo.rows[0]["label"].lower().startswith("t-shirt")
    assert "mini/" in out


def test_killed_in_the_middle_it_goes_on(zoo: Command, bundle: Path, tmp_path: Path) -> None:
    process = zoo.started("--budget", 8)
    assert process.stdin is not None
    assert process.stderr is not None
    for number in range(3):
        for line in process.stderr:
            if found := re.match(rf"\[{number + 1}/8\] .* images/(\S+)$", line):
                break
        process.stdin.write(f"{zoo.truth[found[1]]}\n")
        process.stdin.flush()
    deadline = time.monotonic() + 60
    while not (zoo.file.exists() and len(zoo.rows) == 3):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    report = zoo.json("--budget", 8, "--from", "oracle.csv")
    assert len(report["labels"]) == len({label["path"] for label in report["labels"]}) == report["labelled"]
    assert [row["path"] for row in zoo.rows] == [label["path"] for label in report["labels"]]
    # A server without any memory is told again from the file, and asks the same.
    with serving(zoo_of(bundle)) as other:
        zoo.port = other
        again = zoo.json("--budget", 8)
    assert again["labels"] == report["labels"]
    assert again["scores"] == report["scores"]


def test_a_forgotten_dataset_is_sent_and_told_again(zoo: Command) -> None:
    stopped = zoo.json("--budget", 4, answers="bag\ncoat\nq\n")
    with Client(f"127.0.0.1:{zoo.port}", home=zoo.folder / "home", offline=False) as client:
        client.delete_dataset(stopped["dataset_id"])
    report = zoo.json("--budget", 4, answers="bag\nbag\n")
    assert report["labels"][:2] == stopped["labels"]
    assert report["labelled"] == 4


def test_a_larger_budget_repeats_no_question(zoo: Command) -> None:
    zoo.json("--budget", 4, "--from", "oracle.csv")
    before = zoo.rows
    _, err = zoo("--budget", 6, answers="q\n")
    assert err.count("[5/6]") == 1
    assert "[4/6]" not in err
    larger = zoo.json("--budget", 6, "--from", "oracle.csv")
    assert zoo.rows[:4] == before
    assert larger["labelled"] == 6
    smaller = zoo.json("--budget", 3)
    assert smaller["labels"] == larger["labels"][:3]


def test_it_stops_when_labels_cannot_change_the_choice(zoo: Command) -> None:
    _, err = zoo("--budget", 80, "--from", "oracle.csv")
    assert "more would not change the choice" in err
    given = len(zoo.rows)
    assert given < 80
    report = zoo.json("--budget", 80)
    assert report["labelled"] == given
    assert len(report["candidates"]) == 1 or "all disagreement is labelled" in report["reason"]


def test_a_changed_file_is_noticed(zoo: Command) -> None:
    zoo("--budget", 4, answers="bag\ncoat\nq\n")
    zoo.file.write_text(zoo.file.read_text().replace("coat", "sandal"))
    _, err = zoo("--budget", 4, answers="bag\nbag\n", code=5)
    assert re.search(r"calls images/\S+ 'sandal', the server was told otherwise before, namely 'coat'", err)
    assert "write the server's ('coat') into images.labels.csv" in err
    assert "--seed 1" in err
    report = zoo.json("--budget", 4, "--seed", 1, "--from", "oracle.csv")
    assert report["labelled"] == 4


def test_a_lost_file_is_told(zoo: Command) -> None:
    zoo("--budget", 4, answers="bag\ncoat\nq\n")
    zoo.file.unlink()
    out, err = zoo("--budget", 4, answers="bag\nbag\n")
    assert "2 labels that images.labels.csv lacks" in err
    assert "mini/" in out
    assert len(zoo.rows) == 2


def test_what_is_told_of_file_and_server_is_so(zoo: Command) -> None:
    zoo("--budget", 4, answers="bag\ncoat\nq\n")
    saved = zoo.file.read_bytes()
    zoo.file.unlink()
    out, _ = zoo("--budget", 4, answers="bag\nq\n")
    assert "3 of 4 labels are given, all on the server and 1 of them in images.labels.csv." in out
    zoo.file.write_bytes(saved)
    _, err = zoo("--budget", 5, answers="q\n")
    assert "0 of 5 labels are given; answers go to images.labels.csv, where 2 more answers may be of use" in err


def waiting_for(process: subprocess.Popen[str], number: int) -> str:
    """Reads until that question; the name of its image."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.match(rf"\[{number}/\d+\] .* images/(\S+)$", line):
            return found[1]
    raise AssertionError(f"there was no question {number}")


def test_two_at_one_file_lose_no_answer(zoo: Command) -> None:
    first = zoo.started("--budget", 4)
    waiting_for(first, 1)
    _, err = zoo("--budget", 4, "--audit", 2, answers="bag\n", code=5)
    assert f"another `zoo label` (process {first.pid}) writes its answers to images.labels.csv" in err
    assert zoo.json("--budget", 4, answers="bag\n", code=5)["error"]["reason"] == "LABEL_FILE_IN_USE"
    out, _ = first.communicate("bag\ncoat\nq\n")
    assert "2 of 4 labels are given" in out
    assert [row["label"] for row in zoo.rows] == ["bag", "coat"]
    assert not list(zoo.folder.glob(".*"))


def test_two_that_answer_one_question_differently(zoo: Command) -> None:
    first = zoo.started("--budget", 4)
    name = waiting_for(first, 1)
    zoo("--budget", 4, "--progress", "other.csv", answers="coat\nq\n")
    _, err = first.communicate("bag\n")
    assert first.returncode == 5
    assert f"images.labels.csv calls images/{name} 'bag', the server was told otherwise before, namely 'coat'" in err
    zoo.file.write_text(zoo.file.read_text().replace("bag", "coat"))  # as the hint says
    out, _ = zoo("--budget", 4, answers="q\n")
    assert "1 of 4 labels are given, in images.labels.csv and on the server." in out


def test_forgotten_in_the_middle(zoo: Command) -> None:
    process = zoo.started("--budget", 4)
    waiting_for(process, 1)
    assert process.stdin is not None
    process.stdin.write("bag\n")
    process.stdin.flush()
    waiting_for(process, 2)
    with Client(f"127.0.0.1:{zoo.port}", home=zoo.folder / "home", offline=False) as client:
        session = client.label(zoo.images, budget=4)
        client.delete_dataset(session.dataset_id)
        with pytest.raises(NotFound, match="the images of this session were deleted from the server"):
            session.next()
    _, err = process.communicate("coat\n")
    assert process.returncode == 4, err
    assert "error: the images were deleted from the server" in err
    assert "it sends them again, and the answers in images.labels.csv" in err
    assert "stay on the server" not in err
    report = zoo.json("--budget", 4, answers="sandal\nsandal\n")
    assert [label["label"] for label in report["labels"]] == ["bag", "coat", "sandal", "sandal"]


def test_from_python_anything_is_one_clear_error(zoo: Command) -> None:
    with Client(f"127.0.0.1:{zoo.port}", home=zoo.folder / "home", offline=False) as client:
        session = client.label(zoo.images, budget=4)
        (question,) = session.next()
        wrong: Any
        for wrong in ([1], 5, {question.index: "hat"}, {question.index: True}, {question.index: 99},
                      {question.index: 1.0}, {"a": 1}, {-1: 1}, {10**30: 1}):  # fmt: skip
            with pytest.raises(RequestError) as caught:
                session.submit(wrong)
            assert caught.value.field == "labels"
        assert session.submit({np.int64(question.index): np.int64(1)}) == 1  # type: ignore[dict-item]
        with pytest.raises(AlreadyExists) as clash:
            session.submit({question.index: 2})
        one, two = session.dataset.classes[1:3]
        assert clash.value.message == f"{question.path} has the label {one!r} on the server already, not {two!r}"
        assert "seed 1" in clash.value.hint
        for wrong in ("x", None, 2.5):
            with pytest.raises(RequestError, match="budget must be a whole number"):
                client.label(zoo.images, budget=wrong)
        with pytest.raises(RequestError, match="path of the data is empty"):
            client.label("", budget=1)


def test_missing_answers_and_files_of_others(zoo: Command) -> None:
    lines = zoo.oracle.read_text().splitlines()
    (zoo.folder / "short.csv").write_text("\n".join(lines[:2]))
    _, err = zoo("--budget", 30, "--from", "short.csv", code=3)
    assert "short.csv has no label for images/" in err
    _, err = zoo("--budget", 4, "--progress", "oracle.csv", code=3)
    assert "not written by zoo label" in err
    assert zoo.oracle.read_text().splitlines() == lines
    zoo.file.write_text("path,label,seedzoo_probability\nelsewhere/1.png,bag,0.5\n")
    _, err = zoo("--budget", 4, code=3)
    assert "line 2: elsewhere/1.png is not among the images" in err
    zoo.file.write_text("path,label,seedzoo_probability\nimages/1.png,bag,1.5\n")
    _, err = zoo("--budget", 4, code=3)
    assert "line 2: '1.5' is no probability" in err


def test_numbers_are_checked_before_anything_else(zoo: Command) -> None:
    for options, words in (
        (("--budget", 0), "budget"),
        (("--budget", 5, "--audit", 6), "audit"),
        (("--budget", 5, "--alpha", 0), "alpha"),
        (("--budget", 5, "--progress", "no/such/folder.csv"), "does not exist"),
        (("--budget", 5, "--from", "images/none.csv"), "does not exist"),
    ):
        _, err = zoo(*options, code=11 if "folder" in str(options) else 3)
        assert words in err


def test_labels_of_folders_are_not_used(zoo: Command) -> None:
    first, *_ = zoo.truth
    (zoo.images / "bag").mkdir()
    (zoo.images / first).rename(zoo.images / "bag" / first)
    _, err = zoo("--budget", 1, answers="bag\n")
    assert "folder names of 1 images are not used" in err
