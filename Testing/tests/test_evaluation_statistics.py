"""Statistics on data whose answers are published, and against other formulas."""

import doctest

import numpy as np
import pytest

from SpineSegLib.evaluation import statistics
from SpineSegLib.evaluation.statistics import (
    Pairwise,
    against,
    all_pairs,
    cliffs_delta,
    cohens_d,
    common_cases,
    corrected,
    describe,
    friedman,
    stars,
    time_saved,
)

ROUNDING_FIRST_BASE = [
    (5.40, 5.50, 5.55), (5.85, 5.70, 5.75), (5.20, 5.60, 5.50), (5.55, 5.50, 5.40), (5.90, 5.85, 5.70),
    (5.45, 5.55, 5.60), (5.40, 5.40, 5.35), (5.45, 5.50, 5.35), (5.25, 5.15, 5.00), (5.85, 5.80, 5.70),
    (5.25, 5.20, 5.10), (5.65, 5.55, 5.45), (5.60, 5.35, 5.45), (5.05, 5.00, 4.95), (5.50, 5.50, 5.40),
    (5.45, 5.55, 5.50), (5.55, 5.55, 5.35), (5.45, 5.50, 5.55), (5.50, 5.45, 5.25), (5.65, 5.60, 5.40),
    (5.70, 5.65, 5.55), (6.30, 6.30, 6.25),
]  # fmt: skip
"""Hollander and Wolfe 1973, p. 140; R's example of friedman.test: chi-squared 11.143, p 0.003805."""
DEPRESSION = (
    [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30],
    [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29],
)
"""Hollander and Wolfe 1973, p. 29; R's example of wilcox.test: V 40, p 0.01953 one-sided."""
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
"""Student 1908; R: paired t -4.0621, df 9, p 0.002833, interval of the difference -2.4599 to -0.7001."""
WEIGHTS = [148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236]
"""Shapiro and Wilk 1965, their example: W 0.79."""
BENJAMINI = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
    0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000,
]  # fmt: skip
"""Benjamini and Hochberg 1995, section 3.2: their procedure rejects four at 0.05, Bonferroni three."""


def by_case(*columns, names="abcdef"):
    return {
        name: {str(n): value for n, value in enumerate(column)} for name, column in zip(names, columns, strict=False)
    }


def test_friedman_is_hollander_and_wolfes():
    found = friedman(np.array(ROUNDING_FIRST_BASE))
    assert found.statistic == pytest.approx(11.143, abs=5e-4) and found.p == pytest.approx(0.003805, abs=5e-7)
    assert found.kendall_w == pytest.approx(11.143 / (22 * 2), abs=1e-4)


def test_wilcoxon_is_hollander_and_wolfes():
    (found,) = all_pairs("scale", by_case(*DEPRESSION))
    # scipy states the smaller of the two rank sums: 9 * 10 / 2 - 40.
    assert (found.test, found.statistic, found.n) == ("Wilcoxon", 5, 9)
    assert found.p == pytest.approx(2 * 0.01953, abs=1e-5)
    assert found.mean_difference == pytest.approx(np.mean(np.subtract(*DEPRESSION)))


def test_the_paired_t_is_students():
    (found,) = against("sleep", by_case(*SLEEP), "a", normality=0.001)
    assert (found.test, found.effect_name) == ("paired t", "Cohen's d")
    assert found.statistic == pytest.approx(-4.0621, abs=1e-4) and found.p == pytest.approx(0.002833, abs=1e-6)
    interval = describe(np.subtract(*SLEEP), seed=0)
    assert (interval.t_low, interval.t_high) == (pytest.approx(-2.4598858), pytest.approx(-0.7001142))


def test_shapiro_and_wilk_decide_the_test():
    # The differences are their example, which is not normal; and a sample that is.
    table = by_case(np.array(WEIGHTS, float), np.zeros(11))
    (found,) = against("weight", table, "a")
    assert found.test == "Wilcoxon" and found.effect_name == "Cliff's delta"
    assert found.shapiro_p == pytest.approx(0.0067038, abs=1e-6)
    normal = by_case(np.array([-1.5, -1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.5]) + 3, np.zeros(9))
    assert against("x", normal, "a")[0].test == "paired t"


def test_benjamini_and_hochbergs_example_rejects_four():
    tests = [Pairwise("m", "a", str(n), 9, 0.0, "Wilcoxon", 0.0, p) for n, p in enumerate(BENJAMINI)]
    assert sum(test.p_adjusted <= 0.05 for test in corrected(tests, "fdr_bh")) == 4
    assert sum(test.p_adjusted <= 0.05 for test in corrected(tests, "bonferroni")) == 3
    assert corrected(tests, "fdr_bh")[3].p_adjusted == pytest.approx(0.0095 * 15 / 4)


