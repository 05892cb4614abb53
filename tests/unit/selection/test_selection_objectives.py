import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from seedzoo.selection import OBJECTIVES, Inputs, Metric, accuracy_scores, choose, choose_by_metric, objective
from seedzoo.selection.objectives import (
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    brier,
    cost_matrix,
    ece,
    log_loss,
    macro_f1,
    multilabel_accuracy,
    risk_at_coverage,
    top_k,
    worst_slice,
)


def test_right_where_classes_match() -> None:
    scores = accuracy_scores([[1, 2], [0, 0], [3, 1]], [1, 0, 1])
    assert scores.dtype == np.bool_
    assert scores.tolist() == [[True, False], [True, True], [False, True]]


def test_mixed_integer_types_compare_by_value() -> None:
    predicted = np.array([[255], [1]], dtype=np.uint8)
    assert accuracy_scores(predicted, np.array([-1, 1], dtype=np.int16)).tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [([1, 2], [1, 2]), ([[1], [2]], [1]), ([[1], [2]], [[1], [2]]), ([[1.0], [2.0]], [1, 2]), ([[1]], ["1"])],
)
def test_refuses(predicted: list[object], labels: list[object]) -> None:
    with pytest.raises(ValueError, match="must"):
        accuracy_scores(predicted, labels)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    logits = rng.normal(size=(120, 3, 4)) + 1.5 * (np.arange(4) == labels[:, None, None])
    chance = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return Inputs.of(labels, probabilities=np.round(chance, 2) / np.round(chance, 2).sum(axis=2, keepdims=True))


@pytest.fixture(scope="module")
def many() -> Inputs:
    rng = np.random.default_rng(1)
    labels = rng.random((80, 5)) < 0.3
    return Inputs.of(labels, probabilities=np.clip(labels[:, None] * 0.3 + rng.random((80, 2, 5)) * 0.7, 0, 1))


# Each metric beside scikit-learn's function of (labels, predicted, probabilities, weights).
TWINS = {
    "accuracy": lambda y, p, q, w: sk.accuracy_score(y, p, sample_weight=w),
    "top_k": lambda y, p, q, w: sk.top_k_accuracy_score(y, q, k=2, sample_weight=w),
    "balanced_accuracy": lambda y, p, q, w: sk.balanced_accuracy_score(y, p, sample_weight=w),
    "macro_f1": lambda y, p, q, w: sk.f1_score(y, p, average="macro", sample_weight=w),
    "log_loss": lambda y, p, q, w: sk.log_loss(y, q, sample_weight=w),
    "auroc": lambda y, p, q, w: np.mean([sk.roc_auc_score(y == c, q[:, c], sample_weight=w) for c in range(4)]),
    "average_precision": lambda y, p, q, w: np.mean(
        [sk.average_precision_score(y == c, q[:, c], sample_weight=w) for c in range(4)]
    ),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scikit_learn(inputs: Inputs, name: str, weighted: bool) -> None:
    metric = objective(name, **({"k": 2} if name == "top_k" else {}))
    weights = np.random.default_rng(2).integers(0, 4, 120) if weighted else np.ones(120, dtype=int)
    values = metric.evaluate(inputs, np.column_stack([np.ones(120), weights]))[:, 1]
    assert inputs.probabilities is not None
    for variant in range(3):
        expected = TWINS[name](inputs.labels, inputs.predicted[:, variant], inputs.probabilities[:, variant], weights)
        assert values[variant] == pytest.approx(expected, abs=1e-10)


def test_binary_ranking_is_of_class_one() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 50)
    score = np.round(rng.random(50) * 0.5 + labels * 0.3, 1)
    data = Inputs.of(labels, probabilities=np.stack([1 - score, score], axis=1)[:, None])
    assert auroc()(data)[0] == pytest.approx(sk.roc_auc_score(labels, score))
    assert average_precision()(data)[0] == pytest.approx(sk.average_precision_score(labels, score))


