"""Networks, checkpoints, optimisers, schedules and snapshots: what they start from, and one clear error each."""

# ruff: noqa: E402  (no import of torch where it is not installed)

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")
pytestmark = pytest.mark.train

import torch
from torch import nn

from seedzoo.errors import IntegrityError, RecipeError
from seedzoo.training.models import create_model
from seedzoo.training.network import (
    head_names,
    initial_network,
    located_checkpoints,
    train_mode,
    weights_bytes,
)
from seedzoo.training.optimisation import make_optimizer, make_schedule, pick_device
from seedzoo.training.recipe import ModelSection, TrainingSection, parse_recipe
from seedzoo.training.snapshots import decode_state, encode_state
from seedzoo.training.trainer import check_trainable

SMALL = ModelSection(architecture="seedzoo_cnn_small")
TRAINING = TrainingSection(epochs=2, batch_size=4, lr=0.1)


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return dict(network.state_dict())


def differing(first: nn.Module, second: nn.Module) -> set[str]:
    return {name for name, value in state(first).items() if not torch.equal(value, state(second)[name])}


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("seedzoo_cnn_small", {"head.weight", "head.bias"}),
        ("test_resnet", {"fc.weight", "fc.bias"}),
        ("test_vit", {"head.weight", "head.bias"}),
        ("test_nfnet", {"head.fc.weight", "head.fc.bias"}),
    ],
)
def test_the_head_alone_follows_its_own_stream(architecture: str, head: set[str]) -> None:
    section = ModelSection(architecture=architecture)
    base = initial_network(section, {"init": 1, "head_init": 2})
    assert set(head_names(base)) == head
    assert differing(base, initial_network(section, {"init": 1, "head_init": 2})) == set()
    changed = differing(base, initial_network(section, {"init": 1, "head_init": 3}))
    assert changed
    assert changed <= head
    assert differing(base, initial_network(section, {"init": 9, "head_init": 2})).isdisjoint(head)
    assert differing(base, initial_network(section, {"init": 1})) <= head  # the backbone's draws do not move


def test_a_model_without_head_has_no_stream_for_it() -> None:
    with pytest.raises(RecipeError, match="no head of its own"):
        initial_network(
            ModelSection(architecture="test_resnet", kwargs={"num_classes": 0}), {"init": 1, "head_init": 2}
        )


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_checkpoint_gives_all_but_the_head(ending: str, tmp_path: Path) -> None:
    trained = initial_network(SMALL, {"init": 1})
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state(trained).items()}}, path)
    else:
        path.write_bytes(weights_bytes(nn.Sequential(nn.Identity(), trained)))
    section = replace(SMALL, kwargs={"num_classes": 3})
    first = initial_network(section, {"init": 5, "head_init": 6}, checkpoint=path)
    second = initial_network(section, {"init": 5, "head_init": 7}, checkpoint=path)
    assert all(torch.equal(value, state(trained)[name]) for name, value in state(first).items() if "head" not in name)
    assert differing(first, second) == {"head.weight", "head.bias"}


