"""Run `undertow score` on a file, read what it wrote, and compute all of it again the slow way."""

import csv
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tests.oracles import score as slow
from tests.oracles.blind import blind_by_hand

from real.game import play
from undertow.report.verdict import verdict
from undertow.rng import stream
from undertow.storage.results import load_result
from undertow.types import Array, AuditResult, Measurement, Scores

TOLERANCE = 1e-9  # relative
COUNTED = ("auc", "tpr")
NEEDS = {"lira-offline": (0, 2), "rmia": (1, 1), "rmia-offline": (0, 1)}  # IN, OUT; two of each otherwise
ALONE = ("threshold", "loss", "confidence", "entropy", "margin", "blind")


@dataclass(frozen=True)
class Constants:
    """Choices of the package that no paper makes; read from it, so that a changed default is no mismatch."""

    per_example: int
    gamma: float
    a: float
    ridge: float


@dataclass
class Row:
    """What was found on one file."""

    file: str
    null: bool
    badge: str = ""
    design: str = ""
    n: str = ""
    effective: float | None = None
    attacks: int = 0
    unchecked: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    scores: float = 0.0  # largest relative difference
    numbers: float = 0.0  # largest difference of an AUC or a TPR, of the same scores
    rounding: float = 0.0  # largest difference of an AUC where ties that differ by rounding are ties
    faults: list[str] = field(default_factory=list)


