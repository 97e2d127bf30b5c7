"""What can be read off a module: each fault is seen in the module that has it, and in no other."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("opacus")
from tests.audits.dp.dp_zoo.models import TinyTransformer, adapted, digits, normed, perceptron
from torch import nn

from undertow.audits.dp.inspect import inspect_module


def found(module, optimizer=None, images=False):
    checks, missing = inspect_module(module, digits(images).x, optimizer)
    return {c.test: c.about for c in checks if c.found}, missing


@pytest.mark.parametrize("build", [perceptron, adapted, TinyTransformer])
def test_sound_modules_have_no_findings(build):
    pytest.importorskip("peft")
    assert found(build(), images=build is TinyTransformer)[0] == {}


def test_positions_without_a_batch_axis():
    """Opacus's per-layer clipping trains such a module without a word; the black-box check cannot see it."""
    assert found(TinyTransformer(explicit=False), images=True)[0] == {"per-record gradients": "positions.weight"}


def test_batch_norm():
    assert set(found(normed(True))[0]) >= {"batch norm", "mixing of records", "buffers"}
    assert "buffers" not in found(normed(False))[0]


def test_parameters_outside_the_optimiser():
    module = perceptron()
    some = torch.optim.SGD(module[0].parameters(), lr=0.1)
    found_, missing = found(module, some)
    assert found_ == {"outside the optimiser": "2.weight and 1 more"}
    assert missing == ()
    module[2].requires_grad_(False)
    assert found(module, some)[0] == {}
    assert "no optimiser was given" in found(module)[1][0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Centred(nn.Module):
    """Takes the batch's mean away: no batch norm by name."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(64, 3)

    def forward(self, x):
        return self.a(x - x.mean(0))


def test_gradients_that_hooks_get_wrong_are_found(monkeypatch):
    """Per-record gradients are compared with those of each record alone, not counted only."""
    from opacus.grad_sample import GradSampleModule

    assert "per-record gradients" not in found(Tied())[0]
    rest = GradSampleModule.capture_backprops_hook

    def halved(self, module, *args, **options):
        rest(self, module, *args, **options)
        for p in module.parameters():
            if getattr(p, "grad_sample", None) is not None and p.dim() > 1:
                p.grad_sample = p.grad_sample / 2

    monkeypatch.setattr(GradSampleModule, "capture_backprops_hook", halved)
    assert "weight" in found(perceptron())[0]["per-record gradients"]


def test_tied_weights_and_hidden_mixing():
    assert "a.weight = b.weight" in found(Tied())[0]["tied weights"]
    assert found(Centred())[0] == {"mixing of records": "output"}


def test_the_module_is_left_as_it_was():
    module = normed(True).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module.training
