"""Records of what is published: tasks, families, variants, certificates, releases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = [
    "Certificate",
    "CertificateEntry",
    "Family",
    "FileEntry",
    "Preprocessing",
    "Release",
    "Task",
    "TrainingData",
    "Variant",
]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes the model's input tensor; everything beyond this is inside the ONNX graph.

    The tensor is uint8 ``[batch, height, width, channels]`` (NHWC), RGB order where ``channels`` is 3.
    """

    height: int
    width: int
    channels: int
    resize: str = "stretch"
    """``stretch`` (to exactly height x width) or ``shorter_side_center_crop``."""
    interpolation: str = "bilinear"


@dataclass(frozen=True, slots=True)
class Task:
    """What is predicted: classes, input and default metric."""

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    input_kind: str = "image"
    metric: str = "accuracy"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a release: path below the release's prefix, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One trained member of a family."""

    tag: str
    model: FileEntry | None
    """None in a browse-only family, of which only results are known."""
    seeds: dict[str, int]
    """Seed of each random stream (init, head_init, order, augment, dropout); empty where they are not known."""
    held_out_accuracy: float
    """Accuracy on the family's in-distribution test set (condition ``id``)."""
    factors: dict[str, str] = field(default_factory=dict)
    """Level of each factor of a crossed design, such as ``{"pretraining": "p2", "finetuning": "f7"}``."""
    int8: FileEntry | None = None
    """Statically quantised twin: another model with results of its own, never handed out in place of ``model``."""


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """The equivalence test of one trained variant against the family mean."""

    tag: str
    difference: float
    """Accuracy minus family mean."""
    low: float
    high: float
    p_value: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Certificate:
    """Evidence that the variants are equally accurate: a paired TOST of each against the mean of all trained."""

    method: str
    margin: float
    alpha: float
    """Family-wise level; each test runs at alpha / trained."""
    n_examples: int
    trained: int
    published: int
    family_mean: float
    entries: tuple[CertificateEntry, ...]
    """One entry for every trained variant, published or not."""
    set_aside: tuple[str, ...] = ()
    """Tags that passed but were beyond the number that the recipe publishes."""

    @property
    def discarded(self) -> tuple[str, ...]:
        """Tags of the trained variants that failed the test."""
        return tuple(entry.tag for entry in self.entries if not entry.passed)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Which data a family was trained and certified on."""

    name: str
    train_examples: int
    held_out_examples: int
    files: tuple[FileEntry, ...] = ()
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """All variants of one recipe, with the evidence that they are equally accurate (``family.json``)."""

    name: str
    title: str
    task: Task
    variants: tuple[Variant, ...]
    certificate: Certificate | None
    """None in a browse-only family."""
    data: TrainingData
    recipe_sha256: str = ""
    licence: str = ""
    suite: str = ""
    software: dict[str, str] = field(default_factory=dict)
    """Versions that decide the bits of the models."""
    provenance: str = ""
    """Where imported results come from; empty for a family that was built from a recipe."""

    @property
    def selectable(self) -> bool:
        """Whether variants can be chosen: certified equally accurate, and all models at hand. Else browse-only."""
        return self.certificate is not None and all(variant.model is not None for variant in self.variants)

    @property
    def held_out_mean(self) -> float:
        """Mean over the variants of the held-out accuracy."""
        return math.fsum(variant.held_out_accuracy for variant in self.variants) / len(self.variants)

    @property
    def held_out_sd(self) -> float:
        """Standard deviation of the same (ddof 1); 0 for a single variant."""
        if len(self.variants) < 2:
            return 0.0
        mean = self.held_out_mean
        squares = math.fsum((variant.held_out_accuracy - mean) ** 2 for variant in self.variants)
        return math.sqrt(squares / (len(self.variants) - 1))

    @property
    def model_bytes(self) -> int:
        """Size of all variants' ONNX files together."""
        return sum(variant.model.size for variant in self.variants if variant.model is not None)

    @property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Levels of each factor of a crossed design, sorted."""
        return {
            name: tuple(sorted({variant.factors[name] for variant in self.variants}))
            for name in self.variants[0].factors
        }


@dataclass(frozen=True, slots=True)
class Release:
    """One immutable published state of a family; its ``release.json`` is written last."""

    family: str
    id: str
    created: str
    """UTC, ISO 8601."""
    files: tuple[FileEntry, ...]