def test_a_frozen_backbone_trains_the_head_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights_bytes(initial_network(SMALL, {"init": 1})))
    network = initial_network(replace(SMALL, freeze_backbone=True), {"init": 5, "head_init": 6}, checkpoint=path)
    before = {name: value.clone() for name, value in state(network).items()}
    train_mode(network)
    optimizer = make_optimizer(network, replace(TRAINING, weight_decay=0.1))
    network(torch.ones(4, 1, 28, 28)).square().sum().backward()
    optimizer.step()
    moved = {name for name, value in state(network).items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"

    def refused(says: str) -> None:
        with pytest.raises(RecipeError) as caught:
            initial_network(SMALL, {"init": 1, "head_init": 2}, checkpoint=path)
        assert says in caught.value.message
        assert str(path) in caught.value.message

    refused("no such file")
    path.write_bytes(b"no weights")
    refused("no weights that can be loaded safely")
    path.write_bytes(b"")
    refused("no weights that can be loaded safely")
    torch.save(torch.nn.Linear(1, 1), path)  # a pickled object could run code
    refused("no weights that can be loaded safely")
    torch.save([1, 2], path)
    refused("no weights that can be loaded safely")
    weights = state(initial_network(replace(SMALL, kwargs={"in_chans": 3}), {"init": 1}))
    torch.save(weights, path)
    refused("features.0.weight is [16, 3, 3, 3] and not [16, 1, 3, 3]")
    weights = state(initial_network(SMALL, {"init": 1}))
    weights["other"] = weights.pop("features.0.weight")
    torch.save(weights, path)
    refused("lacks features.0.weight; has other beside it")


def test_checkpoints_are_located_and_checked(tmp_path: Path) -> None:
    text = """
[family]
name = "tuned"
train = 2
publish = 2
[data]
source = "idx"
[model]
architecture = "seedzoo_cnn_small"
checkpoint = "weights.safetensors"
[training]
epochs = 1
batch_size = 4
lr = 0.1
[seeds]
root = 7
vary = ["head_init"]
"""
    recipe = parse_recipe(text)
    assert set(recipe.variant_seeds("s000")) == {"init", "head_init", "order", "augment", "dropout"}
    with pytest.raises(RecipeError, match=r"cannot read checkpoint .*weights\.safetensors"):
        located_checkpoints(recipe, base=tmp_path)
    raw = weights_bytes(initial_network(SMALL, {"init": 1}))
    (tmp_path / "weights.safetensors").write_bytes(raw)
    found = located_checkpoints(recipe, base=tmp_path)
    assert found.variant_checkpoint("s001") == str(tmp_path / "weights.safetensors")
    assert found.model.checkpoint_sha256 == (hashlib.sha256(raw).hexdigest(),)
    check_trainable(found)
    assert located_checkpoints(found, base=Path("/elsewhere")).training_key == found.training_key
    pinned = replace(recipe, model=replace(recipe.model, checkpoint_sha256=("0" * 64,)))
    with pytest.raises(RecipeError, match="not the checkpoint that the recipe means"):
        located_checkpoints(pinned, base=tmp_path)


@pytest.mark.parametrize(
    ("architecture", "kwargs", "says"),
    [
        ("resnet5", {}, "resnet50"),
        ("hf-hub:someone/something", {}, "is not known to timm"),
        ("test_resnet", {"nmu_classes": 3}, "Did you mean num_classes?"),
        ("seedzoo_cnn_small", {"drop_rat": 0.1}, "Did you mean drop_rate?"),
        ("seedzoo_cnn_small", {"num_classes": "ten"}, "model.kwargs do not fit"),
        ("seedzoo_cnn_small", {"drop_rate": 7}, "model.kwargs do not fit"),
    ],
)
def test_architectures_that_do_not_exist_say_which_do(architecture: str, kwargs: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        create_model(architecture, kwargs)
    assert says in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimizer": "adamv"}, "Near names: adam,"),
        ({"optimizer": "adahessian"}, "that no stream decides"),
        ({"optimizer": "fusedadam"}, "cannot be used with fusedadam"),
        ({"optimizer": "sgd", "optimizer_kwargs": {"momentun": 0.9}}, "optimizer_kwargs cannot be used with sgd"),
        ({"optimizer": "adamw", "optimizer_kwargs": {"betas": [2.0, 3.0]}}, "optimizer_kwargs cannot be used"),
        ({"optimizer": "adagrad"}, "onecycle does not go with adagrad"),
        ({"schedule": "cosine", "schedule_kwargs": {"warmup_epoch": 1}}, "Did you mean warmup_epochs?"),
        ({"schedule": "cosine", "schedule_kwargs": {"cycle_limit": 3}}, "6 epochs long"),
        ({"schedule": "wsd", "schedule_kwargs": {"decay_epochs": 9}}, "do not fit wsd"),
    ],
)
def test_optimisers_and_schedules_that_cannot_be_used(settings: dict[str, object], says: str) -> None:
    training = replace(TRAINING, **settings)  # type: ignore[arg-type]
    with pytest.raises(RecipeError) as caught:
        make_schedule(make_optimizer(create_model("seedzoo_cnn_small", {}), training), training, steps=2)
    assert says in f"{caught.value.message} {caught.value.hint}"


def rates(training: TrainingSection, steps: int) -> list[float]:
    network = nn.Linear(1, 1)
    optimizer = make_optimizer(network, training)
    schedule = make_schedule(optimizer, training, steps)
    found = []
    for epoch in range(training.epochs):
        for step in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.after_step(epoch * steps + step + 1)
        schedule.after_epoch(epoch + 1)
    return found


def test_schedules_by_hand() -> None:
    sgd = replace(TRAINING, optimizer="sgd", epochs=3)
    assert rates(replace(sgd, schedule="constant"), 2) == [0.1] * 6
    warm = replace(sgd, schedule="step", schedule_kwargs={"decay_epochs": 1, "warmup_epochs": 1, "warmup_lr": 0.02})
    assert rates(warm, 2) == pytest.approx([0.02, 0.06, 0.01, 0.01, 0.001, 0.001])
    by_epoch = replace(sgd, schedule="step", schedule_kwargs={"decay_epochs": 2, "step_on_epochs": True})
    assert rates(by_epoch, 2) == pytest.approx([0.1] * 4 + [0.01] * 2)
    cosine = rates(replace(sgd, schedule="cosine"), 2)
    assert cosine[0] == 0.1
    assert cosine[3] == pytest.approx(0.05)
    assert rates(replace(sgd, epochs=10), 1)[2] == pytest.approx(0.1, rel=0.01)  # onecycle's peak is at 30 %


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("settings", [{"device": "cuda"}, {"precision": "fp16"}])
def test_a_gpu_that_is_not_there_is_said_and_not_worked_around(settings: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="torch finds no"):
        pick_device(replace(TRAINING, **settings))  # type: ignore[arg-type]


def test_snapshots_are_of_one_run_and_execute_nothing() -> None:
    raw = encode_state({"epochs": 1, "x": torch.ones(2)}, key="a")
    found = decode_state(raw, key="a")
    assert found is not None
    assert torch.equal(found["x"], torch.ones(2))
    assert decode_state(raw, key="b") is None
    for broken in (raw[: len(raw) // 2], b"", b"nothing", encode_state({"x": nn.Linear(1, 1)}, key="a")):
        with pytest.raises(IntegrityError, match="snapshot"):
            decode_state(broken, key="a")
