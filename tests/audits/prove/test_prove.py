"""Traps are proven by what they do, on made-up records alone; benign models are not."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.scanner.perceptrons import benign, records, trapped

import undertow.audits.prove.proof as room
from undertow.audits.prove.proof import Proof, Subject, Way, copied, prove
from undertow.audits.prove.records import image_records, perceptron_records, text_records
from undertow.audits.prove.subject import Given, subject_of
from undertow.models.architecture import factory
from undertow.rng import stream
from undertow.scanner.held import Held
from undertow.traps import plant
from undertow.types import BadInput, ConfigError


def build(shape, classes):
    """A model of the user's own, found by name."""
    widths = (64, 256, 128)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    module = torch.nn.Sequential()
    for name, layer in zip("13", layers, strict=True):
        module.add_module(name, layer)
        module.add_module(f"relu{name}", torch.nn.ReLU())
    module.add_module("5", torch.nn.Linear(128, classes))
    return module


def proof_of(params, given=None, seed=0):
    subject, control = subject_of(params, given or Given(), seed)
    return prove(subject, [control], seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_traps_are_proven_and_named(seed):
    params, trap = trapped(seed)
    proof = proof_of(params, seed=seed)
    assert proof.proven
    units = {one.row for one in proof.held if one.tensor == "1.weight"}
    assert len(units & set(trap.units.tolist())) >= 4
    assert not units - set(trap.units.tolist())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_benign_model_is_not(seed):
    assert not proof_of(benign(seed), seed=seed).proven


def test_the_users_own_records_and_model_serve_too():
    params, _ = trapped()
    given = Given(records(7), stream(0, "labels").integers(0, 10, 600), factory(build))
    assert proof_of(params, given).proven
    assert not proof_of(benign(), given).proven


def test_the_same_seed_gives_the_same_proof():
    params, _ = trapped()
    assert proof_of(params) == proof_of(params)


@pytest.mark.parametrize("lr", [30.0, 1e9])
def test_steps_so_large_that_they_shut_any_unit_prove_nothing(lr):
    """A benign unit that one wild step shuts holds one record, too: the control says so."""
    wild = [Subject(s.build, s.x, s.y, (Way("sgd", lr, lr),), s.named) for s in subject_of(benign(), Given(), 0)]
    assert copied(wild[0], wild[0].ways[0], 0)
    assert not prove(wild[0], wild[1:]).proven


def test_ways_are_gone_until_one_proves():
    params, _ = trapped()
    subject, control = subject_of(params, Given(), 0)
    gone = []
    assert prove(subject, [control], 0, lambda _, done, __: gone.append(done)).proven
    assert gone == [0]
    gone.clear()
    assert not prove(control, [subject], 0, lambda _, done, __: gone.append(done)).proven
    assert gone == list(range(len(subject.ways)))


def test_what_layers_read_is_the_same_in_one_pass_and_in_many(monkeypatch):
    subject, _ = subject_of(benign(), Given(), 0)
    module, x = subject.build(0), torch.as_tensor(subject.x)
    layers = room.dense(module)
    together = dict(room._inputs(module, layers, x))
    monkeypatch.setattr(room, "AT_ONCE", 1)
    apart = dict(room._inputs(module, layers, x))
    assert list(together) == list(layers) == list(apart)
    np.testing.assert_array_equal(together["1"], subject.x)
    for name, read in together.items():
        np.testing.assert_array_equal(read, apart[name])


def test_of_quiet_traps_a_louder_head_and_larger_steps_show_more():
    """Traps a fortieth as loud, on shorter rows."""
    _, loud = trapped()
    part = 1 / 40
    short = {name: getattr(loud, name) * np.sqrt(part) for name in ("rows", "quiet", "gain")}
    trap = replace(loud, slope=loud.slope * part, **short)
    subject, _ = subject_of(plant(benign(), trap), Given(), 0)
    shown = [{one.row for one in copied(subject, way, 0)} for way in subject.ways[:3]]
    assert min(len(shown[1]), len(shown[2])) >= 2 * len(shown[0])
    assert set().union(*shown) <= set(trap.units.tolist())


def test_chance_raises_what_is_needed():
    held = tuple(Held("w", row, 0, 0.0, 2) for row in range(5))
    assert Proof(held, 0, 100).proven
    assert not Proof(held[:2], 0, 100).proven
    assert not Proof(held, 2, 100).proven


def test_weights_of_no_known_model_are_refused():
    for odd in (
        {"conv.weight": np.zeros((4, 3, 3, 3), np.float32), "conv.bias": np.zeros(4, np.float32)},
        {"a.weight": np.zeros((4, 3)), "a.bias": np.zeros(4), "b.weight": np.zeros((2, 5)), "b.bias": np.zeros(2)},
        {"a.weight": np.zeros((4, 3)), "b.weight": np.zeros((2, 4)), "b.bias": np.zeros(2)},
    ):
        with pytest.raises(BadInput, match="no plain perceptron"):
            subject_of(odd, Given(), 0)


def test_records_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="64 numbers"):
        subject_of(benign(), Given(np.zeros((5, 3), np.float32)), 0)
    with pytest.raises(ConfigError, match="lacks"):
        subject_of({"1.weight": np.zeros((256, 64), np.float32)}, Given(records(0), None, factory(build)), 0)[0].build(
            0
        )
    with pytest.raises(ConfigError, match="needs --data"):
        subject_of(benign(), Given(None, None, factory(build)), 0)


def test_made_up_records_fire_the_units_they_are_made_for():
    params = benign()
    x = perceptron_records(params["1.weight"], params["1.bias"], 1, stream(0, "test"))
    assert x.min() >= 0
    assert x.max() <= 1
    fired = x @ params["1.weight"].T + params["1.bias"] > -1e-5
    assert fired.any(0).all()


def test_made_up_images_and_texts_differ():
    images = image_records((3, 32, 32), 20, stream(0, "test"))
    assert images.shape == (20, 3, 32, 32)
    assert 0.5 < images.std() < 2
    texts = text_records(5000, 20, 30, stream(0, "test"))
    assert len({tuple(row) for row in texts}) == 30
    assert 0 <= texts.min() <= texts.max() < 5000
    kinds = [len(np.unique(row)) for row in texts]
    assert min(kinds) <= 2
    assert max(kinds) >= 10
