"""Local mode without an engine run: what is kept and for how long, and what is wrong with the arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support import EXAMPLES, small_bundle

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.publish import publish
from seedzoo.engine.predictions import Conversion, PredictionPart
from seedzoo.errors import LocalFailure, NotFound, RequestError, Unavailable, ZooError
from seedzoo.records import Family, FileEntry, Preprocessing, Task, TrainingData, Variant
from seedzoo_client import LocalZoo
from seedzoo_client.local_kept import KeptFiles
from seedzoo_client.local_predictions import KeptPredictions

MYDATA = EXAMPLES / "mydata"
DIGESTS = [f"{number:064x}" for number in range(6)]


def family(models: Sequence[int] = (1, 2), height: int = 28) -> Family:
    return Family(
        name="mini",
        title="Mini",
        task=Task(name="mini", classes=("a", "b"), preprocessing=Preprocessing(height=height, width=28, channels=1)),
        variants=tuple(
            Variant(
                tag=f"s{number}",
                model=FileEntry(path=f"models/s{number}.onnx", size=1, sha256=f"{number:064x}"),
                seeds={},
                held_out_accuracy=0.9,
            )
            for number in models
        ),
        certificate=None,
        data=TrainingData(name="images", train_examples=1, held_out_examples=1),
    )


def part(rows: Sequence[int], variants: Sequence[int]) -> PredictionPart:
    """Probabilities that tell which image and model they are of, in ``DIGESTS`` and ``family()``."""
    said = [[[10 * row + variant, -1] for variant in variants] for row in rows]
    return PredictionPart(
        rows=np.array(rows, dtype=np.int64),
        variants=np.array(variants, dtype=np.int64),
        probabilities=np.array(said, dtype=np.float32),
        conversions=[Conversion("grey to colour" if row % 2 else "", (row, 1) if row else None) for row in rows],
    )


def store_of(
    kept: KeptFiles, digests: Sequence[str] = DIGESTS, of: Family | None = None, said: list[str] | None = None
) -> KeptPredictions:
    return KeptPredictions(
        kept, of or family(), digests, on_notice=lambda text: None if said is None else said.append(text)
    )


def known(store: KeptPredictions) -> dict[tuple[int, int], tuple[float, Conversion]]:
    """What is said by row and variant, with what was done to the image."""
    return {
        (row, variant): (float(each.probabilities[at, column, 0]), each.conversions[at])
        for each in store.load()
        for at, row in enumerate(each.rows.tolist())
        for column, variant in enumerate(each.variants.tolist())
    }


@pytest.fixture
def kept(tmp_path: Path) -> KeptFiles:
    return KeptFiles(tmp_path / "kept", limit_bytes=1 << 20)


def test_predictions_come_back(kept: KeptFiles) -> None:
    store_of(kept).save([part([4, 0], [1]), part([1], [0, 1])])
    assert known(store_of(kept)) == {
        (4, 1): (41, Conversion("", (4, 1))),
        (0, 1): (1, Conversion("", None)),
        (1, 0): (10, Conversion("grey to colour", (1, 1))),
        (1, 1): (11, Conversion("grey to colour", (1, 1))),
    }


def test_predictions_follow_the_content(kept: KeptFiles) -> None:
    store_of(kept).save([part([0, 1, 2], [0, 1])])
    # Moved, one of them twice, with others between, and one gone.
    moved = store_of(kept, [DIGESTS[5], DIGESTS[2], DIGESTS[0], DIGESTS[4], DIGESTS[2]])
    assert {cell: said for cell, (said, _) in known(moved).items()} == {
        (1, 0): 20, (1, 1): 21, (2, 0): 0, (2, 1): 1, (4, 0): 20, (4, 1): 21,
    }  # fmt: skip
    assert known(store_of(kept, DIGESTS[3:])) == {}


def test_predictions_follow_the_model(kept: KeptFiles) -> None:
    store_of(kept).save([part([3], [0, 1])])
    other = store_of(kept, of=family(models=(7, 2, 8)))
    assert {cell: said for cell, (said, _) in known(other).items()} == {(3, 1): 31}
    assert known(store_of(kept, of=family(models=(7, 8)))) == {}


def test_another_preparation_is_another_prediction(kept: KeptFiles) -> None:
    store_of(kept).save([part([3], [0])])
    assert known(store_of(kept, of=family(height=32))) == {}
    three = replace(family(), task=replace(family().task, classes=("a", "b", "c")))
    assert known(store_of(kept, of=three)) == {}


@pytest.mark.parametrize("damage", ["flipped", "cut", "nothing", "foreign"])
def test_damaged_files_go(kept: KeptFiles, damage: str) -> None:
    store_of(kept).save([part([0, 1, 2], [0, 1])])
    (path,) = kept.paths()
    raw = bytearray(path.read_bytes())
    at = raw.index(part([0, 1, 2], [0, 1]).probabilities.tobytes())
    raw[at + 5] ^= 1
    path.write_bytes({"flipped": raw, "cut": raw[: len(raw) // 2], "nothing": b"", "foreign": b"x" * 5000}[damage])
    assert known(store_of(kept)) == {}
    assert kept.paths() == []
    store_of(kept).save([part([0], [0])])
    assert len(known(store_of(kept))) == 1


def test_what_was_not_used_goes_first(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "kept", limit_bytes=2500)
    for age, name in enumerate(("first", "second")):
        kept.put(name, bytes(1000))
        os.utime(kept.path(name), (1000 + age, 1000 + age))
    kept.used(kept.path("first"))
    kept.put("third", bytes(1000))
    assert [path.name for path in kept.paths()] == ["first", "third"]
    kept.put("large", bytes(5000))
    assert kept.paths() == []  # it would be the only one, and too large even so
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


def test_what_is_used_stays(tmp_path: Path) -> None:
    probe = KeptFiles(tmp_path / "probe", limit_bytes=1 << 20)
    store_of(probe).save([part([0], [0])])
    kept = KeptFiles(tmp_path / "kept", limit_bytes=int(2.5 * probe.paths()[0].stat().st_size))
    for row in (0, 1):
        store_of(kept).save([part([row], [0])])
        for path in kept.paths():
            os.utime(path, (1000 + row, 1000 + row))
    first = next(path for path in kept.paths() if known(store_of(kept, [DIGESTS[0]])) and path.stat().st_mtime > 2000)
    store_of(kept).save([part([2], [0])])
    assert first in kept.paths()
    assert {row for row, _ in known(store_of(kept))} == {0, 2}


def test_a_disk_that_refuses_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("in the way")
    said: list[str] = []
    store = store_of(KeptFiles(tmp_path / "kept", limit_bytes=1 << 20), said=said)
    assert list(store.load()) == []
    store.save([part([0], [0])])
    store.save([part([1], [0])])
    assert len(said) == 1
    assert "predictions are not kept" in said[0]
    with pytest.raises(LocalFailure):
        KeptFiles(tmp_path / "kept", limit_bytes=1).put("name", b"")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"store": ""}, "store"),
        ({"store": 3}, "store"),
        ({"store": "x", "executor": "local"}, "executor"),
        ({"store": "x", "address": "ray://x:1"}, "address"),
    ],
)
def test_arguments(arguments: dict[str, str], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        LocalZoo(**arguments)
    assert caught.value.field == field


def fault(store: str | Path, tmp_path: Path, **options: bool) -> ZooError:
    with LocalZoo(store, home=tmp_path / "home", **options) as zoo, pytest.raises(ZooError) as caught:
        zoo.select(MYDATA)
    return caught.value


def test_stores_that_are_none(tmp_path: Path) -> None:
    missing = fault(tmp_path / "nothing", tmp_path)
    assert isinstance(missing, NotFound)
    assert str(tmp_path / "nothing") in missing.message
    bundle = small_bundle(tmp_path / "bundle")
    assert "zoo publish" in fault(bundle, tmp_path).hint
    (tmp_path / "empty").mkdir()
    assert (
        f"the store {(tmp_path / 'empty').as_uri()} offers no families" in fault(tmp_path / "empty", tmp_path).message
    )
    far = fault("s3://bucket/prefix", tmp_path, offline=True)
    assert isinstance(far, Unavailable)
    assert far.reason == "OFFLINE"
    assert fault("gs://bucket", tmp_path).reason == "STORE_URL_INVALID"


def zoo_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = {sys.path!r}; from seedzoo_client.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("select", "--data", MYDATA, "--store", "x", "--server", "y:1"), "give one of them"),
        (("download", "mini/s000", "--store", "x", "--server", "y:1"), "give one of them"),
        (("select", "--data", MYDATA, "--executor", "threads"), "--executor goes with --store"),
        (("select", "--data", MYDATA, "--address", "auto"), "--address goes with --store"),
    ],
)
def test_options_that_exclude_each_other(arguments: tuple[object, ...], said: str) -> None:
    done = zoo_command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("error: ") == 1


@pytest.mark.parametrize("package", ["onnxruntime", "scipy"])
def test_without_the_extra(tmp_path: Path, package: str) -> None:
    publish(LocalStore(tmp_path / "store"), small_bundle(tmp_path / "bundle", variants=2))
    # As in a base install: the import fails.
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
sys.modules[{package!r}] = None
from seedzoo_client.cli import main
main(["select", "--data", {str(MYDATA)!r}, "--store", {str(tmp_path / "store")!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 10, done.stderr
    errors = done.stderr.splitlines()
    assert errors == [
        f"error: working without a server needs the package {package}, which is not installed",
        "hint: pip install 'seedzoo[local]'",
    ]
