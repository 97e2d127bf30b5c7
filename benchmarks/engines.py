"""How much faster are the batched engines than a tuned loop over models? Ratios of one interleaved run.

    python benchmarks/engines.py [--rounds 7] [--privacy-meter CHECKOUT] [--jobs perceptrons heads networks]

Every round runs every contender once, in turn, on the same job; the figure is the median over rounds of the
time ratio against the tuned loop. Times are CPU seconds of one thread. With a checkout of Privacy Meter
(privacytrustlab/ml_privacy_meter) its own trainer joins on the same perceptrons and the same records.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from undertow.models.cnn import Cnn
from undertow.models.resnet import ResNet
from undertow.training.choose import ENGINES, candidates, chunk_for
from undertow.training.grouped_conv import grouped_conv
from undertow.training.stacked import dense_shape
from undertow.training.task import Task, load_state
from undertow.training.yardstick import heads, networks, perceptrons

MODELS, SAMPLE, EPOCHS = 64, 4, 4


def tuned_loop(task: Task) -> None:
    """The fastest plain loop we know: data resident, indices precomputed, foreach SGD, nothing else per step."""
    module, schedule = task.module, task.schedule
    for m in range(len(task)):
        load_state(module, task.states[m], task.dtype)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=task.fit.momentum, foreach=True)
        order = 0 if schedule.rows.shape[1] == 1 else m
        kept = torch.as_tensor(schedule.keep[:, m].copy())
        rows = [r[k] for r, k in zip(task.rows[:, order], kept, strict=True)]
        group = optimizer.param_groups[0]
        for s, index in enumerate(rows):
            group["lr"] = float(schedule.lr[s])
            optimizer.zero_grad(set_to_none=True)
            with task.products():
                logits = module(task.x[index])
            cross_entropy(logits.float(), task.y[index]).backward()
            optimizer.step()


def privacy_meter(checkout: Path) -> Callable[[Task], None]:
    """Privacy Meter's `train` on the same models and members, through a DataLoader as it asks."""
    spec = importlib.util.spec_from_file_location("pm_trainer", checkout / "trainers" / "default_trainer.py")
    trainer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trainer)

    def run(task: Task) -> None:
        steps_per_epoch = task.schedule.steps // EPOCHS
        for m in range(len(task)):
            load_state(task.module, task.states[m], task.dtype)
            mine = np.unique(task.schedule.rows[:steps_per_epoch, m])
            data = torch.utils.data.TensorDataset(task.x[mine], task.y[mine])
            loader = torch.utils.data.DataLoader(data, batch_size=task.fit.batch, shuffle=True)
            settings = {"epochs": EPOCHS, "optimizer": "SGD", "learning_rate": 0.1, "momentum": 0.9,
                        "weight_decay": 0.0, "device": "cpu"}  # fmt: skip
            with contextlib.redirect_stdout(io.StringIO()):
                trainer.train(task.module, loader, settings)

    return run


def products_alone(task: Task) -> None:
    """Only the matrix products that any engine must make, in the batched form, on memory that is there already:
    what no engine in this precision can beat on this machine."""
    shape = dense_shape(task.module)
    weights = [torch.stack([torch.as_tensor(s[layer.weight]) for s in task.states]) for layer in shape.layers]
    batch = task.rows.shape[-1]
    inputs = [torch.ones(len(task), batch, w.shape[2]) for w in weights]
    outputs = [torch.ones(len(task), batch, w.shape[1]) for w in weights]
    slopes = [torch.zeros_like(w) for w in weights]
    for _ in range(task.schedule.steps):
        for depth, (w, x, z, g) in enumerate(zip(weights, inputs, outputs, slopes, strict=True)):
            torch.bmm(x, w.transpose(1, 2), out=z)
            g.baddbmm_(z.transpose(1, 2), x, beta=0.0)
            if depth:
                torch.bmm(z, w, out=x)
                x.fill_(1)  # stays finite


