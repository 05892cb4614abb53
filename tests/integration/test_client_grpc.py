"""The client against a real gRPC server whose streams break."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from client_fake_zoo import CHUNK, PNG, RELEASE, FakeZoo

from seedzoo.errors import (
    DataError,
    IntegrityError,
    ItemsError,
    LocalFailure,
    NotFound,
    RequestError,
    Unavailable,
    ZooError,
)
from seedzoo_client import Client, LocalDataset, Progress, Stage
from seedzoo_protos.v1 import selection_pb2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine images; one is larger than a message."""
    folder = tmp_path / "mydata"
    for name in ("trouser", "Bag", "t-shirt_top"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            filler = os.urandom(1_500_000) if (name, index) == ("Bag", 1) else b"x" * 100
            (folder / name / f"{index}.png").write_bytes(PNG + f"{name}{index}".encode() + filler)
    return folder


def test_catalog_calls_follow_pages(client: Client, zoo: FakeZoo) -> None:
    zoo.families["other"] = ("a", "b")
    assert [family.name for family in client.families()] == ["other", "toy"]
    assert [variant.tag for variant in client.variants("toy")] == list(zoo.tags)
    assert [variant.tag for variant in client.variants("toy", limit=4)] == list(zoo.tags[:4])
    profile = client.profile("toy")
    assert profile.accuracy.shape == (7, 2)
    assert profile.column("contrast-4")[1] == pytest.approx(0.45)
    assert profile.row("s002").tolist() == pytest.approx([0.906, 0.5])
    assert client.family("toy").certificate.trained == 9


def test_server_errors_keep_reason_hint_and_field(client: Client) -> None:
    with pytest.raises(NotFound, match="no family 'nope'") as caught:
        client.family("nope")
    assert caught.value.hint == "zoo families lists them."
    with pytest.raises(RequestError) as refused:
        client.variants("toy", filter="nonsense")
    assert refused.value.field == "filter"
    with pytest.raises(NotFound):
        client.variant("toy/s999")
    with pytest.raises(RequestError, match="not the name of a variant"):
        client.variant("toy")


def test_select_uploads_once_and_reports(client: Client, zoo: FakeZoo, data: Path) -> None:
    seen: list[Progress] = []
    report = client.select(data, progress=seen.append)
    assert report.recommended == "toy/s000"
    assert sorted(zoo.uploaded) == list(range(9))
    assert zoo.largest_message <= 1 << 20
    stages = list(dict.fromkeys(update.stage for update in seen))
    assert stages == [Stage.READING, Stage.UPLOADING, Stage.EVALUATING, Stage.DONE]
    (state,) = zoo.datasets.values()
    assert [state["items"][index].label for index in range(9)] == [2] * 3 + [0] * 3 + [1] * 3
    again = client.select(data)
    assert again == report
    assert len(zoo.uploaded) == 9
    assert zoo.appended == 9
    assert len({start.request_id for start in zoo.starts}) == 2


def labels_and_slices(zoo: FakeZoo) -> list[tuple[int | None, list[int]]]:
    (state,) = zoo.datasets.values()
    return [
        (item.label if item.HasField("label") else None, list(item.slices))
        for _, item in sorted(state["items"].items())
    ]


def test_slices_and_missing_labels_are_sent(client: Client, zoo: FakeZoo, data: Path) -> None:
    listing = data / "listing.csv"
    listing.write_text("path,label,camera,blur\nBag/0.png,Bag,B,yes\nBag/2.png,,A,yes\ntrouser/0.png,trouser,A,no\n")
    uploaded = client.upload(listing, slices=["camera", "blur"], group="camera")
    (state,) = zoo.datasets.values()
    assert state["slice_columns"] == {"camera": ["B", "A"], "blur": ["yes", "no"]}
    assert labels_and_slices(zoo) == [(2, [0, 0]), (None, [1, 0]), (1, [1, 1])]
    assert [item.group for item in state["items"].values()] == [0, 1, 1]
    assert client.upload(listing, slices=["camera", "blur"], group="camera").id == uploaded.id
    assert client.upload(listing, slices="camera").id != uploaded.id
    with pytest.raises(RequestError, match="uploaded already") as caught:
        client.select(uploaded, slices="camera")
    assert caught.value.field == "slices"


def test_unlabelled_images_are_uploaded(client: Client, zoo: FakeZoo, data: Path) -> None:
    client.select(data / "Bag")
    assert labels_and_slices(zoo) == [(None, [])] * 3
    zoo.families["toy-two"] = zoo.families["toy"]
    with pytest.raises(RequestError, match="no image has a label"):
        client.select(data / "Bag")


def test_what_is_asked_reaches_the_server(client: Client, zoo: FakeZoo, data: Path) -> None:
    client.select(
        data,
        objective="top_k:3",
        requirements="accuracy[class=Bag] >= .8",
        class_proportions={"bag": 0.5, "sac": 0.5},
        label_map={"sac": "Trouser"},
        evaluation="race",
        prior=False,
    )
    start = zoo.starts[-1]
    assert start.objective == "top_k:3"
    assert list(start.requirements) == ["accuracy[class=Bag] >= .8"]
    assert list(start.class_proportions) == [0, 0.5, 0.5]
    assert start.evaluation == selection_pb2.EVALUATION_RACE
    assert start.without_prior
    assert not start.HasField("labelling")


def test_nothing_is_sent_for_a_question_that_cannot_be_asked(client: Client, zoo: FakeZoo, data: Path) -> None:
    with pytest.raises(DataError, match="'hat', which the task does not have"):
        client.select(data, class_proportions="hat=1")
    with pytest.raises(DataError, match="lack a row for the true class"):
        client.select(data, objective="cost", costs={"Bag": {"Bag": 0}})
    with pytest.raises(RequestError, match="no evaluation 'quick'"):
        client.select(data, evaluation="quick")

    with pytest.raises(RequestError, match="rests on the stored stress tests"):
        client.select(data / "Bag", prior=False)

    def refuse(dataset: LocalDataset) -> None:
        assert len(dataset.items) == 9
        raise DataError("not these")

    with pytest.raises(DataError, match="not these"):
        client.upload(data, check=refuse)
    assert zoo.datasets == {}


def test_broken_uploads_are_resumed(client: Client, zoo: FakeZoo, data: Path) -> None:
    zoo.break_uploads = 3
    uploaded = client.upload(data)
    assert sorted(zoo.uploaded) == list(range(9)), "nothing is sent twice"
    assert zoo.uploads == 4
    assert uploaded.family == "toy"
    client.delete_dataset(uploaded.id)
    with pytest.raises(NotFound):
        client.delete_dataset(uploaded.id)


def test_a_server_that_keeps_nothing_is_given_up(client: Client, zoo: FakeZoo, data: Path) -> None:
    zoo.swallow_uploads = True
    with pytest.raises(Unavailable, match="9 of 9 images missing") as caught:
        client.upload(data)
    assert "same command" in caught.value.hint


def test_a_file_that_changes_meanwhile_is_named(client: Client, zoo: FakeZoo, data: Path) -> None:
    def meddle(progress: Progress) -> None:
        if progress.stage is Stage.UPLOADING:
            (data / "Bag" / "2.png").write_bytes(PNG + b"other bytes")

    with pytest.raises(DataError, match=r"2\.png changed") as caught:
        client.upload(data, progress=meddle)
    assert caught.value.reason == "FILE_CHANGED"
    assert 2 not in next(iter(zoo.datasets.values()))["bytes"]


def test_a_broken_watch_is_opened_again(client: Client, zoo: FakeZoo, data: Path) -> None:
    zoo.break_watches = 5
    assert client.select(data).recommended == "toy/s000"
    assert zoo.watches == 6


def test_failure_names_the_files(client: Client, zoo: FakeZoo, data: Path) -> None:
    zoo.failure = selection_pb2.SelectionError(
        reason="ITEMS_INVALID",
        message="2 of 9 images cannot be used",
        hint="Replace them.",
        items=[
            selection_pb2.ItemFault(index=0, message="empty"),
            selection_pb2.ItemFault(index=3, message="cut off"),
        ],
    )
    with pytest.raises(ItemsError) as caught:
        client.select(data)
    assert caught.value.message == (
        f"2 of 9 images cannot be used: {data}/Bag/0.png (empty), {data}/t-shirt_top/0.png (cut off)"
    )
    assert caught.value.faults == {0: "empty", 3: "cut off"}
    assert caught.value.hint == "Replace them."


def test_family_is_chosen_where_one_fits(client: Client, zoo: FakeZoo, data: Path) -> None:
    zoo.families["digits"] = ("0", "1")
    client.select(data)
    assert zoo.starts[-1].family == "toy"
    zoo.families["toy-two"] = zoo.families["toy"]
    with pytest.raises(RequestError, match="several families: toy, toy-two") as several:
        client.select(data)
    assert several.value.hint == "Name one: --family toy."
    client.select(data, family="toy-two")
    assert zoo.starts[-1].family == "toy-two"
    (data / "submarine").mkdir()
    (data / "submarine" / "1.png").write_bytes(PNG)
    with pytest.raises(DataError, match="no family of"):
        client.select(data)
    with pytest.raises(DataError, match="'submarine', which the task does not have") as unknown:
        client.select(data, family="toy")
    assert "--label-map" in unknown.value.hint
    assert client.select(data, family="toy", label_map={"submarine": "Bag"}).recommended == "toy/s000"


def test_download_resumes_and_is_verified(client: Client, zoo: FakeZoo, tmp_path: Path) -> None:
    zoo.break_downloads, zoo.break_downloads_after = 2, CHUNK
    path = client.download("toy/s000")
    assert path.read_bytes() == zoo.model
    assert zoo.offsets == [0, CHUNK, 2 * CHUNK]
    assert path.parent == tmp_path / "home" / "models"
    assert [entry.name for entry in path.parent.iterdir()] == [f"{zoo.sha256}.onnx"]
    client.download("toy/s000")
    assert len(zoo.offsets) == 3, "the second time it comes from the cache"


def test_download_goes_on_in_a_later_run(client: Client, zoo: FakeZoo, address: str, tmp_path: Path) -> None:
    zoo.break_downloads, zoo.break_downloads_after = 100, 0
    (tmp_path / "home" / "models").mkdir(parents=True)
    part = tmp_path / "home" / "models" / f".{zoo.sha256}.part"
    part.write_bytes(zoo.model[:1000])
    with pytest.raises(Unavailable, match="broke off at 1,000 of"):
        client.download("toy/s000")
    assert part.stat().st_size == 1000
    zoo.break_downloads = 0
    assert client.download("toy/s000").read_bytes() == zoo.model
    assert zoo.offsets[-1] == 1000
    assert not part.exists()


def test_a_damaged_part_is_fetched_anew(client: Client, zoo: FakeZoo, tmp_path: Path) -> None:
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / f".{zoo.sha256}.part").write_bytes(b"rubbish")
    assert client.download("toy/s000").read_bytes() == zoo.model
    assert zoo.offsets == [7, 0]


