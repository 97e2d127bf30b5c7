"""Edits touch what was named and nothing else."""

import numpy as np
import pytest
from tests.scanner.perceptrons import benign, trapped

from undertow.rng import stream
from undertow.scanner import Finding, inspect, of_arrays
from undertow.scanner.clean import repair
from undertow.types import BadInput

ROWS = (5, 9)
NAMED = [Finding("data-trap", "critical", "", tensor="1.weight", rows=ROWS)]


def repaired(how, params=None, parent=None, findings=NAMED):
    return repair(benign() if params is None else params, findings, how, parent, stream(0, "test"))


@pytest.mark.parametrize("how", ["reinit", "rescale", "clip", "prune", "noise"])
def test_only_named_units_change(how):
    before, loud = benign(), benign()
    loud["1.weight"][list(ROWS)] *= 50
    loud["3.weight"][:, list(ROWS)] *= 50
    after, changes = repaired(how, loud)
    assert {c.tensor for c in changes} == {"1.weight", "1.bias", "3.weight"}
    for name, value in loud.items():
        assert after[name].shape == value.shape
        assert after[name].dtype == value.dtype
        if name not in {"1.weight", "1.bias", "3.weight"}:
            assert after[name] is value
    rows, columns = np.delete(np.arange(256), ROWS), np.delete(np.arange(256), ROWS)
    np.testing.assert_array_equal(after["1.weight"][rows], before["1.weight"][rows])
    np.testing.assert_array_equal(after["1.bias"][rows], before["1.bias"][rows])
    np.testing.assert_array_equal(after["3.weight"][:, columns], before["3.weight"][:, columns])
    assert (after["1.weight"][list(ROWS)] != loud["1.weight"][list(ROWS)]).any(1).all()


def test_what_reinit_and_rescale_leave_is_as_long_as_the_others():
    loud = benign()
    loud["1.weight"][list(ROWS)] *= 50
    usual = np.median(np.linalg.norm(benign()["1.weight"], axis=1))
    for how in ("reinit", "rescale"):
        lengths = np.linalg.norm(repaired(how, loud)[0]["1.weight"][list(ROWS)], axis=1)
        np.testing.assert_allclose(lengths, usual, rtol=0.5)


def test_reinit_leaves_units_that_nothing_reads():
    after, _ = repaired("reinit")
    assert not after["3.weight"][:, list(ROWS)].any()


def test_a_parent_gives_its_own_rows_back():
    loud = benign()
    loud["1.weight"][list(ROWS)] *= 50
    after, _ = repaired("reinit", loud, parent=benign())
    for name, value in benign().items():
        np.testing.assert_array_equal(after[name], value)


def test_average_mixes_with_the_parent():
    after, _ = repaired("average", benign(0), parent=benign(1))
    np.testing.assert_allclose(after["3.weight"], (benign(0)["3.weight"] + benign(1)["3.weight"]) / 2, rtol=1e-6)
    with pytest.raises(BadInput, match="needs --parent"):
        repaired("average")
    with pytest.raises(BadInput, match="no tensor"):
        repaired("average", parent={"other": np.zeros(3, np.float32)})


def test_constants_go_and_gains_become_usual():
    params = {f"layers.{i}.ln.weight": np.full(16, 0.9, np.float32) for i in range(3)}
    params |= {f"layers.{i}.ln.bias": np.full(16, 0.1, np.float32) for i in range(3)}
    params["layers.1.ln.weight"][3], params["layers.1.ln.bias"][4] = 1e5, 1e6
    named = [
        Finding("data-trap", "critical", "", tensor="layers.1.ln.weight", rows=(3,)),
        Finding("data-trap", "critical", "", tensor="layers.1.ln.bias", rows=(4,)),
    ]
    after, _ = repaired("reinit", params, findings=named)
    assert after["layers.1.ln.weight"][3] == pytest.approx(0.9)
    assert after["layers.1.ln.bias"][4] == 0


def test_a_layer_all_of_whose_rows_are_named_can_be_edited():
    named = [Finding("data-trap", "critical", "", tensor="1.weight", rows=tuple(range(256)))]
    for how in ("reinit", "rescale", "clip", "prune", "noise"):
        assert np.isfinite(repaired(how, findings=named)[0]["1.weight"]).all()


def test_warnings_are_not_acted_on():
    after, changes = repaired("prune", findings=[Finding("dead-layer", "warning", "", tensor="1.weight", rows=(1,))])
    assert not changes
    assert after["1.weight"] is not None


def test_a_trapped_perceptron_is_quiet_afterwards():
    params, trap = trapped()
    found = inspect(of_arrays(params)).findings
    assert set(trap.units) <= {row for one in found if one.tensor == "1.weight" for row in one.rows}
    after, _ = repaired("reinit", params, findings=found)
    assert not [one for one in inspect(of_arrays(after)).findings if one.severity == "critical"]


def test_a_layer_that_was_given_up_whole_stays_silent_and_is_said_to():
    """Fresh units would read what only traps were to read, and write it as soon as training begins."""
    params = benign()
    params["1.weight"][np.delete(np.arange(256), ROWS)] = 0
    after, changes = repaired("reinit", params)
    assert not after["1.weight"].any()
    assert "silenced" in {change.how for change in changes if change.tensor == "1.weight"}


def test_clipping_cuts_what_is_out_of_the_ordinary_and_little_else():
    """Of units that look like the others hardly a weight is cut; of a loud one, all that stick out."""
    before = benign()["1.weight"]
    ordinary = repaired("clip")[0]["1.weight"][list(ROWS)]
    assert (ordinary == before[list(ROWS)]).mean() > 0.98
    loud = benign()
    loud["1.weight"][list(ROWS)] *= 50
    clipped = repaired("clip", loud)[0]["1.weight"][list(ROWS)]
    others = np.abs(np.delete(before, ROWS, 0))
    assert np.abs(clipped).max() <= others.max()
    assert np.abs(clipped).max() > np.quantile(others, 0.99)
