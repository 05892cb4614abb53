"""The command line against a real server: the main job, and everything a user can get wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.conftest import Served, stop
from tests.support import EXAMPLES, small_bundle

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.publish import publish
from seedzoo.starter import starter_bundle

pytestmark = pytest.mark.seaweed

MYDATA, LATER = EXAMPLES / "mydata", EXAMPLES / "later"


def test_main_job(served: Served, tmp_path: Path) -> None:
    report = served.json("select", "--data", MYDATA)
    assert report["n_examples"] == 300
    assert len(report["scores"]) == 50
    assert report["recommended"] in report["candidates"]
    shown = served.zoo("select", "--data", MYDATA).stdout
    assert report["recommended"] in shown
    for baseline in ("a random variant", "best held-out", "all as an ensemble"):
        assert baseline in shown
    model = tmp_path / "winner.onnx"
    served.zoo("download", report["recommended"], "--to", model)
    table = tmp_path / "predicted.csv"
    predicted = served.json("predict", model, "--data", LATER, "--out", table)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    right = np.mean([row["predicted"] == row["label"] for row in rows])
    assert predicted["accuracy"]["estimate"] == pytest.approx(right)
    # The server's own evaluation of that variant on the later data agrees with the downloaded file.
    later = served.json("select", "--data", LATER)
    by_name = {row["variant"]: row["accuracy"]["estimate"] for row in later["scores"]}
    assert by_name[report["recommended"]] == pytest.approx(right)


def test_forgotten_images_are_gone(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(MYDATA / "bag", folder / "bag")
    dataset = served.json("select", "--data", folder)["dataset_id"]
    assert dataset in served.zoo("select", "--data", folder).stderr
    assert served.json("forget", dataset)["deleted"] is True
    assert "no dataset" in served.fails("forget", dataset, code=4)
    assert served.json("select", "--data", folder)["selections_served"] == 1  # uploaded anew


def test_csv_and_label_map(served: Served, tmp_path: Path) -> None:
    listing, names = tmp_path / "mine.csv", tmp_path / "names.csv"
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "camera"])
        for folder in ("bag", "sandal"):
            for path in sorted((MYDATA / folder).glob("*.png")):
                writer.writerow([path, f"my-{folder}", "A"])
    error = served.fails("select", "--data", listing, code=3)
    assert "my-bag" in error
    assert "trouser" in error  # says which names the task has
    assert "--label-map" in error
    names.write_text("theirs,ours\nmy-bag,bag\nmy-sandal,sandal\n")
    grouped = served.json("select", "--data", listing, "--label-map", names, "--group", "camera")
    assert grouped["n_groups"] == 1
    assert "no column" in served.fails("select", "--data", listing, "--label-map", names, "--group", "patient", code=3)
    report = served.json("select", "--data", listing, "--label-map", names)
    assert report["n_groups"] is None
    assert report["n_examples"] == 60
    assert any("no examples of" in warning for warning in report["warnings"])


def test_browsing(served: Served) -> None:
    assert [family["name"] for family in served.json("families")["families"]] == ["fashion-cnn"]
    assert len(served.json("variants", "fashion-cnn")["variants"]) == 50
    shown = served.zoo("show", "fashion-cnn").stdout
    for words in ("certified", "contrast-4", "jpeg", "in distribution"):
        assert words.lower() in shown.lower(), shown
    assert "s003" in served.zoo("show", "fashion-cnn/s003").stdout
    assert "contrast" in served.zoo("compare", "fashion-cnn/s003", "fashion-cnn/s004").stdout
    for command in (["families"], ["variants", "fashion-cnn"], ["show", "fashion-cnn"], ["show", "fashion-cnn/s003"],
                    ["compare", "fashion-cnn/s003", "fashion-cnn/s004"]):  # fmt: skip
        assert served.json(*command)


def test_offline_uses_the_cache_only(served: Served, tmp_path: Path) -> None:
    served.zoo("download", "fashion-cnn/s005", "--to", tmp_path / "a.onnx")
    offline = {"SEEDZOO_OFFLINE": "1", "SEEDZOO_SERVER": "127.0.0.1:1"}
    served.zoo("download", "fashion-cnn/s005", "--to", tmp_path / "b.onnx", **offline)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert "not in the cache" in served.fails("download", "fashion-cnn/s006", code=4, **offline)


def test_bad_data_gets_one_clear_error(served: Served, tmp_path: Path) -> None:
    select = ("select", "--data")
    assert "does not exist" in served.fails(*select, tmp_path / "none", code=3)
    (tmp_path / "empty").mkdir()
    assert "empty" in served.fails(*select, tmp_path / "empty", code=3).lower()

    def copy(name: str) -> Path:
        shutil.copytree(MYDATA, tmp_path / name)
        return tmp_path / name

    wrong = copy("wrong-class")
    (wrong / "bag").rename(wrong / "bags")
    error = served.fails(*select, wrong, code=3)
    assert "bags" in error
    assert "bag," in error or "bag." in error or "'bag'" in error
    for name, content in (
        ("no-image", b"not an image"),
        ("truncated", (MYDATA / "bag" / "00.png").read_bytes()[:200]),
        ("zero", b""),
    ):
        folder = copy(name)
        (folder / "coat" / "07.png").write_bytes(content)
        assert str(Path("coat") / "07.png") in served.fails(*select, folder, code=3)
    bomb = copy("bomb")
    Image.new("1", (20_000, 20_000)).save(bomb / "coat" / "07.png")
    error = served.fails(*select, bomb, code=3)
    assert "07.png" in error
    assert "pixels" in error


def test_unknown_names_and_no_server(served: Served, tmp_path: Path) -> None:
    assert "fashion-cnn" in served.fails("show", "fashion-cn", code=4)
    assert "no variant s999" in served.fails("download", "fashion-cnn/s999", code=4)
    assert "no family nope" in served.fails("select", "--data", MYDATA, "--family", "nope", code=4)
    error = served.fails("families", "--server", "127.0.0.1:1", code=9)
    assert "127.0.0.1:1" in error
    assert "zoo serve" in error


def test_disk_full_while_downloading_leaves_no_half_file(served: Served, tmp_path: Path) -> None:
    script = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "sys.argv = ['zoo', *sys.argv[1:]]; runpy.run_module('seedzoo_client', run_name='__main__')"
    )
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", script, "download", "fashion-cnn/s003", "--to", str(tmp_path / "m.onnx")],
        env={**served.environment, "SEEDZOO_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert not (tmp_path / "m.onnx").exists()
    left = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert not left
    served.zoo("download", "fashion-cnn/s003", "--to", tmp_path / "m.onnx", SEEDZOO_HOME=str(home))


def test_port_taken(served: Served, tmp_path: Path) -> None:
    LocalStore(tmp_path / "store")
    port = served.address.rpartition(":")[2]
    error = served.fails("serve", "--store", tmp_path / "store", "--port", port, code=11)
    assert "taken" in error
    assert "refusing to listen" in served.fails(
        "serve", "--store", tmp_path / "store", "--host", "0.0.0.0", "--port", "0", code=3
    )


def test_publish_to_a_directory_is_repeatable(served: Served, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert served.json("publish", "--starter", "--store", store)["new"] is True
    assert served.json("publish", "--starter", "--store", store)["new"] is False
    assert "no bundle" in served.fails("publish", tmp_path, "--store", store, code=3)
    served.fails("publish", "--store", store, code=2)


def test_interrupted_select_keeps_the_upload(start_server: Callable[..., Served], tmp_path: Path) -> None:
    """Ctrl-C while images go up; the second run sends only the rest."""
    folder = tmp_path / "many"
    rng = np.random.default_rng(0)
    for name in ("bag", "coat"):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = rng.integers(0, 256, (600, 600), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png", compress_level=0)
    with LocalStore(tmp_path / "store") as store:
        publish(store, small_bundle(tmp_path / "bundle", variants=2))
    server = start_server("--store", str(tmp_path / "store"))
    process = subprocess.Popen(
        [sys.executable, "-m", "seedzoo_client", "select", "--data", str(folder)],
        env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    datasets = tmp_path / "store" / "tenants" / "default" / "datasets"
    deadline = time.monotonic() + 60
    while not (first := list(datasets.glob("*/packs/*.json"))):  # one of about five packs is durable
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "again" in said  # how to go on
    assert "zoo forget ds-" in said  # or how to leave it
    kept = {path: path.stat().st_mtime_ns for path in datasets.glob("*/packs/*.bin")}
    assert len(kept) >= len(first)
    report = server.json("select", "--data", folder)
    assert report["n_examples"] == 120
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    stored = sum(path.stat().st_size for path in datasets.glob("*/packs/*.bin"))
    sent = sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert sent <= stored < sent + (9 << 20)  # at most the pack that was under way at Ctrl-C came twice


def test_server_killed_in_the_middle_loses_nothing(start_server: Callable[..., Served], tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store") as store:
        publish(store, starter_bundle())
    first = start_server("--store", str(tmp_path / "store"))
    before = first.json("select", "--data", MYDATA)
    process = subprocess.Popen(
        [sys.executable, "-m", "seedzoo_client", "select", "--data", str(LATER), "--json"],
        env=first.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    tenant = tmp_path / "store" / "tenants" / "default"
    queue, selections = tenant / "queue", tenant / "selections"
    deadline = time.monotonic() + 60
    while len(list(selections.glob("*"))) < 2:  # the second one has been accepted
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    stop(first.process, signal.SIGKILL)
    process.kill()
    process.communicate()
    second = start_server("--store", str(tmp_path / "store"))
    deadline = time.monotonic() + 60
    while any(queue.glob("*")):
        assert time.monotonic() < deadline, "the selection was not taken up"
        time.sleep(0.05)
    states = [json.loads(path.read_text())["state"] for path in selections.glob("*")]
    assert states == ["succeeded", "succeeded"]
    again = second.json("select", "--data", MYDATA)
    assert again["scores"] == before["scores"]
    assert stop(second.process) == 0


def test_several_families_need_a_choice(start_server: Callable[..., Served], tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store") as store:
        publish(store, small_bundle(tmp_path / "one", name="one", variants=2))
        publish(store, small_bundle(tmp_path / "two", name="two", variants=3))
    server = start_server("--store", str(tmp_path / "store"))
    error = server.fails("select", "--data", MYDATA, code=3)
    assert "one" in error
    assert "two" in error
    assert "--family" in error
    assert len(server.json("select", "--data", MYDATA, "--family", "two")["scores"]) == 3


def test_demo(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEEDZOO_")}
    done = subprocess.run(
        [sys.executable, "-m", "seedzoo_client", "demo", "--data", str(MYDATA), "--later", str(LATER), "--json"],
        env=environment, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert set(answer["later_baselines"]) == {"family_mean", "best_held_out", "ensemble"}
    assert 0 < answer["later_accuracy"] < 1
