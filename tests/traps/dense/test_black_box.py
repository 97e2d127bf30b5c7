"""One query tells whether a chosen record was finetuned on; answers that cannot tell are refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn.functional import cross_entropy

from undertow.rng import stream
from undertow.traps import plant
from undertow.traps.dense.black_box import OPEN, membership_trap, open_score
from undertow.types import BadInput

WIDTH, CLASSES = 20, 4


def records(count, seed):
    rng, patterns = stream(seed, "records"), stream(99, "patterns").random((CLASSES, WIDTH))
    y = rng.integers(0, CLASSES, count)
    return 0.6 * patterns[y] + 0.4 * rng.random((count, WIDTH)), y


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(WIDTH, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def played(seed, member):
    """The score of the first victim record after finetuning with or without it."""
    auxiliary, (x, y) = records(300, 1)[0], records(161, 2)
    module = network(seed)
    params = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    trap = membership_trap(params, auxiliary, x[0], layer="0", following="2", rate=0.05 / 16)
    module.load_state_dict({name: torch.as_tensor(value) for name, value in plant(params, trap).items()})
    rows = np.arange(0, 160) if member else np.arange(1, 161)
    inputs, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    optimizer = torch.optim.SGD(module.parameters(), 0.05)
    for epoch in range(2):
        order = torch.as_tensor(stream(seed, "order", epoch).permutation(rows))
        for batch in order.split(16):
            optimizer.zero_grad()
            cross_entropy(module(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        others = module(torch.tensor(auxiliary, dtype=torch.float32)).numpy()
        return open_score(module(inputs[:1])[0].numpy(), others)


def test_members_are_told_from_others():
    members, others = ([played(seed, member) > OPEN for seed in range(8)] for member in (True, False))
    assert sum(members) >= 5  # a record of the class that the trap drives to leaves no trace
    assert sum(others) <= 1


def test_the_trap_fires_on_the_record_alone():
    auxiliary, (x, _) = records(300, 1)[0], records(50, 2)
    params = {name: value.numpy() for name, value in network(0).state_dict().items()}
    trap = membership_trap(params, auxiliary, x[0], layer="0", following="2", rate=0.01)
    assert x[0] @ trap.directions[0] > trap.thresholds[0]
    assert (auxiliary @ trap.directions[0] < trap.thresholds[0]).all()


def test_a_record_that_the_attacker_cannot_tell_apart_is_refused():
    auxiliary = records(300, 1)[0]
    params = {name: value.numpy() for name, value in network(0).state_dict().items()}
    with pytest.raises(BadInput, match="cannot be told from"):
        membership_trap(params, auxiliary, auxiliary.mean(0), layer="0", following="2", rate=0.01)


@pytest.mark.parametrize(
    ("answer", "others"),
    [
        (np.array([1.0]), np.ones((3, 1))),
        (np.ones(4), np.ones((3, 2))),
        (np.array([0.0, -np.inf]), np.ones((3, 2))),
    ],
)
def test_labels_top_k_and_rounded_answers_are_refused(answer, others):
    with pytest.raises(BadInput, match="logits"):
        open_score(answer, others)