def contenders(task: Task, checkout: Path | None) -> dict[str, tuple[Callable[[Task], object], int]]:
    """name -> (how to run, models per call). Loops are linear in the models: they run a sample of them."""
    parameters = sum(int(v.size) for v in task.states[0].values())
    found: dict[str, tuple[Callable[[Task], object], int]] = {"tuned loop": (tuned_loop, SAMPLE)}
    if checkout is not None and not task.schedule.shared:
        found["privacy meter"] = (privacy_meter(checkout), SAMPLE)
    for name in candidates(task):
        chunk = SAMPLE if name == "sequential" else chunk_for(name, parameters, "cpu")
        found[name] = (ENGINES[name][0], chunk)
    if "fused_mlp" in found and not task.schedule.shared:
        found["products alone"] = (products_alone, found["fused_mlp"][1])
    return found


def layouts(make: Callable[[int], Task]) -> dict[str, tuple[Callable[[Task], object], Task]]:
    """Convolutional networks: the loop with channels outermost (NCHW), the engines, and groups of each size."""
    found: dict[str, tuple[Callable[[Task], object], Task]] = {"tuned loop": (tuned_loop, make(1))}
    for bits, on in ((32, False), (16, True)):
        half = lambda n, on=on: replace(make(n), bfloat16=on)  # noqa: E731
        if on:
            found["loop/16"] = (tuned_loop, half(1))
        found[f"seq/{bits}"] = (ENGINES["sequential"][0], half(1))
        for size in (1, 2, 4, 8) if "grouped_conv" in candidates(half(1)) else ():
            found[f"group {size}/{bits}"] = (lambda task, size=size: grouped_conv(task, size), half(size))
    return found


def measure(name: str, make: Callable[[int], Task], checkout: Path | None, rounds: int) -> None:
    """Print one job's table: microseconds per model-step and the ratio to the tuned loop."""
    compare(name, {k: (run, make(n)) for k, (run, n) in contenders(make(SAMPLE), checkout).items()}, rounds)


def compare(name: str, runs: Mapping[str, tuple[Callable[[Task], object], Task]], rounds: int) -> None:
    times: dict[str, list[float]] = {k: [] for k in runs}
    for turn in range(rounds + 1):
        for contender, (run, task) in runs.items():
            start = time.process_time()
            run(task)
            spent = (time.process_time() - start) / (len(task) * task.schedule.steps)
            if turn:  # the first round warms up
                times[contender].append(spent)
    for contender, spent in times.items():
        ratios = [a / b for a, b in zip(times["tuned loop"], spent, strict=True)]
        print(f"{name:<34}{contender:<15}{1e6 * median(spent):>9.1f}{median(ratios):>8.2f}x"
              f"   [{min(ratios):.2f}, {max(ratios):.2f}]", flush=True)  # fmt: skip


def short(task: Task, epochs: int = EPOCHS) -> Task:
    """The first few epochs: the ratio does not depend on how long one trains."""
    per_epoch = task.schedule.steps // task.fit.epochs
    return replace(task, schedule=task.schedule.first(epochs * per_epoch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--privacy-meter", type=Path, help="a checkout of privacytrustlab/ml_privacy_meter")
    parser.add_argument("--jobs", nargs="+", default=["perceptrons", "heads", "networks"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'job':<34}{'contender':<15}{'us/step':>9}{'speed':>9}   [min, max] over {options.rounds} rounds")
    if "perceptrons" in options.jobs:
        time_perceptrons(options.privacy_meter, options.rounds)
    if "heads" in options.jobs:
        for width in (64, 512):
            measure(f"{MODELS} linear heads {width}-10", lambda n, w=width: heads(n, w), None, options.rounds)
    if "networks" in options.jobs:
        time_networks(options.rounds)


def time_perceptrons(checkout: Path | None, rounds: int) -> None:
    for width, hidden in ((64, (64,)), (64, (128, 128)), (600, (128,)), (256, (256, 64))):
        size = sum(p.numel() for p in perceptrons(1, width, hidden).module.parameters())
        name = f"MLP {width}-{'-'.join(map(str, hidden))}-10, {size / 1000:.0f}k"
        measure(name, lambda n, w=width, h=hidden: short(perceptrons(n, w, h)), checkout, rounds)


def time_networks(rounds: int) -> None:
    for architecture in (Cnn(32), Cnn(32, stride=2), Cnn(16), ResNet(8), ResNet(8, norm="batch")):
        name = " ".join(str(value) for value in (type(architecture).__name__, *vars(architecture).values()))
        compare(name, layouts(lambda n, a=architecture: short(networks(n, a), 2)), rounds)


if __name__ == "__main__":
    main()