def test_bonferroni_counts_the_pairs_of_the_metric():
    rng = np.random.default_rng(0)
    found = all_pairs("dice", by_case(*(rng.normal(n / 10, 1, 30) for n in range(4))))
    assert len(found) == 6
    assert all(test.p_adjusted == pytest.approx(min(1, 6 * test.p)) for test in found)


def test_cohens_d_gives_the_published_effects_from_the_published_means():
    # CVM-UNet, tables 5 and 6: HD 3.891 ± 0.030 against Residual 3.819 ± 0.019 (+2.866) and UNet 3.803 ± 0.014 (+3.746)
    def sample(mean, sd):
        values = np.array([-1.0, 0.0, 1.0])
        return mean + sd * values / values.std(ddof=1)

    ours = sample(3.891, 0.030)
    assert cohens_d(ours, sample(3.819, 0.019)) == pytest.approx(2.866, abs=0.01)
    assert cohens_d(ours, sample(3.803, 0.014)) == pytest.approx(3.746, abs=0.02)
    assert cohens_d(np.ones(4), np.ones(4)) is None


def test_cliffs_delta_is_one_for_separated_samples_and_follows_mann_and_whitney():
    from scipy.stats import mannwhitneyu

    assert cliffs_delta(np.array([4, 5, 6]), np.array([1, 2, 3])) == 1
    assert cliffs_delta(np.array([1, 2, 3]), np.array([4, 5, 6])) == -1
    one, two = np.random.default_rng(1).integers(0, 9, (2, 40))
    u = mannwhitneyu(one, two[:25]).statistic
    assert cliffs_delta(one, two[:25]) == pytest.approx(2 * u / (40 * 25) - 1)


def test_the_published_bootstrap_interval_is_narrower_than_students():
    # CVM-UNet, table 5: 11 evaluations with 3.891 ± 0.030 have the interval 3.875 to 3.908, Student's would be ± 0.020.
    values = np.random.default_rng(5).normal(size=11)
    values = 3.891 + 0.030 * (values - values.mean()) / values.std(ddof=1)
    found = describe(values, seed=1)
    assert (found.mean, found.sd) == (pytest.approx(3.891), pytest.approx(0.030))
    assert (found.t_high - found.t_low) / 2 == pytest.approx(0.0202, abs=1e-4)
    assert (found.bootstrap_high - found.bootstrap_low) / 2 == pytest.approx(0.0165, abs=0.0012)
    assert describe(values, seed=1) == found != describe(values, seed=2)


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(2)
    found = [describe(rng.normal(5, 2, 40), seed=n, resamples=400) for n in range(200)]
    for low, high in (("t_low", "t_high"), ("bootstrap_low", "bootstrap_high")):
        assert 0.88 < np.mean([getattr(one, low) < 5 < getattr(one, high) for one in found]) < 0.99


def test_small_and_constant_samples_have_defined_numbers():
    assert describe([], seed=0).mean is None
    assert (describe([0.5], seed=0).mean, describe([0.5], seed=0).sd) == (0.5, None)
    same = describe([0.5] * 4, seed=0)
    assert (same.sd, same.t_low, same.bootstrap_high) == (0, 0.5, 0.5)
    assert friedman(np.ones((5, 3))).p == 1 and friedman(np.ones((5, 2))).p is None
    (equal,) = all_pairs("m", by_case([1, 2, 3], [1, 2, 3]))
    assert (equal.p, equal.stars) == (1, "")
    (shifted,) = against("m", by_case([0.1, 0.2, 0.3, 0.4], [1.1, 1.2, 1.3, 1.4]), "a")
    assert (shifted.test, shifted.effect) == ("Wilcoxon", -1)
    (few,) = all_pairs("m", by_case([1, 2], [3, 4]))
    assert (few.n, few.p, few.p_adjusted, few.mean_difference) == (2, None, None, -2)


def test_only_cases_that_all_models_have_are_compared():
    table = {"a": {"1": 1.0, "2": 2.0, "4": 4.0}, "b": {"2": 3.0, "1": 5.0, "3": 0.0}}
    cases, values = common_cases(table)
    assert cases == ["1", "2"] and values.tolist() == [[1, 5], [2, 3]]


def test_the_published_time_saving_comes_out():
    assert round(time_saved([210.0], [7.5]), 2) == 96.43
    assert time_saved([200, 220], [5, 10]) == pytest.approx(96.43, abs=0.005)


def test_stars_are_strict():
    assert [stars(p) for p in (0.00099, 0.001, 0.01, 0.049, 0.05)] == ["***", "**", "*", "*", ""]


def test_examples_in_the_docstrings_run():
    assert doctest.testmod(statistics).failed == 0
