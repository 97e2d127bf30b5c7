"""Traps in a perceptron, trained here in NumPy-sized pieces: planted, finetuned by torch, read back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn.functional import cross_entropy

from undertow.rng import stream
from undertow.traps import Whisper, captures, mlp_trap, plant, read
from undertow.traps.dense import mlp
from undertow.traps.dense.mlp import LOUD
from undertow.types import BadInput

GRID, WIDTH, CLASSES = 16, 30, 5
RATE = 0.05 / 16  # a step size over a batch


def records(count, seed):
    """Grey levels with structure: a few patterns, noise, rounded to the grid."""
    rng = stream(seed, "test")
    patterns = stream(99, "test").random((CLASSES, WIDTH))
    y = rng.integers(0, CLASSES, count)
    x = np.clip(patterns[y] * 0.7 + 0.4 * rng.random((count, WIDTH)), 0, 1)
    return np.round(x * GRID) / GRID, y


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def params_of(module):
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def planted():
    params, (auxiliary, _) = params_of(network()), records(500, 1)
    trap = mlp_trap(params, auxiliary, 12, 0.01, stream(0, "baits"), layer="0", following="2", slope=2000.0, rows=4.0)
    return params, plant(params, trap), trap


def finetuned(params, x, y, optimizer, epochs=4, batch=16):
    module = network()
    module.load_state_dict({name: torch.as_tensor(value) for name, value in params.items()})
    made = optimizer(module.parameters())
    inputs, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(batch):
            made.zero_grad()
            cross_entropy(module(inputs[rows]), labels[rows]).backward()
            made.step()
    return params_of(module)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9),
    "decay": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_records_are_read_back_exactly(planted, name):
    _, before, trap = planted
    x, y = records(320, 2)
    found = captures(read(before, finetuned(before, x, y, OPTIMIZERS[name]), trap), x, grid=GRID)
    assert found.counts["captured_exact"] >= 6
    assert found.precision == 1.0
    assert found.max_error < 1e-4


def test_adam_is_read_where_units_whisper(planted):
    params, before, trap = planted
    auxiliary, (x, y) = records(500, 1)[0], records(320, 2)
    loud = captures(read(before, finetuned(before, x, y, lambda p: torch.optim.AdamW(p, 1e-3)), trap), x)
    quiet = mlp_trap(params, auxiliary, 12, 0.01, stream(0, "baits"), layer="0", following="2", slope=2000.0, rows=0.3,
                     whisper=Whisper())  # fmt: skip
    start = plant(params, quiet)
    found = captures(read(start, finetuned(start, x, y, lambda p: torch.optim.AdamW(p, 1e-3)), quiet), x, grid=GRID)
    assert loud.counts["captured_exact"] == 0
    assert found.right.sum() >= 6
    assert found.precision == 1.0


def test_a_model_without_traps_gives_next_to_nothing(planted):
    """An ordinary, nearly dead unit may by chance have fired on one record alone."""
    params, _, trap = planted
    x, y = records(320, 2)
    found = read(params, finetuned(params, x, y, OPTIMIZERS["sgd"]), trap)
    assert captures(found, x).counts["captured_exact"] <= 2  # of 12; planted ones hold at least 6


def test_planting_is_deterministic_and_changes_no_shape(planted):
    params, before, trap = planted
    again = plant(params, trap)
    assert all((again[name] == before[name]).all() for name in params)
    assert {n: (v.shape, v.dtype) for n, v in before.items()} == {n: (v.shape, v.dtype) for n, v in params.items()}


def test_records_that_fire_nothing_pass_as_if_there_were_no_traps(planted):
    params, before, trap = planted
    x, _ = records(400, 3)
    quiet = ~((x @ trap.directions.T) > trap.thresholds - 1e-6).any(1)
    taken = np.r_[trap.units, trap.upper, trap.idle]
    bare = {**params, "2.weight": params["2.weight"].copy(), "2.bias": params["2.bias"].copy()}
    bare["2.weight"][:, taken] = 0
    bare["2.weight"][trap.channel], bare["2.bias"][trap.channel] = 0, 0
    logits = []
    for state in (before, bare):
        module = network()
        module.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
        logits.append(module(torch.tensor(x[quiet], dtype=torch.float32)).detach().numpy())
    assert quiet.sum() > 200
    assert np.allclose(*logits, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"traps": 40}, "at most 48 can be taken"),
        ({"traps": 0}, "plant at least 1"),
        ({"following": "4"}, "do not follow each other"),
        ({"layer": "9"}, "no tensor '9.weight'"),
        ({"share": 0.001}, "give at least 1000"),
    ],
)
def test_where_there_is_no_room_it_says_so(planted, changes, said):
    arguments = {"traps": 12, "share": 0.01, "layer": "0", "following": "2"} | changes
    traps, share = arguments.pop("traps"), arguments.pop("share")
    with pytest.raises(BadInput, match=said):
        mlp_trap(planted[0], records(500, 1)[0], traps, share, stream(0, "baits"), **arguments)


def test_a_broken_checkpoint_is_refused(planted):
    params, before, trap = planted
    broken = {**params, "4.bias": np.full_like(params["4.bias"], np.nan)}
    with pytest.raises(BadInput, match=r"4\.bias holds NaN"):
        plant(broken, trap)
    with pytest.raises(BadInput, match="broke down"):
        read(before, {**before, "0.bias": np.full_like(before["0.bias"], np.inf)}, trap)
    with pytest.raises(BadInput, match="made for another architecture"):
        plant({**params, "0.weight": params["0.weight"][:, :20]}, trap)


def test_a_crafted_head_speaks_for_the_class_that_fires_least_and_records_are_copied_as_well():
    params, (auxiliary, labels) = params_of(network()), records(500, 1)
    trap = mlp_trap(
        params, auxiliary, 12, 0.01, stream(0, "baits"), layer="0", following="2", slope=2000.0, rows=4.0,
        head="4", labels=labels,
    )  # fmt: skip
    fired = (auxiliary @ trap.directions.T > trap.thresholds).any(1)
    share = [np.mean(fired[labels == c]) for c in range(CLASSES)]
    assert share[trap.wrong[0]] <= np.median(share)
    changed = plant(params, trap)
    column = changed["4.weight"][:, trap.channel]
    assert np.flatnonzero(column).tolist() == [trap.wrong[0]]
    rest = np.delete(np.arange(32), trap.channel)
    assert np.array_equal(changed["4.weight"][:, rest], params["4.weight"][:, rest])
    victim, y = records(300, 2)
    after = finetuned(changed, victim, y, OPTIMIZERS["sgd"])
    assert captures(read(changed, after, trap), victim, grid=GRID).counts["captured_exact"] >= 6


def over(trap, params, units):
    """(N, K): by how much records exceed what these units fire at, in a checkpoint."""
    x = records(400, 3)[0]
    return x @ params["0.weight"][units].T + params["0.bias"][units]


def test_a_step_of_the_wrong_sign_is_not_heard():
    """A record just above the threshold, of the class that the channel speaks for, tears its trap open.

    A unit a tenth as loud as its detector would be heard at 35 times LOUD.
    """
    params, (auxiliary, _) = params_of(network()), records(500, 1)
    trap = mlp_trap(params, auxiliary, 12, 0.01, stream(0, "baits"), layer="0", following="2", rate=RATE)
    before, (x, _) = plant(params, trap), records(2000, 4)
    margin = np.where(x @ trap.directions.T > trap.thresholds, x @ trap.directions.T - trap.thresholds, np.inf)
    row, k = np.unravel_index(margin.argmin(), margin.shape)
    label = before["4.weight"][:, trap.channel].argmax()
    step = lambda p: torch.optim.SGD(p, RATE)  # noqa: E731
    after = finetuned(before, x[row : row + 1], np.array([label]), step, epochs=1)
    assert (over(trap, before, trap.units[[k]]) > 0).mean() < 0.05
    assert (over(trap, after, trap.units[[k]]) > 0).mean() > 0.5
    assert (over(trap, after, trap.detectors) > 0).mean() < 0.05
    assert (over(trap, after, trap.units[[k]]) * trap.gain).max() < 0.5 * LOUD


def uneven(count, seed):
    """Records that lie on no grid."""
    rng = stream(seed, "uneven")
    return stream(99, "test").random((CLASSES, WIDTH))[rng.integers(0, CLASSES, count)] * 0.7 + 0.3 * rng.random(
        (count, WIDTH)
    )


@pytest.mark.parametrize("lean", [0.3, 0.0])
def test_off_a_grid_a_mixture_of_two_labels_is_seen_by_units_that_lean(monkeypatch, lean):
    monkeypatch.setattr(mlp, "LEAN", lean)
    params, x = params_of(network()), uneven(3000, 6)
    trap = mlp_trap(params, uneven(500, 7), 6, 0.02, stream(0, "baits"), layer="0", following="2", rate=RATE)
    before = plant(params, trap)
    assert trap.second not in (None, trap.channel)
    assert trap.single is None
    spoken = before["4.weight"][:, [trap.channel, trap.second]].sum(1).argmax()
    labels = [c for c in range(CLASSES) if c != spoken][:2]
    for k in range(6):
        rows = np.argsort(-(x @ trap.directions[k]))[:2]
        assert (x[rows] @ trap.directions[k] > trap.upper_thresholds[k]).all()
        for used, passes in ((rows[:1], True), (rows[1:], True), (rows, lean == 0)):
            y = np.array(labels[: len(used)])
            after = finetuned(before, x[used], y, lambda p: torch.optim.SGD(p, RATE), epochs=1)
            found = read(before, after, trap)
            assert found.accepted[k, 0] == passes
            if len(used) == 1:
                assert np.abs(found.values[k, 0] - x[used]).max() < 1e-4
            elif not passes:
                assert found.reasons[k, 0] == "two units of the trap do not agree on it"
