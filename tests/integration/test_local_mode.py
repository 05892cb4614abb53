"""Local mode beside a real server over the same store: the same answers, on this machine alone."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_server import serving
from tests.support import EXAMPLES, small_bundle

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.s3 import S3Store
from seedzoo.engine import predictions
from seedzoo.errors import IntegrityError, ItemsError, RequestError
from seedzoo_client import Client, LocalZoo, Progress, Stage
from seedzoo_client.cache import file_sha256
from seedzoo_client.cli import main
from seedzoo_client.scan import scan_data

MYDATA = EXAMPLES / "mydata"
IMAGES, VARIANTS = 300, 4
CLASSES = sorted(folder.name for folder in MYDATA.iterdir() if folder.is_dir())


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a store with the family ``mini``."""
    made = tmp_path_factory.mktemp("local")
    publish(LocalStore(made / "store"), small_bundle(made / "bundle"))
    return made / "store"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with serving(LocalStore(folder), decoder_processes=1) as port:
        yield f"localhost:{port}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten images of each class; every fourth without label, in patients and under two cameras."""
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "camera"])
        for name in CLASSES:
            for number, image in enumerate(sorted((MYDATA / name).glob("*.png"))[:10]):
                writer.writerow(
                    [image, "" if number % 4 == 3 else name, f"{name}-{number // 2}", "A" if number % 3 else "B"]
                )
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """What `zoo` writes to stdout and stderr."""
    code = main([str(argument) for argument in arguments], standalone_mode=False)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def of_answer(text: str) -> dict[str, Any]:
    """A JSON answer without what cannot be the same: the server's id of the data, and the time it took."""
    document = json.loads(text)
    assert document.pop("seconds") >= 0
    del document["dataset_id"]
    return document


QUESTIONS = (
    (),
    ("--objective", "top_k", "--delta", "0.02", "--alpha", "0.1", "--exhaustive"),
    ("--require", "accuracy[class=bag] >= .2", "--require", "profile[contrast-3] >= 10%"),
    (),
)


