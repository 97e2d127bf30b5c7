"""Is the door for one's own training as strong as the built-in engine, and what does it cost?

    python benchmarks/own_training.py strength [--seeds 3]     # minutes of CPU time
    python benchmarks/own_training.py overhead

strength: the same digits, the same perceptron, optimiser and schedule, the same 32 random halves; once trained by
Undertow's own engine, once by a plain PyTorch loop behind `audit_mia(train=...)`. Both are attacked in turn, and the
difference is paired over models and records. overhead: CPU time that is not spent in the user's own functions.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from undertow.audits.chain import Host, Workshop
from undertow.audits.in_turn import attack_in_turn
from undertow.audits.membership import mia
from undertow.audits.membership.presets import preset
from undertow.audits.own.game import OwnTraining, Plan, dealing, planned
from undertow.audits.own.identity import identity
from undertow.audits.own.pool import as_pool
from undertow.audits.own.training import of_function, run_all
from undertow.audits.supply import Supply
from undertow.engine.executor import Serial
from undertow.metrics import difference, measure
from undertow.rng import stream
from undertow.sources.records.datasets import load_supply
from undertow.storage.store import DiskStore, MemoryStore
from undertow.training.schedule import Fit
from undertow.types import Evidence, Scores
from undertow.workflows.own import audit_mia

ATTACKS = ("rmia", "lira", "lira-offline", "bavaria", "loss")
SHADOWS, EPOCHS, BATCH, RATE, MOMENTUM = 32, 30, 50, 0.1, 0.9
FIT = Fit(epochs=EPOCHS, batch=BATCH, lr=RATE, momentum=MOMENTUM, decay="constant")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("strength", "overhead"))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    if given.what == "strength":
        strength(given.seeds)
    else:
        overhead()


def strength(seeds: int) -> None:
    print("| seed | attack | built-in engine, AUC | through `train=`, AUC | difference |\n|---|---|---|---|---|")
    for seed in range(seeds):
        config = preset("mia", "digits")
        config = replace(
            config, seed=seed, shadows=SHADOWS, victims=2, challenge=0, views=1, finetune=FIT, attacks=ATTACKS
        )
        whole = load_supply("mia", config.data, seed)
        supply = replace(whole, other=None, test=None)
        ours = built_in(config, supply)
        door = audit_mia(
            train=plain_loop, records=(supply.secret.x, supply.secret.y), shadows=SHADOWS, seed=seed, attacks=ATTACKS
        )
        theirs = {s.attack: s for s in door.scores}
        for name in ATTACKS:
            row = next(m for m in measure(ours[name], stream(seed, "halves", "", name)) if m.metric == "auc")
            pair = next(m for m in difference([theirs[name]], [ours[name]]) if m.metric.startswith("auc"))
            print(f"| {seed} | {name} | {said(row)} | {said(door.find(name, 'auc'))} | {said(pair)} |", flush=True)


def said(m) -> str:
    return f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]"


def built_in(config, supply: Supply) -> dict[str, Scores]:
    """Scores of the built-in engine's shadow models, each attacked by the others."""
    workshop = Workshop(config, supply, Host(MemoryStore(), Serial()))
    game = mia.lay_table(workshop)
    trace = workshop.play([game.link], game.slots, secret=game.link.name, start=game.start)
    logits = trace.stack(game.link.name, "logits")[:SHADOWS]
    records = supply.secret.take(game.design.points)
    evidence = Evidence(game.design.member("shadow"), logits=logits, labels=records.y)
    return {s.attack: s for s in attack_in_turn(evidence, ATTACKS, config.seed).scores}


def plain_loop(records, seed):
    """What a user would write: the same perceptron and optimiser, an order of its own."""
    torch.manual_seed(seed)
    x, y = torch.tensor(records.x), torch.tensor(records.y)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return lambda x: model(torch.tensor(x))


def overhead() -> None:
    """A CNN on 4,000 records of 3 x 32 x 32 (49 MB), trained for about a second of CPU time, answers kept on disk."""
    rng = stream(0, "overhead")
    x, y = rng.normal(size=(4000, 3, 32, 32)).astype(np.float32), rng.integers(10, size=4000)
    pool, plan, spent = as_pool((x, y)), Plan(shadows=8), [0.0]

    def train(records, seed):
        start = time.process_time()
        torch.manual_seed(seed)
        x, y = torch.tensor(records.x), torch.tensor(records.y)
        model = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 225, 10))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        while time.process_time() - start < 1:
            rows = torch.randint(len(x), (64,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        spent[0] += time.process_time() - start

        def predict(x):
            start = time.process_time()
            with torch.no_grad():
                answers = model(torch.tensor(x))
            spent[0] += time.process_time() - start
            return answers

        return predict

    start = time.process_time()
    who = identity(train, "overhead")
    first = time.process_time() - start
    training = OwnTraining(of_function(train, pool, "auto", None), who, "overhead")
    with tempfile.TemporaryDirectory() as scratch:
        start = time.process_time()
        dealing(pool, plan)
        run_all(planned(training, pool, plan), training.answer, DiskStore(Path(scratch)), Serial())
        whole = time.process_time() - start
    print(f"the user's functions {spent[0]:.2f} s of CPU time, the door {whole - spent[0]:.3f} s more: "
          f"{100 * (whole / spent[0] - 1):.2f} %; naming the function took {first:.3f} s once")  # fmt: skip


if __name__ == "__main__":
    main()
