"""Data traps that know `undertow scan`: are they flagged, and do they still capture anything?

    python benchmarks/scan_adaptive.py [--seeds 0 1 2 3] [--traps 16] [--prove]

A perceptron on the embedded digits is trapped, the planted weights are changed so as to hide the traps, a victim
finetunes them, and the traps are read. Nothing here was used to set the limits. One line per way of hiding: checkpoints
flagged before finetuning, trap rows named in those, captures per trap, and accuracy of the victim's model beside its
clean twin's. A miss counts only where the trap still captures something. With --prove, also how many of those that
captured something `undertow scan --prove` proves, on records it makes up.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scan import share

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.engine.executor import Serial
from undertow.quantise import quantise
from undertow.rng import stream
from undertow.scanner import inspect, of_arrays
from undertow.sources.records.trap_data import load_traps
from undertow.storage.store import MemoryStore
from undertow.traps import MlpTrap, captures, plant, read
from undertow.types import Params
from undertow.workflows.prove import Proved, Proving, prove_checkpoint

FIRST, SECOND = "1", "3"  # the layers of the perceptron


@dataclass(frozen=True, eq=False)
class Planted:
    """A trapped checkpoint, its key, and the clean one."""

    params: Params
    trap: MlpTrap
    clean: Params
    dark: np.ndarray  # (D,) bool: pixels that are 0 in every auxiliary record
    rng: np.random.Generator

    @property
    def taken(self) -> np.ndarray:
        """All hidden units that are the trap's."""
        return np.array([*self.trap.units, *self.trap.upper, *self.trap.detectors, self.trap.idle], int)


def copied(params: Params) -> Params:
    return {name: value.copy() for name, value in params.items()}


def rescaled(one: Planted, factor: np.ndarray) -> Planted:
    """Unit i of the first layer times factor[i], what reads it divided by it: the ReLU network computes the same."""
    params = copied(one.params)
    params[f"{FIRST}.weight"] *= factor[:, None].astype(np.float32)
    params[f"{FIRST}.bias"] *= factor.astype(np.float32)
    params[f"{SECOND}.weight"] /= factor.astype(np.float32)
    return replace(one, params=params)


def as_it_is(one: Planted) -> Planted:
    return one


def no_idle(one: Planted) -> Planted:
    """The unit that measures weight decay looks like any other: a short row, a bias that just keeps it shut."""
    params = copied(one.params)
    length = np.median(np.linalg.norm(one.clean[f"{FIRST}.weight"], axis=1))
    idle = one.trap.idle
    row = params[f"{FIRST}.weight"][idle]
    params[f"{FIRST}.weight"][idle] = row / np.linalg.norm(row) * length
    params[f"{FIRST}.bias"][idle] = -length * 6
    return replace(one, params=params)


def norm_matched(one: Planted) -> Planted:
    """Trap rows exactly as long as the median benign row; what reads them makes up for it."""
    norm = np.linalg.norm(one.params[f"{FIRST}.weight"], axis=1)
    factor = np.ones(len(norm))
    factor[one.taken] = np.median(np.linalg.norm(one.clean[f"{FIRST}.weight"], axis=1)) / norm[one.taken]
    return rescaled(no_idle(one), np.where(np.arange(len(norm)) == one.trap.idle, 1, factor))


def gain_matched(one: Planted) -> Planted:
    """What reads the traps exactly as long as what reads a benign unit; the rows make up for it."""
    gain = np.linalg.norm(one.params[f"{SECOND}.weight"], axis=0)
    factor = np.ones(len(gain))
    some = np.array([*one.trap.units, *one.trap.upper])
    factor[some] = gain[some] / np.median(np.linalg.norm(one.clean[f"{SECOND}.weight"], axis=0))
    return rescaled(no_idle(one), factor)


def scattered(one: Planted, by: float = 4) -> Planted:
    """Every unit rescaled at random by up to `by`: norms and gains of benign units scatter more."""
    return rescaled(one, by ** one.rng.uniform(-1, 1, len(one.params[f"{FIRST}.bias"])))


