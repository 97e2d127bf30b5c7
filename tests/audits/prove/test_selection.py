"""Of many records those are chosen on which rare units fire twice or so."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from undertow.audits.prove.selection import firing, selected
from undertow.rng import stream


def test_rare_units_are_fired_by_two_of_the_chosen():
    """At random, 40 of 800 records would fire a unit of one in a hundred .4 times."""
    fired = stream(0, "selection").random((800, 30)) < 0.01
    chosen = selected(fired, 40)
    assert len(set(chosen.tolist())) == 40
    counts = fired[chosen].sum(0)
    assert ((counts >= 1) & (counts <= 3)).mean() > 0.9
    by_chance = fired[:40].sum(0)
    assert ((by_chance >= 1) & (by_chance <= 3)).mean() < 0.5


def test_where_there_are_few_all_are_taken():
    assert selected(np.ones((5, 2), bool), 5).tolist() == [0, 1, 2, 3, 4]


def test_units_that_fire_often_or_never_do_not_count():
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3, 4))
        layer.bias.copy_(torch.tensor([0.0, -0.5, -2.0]))
    x = torch.zeros(100, 2, 4)  # two tokens of 4 numbers
    x[:50, 0, 0] = 1  # unit 0 fires on half of them
    x[7, 1, 1] = 1  # unit 1 at one token of one
    module = torch.nn.Sequential(layer, torch.nn.ReLU())
    fired = firing(module, {"0": layer}, x)
    assert fired.shape == (100, 1)
    assert np.flatnonzero(fired[:, 0]).tolist() == [7]
