"""Plant data traps in your own checkpoint, finetune it as you would, and see what an attacker reads back.

    python examples/traps_in_your_model.py

Your model and your loop stay as they are: planting takes a state dict as NumPy arrays and gives one back.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from undertow import stream
from undertow.traps import best_expected, captures, mlp_trap, plant, read

BATCH = 32


def finetune(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


def arrays(model: nn.Module) -> dict:
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


torch.manual_seed(0)
digits = load_digits()
x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
finetune(model, x[:500], y[:500], epochs=30, lr=0.1)  # the attacker pretrains on records of its own

victim = x[500:1500].numpy()
expected = best_expected(len(victim), BATCH, classes=10, auxiliary=500)  # firings of a trap that capture most
trap = mlp_trap(
    arrays(model), x[:500].numpy(), 64, expected / len(victim), stream(0, "traps"), layer="0", following="2"
)
before = plant(arrays(model), trap)

model.load_state_dict({name: torch.as_tensor(value) for name, value in before.items()})
model[4].reset_parameters()  # the victim gives it a fresh head
finetune(model, x[500:1500], y[500:1500], epochs=5, lr=0.05)

found = captures(read(before, arrays(model), trap), victim, grid=trap.domain.grid)
print(", ".join(f"{name} {count}" for name, count in found.counts.items()))
print(f"of the accepted readings, {found.precision:.0%} are finetuning records")
