"""Training on a real Ray cluster of this machine: the same bits as local processes, whatever is killed on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration import training_jobs as jobs

from seedzoo.errors import LocalFailure, RecipeError
from seedzoo.executors import Executor, Job, LocalExecutor, Setup, open_executor
from seedzoo.records import Preprocessing, Task
from seedzoo.training.pool import TrainedVariant, train_all

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("ray", reason="needs the [cluster] extra")

ROOT = Path(__file__).resolve().parents[2]
TASK = Task(name="t", classes=tuple("abcdefghij"), preprocessing=Preprocessing(28, 28, 1))


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    from seedzoo.executors.cluster import RayExecutor, import_ray

    with RayExecutor(cpus=2).connected(import_ray()):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedVariant]:
    """What local processes make of the recipe."""
    folder = tmp_path_factory.mktemp("local")
    return train_all(jobs.recipe(), folder=folder, base=jobs.SUBSET.parent, task=TASK, workers=2)


def digests(trained: dict[str, TrainedVariant]) -> dict[str, dict[str, str]]:
    return {tag: variant.digests for tag, variant in trained.items()}


def test_ray_makes_the_same_bits_as_local_processes(tmp_path: Path, trained: dict[str, TrainedVariant]) -> None:
    done: list[str] = []
    on_ray = train_all(
        jobs.recipe(), folder=tmp_path, base=jobs.SUBSET.parent, task=TASK, executor=open_executor("ray"),
        on_done=lambda variant: done.append(variant.tag),
    )  # fmt: skip
    assert digests(on_ray) == digests(trained)
    assert sorted(done) == ["s000", "s001"]
    assert on_ray["s000"].weights_sha256 != on_ray["s001"].weights_sha256
    assert sorted(path.name for path in (tmp_path / "s000").iterdir()) == [
        "model.onnx", "result.json", "weights.safetensors",
    ]  # fmt: skip


def test_workers_of_other_machines_need_no_files_of_this_one(
    tmp_path: Path, trained: dict[str, TrainedVariant], monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedzoo.training.data import load_data

    base, recipe = tmp_path / "recipes", jobs.recipe()
    shutil.copytree(jobs.SUBSET, base / "fashion-subset")
    data = load_data(recipe.data, base=base)
    shutil.rmtree(base)
    executor = open_executor("ray", address="auto")
    assert not executor.shares_files
    said: list[str] = []
    store = tmp_path / "store"
    # One is damaged and one is of another family: neither is taken for what it is not.
    damaged = store / "builds" / recipe.training_key / "s001" / "snapshot"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no snapshot")
    made = train_all(
        recipe, folder=tmp_path / "first", base=base, task=TASK, executor=executor, data=data, checkpoints=str(store),
        on_notice=said.append,
    )  # fmt: skip
    assert digests(made) == digests(trained)
    assert len(said) == 1
    assert "s001/snapshot" in said[0]
    assert not list(store.rglob("snapshot"))

    class Unused:
        """A driver on another machine finds everything in the store."""

    found = train_all(
        recipe, folder=tmp_path / "second", base=base, task=TASK, executor=Unused(),  # type: ignore[arg-type]
        checkpoints=str(store),
    )  # fmt: skip
    assert found == made
    model = store / "builds" / recipe.training_key / "s000" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(AttributeError):  # s000 would be trained again
        train_all(
            recipe, folder=tmp_path / "third", base=base, task=TASK, executor=Unused(),  # type: ignore[arg-type]
            checkpoints=str(store), on_notice=said.append,
        )  # fmt: skip
    assert "s000 is trained again" in said[-1]


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_killed_worker_costs_only_what_came_after_its_snapshot(
    kind: str, tmp_path: Path, trained: dict[str, TrainedVariant]
) -> None:
    executor: Executor = LocalExecutor(cpus=2) if kind == "local" else open_executor("ray")

    def kill() -> None:
        jobs.wait_for(tmp_path / "s000-pid")
        os.kill(int((tmp_path / "s000-pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    work = [Job("s000", jobs.train, ("s000", True)), Job("s001", jobs.train, ("s001", False))]
    with executor.run(work, setup=Setup(jobs.prepare, (tmp_path,))) as results:
        done = {finished.name: finished for finished in results}
    killer.join()
    assert {name: finished.attempts for name, finished in done.items()} == {"s000": 2, "s001": 1}
    assert (tmp_path / "s000-began").exists()
    assert (tmp_path / "s000-resumed").exists()
    from seedzoo.catalog.integrity import sha256_hex

    assert {name: sha256_hex(finished.result) for name, finished in done.items()} == {
        tag: variant.weights_sha256 for tag, variant in trained.items()
    }


def test_faulty_recipe_is_the_error_that_it_is(tmp_path: Path) -> None:
    recipe = jobs.recipe()
    wrong = replace(recipe, model=replace(recipe.model, kwargs={**recipe.model.kwargs, "num_classes": 9}))
    with pytest.raises(RecipeError, match="have 10 classes") as caught:
        train_all(wrong, folder=tmp_path, base=jobs.SUBSET.parent, task=TASK, executor=open_executor("ray"))
    assert caught.value.field == "model.kwargs"
    assert "num_classes = 10" in caught.value.hint


def training_for(folder: str) -> list[int]:
    """Ray's workers that train a variant and have the folder in their environment; Ray names them by their job."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                named = (entry / "cmdline").read_bytes().startswith(b"ray::s0")
                if named and folder.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for left-over processes in /proc")
def test_killed_driver_leaves_nothing_training_and_resumes(tmp_path: Path, trained: dict[str, TrainedVariant]) -> None:
    short = tempfile.mkdtemp(dir="/tmp")  # the names of Ray's sockets must be short
    try:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.training_jobs", tmp_path], cwd=ROOT,
            env={**os.environ, "TMPDIR": short},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (tmp_path / "done-s000").exists():
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.kill()
        driver.wait()
        while training_for(short):
            assert time.monotonic() < deadline, "training goes on for nobody"
            time.sleep(0.1)
    finally:
        shutil.rmtree(short, ignore_errors=True)
    first = (tmp_path / "s000" / "result.json").stat().st_mtime_ns
    again = train_all(
        jobs.recipe(), folder=tmp_path, base=jobs.SUBSET.parent, task=TASK, executor=open_executor("ray")
    )  # fmt: skip
    assert digests(again) == digests(trained)
    assert (tmp_path / "s000" / "result.json").stat().st_mtime_ns == first


def test_folder_that_refuses_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "s000").write_bytes(b"a file where the folder should be")
    with pytest.raises(LocalFailure, match="s000"):
        train_all(jobs.recipe(), folder=tmp_path, base=jobs.SUBSET.parent, task=TASK, executor=open_executor("ray"))
