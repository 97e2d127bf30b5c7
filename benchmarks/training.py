"""The `training` table: how fast each engine trains, against the best plain loop and against what bounds it.

    python -m benchmarks run training [--json OUT] [--rounds 5] [--jobs mlp-90k ...] [--privacy-meter CHECKOUT]

Every round runs every contender once, in turn, on the same job; a ratio is the median over rounds of the contender's
CPU time over the engine's, so that above 1 the engine is faster. One thread. `against`:

    sequential      the best plain autograd loop over models in the engine's precision: data resident, fused SGD,
                    channels innermost or not, whichever is faster on this job in this run
    hand-backward   a backward pass of one model written by hand, without autograd (perceptrons and linear heads)
    products        only the matrix products of the batched form: what no float32 engine here can beat
    privacy-meter   its own trainer, where a checkout is given

`share_of_peak`: floating-point operations of the model's products, forward and backward, for each second the engine
takes, over those of a 1,024 x 1,024 matrix product in the same run.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import torch
from engines import privacy_meter, products_alone, short
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from undertow.models.architecture import Architecture
from undertow.models.cnn import Cnn
from undertow.models.resnet import ResNet
from undertow.training.choose import ENGINES, candidates, choose, chunk_for
from undertow.training.task import Task, load_state
from undertow.training.yardstick import heads, networks, perceptrons, token_models

Run = Callable[[Task], object]
MODELS, SAMPLE = 64, 4  # models of a job; loops are linear in them and run a sample
PEAK_SIDE = 1024


class LeNet:
    """Two convolutions with pools and three dense layers, as LeCun et al. 1998 with ReLU; 32 x 32 x 3."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(shape[0], 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
        )  # fmt: skip


def _network(architecture: Architecture) -> Callable[[int], Task]:
    """Without moving and mirroring, which is the same work in every contender."""

    def make(n: int) -> Task:
        task = short(networks(n, architecture), 4)
        return replace(task, fit=replace(task.fit, shift=0, flip=False))

    return make


JOBS: Mapping[str, Callable[[int], Task]] = {
    "mlp-10k": lambda n: short(perceptrons(n, 64, (128,)), 20),
    "mlp-90k": lambda n: short(perceptrons(n, 600, (128, 100)), 20),
    "mlp-360k": lambda n: short(perceptrons(n, 1024, (256, 256)), 10),
    "linear-64-10": lambda n: heads(n, 64),
    "linear-512-10": lambda n: heads(n, 512),
    "cnn-16": _network(Cnn(16)),
    "cnn-32": _network(Cnn(32)),
    "cnn-32-stride": _network(Cnn(32, stride=2)),
    "lenet": _network(LeNet()),
    "resnet-8": _network(ResNet(8)),
    "resnet-8-batch": _network(ResNet(8, norm="batch")),
    "gpt-900k": lambda n: short(token_models(n), 4),
}


def plain_loop(task: Task, innermost: bool) -> None:
    """A plain autograd loop: data resident, indices precomputed, fused SGD; channels innermost if asked."""
    order = torch.channels_last if innermost else torch.contiguous_format
    module, schedule = task.module.to(memory_format=order), task.schedule  # type: ignore[call-overload]
    x = task.x.contiguous(memory_format=order) if innermost else task.x
    for m in range(len(task)):
        load_state(module, task.states[m], task.dtype)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=task.fit.momentum, fused=True)
        group = optimizer.param_groups[0]
        for s, index in enumerate(rows_of(task, m)):
            group["lr"] = float(schedule.lr[s])
            optimizer.zero_grad(set_to_none=True)
            with task.products():
                logits = module(x[index])
            cross_entropy(logits.float(), task.y[index]).backward()
            optimizer.step()


def rows_of(task: Task, m: int) -> Iterable[Tensor]:
    """The rows of each step of model m."""
    place = 0 if task.schedule.rows.shape[1] == 1 else m
    kept = torch.as_tensor(task.schedule.keep[:, m].copy())
    return [r[k] for r, k in zip(task.rows[:, place], kept, strict=True)]


def hand_backward(task: Task) -> None:
    """Perceptrons and heads, one model at a time: products into memory that is there, no autograd."""
    dense = [part for part in task.module.modules() if isinstance(part, nn.Linear)]
    for m in range(len(task)):
        load_state(task.module, task.states[m], task.dtype)
        weights, biases = [d.weight.data for d in dense], [d.bias.data for d in dense]
        speed = [torch.zeros_like(w) for w in (*weights, *biases)]
        for s, index in enumerate(rows_of(task, m)):
            _step(task, weights, biases, speed, index, float(task.schedule.lr[s]))


def _step(
    task: Task, weights: Sequence[Tensor], biases: Sequence[Tensor], speed: Sequence[Tensor], index: Tensor, lr: float
) -> None:
    layers, inputs = len(weights), [task.x[index]]
    for depth, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = torch.addmm(b, inputs[-1], w.t())
        inputs.append(z.clamp_(min=0) if depth < layers - 1 else z)
    slope = torch.softmax(inputs.pop(), 1)
    slope[torch.arange(len(index)), task.y[index]] -= 1
    slope /= len(index)
    for depth in reversed(range(layers)):
        w, b, v, u = weights[depth], biases[depth], speed[depth], speed[layers + depth]
        below = (slope @ w) * (inputs[depth] > 0) if depth else None
        v.addmm_(slope.t(), inputs[depth], beta=task.fit.momentum)
        u.mul_(task.fit.momentum).add_(slope.sum(0))
        w.sub_(v, alpha=lr)
        b.sub_(u, alpha=lr)
        if below is not None:
            slope = below


