"""What the paper on underspecification found, looked for in other families: what agrees, what does not.

The paper: D'Amour et al. (2022), Underspecification Presents Challenges for Credibility in Modern Machine Learning,
JMLR 23(226).

For every family and condition: sd over the variants relative to the in-distribution sd (interval: Pitman-Morgan), the
ratio that sampling alone would give where it is known, the test of excess variance, and Spearman's correlation with
in-distribution accuracy (interval: Fisher with Bonett and Wright's variance). Where every variant's prediction on every
example is at hand, excess variance is tested by permutation; from a profile's counts and sums of squares by Cochran's
Q; from counts alone by the bound that holds for any pairing.

Data: predictions of the starter family (`bench/race.py` and `bench/seed_tasks.py` compute and keep them), bundles given
with --bundle, and the published results of other families, which lie beside this repository where there are any.

Run: OMP_NUM_THREADS=1 python bench/paper.py [--bundle FOLDER ...] [--permutations 999] [--docs docs/paper.md]
     [--quick] [--out build/bench/paper.json]
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import race
import seed_tasks
from common import SHARED, write_results
from docs import replace_between
from numpy.typing import NDArray

from seedzoo.catalog.bundle import PROFILE_FILE
from seedzoo.catalog.twins import own_profile
from seedzoo.selection.excess_variance import (
    ExcessVariance,
    SpreadRatio,
    excess_variance,
    excess_variance_bound,
    spread_ratio,
)
from seedzoo.starter import starter_bundle
from seedzoo.stress.analysis import Correlation, holm, profile_excess, profile_matrix, spearman
from seedzoo.stress.table import read_profile

LEVEL = 0.05
# How large a share of the conditions must show a finding for "yes"; below one minus it, "no".
CLEAR = 0.8

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One condition of a family.

    Attributes:
        name: The condition.
        n: Number of examples.
        mean: Mean accuracy over the variants.
        sd: sd over the variants.
        ratio: sd relative to the in-distribution sd of the same examples where they are the same, else of its own set.
        excess: Test of excess variance.
        correlation: With in-distribution accuracy.
        paired: Whether the ratio that sampling alone would give is known: ``ratio.expected``.
    """

    name: str
    n: int
    mean: float
    sd: float
    ratio: SpreadRatio
    excess: ExcessVariance
    correlation: Correlation
    paired: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """One family.

    Attributes:
        name: Heading.
        about: What differs between the variants and where the numbers come from.
        variants: How many.
        identity: In distribution.
        mean: Mean in-distribution accuracy.
        lines: The conditions.
    """

    name: str
    about: str
    variants: int
    identity: ExcessVariance
    mean: float
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())


def tested(name: str, condition: Bools, identity: Bools, *, permutations: int) -> Line:
    """From per-example correctness [n, M] under a condition and in distribution."""
    excess, base = excess_variance(condition, permutations=permutations), excess_variance(identity, permutations=19)
    x, y = identity.mean(axis=0), condition.mean(axis=0)
    return Line(
        name=name,
        n=len(condition),
        mean=float(y.mean()),
        sd=excess.sd,
        ratio=spread_ratio(x, y, expected=excess.noise_sd / base.noise_sd),
        excess=excess,
        correlation=spearman(x, y),
        paired=True,
    )


def counted(
    name: str,
    accuracies: Floats,
    identity: Floats,
    *,
    n: int,
    excess: ExcessVariance | None = None,
    base: ExcessVariance | None = None,
) -> Line:
    """From accuracies [M] alone, or with the paired tests of the condition and in distribution."""
    expected = 1.0
    known = False
    if excess is not None and base is not None and "bound" not in (excess.method, base.method):
        known = excess.noise_sd > 0 and base.noise_sd > 0
        expected = excess.noise_sd / base.noise_sd if known else 1.0
    return Line(
        name=name,
        n=n,
        mean=float(accuracies.mean()),
        sd=float(accuracies.std(ddof=1)),
        ratio=spread_ratio(identity, accuracies, expected=expected),
        excess=excess or excess_variance_bound(accuracies * n, n=n),
        correlation=spearman(identity, accuracies),
        paired=known,
    )


# --- families ------------------------------------------------------------------------------------------------