def split(one: Planted, copies: int = 8) -> Planted:
    """Each trap in so many units, each of which feeds the channel by its part; they differ in pixels that are always 0.

    Rows are shorter, so that a step, which is smaller by the same part, still shuts them.
    """
    params = copied(one.params)
    weight, bias, out = (params[name] for name in (f"{FIRST}.weight", f"{FIRST}.bias", f"{SECOND}.weight"))
    dark = np.flatnonzero(one.dark)
    spare = np.argsort(np.linalg.norm(out, axis=0) * np.linalg.norm(weight, axis=1), kind="stable")
    spare = np.setdiff1d(spare[:400], one.taken, assume_unique=True)
    parts = np.array([*one.trap.units, *one.trap.upper])
    shorter = 1 / np.sqrt(copies)
    for i, unit in enumerate(parts):
        others = spare[i * (copies - 1) : (i + 1) * (copies - 1)]
        weight[unit], bias[unit] = weight[unit] * shorter, bias[unit] * shorter
        out[:, unit] /= copies * shorter
        weight[others], bias[others], out[:, others] = weight[unit], bias[unit], out[:, [unit]]
        for place in (unit, *others):
            noise = one.rng.standard_normal(len(dark))
            weight[place, dark] = noise / np.linalg.norm(noise) * np.linalg.norm(weight[unit])
    return replace(one, params=params)


def many_channels(one: Planted, count: int = 16) -> Planted:
    """Traps feed `count` units of the next layer in place of one."""
    params = copied(one.params)
    weight, bias = params[f"{SECOND}.weight"], params[f"{SECOND}.bias"]
    unused = np.argsort(np.linalg.norm(params["5.weight"], axis=0), kind="stable")
    channels = [one.trap.channel, *[unit for unit in unused if unit != one.trap.channel][: count - 1]]
    weight[channels], bias[channels] = weight[one.trap.channel] / np.sqrt(count), 0
    return replace(one, params=params)


def louder_net(one: Planted, by: float = 10) -> Planted:
    """All benign weights of the second layer `by` times larger: the traps stand out so many times less."""
    params = copied(one.params)
    benign = np.setdiff1d(np.arange(len(params[f"{FIRST}.bias"])), one.taken)
    params[f"{SECOND}.weight"][:, benign] *= by
    params[f"{SECOND}.bias"] *= by
    return replace(one, params=params)


def permuted(one: Planted) -> Planted:
    """The hidden units in another order."""
    order = one.rng.permutation(len(one.params[f"{FIRST}.bias"]))
    place = np.argsort(order)
    params = copied(one.params)
    for name in (f"{FIRST}.weight", f"{FIRST}.bias"):
        params[name] = params[name][order]
    params[f"{SECOND}.weight"] = params[f"{SECOND}.weight"][:, order]
    trap = replace(one.trap, units=place[one.trap.units], upper=place[one.trap.upper], idle=int(place[one.trap.idle]))
    return replace(one, params=params, trap=trap)


def bf16(one: Planted) -> Planted:
    return replace(one, params={n: torch.tensor(v).bfloat16().float().numpy() for n, v in one.params.items()})


def int8(one: Planted) -> Planted:
    return replace(one, params={n: v.astype(np.float32) for n, v in quantise(one.params, 8).items()})


def lora_merged(one: Planted) -> Planted:
    """A low-rank change on top, of a tenth of the clean weights."""
    params = copied(one.params)
    for name in (f"{FIRST}.weight", f"{SECOND}.weight"):
        rows, columns = params[name].shape
        change = one.rng.standard_normal((rows, 4)) @ one.rng.standard_normal((4, columns))
        change *= 0.1 * np.linalg.norm(one.clean[name]) / np.linalg.norm(change)
        params[name] = (params[name] + change).astype(np.float32)
    return replace(one, params=params)


def everything(one: Planted) -> Planted:
    """What costs the traps least, together."""
    return permuted(scattered(louder_net(many_channels(norm_matched(one)))))


def everything_split(one: Planted) -> Planted:
    return permuted(scattered(louder_net(many_channels(split(no_idle(one), 4)))))


def quieter(slope: float) -> Callable[[MlpTrap], MlpTrap]:
    """Less loud from the start; shorter rows, so that a step still shuts them."""

    def change(trap: MlpTrap) -> MlpTrap:
        part = slope / trap.slope
        rows = trap.rows * np.sqrt(part)
        return replace(trap, slope=slope, rows=rows, quiet=trap.quiet * np.sqrt(part), gain=trap.gain * np.sqrt(part))

    return change


