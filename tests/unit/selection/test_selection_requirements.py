import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seedzoo.selection import (
    OBJECTIVES,
    Evidence,
    Inputs,
    ProfileCounts,
    Requirement,
    Status,
    choose,
    choose_by_metric,
    choose_by_metric_with_requirements,
    choose_with_requirements,
    evaluate_requirements,
    parse_requirement,
    wilson,
)
from seedzoo.selection.objectives import (
    accuracy,
    balanced_accuracy,
    cost_matrix,
    ece,
    log_loss,
    macro_f1,
    multilabel_accuracy,
)

NAMES = sorted(set(OBJECTIVES) - {"cost"})


class TestParse:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("accuracy[blurry] >= .8", ("accuracy", "blurry", True, 0.8)),
            ("profile[pixelate-3] >= .65", ("profile", "pixelate-3", True, 0.65)),
            ("balanced_accuracy >= .7", ("balanced_accuracy", None, True, 0.7)),
            ("  log_loss<=0.4  ", ("log_loss", None, False, 0.4)),
            ("accuracy [ site A, night ]>= 80 %", ("accuracy", "site A, night", True, 0.8)),
            ("accuracy >= 1.", ("accuracy", None, True, 1.0)),
            ("brier <= 1.9", ("brier", None, False, 1.9)),
            ("log_loss <= 300", ("log_loss", None, False, 300.0)),
            ("ece <= 5%", ("ece", None, False, 0.05)),
        ],
    )
    def test_reads(self, text: str, expected: tuple[object, ...]) -> None:
        one = parse_requirement(text)
        assert (one.metric, one.argument, one.at_least, one.threshold) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "must read"),
            ("accuracy", "must read"),
            ("accuracy > .8", "must read"),
            ("accuracy == .8", "must read"),
            ("accuracy[a]b] >= .8", "must read"),
            ("accuracy[a >= .8", "must read"),
            ("accuracy >= .8 and more", "no number"),
            ("accuracy >=", "no number"),
            ("accuracy >= -1", "no number"),
            ("accuracy >= nan", "no number"),
            ("accuracy >= 1e3", "no number"),
            ("accuracy >= .", "no number"),
            ("accuracy >= " + "9" * 400, "too large"),
            ("accuracy[ ] >= .8", "no slice or condition"),
            ("profile >= .8", "needs a condition"),
            ("speed >= .8", "no objective is called 'speed'"),
            ("cost <= 1", "costs come with a matrix"),
            ("accuracy >= 80", "accuracy is a share: did you mean 80%"),
            ("profile[blur] >= 65", "profile is a share: did you mean 65%"),
            ("ece <= 5", "ece is a share: did you mean 5%"),
            ("accuracy >= 101%", "accuracy lies between 0 and 1"),
            ("accuracy >= 800", "accuracy lies between 0 and 1"),
            ("brier <= 3", "brier lies between 0 and 2"),
            ("brier <= 30%", "brier is no share"),
            ("log_loss <= 40%", "log_loss is no share"),
            (None, "must be text"),
            (5, "must be text"),
        ],
    )
    def test_refuses(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            parse_requirement(text)

    @given(
        metric=st.sampled_from(NAMES),
        argument=st.none() | st.text(min_size=1).map(str.strip).filter(lambda s: s and not set(s) & set("[]\n\r")),
        at_least=st.booleans(),
        threshold=st.floats(0, 1).map(lambda x: round(x, 4)),
    )
    def test_round_trip(self, metric: str, argument: str | None, at_least: bool, threshold: float) -> None:
        one = Requirement(metric=metric, argument=argument, at_least=at_least, threshold=threshold)
        assert parse_requirement(str(one)) == one

    @given(st.text(alphabet="accuracy[]<>=. 0123456789%profile\n"))
    def test_any_text_reads_or_is_refused_clearly(self, text: str) -> None:
        message = ""
        try:
            parse_requirement(text)
        except ValueError as error:
            message = str(error)
        assert not message or message.startswith("requirement")


class TestEvaluate:
    def test_profile_by_hand(self) -> None:
        scores = np.ones((10, 3))
        profile = {"blur": ProfileCounts(correct=[700, 650, 600], n=1000)}
        (entry,) = evaluate_requirements(
            [parse_requirement("profile[blur] >= .65")], Evidence(scores=scores, profile=profile)
        )
        low, high = wilson([0.7, 0.65, 0.6], 1000, alpha=0.05 / 3)
        assert entry.lows == pytest.approx(low)
        assert entry.highs == pytest.approx(high)
        assert entry.statuses == (Status.MET, Status.OPEN, Status.REFUTED)
        assert entry.shortfall == pytest.approx([0, 0, 0.05])

    def test_bounds_share_alpha(self) -> None:
        scores = np.random.default_rng(0).random((200, 4)) < 0.8
        one = parse_requirement("accuracy >= .8")
        (alone,) = evaluate_requirements([one], Evidence(scores=scores))
        both = evaluate_requirements([one, one], Evidence(scores=scores))
        assert np.all(both[0].lows < alone.lows)
        # Without a pick, one requirement at level alpha is the simultaneous interval of `choose`.
        assert alone.lows == pytest.approx(choose(scores).variant_intervals[0], abs=5e-3)

    def test_slices_are_judged_alone(self) -> None:
        scores = np.concatenate([np.ones((300, 2)), np.tile([1.0, 0.0], (100, 1))])
        slices = {"rare": np.arange(400) >= 300}
        (entry,) = evaluate_requirements(
            [parse_requirement("accuracy[rare] >= .8")], Evidence(scores=scores, slices=slices)
        )
        assert entry.estimates.tolist() == [1, 0]
        assert entry.statuses == (Status.MET, Status.REFUTED)

    def test_other_metrics_and_at_most(self) -> None:
        rng = np.random.default_rng(1)
        labels = rng.integers(0, 2, 300)
        sure = np.where(labels[:, None] == np.arange(2), 0.95, 0.05)
        chance = np.stack([sure, np.full((300, 2), 0.5)], axis=1)
        inputs = Inputs.of(labels, probabilities=chance)
        evidence = Evidence(scores=inputs.predicted == labels[:, None], inputs=inputs)
        table = evaluate_requirements(
            [parse_requirement(text) for text in ("log_loss <= .4", "balanced_accuracy >= .7")], evidence, n_boot=300
        )
        assert [entry.statuses for entry in table] == [(Status.MET, Status.REFUTED)] * 2

    def test_baseline_columns_are_not_judged(self) -> None:
        rng = np.random.default_rng(4)
        labels = rng.integers(0, 3, 200)
        predicted = np.where(rng.random((200, 3)) < [0.9, 0.8, 0.1], labels[:, None], (labels[:, None] + 1) % 3)
        right = predicted[:, :2] == labels[:, None]
        with_baseline, alone = (
            evaluate_requirements(
                [parse_requirement("macro_f1 >= .7")],
                Evidence(scores=right, inputs=Inputs.of(labels, predicted=predicted[:, :columns])),
                n_boot=300,
            )[0]
            for columns in (3, 2)
        )
        assert len(with_baseline.statuses) == 2
        assert with_baseline.lows.tolist() == alone.lows.tolist()
        assert with_baseline.highs.tolist() == alone.highs.tolist()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("accuracy[night] >= .8", "no slice is called 'night'; there are day, empty"),
            ("accuracy[empty] >= .8", "has no examples"),
            ("profile[snow] >= .8", "no condition 'snow'; it has blur"),
            ("macro_f1 >= .8", "needs inputs"),
        ],
    )
    def test_refuses(self, text: str, message: str) -> None:
        evidence = Evidence(
            scores=np.ones((4, 2)),
            slices={"day": np.ones(4, dtype=bool), "empty": np.zeros(4, dtype=bool)},
            profile={"blur": ProfileCounts(correct=[1, 2], n=4)},
        )
        with pytest.raises(ValueError, match=message):
            evaluate_requirements([parse_requirement(text)], evidence)

    @pytest.mark.parametrize("counts", [ProfileCounts(correct=[1], n=4), ProfileCounts(correct=[1, 5], n=4)])
    def test_refuses_counts(self, counts: ProfileCounts) -> None:
        with pytest.raises(ValueError, match="counts between 0 and 4"):
            evaluate_requirements(
                [parse_requirement("profile[blur] >= .5")], Evidence(scores=np.ones((4, 2)), profile={"blur": counts})
            )

    @pytest.mark.parametrize(
        ("requirements", "arguments", "message"),
        [
            ([5], {}, "type Requirement"),
            (["accuracy >= .5"], {}, "parse_requirement"),
            ("accuracy >= .5", {}, "list of requirements"),
            (None, {}, "list of requirements"),
            ([parse_requirement("accuracy >= .5")], {"seed": -1}, "seed must be at least 0"),
            ([parse_requirement("accuracy >= .5")], {"n_boot": 10**9}, "n_boot"),
            ([parse_requirement("accuracy >= .5")], {"alpha": None}, "alpha"),
        ],
    )
    def test_refuses_arguments(self, requirements: object, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate_requirements(requirements, Evidence(scores=np.ones((4, 2))), **arguments)  # type: ignore[arg-type]

    def test_small_alpha_is_bounded_and_wider(self) -> None:
        """Beyond what the draws resolve the bounds are Bonferroni's at least."""
        scores = np.random.default_rng(0).random((300, 50)) < 0.8
        labels = np.zeros(300, dtype=np.int64)
        inputs = Inputs.of(labels, predicted=np.where(scores, 0, 1))
        asked = [parse_requirement("accuracy >= .8")] * 19 + [parse_requirement("balanced_accuracy >= .8")]
        evidence = Evidence(scores=scores, inputs=inputs)
        tracemalloc.start()
        first, last = (evaluate_requirements(asked, evidence, alpha=alpha) for alpha in (0.001, 1e-9))
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
        tracemalloc.stop()
        for number, metric in ((0, "accuracy"), (19, "balanced_accuracy")):
            assert np.all(last[number].lows <= first[number].lows), metric
            assert np.all(last[number].highs >= first[number].highs), metric
        low, high = wilson(first[0].estimates, 300, alpha=1e-9 / (20 * 50))
        assert np.all(last[0].lows <= low + 1e-12)
        assert np.all(last[0].highs >= high - 1e-12)
        # At alpha .001 the bounds are Bonferroni's or, by a rare draw, a little wider.
        assert first[0].lows.mean() == pytest.approx(
            wilson(first[0].estimates, 300, alpha=5e-5 / 50)[0].mean(), abs=0.02
        )

    def test_refuses_none_at_all(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            evaluate_requirements([], Evidence(scores=np.ones((4, 2))))


def three(n: int = 2000, seed: int = 0) -> np.ndarray:
    """Accuracies .95, .90 and .80."""
    latent = np.random.default_rng(seed).random((n, 1))
    return latent < [0.95, 0.9, 0.8]


def counts(*shares: float, n: int = 10_000) -> dict[str, ProfileCounts]:
    return {"blur": ProfileCounts(correct=[round(share * n) for share in shares], n=n)}


class TestChoose:
    def test_the_best_that_meets(self) -> None:
        outcome = choose_with_requirements(three(), ["profile[blur] >= .6"], profile=counts(0.5, 0.7, 0.7))
        assert outcome.overall == (Status.REFUTED, Status.MET, Status.MET)
        assert outcome.choice.best == 1
        assert outcome.choice.candidates == (1,)
        assert outcome.status is Status.MET
        assert outcome.nearest is None
        gain = outcome.choice.gains["family_mean"]
        truth = 0.9 - np.mean([0.95, 0.9, 0.8])
        assert gain.low <= truth <= gain.high
        assert outcome.choice.p_within == 1

    def test_only_the_met_reject(self) -> None:
        # The first is better but only may meet the requirement, so the second cannot be ruled out by it.
        outcome = choose_with_requirements(three(), ["profile[blur] >= .6"], profile=counts(0.601, 0.601, 0.601))
        assert outcome.overall == (Status.OPEN,) * 3
        assert outcome.choice.candidates == (0, 1, 2)
        assert outcome.choice.best == 0
        assert outcome.status is Status.OPEN
        assert "still open" in outcome.choice.reason

    def test_met_comes_before_open(self) -> None:
        outcome = choose_with_requirements(three(), ["profile[blur] >= .6"], profile=counts(0.601, 0.7, 0.7))
        assert outcome.choice.candidates == (1, 0)
        assert outcome.choice.best == 1

    def test_nearest_if_none_can(self) -> None:
        outcome = choose_with_requirements(three(), ["profile[blur] >= .9"], profile=counts(0.5, 0.7, 0.8))
        assert outcome.nearest == outcome.choice.best == 2
        assert outcome.choice.candidates == ()
        assert outcome.status is Status.REFUTED
        assert np.isnan(outcome.choice.p_within)
        assert outcome.table[0].shortfall[2] == pytest.approx(0.1)

    def test_nearest_weighs_shortfalls_by_range(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.zeros(400, dtype=np.int64)
        loss = rng.uniform(0.9, 1.1, (400, 2)) * [0.5, 8.0]
        right = rng.random((400, 2)) < [0.6, 0.88]
        own = np.exp(-loss)
        inputs = Inputs.of(labels, predicted=np.where(right, 0, 1), probabilities=np.stack([own, 1 - own], axis=2))
        outcome = choose_with_requirements(right, ["accuracy >= .99", "log_loss <= .4"], inputs=inputs)
        assert outcome.status is Status.REFUTED
        share, nats = outcome.table
        assert share.relative_shortfall == pytest.approx(share.shortfall)
        assert nats.relative_shortfall == pytest.approx(nats.shortfall / nats.highs.max())
        assert outcome.nearest == np.maximum(share.relative_shortfall, nats.relative_shortfall).argmin() == 0
        mild = choose_with_requirements(right, ["accuracy >= .99", "log_loss <= 6"], inputs=inputs)
        # The second lacks 2 nats, more than the .39 of the first as numbers, but less as shares of the range.
        assert mild.nearest == 1

    def test_merit_and_preference_are_named(self) -> None:
        words = {"merit": "the lowest Brier score", "preference": "held-out accuracy"}
        met = choose_with_requirements(three(), ["accuracy >= .1"], **words)  # type: ignore[arg-type]
        assert met.choice.reason.startswith("Recommended for the lowest Brier score on 2000 examples among the 3 that")
        tied = choose_with_requirements(np.ones((300, 2)), ["accuracy >= .1"], order=[1, 2], **words)  # type: ignore[arg-type]
        assert tied.choice.best == 1
        assert tied.choice.reason.endswith("It ties with 1 more; tie broken by held-out accuracy.")

    def test_worst_of_several_requirements(self) -> None:
        outcome = choose_with_requirements(
            three(), ["profile[blur] >= .6", "accuracy >= .85"], profile=counts(0.5, 0.7, 0.7)
        )
        assert outcome.overall == (Status.REFUTED, Status.MET, Status.REFUTED)

    def test_a_requirement_that_all_meet_changes_little(self) -> None:
        rng = np.random.default_rng(3)
        scores = rng.random((500, 6)) < 0.8
        free = choose(scores)
        outcome = choose_with_requirements(scores, ["accuracy >= .5"])
        assert outcome.choice.best == free.best
        assert set(free.candidates) <= set(outcome.choice.candidates)
        assert outcome.choice.accuracy.low == pytest.approx(free.accuracy.low, abs=5e-3)

    def test_single_example_and_variant(self) -> None:
        outcome = choose_with_requirements([[1]], ["accuracy >= .5"])
        assert outcome.choice.candidates == (0,)
        assert outcome.status is Status.OPEN

    def test_groups_weaken_the_evidence(self) -> None:
        scores = np.repeat(np.random.default_rng(0).random((20, 2)) < 0.85, 20, axis=0)
        groups = np.repeat(np.arange(20), 20)
        text = ["accuracy >= .6"]
        assert choose_with_requirements(scores, text).status is Status.MET
        assert choose_with_requirements(scores, text, groups=groups).status is Status.OPEN

    def test_validity(self) -> None:
        """The best feasible variant stays, and nothing is called met that is not: accuracies near the threshold."""
        truth = np.array([0.84, 0.82, 0.80, 0.78])
        night = np.array([0.70, 0.80, 0.82, 0.90])
        runs = kept = covered = 0
        wrong = 0
        for seed in range(200):
            rng = np.random.default_rng(seed)
            dark = rng.random(300) < 0.3
            shared = rng.random((300, 1))
            day = (truth - 0.3 * night) / 0.7
            scores = np.where(dark[:, None], shared < night, shared < day)
            outcome = choose_with_requirements(
                scores, ["accuracy[night] >= .8"], slices={"night": dark}, seed=seed, n_boot=300
            )
            feasible = night >= 0.8
            runs += 1
            kept += 1 in outcome.choice.candidates
            wrong += any(
                (status is Status.MET and not ok) or (status is Status.REFUTED and ok)
                for status, ok in zip(outcome.overall, feasible, strict=True)
            )
            interval = outcome.choice.accuracy
            covered += interval.low <= truth[outcome.choice.best] <= interval.high
        assert stats.binom.cdf(kept, runs, 0.95) > 0.001
        assert stats.binom.sf(wrong - 1, runs, 0.025) > 0.001
        assert stats.binom.cdf(covered, runs, 0.95) > 0.001

    def test_baselines_as_in_choose(self) -> None:
        scores = three(300)
        outcome = choose_with_requirements(
            scores, ["accuracy >= .1"], baselines={"any": scores.any(axis=1)}, reference=2
        )
        assert list(outcome.choice.gains) == ["family_mean", "best_held_out", "any"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"requirements": []}, "at least one"),
            ({"requirements": ["nonsense"]}, "must read"),
            ({"alpha": 2}, "alpha"),
            ({"n_boot": 20}, "n_boot"),
            ({"requirements": [5]}, "type Requirement"),
            ({"requirements": 5}, "list of requirements"),
            ({"requirements": "accuracy >= .1"}, "list of requirements"),
            ({"reference": 9}, "reference"),
            ({"slices": {"a": [1, 2]}, "requirements": ["accuracy[a] >= .1"]}, "booleans"),
        ],
    )
    def test_refuses(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            choose_with_requirements(np.ones((4, 2)), **({"requirements": ["accuracy >= .1"]} | arguments))  # type: ignore[arg-type]


def drawn(n: int, seed: int, *, levels: tuple[float, ...] = (1.0, 0.9, 0.8, 0.3)) -> Inputs:
    """Unequal classes; the higher the level, the more often right, in every class alike."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    hard = rng.standard_normal((n, 1)) * 0.8 + rng.standard_normal((n, len(levels))) * 0.6
    return Inputs.of(labels, predicted=np.where(hard < levels, labels[:, None], (labels[:, None] + 1) % 3))


class TestChooseByMetric:
    def test_accuracy_agrees_with_mean_scores(self) -> None:
        inputs = drawn(500, 0)
        scores = inputs.predicted == inputs.labels[:, None]
        slices = {"rare": inputs.labels == 2}
        text = ["accuracy[rare] >= .6", "accuracy >= .75"]
        one = choose_by_metric_with_requirements(accuracy(), inputs, text, slices=slices, reference=1, n_boot=4000)
        two = choose_with_requirements(scores, text, slices=slices, reference=1, n_boot=4000)
        assert one.overall == two.overall
        assert one.status is two.status
        assert one.choice.candidates == two.choice.candidates
        assert one.choice.means == pytest.approx(two.choice.means)
        assert list(one.choice.gains) == list(two.choice.gains)
        assert one.choice.p_within == pytest.approx(two.choice.p_within, abs=0.05)
        assert one.choice.detectable == pytest.approx(two.choice.detectable, rel=0.1)
        for name, gain in one.choice.gains.items():
            assert (gain.low, gain.high) == pytest.approx(
                (two.choice.gains[name].low, two.choice.gains[name].high), abs=0.012
            )

    def test_only_the_met_reject(self) -> None:
        inputs = drawn(2000, 1, levels=(1.5, 0.9, 0.2))
        free = choose_by_metric(macro_f1(), inputs, n_boot=400)
        assert free.candidates == (0,)
        open_, some = (
            choose_by_metric_with_requirements(
                macro_f1(), inputs, ["profile[blur] >= .6"], profile=counts(*shares), n_boot=400
            )
            for shares in ((0.601, 0.601, 0.601), (0.5, 0.7, 0.7))
        )
        assert open_.choice.candidates == (0, 1, 2)
        assert open_.status is Status.OPEN
        assert "still open" in open_.choice.reason
        assert some.choice.candidates == (1,)
        assert some.choice.reason.startswith("Recommended for the best macro_f1 on 2000 examples among the 2 that meet")
        assert some.choice.p_within == 1

    def test_lower_is_better(self) -> None:
        inputs = drawn(1000, 2, levels=(1.5, 0.9, 0.2))
        cost = cost_matrix(1 - np.eye(3))
        outcome = choose_by_metric_with_requirements(
            cost, inputs, ["profile[blur] >= .6"], profile=counts(0.5, 0.7, 0.7), n_boot=400
        )
        assert outcome.choice.candidates == (1,)
        gain = outcome.choice.gains["family_mean"]
        assert gain.estimate == pytest.approx(outcome.choice.means.mean() - outcome.choice.means[1])
        assert outcome.choice.accuracy.low < outcome.choice.means[1] < outcome.choice.accuracy.high

    def test_nearest_if_none_can(self) -> None:
        outcome = choose_by_metric_with_requirements(
            macro_f1(), drawn(300, 3), ["profile[blur] >= .9"], profile=counts(0.5, 0.7, 0.8, 0.6), n_boot=300
        )
        assert outcome.nearest == outcome.choice.best == 2
        assert outcome.choice.candidates == ()
        assert np.isnan(outcome.choice.p_within)
        assert outcome.choice.labels_to_separate is None

    def test_baselines_are_the_last_columns(self) -> None:
        inputs = drawn(400, 4)
        values = macro_f1()(inputs)
        outcome = choose_by_metric_with_requirements(
            macro_f1(), inputs, ["macro_f1 >= .3", "accuracy >= .2"], baselines=["poor"], reference=0, n_boot=400
        )
        assert outcome.choice.means.tolist() == values[:3].tolist()
        assert len(outcome.overall) == outcome.table[0].lows.size == outcome.table[1].lows.size == 3
        assert outcome.status is Status.MET
        assert list(outcome.choice.gains) == ["family_mean", "best_held_out", "poor"]
        assert outcome.choice.gains["poor"].estimate == pytest.approx(values[outcome.choice.best] - values[3])

    def test_multilabel(self) -> None:
        rng = np.random.default_rng(5)
        labels = rng.random((300, 4)) < 0.4
        predicted = labels[:, None] ^ (rng.random((300, 2, 4)) < np.array([0.05, 0.3])[:, None])
        outcome = choose_by_metric_with_requirements(
            multilabel_accuracy(exact=True), Inputs.of(labels, predicted=predicted), ["accuracy >= .85"], n_boot=300
        )
        assert outcome.overall == (Status.MET, Status.REFUTED)
        assert outcome.choice.best == 0

    def test_own_scores_for_accuracy(self) -> None:
        inputs = drawn(300, 6)
        worst = np.tile([0.0, 1.0, 1.0, 1.0], (300, 1))
        outcome = choose_by_metric_with_requirements(macro_f1(), inputs, ["accuracy >= .5"], scores=worst, n_boot=300)
        assert outcome.overall == (Status.REFUTED, Status.MET, Status.MET, Status.MET)

    def test_single_example_and_variant(self) -> None:
        outcome = choose_by_metric_with_requirements(
            macro_f1(), Inputs.of([0], predicted=[[0]]), ["accuracy >= .5"], n_boot=200
        )
        assert outcome.choice.candidates == (0,)
        assert outcome.status is Status.OPEN

    def test_validity(self) -> None:
        """The second is the best that meets the requirement; the first is better and close to meeting it."""
        metric, sure = balanced_accuracy(), np.array([0.58, 0.66, 0.70, 0.75])

        def profile(rng: np.random.Generator) -> dict[str, ProfileCounts]:
            return {"blur": ProfileCounts(correct=rng.binomial(400, sure), n=400)}

        truth = metric(drawn(400_000, 10**6))
        kept = covered = gained = wrong = 0
        runs = 150
        for seed in range(runs):
            outcome = choose_by_metric_with_requirements(
                metric,
                drawn(200, seed),
                ["profile[blur] >= .6"],
                profile=profile(np.random.default_rng(seed)),
                seed=seed,
                n_boot=300,
            )
            best = outcome.choice.best
            kept += 1 in outcome.choice.candidates
            wrong += any(
                (status is Status.MET and not ok) or (status is Status.REFUTED and ok)
                for status, ok in zip(outcome.overall, sure >= 0.6, strict=True)
            )
            covered += outcome.choice.accuracy.low <= truth[best] <= outcome.choice.accuracy.high
            gain = outcome.choice.gains["family_mean"]
            gained += gain.low <= truth[best] - truth.mean() <= gain.high
        for hits in (kept, covered, gained):
            assert stats.binom.cdf(hits, runs, 0.95) > 0.001
        assert stats.binom.sf(wrong - 1, runs, 0.025) > 0.001

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"metric": ece()}, "reported, not optimised"),
            ({"metric": log_loss()}, "needs class probabilities"),
            ({"requirements": []}, "at least one"),
            ({"baselines": ["a", "a"]}, "baselines"),
            ({"n_boot": 20}, "n_boot"),
            ({"delta": 1.0}, "delta"),
            ({"metric": "macro_f1"}, "metric must be a Metric"),
            ({"inputs": None}, "inputs must be Inputs"),
            ({"requirements": [5]}, "type Requirement"),
            ({"reference": 9}, "reference"),
            ({"scores": np.ones((4, 2))}, r"scores must have shape \(40, 4\)"),
            ({"requirements": ["accuracy[a] >= .1"]}, "no slices"),
        ],
    )
    def test_refuses(self, arguments: dict[str, object], message: str) -> None:
        given = {"metric": macro_f1(), "inputs": drawn(40, 0), "requirements": ["accuracy >= .1"]} | arguments
        with pytest.raises(ValueError, match=message):
            choose_by_metric_with_requirements(**given)  # type: ignore[arg-type]
