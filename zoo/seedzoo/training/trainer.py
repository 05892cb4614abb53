"""Train one variant: every random draw from a named stream, resumable after each epoch."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seedzoo.errors import RecipeError, ZooError
from seedzoo.records import Preprocessing
from seedzoo.training.augmentation import batch_mixup, drawn_from, image_transform
from seedzoo.training.data import ImageData
from seedzoo.training.feed import Feed, make_feed
from seedzoo.training.messages import first_line
from seedzoo.training.network import initial_network, train_mode, weights_bytes
from seedzoo.training.normalisation import Normalisation, normalisation_of
from seedzoo.training.optimisation import (
    Schedule,
    autocast,
    make_optimizer,
    make_schedule,
    pick_device,
)
from seedzoo.training.recipe import Recipe, TrainingSection
from seedzoo.training.snapshots import Snapshots, decode_state, encode_state

__all__ = ["Normalisation", "Snapshots", "check_trainable", "normalisation_of", "train_variant", "weights_bytes"]

_MIXUP = 1
"""Marks the draws for a whole batch, which images of the same epoch and number do not share."""


def check_trainable(recipe: Recipe, *, base: Path = Path()) -> None:
    """Construct everything that does not need the data, so that what cannot work is known before they are fetched.

    Args:
        recipe: What is to be trained.
        base: Folder that relative checkpoint paths start at.

    Raises:
        RecipeError: Architecture, arguments, checkpoint, optimiser, schedule, augmentation or device cannot be used.
    """
    training = recipe.training
    pick_device(training)
    for name in dict.fromkeys(recipe.model.checkpoint_files or ("",)):
        with torch.random.fork_rng(devices=[]):
            network = initial_network(
                recipe.model, recipe.variant_seeds(recipe.tags[0]), checkpoint=base / name if name else None
            )
    make_schedule(make_optimizer(network, training), training, steps=2)
    if training.augment.uses_timm:
        channels = len(training.mean) or int(recipe.model.kwargs.get("in_chans", recipe.data.channels))
        shape = Preprocessing(height=32, width=32, channels=channels)
        mean, std = training.mean or (0.5,) * shape.channels, training.std or (0.25,) * shape.channels
        image_transform(training.augment, shape, mean=mean, std=std)


def train_variant(
    recipe: Recipe,
    data: ImageData,
    seeds: dict[str, int],
    *,
    checkpoint: Path | None = None,
    snapshots: Snapshots | None = None,
) -> nn.Module:
    """Train one variant from its seeds.

    The global generator serves initialisation and then dropout, each freshly seeded; example order and augmentation
    have generators of their own. So changing one seed changes only what that stream decides. On a CPU the same seeds
    give the same bits, resumed or not; on a GPU some operations add in no fixed order.

    Args:
        recipe: What to train.
        data: What to train on.
        seeds: Of every stream (``Recipe.variant_seeds``).
        checkpoint: File of the weights to start from, for all but the head.
        snapshots: Where the state after each epoch is kept; a state found there is continued.

    Returns:
        The model on the CPU in evaluation mode: uint8-valued ``[batch, H, W, C]`` in, logits ``[batch, classes]`` out.

    Raises:
        RecipeError: Recipe and data do not fit each other, or this machine.
        DataError: An image cannot be read.
        ZooError: Weights are no finite numbers any more (``TRAINING_DIVERGED``).
        IntegrityError: The snapshot is damaged.
    """
    training = recipe.training
    device = pick_device(training)
    torch.set_num_threads(1)
    _make_deterministic(device)
    network = initial_network(recipe.model, seeds, checkpoint=checkpoint)
    normalisation = normalisation_of(data, training)
    model = nn.Sequential(normalisation, network)
    _check_output(model, data)
    feed = make_feed(training, data, seeds, normalisation, pin=device.type == "cuda")
    steps = len(data.train.labels) // training.batch_size
    model.to(device)
    if training.channels_last:
        _lay_out(network, torch.channels_last)
    optimizer = make_optimizer(network, training)
    run = _Run(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, training, steps),
        scaler=torch.amp.GradScaler(device.type, enabled=training.precision == "fp16"),
        feed=feed,
        device=device,
    )
    model.train()
    train_mode(network)
    torch.manual_seed(seeds["dropout"])
    key = _run_key(recipe, seeds)
    done = 0
    if snapshots is not None and (raw := snapshots.load()) is not None:
        done = run.restore(decode_state(raw, key=key))
    forward: nn.Module = model
    if training.compile:
        forward = _compiled(
            model, torch.zeros(2, *data.train.read([0]).shape[1:], dtype=torch.uint8).to(device), training
        )
    labels = torch.from_numpy(data.train.labels).to(device)
    for epoch in range(done, training.epochs):
        _train_epoch(run, forward, recipe, labels, epoch, steps, seeds["augment"], len(data.classes))
        _check_finite(network, epoch + 1, training)
        if snapshots is not None:
            snapshots.save(encode_state(run.state(epoch + 1), key=key))
    _lay_out(model.to("cpu"), torch.contiguous_format)
    for parameter in model.parameters():
        parameter.requires_grad = True  # frozen is a matter of training, not of the model
    return model.eval()


@dataclass(frozen=True)
class _Run:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    feed: Feed
    device: torch.device

    def state(self, epochs: int) -> dict[str, Any]:
        return {
            "epochs": epochs,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
            "feed": self.feed.state(),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.restore(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.feed.restore(state["feed"])
        torch.set_rng_state(state["dropout"])
        if self.device.type == "cuda" and state["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(state["dropout_cuda"])
        return int(state["epochs"])


def _train_epoch(
    run: _Run,
    forward: nn.Module,
    recipe: Recipe,
    labels: torch.Tensor,
    epoch: int,
    steps: int,
    augment_seed: int,
    classes: int,
) -> None:
    training = recipe.training
    mixup = batch_mixup(training.mixup, classes=classes, label_smoothing=training.label_smoothing)
    # Mixup smooths the labels that it mixes.
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.0 if mixup else training.label_smoothing)
    weights = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    on_gpu = run.device.type == "cuda"
    for step, (rows, prepared) in enumerate(run.feed.epoch(epoch)):
        batch = prepared.to(run.device, non_blocking=True) if on_gpu else prepared
        target = labels[rows.to(run.device)] if on_gpu else labels[rows]
        if mixup is not None:
            with drawn_from(augment_seed, epoch, step, _MIXUP):
                mixed, target = mixup(batch.permute(0, 3, 1, 2).to(torch.float32), target)
            batch = mixed.permute(0, 2, 3, 1)
        with autocast(training, run.device):
            loss = loss_function(forward(batch), target)
        run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(loss).backward()
        if training.clip_norm:
            run.scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(weights, training.clip_norm)
        if _updated(run):
            run.schedule.after_step(epoch * steps + step + 1)
    run.schedule.after_epoch(epoch + 1)


def _check_finite(network: nn.Module, epochs: int, training: TrainingSection) -> None:
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ZooError(
                f"training diverged: after {epochs} of {training.epochs} epochs {name} holds values that are no finite "
                "numbers",
                hint="Lower training.lr, set training.clip_norm, or take precision fp32.",
                reason="TRAINING_DIVERGED",
            )


def _updated(run: _Run) -> bool:
    """Take the step; False where fp16 overflowed, so that the scaler left the weights as they were."""
    before = run.scaler.get_scale() if run.scaler.is_enabled() else 0.0
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return not run.scaler.is_enabled() or run.scaler.get_scale() >= before


def _run_key(recipe: Recipe, seeds: Mapping[str, int]) -> str:
    return hashlib.sha256(f"{recipe.training_key}/{sorted(seeds.items())}".encode()).hexdigest()


def _make_deterministic(device: torch.device) -> None:
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    # Some operations of common architectures have no deterministic kernel on a GPU; on a CPU all have.
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")


def _lay_out(model: nn.Module, memory_format: torch.memory_format) -> None:
    model.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's annotations leave it out


def _compiled(model: nn.Module, example: torch.Tensor, training: TrainingSection) -> nn.Module:
    """Compiled for training; a first evaluation shows whether this machine can, and draws nothing."""
    compiled: nn.Module = torch.compile(model)  # type: ignore[assignment]  # torch's annotations leave modules out
    try:
        with torch.no_grad(), autocast(training, example.device):
            torch.compile(copy.deepcopy(model).eval())(example)
    except RuntimeError as error:
        raise RecipeError(
            f"training.compile does not work here: {first_line(error)}",
            hint="It needs a C++ compiler (on a GPU also Triton); or set compile = false.",
            field="training.compile",
        ) from error
    return compiled


def _check_output(model: nn.Module, data: ImageData) -> None:
    example = torch.from_numpy(data.train.read([0, 1]))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            shape = tuple(model.eval()(example).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(
            f"the model does not take images {tuple(example.shape[1:])} (height, width, channels): {first_line(error)}",
            hint="Check model.kwargs, for example in_chans.",
            field="model.kwargs",
        ) from error
    if shape != (2, len(data.classes)):
        raise RecipeError(
            f"the model gives outputs {shape[1:]}, but the data have {len(data.classes)} classes",
            hint=f"Set num_classes = {len(data.classes)} in model.kwargs.",
            field="model.kwargs",
        )
