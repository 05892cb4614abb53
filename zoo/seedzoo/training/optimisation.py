"""Optimiser, schedule, precision and device of a training run, as the recipe names them."""

from __future__ import annotations

import difflib
import inspect
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import nn

from seedzoo.errors import RecipeError
from seedzoo.training.messages import first_line
from seedzoo.training.recipe import TrainingSection

from seedzoo.training import models  # noqa: F401  # isort: skip  (the cure for timm's import)
from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined]  # isort: skip
from timm.scheduler.scheduler_factory import create_scheduler_v2  # isort: skip

__all__ = ["Schedule", "autocast", "make_optimizer", "make_schedule", "pick_device"]

_OWN_DRAWS = frozenset({"adahessian", "kron", "kronc", "kronw"})
"""Optimisers with generators of their own: no stream decides their draws, and a resumed run would repeat them."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Schedule(Protocol):
    """Learning rate over the run."""

    def after_step(self, updates: int) -> None:
        """To be called after every update with their number so far."""
        ...

    def after_epoch(self, epochs: int) -> None:
        """To be called after every epoch with their number so far."""
        ...

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the optimiser's state."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state` was taken."""
        ...


def pick_device(training: TrainingSection) -> torch.device:
    """The device to train on.

    Raises:
        RecipeError: The recipe asks for a GPU, or for a precision that needs one, and there is none.
    """
    found = torch.cuda.is_available()
    if training.device == "cuda" and not found:
        raise RecipeError(
            "training.device = cuda, but torch finds no GPU here",
            hint='Set device = "auto", or check the driver and that torch is a CUDA build.',
            field="training.device",
        )
    device = torch.device("cuda" if found and training.device != "cpu" else "cpu")
    if training.precision == "fp16" and device.type != "cuda":
        raise RecipeError(
            "training.precision = fp16 needs a GPU, and torch finds none here",
            hint="On a CPU use bf16 or fp32.",
            field="training.precision",
        )
    return device


def autocast(training: TrainingSection, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which operations run in the recipe's precision."""
    dtype = _DTYPES.get(training.precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def make_optimizer(network: nn.Module, training: TrainingSection) -> torch.optim.Optimizer:
    """The optimiser that the recipe names, over what is to be trained of the network.

    Raises:
        RecipeError: timm does not know it, a part of it is not installed, or it does not take these arguments.
    """
    key = "training.optimizer_kwargs" if training.optimizer_kwargs else "training.optimizer"
    known = [str(name) for name in list_optimizers() if name not in _OWN_DRAWS]
    plain = training.optimizer.lower().rpartition("lookahead_")[2]
    if plain in _OWN_DRAWS:
        raise RecipeError(
            f"training.optimizer {training.optimizer!r} draws random numbers that no stream decides",
            hint="Take one that draws none, such as adamw or sgd.",
            field="training.optimizer",
        )
    if plain not in known:
        near = difflib.get_close_matches(training.optimizer, known, n=3)
        raise RecipeError(
            f"training.optimizer {training.optimizer!r} is not known to timm",
            hint=f"Near names: {', '.join(near)}." if near else "timm.optim.list_optimizers() lists all names.",
            field="training.optimizer",
        )
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            network,
            opt=training.optimizer,
            **{"lr": training.lr, "weight_decay": training.weight_decay, **training.optimizer_kwargs},
        )
    except (AssertionError, ValueError, TypeError, ImportError, RuntimeError, AttributeError) as error:
        raise RecipeError(f"{key} cannot be used with {training.optimizer}: {first_line(error)}", field=key) from error
    return optimizer


def make_schedule(optimizer: torch.optim.Optimizer, training: TrainingSection, steps: int) -> Schedule:
    """The schedule that the recipe names, for ``steps`` updates in each epoch.

    Raises:
        RecipeError: timm's schedule does not take these arguments, or runs longer than ``training.epochs``.
    """
    if training.schedule == "onecycle":
        return _OneCycle(optimizer, training, steps)
    if training.schedule == "constant":
        return _Constant()
    return _Timm(optimizer, training, steps)


class _Constant:
    def after_step(self, updates: int) -> None:
        """The rate stays."""

    def after_epoch(self, epochs: int) -> None:
        """The rate stays."""

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """There is nothing to restore."""


class _OneCycle(_Constant):
    def __init__(self, optimizer: torch.optim.Optimizer, training: TrainingSection, steps: int) -> None:
        try:
            self._scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=training.lr, total_steps=steps * training.epochs
            )
        except ValueError as error:
            raise RecipeError(
                f"training.schedule = onecycle does not go with {training.optimizer}: {error}",
                hint="It moves the momentum; take an optimiser that has one, or another schedule such as cosine.",
                field="training.schedule",
            ) from error

    def after_step(self, updates: int) -> None:  # noqa: ARG002
        self._scheduler.step()

    def state(self) -> dict[str, Any]:
        return dict(self._scheduler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state)


class _Timm(_Constant):
    """timm's schedules are functions of the number of updates or epochs, so they have no state of their own."""

    def __init__(self, optimizer: torch.optim.Optimizer, training: TrainingSection, steps: int) -> None:
        allowed = set(inspect.signature(create_scheduler_v2).parameters)
        allowed -= {"optimizer", "sched", "num_epochs", "updates_per_epoch", "patience_epochs", "plateau_mode"}
        for key in training.schedule_kwargs:
            if key not in allowed:
                near = difflib.get_close_matches(key, sorted(allowed), n=1)
                hint = f"Did you mean {near[0]}?" if near else f"timm's schedules take {', '.join(sorted(allowed))}."
                raise RecipeError(
                    f"unknown key training.schedule_kwargs.{key}", hint=hint, field="training.schedule_kwargs"
                )
        try:
            self._scheduler, epochs = create_scheduler_v2(
                optimizer,
                sched=training.schedule,
                num_epochs=training.epochs,
                updates_per_epoch=steps,
                **{"step_on_epochs": False, **training.schedule_kwargs},
            )
        except (AssertionError, ValueError, TypeError, ZeroDivisionError) as error:
            raise RecipeError(
                f"training.schedule_kwargs do not fit {training.schedule}: {error}", field="training.schedule_kwargs"
            ) from error
        if math.ceil(epochs) != training.epochs:
            raise RecipeError(
                f"training.schedule_kwargs make the schedule {epochs} epochs long; training.epochs = {training.epochs}",
                hint="Leave out cooldown_epochs, warmup_prefix and cycle_limit, or change training.epochs to fit.",
                field="training.schedule_kwargs",
            )

    def after_step(self, updates: int) -> None:
        self._scheduler.step_update(updates)

    def after_epoch(self, epochs: int) -> None:
        self._scheduler.step(epochs)