@dataclass(frozen=True, eq=False)
class Contender:
    """How to run it, on how many models a call, and what it is compared as."""

    run: Run
    task: Task
    kind: str  # "engine" | "sequential" | "hand-backward" | "products" | "privacy-meter"


def contenders(make: Callable[[int], Task], checkout: Path | None) -> dict[str, Contender]:
    """Plain loops in each memory order and precision, the engines that fit, and the bounds."""
    one = make(SAMPLE)
    found: dict[str, Contender] = {}
    images, tokens = one.x.dim() == 4, not one.x.is_floating_point()
    for bits in (32, 16):
        for innermost in (False, True) if images else (False,):
            name = f"loop {bits} bit" + ", channels last" * innermost
            run = lambda task, innermost=innermost: plain_loop(task, innermost)  # noqa: E731
            found[name] = Contender(run, replace(one, bfloat16=bits == 16), "sequential")
    parameters = sum(int(v.size) for v in one.states[0].values())
    for name in candidates(one):
        count = SAMPLE if name == "sequential" else chunk_for(name, parameters, "cpu")
        for bits in (32, 16) if images or tokens or name == "fat_gemm" else (32,):
            shown = name if bits == 32 else f"{name}, bfloat16"
            found[shown] = Contender(ENGINES[name][0], replace(make(count), bfloat16=bits == 16), "engine")
    if "fused_mlp" in found or "fat_gemm" in found:
        found["hand-backward"] = Contender(hand_backward, one, "hand-backward")
    if "fused_mlp" in found and not one.schedule.shared:
        found["products"] = Contender(products_alone, found["fused_mlp"].task, "products")
    if checkout is not None and not one.schedule.shared:
        found["privacy-meter"] = Contender(privacy_meter(checkout), one, "privacy-meter")
    return found


def seconds_of(job: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each model-step, a number a round; the first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in job}
    for turn in range(rounds + 1):
        for name, one in job.items():
            start = time.process_time()
            one.run(one.task)
            spent = (time.process_time() - start) / (len(one.task) * one.task.schedule.steps)
            if turn:
                times[name].append(spent)
    return times


def peak(rounds: int = 5) -> float:
    """Floating-point operations a second of a large float32 product on one thread, the best of the rounds."""
    a, b = torch.randn(PEAK_SIDE, PEAK_SIDE), torch.randn(PEAK_SIDE, PEAK_SIDE)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2 * PEAK_SIDE**3 / best


def operations(task: Task) -> float:
    """Floating-point operations of one step of one model: its products, forward and backward."""
    load_state(task.module, task.states[0], task.dtype)
    index = next(iter(rows_of(task, 0)))
    with FlopCounterMode(display=False) as counter:
        cross_entropy(task.module(task.x[index]), task.y[index]).backward()
    return float(counter.get_total_flops())


def rows(name: str, make: Callable[[int], Task], rounds: int, checkout: Path | None) -> list[dict[str, Any]]:
    """The rows of one job; and one of what `auto` would choose, against the best engine in float32."""
    job = contenders(make, checkout)
    times, best = seconds_of(job, rounds), peak()
    flops = operations(make(1))
    loops = {half: [times[k] for k, c in job.items() if c.kind == "sequential" and c.task.bfloat16 == half]
             for half in (False, True)}  # fmt: skip
    others = {c.kind: times[k] for k, c in job.items() if c.kind not in ("engine", "sequential")}
    parameters = sum(p.numel() for p in make(1).module.parameters())
    engines = [k for k, c in job.items() if c.kind == "engine"]
    plain = {k: median(times[k]) for k in engines if "bfloat16" not in k}
    chosen = choose(plain)
    found = [
        {
            "job": name, "params": parameters, "models": MODELS, "engine": engine, "against": against,
            "ratio": round(median(a / b for a, b in zip(theirs, times[engine], strict=True)), 3),
            "share_of_peak": round(flops / median(times[engine]) / best, 3), "device": "cpu",
            "auto": engine == chosen, "rounds": rounds,
        }
        for engine in engines
        for against, theirs in {"sequential": min(loops[job[engine].task.bfloat16], key=median), **others}.items()
    ]  # fmt: skip
    return found


def table(found: Iterable[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    head = "| job | parameters | engine | against | ratio | share of peak | auto |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {r['job']} | {r['params']:,} | {r['engine']} | {r['against']} | {r['ratio']:.2f} "
        f"| {r['share_of_peak']:.0%} | {'yes' if r['auto'] else ''} |"
        for r in found
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; default 5")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--privacy-meter", type=Path, help="a checkout of privacytrustlab/ml_privacy_meter")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for name in options.jobs:
        found += rows(name, JOBS[name], options.rounds, options.privacy_meter)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    print(table(found))


if __name__ == "__main__":
    main()