def starter(permutations: int) -> Iterator[Result]:
    files = {
        path.stem.removeprefix("fashion-cnn-"): path for path in sorted(seed_tasks.CACHE.glob("fashion-cnn-*.npz"))
    }
    if "id" not in files:
        print("no predictions of the starter family: run bench/seed_tasks.py and bench/race.py", file=sys.stderr)
        return
    correct = {name: np.load(path)["correct"] for name, path in files.items()}
    identity = correct.pop("id")
    _check_cache(identity)
    lines = {name: tested(name, right, identity, permutations=permutations) for name, right in correct.items()}
    part = np.concatenate(list(seed_tasks.PARTS.values()))
    for name in seed_tasks.available():
        if name not in lines:
            both = [seed_tasks.load(name, which) for which in seed_tasks.PARTS]
            right = np.concatenate([task.predicted == task.labels[:, None] for task in both])
            lines[name] = tested(name, right, identity[part], permutations=permutations)
    yield Result(
        name="fashion-cnn",
        about="small CNNs on Fashion-MNIST that differ in all seeds (initialisation, order, augmentation, dropout);"
        " certified equally accurate on 8,000 of the 10,000 test images",
        variants=identity.shape[1],
        identity=excess_variance(identity, permutations=permutations),
        mean=float(identity.mean()),
        lines=tuple(lines[name] for name in sorted(lines)),
    )


def _check_cache(identity: Bools) -> None:
    rows = read_profile(seed_tasks.FAMILY / PROFILE_FILE).rows
    counts = [row.correct for row in rows if row.condition == "id"]
    found = identity[:8000].sum(axis=0).tolist()
    # Other builds of ONNX Runtime may turn a prediction or two.
    if len(found) != len(counts) or max(abs(a - (b or 0)) for a, b in zip(found, counts, strict=True)) > 4:
        sys.exit(f"{seed_tasks.CACHE} holds predictions of other models: delete fashion-cnn-*.npz there")


def quick_starter() -> Result:
    """The starter family under one condition on a few images, which says nothing."""
    correct = {name: race.seed_task(name, race.QUICK_IMAGES) for name in ("id", "pixelate-3")}
    identity = correct.pop("id")
    return Result(
        name="fashion-cnn, few images",
        about="a quick run",
        variants=identity.shape[1],
        identity=excess_variance(identity, permutations=19),
        mean=float(identity.mean()),
        lines=tuple(tested(name, right, identity, permutations=19) for name, right in correct.items()),
    )


def bundle(folder: Path) -> Result:
    table = own_profile(read_profile(folder / PROFILE_FILE))
    matrix = profile_matrix(table.rows)
    name = folder.parent.name if folder.name == "bundle" else folder.name
    if len(matrix.variants) < 4:
        sys.exit(f"{folder}: a ratio of spreads needs at least 4 variants, this family has {len(matrix.variants)}")
    identity = matrix.column("id")
    n = dict(zip(matrix.conditions, matrix.n, strict=True))
    excess = profile_excess(matrix, sum_squares=table.sum_squares)
    if "id" not in excess or np.isnan(identity).any():
        sys.exit(f"{folder}: the profile lacks accuracies in distribution")
    known = [one for one in matrix.conditions if one in excess and not np.isnan(matrix.column(one)).any()]
    return Result(
        name=name,
        about="from its stress profile",
        variants=len(matrix.variants),
        identity=excess["id"],
        mean=float(identity.mean()),
        lines=tuple(
            counted(one, matrix.column(one), identity, n=int(n[one] or 0), excess=excess[one], base=excess["id"])
            for one in known
            if one != "id"
        ),
    )


def hans_runs() -> Result:
    path = SHARED / "berts_of_a_feather" / "berts_of_a_feather_accuracies_by_run.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["Run"].startswith("Run ")]
    names = [name for name in rows[0] if name.endswith((" (entailed)", " (nonent)"))]
    identity = np.array([float(row["MNLI dev acc."]) for row in rows])
    lines = (counted(f"HANS {name}", np.array([float(row[name]) for row in rows]), identity, n=5000) for name in names)
    return Result(
        name="BERT, 100 fine-tuning seeds",
        about="in distribution MNLI matched, stress HANS; accuracies published by McCoy, Min and Linzen (2020)",
        variants=len(rows),
        identity=excess_variance_bound(identity * 9815, n=9815),
        mean=float(identity.mean()),
        lines=tuple(lines),
    )


