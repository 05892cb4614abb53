"""`zoo build` for real: two small variants on a small subset, killed, stopped, resumed, exported and certified."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.publish import publish
from seedzoo.errors import DataError, RecipeError, ZooError
from seedzoo.records import Preprocessing, Task
from seedzoo.stress import read_profile
from seedzoo.stress.signature_table import read_signature_table
from seedzoo.training.data import load_data
from seedzoo.training.recipe import Recipe, parse_recipe
from seedzoo.training.seeds import STREAMS

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="needs the [train] extra")

SUBSET = Path(__file__).resolve().parents[1] / "data" / "fashion-subset"
RECIPE = f"""
[family]
name = "tiny"
train = 2
publish = 2
[data]
source = "idx"
path = "{SUBSET}"
reserve_test = 100
[model]
architecture = "seedzoo_cnn_small"
kwargs = {{ in_chans = 1, num_classes = 10, drop_rate = 0.2 }}
[training]
epochs = 1
batch_size = 64
lr = 0.004
[seeds]
root = 3
vary = ["init", "order", "dropout"]
[certificate]
margin = 0.3
"""


def zoo(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "seedzoo_client", *map(str, arguments)]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def build_in_process(recipe_file: Path, out: Path) -> dict[str, str]:
    changed = ("--set", "export.int8=true", "--set", "export.calibration=64")
    done = subprocess.run(
        zoo("build", recipe_file, "--out", out, *changed, "--json"), capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    files: dict[str, str] = json.loads(done.stdout)["files"]
    return files


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The bundle of an undisturbed build and its models' digests."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "tiny.toml").write_text(RECIPE)
    return folder / "bundle", build_in_process(folder / "tiny.toml", folder)


def test_built_family_is_whole(built: tuple[Path, dict[str, str]]) -> None:
    assert len(set(built[1].values())) == 2
    bundle = open_bundle(built[0])
    family = bundle.family
    assert family.certificate.trained == 2
    assert family.data.held_out_examples == 500
    profile = read_profile(bundle.folder / "profile.parquet")
    assert {row.n for row in profile.rows} == {500}
    assert len({row.condition for row in profile.rows}) >= 30
    table = read_signature_table((bundle.folder / "signatures.npz").read_bytes(), where="signatures.npz")
    assert table.variants == tuple(variant.tag for variant in family.variants)
    assert table.conditions == tuple(dict.fromkeys(row.condition for row in profile.rows))
    assert table.n == 500
    assert {row.variant for row in profile.rows} == {"s000", "s001", "s000.int8", "s001.int8"}
    assert {variant.int8.path for variant in family.variants} == {"models/s000.int8.onnx", "models/s001.int8.onnx"}
    assert "int8 = true" in (bundle.folder / "recipe.toml").read_text()
    assert "int8" in (bundle.folder / "cards" / "s000.md").read_text()
    assert (bundle.folder / "cards" / "README.md").read_text().startswith("---")
    store = MemoryStore()
    publish(store, bundle.folder)
    assert Catalog(store).family(FamilyRef("tiny"))[0] == family

    data = load_data(parse_recipe(RECIPE).data)
    for variant in family.variants:
        raw = (bundle.folder / variant.model.path).read_bytes()
        assert len(raw) <= 400_000
        proto = onnx.load_from_string(raw)
        notes = {item.key: item.value for item in proto.metadata_props}
        assert notes["seedzoo.tag"] == variant.tag
        assert json.loads(notes["seedzoo.seeds"]) == variant.seeds
        assert json.loads(notes["seedzoo.classes"]) == list(family.task.classes)
        assert json.loads(notes["seedzoo.preprocessing"])["layout"] == "NHWC"
        assert str(built[0].parent).encode() not in raw  # nothing of the machine that made it
        assert b"site-packages" not in raw
        session = onnxruntime.InferenceSession(raw)
        for batch in (1, 7, 500):
            logits = session.run(None, {"images": data.test.read(range(batch))})[0]
            assert logits.shape == (batch, 10)
        held_out = (logits.argmax(1) == data.test.labels).mean()
        assert held_out == pytest.approx(variant.held_out_accuracy)
        assert held_out > 0.5
    by_tag = {row.variant: row.accuracy for row in profile.rows if row.condition == "id"}
    own = {variant.tag: variant.held_out_accuracy for variant in family.variants}
    assert {tag: accuracy for tag, accuracy in by_tag.items() if tag in own} == pytest.approx(own)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def members(group: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for left-over processes in /proc")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_stopped_build_resumes(
    recipe_file: Path, tmp_path: Path, built: tuple[Path, dict[str, str]], signal_number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        zoo("build", recipe_file, "--out", out, "--workers", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    result = out / "variants" / "s000" / "result.json"
    wait_for(result, process)
    os.kill(process.pid, signal_number)
    _, said = process.communicate(timeout=60)
    if signal_number is signal.SIGINT:
        assert process.returncode == 130
        assert "finished variants and blocks of images are kept" in said
        assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while members(process.pid):
        assert time.monotonic() < deadline, "training goes on for nobody"
        time.sleep(0.1)
    assert not (out / "bundle").exists()
    before = result.stat().st_mtime_ns
    resumed = build_in_process(recipe_file, out)
    assert result.stat().st_mtime_ns == before  # not trained again
    assert resumed == built[1]  # the same recipe gives the same bits, whatever happened on the way


def trained_weights(recipe: Recipe, tag: str) -> dict[str, np.ndarray]:
    from seedzoo.training.trainer import train_variant

    data = load_data(replace(recipe.data, train_limit=256))
    model = train_variant(recipe, data, recipe.variant_seeds(tag))
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_each_stream_alone_makes_a_different_variant_and_none_makes_the_same() -> None:
    recipe = parse_recipe(RECIPE)
    augmented = replace(
        recipe,
        seeds=replace(recipe.seeds, vary=STREAMS),
        training=replace(recipe.training, augment=replace(recipe.training.augment, flip=0.5, shift=2)),
    )
    base = augmented.variant_seeds("s000")
    other = augmented.variant_seeds("s001")
    from seedzoo.training.trainer import train_variant

    data = load_data(replace(recipe.data, train_limit=256))

    def weights(seeds: dict[str, int]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in train_variant(augmented, data, seeds).state_dict().items()}

    reference = weights(base)
    assert same(reference, weights(base))
    for stream in STREAMS:
        assert not same(reference, weights({**base, stream: other[stream]})), stream


def test_exported_model_that_differs_is_refused() -> None:
    import torch

    from seedzoo.training.export import check_parity, export_onnx
    from seedzoo.training.trainer import train_variant

    recipe = parse_recipe(RECIPE)
    data = load_data(replace(recipe.data, train_limit=128))
    model = train_variant(recipe, data, recipe.variant_seeds("s000"))
    task = Task(name="t", classes=data.classes, preprocessing=Preprocessing(28, 28, 1))
    raw = export_onnx(model, task=task, family="tiny", tag="s000", seeds={})
    assert check_parity(model, raw, data.test.read(range(64))) <= 1e-4
    with torch.no_grad():
        next(model[1].head.parameters()).add_(0.01)
    with pytest.raises(ZooError, match="differs from the trained one"):
        check_parity(model, raw, data.test.read(range(64)))


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("seedzoo_cnn_small", "seedzoo_cnn_smal", RecipeError, "not known to timm"),
        ("num_classes = 10", "num_classes = 9", RecipeError, "have 10 classes"),
        ("in_chans = 1", "in_chans = 3", RecipeError, "does not take images"),
        ("in_chans = 1", "in_chanz = 1", RecipeError, "do not fit"),
        ("lr = 0.004", 'lr = 0.004\noptimizer = "adamsky"', RecipeError, "not known to timm"),
        ("batch_size = 64", "batch_size = 5000", RecipeError, "more than the 256"),
        ("lr = 0.004", "lr = 1e30", ZooError, "training diverged: after 1 of 1 epochs"),
    ],
)
def test_recipes_that_cannot_train_say_why(old: str, new: str, error: type[ZooError], says: str) -> None:
    with pytest.raises(error, match=says):
        trained_weights(parse_recipe(RECIPE.replace(old, new)), "s000")


def test_too_few_equally_accurate_variants_publish_nothing(recipe_file: Path, tmp_path: Path) -> None:
    from seedzoo.training.build import build

    recipe_file.write_text(RECIPE.replace("margin = 0.3", "margin = 0.001"))
    with pytest.raises(DataError, match="equally accurate"):
        build(recipe_file, tmp_path / "out")
    assert not (tmp_path / "out" / "bundle").exists()
    assert (tmp_path / "out" / "variants" / "s001" / "result.json").exists()
