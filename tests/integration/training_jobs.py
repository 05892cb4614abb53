"""What workers of the training tests run; a module of its own, as workers import it by name."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.unit.executors.executor_jobs import note, wait_for

from seedzoo.executors import FolderSnapshots
from seedzoo.training.recipe import Recipe, parse_recipe

SUBSET = Path(__file__).resolve().parents[1] / "data" / "fashion-subset"
RECIPE = """
[family]
name = "tiny"
train = 2
publish = 2
[data]
source = "idx"
path = "fashion-subset"
reserve_test = 100
train_limit = 192
[model]
architecture = "seedzoo_cnn_small"
kwargs = { in_chans = 1, num_classes = 10, drop_rate = 0.2 }
[training]
epochs = 2
batch_size = 64
lr = 0.004
keep_weights = true
[seeds]
root = 3
vary = ["init", "order", "dropout"]
"""


def recipe() -> Recipe:
    return parse_recipe(RECIPE)


class KilledAfterFirst(FolderSnapshots):
    """After its first snapshot, the first attempt says who it is and waits to be killed."""

    def __init__(self, folder: Path, tag: str) -> None:
        super().__init__(folder / tag / "snapshot", key="test")
        self._folder = folder
        self._tag = tag

    def load(self) -> bytes | None:
        found = super().load()
        note(self._folder, f"{self._tag}-{'resumed' if found else 'began'}")
        return found

    def save(self, raw: bytes) -> None:
        super().save(raw)
        marker = f"{self._tag}-pid"
        if not (self._folder / marker).exists():
            note(self._folder, marker, str(os.getpid()))
            wait_for(self._folder / "never")


def prepare(folder: Path) -> Path:
    return folder


def train(folder: Path, tag: str, disturbed: bool) -> bytes:
    from seedzoo.training.data import load_data
    from seedzoo.training.trainer import train_variant, weights_bytes

    wanted = recipe()
    data = load_data(replace(wanted.data, path=str(SUBSET)))
    snapshots = KilledAfterFirst(folder, tag) if disturbed else None
    return weights_bytes(train_variant(wanted, data, wanted.variant_seeds(tag), snapshots=snapshots))


def main(folder: Path) -> None:
    """Trains the tiny family on a Ray cluster of its own; the test kills this process."""
    from seedzoo.executors import open_executor
    from seedzoo.records import Preprocessing, Task
    from seedzoo.training.pool import train_all

    task = Task(name="t", classes=tuple("abcdefghij"), preprocessing=Preprocessing(28, 28, 1))
    train_all(
        recipe(), folder=folder, base=SUBSET.parent, task=task, executor=open_executor("ray", cpus=1),
        on_done=lambda variant: note(folder, f"done-{variant.tag}"),
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
