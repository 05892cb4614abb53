"""The network that a variant starts from: drawn from its seeds, or a checkpoint with a newly drawn head."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from seedzoo.errors import RecipeError, ZooError
from seedzoo.training.messages import first_line
from seedzoo.training.models import create_model
from seedzoo.training.recipe import ModelSection, Recipe

from timm.models import load_state_dict  # isort: skip  (needs the cure that models applies)

__all__ = ["freeze_backbone", "head_names", "initial_network", "located_checkpoints", "train_mode", "weights_bytes"]


def initial_network(section: ModelSection, seeds: Mapping[str, int], *, checkpoint: Path | None = None) -> nn.Module:
    """The network before its first step; the global generator of torch is left where construction leaves it.

    With a seed ``head_init`` the head is that of a second network drawn from it, so that the architecture's own way of
    drawing a head is kept and the draws of the backbone do not move.

    Args:
        section: Architecture and arguments.
        seeds: ``init``, and ``head_init`` where the head has a stream of its own.
        checkpoint: File of weights for all but the head.

    Raises:
        RecipeError: Architecture, arguments or checkpoint cannot be used.
    """
    head_seed = seeds.get("head_init")
    torch.manual_seed(seeds["init"])
    network = create_model(section.architecture, section.kwargs)
    if head_seed is not None:
        _redraw_head(network, section, head_seed)
    if checkpoint is not None:
        _load_backbone(network, checkpoint, section.architecture)
    if section.freeze_backbone:
        freeze_backbone(network)
    return network


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Names of the parameters of the classifier, as timm knows it.

    Raises:
        RecipeError: The architecture has no classifier with parameters.
    """
    classifier: Any = getattr(network, "get_classifier", tuple)
    found = classifier()
    heads = [found] if isinstance(found, nn.Module) else list(found or ())
    owned = {id(parameter) for head in heads for parameter in head.parameters()}
    names = tuple(name for name, parameter in network.named_parameters() if id(parameter) in owned)
    if not names:
        raise RecipeError(
            f"{type(network).__name__} has no head of its own to draw from head_init",
            hint="Set num_classes in model.kwargs, or use another architecture.",
            field="model.architecture",
        )
    return names


def freeze_backbone(network: nn.Module) -> None:
    """Leave only the head to be trained."""
    heads = set(head_names(network))
    for name, parameter in network.named_parameters():
        parameter.requires_grad = name in heads


def train_mode(network: nn.Module) -> None:
    """Training mode; a batch norm whose weights are all frozen keeps its statistics."""
    network.train()
    for module in network.modules():
        weights = list(module.parameters(recurse=False))
        if isinstance(module, _NormBase) and weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def weights_bytes(model: nn.Module) -> bytes:
    """The trained network as safetensors, without the normalisation in front of it: a checkpoint for other recipes.

    Args:
        model: What ``train_variant`` returns.
    """
    network = model[1] if isinstance(model, nn.Sequential) else model
    state = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
             for name, value in network.state_dict().items()}  # fmt: skip
    return safetensors.torch.save(state)


def located_checkpoints(recipe: Recipe, *, base: Path) -> Recipe:
    """The recipe with absolute checkpoint paths and the SHA-256 of each file, which go into its training key.

    Args:
        recipe: Relative paths in it start at ``base``.
        base: The recipe's folder.

    Raises:
        RecipeError: A file cannot be read, or is not the one whose SHA-256 the recipe gives.
    """
    model = recipe.model
    if not model.checkpoint_files:
        return recipe
    paths = [(base / name).resolve() for name in model.checkpoint_files]
    digests = tuple(_sha256(path) for path in paths)
    for path, found, wanted in zip(paths, digests, model.checkpoint_sha256 or digests, strict=True):
        if found != wanted.lower():
            raise RecipeError(
                f"{path} is not the checkpoint that the recipe means: its SHA-256 is {found}",
                hint="Fetch the right file, or change model.checkpoint_sha256.",
                field="model.checkpoint_sha256",
            )
    names = tuple(str(path) for path in paths)
    located = replace(model, checkpoint_sha256=digests, **(
        {"checkpoint": names[0]} if model.checkpoint else {"checkpoints": names}
    ))  # fmt: skip
    return replace(recipe, model=located)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _redraw_head(network: nn.Module, section: ModelSection, seed: int) -> None:
    names = head_names(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = dict(create_model(section.architecture, section.kwargs).named_parameters())
    own = dict(network.named_parameters())
    if all(torch.equal(own[name], other[name]) for name in names):
        raise RecipeError(
            f"{section.architecture} starts with the same head whatever the seed, so head_init decides nothing",
            hint="Vary another stream, or use another architecture.",
            field="seeds.vary",
        )
    with torch.no_grad():
        for name in names:
            own[name].copy_(other[name])


def _load_backbone(network: nn.Module, path: Path, architecture: str) -> None:
    if not path.is_file():
        raise _unreadable(path, "no such file")
    try:
        state = load_state_dict(str(path), use_ema=False, device="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError,
            pickle.UnpicklingError, safetensors.SafetensorError) as error:  # fmt: skip
        # torch.load reports what is no checkpoint through all of these.
        raise _unreadable(path, f"it holds no weights that can be loaded safely: {first_line(error)}") from error
    heads = set(head_names(network))
    own = {name: value for name, value in network.state_dict().items() if name not in heads}
    given = {name: value for name, value in state.items() if name not in heads}
    faults = [f"lacks {name}" for name in own if name not in given]
    faults += [f"has {name} beside it" for name in given if name not in own]
    faults += [f"{name} is {list(given[name].shape)} and not {list(own[name].shape)}"
               for name in own if name in given and given[name].shape != own[name].shape]  # fmt: skip
    if faults:
        raise RecipeError(
            f"checkpoint {path} does not fit {architecture}: it {'; '.join(faults[:3])}"
            + (f"; and {len(faults) - 3} more" if len(faults) > 3 else ""),
            hint="It must be of the same architecture and model.kwargs, apart from the head.",
            field="model.checkpoint",
        )
    network.load_state_dict(given, strict=False)


def _unreadable(path: Path, why: str) -> ZooError:
    return RecipeError(
        f"cannot read checkpoint {path}: {why}",
        hint="Name a file of weights (.pth or .safetensors) in model.checkpoint.",
        field="model.checkpoint",
    )
