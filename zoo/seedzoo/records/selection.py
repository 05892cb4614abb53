"""Records of choosing a variant: how it is asked, how it moves on, and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "Baseline",
    "ConditionAccuracy",
    "Evaluation",
    "Evidence",
    "Interval",
    "LabelDoubt",
    "ProgressUpdate",
    "RaceDecision",
    "RaceSummary",
    "RequirementResult",
    "RequirementState",
    "SelectionPhase",
    "SelectionReport",
    "SelectionState",
    "VariantScore",
]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence limits."""

    estimate: float
    low: float
    high: float


class Evidence(StrEnum):
    """What an answer rests on."""

    LABELS = "labels"
    """A random sample of labelled examples."""
    NO_LABELS = "no_labels"
    """No label at all: a ranking from the variants' outputs, unverified."""
    QUERIED_LABELS = "queried_labels"
    """Labels of examples that were asked for, hence no random sample."""


class Evaluation(StrEnum):
    """How much is evaluated."""

    AUTO = "auto"
    """Everything, unless there are many examples and it would take long: then a race."""
    EXHAUSTIVE = "exhaustive"
    """Every variant on every example."""
    RACE = "race"
    """Variants that can no longer be the best are dropped on the way; what is promised still holds."""
    FAST = "fast"
    """A race that also stops when its leader is probably within delta of the best; not calibrated."""


class RequirementState(StrEnum):
    """Whether the data show that a variant meets a requirement."""

    MET = "met"
    OPEN = "open"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """One requirement and how the recommended variant stands to it."""

    text: str
    """As it was asked."""
    status: RequirementState
    value: Interval
    """Of the recommended variant; the limits hold jointly for all variants and requirements."""
    met: int
    """How many variants are shown to meet it."""
    open: int
    refuted: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the recommendation is compared with: its accuracy on the user's data and the gain over it."""

    name: str
    """``family_mean`` (a variant picked at random), ``best_held_out`` or ``ensemble``."""
    detail: str
    accuracy: float
    value: float
    """Of the objective; the accuracy where that is the objective."""
    gain: Interval
    """How much better the recommended variant is than this baseline, in the unit of the objective."""


@dataclass(frozen=True, slots=True)
class VariantScore:
    """One variant on the user's data; the intervals are simultaneous over all variants.

    Both are None where there is no random sample of labels.
    """

    variant: str
    accuracy: Interval | None
    value: Interval | None
    """The objective; the accuracy where that is the objective."""
    candidate: bool
    """Whether it is in the confidence set of the best."""
    held_out_accuracy: float
    requirements: RequirementState | None = None
    """Worst of the requirements; None where there are none."""
    expected_deviation: float | None = None
    """Expected accuracy minus the family mean, without labels: unverified. None where labels decide."""


@dataclass(frozen=True, slots=True)
class ConditionAccuracy:
    """One row of a stored stress profile: a variant beside its family."""

    condition: str
    accuracy: float
    family_mean: float
    family_sd: float


class SelectionState(StrEnum):
    """Life of a selection."""

    PENDING = "pending"
    RUNNING = "running"
    AWAITING_LABELS = "awaiting_labels"
    """Everything is evaluated; the user is asked for labels one by one."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self in (SelectionState.SUCCEEDED, SelectionState.FAILED, SelectionState.CANCELLED)


class SelectionPhase(StrEnum):
    """What a running selection is doing."""

    QUEUED = "queued"
    LOADING = "loading"
    EVALUATING = "evaluating"
    CHOOSING = "choosing"
    LABELLING = "labelling"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """How far a selection is."""

    phase: SelectionPhase
    examples_seen: int = 0
    examples_total: int = 0
    variants_in_race: int = 0
    leader: str = ""


@dataclass(frozen=True, slots=True)
class LabelDoubt:
    """An example that nearly all variants put into one other class than its label."""

    index: int
    label: str
    called: str
    share: float
    """Share of the variants that call it so."""


@dataclass(frozen=True, slots=True)
class RaceDecision:
    """Whether to race where the user left it open: a matter of time, hence of the machine, so it is decided once."""

    race: bool
    predicted_seconds: float | None = None
    """Of all predictions that were not known yet, by the cost of the first block; None where nothing was measured,
    as an earlier race had left most of them unknown."""


@dataclass(frozen=True, slots=True)
class RaceSummary:
    """How a race went."""

    seed: int
    """Of the random order of the examples."""
    first_block: tuple[int, ...]
    """Indices of the examples that the race saw first, in their order."""
    n_raced: int
    """Examples that the race saw before it ended; those of the reserve come on top."""
    predictions: int
    """Predictions that the answer rests on, made or kept: of the race, and of all variants on the reserve."""
    predictions_saved: int
    """Those that it does without: of all variants on all labelled examples."""
    guarantee: str
    """What holds of the answer in spite of them."""


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """The answer: which variant, how sure, what else ties, what it gains, and what to be careful about.

    What the evidence does not give is None: without a random sample of labels there is no accuracy.
    """

    family: str
    release: str
    recommended: str
    """Variant id ``<family>/<tag>``."""
    model_sha256: str
    model_size: int
    objective: str
    n_examples: int
    """Labelled examples that the answer rests on."""
    alpha: float
    delta: float
    accuracy: Interval | None
    value: Interval | None
    """The objective of the recommended variant; the same as accuracy where that is the objective."""
    candidates: tuple[str, ...]
    """The confidence set of the best, recommended first, then by accuracy."""
    p_within: float | None
    """Probability that the recommended variant is within delta of the best one."""
    detectable: float | None
    labels_to_separate: int | None
    reason: str
    baselines: tuple[Baseline, ...]
    scores: tuple[VariantScore, ...]
    """All variants, best first."""
    profile: tuple[ConditionAccuracy, ...]
    class_counts: dict[str, int]
    warnings: tuple[str, ...]
    evaluations: int
    """Forward passes."""
    seconds: float
    selections_served: int
    """How many selections this dataset has served, this one included."""
    label_doubts: tuple[LabelDoubt, ...] = ()
    """Probably wrong labels, or images that the whole family gets wrong; the clearest first."""
    n_groups: int | None = None
    """Independent groups that the examples form; None where every example counts for itself."""
    higher_is_better: bool = True
    evidence: Evidence = Evidence.LABELS
    n_unlabelled: int = 0
    """Examples without label that were used beside the labelled ones."""
    requirements: tuple[RequirementResult, ...] = ()
    requirement_status: RequirementState | None = None
    """Of the recommended variant, over all requirements; REFUTED where no variant can meet them and this one is the
    nearest."""
    class_proportions: dict[str, float] = field(default_factory=dict)
    """Class shares that the label-free statistics rest on; empty where none were needed."""
    proportions_source: str = ""
    """``given``, ``labels`` (estimated from the labelled examples) or ``assumed`` (uniform)."""
    prior_used: bool = False
    """Whether the family's stress profile helped to choose inside the confidence set."""
    evaluation: Evaluation = Evaluation.EXHAUSTIVE
    """What was done in the end."""
    evaluations_exhaustive: int = 0
    """Forward passes of an exhaustive evaluation."""
    n_reserve: int = 0
    """After a race: examples that it never saw, from which accuracy and gains come."""
    race: RaceSummary | None = None
    """None where everything was evaluated."""
    decision: RaceDecision | None = None
    """None where the question or the number of examples left nothing to decide."""
    provider: str = field(default="", compare=False)
    """What ran the models, and that a GPU could not be used where one was meant to be; empty where predictions that
    were known sufficed, or others than the server ran them. A circumstance, not a part of the answer."""
