"""The defaults of RMIA and of LiRA's variance: chosen on some kinds of really trained models, reported on others.

    python benchmarks/defaults.py [--data DIR] [--cache DIR] [--choose] [--report] [--again N]

Without --data the sets that need files are left out (and the choice is not the published one). Signals are kept in
--cache, so that a second run takes a minute or two. --again N moves every seed by N: other records, memberships and
models of the same kinds.

The rule, fixed before any attack was run on these sets:

- A candidate is a value of gamma (RMIA), of a (RMIA, offline) or of PER_EXAMPLE (LiRA, online and offline alike).
- A set is attacked with 8, 16, 24, 32, 48 and 64 of its models, as far as it has them. For each of these numbers AUC,
  TPR@1 % and TPR@0.1 % are taken, a TPR only where 5 false positives are allowed or more.
- Each number is turned into a separation, so that they can be averaged: the d' of two normals of one width that have
  this AUC, sqrt(2) Phi^-1(AUC), or this TPR at this FPR, Phi^-1(TPR) - Phi^-1(FPR). A candidate's value on a set is the
  mean over metrics and numbers of models, and over the attacks it concerns; every set weighs the same.
- Of the candidates that are less than one standard error (over sets, paired) behind the best, the first in the order of
  its list is taken: published values and earlier defaults first, then the others.
- gamma is chosen first (RMIA online, and offline at a = 0.3), then a at that gamma.
"""

import argparse
import os
import tempfile

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from defaults_sets import CHOSEN_ON, REPORTED, Kind, evidence
from scipy.stats import norm

from undertow.attacks import lira as lira_rules
from undertow.attacks import rmia as rmia_rules
from undertow.attacks.attack import Plain, run
from undertow.attacks.bavaria import fit_prior
from undertow.attacks.catalog import ATTACKS
from undertow.attacks.lira import lira, lira_offline
from undertow.attacks.moments import Moments, moments
from undertow.attacks.rmia import rmia, rmia_offline
from undertow.engine.membership import Fold, folds, held_out_targets
from undertow.metrics import auc, tpr_at
from undertow.rng import stream
from undertow.types import Array, Evidence, Signals

COUNTS = (8, 16, 24, 32, 48, 64)
RATES = (0.01, 0.001)
GAMMAS = (2.0, 1.0, 1.1, 1.5, 4.0)  # the paper's code has 2, its authors' tool 1
OFFLINE_A = (0.3, 1.0, 0.0, 0.1, 0.5, 0.7, 0.9)  # the earlier default; the paper's code where a is not known
THRESHOLDS = (24, 32, 16, 12, 8, 4, 2)  # the earlier default; the 64 models of Carlini et al.
POOLED = 10**6  # no number of models qualifies
BEFORE = {"gamma": 2.0, "a": 0.3, "per_example": 24}


@dataclass(frozen=True)
class Numbers:
    """What one attack reached on one set with one number of models."""

    auc: float
    tpr: tuple[float | None, ...]  # at RATES; None where fewer than 5 false positives are allowed
    separation: float  # mean over the numbers that are there, in standard deviations


def numbers(scores: Array, member: Array) -> Numbers:
    """AUC and TPRs of pooled scores (T, Q) and the separation they amount to."""
    area, outside = auc(scores, member), int((~member).sum())
    tprs = [tpr_at(scores, member, f) if outside * f >= 5 else None for f in RATES]
    half = 0.5 / int(member.sum())
    clipped = [(float(np.clip(t, half, 1 - half)), f) for t, f in zip(tprs, RATES) if t is not None]
    parts = [np.sqrt(2) * norm.ppf(np.clip(area, half, 1 - half)), *(norm.ppf(t) - norm.ppf(f) for t, f in clipped)]
    return Numbers(area, tuple(tprs), float(np.mean(parts)))


@dataclass(frozen=True, eq=False)
class Game:
    """One set cut to its first models: what the attacker may use, and whom it attacks."""

    evidence: Evidence
    folds: list[Fold]

    def scores(self, name: str, rule: Plain) -> tuple[Array, Array]:
        """Scores and membership (T, Q) of attack `name` of the catalogue with `rule` in place of its own."""
        attack = replace(ATTACKS[name], rule=lambda shadow, target, _rng: rule(shadow, target))
        parts = [run(attack, self.evidence, f.shadows, f.targets, stream(0, "unused")) for f in self.folds]
        return np.concatenate(parts), self.evidence.member[np.concatenate([f.targets for f in self.folds])]

    def play(self, name: str, rule: Plain) -> Numbers:
        return numbers(*self.scores(name, rule))


