"""What an attack is: a value that says which evidence it needs, how it is read, and which rule makes scores of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np

from undertow import signals
from undertow.attacks.population import blind
from undertow.left_out import LeftOut
from undertow.types import Array, BadInput, Evidence, Signals

Plain = Callable[[Signals, Array], Array]
Rule = Callable[[Signals, Array, np.random.Generator], Array]
InTurn = Callable[[Array, Array, LeftOut], Array]
Read = Callable[[Evidence], Array]
Kind = Literal["attack", "baseline", "blind", "direct"]
Needs = tuple[tuple[str, ...], ...]

VALUES: Needs = (("values",),)
LABELLED: Needs = (("logits", "labels"),)
LOGITS: Needs = (("logits",),)
ONE_SIGNAL: Needs = (("values",), ("logits", "labels"))

# The audits that may offer an attack unasked.
MIA, TMI, SCORE, MODEL, POISONING = "mia", "tmi", "score", "model", "poisoning"
REFERENCE = "model with a reference"  # one model, compared with one more that saw none of the records
EVERYWHERE = frozenset({MIA, TMI, SCORE, MODEL, POISONING})

NUMBER = 1e-7  # s of CPU time for each number of the shadows' outputs: closed forms on whole outputs


@dataclass(frozen=True)
class Attack:
    """One attack: `read` takes the signal out of the evidence, `rule` makes scores of it.

    `rule(shadow, target, rng)` gets the shadow models' signals with their membership, and the targets' signals
    (T, Q, ...); it answers (T, Q) scores, higher = member.
    """

    name: str
    kind: Kind  # "baseline" = no shadow models, "blind" = no model at all, "direct" = access that the adversary lacks
    title: str  # one line for people
    needs: Needs  # alternatives, each the Evidence fields that together suffice
    read: Read  # (M, Q, ...), higher = member where it is a single signal
    rule: Rule | None = None  # None: what was read is the score
    together: bool = False  # whether a point's score also uses the target's answers at the other points
    alone_from: int | None = None  # models on each side of every point from which it does not, all the same
    least: int = 1  # points that the rule must be given at once
    offered: frozenset[str] = EVERYWHERE  # the audits that run it unasked where its evidence is there
    least_in: int = 2  # models trained on a point that must remain beside the target
    least_out: int = 2  # models not trained on it
    in_turn: InTurn | None = None  # scores of every model by the others in linear time, equal to those of `rule`
    point_seconds: float = 0.0  # CPU time for each point and fold, about: what is too slow is not run unasked
    number_seconds: float = NUMBER  # CPU time for each number of the outputs and fold, about

    @property
    def shadows(self) -> bool:
        """Whether it learns from shadow models."""
        return self.rule is not None


def missing(attack: Attack, evidence: Evidence) -> str | None:
    """What to add before `attack` can run, for people ("missing values, or labels"); None if nothing."""
    absent = [[key for key in keys if getattr(evidence, key) is None] for keys in attack.needs]
    if not all(absent):
        return None
    return "missing " + ", or ".join(" and ".join(keys) for keys in sorted(absent, key=len))


def run(attack: Attack, evidence: Evidence, shadows: Array, targets: Array, rng: np.random.Generator) -> Array:
    """Scores (t, Q) of `attack` on the models `targets` (t,), learnt from the models `shadows` (s,).

    The rule never sees the targets' membership. The blind baseline is the exception, and sees no model.
    BadInput if the evidence lacks a key, or a target is its own shadow.
    """
    lacking = missing(attack, evidence)
    if lacking:
        raise BadInput(f"{attack.name}: {lacking}")
    if np.intersect1d(shadows, targets).size:
        raise BadInput(f"models {np.intersect1d(shadows, targets).tolist()} are both target and shadow")
    if attack.kind == "blind":
        return blind(attack.read(evidence), evidence.member[targets], rng)
    values = _signal(attack, evidence)
    if attack.rule is None:
        return np.asarray(values[targets], float)
    shadow = Signals(values[shadows], evidence.member[shadows], evidence.pretrained_labels)
    return attack.rule(shadow, values[targets], rng)


@lru_cache(maxsize=1)
def _signal(attack: Attack, evidence: Evidence) -> Array:
    """Read once for all folds of an attack, which are up to M; the last evidence read stays in memory."""
    return attack.read(evidence)


def field_of(name: str) -> Read:
    """Reads one field of the evidence as it is."""
    return partial(_field, name)


def labelled(signal: Callable[[Array, Array], Array]) -> Read:
    """Reads a signal of the logits (M, Q, A, C) and the labels (Q,), such as those of `undertow.signals`."""
    return partial(_labelled, signal)


def unlabelled(signal: Callable[[Array], Array]) -> Read:
    """Reads a signal of the logits (M, Q, A, C) alone."""
    return partial(_unlabelled, signal)


def one_signal(evidence: Evidence) -> Array:
    """The given values (M, Q) as they are, else the scaled logit of the label; higher = member."""
    return _labelled(signals.label_confidence, evidence) if evidence.values is None else evidence.values


def plain(rule: Plain) -> Rule:
    """A rule without randomness, as a rule that takes a generator."""
    return partial(_deterministic, rule)


def _deterministic(rule: Plain, shadow: Signals, target: Array, _rng: np.random.Generator) -> Array:
    return rule(shadow, target)


def _field(name: str, evidence: Evidence) -> Array:
    value: Array = getattr(evidence, name)
    return value


def _labelled(signal: Callable[[Array, Array], Array], evidence: Evidence) -> Array:
    return signal(_field("logits", evidence), _field("labels", evidence))


def _unlabelled(signal: Callable[[Array], Array], evidence: Evidence) -> Array:
    return signal(_field("logits", evidence))