def test_the_answers_are_the_servers(folder: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for options in QUESTIONS:
        common = ("select", "--data", MYDATA, "--family", "mini", *options, "--json")
        remote, local = (answer(capsys, *common, *way)[0] for way in (("--server", server), ("--store", folder)))
        assert of_answer(local) == of_answer(remote)
        assert json.loads(local)["dataset_id"] is None
        found.append(json.loads(local))
    # What is kept, and what was asked before, counts the same as on a server.
    assert [report["evaluations"] for report in found] == [IMAGES * VARIANTS, 0, 0, 0]
    assert [report["selections_served"] for report in found] == [1, 2, 3, 3]


def test_groups_slices_and_images_without_label(
    table: Path, folder: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("select", "--data", table, "--group", "patient", "--slices", "camera", "--objective", "worst_slice",
              "--require", "accuracy[camera=B] >= .1", "--class-proportions", "uniform")  # fmt: skip
    remote, local = (answer(capsys, *common, "--json", *way)[0] for way in (("--server", server), ("--store", folder)))
    assert of_answer(local) == of_answer(remote)
    assert json.loads(local)["n_groups"] == 5 * len(CLASSES)
    # People read the same as well; notes about where things are kept differ.
    shown = [answer(capsys, *common, *way)[0] for way in (("--server", server), ("--store", folder))]
    assert shown[0] == shown[1]
    assert "Use mini/" in shown[0]


def test_the_same_faults(tmp_path: Path, folder: Path, server: str) -> None:
    data = tmp_path / "data" / "bag"
    data.mkdir(parents=True)
    for number, image in enumerate(sorted((MYDATA / "bag").glob("*.png"))[:4]):
        (data / f"{number}.png").write_bytes(image.read_bytes())
    (data / "broken.png").write_bytes((data / "1.png").read_bytes()[:200])
    (data / "text.png").write_bytes(b"no image at all")
    faults = []
    with Client(server) as remote, LocalZoo(folder) as local:
        for zoo in (remote, local):
            with pytest.raises(ItemsError) as caught:
                zoo.select(tmp_path / "data")
            faults.append(caught.value)
    theirs, ours = faults
    assert ours.message == theirs.message
    assert (ours.hint, ours.reason, ours.faults) == (theirs.hint, theirs.reason, theirs.faults)
    assert f"{data / 'broken.png'} (" in ours.message
    assert f"{data / 'text.png'} (" in ours.message


def test_what_is_known_is_not_evaluated_again(tmp_path: Path, folder: Path, home: Path) -> None:
    data = tmp_path / "data"
    for name in CLASSES:
        (data / name).mkdir(parents=True)
        for image in sorted((MYDATA / name).glob("*.png"))[:20]:
            (data / name / image.name).write_bytes(image.read_bytes())
    with LocalZoo(folder) as zoo:
        read = zoo.read(data)
        assert zoo.select(read).evaluations == 20 * len(CLASSES) * VARIANTS
        again = zoo.select(read, objective="macro_f1")
        assert (again.evaluations, again.selections_served) == (0, 2)
        assert zoo.select(read).selections_served == 2  # the same question adds nothing
    (data / CLASSES[0] / "new.png").write_bytes(sorted((MYDATA / CLASSES[0]).glob("*.png"))[25].read_bytes())
    (data / CLASSES[0]).rename(data / "renamed")
    with LocalZoo(folder) as zoo:
        more = zoo.select(data, label_map={"renamed": CLASSES[0]})
        assert (more.evaluations, more.selections_served) == (VARIANTS, 1)
        assert zoo.select(MYDATA, family="mini").evaluations == (IMAGES - 20 * len(CLASSES) - 1) * VARIANTS
    for path in (home / "predictions").iterdir():
        path.unlink()
    with LocalZoo(folder) as zoo:
        assert zoo.select(MYDATA).evaluations == IMAGES * VARIANTS


def test_too_many_predictions_to_keep(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(predictions.keeps_predictions.__kwdefaults__, "limit", 1000)
    monkeypatch.setitem(predictions.PredictionCache.__init__.__kwdefaults__, "limit", 1000)
    said: list[str] = []
    with LocalZoo(folder, on_notice=said.append) as zoo:
        assert zoo.select(MYDATA).evaluations == IMAGES * VARIANTS
    assert [text for text in said if "too many to be kept" in text] == said
    assert len(said) == 1
    assert not (home / "predictions").exists()


def test_questions_that_fit_no_family(folder: Path, tmp_path: Path) -> None:
    with LocalZoo(folder) as zoo:
        read = zoo.read(scan_data(MYDATA))
        with pytest.raises(RequestError, match="read already"):
            zoo.select(read, group="patient")
        with pytest.raises(RequestError, match="no condition"):
            zoo.select(read, requirements="profile[nothing-3] >= .5")
        with pytest.raises(RequestError, match="objective"):
            zoo.select(read, objective="nothing")


def test_ctrl_c_and_the_next_run(folder: Path, home: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, threading, time
sys.path[:0] = {sys.path!r}
from seedzoo.engine import evaluation
from seedzoo_client import local_examples, local_run
from seedzoo_client.cli import main
evaluation.block_length = lambda *_, **__: 20
asked_to_stop = []
select, read = local_run.LocalRun.select, local_examples.LocalExamples.read
def selecting(*args, should_stop, **kwargs):
    asked_to_stop.append(should_stop)
    return select(*args, should_stop=should_stop, **kwargs)
blocks = 0
def reading(*args):
    global blocks
    blocks += 1
    if blocks == 5:  # the first three are evaluated, or are just being
        os.kill(os.getpid(), signal.SIGINT)
        while not asked_to_stop[0]():
            time.sleep(.01)
    return read(*args)
local_run.LocalRun.select, local_examples.LocalExamples.read = selecting, reading
main(["select", "--data", {str(MYDATA)!r}, "--store", {str(folder)!r}, "--json", "--exhaustive"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 130, done.stderr
    assert json.loads(done.stdout)["error"]["reason"] == "CANCELLED"
    assert done.stderr.splitlines() == [
        "error: stopped; what was kept is not evaluated again",
        "hint: Run the same command again: it goes on from there.",
    ]
    with LocalZoo(folder) as zoo:
        rest = zoo.select(MYDATA, evaluation="exhaustive")
    known = IMAGES - rest.evaluations // VARIANTS
    assert known % 20 == 0
    assert 60 <= known <= 80
    assert rest.selections_served == 1


def test_a_failing_callback_stops_it(folder: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage is Stage.LOADING:
            raise ValueError("enough")

    with LocalZoo(folder) as zoo:
        with pytest.raises(ValueError, match="enough"):
            zoo.select(MYDATA, progress=stop)
        stages = []
        zoo.select(MYDATA, progress=lambda progress: stages.append(progress.stage))
    assert list(dict.fromkeys(stages)) == [
        Stage.READING, Stage.LOADING, Stage.EVALUATING, Stage.CHOOSING, Stage.DONE,
    ]  # fmt: skip


def test_a_directory_needs_no_connection(folder: Path, tmp_path: Path) -> None:
    # Python tells its audit hooks of every socket; what could open others is not even loaded.
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
def refuse(event, _):
    if event.startswith("socket."):
        raise RuntimeError(event)
sys.addaudithook(refuse)
from seedzoo_client.cli import main
store = {str(folder)!r}
for command in (
    ["select", "--data", {str(MYDATA)!r}, "--json"],
    ["download", "mini/s000", "--to", {str(tmp_path)!r}, "--quiet"],
):
    assert main([*command, "--store", store], standalone_mode=False) == 0
print(sorted(set(("grpc", "boto3", "botocore", "ray", "urllib3", "requests")) & set(sys.modules)), file=sys.stderr)
import socket
try:
    socket.socket()
except RuntimeError as error:
    print(error, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "SEEDZOO_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-2:] == ["[]", "socket.__new__"]
    assert (tmp_path / "mini-s000.onnx").is_file()


def test_a_bucket(moto_store: S3Store, moto_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    publish(moto_store, bundle)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("SEEDZOO_S3_ENDPOINT", moto_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = moto_store.url.split(" ")[0]
    before = [info.key for info in moto_store.list("")]
    with LocalZoo(url) as zoo:
        report = zoo.select(MYDATA)
        assert report.evaluations == IMAGES * VARIANTS
        path = zoo.download(report.recommended, to=tmp_path / "model.onnx")
    assert file_sha256(path) == report.model_sha256
    assert [info.key for info in moto_store.list("")] == before  # nothing is written there


def test_downloads(folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = answer(capsys, "select", "--data", MYDATA, "--store", folder)
    assert f"zoo download mini/s000 --store {folder} --to ./" in err
    with LocalZoo(folder) as zoo:
        stages = set()
        path = zoo.download("mini/s003", progress=lambda progress: stages.add(progress.stage))
        assert path.parent == home / "models"
        assert stages == {Stage.DOWNLOADING}
        assert zoo.download("mini@stable/s003") == path
    with Client("localhost:1", offline=True) as client:  # found again without the store
        assert client.download("mini/s003") == path
    document = json.loads(
        answer(capsys, "download", "mini/s003", "--store", folder, "--to", f"{tmp_path}/", "--json")[0]
    )
    assert document["sha256"] == file_sha256(tmp_path / "mini-s003.onnx") == path.stem


def test_a_damaged_model_is_not_used(tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(LocalStore(store), small_bundle(tmp_path / "bundle", variants=2))
    (model,) = store.glob("families/*/releases/*/models/s000.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with LocalZoo(store) as zoo:
        with pytest.raises(IntegrityError):
            zoo.select(MYDATA)
        with pytest.raises(IntegrityError):
            zoo.download("mini/s000")
