"""What a poisoner optimises: its sign, its weight, its cap, and the places that count."""

import pytest

torch = pytest.importorskip("torch")

from undertow.training.objective import Objective
from undertow.types import ConfigError

EVERYWHERE = torch.ones(4, dtype=torch.bool)


def gradient(objective, target, places=EVERYWHERE):
    """Of the objective with respect to the loss of each place, and to the auxiliary loss."""
    auxiliary = torch.tensor(2.0, requires_grad=True)
    target = target.clone().requires_grad_()
    objective.combine(auxiliary, target, places).backward()
    return target.grad, float(auxiliary.grad)


@pytest.mark.parametrize(("direction", "sign"), [("max", -1), ("min", 1), ("random-label", 1)])
def test_each_direction_pushes_the_targets_loss_its_own_way(direction, sign):
    found, auxiliary = gradient(Objective(direction, target_weight=0.4, cap=5), torch.tensor([0.1, 1.0, 2.0, 4.9]))
    torch.testing.assert_close(found, torch.full((4,), sign * 0.4 / 4))
    assert auxiliary == pytest.approx(0.6)


def test_without_a_direction_only_the_auxiliary_loss_is_there():
    found, auxiliary = gradient(Objective("none", target_weight=0.4), torch.ones(4))
    assert found is None
    assert auxiliary == 1


def test_beyond_the_cap_a_place_is_pushed_no_further():
    found, _ = gradient(Objective("max", target_weight=0.4, cap=3), torch.tensor([2.9, 3.1, 50.0, 0.0]))
    assert (found < 0).tolist() == [True, False, False, True]
    assert found[1] == found[2] == 0
    up, _ = gradient(Objective("min", target_weight=0.4, cap=3), torch.tensor([2.9, 3.1, 50.0, 0.0]))
    assert (up > 0).all()  # a loss that is made small has no cap


def test_places_that_are_none_count_for_nothing():
    objective, places = Objective("min", target_weight=0.5), torch.tensor([[True, False], [True, False]])
    aux = torch.tensor(1.0)
    a = objective.combine(aux, torch.tensor([[1.0, 0.0], [3.0, 0.0]]), places)
    b = objective.combine(aux, torch.tensor([[1.0, 99.0], [3.0, torch.inf]]), places)
    assert float(a) == float(b) == pytest.approx(0.5 + 0.5 * 2)
    nowhere = objective.combine(aux, torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool))
    assert float(nowhere) == 0.5


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.8, 1.0])
def test_the_papers_alpha_is_the_other_weight(alpha):
    weight = Objective.weight_from_paper(alpha)
    assert Objective.weight_from_paper(weight) == pytest.approx(alpha)
    auxiliary, target = torch.tensor(2.0), torch.tensor([1.0, 4.0])
    found = Objective("max", target_weight=weight, cap=9).combine(auxiliary, target, EVERYWHERE[:2])
    assert float(found) == pytest.approx(alpha * 2.0 - (1 - alpha) * 2.5)


@pytest.mark.parametrize(
    "wrong", [{"target_weight": -0.1}, {"target_weight": 1.1}, {"cap": 0}, {"steps": 0}, {"batch": 0}, {"lr": 0},
              {"jitter": -1}]
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=rf"poison.*{next(iter(wrong))}") as said:
        Objective(**wrong)
    assert "\n" not in str(said.value)
