"""Audit your own training: a small CNN in PyTorch with its own loop, augmentation and early stopping.

    python examples/own_training_torch.py

The loop is the user's: a part of each half is held back to decide when to stop, and that shows in what leaks. Undertow
sees only what the models answer.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import undertow as ut


def train(records, seed):
    torch.manual_seed(seed)
    x, y = torch.tensor(records.x), torch.tensor(records.y)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10))
    optimizer, best, stop = torch.optim.Adam(model.parameters(), 3e-3), float("inf"), len(x) // 5
    for _ in range(60):
        for rows in (stop + torch.randperm(len(x) - stop)).split(32):
            moved = torch.roll(x[rows], int(torch.randint(-1, 2, ())), -1)
            loss = nn.functional.cross_entropy(model(moved), y[rows])
            optimizer.zero_grad(), loss.backward(), optimizer.step()
        held = nn.functional.cross_entropy(model(x[:stop]), y[:stop]).item()
        if held > 1.05 * best:
            break
        best = min(best, held)
    return lambda x: model(torch.tensor(x))


if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    x = x[:500].reshape(-1, 1, 8, 8).astype("float32") / 16
    print(ut.summary(ut.audit_mia(train=train, records=(x, y[:500]), shadows=16)))
