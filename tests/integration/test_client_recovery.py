"""A server that goes away and comes back, and what a user is told when a call fails for good."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from client_fake_zoo import CHUNK, PNG, FakeZoo, running

from seedzoo.errors import DataError, ItemsError, NotFound, Unavailable
from seedzoo_client import Client, Progress, Stage
from seedzoo_protos.v1 import selection_pb2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for index, name in enumerate(("Trouser", "Bag", "Bag")):
        (tmp_path / "mydata" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "mydata" / name / f"{index}.png").write_bytes(PNG + bytes([index]) * 100)
    return tmp_path / "mydata"


def start_zoo(*arguments: str, home: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "SEEDZOO_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "seedzoo_client", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def failure() -> selection_pb2.SelectionError:
    return selection_pb2.SelectionError(
        reason="ITEMS_INVALID",
        message="1 of 3 images cannot be used",
        items=[selection_pb2.ItemFault(index=0, message="empty")],
    )


def test_select_survives_a_restart_of_the_server(zoo: FakeZoo, data: Path, tmp_path: Path) -> None:
    zoo.hang = True
    with ExitStack() as first, ExitStack() as second:
        address = first.enter_context(running(zoo))
        started = second.enter_context(start_zoo("select", "--data", str(data), "--server", address, home=tmp_path))
        assert zoo.watching.wait(30)
        first.close()
        # The port is closed now; the command says so before anything answers again.
        assert started.stderr is not None
        said = started.stderr.readline()
        while said and "trying again" not in said:
            said = started.stderr.readline()
        assert said == "connection lost, trying again\n"
        zoo.hang = False
        second.enter_context(running(zoo, address=address))
        out, errors = started.communicate(timeout=60)
    assert started.returncode == 0, errors
    assert "Use toy/s000" in out
    assert len(zoo.starts) == 1, "the selection that was under way is followed, not started again"
    assert "trying again" not in errors, "it is said once"


def test_an_upload_survives_a_restart_of_the_server(zoo: FakeZoo, data: Path, tmp_path: Path) -> None:
    seen: list[Stage] = []
    with ExitStack() as first, ExitStack() as second:
        address = first.enter_context(running(zoo))

        def restart(progress: Progress) -> None:
            if progress.stage is Stage.UPLOADING and Stage.UPLOADING not in seen:
                first.close()
            elif progress.stage is Stage.RECONNECTING and Stage.RECONNECTING not in seen:
                zoo.swallow_uploads = False
                second.enter_context(running(zoo, address=address))
            seen.append(progress.stage)

        with Client(address, home=tmp_path, offline=False) as client:
            # Nothing arrives before the restart, however fast the client is.
            zoo.swallow_uploads = True
            uploaded = client.upload(data, progress=restart)
    assert Stage.RECONNECTING in seen
    assert len(zoo.datasets[uploaded.id]["bytes"]) == 3


def test_the_store_behind_the_server_fails_for_a_while(zoo: FakeZoo, client: Client, data: Path) -> None:
    zoo.store_trouble = True
    zoo.break_uploads = zoo.break_watches = zoo.break_downloads = 1
    zoo.break_downloads_after = CHUNK
    assert client.select(data).recommended == "toy/s000"
    assert (zoo.uploads, zoo.watches) == (2, 2)
    assert client.download("toy/s000").read_bytes() == zoo.model
    assert zoo.offsets == [0, CHUNK]


def test_a_store_that_stays_away_is_named(zoo: FakeZoo, client: Client, data: Path) -> None:
    zoo.store_trouble = True
    zoo.break_downloads, zoo.break_downloads_after = 1_000_000, 0
    with pytest.raises(Unavailable, match=r"broke off at 0 of .*: the store does not answer"):
        client.download("toy/s000")


def test_the_dataset_is_known_after_a_failure(zoo: FakeZoo, client: Client, data: Path) -> None:
    assert client.last_dataset_id is None
    zoo.failure = failure()
    with pytest.raises(ItemsError):
        client.select(data)
    assert client.last_dataset_id is not None
    assert list(zoo.datasets) == [client.last_dataset_id]
    client.delete_dataset(client.last_dataset_id)
    assert zoo.datasets == {}
    with pytest.raises(DataError):
        client.select(data / "nothing")
    assert client.last_dataset_id is None, "of the latest call, and that one sent nothing"
    with pytest.raises(NotFound):
        client.select(data, family="nope")
    assert client.last_dataset_id is None


def test_the_dataset_is_known_before_it_is_sent(zoo: FakeZoo, client: Client, data: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage is Stage.UPLOADING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.upload(data, progress=stop)
    assert list(zoo.datasets) == [client.last_dataset_id]


@pytest.mark.parametrize("how", ["selection", "upload"])
def test_a_failed_select_says_what_to_forget(zoo: FakeZoo, address: str, data: Path, tmp_path: Path, how: str) -> None:
    if how == "selection":
        zoo.failure = failure()
    else:
        zoo.swallow_uploads = True
    with start_zoo("select", "--data", str(data), "--server", address, "--json", home=tmp_path) as failed:
        out, errors = failed.communicate(timeout=60)
    assert failed.returncode == (3 if how == "selection" else 9)
    (dataset_id,) = zoo.datasets
    error = json.loads(out)["error"]
    assert error["dataset_id"] == dataset_id
    assert error["reason"] == ("ITEMS_INVALID" if how == "selection" else "UNAVAILABLE")
    assert errors.count(f"your images stay on the server until: zoo forget {dataset_id}") == 1


def test_before_anything_is_sent_there_is_nothing_to_forget(address: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "submarine").mkdir(parents=True)
    (tmp_path / "data" / "submarine" / "1.png").write_bytes(PNG)
    with start_zoo("select", "--data", str(tmp_path / "data"), "--server", address, "--json", home=tmp_path) as failed:
        out, errors = failed.communicate(timeout=60)
    assert failed.returncode == 3
    assert "dataset_id" not in json.loads(out)["error"]
    assert "forget" not in errors
