"""A PyTorch CNN with its own loop, augmentation and early stopping: does it give away its training data?

    python examples/one_model_torch.py

`from_torch` asks it in `eval` mode and leaves it as it was. A LightningModule is an `nn.Module` and goes the same way.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import undertow as ut
from undertow.integrations import from_torch

raw = load_digits()
dealt = ut.stream(0, "example").permutation(len(raw.target))  # at random: neighbours in this set are of one writer
x, y = torch.tensor(raw.images[dealt, None] / 16).float(), torch.tensor(raw.target[dealt])
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(576, 10))
optimizer, best, patience = torch.optim.Adam(net.parameters(), 0.003), 1e9, 0
while patience < 5:
    for rows in torch.randperm(400).split(32):  # the members are the first 400 records
        moved = torch.roll(x[rows], int(torch.randint(-1, 2, (1,))), -1)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(moved), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(net.eval()(x[1200:]), y[1200:]))
    net.train()
    best, patience = min(best, loss), 0 if loss < best else patience + 1

result = ut.audit_model(from_torch(net), (x[:400], y[:400]), (x[400:800], y[400:800]))
print(ut.summary(result))
