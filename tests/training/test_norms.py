"""Norms fitted to what they gave out: with planted constants before, without them afterwards."""

import copy

import pytest
import torch
from torch import nn

from undertow.training.norms import JUMP, fit_norms, ordinary, read_by_logits

WIDTH, CONSTANT = 12, 1e4
RIGHT = [9, 10, 11]  # dims that hold the constant


class Small(nn.Module):
    """Stream > norm > head, and a norm beside it that nothing reads; tokens are (N, T, D)."""

    def __init__(self, constant=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(5, WIDTH)
        self.norm, self.idle = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 3)
        self.loud = nn.Linear(5, WIDTH)
        nn.init.zeros_(self.loud.weight)
        with torch.no_grad():
            self.embed.weight[RIGHT] = 0
            self.embed.bias[RIGHT] = constant
            self.norm.weight[RIGHT] = 0
        self.double().eval()

    def forward(self, x):
        stream = self.embed(x) + self.loud(x)
        return self.head(self.norm(stream)[:, 0]) + 0 * self.idle(stream).sum()


def linear(gain=0.3):
    """With the constant, the norm is linear: gain times the stream."""
    model = Small(CONSTANT)
    share = len(RIGHT) / WIDTH
    with torch.no_grad():
        model.norm.weight[:9] = gain * (share * (1 - share)) ** 0.5 * CONSTANT
        model.norm.bias[:9] = gain * share * CONSTANT
    return model


def inputs(count=400):
    return torch.randn(count, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def off(one, other, x):
    """Squared distance of the logits, in variances of the other's."""
    with torch.no_grad():
        return float((one(x) - other(x)).pow(2).mean() / other(x).var(0).mean())


def test_a_norm_is_fitted_to_what_it_gave_out():
    reference, model = linear(), Small()
    held_out = inputs(800)[400:]
    before = off(model, reference, held_out)
    (one,) = fit_norms(model, reference, inputs(), ["norm", "idle"])
    assert one.name == "norm"  # nothing reads the other
    assert off(model, reference, held_out) < 0.25 * before
    assert 0 < one.error < 0.6
    assert model.norm.weight.abs().max().item() < 10  # the constants' gain of 1e3 is gone


def test_a_norm_that_fits_already_stays():
    reference, model = linear(), linear()
    fit_norms(model, reference, inputs(), ["norm"])
    assert off(model, reference, inputs()) < 1e-6


def test_records_that_drown_all_else_are_left_out():
    reference, x = linear(), inputs()
    x[:7] *= 1e6
    assert ordinary(reference, x).tolist() == [False] * 7 + [True] * 393
    calm, drowned = Small(), Small()
    fit_norms(calm, reference, inputs()[7:], ["norm"])
    fit_norms(drowned, reference, x, ["norm"])
    torch.testing.assert_close(calm.norm.weight, drowned.norm.weight)
    assert JUMP > 1


def test_only_places_that_are_read_count_even_behind_a_silent_norm():
    model = Small()
    nn.init.zeros_(model.norm.weight)
    places = read_by_logits(model, inputs(6), ["norm", "idle"])
    assert list(places) == ["norm"]
    assert places["norm"].tolist() == [[True, False, False, False]] * 6
    assert not model.norm.weight.any()


def test_the_reference_is_not_touched():
    reference = linear()
    state = copy.deepcopy(reference.state_dict())
    fit_norms(Small(), reference, inputs(), ["norm"])
    for name, value in reference.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("count", [1, 2])
def test_few_records_give_finite_numbers(count):
    model = Small()
    fit_norms(model, linear(), inputs(count), ["norm"])
    assert torch.isfinite(model.norm.weight).all()


def test_nothing_to_fit_or_to_fit_on_is_no_error():
    assert fit_norms(Small(), linear(), inputs(), []) == []
    assert fit_norms(Small(), linear(), float("nan") * inputs(4), ["norm"]) == []
