"""tmi-default against the released recipe and adapted LiRA, by the number of shadow models.

    python benchmarks/shadows.py [--seeds 0 1 2 3 4] [--data DIR --pairs ... --out runs/pairs]

Digits at 16, 32 and 64 shadows; with --data also the `small` linear presets of the pairs at 16 and 32 (or --counts),
from the models that benchmarks/pairs.py left in --out. Shadows come in complementary pairs, and growing their number
moves nothing else. AUC: mean over seeds [95 % interval over models drawn again in each seed]; differences are paired.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from undertow.audits.chain import Host
from undertow.audits.membership.presets import PAIRS, preset
from undertow.audits.membership.tmi import audit_tmi
from undertow.audits.settings import LeakageConfig
from undertow.engine.executor import choose_executor
from undertow.metrics import difference, mean_over_runs
from undertow.sources.records.datasets import load_supply
from undertow.storage.run import open_store
from undertow.storage.store import MemoryStore
from undertow.types import AuditResult, Scores, Store

OURS = "tmi-default"
RIVALS = ("tmi", "tmi-lda", "adapted-lira", "adapted-lira-averaged")


def audit(config: LeakageConfig, seed: int, store: Store, workers: int) -> AuditResult:
    """One audit with the attacks that are compared, and no control."""
    config = replace(config, seed=seed, control=False, attacks=(OURS, *RIVALS))
    return audit_tmi(config, load_supply("tmi", config.data, seed), Host(store, choose_executor(workers)))


def of(results: list[AuditResult], attack: str) -> list[Scores]:
    """The scores of one attack in every run."""
    return [s for r in results for s in r.scores if s.attack == attack]


def line(name: str, shadows: int, results: list[AuditResult]) -> str:
    """One row: the AUC of our rule, and what it is ahead of each rival."""
    own = mean_over_runs(of(results, OURS), fprs=())[0]
    ahead = [difference(of(results, OURS), of(results, r), fprs=())[0] for r in RIVALS]
    cells = [f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" for row in ahead]
    return f"| {name} | {shadows} | {own.value:.3f} [{own.low:.3f}, {own.high:.3f}] | {' | '.join(cells)} |"


def table(name: str, config: LeakageConfig, counts: list[int], seeds: list[int], open_: Callable[[int], Store]) -> None:
    """The rows of one setting."""
    stores = {seed: open_(seed) for seed in seeds}
    for shadows in counts:
        results = [audit(replace(config, shadows=shadows), seed, store, 1) for seed, store in stores.items()]
        print(line(name, shadows, results), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS))
    parser.add_argument("--counts", type=int, nargs="+", default=[16, 32], help="shadows of the pairs")
    parser.add_argument("--no-digits", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"))
    options = parser.parse_args()
    print(f"seeds {', '.join(map(str, options.seeds))}\n")
    print(f"| data | shadows | AUC of {OURS} | {' | '.join(f'less {rival}' for rival in RIVALS)} |")
    print(f"|---|---|---|{'---|' * len(RIVALS)}")
    if not options.no_digits:
        table("digits", preset("tmi", "digits"), [16, 32, 64], options.seeds, lambda _: MemoryStore())
    for pair in options.pairs if options.data else ():
        config = preset("tmi", f"{pair}-linear-small")
        config = replace(config, data=replace(config.data, source=str(options.data)))
        name = pair.split("-")[0]
        table(
            pair,
            config,
            options.counts,
            options.seeds,
            lambda s, n=name: open_store(options.out / "store" / f"{n}-{s}"),
        )


if __name__ == "__main__":
    main()
