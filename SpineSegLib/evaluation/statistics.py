"""Statistics between models over the same cases, as the papers did them; scipy and statsmodels do the tests.

CervSpineNet's paper: Friedman over all models, then Wilcoxon signed-rank between all pairs with Bonferroni, per
metric. CVM-UNet's: every model against one; where the differences look normal a paired t test with Cohen's d, else
Wilcoxon with Cliff's delta, all tests of a table together corrected by Benjamini and Hochberg. A case that lacks a
number for a metric (a distance to an empty mask) is left out of that metric, for all models that are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np

FEWEST = 3
"""Pairs below which no test is made; Shapiro-Wilk needs as many."""
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class Description:
    """What one model reached in one metric.

    Parameters
    ----------
    n : number of cases
    sd : standard deviation with n - 1; None for one case, like the intervals
    t_low, t_high : confidence interval of the mean by Student's t
    bootstrap_low, bootstrap_high : the same by resampling cases, percentile method
    """

    n: int
    mean: float | None
    sd: float | None
    median: float | None
    q1: float | None
    q3: float | None
    t_low: float | None
    t_high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the numbers by name."""
        return asdict(self)


def describe(values: Sequence[float], *, seed: int, confidence: float = 0.95, resamples: int = 10_000) -> Description:
    """Return mean, spread and confidence intervals of the mean.

    Parameters
    ----------
    values : one finite number a case
    seed : of the bootstrap
    confidence : of both intervals
    resamples : of the bootstrap; 10,000 make the limits steady to about a hundredth of the interval
    """
    from scipy import stats

    array = np.asarray(values, dtype=float)
    if not array.size:
        return Description(0, *(None,) * 9)
    mean = float(array.mean())
    q1, median, q3 = (float(value) for value in np.percentile(array, (25, 50, 75)))
    if array.size == 1:
        return Description(1, mean, None, median, q1, q3, None, None, None, None)
    sd = float(array.std(ddof=1))
    if array.min() == array.max():
        return Description(array.size, mean, 0.0, median, q1, q3, *(mean,) * 4)
    by_t = stats.t.interval(confidence, array.size - 1, loc=mean, scale=stats.sem(array))
    # Resampled in parts: all at once would take resamples x cases numbers of memory.
    by_resampling = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=resamples,
        batch=1000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Description(array.size, mean, sd, median, q1, q3, *(float(end) for end in (*by_t, *by_resampling)))


@dataclass(frozen=True)
class Friedman:
    """Whether any of several models differs.

    Parameters
    ----------
    n : cases on which all have a number
    statistic, p : of Friedman's test; None below three models or cases
    kendall_w : effect, statistic / (n (models - 1)): 0 none, 1 the same order of models on every case
    """

    n: int
    statistic: float | None
    p: float | None
    kendall_w: float | None


def friedman(values: np.ndarray) -> Friedman:
    """Test an array (cases, models) for any difference between models; all equal gives p = 1."""
    from scipy import stats

    cases, models = values.shape
    if models < 3 or cases < FEWEST:
        return Friedman(cases, None, None, None)
    if (values == values[:, :1]).all():
        return Friedman(cases, 0.0, 1.0, 0.0)
    statistic, p = (float(value) for value in stats.friedmanchisquare(*values.T))
    return Friedman(cases, statistic, p, statistic / (cases * (models - 1)))


