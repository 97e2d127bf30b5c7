"""DP-SGD by closed-form norms against Opacus, hooks and ghost clipping: ratios of one interleaved run.

    python benchmarks/private_engines.py [--rounds 7] [--noise 0 1]

Every round runs every contender once, in turn, on the same models, records and batches; the figure is the median over
rounds of the ratio of times. CPU seconds of one thread, without what is built once per model. Before timing, the
noise-free results must agree within 1e-5 (float32, relative to the largest weight).
"""

import argparse
import copy
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from statistics import median

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
warnings.filterwarnings("ignore")

import numpy as np
import torch
from torch import nn

from undertow.rng import stream
from undertow.training.opacus_engine import opacus_sgd
from undertow.training.privacy import Noise
from undertow.training.private import private_dense
from undertow.training.schedule import Fit, Schedule
from undertow.training.task import Task, load_state, to_params
from undertow.types import Params

MODELS, STEPS, BATCH, RECORDS = 16, 10, 64, 2000
FIT = Fit(lr=0.05, momentum=0.0, decay="constant")
JOBS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "linear 512-10": (lambda: nn.Linear(512, 10), 512, 10),
    "perceptron 600-128-100": (
        lambda: nn.Sequential(nn.Linear(600, 128), nn.ReLU(), nn.Linear(128, 100)), 600, 100,
    ),
    "perceptron 64-17-10 (the audit's)": (
        lambda: nn.Sequential(nn.Linear(64, 17), nn.ReLU(), nn.Linear(17, 10)), 64, 10,
    ),
}  # fmt: skip


def build(name: str) -> Task:
    make, width, classes = JOBS[name]
    torch.manual_seed(0)
    rows = stream(0, "rows").integers(RECORDS, size=(STEPS, MODELS, BATCH))
    schedule = Schedule(rows, np.ones(rows.shape, bool), np.full(STEPS, FIT.lr))
    x = torch.as_tensor(stream(0, "x").normal(size=(RECORDS, width))).float()
    y = torch.as_tensor(stream(0, "y").integers(classes, size=RECORDS))
    noise = [lambda m=m: stream(0, "noise", m) for m in range(MODELS)]
    states = [to_params(make().state_dict()) for _ in range(MODELS)]
    return Task(make(), states, x, y, schedule, FIT, noise, list(range(MODELS)), records=RECORDS)


def ghost(task: Task, noise: Noise) -> list[Params]:
    """Opacus' ghost clipping: two backward passes, no per-example gradient."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    results = []
    for m in range(len(task)):
        module = copy.deepcopy(task.module)
        load_state(module, task.states[m], task.dtype)
        model = GradSampleModuleFastGradientClipping(
            module, max_grad_norm=noise.clip, use_ghost_clipping=True, loss_reduction="mean"
        )
        optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(module.parameters(), lr=FIT.lr), noise_multiplier=noise.multiplier,
            max_grad_norm=noise.clip, expected_batch_size=BATCH,
        )  # fmt: skip
        loss = DPLossFastGradientClipping(model, optimizer, nn.CrossEntropyLoss(reduction="mean"))
        for s in range(task.schedule.steps):
            rows = task.rows[s, m]
            optimizer.zero_grad()
            loss(model(task.x[rows]), task.y[rows]).backward()
            optimizer.step()
        results.append(to_params(module.state_dict()))
    return results


CONTENDERS: dict[str, Callable[[Task, Noise], list[Params]]] = {
    "ours": private_dense, "Opacus hooks": opacus_sgd, "Opacus ghost clipping": ghost,
}  # fmt: skip


def check(task: Task, noise: Noise) -> None:
    want = opacus_sgd(task, noise)
    for name, run in CONTENDERS.items():
        for ours, theirs in zip(run(task, noise), want, strict=True):
            gap = max(np.abs(ours[n] - v).max() / np.abs(v).max() for n, v in theirs.items())
            if gap > 1e-5:
                raise SystemExit(f"{name} is {gap:.1e} away from Opacus hooks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 1.0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| job | noise | ours, us per model-step | against hooks | against ghost clipping |\n|---|---|---|---|---|")
    for name in JOBS:
        task = build(name)
        silent = Noise(0.0, 0.0, 1e-5, 1.0, BATCH / RECORDS, STEPS)
        check(task, silent)
        for sigma in options.noise:
            times: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
            for _ in range(options.rounds):
                for contender, run in CONTENDERS.items():
                    start = time.process_time()
                    run(task, replace(silent, multiplier=sigma))
                    times[contender].append(time.process_time() - start)
            ours = times["ours"]
            ratios = [median(t / o for t, o in zip(times[c], ours, strict=True)) for c in list(CONTENDERS)[1:]]
            each = median(ours) / (MODELS * STEPS) * 1e6
            print(f"| {name} | {sigma:g} | {each:.0f} | {ratios[0]:.1f}x | {ratios[1]:.1f}x |", flush=True)


if __name__ == "__main__":
    main()
