"""The one list of attacks: what each needs, and how it is run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Literal

import numpy as np

from undertow import signals
from undertow.attacks import tmi
from undertow.attacks.bavaria import bavaria
from undertow.attacks.lira import PER_EXAMPLE, lira, lira_offline
from undertow.attacks.population import blind, calibrated
from undertow.attacks.rmia import rmia, rmia_offline
from undertow.attacks.tmi_default import tmi_default
from undertow.types import Array, BadInput, ConfigError, Evidence, Signals

Plain = Callable[[Signals, Array], Array]
Rule = Callable[[Signals, Array, np.random.Generator], Array]
Kind = Literal["attack", "baseline", "blind", "direct"]
Needs = tuple[tuple[str, ...], ...]

LABELLED: Needs = (("logits", "labels"),)
LOGITS: Needs = (("logits",),)
DIRECT: Needs = (("pretrained_logits",),)
NO_ACCESS = "direct access, which the adversary of this audit does not have"
DIRECT_OFFERED = ("direct-lira", "direct-tmi-default")  # the others run where they are asked for
ONE_SIGNAL: Needs = (("values",), ("logits", "labels"))


@dataclass(frozen=True)
class Attack:
    """One attack: `read` takes the signal out of the evidence, `rule` makes scores of it."""

    name: str
    kind: Kind  # "baseline" = no shadow models, "blind" = no model at all, "direct" = access that the adversary lacks
    title: str  # one line for people
    needs: Needs  # alternatives, each the Evidence fields that together suffice
    read: Callable[[Evidence], Array]  # (M, Q, ...), higher = member where it is a single signal
    rule: Rule | None = None  # None: what was read is the score
    together: bool = False  # whether a point's score also uses the target's answers at the other points
    alone_from: int | None = None  # models on each side of every point from which it does not, all the same
    least: int = 1  # points that the rule must be given at once
    by_name: bool = False  # run only where it is asked for by name

    @property
    def shadows(self) -> bool:
        """Whether it learns from shadow models."""
        return self.rule is not None


def direct_name(rule: str) -> str:
    """Name of the attack that applies the same rule to the pretrained model itself."""
    return f"direct-{rule}"


def unrealistic() -> frozenset[str]:
    """Names of rows that say nothing of what an adversary can do: no gate counts them.

    Attacks with access that the adversary lacks, the blind guess, and what direct access adds to a rule.
    """
    names = {name for name, attack in ATTACKS.items() if attack.kind in ("direct", "blind")}
    return frozenset(
        names | {difference_name(direct_name(name), name) for name in ATTACKS if direct_name(name) in names}
    )


def difference_name(first: str, second: str) -> str:
    """Name of the row that says what `first` measures above `second`, as `metrics.difference` writes it."""
    return f"{first} - {second}"


def check_names(names: Iterable[str]) -> None:
    """ConfigError, with the nearest name, unless every one names an attack."""
    for name in names:
        if name not in ATTACKS:
            near = get_close_matches(name, ATTACKS, 1, 0)[0]
            raise ConfigError(f"no attack {name!r}; did you mean {near!r}? All: {', '.join(ATTACKS)}")


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


def _deterministic(rule: Plain, shadow: Signals, target: Array, _rng: np.random.Generator) -> Array:
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
    """The given values of the pretrained models (language: likelihood), else the scaled logit of their label."""
    if evidence.pretrained_values is not None:
        return evidence.pretrained_values
    return signals.label_confidence(_key("pretrained_logits", evidence), _key("pretrained_labels", evidence))


def _baseline(name: str, title: str, needs: Needs, read: Callable[[Evidence], Array]) -> Attack:
    return Attack(name, "baseline", title, needs, read)


def _of_signal(name: str, title: str, rule: Plain) -> Attack:
    return Attack(name, "attack", title, ONE_SIGNAL, _one_signal, _plain(rule))


def _of_probability(name: str, title: str, rule: Plain) -> Attack:
    """A rule that compares points with each other."""
    read = partial(_labelled, signals.label_log_probability)
    return Attack(name, "attack", title, LABELLED, read, _plain(rule), together=True, least=2)


def _of_logits(name: str, title: str, rule: Rule, *, together: bool = False, alone_from: int | None = None) -> Attack:
    return Attack(name, "attack", title, LOGITS, partial(_key, "logits"), rule, together, alone_from)


def _direct(rule: Attack) -> Attack:
    """The same rule on the pretrained model's own outputs."""
    name, title = direct_name(rule.name), f"{rule.title}; on the pretrained model itself: {NO_ACCESS}"
    return replace(
        rule,
        name=name,
        kind="direct",
        title=title,
        needs=DIRECT,
        read=partial(_key, "pretrained_logits"),
        by_name=name not in DIRECT_OFFERED,
    )


def _plain(rule: Plain) -> Rule:
    return partial(_deterministic, rule)


