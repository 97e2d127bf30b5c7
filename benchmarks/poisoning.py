"""What a poisoned checkpoint adds, against a clean one and one trained on without poison, as docs/results.md keeps it.

    python benchmarks/poisoning.py [--presets digits] [--data DIR] [--seeds 0 1 2] [--recipes ...] [--views ...]

For every recipe and view: LiRA's TPR@1% and AUC in each arm, and the differences to the clean arm (the same models and
records). Means over seeds; 95 % intervals over models drawn again within each seed. A finished run is read again from
--out, so the command resumes.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.audits.poisoning.game import on
from undertow.audits.poisoning.presets import preset
from undertow.audits.poisoning.settings import ARMS, PoisoningConfig
from undertow.metrics import difference, mean_over_runs
from undertow.storage.results import load_result
from undertow.types import AuditResult, Measurement, Scores
from undertow.workflows.audit import Request, run_audit
from undertow.workflows.poisoning import POISONING

POINTS = ("targets", "others")


def run(name: str, seed: int, options: argparse.Namespace) -> AuditResult:
    """The audit of one preset at one seed, or what it left behind."""
    out = options.out / f"{name}-{options.tag}" / f"seed-{seed}"
    if not (out / "result.json").is_file():
        run_audit(
            POISONING,
            configured(name, seed, options),
            Request(out, options.out / "store" / f"{name}-{seed}", options.workers),
        )
    return load_result(out)


def configured(name: str, seed: int, options: argparse.Namespace) -> PoisoningConfig:
    config = preset(name)
    data = replace(config.data, folder=str(options.data)) if options.data else config.data
    return replace(config, seed=seed, data=data, recipes=tuple(options.recipes), views=tuple(options.views))


def scores(results: list[AuditResult], arm: str, recipe: str, view: str, points: str) -> list[Scores]:
    """LiRA's scores of one arm in every run, on the targets or on the others."""
    found = []
    for result in results:
        one = next(s for s in result.scores if (s.group, s.recipe, s.view) == (arm, recipe, view))
        mask = np.arange(one.member.shape[1]) < result.targets
        found.append(on(one, mask if points == "targets" else ~mask))
    return found


def cells(rows: tuple[Measurement, ...]) -> str:
    """TPR@1% and AUC with their intervals."""
    auc, tpr = rows[0], rows[1]
    sign = "+" if "-" in auc.attack else ""
    return " | ".join(f"{m.value:{sign}.3f} [{m.low:{sign}.3f}, {m.high:{sign}.3f}]" for m in (tpr, auc))


def table(results: list[AuditResult], recipe: str, view: str) -> None:
    """The arms of one recipe and view, and what they differ by."""
    print("| points | arm | TPR@1% | AUC |\n|---|---|---|---|")
    for points in POINTS:
        runs = {arm: scores(results, arm, recipe, view, points) for arm in ARMS}
        for arm in ARMS:
            print(f"| {points} | {arm} | {cells(mean_over_runs(runs[arm], fprs=(0.01,)))} |")
        for arm in ARMS[1:]:
            rows = difference(runs[arm], runs["clean"], fprs=(0.01,))
            print(f"| {points} | {arm} less clean | {cells(rows)} |")


def utility(results: list[AuditResult], recipe: str) -> None:
    """Mean over seeds of what the arms are worth, before and after."""
    for when, of in (("before", None), ("after", recipe)):
        rows = [
            [m for m in r.measurements if m.attack == "utility" and (m.when, m.recipe) == (when, of)] for r in results
        ]
        said = [f"{arm} {np.mean([m.value for row in rows for m in row if m.group == arm]):.3f}" for arm in ARMS]
        print(f"\n{rows[0][0].metric}, {when} finetuning: {', '.join(said)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=["full"])
    parser.add_argument("--views", nargs="+", default=["exact"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tag", default="main", help="a name for these recipes and views, below --out")
    parser.add_argument("--out", type=Path, default=Path("runs/poisoning"))
    options = parser.parse_args()
    for name in options.presets:
        results = [run(name, seed, options) for seed in options.seeds]
        for recipe in options.recipes:
            for view in options.views:
                print(f"\n### `{name}`, recipe {recipe}, view {view}, seeds {', '.join(map(str, options.seeds))}\n")
                table(results, recipe, view)
            utility(results, recipe)
        print("", flush=True)


if __name__ == "__main__":
    main()
