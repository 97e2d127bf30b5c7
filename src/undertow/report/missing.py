"""When an audit that shows no leak could not have shown one, and what to add."""

from collections.abc import Iterator

from undertow.report.best import best_at
from undertow.report.words import count
from undertow.types import AuditResult, Measurement

WIDE = 0.1  # half-width of the best AUC's interval beyond which "no leak shown" would say nothing
PAIRS = 64  # of each class: 1.96 sqrt((1/m + 1/n) / 12), the half-width at chance, is 0.1 at m = n = 64
RECORDS = 10  # a variance over fewer records is hardly known
VICTIMS = 3  # fewer audited models cannot speak for a training procedure
ADVISED = 16  # audited models; the preset of the audits that train their own


def undecided(result: AuditResult) -> str | None:
    """The state of an audit that could not have shown a leak, None where it could; a key of `verdict.BADGES`."""
    best = best_at(result)
    if best is None or best.m.low is None or best.m.high is None:
        return "undecided"
    wide = half_width(result) > WIDE
    if (wide and min(pairs(best.m)) < PAIRS) or few_records(result):
        return "undecided-records"
    if few_victims(result):
        return "undecided-models"
    if wide:
        return "undecided-records" if best.m.unit == "points" else "undecided-models"
    return None


def to_add(result: AuditResult) -> str:
    """What is missing and what to add, in sentences; the audit is one that `undecided` names."""
    return " ".join(_to_add(result))


def _to_add(result: AuditResult) -> Iterator[str]:
    best = best_at(result)
    if best is None:
        return
    members, non_members = pairs(best.m)
    victims = few_victims(result)
    if few_records(result):
        yield (
            f"Too few records: the file has {count(int(result.design['points']), 'records')}, whatever the number of "
            "models; add records until both groups have at least 100."
        )
    elif half_width(result) > WIDE and (min(members, non_members) < PAIRS or (best.m.unit == "points" and not victims)):
        if min(members, non_members) < PAIRS:
            scored = f"{_pairs(members, 'member')} and {_pairs(non_members, 'non-member')}"
            have = f"{scored} could be scored by {best.row.attack}"
        else:
            have = f"the {count(best.m.n, best.m.unit)} do not settle it"
        yield f"Too few records: {have}; add records until both groups have at least 100."
    if victims:
        enough = f"at least {VICTIMS}, better {ADVISED}"
        fix = f"name {enough} held-out models in `target`" if result.audit == "score" else f"set `victims` to {enough}"
        yield (
            f"Too few models: {count(models(result), 'models')} {'was' if models(result) == 1 else 'were'} audited, "
            f"which is not enough to speak for a training procedure; {fix}."
        )
    elif half_width(result) > WIDE and best.m.unit == "models" and min(members, non_members) >= PAIRS:
        yield (
            f"Too few models: {count(models(result), 'models')} were audited, and their numbers differ too much; "
            f"add models whose membership was drawn anew, to {max(ADVISED, 2 * models(result))} in all."
        )


def few_records(result: AuditResult) -> bool:
    """Whether the records are too few to stand for others, however often models were asked about them."""
    points = result.design.get("points")
    return points is not None and int(points) < RECORDS


def half_width(result: AuditResult) -> float:
    """Of the 95 % interval of the best attack's AUC, as it was measured: the choice is not what makes it wide."""
    best = best_at(result)
    m = None if best is None else best.row.known
    return 1.0 if m is None or m.low is None or m.high is None else (m.high - m.low) / 2


def pairs(m: Measurement) -> tuple[int, int]:
    """(model, record) pairs that are members, and that are not; where they were not counted, enough."""
    return (PAIRS if m.members is None else m.members, PAIRS if m.non_members is None else m.non_members)


def models(result: AuditResult) -> int:
    """How many models were audited."""
    known = result.design.get("models") if result.design.get("name") != "held-out victims" else None
    best = best_at(result)
    if best is None or best.m.unit == "models":
        return best.m.n if best else 0
    return int(known or 1)


def few_victims(result: AuditResult) -> bool:
    """Whether the audit is about a training procedure and audited too few models for that."""
    procedure = result.audit in ("mia", "tmi") or result.design.get("name") == "held-out victims"
    return procedure and models(result) < VICTIMS


def _pairs(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