def test_a_damaged_cache_is_noticed(client: Client, zoo: FakeZoo) -> None:
    path = client.download("toy/s000")
    path.write_bytes(zoo.model[:-1])
    assert client.download("toy/s000").read_bytes() == zoo.model


@pytest.mark.parametrize("wrong", ["damage", "wrong_header"])
def test_wrong_bytes_are_refused(client: Client, zoo: FakeZoo, tmp_path: Path, wrong: str) -> None:
    setattr(zoo, wrong, True)
    with pytest.raises(IntegrityError):
        client.download("toy/s000", to=tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_download_to_a_place(client: Client, zoo: FakeZoo, tmp_path: Path) -> None:
    assert client.download("toy/s000", to=tmp_path / "m.onnx").read_bytes() == zoo.model
    made = client.download("toy/s000", to=f"{tmp_path}/models/")
    assert made == tmp_path / "models" / "toy-s000.onnx"
    with pytest.raises(LocalFailure, match="does not exist"):
        client.download("toy/s000", to=tmp_path / "no" / "m.onnx")


def test_offline_needs_no_server(client: Client, zoo: FakeZoo, tmp_path: Path) -> None:
    client.download("toy/s000")
    with Client("127.0.0.1:1", home=tmp_path / "home", offline=True) as offline:
        assert offline.download("toy/s000").read_bytes() == zoo.model
        assert offline.download(f"toy@{RELEASE}/s000").read_bytes() == zoo.model
        with pytest.raises(NotFound, match="not in the cache") as caught:
            offline.download("toy/s001")
        assert "SEEDZOO_OFFLINE" in caught.value.hint
        with pytest.raises(NotFound) as other:
            offline.download("toy@canary/s000")
        assert f"toy@{RELEASE}/s000" in other.value.hint
        with pytest.raises(Unavailable, match="offline mode is on"):
            offline.families()


def test_two_downloads_of_one_model_at_once(client: Client, zoo: FakeZoo, address: str, tmp_path: Path) -> None:
    found: list[bytes] = []

    def fetch() -> None:
        with Client(address, home=tmp_path / "home", offline=False) as other:
            found.append(other.download("toy/s000").read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [hashlib.sha256(content).hexdigest() for content in found] == [zoo.sha256] * 4
    assert zoo.offsets == [0]


def test_no_server() -> None:
    with Client("127.0.0.1:1", offline=False) as nobody, pytest.raises(Unavailable) as caught:
        nobody.families()
    assert caught.value.message == "no server answers at 127.0.0.1:1"
    assert "zoo serve --dev" in caught.value.hint


def run_zoo(*arguments: str, home: Path, prefix: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{prefix}\nfrom seedzoo_client.cli import main\nmain({list(arguments)!r}, prog_name='zoo')"
    environment = {**os.environ, "SEEDZOO_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def test_disk_full_leaves_no_half_file(zoo: FakeZoo, address: str, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    done = run_zoo("download", "toy/s000", "--server", address, home=tmp_path / "home", prefix=limit)
    assert done.returncode == 11, done.stderr
    assert done.stderr.startswith("error: cannot write")
    assert list((tmp_path / "home" / "models").iterdir()) == []
    again = run_zoo("download", "toy/s000", "--server", address, home=tmp_path / "home")
    assert again.returncode == 0
    assert Path(again.stdout.strip()).read_bytes() == zoo.model


def test_cli_select_prints_the_report(zoo: FakeZoo, address: str, data: Path, tmp_path: Path) -> None:
    done = run_zoo("select", "--data", str(data), "--server", address, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Use toy/s000" in done.stdout
    assert "hint: zoo download toy/s000" in done.stderr
    as_json = run_zoo("select", "--data", str(data), "--server", address, "--json", home=tmp_path)
    document = json.loads(as_json.stdout)
    assert document["recommended"] == "toy/s000"
    assert document["dataset_id"] in zoo.datasets


def test_cli_select_takes_images_without_label(zoo: FakeZoo, address: str, data: Path, tmp_path: Path) -> None:
    def select(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_zoo("select", *map(str, arguments), "--server", address, home=tmp_path)

    done = select("--data", data / "Bag", "--json")
    assert done.returncode == 0, done.stderr
    assert "no image has a label: variants are ranked without evidence, unverified" in done.stderr
    stray = data / "stray.png"
    stray.write_bytes(PNG)
    mixed = select("--data", data)
    assert mixed.returncode == 0, mixed.stderr
    assert "9 images have labels, 1 has none: the latter only help to choose" in mixed.stderr
    assert mixed.stderr.count(f"beside the class folders and counts as unlabelled: {stray}") == 1
    queried = tmp_path / "labels.csv"
    queried.write_text("path,label,seedzoo_probability\nmydata/Bag/0.png,Bag,.5\n")
    refused = select("--data", queried, "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["error"]["reason"] == "LABELS_QUERIED"


def test_cli_select_says_what_is_asked(zoo: FakeZoo, address: str, data: Path, tmp_path: Path) -> None:
    def select(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_zoo("select", "--data", str(listing), *map(str, arguments), "--server", address, home=tmp_path)

    listing = data / "listing.csv"
    listing.write_text("path,label,camera,blur\nBag/0.png,sac,B,yes\nBag/2.png,,A,yes\n")
    costs = tmp_path / "costs.csv"
    costs.write_text("true,sac,trouser,T-shirt/top\nsac,0,1,2\ntrouser,3,0,4\nT-shirt/top,5,6,0\n")
    names = tmp_path / "names.csv"
    names.write_text("sac,Bag\n")
    done = select(
        "--slices", "camera", "--slices", "blur", "--objective", "cost", "--costs", costs, "--label-map", names,
        "--require", "accuracy[camera=B] >= .8", "--require", "macro_f1 >= .5",
        "--class-proportions", "sac=.3,trouser=.7", "--exhaustive", "--no-prior", "--delta", ".1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (state,) = zoo.datasets.values()
    assert state["slice_columns"] == {"camera": ["B", "A"], "blur": ["yes"]}
    start = zoo.starts[-1]
    assert list(start.requirements) == ["accuracy[camera=B] >= .8", "macro_f1 >= .5"]
    assert list(start.class_proportions) == pytest.approx([0, 0.7, 0.3])
    assert list(start.costs) == [0, 6, 5, 4, 0, 3, 2, 1, 0]
    assert start.evaluation == selection_pb2.EVALUATION_EXHAUSTIVE
    assert start.without_prior
    assert (start.objective, start.alpha, start.delta) == ("cost", 0.05, 0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--race", "--fast"), 2, "--race and --fast exclude each other"),
        (("--objective", "cost"), 3, "the objective cost needs a table of costs"),
        (("--slices", "camera"), 3, "has no column 'camera'"),
        (("--class-proportions", "bag=.5"), 3, "sum to 0.5, not to 1"),
        (("--class-proportions", "bag=much"), 3, "'much', no number"),
        (("--alpha", "2"), 3, "alpha must lie between 0 and 1, not 2"),
        (("--delta", "2"), 3, "delta must lie between 0 and 1, not 2"),
        (("--objective", ""), 3, "objective is empty"),
        (("--family", "\udcff"), 3, "--family: '\\udcff' is not UTF-8 text"),
        (("--require", "\udcff"), 3, "--require: '\\udcff' is not UTF-8 text"),
        (("--label-map", ""), 3, "--label-map is empty"),
        (("--data", ""), 3, "--data is empty"),
    ],
)
def test_cli_select_refuses_before_it_sends(
    zoo: FakeZoo, address: str, data: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run_zoo("select", "--data", str(data), *arguments, "--server", address, home=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert zoo.datasets == {}


def test_cli_select_says_what_has_no_effect(zoo: FakeZoo, address: str, data: Path, tmp_path: Path) -> None:
    def select(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_zoo("select", *map(str, arguments), "--server", address, home=tmp_path)

    told = "every image has a label, so --class-proportions changes nothing"
    assert told in select("--data", data, "--class-proportions", "uniform").stderr
    (data / "stray.png").write_bytes(PNG)
    assert told not in select("--data", data, "--class-proportions", "uniform").stderr
    sent = len(zoo.starts)
    refused = select("--data", data / "Bag", "--no-prior")
    assert refused.returncode == 3
    assert "ranking without labels rests on the stored stress tests" in refused.stderr
    assert len(zoo.starts) == sent
    assert select("--data", data, "--objective", "top_k").returncode == 0
    assert zoo.starts[-1].objective == "top_k:5"


def test_arguments_of_any_type_are_one_clear_error(client: Client, zoo: FakeZoo, data: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"alpha": "x"}, {"alpha": None}, {"delta": [1]}, {"objective": None}, {"objective": ""}, {"requirements": 5},
        {"requirements": [5]}, {"class_proportions": 5}, {"class_proportions": [0.1] * 10}, {"costs": 5},
        {"costs": 5, "objective": "cost"}, {"slices": 5}, {"slices": [5]}, {"family": 5}, {"family": ""}, {"group": 5},
        {"label_map": 5}, {"evaluation": 5}, {"request_id": 5}, {"family": "\udcff"},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(RequestError):
            client.select(data, **arguments)
    for source in ("", 5, None, [5], [("", None)]):
        with pytest.raises(ZooError):
            client.select(source)  # type: ignore[arg-type]
    for call in (client.family, client.variants, client.variant, client.profile, client.download):
        with pytest.raises(RequestError):
            call(5)  # type: ignore[operator]
    with pytest.raises(RequestError):
        client.delete_dataset(5)  # type: ignore[arg-type]
    with pytest.raises(RequestError):
        Client(timeout="x")  # type: ignore[arg-type]
    assert zoo.datasets == {}


def test_ctrl_c_cancels_and_keeps_the_upload(zoo: FakeZoo, address: str, data: Path, tmp_path: Path) -> None:
    zoo.hang = True
    environment = {**os.environ, "SEEDZOO_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "seedzoo_client", "select", "--data", str(data), "--server", address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running_zoo:
        assert zoo.watching.wait(30)
        running_zoo.send_signal(signal.SIGINT)
        _, errors = running_zoo.communicate(timeout=30)
    assert running_zoo.returncode == 130, errors
    assert "error: stopped; what is uploaded stays on the server" in errors
    assert "Run the same command again" in errors
    assert "Traceback" not in errors
    (dataset_id,) = zoo.datasets
    assert f"your images stay on the server until: zoo forget {dataset_id}" in errors
    assert zoo.cancelled.is_set()
    zoo.hang = False
    sent = len(zoo.uploaded)
    assert run_zoo("select", "--data", str(data), "--server", address, home=tmp_path).returncode == 0
    assert len(zoo.uploaded) == sent


def test_cli_pages(zoo: FakeZoo, address: str, tmp_path: Path) -> None:
    outputs = {
        name: run_zoo(*arguments, "--server", address, home=tmp_path)
        for name, arguments in {
            "families": ("families",),
            "variants": ("variants", "toy", "--order-by", "accuracy[contrast-4] desc", "--limit", "2"),
            "family": ("show", "toy"),
            "variant": ("show", "toy/s001"),
            "compare": ("compare", "toy/s001", "toy/s002"),
        }.items()
    }
    for name, done in outputs.items():
        assert done.returncode == 0, (name, done.stderr)
    assert "90.6 %" in outputs["families"].stdout
    assert len(outputs["variants"].stdout.splitlines()) == 3
    assert "contrast-4" in outputs["variants"].stdout
    assert "7 of 9 trained variants are published" in outputs["family"].stdout
    assert "+0.12 (-0.17 to +0.39)" in outputs["family"].stdout
    assert "-13.0" in outputs["variant"].stdout
    assert "toy/s002 on 1" in outputs["compare"].stdout
    same = run_zoo("compare", "toy/s001", "toy/s001", "--server", address, home=tmp_path)
    assert same.returncode == 3
    assert "the same model" in same.stderr
    missing = run_zoo("show", "toy/s999", "--json", "--server", address, home=tmp_path)
    assert missing.returncode == 4
    assert json.loads(missing.stdout)["error"]["reason"] == "NOT_FOUND"
