"""The metaclassifiers of a whole TMI job: lock step in NumPy against the released way, one fit after the other.

    OMP_NUM_THREADS=1 python benchmarks/metaclassifiers.py [--points 1000] [--sample 20]

The job as released: 1,000 challenge points, 64 shadows x 8 views = 512 rows each, 20 epochs, and 32 victims for each
of which the release fits every metaclassifier again. The loop below is that recipe written plainly in torch (a
DataLoader, an `nn.Sequential`, Adam, StepLR); it is linear in the fits, so a sample is timed, in turn with ours.
"""

import argparse
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from statistics import median

import numpy as np
import torch
from torch import nn

from undertow.attacks.metaclassifier import Recipe, fit, log_odds
from undertow.rng import stream

SHADOWS, VIEWS, CLASSES, VICTIMS = 64, 8, 10, 32


def released_fit(x: torch.Tensor, y: torch.Tensor, recipe: Recipe) -> nn.Module:
    """One metaclassifier as the release trains it."""
    layers = [nn.Linear(x.shape[1], recipe.hidden), nn.ReLU(), nn.Dropout(recipe.dropout), nn.Linear(recipe.hidden, 2)]
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, recipe.step, recipe.gamma)
    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, recipe.batch, shuffle=True)
    net.train()
    for _ in range(recipe.epochs):
        for rows, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(rows), labels).backward()
            optimizer.step()
        schedule.step()
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=20, help="released fits timed per round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe, rng = Recipe(), stream(0, "metaclassifiers")
    rows = SHADOWS * VIEWS
    x = rng.standard_normal((options.points, rows, CLASSES)).astype(np.float32)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    y = rng.random((options.points, rows)) < 0.5
    victims = x[:, : VICTIMS * VIEWS]
    ours, theirs = [], []
    for turn in range(options.rounds):
        start = time.perf_counter()
        log_odds(fit(x, y, recipe, stream(turn, "fit")), victims)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        for p in range(options.sample):
            released_fit(torch.from_numpy(x[p]), torch.from_numpy(y[p].astype(np.int64)), recipe)
        theirs.append((time.perf_counter() - start) / options.sample)
    each = [t / (o / options.points) for o, t in zip(ours, theirs, strict=True)]
    whole = [VICTIMS * options.points * t / o for o, t in zip(ours, theirs, strict=True)]
    print(f"released loop        {median(theirs):8.3f} s per fit")
    print(f"lock step            {median(ours):8.3f} s for {options.points} points, {VICTIMS} victims scored")
    print(
        f"per fit              {median(each):8.0f}x   [{min(each):.0f}, {max(each):.0f}] over {options.rounds} rounds"
    )
    print(f"whole job            {median(whole):8.0f}x   [{min(whole):.0f}, {max(whole):.0f}]")


if __name__ == "__main__":
    main()
