"""MIA and TMI of somebody's own training: random halves in complementary pairs, each attacked by the other pairs.

The games of Carlini et al. 2022 (arXiv:2112.03570) and Abascal et al. 2024 (arXiv:2306.01181) with the training as it
is: nothing of ours stands in for it. Undertow deals who is a member, runs the training, keeps the answers and judges
them as `undertow score` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from undertow.attacks.attack import MIA, missing
from undertow.attacks.catalog import ATTACKS, check_names, offered_by
from undertow.audits.leakage import Stopwatch
from undertow.audits.membership.evidence import SignalSet
from undertow.audits.membership.score import audit_score
from undertow.audits.own.answers import KINDS, ROUNDING, Kind
from undertow.audits.own.identity import Identity
from undertow.audits.own.people import people_row
from undertow.audits.own.pool import Pool
from undertow.audits.own.training import Answer, Answers, Training, dealt, run_all
from undertow.engine.key import digest
from undertow.engine.pairs import pairs, training_seeds
from undertow.types import Array, AuditResult, ConfigError, Evidence, Executor, Progress, Store

OWN = "own training"  # key of the result's environment: what was trained, and what came out of the store


@dataclass(frozen=True, eq=False)
class OwnTraining:
    """A training to audit: how it is run, what it is called, and how far that names it."""

    answer: Answer
    who: Identity
    called: str  # "my_script.py:train", a command


@dataclass(frozen=True)
class Plan:
    """What is asked of the audit."""

    audit: Literal["mia", "tmi"] = "mia"  # whether the records are those of the whole training, or of pretraining
    shadows: int = 32  # runs of the training, even
    seed: int = 0
    attacks: tuple[str, ...] = ()
    answers: Kind = "auto"
    batch: int | None = None

    def __post_init__(self) -> None:
        check_names(self.attacks)
        if self.answers not in KINDS:
            raise ConfigError(f"answers = {self.answers!r}; allowed: {', '.join(KINDS)}")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch = {self.batch}; at least 1 record is asked about at once")


@dataclass(frozen=True, eq=False)
class Place:
    """Where the trainings run and what keeps their answers."""

    store: Store
    executor: Executor
    environment: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None


def audit_own(training: OwnTraining, pool: Pool, plan: Plan, place: Place) -> AuditResult:
    """Run the training on `plan.shadows` random halves of the pool, and attack each model by the others.

    Raises ConfigError, BadInput, TrainingFailed, StoreError or WorkerDied; the answers that were finished stay in the
    store.
    """
    member, trainings = dealing(pool, plan), planned(training, pool, plan)
    changed = _changes(training.who, pool, place.store)
    clock = Stopwatch()
    with clock.stage("train"):
        found = run_all(trainings, training.answer, place.store, place.executor, place.progress)
    signals = _signals(member, found.values, pool, plan)
    attacks = plan.attacks or (_offered(signals) if plan.audit == "mia" else ())
    result = audit_score(signals, attacks, plan.seed, environment=place.environment, progress=place.progress)
    notes = (*pool.notes, *_said(training, found), *changed)
    return replace(
        result,
        audit=plan.audit,
        config=_config(training, plan),
        environment={**result.environment, OWN: recorded(training, found)},
        data=_data(pool),
        timing={**clock.seconds, **result.timing},
        utility=_utility(member, found.values, pool) if plan.audit == "mia" else {},
        warnings=(*notes, *result.warnings),
        design={
            **result.design,
            "about": _about(str(result.design["about"]), plan.shadows),
            "trained": "own",
            **_people(result, pool, plan.seed),
        },
    )


def dealing(pool: Pool, plan: Plan) -> Array:
    """Which records each run is trained on, (M, N) bool."""
    return pairs(plan.seed, len(pool), plan.shadows, pool.groups)


def planned(training: OwnTraining, pool: Pool, plan: Plan) -> list[Training]:
    """The trainings of an audit, whether they were run or not."""
    return dealt(dealing(pool, plan), training_seeds(plan.seed, plan.shadows), pool, training.who, plan.batch)


def _changes(who: Identity, pool: Pool, store: Store) -> tuple[str, ...]:
    """Writes down what the function is; a sentence where the store holds answers of another version of it."""
    key = digest(["own training of", pool.sha])
    before = store.get_note(key)
    store.put_note(key, {"digest": who.digest, "parts": dict(who.parts)})
    if before is None or before.get("digest") == who.digest:
        return ()
    old = dict(before.get("parts", {}))
    differ = [name for name in dict.fromkeys([*who.parts, *old]) if old.get(name) != who.parts.get(name)]
    what = f" ({', '.join(differ[:5])}{', ...' if len(differ) > 5 else ''})" if differ else ""
    return (
        f"The training has changed since the store was last used with these records{what}; answers of the earlier one "
        "were not used.",
    )


def _said(training: OwnTraining, found: Answers) -> tuple[str, ...]:
    every, lines = found.taken + found.made, []
    if found.taken:
        lines.append(
            f"{found.taken} of {every} answers were taken from the store, where this training left them earlier; "
            f"{found.made} trainings were run now."
        )
    if not training.who.known:
        unread = training.who.unread
        shown = ", ".join(unread[:3]) + (", ..." if len(unread) > 3 else "")
        lines.append(
            f"Whether {training.called} changes cannot be known: {shown} could not be read. Give the training a name "
            "(name=, --name) and change the name with it, to keep its answers from run to run."
        )
    return tuple(lines)


def recorded(training: OwnTraining, found: Answers) -> dict[str, Any]:
    """What was trained, by whom, and how many answers came out of the store: for the result."""
    return {
        "trained": training.called,
        "by": "your own training, not a stand-in",
        "runs": found.taken + found.made,
        "taken from the store": found.taken,
        "identity": training.who.digest,
        "identity known": training.who.known,
        "parts": dict(training.who.parts),
    }


def _signals(member: Array, values: Array, pool: Pool, plan: Plan) -> SignalSet:
    arrays: dict[str, Array] = {"member": member}
    arrays[_key(values)] = values
    if pool.labelled and values.ndim == 3:
        arrays["labels" if plan.audit == "mia" else "pretrained_labels"] = pool.examples.y
    if pool.features is not None:
        arrays["features"] = pool.features
    if pool.groups is not None:
        arrays["group"] = pool.groups
    return SignalSet(pool.examples.name, pool.sha, arrays, pool.ids)


def _people(result: AuditResult, pool: Pool, seed: int) -> dict[str, Any]:
    """How well persons are told apart, where the records have groups."""
    row = None if pool.groups is None else people_row(result.scores, pool.people, seed)
    return {} if row is None else {"people": row}


def _key(values: Array) -> str:
    """What answers are called in a signals file."""
    if values.ndim == 2:
        return "values"
    alike = values.min() >= 0 and abs(values.sum(-1, dtype=float) - 1).max() <= ROUNDING
    return "probabilities" if alike else "logits"


def _offered(signals: SignalSet) -> tuple[str, ...]:
    """The attacks of `audit mia` whose input is there."""
    there = signals.arrays
    member = there["member"]
    logits = there.get("logits", there.get("probabilities"))
    evidence = Evidence(member, there.get("values"), logits, there.get("labels"), features=there.get("features"))
    return tuple(name for name in offered_by(MIA, first=("threshold",)) if missing(ATTACKS[name], evidence) is None)


def _config(training: OwnTraining, plan: Plan) -> dict[str, Any]:
    return {
        "train": training.called,
        "shadows": plan.shadows,
        "attacks": list(plan.attacks),
        "answers": plan.answers,
        "batch": plan.batch,
    }


def _data(pool: Pool) -> dict[str, Any]:
    sizes = {"audited": len(pool)} | ({} if pool.groups is None else {"groups": len(pool.people)})
    return {"name": pool.examples.name, "sizes": sizes, "sha256": {"audited": pool.sha}, "embedded": False}


def _utility(member: Array, values: Array, pool: Pool) -> dict[str, float]:
    """How good the models are, so that nobody audits broken ones unawares."""
    if values.ndim != 3 or not pool.labelled:
        return {}
    hit = values.argmax(-1) == pool.examples.y
    return {
        "your training, accuracy on its members": float(hit[member].mean()),
        "your training, accuracy on non-members": float(hit[~member].mean()),
    }


def _about(about: str, runs: int) -> str:
    """The design's sentence, and whose training it was.

    >>> _about("16 models in 8 complementary pairs; each is attacked by the 14 others.", 16)
    'Your own training, 16 runs of it, in 8 complementary pairs; each is attacked by the 14 others.'
    """
    rest = about.removeprefix(f"{runs} models").strip()
    return f"Your own training, {runs} runs of it{'' if rest.startswith(';') else ', '}{rest}"