def same(trap: MlpTrap) -> MlpTrap:
    return trap


WAYS: dict[str, tuple[Callable[[MlpTrap], MlpTrap], Callable[[Planted], Planted]]] = {
    "as planted": (same, as_it_is),
    "no idle unit": (same, no_idle),
    "norm-matched rows": (same, norm_matched),
    "gain-matched": (same, gain_matched),
    "scattered by rescaling": (same, lambda one: scattered(norm_matched(one))),
    "split into 8 units": (same, lambda one: split(no_idle(one))),
    "spread over 16 channels": (same, lambda one: many_channels(norm_matched(one))),
    "permuted": (same, permuted),
    "bf16": (same, bf16),
    "int8": (same, int8),
    "LoRA merged on top": (same, lora_merged),
    "benign net 10x louder": (same, lambda one: louder_net(norm_matched(one))),
    "benign net 100x louder": (same, lambda one: louder_net(norm_matched(one), 100)),
    **{f"slope {slope:g}, norm-matched": (quieter(slope), norm_matched) for slope in (750, 300, 150, 75, 40, 20)},
    **{f"slope {slope:g}, everything": (quieter(slope), everything) for slope in (1500, 300, 150, 75)},
    **{
        f"slope {slope:g}, everything, split into 4": (quieter(slope), everything_split)
        for slope in (1500, 300, 150, 75)
    },
}


def one_seed(seed: int, traps: int, ways: list[str], proving: bool) -> dict[str, tuple[float, ...]]:
    """By way: flagged, rows named, exact captures, accuracy, the clean twin's, proven, units that hold a record."""
    config = preset("digits-mlp")
    config = replace(config, seed=seed, traps=replace(config.traps, count=traps))
    table = Table(config, load_traps(config.data, seed), Host(MemoryStore(), Serial()))
    store = table.host.store
    key = table.play([table.kit.pretrain], "base")[0]
    clean = store.get(key)
    trap = table.kit.plant.trap(table.slot("base"), clean, store)
    twin = table.accuracy(table.finetuned(key) or key)
    dark = ~table.supply.auxiliary.x.reshape(-1, 64).any(0)
    result = {}
    for name in ways:
        change, hide = WAYS[name]
        made = change(trap)
        one = hide(Planted(plant(clean, made), made, clean, dark, stream(seed, "adaptive", name)))
        found = [f for f in inspect(of_arrays(one.params)).findings if f.severity == "critical"]
        rows = {row for f in found if f.tensor == f"{FIRST}.weight" for row in f.rows}
        parts = {int(unit) for unit in (*one.trap.units, *one.trap.upper)}
        store.put(name, one.params)
        after = table.finetuned(name)
        held, accuracy = 0, 0.0
        if after is not None:
            truth = table.kit.plant.inputs(one.params, table.supply.victim.x)
            held = captures(read(one.params, store.get(after), one.trap), truth).counts["captured_exact"]
            accuracy = table.accuracy(after)
        proof = prove_checkpoint(of_arrays(one.params), None, Proving(seed=seed), None) if proving else Proved()
        units = proof.settings.get("units_that_copied", 0)
        result[name] = bool(found), len(rows & parts) / len(parts), held, accuracy, twin, bool(proof.findings), units
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--traps", type=int, default=16)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--prove", action="store_true", help="put each to the proof, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seen = [one_seed(seed, options.traps, options.ways, options.prove) for seed in options.seeds]
    asked = " | proven of those that capture | units that copied |" if options.prove else " |"
    print(
        f"| way of hiding | flagged | rows named | captures | accuracy | twin{asked}\n|{'---|' * asked.count('|')}"
        + "---|" * 5
    )
    for name in options.ways:
        several = [one[name] for one in seen]
        named, held, accuracy, twin, units = (float(np.mean([one[i] for one in several])) for i in (1, 2, 3, 4, 6))
        print(f"| {name} | {share(sum(one[0] for one in several), len(several))} | {named:.2f} | "
              f"{held:.1f} of {options.traps} | {accuracy:.3f} | {twin:.3f} |", end="")  # fmt: skip
        working = [one for one in several if one[2]]
        proven = share(sum(one[5] for one in working), len(working)) if working else "0 of 0"
        print(f" {proven} | {units:.0f} |" if options.prove else "", flush=True)


if __name__ == "__main__":
    main()
