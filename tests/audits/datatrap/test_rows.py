"""Rows over several experiments: means, and how many finetunings the traps broke."""

import pytest

from undertow.audits.datatrap.rows import mean_rows
from undertow.types import Measurement


def run(planted, clean=0.9):
    """The accuracies of one experiment after finetuning."""
    blank = Measurement("utility", "accuracy", clean, None, None, 100, "records", group="clean_twin", when="after")
    return (
        blank,
        Measurement("utility", "accuracy", planted, None, None, 100, "records", group="planted", when="after"),
    )


def collapsed(*runs):
    (row,) = [row for row in mean_rows(runs) if row.metric == "collapsed"]
    return row.value, row.n


@pytest.mark.parametrize(
    ("accuracy", "broken"), [(0.9, False), (0.95, False), (0.84, False), (0.75, True), (0.1, True)]
)
def test_a_finetuning_is_broken_where_accuracy_falls_visibly_below_the_clean_twins(accuracy, broken):
    """6 points lost are the price of traps; 15 are a model that nobody would keep."""
    assert collapsed(run(0.9), run(accuracy)) == (float(broken), 2)


def test_a_finetuning_that_diverged_is_broken():
    assert collapsed(run(0.9), run(None)) == (1.0, 2)


def test_one_experiment_has_no_mean():
    assert list(mean_rows([run(0.9)])) == []