def games(kind: Kind, whole: Evidence, counts: Sequence[int]) -> list[Game]:
    """The set with its first m shadows, for every m of `counts` that it has (all of them where it has fewer)."""
    result = []
    for m in [c for c in counts if c <= kind.models] or [kind.models]:
        rows = np.r_[:m, kind.models : kind.models + kind.victims]
        assert whole.logits is not None
        cut = replace(whole, member=whole.member[rows], logits=whole.logits[rows])
        result.append(
            Game(cut, [held_out_targets(range(m, len(rows)), len(rows))] if kind.victims else folds(cut.member))
        )
    return result


def threshold(rule: Callable[..., Array], models: int, shadow: Signals, target: Array) -> Array:
    """LiRA with its own variance where every point has at least `models` on a side, else pooled."""
    sides = [shadow.member, ~shadow.member] if rule is lira else [~shadow.member]
    enough = all(int(side.sum(0).min()) >= models for side in sides)
    return rule(shadow, target, "example" if enough else "pooled")


def shrunk(shadow: Signals, target: Array) -> Array:
    """LiRA with normals of the shrunk variance of `bavaria`: for comparison, no candidate."""

    def log_normal(side: Moments) -> Array:
        prior, nu = fit_prior(side), side.count - 1
        d0 = min(prior.freedom, 1e9)
        variance = (d0 * prior.variance + nu * side.variance) / (d0 + nu)
        result: Array = -(np.square(target - side.mean) / variance + np.log(variance)) / 2
        return result

    return log_normal(moments(shadow.values, shadow.member)) - log_normal(moments(shadow.values, ~shadow.member))


Candidates = dict[str, list[tuple[str, Plain]]]  # label -> the attacks it concerns, with their rule


def gammas() -> Candidates:
    return {
        f"{g:g}": [("rmia", partial(rmia, gamma=g)), ("rmia-offline", partial(rmia_offline, gamma=g, a=0.3))]
        for g in GAMMAS
    }


def offline(gamma: float) -> Candidates:
    return {f"{a:g}": [("rmia-offline", partial(rmia_offline, gamma=gamma, a=a))] for a in OFFLINE_A}


def variances() -> Candidates:
    named = [(str(n), n) for n in THRESHOLDS] + [("pooled", POOLED)]
    return {
        label: [
            ("lira", partial(threshold, lira, n)),
            ("lira-offline", partial(threshold, lira_offline, n)),
        ]
        for label, n in named
    }


def choose(title: str, candidates: Candidates, sets: dict[str, list[Game]]) -> str:
    """Print the separation of every candidate on every set, and return the one that the rule takes."""
    table = np.array(
        [
            [
                np.mean([game.play(*attack).separation for attack in attacks for game in games_])
                for games_ in sets.values()
            ]
            for attacks in candidates.values()
        ]
    )
    best = int(table.mean(1).argmax())
    behind = table[best] - table
    error = behind.std(1, ddof=1) / np.sqrt(table.shape[1])
    taken = next(i for i in range(len(table)) if i == best or behind[i].mean() < error[i])
    print(f"\n### {title}: separation on the sets it is chosen on\n")
    print(f"| {title} | {' | '.join(sets)} | mean | behind the best |\n|---|{'---|' * (len(sets) + 2)}")
    for i, label in enumerate(candidates):
        cells = " | ".join(f"{value:.3f}" for value in table[i])
        name = f"**{label}**" if i == taken else label
        print(f"| {name} | {cells} | {table[i].mean():.3f} | {behind[i].mean():.3f} ± {error[i]:.3f} |", flush=True)
    return list(candidates)[taken]


