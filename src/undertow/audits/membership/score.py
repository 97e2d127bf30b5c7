"""Scores first: the same rules, intervals and report on signals made anywhere, with nothing trained here."""

from collections.abc import Mapping, Sequence

import numpy as np

from undertow.attacks.catalog import ATTACKS, check_names
from undertow.audits.leakage import Stopwatch, attack_all, choose_attacks, measure_all
from undertow.audits.membership.evidence import SignalSet, check_evidence
from undertow.engine.design import Fold, complements, folds
from undertow.types import Array, AuditResult, BadInput, Evidence, Progress


def audit_score(
    signals: SignalSet,
    attacks: Sequence[str] = (),
    seed: int = 0,
    *,
    drop_duplicates: bool = False,
    environment: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Run `attacks` (default: all whose input is there) on the signals and measure them.

    Targets are `target` where given (held out from the shadows), else each model in turn, leaving out the
    target and its complement. Raises BadInput naming the key and the fix.
    """
    check_names(attacks)
    evidence, ids, notes = check_evidence(signals, drop_duplicates)
    targets = _targets(signals.arrays.get("target"), len(evidence.member))
    groups = folds(evidence.member, targets)
    notes = (*notes, *_warn_of_counts(evidence.member, targets is None))
    names = choose_attacks(attacks, _possible(evidence, groups), evidence)
    if not names:
        raise BadInput(f"{signals.name}: no attack applies; give `values`, or `logits` with `labels`")
    clock = Stopwatch()
    with clock.stage("attack"):
        scores = attack_all(evidence, groups, names, seed, progress=progress)
    with clock.stage("measure"):
        rows = measure_all(scores, seed)
    return AuditResult(
        audit="score",
        config={"attacks": list(names), "drop_duplicates": drop_duplicates},
        seed=seed,
        environment=dict(environment or {}),
        data={
            "name": signals.name,
            "sizes": {k: list(v.shape) for k, v in signals.arrays.items()},
            "sha256": {"file": signals.sha256},
            "embedded": False,
        },
        measurements=rows,
        timing=clock.seconds,
        warnings=notes,
        scores=scores,
        ids=ids,
    )


def _targets(given: Array | None, count: int) -> list[int] | None:
    if given is None:
        return None
    if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) == 0:
        raise BadInput(f"target is {given.dtype} {given.shape}; it must be model numbers (T,)")
    bad = given[(given < 0) | (given >= count)]
    if len(bad) or len(np.unique(given)) != len(given):
        raise BadInput(f"target must name different models in 0..{count - 1}, got {given.tolist()[:8]}")
    return [int(t) for t in given]


def _possible(evidence: Evidence, groups: Sequence[Fold]) -> tuple[str, ...]:
    """All attacks, or only those without shadows where some point has too few models IN or OUT."""
    counts = [evidence.member[g.shadows].sum(0) for g in groups]
    enough = all(
        len(g.shadows) and c.min() >= 2 and (len(g.shadows) - c).min() >= 2 for g, c in zip(groups, counts, strict=True)
    )
    return tuple(name for name, attack in ATTACKS.items() if enough or not attack.shadows)


def _warn_of_counts(member: Array, in_turn: bool) -> tuple[str, ...]:
    """Leaving one model out of a balanced design without pairs tells the rules what was left out."""
    balanced = len(np.unique(member.sum(0))) == 1
    alone = in_turn and len(member) > 2 and balanced and (complements(member) < 0).any()
    if not alone:
        return ()
    return (
        "every example is IN the same number of models, but models have no complement to leave out with them: "
        "the counts of the rest leak membership, so scores lean below chance; name held-out `target` models",
    )
