"""The one list of attacks: what each needs, and how it is run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np

from undertow import signals
from undertow.attacks import tmi
from undertow.attacks.bavaria import bavaria
from undertow.attacks.lira import lira, lira_offline
from undertow.attacks.population import blind
from undertow.attacks.rmia import rmia, rmia_offline
from undertow.types import Array, BadInput, ConfigError, Evidence, Signals

Rule = Callable[[Signals, Array, np.random.Generator], Array]
Kind = Literal["attack", "baseline", "blind", "bound"]
Needs = tuple[tuple[str, ...], ...]

LABELLED: Needs = (("logits", "labels"),)
LOGITS: Needs = (("logits",),)
ONE_SIGNAL: Needs = (("values",), ("logits", "labels"))


@dataclass(frozen=True)
class Attack:
    """One attack: `read` takes the signal out of the evidence, `rule` makes scores of it."""

    name: str
    kind: Kind  # "baseline" = no shadow models, "blind" = no model at all, "bound" = unrealistic access
    title: str  # one line for people
    needs: Needs  # alternatives, each the Evidence fields that together suffice
    read: Callable[[Evidence], Array]  # (M, Q, ...), higher = member where it is a single signal
    rule: Rule | None = None  # None: what was read is the score

    @property
    def shadows(self) -> bool:
        """Whether it learns from shadow models."""
        return self.rule is not None


def check_names(names: Iterable[str]) -> None:
    """ConfigError, with the nearest name, unless every one names an attack."""
    for name in names:
        if name not in ATTACKS:
            near = get_close_matches(name, ATTACKS, 1, 0)[0]
            raise ConfigError(f"no attack {name!r}; did you mean {near!r}? All: {', '.join(ATTACKS)}")


def missing(attack: Attack, evidence: Evidence) -> str | None:
    """What to add before `attack` can run, for people ("missing labels, or values"); None if nothing."""
    absent = [[key for key in keys if getattr(evidence, key) is None] for keys in attack.needs]
    if not all(absent):
        return None
    return "missing " + ", or ".join(" and ".join(keys) for keys in sorted(absent, key=len))


def run(
    attack: Attack, evidence: Evidence, shadows: Array, targets: Array, rng: np.random.Generator
) -> Array:
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
    return attack.rule(Signals(values[shadows], evidence.member[shadows]), values[targets], rng)


@lru_cache(maxsize=1)
def _signal(attack: Attack, evidence: Evidence) -> Array:
    """Read once for all folds of an attack, which are up to M; the last evidence read stays in memory."""
    return attack.read(evidence)


def _deterministic(
    rule: Callable[[Signals, Array], Array], shadow: Signals, target: Array, _rng: Any
) -> Array:
    return rule(shadow, target)


def _key(name: str, evidence: Evidence) -> Array:
    value: Array = getattr(evidence, name)
    return value


def _labelled(signal: Callable[[Array, Array], Array], evidence: Evidence) -> Array:
    return signal(_key("logits", evidence), _key("labels", evidence))


def _unlabelled(signal: Callable[[Array], Array], evidence: Evidence) -> Array:
    return signal(_key("logits", evidence))


def _one_signal(evidence: Evidence) -> Array:
    """The given values as they are, else the scaled logit of the label."""
    return _labelled(signals.label_confidence, evidence) if evidence.values is None else evidence.values


def _pretrained(evidence: Evidence) -> Array:
    return signals.label_confidence(_key("pretrained_logits", evidence), _key("pretrained_labels", evidence))


_logits = partial(_key, "logits")
_log_p = partial(_labelled, signals.label_log_probability)
_plain = partial(partial, _deterministic)

_ALL = (
    Attack("threshold", "baseline", "the given signal, as it is", (("values",),), partial(_key, "values")),
    Attack(
        "loss",
        "baseline",
        "small loss (Yeom et al. 2018)",
        LABELLED,
        partial(_labelled, signals.negative_loss),
    ),
    Attack(
        "confidence", "baseline", "large top probability", LOGITS, partial(_unlabelled, signals.confidence)
    ),
    Attack("entropy", "baseline", "small entropy", LOGITS, partial(_unlabelled, signals.negative_entropy)),
    Attack("margin", "baseline", "large margin of the label", LABELLED, partial(_labelled, signals.margin)),
    Attack("lira", "attack", "LiRA, online (Carlini et al. 2022)", ONE_SIGNAL, _one_signal, _plain(lira)),
    Attack(
        "lira-offline",
        "attack",
        "LiRA, offline: OUT models only",
        ONE_SIGNAL,
        _one_signal,
        _plain(lira_offline),
    ),
    Attack("rmia", "attack", "RMIA, online (Zarifzadeh et al. 2024)", LABELLED, _log_p, _plain(rmia)),
    Attack(
        "rmia-offline", "attack", "RMIA, offline: OUT models only", LABELLED, _log_p, _plain(rmia_offline)
    ),
    Attack(
        "bavaria", "attack", "LiRA with a prior on the variance", ONE_SIGNAL, _one_signal, _plain(bavaria)
    ),
    Attack(
        "tmi", "attack", "TMI metaclassifier, as released (Abascal et al. 2024)", LOGITS, _logits, tmi.tmi
    ),
    Attack("tmi-averaged", "attack", "TMI metaclassifier, views averaged", LOGITS, _logits, tmi.tmi_averaged),
    Attack(
        "tmi-lda", "attack", "TMI, closed form: Gaussian LDA per point", LOGITS, _logits, _plain(tmi.tmi_lda)
    ),
    Attack("tmi-global", "attack", "TMI, one metaclassifier for all points", LOGITS, _logits, tmi.tmi_global),
    Attack("tmi-knn", "attack", "TMI, nearest neighbours", LOGITS, _logits, _plain(tmi.tmi_knn)),
    Attack(
        "tmi-label-only", "attack", "TMI from predicted labels alone", LOGITS, _logits, tmi.tmi_label_only
    ),
    Attack("tmi-top-k", "attack", "TMI from the largest probability alone", LOGITS, _logits, tmi.tmi_top_k),
    Attack(
        "adapted-lira",
        "attack",
        "LiRA on the predicted label, per view",
        LOGITS,
        _logits,
        _plain(tmi.adapted_lira),
    ),
    Attack(
        "adapted-lira-averaged",
        "attack",
        "LiRA on the predicted label, views averaged",
        LOGITS,
        _logits,
        _plain(tmi.adapted_lira_averaged),
    ),
    Attack(
        "direct-lira",
        "bound",
        "LiRA on the pretrained model itself: an upper bound, not realistic access",
        (("pretrained_logits", "pretrained_labels"),),
        _pretrained,
        _plain(lira),
    ),
    Attack("blind", "blind", "the records alone, no model", (("features",),), partial(_key, "features")),
)
ATTACKS = {attack.name: attack for attack in _ALL}