def read(file: Path) -> tuple[dict[str, Array], list[str]]:
    """Arrays of a signals file and the names of its records, read without undertow."""
    if file.suffix == ".csv":
        arrays, names = read_csv(file)
    else:
        with np.load(file, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
        names = [str(q) for q in range(arrays["member"].shape[-1])]
    if arrays["member"].ndim == 1:
        for key in ("member", "values", "logits", "probabilities"):
            arrays |= {key: arrays[key][None]} if key in arrays else {}
    if "probabilities" in arrays:
        arrays["logits"] = logarithms(arrays.pop("probabilities"))
    if "logits" in arrays and arrays["logits"].ndim == 3:
        arrays["logits"] = arrays["logits"][:, :, None]
    if "labels" in arrays and arrays["labels"].dtype.kind == "U":
        order = sorted(set(arrays["labels"].tolist()))
        arrays["labels"] = np.array([order.index(label) for label in arrays["labels"].tolist()])
    return arrays, names


def read_csv(file: Path) -> tuple[dict[str, Array], list[str]]:
    """One row per model and record, in this order; without the columns model and example one model's records."""
    with file.open(encoding="utf8", newline="") as lines:
        table = list(csv.DictReader(lines))
    names = list(dict.fromkeys(row.get("example") or str(q) for q, row in enumerate(table)))
    shape = (-1, len(names))
    values = np.array([float(row["value"]) for row in table]).reshape(shape)
    return {"values": values, "member": np.array([row["member"] == "1" for row in table]).reshape(shape)}, names


def logarithms(p: Array) -> Array:
    """log of probabilities (M, N, C); a zero as the smallest positive one of its class, or, if none is, of the file."""
    floored = np.array(p, float)
    for c in range(p.shape[-1]):
        positive = p[..., c][p[..., c] > 0]
        least = positive.min() if positive.size else p[p > 0].min()
        floored[..., c][p[..., c] == 0] = least
    return np.log(floored)


def run(file: Path, out: Path, attacks: Sequence[str]) -> tuple[AuditResult | None, str]:
    """`undertow score FILE --out OUT` in a process of its own; the result, or the error it gave."""
    command = [sys.executable, "-m", "undertow", "score", str(file), "--out", str(out), "--quiet"]
    command += ["--attack", ",".join(attacks)] if attacks else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no message"])[-1]
    return load_result(out), ""


def check(file: Path, out: Path, null: bool, attacks: Sequence[str], constants: Constants) -> Row:
    """All numbers of one file against the slow implementation."""
    row = Row(file.name, null)
    arrays, names = read(file)
    result, error = run(file, out, attacks)
    if result is None:
        row.faults.append(error)
        return row
    describe(row, result)
    if null and row.badge == "Leak shown":
        row.faults.append("Leak shown, although membership was dealt after training")
    rules = Rules(arrays, result.seed, constants)
    usable(row, rules, names, result)
    for scores in result.scores:
        compare(row, scores, rules, names, result)
    return row


def describe(row: Row, result: AuditResult) -> None:
    """Verdict, design and counts, as the result gives them."""
    row.badge, row.design = verdict(result).badge, str(result.design.get("name", ""))
    first = next(m for m in result.measurements if m.metric == "auc")
    row.n, row.effective = f"{first.n} {first.unit}", first.effective
    row.not_run = sorted({entry["attack"] for entry in result.not_run})


class Rules:
    """The slow attacks on one file, by name."""

    def __init__(
        self, arrays: Mapping[str, Array], seed: int, constants: Constants, game: slow.Game | None = None
    ) -> None:
        self.arrays, self.seed, self.constants = arrays, seed, constants
        self.game = game if game is not None else play(arrays, seed)
        self.rules = self._rules(constants)

    def only(self, t: int) -> "Rules":
        """The same attacks on one target."""
        return Rules(self.arrays, self.seed, self.constants, self.game.only(t))

    def _rules(self, c: Constants) -> dict[str, Callable[[list[int]], tuple[Array, ...]]]:
        arrays, game = self.arrays, self.game
        targets, rules = list(game.targets), {}

        def plain(signal: Array) -> Callable[[list[int]], tuple[Array, ...]]:
            return lambda points: (signal[targets][:, points],)

        def shadow(rule: Callable[..., Array], signal: Array, *rest: float) -> Callable[[list[int]], tuple[Array, ...]]:
            return lambda points: (rule(signal, game, points, *rest),)

        if "logits" in arrays:
            z, y = arrays["logits"], arrays["labels"]
            rules |= {"loss": plain(slow.loss(z, y)), "margin": plain(slow.margin(z, y))}
            rules |= {"confidence": plain(slow.confidence(z)), "entropy": plain(slow.entropy(z))}
            log_p = slow.log_probability(z, y)
            rules["rmia"] = partial(slow.rmia, log_p, game, gamma=c.gamma)
            rules["rmia-offline"] = partial(slow.rmia, log_p, game, gamma=c.gamma, a=c.a)
            rules["tmi-lda"] = shadow(slow.tmi_lda, z, c.ridge)
            rules["tmi-knn"] = shadow(slow.tmi_knn, z)
            rules["adapted-lira"] = shadow(slow.adapted_lira, z, 1e-3)
            rules["adapted-lira-averaged"] = shadow(slow.adapted_lira_averaged, z, c.per_example)
        if "values" in arrays:
            rules["threshold"] = plain(arrays["values"])
        one = arrays["values"] if "values" in arrays else slow.scaled_logit(z, y)
        rules["lira"] = shadow(slow.lira, one, c.per_example)
        rules["lira-offline"] = shadow(slow.lira_offline, one, c.per_example)
        rules["bavaria"] = shadow(slow.bavaria, one)
        if "features" in arrays:
            rules["blind"] = lambda points: (self._blind(points),)
        return rules

    def _blind(self, points: list[int]) -> Array:
        """The folds are dealt by the same stream; the classifiers are fitted one by one."""
        member, found = self.arrays["member"][:, points], []
        rng = stream(self.seed, "attack", "", "blind", 0)
        for t in self.game.targets:
            found.append(blind_by_hand(self.arrays["features"][points], member[t], dealt(member[t], rng)))
        return np.stack(found)


def dealt(member: Array, rng: np.random.Generator) -> Array:
    """A fold for each point: members in random order, then non-members, are dealt to the folds in turn."""
    order = [q for side in (member, ~member) for q in rng.permutation(np.flatnonzero(side))]
    count = min(5, int(member.sum()), int((~member).sum()))
    fold = np.empty(len(member), int)
    for place, q in enumerate(order):
        fold[q] = place % count
    return fold


def usable(row: Row, rules: Rules, names: Sequence[str], result: AuditResult) -> None:
    """Each attack was run on the pairs with enough shadows, or not run for lack of them."""
    targets, points = list(rules.game.targets), range(len(names))
    remain = np.array([[rules.game.remain(t, q) for q in points] for t in targets])
    member = rules.arrays["member"][targets]
    run = {scores.attack: scores for scores in result.scores}
    for attack in rules.rules:
        least = (0, 0) if attack in ALONE else NEEDS.get(attack, (2, 2))
        can = (remain[..., 0] >= least[0]) & (remain[..., 1] >= least[1])
        kept = np.flatnonzero(can.any(0))
        possible = len(kept) >= 2 and bool((member & can).any()) and bool((~member & can).any())
        if (attack in run) != possible and attack not in row.not_run:
            row.faults.append(
                f"{attack}: {len(kept)} records have enough models, and it was {'' if attack in run else 'not '}run"
            )
        if attack in row.not_run and possible and not excused(reason(result, attack)):
            row.faults.append(f"{attack}: not run ({reason(result, attack)}), although {len(kept)} records allow it")
        if attack in run and list(run[attack].ids or result.ids) != [names[q] for q in kept]:
            row.faults.append(f"{attack}: run on other records than the {len(kept)} that have enough models")
        elif attack in run and not np.array_equal(scored(run[attack]), can[:, kept]):
            row.faults.append(f"{attack}: other pairs were scored than those with enough models")


def excused(why: str) -> bool:
    """Reasons that the models at hand do not decide: time, the only model, or what the design forbids."""
    return any(text in why for text in ("CPU time", "one model", "compared within a model"))


def scored(scores: Scores) -> Array:
    """Which pairs have a score, (T, Q) bool."""
    return np.ones(scores.member.shape, bool) if scores.scored is None else scores.scored


def slowly(scores: Scores, rules: Rules, points: list[int]) -> tuple[Array, Array, Array]:
    """The right scores, and the least and most that rounding allows; target by target where pairs are left out."""
    if scores.scored is None:
        exact, *bounds = rules.rules[scores.attack](points)
        low, high = bounds or (exact, exact)
        return exact, low, high
    found = [np.zeros(scores.values.shape) for _ in range(3)]
    for i, t in enumerate(rules.game.targets):
        own = np.flatnonzero(scores.scored[i])
        if len(own) >= 2:
            exact, *bounds = rules.only(t).rules[scores.attack]([points[q] for q in own])
            for place, part in zip(found, (exact, *(bounds or (exact, exact)))):
                place[i, own] = part[0]
    return found[0], found[1], found[2]


def reason(result: AuditResult, attack: str) -> str:
    """Why an attack was not run."""
    return next(str(entry["reason"]) for entry in result.not_run if entry["attack"] == attack)


def compare(row: Row, scores: Scores, rules: Rules, names: Sequence[str], result: AuditResult) -> None:
    """The scores of one attack, and the AUC and TPRs of these scores."""
    place = {name: q for q, name in enumerate(names)}
    points = [place[name] for name in scores.ids or result.ids]
    truth = rules.arrays["member"][list(rules.game.targets)][:, points]
    if not np.array_equal(truth, scores.member):
        row.faults.append(f"{scores.attack}: the membership beside the scores is another one")
        return
    row.attacks += 1
    rows = [m for m in result.measurements if m.attack == scores.attack and m.metric in COUNTED]
    compare_numbers(row, scores, rows)
    if scores.attack not in rules.rules:
        row.unchecked.append(scores.attack)
        return
    exact, low, high = slowly(scores, rules, points)
    scale = np.maximum(np.abs(exact), np.sqrt(np.square(exact).mean()))
    off = np.maximum(np.maximum(scores.values - high, low - scores.values), 0) / np.where(scale > 0, scale, 1)
    row.scores = max(row.scores, float(off.max()))
    if not off.max() <= TOLERANCE:
        t, q = np.unravel_index(np.nanargmax(off), off.shape)
        found, right = scores.values[t, q], exact[t, q]
        count = int((off > TOLERANCE).sum())
        place_of = f"target {t}, record {points[q]}: {found!r}, slowly {right!r}"
        row.faults.append(f"{scores.attack}: {count} of {off.size} scores differ; {place_of}")
    value = next(m.value for m in rows if m.metric == "auc")
    if value is not None:
        tied = np.array([float(f"{x:.10g}") for x in exact.ravel()]).reshape(exact.shape)
        row.rounding = max(row.rounding, abs(slow.auc(tied[scored(scores)], truth[scored(scores)]) - value))


def compare_numbers(row: Row, scores: Scores, rows: Sequence[Measurement]) -> None:
    """AUC and TPRs of the scores that were written, by counting pairs and by trying every threshold."""
    for m in rows:
        right = slow.auc(*scores.pairs()) if m.fpr is None else slow.tpr(*scores.pairs(), m.fpr)
        if m.value is None:
            expected = (m.non_members or 0) * (m.fpr or 1)
            if expected >= 1:
                row.faults.append(
                    f"{m.attack}: {m.label} is left out ({m.reason}), although {expected:.3g} are expected"
                )
            continue
        off = abs(m.value - right)
        row.numbers = max(row.numbers, off)
        if not off <= TOLERANCE * max(right, 1e-3):
            row.faults.append(f"{m.attack}: {m.label} is {m.value!r}, slowly {right!r}")
