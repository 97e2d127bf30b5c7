"""Reading data traps out by queries alone: error against queries and the digits of the answers.

    python benchmarks/traps_read_out.py [--seeds 0 1 2]

The digits perceptron of `undertow audit datatrap`, planted and finetuned; the attacker asks the finetuned model and
never sees its weights. Compared with the victim's records. "vectors": any input is answered; "box": values in 0..1
only. "digits": significant decimal digits of the answers; float64 and float32 are what the model computes in. The
reading with the weights in hand, of the same traps without their upper units, is the last row.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.engine.executor import Serial
from undertow.sources.records.trap_data import load_traps
from undertow.storage.store import MemoryStore
from undertow.traps import captures, read
from undertow.traps.dense.read_out import read_out
from undertow.types import Array, Params

LAYERS = ("1", "3", "5")
WAYS = {  # name: kind of number, digits that are kept, step, box, ajar, starts
    "vectors, float64": (np.float64, 0, 1e-3, None, True, (1, 3, 9)),
    "vectors, 10 digits": (np.float64, 10, 1e-3, None, True, (1, 3, 9)),
    "vectors, 8 digits": (np.float64, 8, 1e-2, None, False, (1, 3, 9)),
    "vectors, float32": (np.float32, 0, 1e-2, None, False, (1, 3, 9)),
    "vectors, 5 digits": (np.float64, 5, 3e-2, None, False, (3,)),
    "box, float64": (np.float64, 0, 1e-3, (0.0, 1.0), False, (1, 3, 9)),
}


def oracle(params: Params, kind: type, digits: int):
    """The perceptron's logits, rounded to so many significant digits (0: not)."""
    layers = [(params[f"{n}.weight"].astype(kind), params[f"{n}.bias"].astype(kind)) for n in LAYERS]

    def ask(x: Array) -> Array:
        h = x.astype(kind)
        for weight, bias in layers[:-1]:
            h = np.maximum(h @ weight.T + bias, 0)
        logits = h @ layers[-1][0].T + layers[-1][1]
        if not digits:
            return logits
        unit = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(logits), 1e-300))) + 1 - digits)
        return np.round(logits / unit) * unit

    return ask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print("| access | seed | queries per trap | exact | accepted | right of these | median error |")
    print("|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        config = replace(preset("digits-mlp"), seed=seed)
        supply = load_traps(config.data, seed)
        table = Table(config, supply, Host(MemoryStore(), Serial()))
        clean, store = table.clean(), table.host.store
        key = table.play([table.kit.plant], "base", clean)[0]
        trap = table.kit.plant.trap(table.slot("base"), store.get(clean), store)
        before, after = store.get(key), store.get(table.finetuned(key))
        inputs = 0.01 + 0.98 * supply.auxiliary.x.astype(np.float64)
        alone = replace(trap, upper=np.empty(0, int), upper_thresholds=np.empty(0))
        for name, (kind, digits, step, box, ajar, counts) in WAYS.items():
            for count in counts:
                asked = read_out(oracle(after, kind, digits), trap, inputs[:count], step=step, box=box, ajar=ajar)
                show(name, seed, asked.queries / len(trap.units), asked.candidates, supply.victim.x)
        show("weights", seed, 0, read(before, after, alone), supply.victim.x)


def show(name: str, seed: int, queries: float, found, records: Array) -> None:
    """One row."""
    seen = captures(found, records, grid=16)
    known = seen.error[np.isfinite(seen.error)]
    share = "none" if seen.precision is None else f"{seen.precision:.3f}"
    error = f"{np.median(known):.1e}" if len(known) else ""
    counts = seen.counts
    print(f"| {name} | {seed} | {queries:.0f} | {counts['captured_exact']} of {counts['traps']} "
          f"| {counts['accepted']} | {share} | {error} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