def nli_seeds(permutations: int) -> Result:
    folder = SHARED / "instability-analysis"
    with np.load(folder / "bert_base_nli_10seeds_preds.npz") as data:
        predicted = {name: data[name].T for name in data.files}
    with (folder / "bert_base_nli_10seeds_accuracy.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    identity = predicted["mnli"] == np.load(folder / "mnli_matched_gold.npy")[:, None]
    base = identity.mean(axis=0)
    # HANS knows entailment or not.
    hans = (predicted["hans"] == 1) == np.load(folder / "hans_gold_entailment.npy")[:, None].astype(bool)
    lines = [tested("hans", hans, identity, permutations=permutations)]
    for name in rows[0]:
        key = name.replace("-mm", "_mm").replace("-", "_")
        if name not in ("seed", "mnli", "hans"):
            lines.append(counted(name, np.array([float(row[name]) for row in rows]), base, n=len(predicted[key])))
    return Result(
        name="BERT, 10 seeds",
        about="in distribution MNLI matched, 11 other sets; Zhou et al. (2020). Predictions with gold labels are at"
        " hand for MNLI and HANS, counts for the others",
        variants=identity.shape[1],
        identity=excess_variance(identity, permutations=permutations),
        mean=float(base.mean()),
        lines=tuple(lines),
    )


def clip_soups() -> Result:
    path = SHARED / "model-soups" / "individual_model_results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    sizes = {"ImageNetV2": 10000, "ImageNetSketch": 50889, "ImageNetR": 30000, "ObjectNet": 18574, "ImageNetA": 7500}
    identity = np.array([row["ImageNet"] for row in rows])
    for name, n in {"ImageNet": 50000, **sizes}.items():
        counts = np.array([row[name] for row in rows]) * n
        if np.abs(counts - np.rint(counts)).max() > 1e-3:
            sys.exit(f"{path}: {name} was not measured on {n} examples")
    return Result(
        name="CLIP ViT-B/32, 72 fine-tunings",
        about="from one checkpoint with different hyper-parameters (Wortsman et al. 2022): not a seed family, and not"
        " equally accurate",
        variants=len(rows),
        identity=excess_variance_bound(identity * 50000, n=50000),
        mean=float(identity.mean()),
        lines=tuple(counted(name, np.array([row[name] for row in rows]), identity, n=n) for name, n in sizes.items()),
    )


# --- findings ------------------------------------------------------------------------------------------------


def _share(lines: tuple[Line, ...], shows: Callable[[Line], bool]) -> tuple[int, int]:
    return sum(map(shows, lines)), len(lines)


def _verdict(found: tuple[int, int]) -> str:
    part = found[0] / found[1]
    return "yes" if part >= CLEAR else "no" if part <= 1 - CLEAR else "in part"


def _at_noise(identity: ExcessVariance) -> str:
    if identity.method == "bound":
        return "not known (counts only)" if identity.p_value >= LEVEL else f"no ({p_text(identity)})"
    return ("yes" if identity.p_value >= LEVEL else "no") + f" ({p_text(identity)})"


def _told(found: tuple[int, int]) -> str:
    return f"{_verdict(found)} ({found[0]} of {found[1]})" if found[1] else "not known (counts only)"


def findings(result: Result) -> dict[str, str]:
    corrected = holm([line.excess.p_value for line in result.lines])
    paired = tuple(line for line in result.lines if line.paired)
    wider = _share(result.lines, lambda line: line.ratio.low > 1)
    grown = _share(paired, lambda line: line.ratio.low > line.ratio.expected)
    unrelated = _share(result.lines, lambda line: line.correlation.low <= 0 <= line.correlation.high)
    beyond = int((corrected < LEVEL).sum()), len(corrected)
    return {
        "in-distribution sd cannot be told from sampling noise": _at_noise(result.identity),
        "sd under stress is larger": _told(wider),
        "and by more than sampling makes it": _told(grown),
        "sd under stress exceeds sampling noise": _told(beyond),
        "rank correlation with in-distribution accuracy cannot be told from 0": _told(unrelated),
    }


def p_text(excess: ExcessVariance) -> str:
    """A bound says that p is at most so much."""
    if excess.method == "bound":
        return f"p ≤ {max(excess.p_value, 0.001):.3f}"
    return "p < 0.001" if excess.p_value < 0.001 else f"p = {excess.p_value:.3f}"


# --- text ----------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    marks = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, marks, *rows])


def bounds(low: float, high: float, digits: int) -> str:
    return "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"


def paper_text() -> str:
    found = json.loads((SHARED / "damour2020_anchor.json").read_text(encoding="utf-8"))["vision"]
    models = {"resnet50": "ResNet-50", "bit": "BiT"}
    rows = []
    for key, name in models.items():
        told = found["resnet50" if key == "resnet50" else "bit_resnet101x3"]
        rho, low, high = found["objectnet_spearman_with_iid"][key]
        rows.append(
            [
                f"{name}, {told['n']} variants",
                f"{told['imagenet_top1_mean_pct']} ± {told['sd_pp']}",
                f"{found['permutation_p_imagenet'][key]:.3f}",
                f"{found['objectnet_sd_ratio_to_iid'][key]} ×",
                f"{found['permutation_p_excess_objectnet'][key]:.3f}",
                f"{rho:.2f} [{low:.2f}, {high:.2f}]",
            ]
        )
    head = ["the paper", "ImageNet, %", "p", "ObjectNet sd", "p", "Spearman ObjectNet, ImageNet"]
    return table(head, rows)


def result_text(result: Result) -> str:
    rows = [
        [
            line.name,
            f"{line.n:,}",
            f"{100 * line.mean:.1f}",
            f"{100 * line.sd:.2f}",
            f"{line.ratio.ratio:.1f}{bounds(line.ratio.low, line.ratio.high, 1)}",
            f"{line.ratio.expected:.1f}" if line.paired else "–",
            p_text(line.excess),
            f"{line.correlation.rho:.2f}{bounds(line.correlation.low, line.correlation.high, 2)}",
        ]
        for line in result.lines
    ]
    identity = result.identity
    noise = "at most " if identity.method == "bound" else ""
    head = ["condition", "n", "mean %", "sd", "sd / sd of id", "by noise", "excess variance", "Spearman with id"]
    return (
        f"### {result.name}\n\n{result.variants} variants: {result.about}. In distribution"
        f" {100 * result.mean:.2f} ± {100 * identity.sd:.2f} % on {identity.n:,} examples; sampling explains an sd of"
        f" {noise}{100 * identity.noise_sd:.2f} points ({p_text(identity)}).\n\n{table(head, rows)}"
    )


def ensemble_text() -> str:
    rows = []
    for name in ("pixelate-1", "pixelate-3"):
        if name not in seed_tasks.available():
            continue
        tuning, user = seed_tasks.load(name, "profile"), seed_tasks.load(name, "user")
        right = user.predicted == user.labels[:, None]
        together = user.probabilities.mean(axis=1).argmax(axis=1) == user.labels
        picked = int((tuning.predicted == tuning.labels[:, None]).mean(axis=0).argmax())
        gain = together.astype(float) - right[:, picked]
        half = 1.96 * gain.std(ddof=1) / math.sqrt(len(gain))
        rows.append(
            [
                name,
                f"{len(user.labels):,}",
                f"{100 * right.mean():.1f}",
                f"{100 * together.mean():.1f}",
                f"{100 * right[:, picked].mean():.1f}",
                f"{100 * right.mean(axis=0).max():.1f}",
                f"{100 * gain.mean():+.1f} [{100 * (gain.mean() - half):+.1f}, {100 * (gain.mean() + half):+.1f}]",
            ]
        )
    head = [
        "fashion-cnn", "n", "mean of the variants", "ensemble of all", "best single, picked on other images",
        "best single in hindsight", "ensemble − picked, points",
    ]  # fmt: skip
    return table(head, rows) if rows else "No predictions at hand: `bench/seed_tasks.py` computes them."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="another family's bundle")
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--quick", action="store_true", help="few images and permutations; tells nothing")
    parser.add_argument("--out", type=Path, help="findings as JSON")
    parser.add_argument("--docs", type=Path, help="page whose tables are rewritten")
    options = parser.parse_args()
    if options.quick:
        seed_tasks.use_quick_cache()
        options.permutations, options.bundle = 19, [starter_bundle()]
        results = [quick_starter(), *map(bundle, options.bundle)]
    else:
        results = [*starter(options.permutations), *map(bundle, options.bundle)]
    if SHARED.is_dir():
        results += [hans_runs(), nli_seeds(options.permutations), clip_soups()]
    else:
        print(f"no published results in {SHARED}", file=sys.stderr)
    rows = {result.name: findings(result) for result in results}
    if len(rows) < len(results):
        sys.exit("two families have the same name: give a bundle's folder another")
    if not rows:
        sys.exit("there is no family to look at: name one with --bundle")
    head = ["finding of the paper", *rows]
    summary = table(head, [[name, *(told[name] for told in rows.values())] for name in next(iter(rows.values()))])
    write_results(rows, __file__, options.out, quick=options.quick)
    parts = {
        "anchors": paper_text() if SHARED.is_dir() else "",
        "findings": summary,
        "ensemble": ensemble_text(),
        "families": "\n\n".join(map(result_text, results)),
    }
    for name, text in parts.items():
        print(f"\n{text}")
        if options.docs and text:
            replace_between(options.docs, f"bench/paper.py {name}", text)


if __name__ == "__main__":
    main()