def test_multilabel_agrees_with_scikit_learn(many: Inputs) -> None:
    assert many.probabilities is not None
    for variant in range(2):
        labels, predicted, chance = many.labels, many.predicted[:, variant], many.probabilities[:, variant]
        assert multilabel_accuracy()(many)[variant] == pytest.approx(1 - sk.hamming_loss(labels, predicted))
        exact = multilabel_accuracy(exact=True)
        assert exact(many)[variant] == pytest.approx(sk.accuracy_score(labels, predicted))
        assert auroc()(many)[variant] == pytest.approx(sk.roc_auc_score(labels, chance, average="macro"))
        precision = sk.average_precision_score(labels, chance, average="macro")
        assert average_precision()(many)[variant] == pytest.approx(precision)


def two_class(confidence: list[float], right: list[bool]) -> Inputs:
    """One variant that calls class 1 with this confidence; right where the label is 1."""
    chance = np.array(confidence)
    return Inputs.of(np.array(right).astype(int), probabilities=np.stack([1 - chance, chance], axis=1)[:, None])


class TestByHand:
    def test_brier(self) -> None:
        # (.2^2 + .2^2) and (.6^2 + .6^2)
        assert brier()(two_class([0.8, 0.6], [True, False]))[0] == pytest.approx((0.08 + 0.72) / 2)

    def test_ece(self) -> None:
        # Bins of width .2: .55 and .6 in (.4, .6], one of two right; .9 and 1 in (.8, 1], both right.
        data = two_class([0.55, 0.6, 0.9, 1.0], [True, False, True, True])
        assert ece(bins=5)(data)[0] == pytest.approx((abs(1.15 - 1) + abs(1.9 - 2)) / 4)

    def test_cost(self) -> None:
        metric = cost_matrix([[0, 1], [5, 0]])
        data = Inputs.of([0, 0, 1, 1], predicted=[[0, 1], [1, 1], [0, 1], [1, 1]])
        assert metric(data).tolist() == [6 / 4, 2 / 4]
        assert metric.unit_scores(data)[:, 0].tolist() == [1, 0.8, 0, 1]

    def test_worst_slice(self) -> None:
        data = Inputs.of([1] * 5, predicted=[[1], [0], [1], [1], [0]], slices=["a", "a", "b", "b", "b"])
        assert worst_slice()(data)[0] == 0.5
        # Without its second example slice a is fine and b the worst.
        assert worst_slice().evaluate(data, np.array([[1.0], [0], [1], [1], [1]]))[0, 0] == pytest.approx(2 / 3)

    def test_risk_at_coverage(self) -> None:
        data = two_class([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
        assert risk_at_coverage(0.5)(data)[0] == pytest.approx(1 / 2)
        assert risk_at_coverage(0.75)(data)[0] == pytest.approx(1 / 3)
        # 2.5 examples: the third counts half.
        assert risk_at_coverage(0.625)(data)[0] == pytest.approx(1 / 2.5)
        tied = two_class([0.9, 0.8, 0.8, 0.8], [True, False, True, True])
        # One of the three tied is decided, wrong with probability 1/3.
        assert risk_at_coverage(0.5)(tied)[0] == pytest.approx((1 / 3) / 2)

    def test_eleven_points(self) -> None:
        # Ranked right, wrong, right, wrong: precision 1 at recall .5, 2/3 at recall 1; six levels up to .5.
        data = two_class([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
        assert average_precision(eleven_point=True)(data)[0] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)

    def test_top_k_ties_count_the_lower_class_first(self) -> None:
        data = Inputs.of([0, 2], probabilities=np.full((2, 1, 4), 0.25))
        assert top_k(1)(data)[0] == 0.5
        assert top_k(3)(data)[0] == 1

    def test_f1_counts_a_class_that_is_only_predicted(self) -> None:
        # Class 0: 2 / 3; class 1: no label, one prediction: 0; class 2 does not occur.
        data = Inputs.of([0, 0], predicted=[[0], [1]], probabilities=np.full((2, 1, 3), 1 / 3))
        assert macro_f1()(data)[0] == pytest.approx((2 / 3) / 2)


@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(set(OBJECTIVES) - {"multilabel_accuracy"})))
@settings(max_examples=80, deadline=None)
def test_weights_are_repetitions(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 12)
    chance = rng.dirichlet(np.ones(3), (12, 2)).round(1)
    chance[:, :, 2] = 1 - chance[:, :, 0] - chance[:, :, 1]
    data = Inputs.of(labels, probabilities=np.clip(chance, 0, 1), slices=rng.integers(0, 2, 12))
    weights = rng.integers(0, 3, 12)
    metric = objective(name, **{"cost": {"costs": 1 - np.eye(3)}, "top_k": {"k": 2}}.get(name, {}))
    if not weights.any():
        return
    repeated = metric.evaluate(data.take(np.repeat(np.arange(12), weights)), np.ones((weights.sum(), 1)))
    assert metric.evaluate(data, weights[:, None].astype(np.float32)) == pytest.approx(repeated, abs=1e-6, nan_ok=True)


def test_registry_says_what_each_is_for() -> None:
    made = [objective(name, **({"costs": [[0, 1], [2, 0]]} if name == "cost" else {})) for name in OBJECTIVES]
    assert all(metric.source for metric in made)
    lower = {"log_loss", "brier", "ece", "cost", "risk_at_coverage"}
    assert {metric.name for metric in made if not metric.higher_is_better} == lower
    racing = {"accuracy", "top_5", "brier", "cost", "multilabel_accuracy"}
    assert {metric.name for metric in made if metric.may_race} == racing
    assert {metric.name for metric in made if not metric.optimised} == {"ece"}


def test_racing_scores_order_variants_as_the_metric_does(inputs: Inputs) -> None:
    scores = brier().unit_scores(inputs)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores.mean(axis=0) == pytest.approx(1 - brier()(inputs) / 2)
    for metric in (log_loss(), macro_f1()):
        with pytest.raises(ValueError, match="cannot race"):
            metric.unit_scores(inputs)


class TestChooseByMetric:
    def test_accuracy_agrees_with_choose(self) -> None:
        rng = np.random.default_rng(5)
        labels = rng.integers(0, 3, 400)
        predicted = np.where(rng.random((400, 4)) < [0.9, 0.88, 0.7, 0.89], labels[:, None], (labels[:, None] + 1) % 3)
        data = Inputs.of(labels, predicted=predicted)
        by_metric = choose_by_metric(accuracy(), data, reference=2, n_boot=4000)
        plain = choose(accuracy_scores(predicted, labels), reference=2, n_boot=4000)
        assert by_metric.best == plain.best
        assert by_metric.candidates == plain.candidates
        assert by_metric.means == pytest.approx(plain.means)
        assert by_metric.detectable == pytest.approx(plain.detectable, rel=0.1)
        assert by_metric.p_within == pytest.approx(plain.p_within, abs=0.05)
        for one, two in (
            (by_metric.accuracy, plain.accuracy),
            *((by_metric.gains[name], plain.gains[name]) for name in plain.gains),
        ):
            assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=0.012)

    def test_lower_is_better(self, inputs: Inputs) -> None:
        choice = choose_by_metric(log_loss(), inputs, n_boot=300)
        assert choice.best == int(np.argmin(log_loss()(inputs)))
        assert choice.accuracy.estimate == choice.means.min()
        assert choice.gains["family_mean"].estimate == pytest.approx(choice.means.mean() - choice.means.min())

    @pytest.mark.parametrize("metric", [log_loss(), macro_f1(), risk_at_coverage(0.5)], ids=lambda metric: metric.name)
    def test_intervals_hold_their_estimates(self, inputs: Inputs, metric: Metric) -> None:
        wide, narrow = (choose_by_metric(metric, inputs, alpha=a, reference=2, n_boot=400) for a in (0.02, 0.1))
        for outer, inner in ((wide.accuracy, narrow.accuracy), *((wide.gains[k], narrow.gains[k]) for k in wide.gains)):
            assert outer.low <= inner.low <= inner.estimate <= inner.high <= outer.high
        assert metric.low <= wide.accuracy.low
        assert wide.accuracy.high <= metric.high

    def test_better_side_is_the_tight_one(self, inputs: Inputs) -> None:
        # Picking by the lowest loss makes the loss look too low, never too high.
        many = inputs.first(1)
        twelve = Inputs.of(
            many.labels,
            predicted=np.where(
                np.random.default_rng(1).random((120, 12)) < 0.8, many.labels[:, None], (many.labels[:, None] + 1) % 4
            ),
        )
        loss = cost_matrix(1.0 - np.eye(4))
        interval = choose_by_metric(loss, twelve, n_boot=2000).accuracy
        assert interval.high - interval.estimate > 1.15 * (interval.estimate - interval.low)
        value = choose_by_metric(accuracy(), twelve, n_boot=2000).accuracy
        assert (1 - interval.high, 1 - interval.low) == pytest.approx((value.low, value.high), abs=5e-3)

    def test_one_variant_has_a_symmetric_interval(self, inputs: Inputs) -> None:
        interval = choose_by_metric(balanced_accuracy(), inputs.first(1), n_boot=400).accuracy
        assert interval.high - interval.estimate == pytest.approx(interval.estimate - interval.low)

    def test_order_of_variants_does_not_matter(self, inputs: Inputs) -> None:
        turned = Inputs.of(inputs.labels, probabilities=np.asarray(inputs.probabilities)[:, [2, 0, 1]])
        one, two = (choose_by_metric(macro_f1(), each, n_boot=4000) for each in (inputs, turned))
        assert [2, 0, 1][two.best] == one.best
        for low, high in ((one.accuracy.low, two.accuracy.low), (one.accuracy.high, two.accuracy.high)):
            assert low == pytest.approx(high, abs=5e-3)

    def test_baseline_columns(self, inputs: Inputs) -> None:
        choice = choose_by_metric(macro_f1(), inputs, baselines=["ensemble"], n_boot=300)
        values = macro_f1()(inputs)
        assert choice.means.tolist() == values[:2].tolist()
        assert choice.gains["ensemble"].estimate == pytest.approx(values[choice.best] - values[2])

    def test_identical_variants_stay_together(self) -> None:
        labels = np.arange(60) % 3
        predicted = np.repeat(np.where(np.arange(60) < 50, labels, 0)[:, None], 3, axis=1)
        choice = choose_by_metric(balanced_accuracy(), Inputs.of(labels, predicted=predicted), n_boot=200)
        assert choice.candidates == (0, 1, 2)
        assert "tied" in choice.reason
        assert choice.labels_to_separate is None

    def test_single_example(self) -> None:
        choice = choose_by_metric(macro_f1(), Inputs.of([0], predicted=[[0, 1]]), n_boot=200)
        assert choice.candidates == (0, 1)
        assert choice.accuracy.low <= 0.1

    def test_groups_widen(self, inputs: Inputs) -> None:
        # Each example ten times over: as groups they count once.
        repeated = inputs.take(np.repeat(np.arange(120), 10))
        plain = choose_by_metric(macro_f1(), inputs, n_boot=1000)
        grouped = choose_by_metric(macro_f1(), repeated, groups=np.repeat(np.arange(120), 10), n_boot=1000)
        naive = choose_by_metric(macro_f1(), repeated, n_boot=1000)
        widths = [c.accuracy.high - c.accuracy.low for c in (plain, grouped, naive)]
        assert widths[1] == pytest.approx(widths[0], rel=0.1)
        assert widths[2] < 0.5 * widths[0]

    @pytest.mark.parametrize("metric", [macro_f1(), balanced_accuracy()], ids=lambda metric: metric.name)
    def test_validity(self, metric: Metric) -> None:
        """Three equally good variants and a worse one, unequal classes: the truth is known from a huge sample."""

        def draw(n: int, seed: int) -> Inputs:
            rng = np.random.default_rng(seed)
            labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
            hard = rng.standard_normal((n, 1)) * 0.8 + rng.standard_normal((n, 4)) * 0.6
            right = hard < [1.0, 1.0, 1.0, 0.5]
            return Inputs.of(labels, predicted=np.where(right, labels[:, None], (labels[:, None] + 1) % 3))

        truth = metric(draw(400_000, 10**6))
        truth[:3] = truth[:3].mean()
        kept = covered = gained = 0
        runs = 150
        for seed in range(runs):
            choice = choose_by_metric(metric, draw(150, seed), n_boot=300, seed=seed)
            kept += 0 in choice.candidates
            covered += choice.accuracy.low <= truth[choice.best] <= choice.accuracy.high
            gain = choice.gains["family_mean"]
            gained += gain.low <= truth[choice.best] - truth.mean() <= gain.high
        for hits in (kept, covered, gained):
            assert stats.binom.cdf(hits, runs, 0.95) > 0.001

    @pytest.mark.parametrize(
        ("metric", "arguments", "message"),
        [
            (ece(), {}, "reported, not optimised"),
            (accuracy(), {"alpha": 1}, "alpha"),
            (accuracy(), {"delta": 0}, "delta"),
            (accuracy(), {"n_boot": 5}, "n_boot"),
            (accuracy(), {"delta": 1.5}, "delta must lie strictly between 0 and 1,"),
            (brier(), {"delta": 2}, "delta must lie strictly between 0 and 2,"),
            (log_loss(), {"delta": np.inf}, "delta must be positive and finite"),
            (log_loss(), {"delta": 0.0}, "delta must be positive and finite"),
            (accuracy(), {"baselines": 5}, "baselines must be a list of names"),
            (accuracy(), {"baselines": "ab"}, "baselines must be a list of names"),
            (accuracy(), {"baselines": [1]}, "baselines must be a list of names"),
            ("macro_f1", {}, "metric must be a Metric"),
            (top_k(4), {}, "top_k with k = 4 of 4 classes is always right"),
            (risk_at_coverage(0.008), {}, "keeps no example of 120"),
            (accuracy(), {"reference": 3}, "reference"),
            (accuracy(), {"order": [1]}, "order"),
            (accuracy(), {"baselines": ["a", "a"]}, "baselines"),
            (accuracy(), {"baselines": ["family_mean"]}, "baselines"),
            (accuracy(), {"baselines": ["a", "b", "c"]}, "baselines"),
            (accuracy(), {"groups": [1]}, "groups"),
            (worst_slice(), {}, "needs slices"),
            (multilabel_accuracy(), {}, "booleans"),
        ],
    )
    def test_refuses(self, inputs: Inputs, metric: Metric, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            choose_by_metric(metric, inputs, **arguments)  # type: ignore[arg-type]

    def test_refuses_what_are_no_inputs(self) -> None:
        with pytest.raises(ValueError, match="inputs must be Inputs"):
            choose_by_metric(accuracy(), None)  # type: ignore[arg-type]

    def test_delta_in_the_unit_of_the_metric(self, inputs: Inputs) -> None:
        for metric, delta in ((log_loss(), 7.0), (brier(), 1.9), (cost_matrix(100 * (1 - np.eye(4))), 60.0)):
            choice = choose_by_metric(metric, inputs, delta=delta, n_boot=200)
            assert choice.delta == delta
            assert choice.p_within == 1

    def test_small_alpha_and_one_group(self, inputs: Inputs) -> None:
        usual, tiny = (choose_by_metric(macro_f1(), inputs, alpha=alpha, n_boot=200) for alpha in (0.01, 1e-9))
        assert set(usual.candidates) <= set(tiny.candidates)
        assert tiny.accuracy.low <= usual.accuracy.low <= usual.accuracy.high <= tiny.accuracy.high
        alone = choose_by_metric(macro_f1(), inputs, groups=[0] * 120, n_boot=200)
        assert alone.labels_to_separate is None
        assert alone.detectable == 1.0

    def test_gains_stay_possible(self) -> None:
        data = Inputs.of([0, 1, 1], predicted=[[0, 1], [1, 0], [1, 1]])
        cost = cost_matrix(10 * (1 - np.eye(2)))
        for metric, span in ((accuracy(), 1.0), (cost, 10.0)):
            choice = choose_by_metric(metric, data, reference=1, n_boot=200, alpha=0.01)
            assert choice.detectable <= span
            for gain in choice.gains.values():
                assert -span <= gain.low <= gain.estimate <= gain.high <= span
        assert choose_by_metric(accuracy(), data, reference=1, n_boot=200, alpha=0.01).gains["best_held_out"].high == 1

    def test_preference_is_named(self) -> None:
        data = Inputs.of([0, 1, 1], predicted=[[0, 0]] * 3)
        text = choose_by_metric(accuracy(), data, order=[1, 2], n_boot=200, preference="held-out accuracy").reason
        assert text.endswith("tie broken by held-out accuracy.")

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("chance", [0.7, 1.0])
    def test_identical_losses_of_one_class(self, chance: float) -> None:
        data = Inputs.of([0] * 5, probabilities=np.tile([chance, 1 - chance], (5, 3, 1)))
        choice = choose_by_metric(log_loss(), data, n_boot=200, reference=1)
        assert choice.candidates == (0, 1, 2)
        assert choice.accuracy.low <= choice.accuracy.estimate < choice.accuracy.high

    def test_undefined_metric(self) -> None:
        data = Inputs.of([0, 0], probabilities=np.full((2, 1, 2), 0.5))
        with pytest.raises(ValueError, match="not defined"):
            choose_by_metric(auroc(), data)


THIRD = np.full((2, 1, 3), 1 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1]}, "must be given"),
        ({"labels": [], "predicted": np.empty((0, 1), dtype=int)}, "at least one example"),
        ({"labels": [0.0, 1.0], "predicted": [[0], [1]]}, "labels must be"),
        ({"labels": [0, -1], "predicted": [[0], [1]]}, "between 0 and"),
        ({"labels": [0, 3], "probabilities": THIRD}, "between 0 and 2"),
        ({"labels": [0, 1], "predicted": [0, 1]}, "predicted must be"),
        ({"labels": [0, 1], "predicted": [[0], [-1]]}, "from 0 on"),
        ({"labels": [0, 1], "probabilities": THIRD * 2}, "sum to 1"),
        ({"labels": [0, 1], "probabilities": THIRD * np.nan}, "NaN"),
        ({"labels": [0, 1], "probabilities": THIRD[:1]}, "probabilities must be numbers"),
        ({"labels": [0, 1], "probabilities": THIRD, "predicted": [[0, 1], [0, 1]]}, "same examples and variants"),
        ({"labels": [[True], [False]], "predicted": [[1], [0]]}, "predicted must be booleans"),
        ({"labels": [[True], [False]], "probabilities": THIRD}, "cover 1 labels"),
        ({"labels": [0, 1], "predicted": [[0], [1]], "slices": ["a"]}, "one entry per example"),
    ],
)
def test_inputs_refuse(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inputs.of(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("nothing", {}, "no objective is called 'nothing'"),
        ("top_k", {"k": 0}, "k must be at least 1"),
        ("top_k", {"n": 3}, "unexpected keyword"),
        ("cost", {}, "missing a required argument"),
        ("cost", {"costs": [[1, 2]]}, "costs must be"),
        ("cost", {"costs": [[1, 1], [1, 1]]}, "alike"),
        ("risk_at_coverage", {"coverage": 1}, "coverage"),
        ("ece", {"bins": 0}, "bins"),
    ],
)
def test_objective_refuses(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective(name, **parameters)


@pytest.mark.parametrize("metric", [macro_f1(), balanced_accuracy(), worst_slice()], ids=lambda metric: metric.name)
def test_counts_in_single_precision_lose_nothing(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 7, 900)
    predicted = np.where(rng.random((900, 5)) < 0.8, labels[:, None], rng.integers(0, 7, (900, 5)))
    data = Inputs.of(labels, predicted=predicted, slices=rng.integers(0, 4, 900))
    # Sums up to 2**24, where a float32 stops counting by ones.
    counts = rng.multinomial(2**24, np.full(900, 1 / 900), size=20).T
    single, double = (metric.evaluate(data, counts.astype(kind)) for kind in (np.float32, np.float64))
    assert single.dtype == np.float64
    assert np.array_equal(single, double)
