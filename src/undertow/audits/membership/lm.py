"""One finetuned language model, texts it was trained on and texts it was not: what its token probabilities give away.

Nothing is trained. The result is about this model and says nothing about another training run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from undertow.attacks import language as rules
from undertow.audits.leakage import Stopwatch, measure_all
from undertow.audits.membership.blind import with_blind_error
from undertow.audits.membership.describing import describe
from undertow.audits.membership.evidence import SignalSet, check_evidence
from undertow.audits.membership.leak import leak_test
from undertow.audits.membership.one_model import BLIND, ONE, blind_guess, unguessed
from undertow.audits.membership.reading import reading
from undertow.audits.membership.sides import Both
from undertow.token_signals import TokenStatistics, zlib_bytes
from undertow.types import Array, AuditResult, Evidence, Measurement, Scores

AUDIT = "lm"
BASE = "the base model"  # group of the control rows
NEEDS_BASE = (*rules.WITH_BASE, "adapted-ratio")
ADAPTED = (
    "it compares the model with its base adapted on other texts of the domain, and none were given",
    "give --adapt: a file of texts of the same kind, at least 100, none of them in --members or --nonmembers",
)
NO_BASE = ("it compares the model with the one it was finetuned from", "give --base: the folder of that model")
FEW = "give at least 8 non-members and 2 members, in at least as many groups where texts have groups"
SHADOWED = (
    "one model was given, and it is compared with models trained on other random halves of the texts",
    "give your training: undertow audit mia --train my_script.py:train --data folder --shadows 16",
)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """What one audited language model said of the texts of `both`, in their order."""

    both: Both  # x: list of texts
    seen: TokenStatistics  # (N, L)
    learnt: Sequence[str] | None = None  # of each text what was learnt; None: all of it
    base: TokenStatistics | None = None  # of the base model, on the same tokens
    adapted: TokenStatistics | None = None  # of the base finetuned on other texts of the domain
    half: Array | None = None  # (N,) which half a text is in; None: too few for two halves
    conditional: Array | None = None  # (N,) mean log p after non-members of the other half
    about: Mapping[str, str] = field(default_factory=dict)  # model, base: what they are
    sha256: Mapping[str, str] = field(default_factory=dict)  # model, base
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)  # of the passes


def audit_lm(one: LanguageModel, seed: int = 0) -> AuditResult:
    """Measure what the token statistics give away, with the blind guess and, with a base, a control beside it."""
    clock, both = Stopwatch(dict(one.seconds)), one.both
    size = zlib_bytes(both.x if one.learnt is None else one.learnt)
    with clock.stage("attack"):
        found = _scores(one, size)
        evidence, told = _evidence(one, found["loss"], seed)
        scores = tuple(_of(name, values, evidence) for name, values in found.items())
        sample, guessed = blind_guess(evidence, both.ids, seed)
        scores += guessed
    with clock.stage("measure"):
        rows = with_blind_error(measure_all(scores, seed), scores, sample, seed)
        rows, leak = leak_test(scores, rows, evidence, seed, None, both.ids)
        controls = () if one.base is None else measure_all(_control(one.base, size, evidence), seed)
    validity, warning = _validity(rows)
    return AuditResult(
        audit=AUDIT,
        config={"attacks": [s.attack for s in scores], "base": one.base is not None, **one.config},
        seed=seed,
        environment=one.environment,
        data=_data(one),
        measurements=rows,
        controls=controls,
        timing=clock.seconds,
        utility=_utility(one),
        warnings=(*warning, *both.notes, *one.notes, *told),
        scores=scores,
        ids=both.ids,
        design=reading(evidence.member, None, evidence.groups),
        leak=leak,
        not_run=_not_run(one),
        left_out=unguessed(len(both.ids), sample.member.shape[1]) if guessed else (),
        validity=validity,
    )


def _scores(one: LanguageModel, size: Array) -> dict[str, Array]:
    """The scores (N,) of every attack that can be run, by name."""
    found = rules.alone(one.seen, size)
    if one.half is not None and one.conditional is not None:
        found["recall"] = rules.ranked(rules.recall(one.conditional, found["loss"]), one.half)
    if one.base is None:
        return found
    found |= rules.beside(one.seen, one.base)
    if one.adapted is not None:
        found["adapted-ratio"] = rules.beside(one.seen, one.adapted)["ratio"]
    if one.half is not None:
        found["nm-token"] = rules.nm_token(one.seen, one.base, one.both.member, one.half)
        found["nm-text"] = rules.nm_text(one.seen, one.base, one.both.member, one.half)
    return found


def _evidence(one: LanguageModel, loss: Array, seed: int) -> tuple[Evidence, tuple[str, ...]]:
    both = one.both
    arrays = {"member": both.member, "hash": both.hashes, "values": loss}
    features = describe(both.x, None, seed)
    if features is not None:
        arrays["features"] = features
    if both.groups is not None:
        arrays["group"] = both.groups
    evidence, _, told = check_evidence(SignalSet("the texts", "", arrays, both.ids))
    return evidence, tuple(text.replace("; --drop-duplicates removes all copies of them", "") for text in told)


def _of(name: str, values: Array, evidence: Evidence, group: str | None = None) -> Scores:
    return Scores(name, np.asarray(values, float)[None], evidence.member, group, groups=evidence.groups)


def _control(base: TokenStatistics, size: Array, evidence: Evidence) -> tuple[Scores, ...]:
    """The same scores of the base, which saw neither side: what they find there is a difference in kind."""
    return tuple(_of(name, values, evidence, BASE) for name, values in rules.alone(base, size).items())


def _validity(rows: tuple[Measurement, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """How well members and non-members are told apart without the model, and the warning where they are."""
    blind = next((m for m in rows if m.attack == BLIND and m.metric == "auc" and m.group is None), None)
    if blind is None:
        return {"distribution_shift_auc": None, "low": None, "high": None}, ()
    found = {"distribution_shift_auc": blind.value, "low": blind.low, "high": blind.high}
    if blind.value is None or blind.low is None or blind.low <= 0.5:
        return found, ()
    interval = f"{blind.value:.3f} [{blind.low:.3f}, {blind.high:.3f}]"
    text = (
        "These AUCs mean nothing here: members and non-members can be told apart without the model "
        f"(AUC {interval}). Choose non-members from the same source and dates as the members."
    )
    return found, (text,)


def _not_run(one: LanguageModel) -> tuple[dict[str, str], ...]:
    found: list[tuple[str, str, str]] = []
    few = "fewer than 8 non-members or 2 members, so there are no two halves to cross-fit on"
    if one.half is None:
        found.append(("recall", few, FEW))
    if one.base is None:
        found += [(name, *NO_BASE) for name in NEEDS_BASE]
    else:
        if one.half is None:
            found += [(name, few, FEW) for name in ("nm-token", "nm-text")]
        found += [] if one.adapted is not None else [("adapted-ratio", *ADAPTED)]
    found.append(("lira", *SHADOWED))
    return tuple({"attack": name, "reason": reason, "fix": fix} for name, reason, fix in found)


def _data(one: LanguageModel) -> dict[str, Any]:
    inside = int(one.both.member.sum())
    return {
        "name": one.name or "your texts",
        "audited": f"{one.about.get('model', 'a language model')}: {ONE}",
        **one.about,
        "sizes": {"members": inside, "nonmembers": len(one.both.member) - inside},
        "sha256": {**one.both.sha256, **one.sha256},
        "embedded": False,
    }


def _utility(one: LanguageModel) -> dict[str, float]:
    """Perplexity of both sides, exp of the mean over texts of the loss per token; lower is better."""
    found, member = {}, one.both.member
    for name, seen in (("", one.seen), ("base, ", one.base)):
        if seen is not None:
            loss = -rules.alone(seen, np.ones(len(member)))["loss"]
            found[f"{name}perplexity on members"] = float(np.exp(min(loss[member].mean(), 700.0)))
            found[f"{name}perplexity on nonmembers"] = float(np.exp(min(loss[~member].mean(), 700.0)))
    return found
