"""Run `undertow score` on a file, read what it wrote, and compute all of it again the slow way."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from real.reading import read
from real.slowly import Constants, Rules
from tests.oracles import score as slow

from undertow.report.verdict import verdict
from undertow.storage.results import load_result
from undertow.types import Array, AuditResult, Measurement, Scores

TOLERANCE = 1e-9  # relative
COUNTED = ("auc", "tpr")


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
    unscored: float = 0.0  # largest share of an attack's pairs that have no score
    scores: float = 0.0  # largest relative difference
    numbers: float = 0.0  # largest difference of an AUC or a TPR, of the same scores
    rounding: float = 0.0  # largest difference of an AUC where ties that differ by rounding are ties
    faults: list[str] = field(default_factory=list)


def run(file: Path, out: Path, attacks: Sequence[str]) -> tuple[AuditResult | None, str]:
    """`undertow score FILE --out OUT` in a process of its own; the result, and the error or the warnings of NumPy."""
    command = [sys.executable, "-m", "undertow", "score", str(file), "--out", str(out), "--quiet"]
    command += ["--attack", ",".join(attacks)] if attacks else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no message"])[-1]
    return load_result(out), next((line for line in done.stderr.splitlines() if "RuntimeWarning" in line), "")


def check(file: Path, out: Path, null: bool, attacks: Sequence[str], constants: Constants) -> Row:
    """All numbers of one file against the slow implementation."""
    row = Row(file.name, null)
    arrays, names = read(file)
    result, error = run(file, out, attacks)
    if error:
        row.faults.append(error)
    if result is None:
        return row
    describe(row, result)
    if null and row.badge == "Leak shown":
        row.faults.append("Leak shown, although membership was dealt after training")
    rules = Rules(arrays, result.seed, constants)
    usable(row, rules, names, result, attacks)
    for scores in result.scores:
        compare(row, scores, rules, names, result)
    return row


def describe(row: Row, result: AuditResult) -> None:
    """Verdict, design and counts, as the result gives them."""
    row.badge, row.design = verdict(result).badge, str(result.design.get("name", ""))
    first = next(m for m in result.measurements if m.metric == "auc")
    row.n, row.effective = f"{first.n} {first.unit}", first.effective
    row.not_run = sorted({entry["attack"] for entry in result.not_run})


def usable(row: Row, rules: Rules, names: Sequence[str], result: AuditResult, asked: Sequence[str]) -> None:
    """Each attack scored the pairs for which enough other models remain, or was not run for lack of them."""
    run = {scores.attack: scores for scores in result.scores}
    for attack in [name for name in rules.rules if name in (asked or rules.rules)]:
        can, possible = rules.usable(attack), rules.possible(attack)
        count = f"{int(can.sum())} of {can.size} pairs have enough models"
        if (attack in run) != possible and attack not in row.not_run:
            row.faults.append(f"{attack}: {count}, and it was {'' if attack in run else 'not '}run")
        if attack in row.not_run and possible and "CPU time" not in reason(result, attack):
            row.faults.append(f"{attack}: not run ({reason(result, attack)}), although {count}")
        if attack in run:
            row.faults += wrong_pairs(run[attack], can, rules, names, result)
            row.unscored = max(row.unscored, 1 - float(can[rules.rows].mean()))


def wrong_pairs(scores: Scores, can: Array, rules: Rules, names: Sequence[str], result: AuditResult) -> list[str]:
    """What is wrong with the records and pairs that were scored, and with what is said of the others."""
    keep, faults = np.flatnonzero(can.any(0)), []
    entry = next((entry for entry in result.left_out if entry["attack"] == scores.attack), None)
    if list(scores.ids or result.ids) != [names[q] for q in keep]:
        return [f"{scores.attack}: run on {scores.values.shape[1]} records, {len(keep)} have enough models"]
    right = can[rules.rows][:, keep]
    mask = np.ones(right.shape, bool) if scores.scored is None else scores.scored
    if (mask != right).any():
        faults.append(f"{scores.attack}: {int(mask.sum())} pairs are scored, {int(right.sum())} have enough models")
    if scores.values[~mask].any():
        faults.append(f"{scores.attack}: a pair that is not scored has a score")
    if (entry is None) != bool(can.all()):
        faults.append(f"{scores.attack}: {int((~can).sum())} pairs are left out, and the result says {entry}")
    elif entry is not None:
        found = entry["records"], entry["of"], entry.get("pairs", int((~can).sum()))
        true = int((~can.any(0)).sum()), can.shape[1], int((~can).sum())
        faults += [f"{scores.attack}: left out are {true}, and the result says {found}"] * (found != true)
    return faults


def reason(result: AuditResult, attack: str) -> str:
    """Why an attack was not run."""
    return next(str(entry["reason"]) for entry in result.not_run if entry["attack"] == attack)


def compare(row: Row, scores: Scores, rules: Rules, names: Sequence[str], result: AuditResult) -> None:
    """The scores of one attack, and the AUC and TPRs of these scores."""
    place = {name: q for q, name in enumerate(names)}
    points = [place[name] for name in scores.ids or result.ids]
    truth = rules.member[list(rules.game.shown)][:, points]
    if not np.array_equal(truth, scores.member):
        row.faults.append(f"{scores.attack}: the membership beside the scores is another one")
        return
    row.attacks += 1
    mask = np.ones(truth.shape, bool) if scores.scored is None else scores.scored
    rows = [m for m in result.measurements if m.attack == scores.attack and m.metric in COUNTED]
    compare_numbers(row, scores.values[mask], truth[mask], rows)
    if scores.attack not in rules.rules:
        row.unchecked.append(scores.attack)
        return
    exact, low, high = (found[mask] for found in rules.scores(scores.attack, points, mask))
    values, size = scores.values[mask], np.sqrt(np.square(exact).mean())
    off = np.maximum(np.maximum(values - high, low - values), 0) / np.where(size > 0, np.maximum(abs(exact), size), 1)
    row.scores = max(row.scores, float(off.max()))
    if not off.max() <= TOLERANCE:
        worst = int(np.nanargmax(off))
        t, q = np.argwhere(mask)[worst]
        place_of = f"target {rules.game.shown[t]}, record {points[q]}: {values[worst]!r}, slowly {exact[worst]!r}"
        row.faults.append(f"{scores.attack}: {int((off > TOLERANCE).sum())} of {off.size} scores differ; {place_of}")
    value = next(m.value for m in rows if m.metric == "auc")
    if value is not None:
        tied = np.array([float(f"{x:.10g}") for x in exact])
        row.rounding = max(row.rounding, abs(slow.auc(tied, truth[mask]) - value))


def compare_numbers(row: Row, values: Array, member: Array, rows: Sequence[Measurement]) -> None:
    """AUC and TPRs of the scores that were written (n pairs), by counting pairs and by trying every threshold."""
    for m in rows:
        right = slow.auc(values, member) if m.fpr is None else slow.tpr(values, member, m.fpr)
        if (m.members, m.non_members) != (int(member.sum()), int((~member).sum())):
            row.faults.append(f"{m.attack}: {m.label} counts {m.members} members and {m.non_members} non-members")
        if m.value is None:
            expected = (~member).sum() * (m.fpr or 1)
            if expected >= 1:
                row.faults.append(
                    f"{m.attack}: {m.label} is left out ({m.reason}), although {expected:.3g} are expected"
                )
            continue
        off = abs(m.value - right)
        row.numbers = max(row.numbers, off)
        if not off <= TOLERANCE * max(right, 1e-3):
            row.faults.append(f"{m.attack}: {m.label} is {m.value!r}, slowly {right!r}")
