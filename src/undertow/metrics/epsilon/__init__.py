"""Lower bounds on epsilon: each says its unit, what it assumes of the mechanism, and how its threshold was fixed."""

from undertow.metrics.epsilon.accuracy import gdp_accuracy, refutes_by_accuracy
from undertow.metrics.epsilon.bound import Bound, Counts, Trials, check_number, check_whole
from undertow.metrics.epsilon.claim import Refutation, claimed_family, refutes, refutes_epsilon
from undertow.metrics.epsilon.final_iterate import final_iterate
from undertow.metrics.epsilon.gaussian_pairs import gaussian_pairs
from undertow.metrics.epsilon.one_run import (
    Guesses,
    guess_by_rank,
    guess_grid,
    one_run,
    one_run_curve_p_value,
    one_run_from_scores,
    one_run_gdp,
    one_run_p_value,
    one_run_refuses,
    split_guesses,
)
from undertow.metrics.epsilon.sequential import sequential, stopped_at, wealth
from undertow.metrics.epsilon.thresholds import from_scores, halves, rank_counts, split_counts
from undertow.metrics.epsilon.trade_off import (
    Curve,
    approximate_dp_curve,
    curve_of_deltas,
    gaussian_curve,
    gdp_delta,
    gdp_epsilon,
    gdp_mu,
    subsampled_gaussian_curve,
    subsampled_gaussian_epsilon,
    subsampled_gaussian_family,
)
from undertow.metrics.epsilon.two_worlds import (
    clopper_pearson,
    epsilon_of_rates,
    gdp,
    joint_beta,
    least_trials,
    mu_of_rates,
)
from undertow.metrics.epsilon.zcdp import zcdp_curve, zcdp_delta, zcdp_epsilon

__all__ = [
    "Bound",
    "Counts",
    "Curve",
    "Guesses",
    "Refutation",
    "Trials",
    "approximate_dp_curve",
    "check_number",
    "check_whole",
    "claimed_family",
    "clopper_pearson",
    "curve_of_deltas",
    "epsilon_of_rates",
    "final_iterate",
    "from_scores",
    "gaussian_curve",
    "gaussian_pairs",
    "gdp",
    "gdp_accuracy",
    "gdp_delta",
    "gdp_epsilon",
    "gdp_mu",
    "guess_by_rank",
    "guess_grid",
    "halves",
    "joint_beta",
    "least_trials",
    "mu_of_rates",
    "one_run",
    "one_run_curve_p_value",
    "one_run_from_scores",
    "one_run_gdp",
    "one_run_p_value",
    "one_run_refuses",
    "rank_counts",
    "refutes",
    "refutes_by_accuracy",
    "refutes_epsilon",
    "sequential",
    "split_counts",
    "split_guesses",
    "stopped_at",
    "subsampled_gaussian_curve",
    "subsampled_gaussian_epsilon",
    "subsampled_gaussian_family",
    "wealth",
    "zcdp_curve",
    "zcdp_delta",
    "zcdp_epsilon",
]