@dataclass(frozen=True)
class Pairwise:
    """One model against another in one metric.

    Parameters
    ----------
    a, b : the models; differences are a - b
    test : ``"Wilcoxon"`` or ``"paired t"``; None where there are too few cases
    effect, effect_name : Cohen's d or Cliff's delta; positive where a's numbers are larger
    p, p_adjusted : before and after the correction named in `correction`
    stars : ``***`` below 0.001, ``**`` below 0.01, ``*`` below 0.05, of the adjusted p
    shapiro_p : of the differences, where the test was chosen by it
    """

    metric: str
    a: str
    b: str
    n: int
    mean_difference: float | None
    test: str | None
    statistic: float | None
    p: float | None
    effect_name: str | None = None
    effect: float | None = None
    shapiro_p: float | None = None
    p_adjusted: float | None = None
    correction: str | None = None
    stars: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the numbers by name."""
        return asdict(self)


Table = Mapping[str, Mapping[str, float]]
"""Model -> case -> number, of one metric."""


def common_cases(table: Table) -> tuple[list[str], np.ndarray]:
    """Return the cases on which every model has a number, and the numbers (cases, models)."""
    cases = [case for case in next(iter(table.values())) if all(case in values for values in table.values())]
    return cases, np.array([[values[case] for values in table.values()] for case in cases]).reshape(-1, len(table))


def all_pairs(metric: str, table: Table) -> list[Pairwise]:
    """Wilcoxon signed-rank between all pairs of models with Bonferroni within the metric (CervSpineNet's paper)."""
    found = []
    for a, b in combinations(table, 2):
        cases, values = common_cases({a: table[a], b: table[b]})
        found.append(_tested(metric, a, b, *values.T) if len(cases) >= FEWEST else _too_few(metric, a, b, values))
    return corrected(found, "bonferroni")


def against(metric: str, table: Table, reference: str, *, normality: float = 0.05) -> list[Pairwise]:
    """One model against each other one, by the test that suits the differences (CVM-UNet's paper); not corrected yet.

    Parameters
    ----------
    reference : the model that stands first; the others follow as b
    normality : Shapiro-Wilk's p of the differences below which they do not count as normal; the paper names neither
        the test nor the limit
    """
    from scipy import stats

    found = []
    for other in (name for name in table if name != reference):
        cases, values = common_cases({reference: table[reference], other: table[other]})
        if len(cases) < FEWEST:
            found.append(_too_few(metric, reference, other, values))
            continue
        one, two = values.T
        differences = one - two
        constant = np.ptp(differences) <= 1e-12 * np.abs(values).max(initial=1e-300)
        shapiro = None if constant else float(stats.shapiro(differences).pvalue)
        normal = shapiro is not None and shapiro >= normality
        found.append(_tested(metric, reference, other, one, two, paired_t=normal, shapiro=shapiro))
    return found


def _too_few(metric: str, a: str, b: str, values: np.ndarray) -> Pairwise:
    difference = float(np.mean(values[:, 0] - values[:, 1])) if len(values) else None
    return Pairwise(metric, a, b, len(values), difference, None, None, None)


def _tested(
    metric: str,
    a: str,
    b: str,
    one: np.ndarray,
    two: np.ndarray,
    *,
    paired_t: bool = False,
    shapiro: float | None = None,
) -> Pairwise:
    from scipy import stats

    if paired_t:
        name, result, effect_name, effect = "paired t", stats.ttest_rel(one, two), "Cohen's d", cohens_d(one, two)
    else:
        name, effect_name, effect = "Wilcoxon", "Cliff's delta", cliffs_delta(one, two)
        # Where all differences are zero there is nothing to rank, and nothing differs.
        result = (0.0, 1.0) if (one == two).all() else stats.wilcoxon(one, two)
    statistic, p = (float(value) for value in tuple(result)[:2])
    difference = float(np.mean(one - two))
    return Pairwise(metric, a, b, len(one), difference, name, statistic, p, effect_name, effect, shapiro)


def corrected(tests: Sequence[Pairwise], method: str, *, level: float = 0.05) -> list[Pairwise]:
    """Correct the tests of one family for their number; those without a p stay as they are.

    Parameters
    ----------
    method : ``"bonferroni"`` or ``"fdr_bh"`` (Benjamini and Hochberg 1995), as statsmodels names them
    """
    from dataclasses import replace

    from statsmodels.stats.multitest import multipletests

    valid = [n for n, test in enumerate(tests) if test.p is not None]
    found = list(tests)
    if valid:
        adjusted = multipletests([tests[n].p for n in valid], alpha=level, method=method)[1]
        for n, p in zip(valid, adjusted, strict=True):
            found[n] = replace(tests[n], p_adjusted=float(p), correction=method, stars=stars(float(p)))
    return found


def stars(p: float) -> str:
    """Return the marks of significance of a p value.

    Examples
    --------
    >>> stars(0.0004), stars(0.03), stars(0.2)
    ('***', '*', '')
    """
    return next((marks for limit, marks in STARS if p < limit), "")


def cohens_d(one: np.ndarray, two: np.ndarray) -> float | None:
    """Return the difference of the means over the root of the mean variance (Cohen 1988); None without any spread.

    The table of CVM-UNet's paper follows from its means and standard deviations by this formula, not by the one that
    divides by the standard deviation of the differences.
    """
    spread = float(np.sqrt((np.var(one, ddof=1) + np.var(two, ddof=1)) / 2))
    return float(np.mean(one) - np.mean(two)) / spread if spread else None


def cliffs_delta(one: np.ndarray, two: np.ndarray) -> float:
    """Return the part of all pairs in which `one` is larger, less that in which it is smaller (Cliff 1993)."""
    ordered = np.sort(two)
    below = np.searchsorted(ordered, one, side="left")
    above = len(two) - np.searchsorted(ordered, one, side="right")
    return float((below - above).sum() / (len(one) * len(two)))


def time_saved(manual: Sequence[float], automatic: Sequence[float]) -> float:
    """Return the percentage of the mean manual time that the mean automatic time saves (CervSpineNet's paper).

    Examples
    --------
    >>> round(time_saved([210], [7.5]), 2)
    96.43
    """
    return 100 * (1 - float(np.mean(automatic)) / float(np.mean(manual)))