_OF_LOGITS = (
    _of_logits("tmi", "TMI metaclassifier, as released (Abascal et al. 2024)", tmi.tmi),
    _of_logits("tmi-averaged", "TMI metaclassifier, views averaged", tmi.tmi_averaged),
    _of_logits("tmi-lda", "TMI, closed form: Gaussian LDA per point", _plain(tmi.tmi_lda)),
    _of_logits(
        "tmi-default", "TMI, closed form: Gaussian, and points inform each other", _plain(tmi_default), together=True
    ),
    _of_logits("tmi-global", "TMI, one metaclassifier for all points", tmi.tmi_global),
    _of_logits("tmi-knn", "TMI, nearest neighbours", _plain(tmi.tmi_knn)),
    _of_logits("tmi-label-only", "TMI from predicted labels alone", tmi.tmi_label_only),
    _of_logits("tmi-top-k", "TMI from the largest probability alone", tmi.tmi_top_k),
    _of_logits("adapted-lira", "LiRA on the predicted label, per view", _plain(tmi.adapted_lira)),
    _of_logits(
        "adapted-lira-averaged",
        "LiRA on the predicted label, views averaged",
        _plain(tmi.adapted_lira_averaged),
        together=True,  # a variance pooled over points is taken at the classes that the target predicts
        alone_from=PER_EXAMPLE,
    ),
)
_ALL = (
    _baseline("threshold", "the given signal, as it is", (("values",),), partial(_key, "values")),
    _baseline("loss", "small loss (Yeom et al. 2018)", LABELLED, partial(_labelled, signals.negative_loss)),
    _baseline("confidence", "large top probability", LOGITS, partial(_unlabelled, signals.confidence)),
    _baseline("entropy", "small entropy", LOGITS, partial(_unlabelled, signals.negative_entropy)),
    _baseline("margin", "large margin of the label", LABELLED, partial(_labelled, signals.margin)),
    replace(
        _baseline(
            "modified-entropy",
            "small modified entropy (Song and Mittal 2021)",
            LABELLED,
            partial(_labelled, signals.modified_entropy),
        ),
        by_name=True,
    ),
    _of_signal("lira", "LiRA, online (Carlini et al. 2022)", lira),
    _of_signal("lira-offline", "LiRA, offline: OUT models only", lira_offline),
    replace(
        _of_signal("calibrated", "the signal less that of OUT models (Watson et al. 2022)", calibrated), by_name=True
    ),
    _of_probability("rmia", "RMIA, online (Zarifzadeh et al. 2024)", rmia),
    _of_probability("rmia-offline", "RMIA, offline: OUT models only", rmia_offline),
    _of_signal("bavaria", "LiRA with a prior on the variance", bavaria),
    *_OF_LOGITS,
    Attack(
        "direct-lira",
        "direct",
        f"LiRA on the pretrained model itself: {NO_ACCESS}",
        (("pretrained_values",), ("pretrained_logits", "pretrained_labels")),
        _pretrained,
        _plain(lira),
    ),
    *(_direct(rule) for rule in _OF_LOGITS),
    Attack("blind", "blind", "the records alone, no model", (("features",),), partial(_key, "features")),
)
ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}

_OF_TEXTS: tuple[tuple[str, Kind, str], ...] = (
    ("zlib", "baseline", "small loss for its size under zlib (Carlini et al. 2021)"),
    ("min-k", "baseline", "the least likely tokens are likely: Min-K% (Shi et al. 2024)"),
    ("min-k++", "baseline", "the same, standardised by the model: Min-K%++ (Zhang et al. 2024)"),
    ("recall", "baseline", "a prefix of non-members makes it less likely: ReCaLL (Xie et al. 2024)"),
    ("ratio", "attack", "likelier than under the base (Watson et al. 2022)"),
    ("ez", "attack", "tokens that the model gets wrong became likelier: EZ-MIA"),
    ("wbc", "attack", "windows of tokens became likelier: WBC, released windows"),
    ("nm-token", "attack", "gained more per token than non-members are expected to, cross-fitted"),
    ("nm-text", "attack", "gained more per text than non-members are expected to, cross-fitted"),
    ("adapted-ratio", "attack", "likelier than under a base adapted on other texts of the domain"),
)
_CROSS_FITTED = ("recall", "nm-token", "nm-text")  # a score depends on which other texts are non-members
TEXT_ATTACKS: dict[str, Attack] = {
    name: Attack(name, kind, title, (("values",),), partial(_key, "values"), together=name in _CROSS_FITTED)
    for name, kind, title in _OF_TEXTS
}
"""Attacks of `audit lm` beside `loss` and `blind`; their scores are made by `undertow.attacks.language`."""


def known(name: str) -> Attack | None:
    """The attack of that name, of records or of texts; None where there is none."""
    return ATTACKS.get(name) or TEXT_ATTACKS.get(name)