def pooling(sets: dict[str, list[Game]]) -> None:
    """Print what pooling the models costs RMIA at every gamma: the AUC within one model hardly depends on gamma."""
    columns = sorted(GAMMAS)
    print("\n### AUC of rmia, online, all models: mean within one model, and pooled over models\n")
    print(f"| set | within one model | {' | '.join(f'pooled, gamma {g:g}' for g in columns)} |")
    print(f"|---|---|{'---|' * len(columns)}")
    for name, (*_, game) in sets.items():
        found = [game.scores("rmia", partial(rmia, gamma=g)) for g in columns]
        within = np.mean([auc(*model) for model in zip(*found[0])])
        print(f"| {name} | {within:.3f} | {' | '.join(f'{auc(*pooled):.3f}' for pooled in found)} |", flush=True)


def report(sets: dict[str, list[Game]], gamma: float, a: float, per_example: int) -> None:
    """The attacks with the defaults of before and with those given, on sets that no choice looked at."""
    print("\n### Earlier defaults, then those of the code, on the other sets (all models)\n")
    print("| set | attack | default | AUC | TPR@1 % | TPR@0.1 % |\n|---|---|---|---|---|---|")
    for name, (*_, game) in sets.items():
        rows: dict[tuple[str, str], Plain] = {}  # a default that did not change is one row
        for g, a_, n in (tuple(BEFORE.values()), (gamma, a, per_example)):
            rows["rmia", f"gamma {g:g}"] = partial(rmia, gamma=g)
            rows["rmia-offline", f"gamma {g:g}, a {a_:g}"] = partial(rmia_offline, gamma=g, a=a_)
            rows["lira", f"own variance from {n:g} models"] = partial(threshold, lira, int(n))
            rows["lira-offline", f"own variance from {n:g} models"] = partial(threshold, lira_offline, int(n))
        rows["lira", "shrunk variance, for comparison"] = shrunk
        for (attack, label), rule in sorted(rows.items(), key=lambda row: row[0][0]):
            found = game.play(attack, rule)
            tprs = " | ".join("too few records" if t is None else f"{100 * t:.2f} %" for t in found.tpr)
            print(f"| {name} | {attack} | {label} | {found.auc:.3f} | {tprs} |", flush=True)


def load(kinds: Sequence[Kind], data: Path | None, cache: Path, counts: Sequence[int]) -> dict[str, list[Game]]:
    """The sets whose data is there, described in a table."""
    print(
        "\n| set | what | records | models | saturated: median p of members, of others | accuracy on members, others |"
    )
    print("|---|---|---|---|---|---|")
    result = {}
    for kind in kinds:
        whole = evidence(kind, data, cache)
        if whole is None:
            print(f"| {kind.name} | {kind.about} | left out: give --data | | | |")
            continue
        assert whole.logits is not None
        assert whole.labels is not None
        p = np.exp(ATTACKS["rmia"].read(whole))
        right = whole.logits[:, :, 0].argmax(-1) == whole.labels
        cells = [f"{np.median(p[side]):.3f}" for side in (whole.member, ~whole.member)]
        accuracy = [f"{right[side].mean():.3f}" for side in (whole.member, ~whole.member)]
        models = f"{kind.models} + {kind.victims} victims" if kind.victims else f"{kind.models}, in turn"
        print(f"| {kind.name} | {kind.about} | {p.shape[1]} | {models} | {', '.join(cells)} | {', '.join(accuracy)} |")
        result[kind.name] = games(kind, whole, counts)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with small/*.npz and text/*.csv.gz")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "undertow-defaults")
    parser.add_argument("--choose", action="store_true", help="choose, on the sets for choosing")
    parser.add_argument("--report", action="store_true", help="report the defaults of the code on the other sets")
    parser.add_argument("--again", type=int, default=0, metavar="N", help="other seeds, of the same kinds")
    options = parser.parse_args()
    chosen_on, reported = (
        [replace(kind, seed=kind.seed + options.again) for kind in kinds] for kinds in (CHOSEN_ON, REPORTED)
    )
    torch.set_num_threads(1)
    if options.choose or not options.report:
        sets = load(chosen_on, options.data, options.cache, COUNTS)
        gamma = choose("gamma", gammas(), sets)
        pooling(sets)
        choose("a", offline(float(gamma)), sets)
        choose("PER_EXAMPLE", variances(), sets)
    if options.report or not options.choose:
        sets = load(reported, options.data, options.cache, [64])
        report(sets, rmia_rules.GAMMA, rmia_rules.A, lira_rules.PER_EXAMPLE)


if __name__ == "__main__":
    main()
