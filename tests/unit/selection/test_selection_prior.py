from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedzoo.selection.choice import choose
from seedzoo.selection.prior import Prior, fit_prior, posterior_deviations, rank_unlabeled
from seedzoo.selection.signatures import Signature

TWO = Prior(slopes=np.array([1.0, 0.0]), covariance=np.eye(2), residual_sd=0.01, conditions=3)


def profile(seed: int, m: int, k: int, *, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies that deviate by .5 x COT - .2 x nuclear deviations, plus noise."""
    rng = np.random.default_rng(seed)
    signatures = rng.uniform(0.4, 0.6, (m, k, 2))
    deviations = (signatures - signatures.mean(axis=0)) @ [0.5, -0.2]
    return 0.7 + deviations + noise * rng.standard_normal((m, k)), signatures


class TestFit:
    def test_recovers_the_slopes(self) -> None:
        prior = fit_prior(*profile(0, 6, 5))
        assert prior.slopes == pytest.approx([0.5, -0.2])
        assert prior.residual_sd == pytest.approx(0, abs=1e-9)
        assert prior.covariance.tolist() == np.eye(6).tolist()
        assert (prior.variants, prior.conditions) == (6, 5)

    def test_levels_of_conditions_do_not_matter(self) -> None:
        accuracies, signatures = profile(1, 6, 5, noise=0.01)
        shift = np.linspace(-0.2, 0.2, 5)
        other = fit_prior(accuracies + shift, signatures + shift[:, None])
        one = fit_prior(accuracies, signatures)
        assert other.slopes == pytest.approx(one.slopes)
        assert other.covariance == pytest.approx(one.covariance)

    def test_covariance_by_hand(self) -> None:
        # Without signature differences all deviations are residuals: +-.1 twice; R R' / (K v) = [[1, -1], [-1, 1]].
        prior = fit_prior([[0.6, 0.8], [0.4, 0.6]], np.full((2, 2, 2), 0.5))
        assert prior.slopes.tolist() == [0, 0]
        assert prior.covariance == pytest.approx(np.array([[1.0, -0.2], [-0.2, 1.0]]))
        assert prior.residual_sd == pytest.approx(0.1)

    def test_own_slopes_by_hand(self) -> None:
        # COT deviates by +-.1 both times, accuracy by +-.05 and then by -+.05: each is foretold the wrong way round.
        signatures = np.full((2, 2, 2), 0.5)
        signatures[0, :, 0], signatures[1, :, 0] = 0.6, 0.4
        prior = fit_prior([[0.55, 0.45], [0.45, 0.55]], signatures)
        held = 0.005 / 0.012**2
        own = (4 - held) / (4 + held)
        assert prior.own_slopes == pytest.approx([own, own])
        strays = 2 * (0.05 + own * 0.05) ** 2
        assert prior.own_spreads == pytest.approx([np.sqrt(0.012**2 + strays)] * 2)

    def test_own_slopes_of_a_faithful_profile_are_1(self) -> None:
        prior = fit_prior(*profile(0, 6, 5))
        assert prior.own_slopes == pytest.approx(np.ones(5))
        assert prior.own_spreads == pytest.approx(np.full(5, 0.012 / np.sqrt(5)))

    def test_a_single_condition_leaves_the_weak_prior(self) -> None:
        prior = fit_prior(*profile(0, 6, 1))
        assert prior.own_slopes.size == prior.own_spreads.size == 0

    def test_few_variants_stay_near_the_weak_prior(self) -> None:
        # Two variants: one deviation is fitted by one slope without rest, which must not pass for certainty.
        accuracies, signatures = profile(3, 2, 4, noise=0.001)
        signatures = 0.5 + (signatures - 0.5) / 100
        prior = fit_prior(0.7 + (accuracies - 0.7) / 100, signatures)
        assert prior.own_slopes == pytest.approx(np.ones(4), abs=0.05)
        assert prior.own_spreads == pytest.approx(np.full(4, 0.012), rel=0.05)

    def test_one_variant(self) -> None:
        prior = fit_prior([[0.5]], [[[0.5, 0.5]]])
        assert rank_unlabeled([[0.3, 0.4]], prior).tolist() == [0]
        with pytest.raises(ValueError, match="prior must be a Prior"):
            rank_unlabeled([[0.3, 0.4]], None)  # type: ignore[arg-type]
        assert posterior_deviations([0.7], 0.01, [[0.3, 0.4]], prior).tolist() == [0]


class TestRank:
    def test_by_hand(self) -> None:
        prior = Prior(slopes=np.array([0.5, 1.0]), covariance=np.eye(3), residual_sd=0.01, conditions=3)
        signatures = [[0.5, 0.2], [0.7, 0.2], [0.6, 0.5]]
        # Deviations: COT (-.1, .1, 0), nuclear (-.1, -.1, .2).
        assert rank_unlabeled(signatures, prior) == pytest.approx([-0.15, -0.05, 0.2])
        objects = [Signature(cot=cot, nuclear=nuclear, assumed=True) for cot, nuclear in signatures]
        assert rank_unlabeled(objects, prior) == pytest.approx([-0.15, -0.05, 0.2])


class TestPosterior:
    def test_no_information_leaves_the_ranking(self) -> None:
        found = posterior_deviations([0.9, 0.1], 1e9, [[0.52, 0.5], [0.5, 0.5]], TWO)
        assert found == pytest.approx([0.01, -0.01], abs=1e-6)

    def test_certain_labels_decide(self) -> None:
        found = posterior_deviations([0.6, 0.8], 0.0, [[0.6, 0.5], [0.5, 0.5]], TWO)
        assert found == pytest.approx([-0.1, 0.1], abs=1e-6)

    def test_numerically(self) -> None:
        # Two variants: one contrast z = (x_1 - x_2) / sqrt 2. Integrate over slope s and log tau by brute force.
        signatures, means, noise = [[0.56, 0.5], [0.5, 0.5]], np.array([0.70, 0.72]), 0.015**2
        m, d = 0.06 / np.sqrt(2), -0.02 / np.sqrt(2)
        slope = np.linspace(-3, 5, 1601)[:, None]
        t = np.linspace(-4, 4, 801)
        tau2 = np.exp(2 * (np.log(0.012) + t))
        total = tau2 + noise
        log_weight = -0.5 * (((slope - 1) / 0.5) ** 2 + t**2 + np.log(total) + (d - slope * m) ** 2 / total)
        weight = np.exp(log_weight)
        theta = slope * m + tau2 / total * (d - slope * m)
        expected = (weight * theta).sum() / weight.sum() / np.sqrt(2)
        assert posterior_deviations(means, noise, signatures, TWO) == pytest.approx([expected, -expected], rel=1e-4)

    def test_numerically_with_conditions(self) -> None:
        own, spreads = np.array([0.9, -0.2]), np.array([0.004, 0.01])
        prior = replace(TWO, own_slopes=own, own_spreads=spreads)
        signatures, means, noise = [[0.56, 0.5], [0.5, 0.5]], np.array([0.70, 0.72]), 0.015**2
        m, d = 0.06 / np.sqrt(2), -0.02 / np.sqrt(2)
        slope = np.linspace(-3, 5, 1601)[:, None]
        log_tau = np.linspace(np.log(0.012) - 4, np.log(0.012) + 4, 1601)
        tau2 = np.exp(2 * log_tau)
        density = np.zeros((slope.size, log_tau.size))
        for mean, sd, centre, spread in (
            (0.9, 0.3, np.log(2.5 * 0.004), 0.5),
            (-0.2, 0.3, np.log(2.5 * 0.01), 0.5),
            (1.0, 0.5, np.log(0.012), 1.0),
        ):
            exponent = ((slope - mean) / sd) ** 2 + ((log_tau - centre) / spread) ** 2
            density += np.exp(-0.5 * exponent) / (sd * spread)
        total = tau2 + noise
        weight = density * np.exp(-0.5 * (d - slope * m) ** 2 / total) / np.sqrt(total)
        theta = slope * m + tau2 / total * (d - slope * m)
        expected = (weight * theta).sum() / weight.sum() / np.sqrt(2)
        assert posterior_deviations(means, noise, signatures, prior) == pytest.approx([expected, -expected], rel=1e-4)

    def test_conditions_under_which_outputs_misled_let_labels_contradict(self) -> None:
        rng = np.random.default_rng(5)
        m, k, noise = 30, 12, 0.02**2
        accuracies, signatures = profile(6, m, k, noise=0.004)
        misled = accuracies.copy()
        # A third of the conditions, where the variants fare as if the outputs had said nothing.
        misled[:, ::3] = 0.7 + 0.02 * rng.standard_normal((m, k // 3))
        trusting, wary = fit_prior(accuracies, signatures), fit_prior(misled, signatures)
        assert wary.own_slopes[::3].max() < 0.5 < trusting.own_slopes.min()
        here = rng.uniform(0.4, 0.6, (m, 2))
        errors = []
        for prior in (trusting, wary):
            rng = np.random.default_rng(7)
            truth = 0.02 * rng.standard_normal(m)
            means = 0.7 + truth + np.sqrt(noise) * rng.standard_normal(m)
            errors.append(np.square(posterior_deviations(means, noise, here, prior) - truth + truth.mean()).mean())
        assert errors[1] < 0.9 * errors[0]

    def test_deterministic(self) -> None:
        prior = fit_prior(*profile(0, 6, 5, noise=0.01))
        means, signatures = np.linspace(0.6, 0.7, 6), np.random.default_rng(0).random((6, 2))
        one, other = (posterior_deviations(means, 0.001, signatures, prior) for _ in range(2))
        assert one.tolist() == other.tolist()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0, 1))
    def test_finite_centred_and_equivariant(self, seed: int, m: int, noise: float) -> None:
        rng = np.random.default_rng(seed)
        prior = fit_prior(*profile(seed, m, 4, noise=0.02))
        means, signatures = rng.random(m), rng.random((m, 2))
        found = posterior_deviations(means, noise, signatures, prior)
        assert np.isfinite(found).all()
        assert found.sum() == pytest.approx(0, abs=1e-9)
        order = rng.permutation(m)
        turned = replace(prior, covariance=prior.covariance[np.ix_(order, order)])
        again = posterior_deviations(means[order], noise, signatures[order], turned)
        assert again == pytest.approx(found[order], abs=1e-7)
        assert posterior_deviations(means * 0.5 + 0.25, noise, signatures + 0.1, prior) == pytest.approx(
            posterior_deviations(means * 0.5, noise, signatures, prior), abs=1e-7
        )


class TestChoose:
    def scores(self, n: int = 40) -> np.ndarray:
        latent = np.random.default_rng(3).random((n, 4))
        return latent < [0.8, 0.78, 0.77, 0.2]

    def test_only_inside_the_set(self) -> None:
        scores = self.scores()
        plain = choose(scores)
        assert 3 not in plain.candidates
        prior = fit_prior(*profile(2, 4, 6))
        for favourite in range(4):
            signatures = np.full((4, 2), 0.5)
            signatures[favourite, 0] = 0.55
            found = choose(scores, prior=prior, signatures=signatures)
            assert sorted(found.candidates) == sorted(plain.candidates)
            assert found.best == found.candidates[0]
            assert found.best in plain.candidates
            assert [x.tolist() for x in found.variant_intervals] == [x.tolist() for x in plain.variant_intervals]
            assert found.accuracy.estimate == plain.means[found.best]
            assert found.detectable > 0
            assert "stress profile" in found.reason

    def test_signatures_decide_among_what_labels_do_not(self) -> None:
        scores = np.ones((100, 3))
        for variant, (start, stop) in enumerate([(0, 20), (20, 41), (41, 63)]):
            scores[start:stop, variant] = 0
        prior = fit_prior(*profile(2, 3, 6))
        for favourite in range(3):
            signatures = np.full((3, 2), 0.5)
            signatures[favourite, 0] = 0.6
            found = choose(scores, prior=prior, signatures=signatures)
            assert found.best == favourite
            assert found.reason.endswith(
                "it has the highest sample mean too." if favourite == 0 else "not the highest sample mean."
            )

    def test_without_prior_nothing_changes(self) -> None:
        scores = self.scores()
        refused = choose(
            scores,
            prior=fit_prior(*profile(2, 4, 6)),
            signatures=[Signature(cot=c, nuclear=0.5, assumed=True) for c in (0.1, 0.2, 0.9, 0.1)],
        )
        plain = choose(scores)
        assert refused.candidates == plain.candidates
        assert refused.reason == plain.reason + (
            " The prior was not used: its signatures rest on assumed class proportions."
        )

    def test_set_of_one(self) -> None:
        scores = np.zeros((60, 2))
        scores[:, 1] = 1
        found = choose(scores, prior=TWO, signatures=[[0.9, 0.5], [0.1, 0.5]])
        assert found.candidates == (1,)
        assert found.reason == "Recommended as the only variant that 60 examples leave in the set."

    def test_refuses(self) -> None:
        scores = self.scores()[:, :2]
        with pytest.raises(ValueError, match="together"):
            choose(scores, prior=TWO)
        with pytest.raises(ValueError, match="together"):
            choose(scores, signatures=[[0.5, 0.5]] * 2)
        with pytest.raises(ValueError, match="2 variants"):
            choose(self.scores(), prior=TWO, signatures=[[0.5, 0.5]] * 4)
        with pytest.raises(ValueError, match="shape"):
            choose(scores, prior=TWO, signatures=[[0.5, 0.5]])


@pytest.mark.parametrize(
    ("accuracies", "signatures", "message"),
    [
        ([0.5], [[[0.5, 0.5]]], "shape"),
        (np.zeros((0, 2)), np.zeros((0, 2, 2)), "neither 0"),
        ([[1.5]], [[[0.5, 0.5]]], "0, 1"),
        ([[np.nan]], [[[0.5, 0.5]]], "NaN"),
        ([[0.5]], [[0.5, 0.5]], r"\(1, 1, 2\)"),
        ([[0.5]], [[[0.5, np.inf]]], "infinite"),
        ([["a"]], [[[0.5, 0.5]]], "numbers"),
    ],
)
def test_fit_refuses(accuracies: object, signatures: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_prior(accuracies, signatures)


def test_posterior_refuses() -> None:
    good = [[0.5, 0.5]] * 2
    for means, noise, signatures, message in (
        ([0.5], 0.1, good, "means"),
        ([0.5, np.nan], 0.1, good, "means"),
        ([0.5, 0.5], -0.1, good, "noise"),
        ([0.5, 0.5], np.nan, good, "noise"),
        ([0.5, 0.5], 0.1, good * 2, "signatures"),
        ([0.5, 0.5], 0.1, [Signature(cot=0.5, nuclear=0.5, assumed=False), 3], "all of type Signature"),
    ):
        with pytest.raises(ValueError, match=message):
            posterior_deviations(means, noise, signatures, TWO)
