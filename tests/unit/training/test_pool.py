"""What is kept of finished variants, without training any: whole or not there, in a folder and in a store."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from tests.integration.training_jobs import RECIPE

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import LocalFailure, RequestError
from seedzoo.records import Preprocessing, Task
from seedzoo.training.finished import TrainedVariant, finished_variant, keep_in_folder, keep_in_store, stored_variant
from seedzoo.training.pool import train_all
from seedzoo.training.recipe import parse_recipe

FILES = {"model.onnx": b"a model", "weights.safetensors": b"its weights"}


def variant(tag: str = "s000", key: str = "k") -> TrainedVariant:
    digest = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    return TrainedVariant(
        tag=tag, training_key=key, seeds={"init": 1}, sha256=digest["model.onnx"], size=7, parity=1e-6, seconds=2.5,
        factors={"pretraining": "a"}, weights_sha256=digest["weights.safetensors"],
    )  # fmt: skip


def test_kept_variant_is_found_under_its_key_only(tmp_path: Path) -> None:
    (tmp_path / "s000").mkdir()
    (tmp_path / "s000" / "snapshot").write_bytes(b"of the unfinished run")
    keep_in_folder(tmp_path, variant(), FILES)
    assert finished_variant(tmp_path, "s000", "k") == variant()
    assert finished_variant(tmp_path, "s000", "other") is None
    assert finished_variant(tmp_path, "s001", "k") is None
    assert not (tmp_path / "s000" / "snapshot").exists()


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors", "result.json"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_variant_with_a_damaged_file_is_not_finished(tmp_path: Path, name: str, damage: str) -> None:
    keep_in_folder(tmp_path, variant(), FILES)
    store = MemoryStore()
    keep_in_store(store, variant(), FILES)
    assert stored_variant(store, "s000", "k", on_notice=pytest.fail) == (variant(), FILES)
    said: list[str] = []
    if damage == "changed":
        (tmp_path / "s000" / name).write_bytes(b"{")
        store.put(f"builds/k/s000/{name}", b"{")
    else:
        (tmp_path / "s000" / name).unlink()
        store.delete(f"builds/k/s000/{name}")
    assert finished_variant(tmp_path, "s000", "k") is None
    assert stored_variant(store, "s000", "k", on_notice=said.append) is None
    assert len(said) == (damage == "changed")  # what is not there yet is nothing to tell


def test_store_keeps_each_recipe_apart_and_drops_the_snapshot() -> None:
    store = MemoryStore()
    store.put("builds/k/s000/snapshot", b"of the unfinished run")
    store.put("builds/other/s000/snapshot", b"of another recipe")
    keep_in_store(store, variant(), FILES)
    assert stored_variant(store, "s000", "other", on_notice=pytest.fail) is None
    assert [info.key for info in store.list("")] == [
        "builds/k/s000/model.onnx", "builds/k/s000/result.json", "builds/k/s000/weights.safetensors",
        "builds/other/s000/snapshot",
    ]  # fmt: skip


def test_result_of_the_first_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "s000").mkdir()
    (tmp_path / "s000" / "model.onnx").write_bytes(FILES["model.onnx"])
    (tmp_path / "s000" / "result.json").write_text(
        '{"tag": "s000", "training_key": "k", "seeds": {"init": 1}, "parity": 1e-6, "seconds": 2.5, "size": 7, '
        f'"sha256": "{hashlib.sha256(b"a model").hexdigest()}"}}'
    )
    found = finished_variant(tmp_path, "s000", "k")
    assert found is not None
    assert found.digests == {"model.onnx": variant().sha256}


def test_full_disk_is_one_clear_error_and_nothing_counts_as_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_folder(tmp_path, variant(key="older"), FILES)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # the operating system's answer; no disk is filled
    with pytest.raises(LocalFailure, match="the disk is full") as caught:
        keep_in_folder(tmp_path, variant(), FILES)
    assert caught.value.reason == "DISK_FULL"
    assert finished_variant(tmp_path, "s000", "k") is None
    assert finished_variant(tmp_path, "s000", "older") is None


def test_checkpoints_in_memory_are_refused(tmp_path: Path) -> None:
    task = Task(name="t", classes=("a", "b"), preprocessing=Preprocessing(28, 28, 1))
    with pytest.raises(RequestError, match="would be lost"):
        train_all(parse_recipe(RECIPE), folder=tmp_path, base=tmp_path, task=task, checkpoints="memory://")
