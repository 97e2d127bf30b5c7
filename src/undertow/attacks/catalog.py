"""The attacks by name: those declared here, and those that plugins add. A list of what an audit runs is asked of it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from undertow import signals
from undertow.attacks import in_turn, tmi
from undertow.attacks.attack import (
    LABELLED,
    LOGITS,
    MIA,
    MODEL,
    ONE_SIGNAL,
    POISONING,
    REFERENCE,
    SCORE,
    TMI,
    VALUES,
    Attack,
    Kind,
    Needs,
    Read,
    Rule,
    field_of,
    labelled,
    one_signal,
    plain,
    unlabelled,
)
from undertow.attacks.bavaria import bavaria
from undertow.attacks.lira import PER_EXAMPLE, lira, lira_offline
from undertow.attacks.population import calibrated
from undertow.attacks.rmia import rmia, rmia_offline
from undertow.attacks.tmi_default import tmi_default
from undertow.registry import Registry, instance_of
from undertow.types import Array, Evidence

DIRECT: Needs = (("pretrained_logits",),)
NO_ACCESS = "direct access, which the adversary of this audit does not have"
LISTED = "undertow score --help"
ORDER = ("attack", "baseline", "blind", "direct")  # in which an audit runs what it offers

_BASELINE = frozenset({MIA, SCORE, MODEL})
_EVERY_BASELINE = _BASELINE | {TMI}
_RULE = frozenset({MIA, SCORE})
_PRETRAINING = frozenset({TMI, SCORE})
_ASKED_FOR: frozenset[str] = frozenset()  # runs only where it is asked for by name


def offered_by(audit: str, first: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the attacks that an audit runs unasked: `first`, then by kind in the order of `ORDER`.

    Whoever runs them keeps those whose evidence is there (`missing`).
    """
    names = listed_by(audit)
    kinds = [name for kind in ORDER for name in names if ATTACKS[name].kind == kind]
    return tuple(dict.fromkeys([*(name for name in first if name in names), *kinds]))


def listed_by(audit: str) -> tuple[str, ...]:
    """The same names in the order of the catalog."""
    return tuple(name for name, attack in ATTACKS.items() if audit in attack.offered)


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
    """ConfigError, with the nearest name, unless every one names an attack or is a reference to one."""
    resolved(names)


def resolved(names: Iterable[str]) -> tuple[str, ...]:
    """The names of attacks, each once; references `package.module:value` become the name of the attack there."""
    return tuple(dict.fromkeys(ATTACKS.name_of(name, LISTED) for name in names))


def direct_twin(attack: Attack, offered: frozenset[str] = _ASKED_FOR) -> Attack:
    """The same rule on the pretrained model's own outputs; for attacks that need `LOGITS`."""
    title = f"{attack.title}; on the pretrained model itself: {NO_ACCESS}"
    read = field_of("pretrained_logits")
    name = direct_name(attack.name)
    return replace(attack, name=name, kind="direct", title=title, needs=DIRECT, read=read, offered=offered)


def baseline(name: str, title: str, needs: Needs, read: Read, offered: frozenset[str] = _BASELINE) -> Attack:
    """A threshold on one signal: no shadow models."""
    return Attack(name, "baseline", title, needs, read, offered=offered)


def _pretrained(evidence: Evidence) -> Array:
    """The given values of the pretrained models (language: likelihood), else the scaled logit of their label."""
    if evidence.pretrained_values is not None:
        return evidence.pretrained_values
    logits, labels = field_of("pretrained_logits"), field_of("pretrained_labels")
    return signals.label_confidence(logits(evidence), labels(evidence))


def _of_signal(name: str, title: str, rule: Rule, offered: frozenset[str] = _RULE) -> Attack:
    return Attack(name, "attack", title, ONE_SIGNAL, one_signal, rule, offered=offered)


def _of_probability(name: str, title: str, rule: Rule, offered: frozenset[str] = _RULE) -> Attack:
    """A rule that compares points with each other."""
    read = labelled(signals.label_log_probability)
    return Attack(name, "attack", title, LABELLED, read, rule, together=True, least=2, offered=offered)


def _of_logits(name: str, title: str, rule: Rule) -> Attack:
    return Attack(name, "attack", title, LOGITS, field_of("logits"), rule, offered=_PRETRAINING)


def _network(attack: Attack, seconds: float = 3.5e-4) -> Attack:
    """One that trains a network for each point, which costs so many `seconds` for each fold."""
    return replace(attack, point_seconds=seconds, number_seconds=0.0)


_KRIGING = replace(
    _of_logits("tmi-default", "TMI, closed form: Gaussian, and points inform each other", plain(tmi_default)),
    together=True,
    point_seconds=2e-4,
)
_OF_LOGITS = (
    _network(_of_logits("tmi", "TMI metaclassifier, as released (Abascal et al. 2024)", tmi.tmi)),
    _network(_of_logits("tmi-averaged", "TMI metaclassifier, views averaged", tmi.tmi_averaged), 1e-3),
    _of_logits("tmi-lda", "TMI, closed form: Gaussian LDA per point", plain(tmi.tmi_lda)),
    _KRIGING,
    _of_logits("tmi-global", "TMI, one metaclassifier for all points", tmi.tmi_global),
    _of_logits("tmi-knn", "TMI, nearest neighbours", plain(tmi.tmi_knn)),
    _network(_of_logits("tmi-label-only", "TMI from predicted labels alone", tmi.tmi_label_only)),
    _network(_of_logits("tmi-top-k", "TMI from the largest probability alone", tmi.tmi_top_k)),
    _of_logits("adapted-lira", "LiRA on the predicted label, per view", plain(tmi.adapted_lira)),
    replace(
        _of_logits(
            "adapted-lira-averaged",
            "LiRA on the predicted label, views averaged",
            plain(tmi.adapted_lira_averaged),
        ),
        together=True,  # a variance pooled over points is taken at the classes that the target predicts
        alone_from=PER_EXAMPLE,
    ),
)
_ALL = (
    baseline("threshold", "the given signal, as it is", VALUES, field_of("values"), _BASELINE | {POISONING}),
    baseline("loss", "small loss (Yeom et al. 2018)", LABELLED, labelled(signals.negative_loss), _EVERY_BASELINE),
    baseline("confidence", "large top probability", LOGITS, unlabelled(signals.confidence), _EVERY_BASELINE),
    baseline("entropy", "small entropy", LOGITS, unlabelled(signals.negative_entropy), _EVERY_BASELINE),
    baseline("margin", "large margin of the label", LABELLED, labelled(signals.margin), _EVERY_BASELINE),
    baseline(
        "modified-entropy",
        "small modified entropy (Song and Mittal 2021)",
        LABELLED,
        labelled(signals.modified_entropy),
        frozenset({MODEL}),
    ),
    replace(
        _of_signal("lira", "LiRA, online (Carlini et al. 2022)", plain(lira), _RULE | {POISONING}), in_turn=in_turn.lira
    ),
    replace(
        _of_signal("lira-offline", "LiRA, offline: OUT models only", plain(lira_offline), _RULE | {POISONING}),
        least_in=0,
        in_turn=in_turn.lira_offline,
    ),
    _of_signal(
        "calibrated",
        "the signal less that of OUT models (Watson et al. 2022)",
        plain(calibrated),
        frozenset({REFERENCE}),
    ),
    replace(
        _of_probability("rmia", "RMIA, online (Zarifzadeh et al. 2024)", plain(rmia)),
        least_in=1,
        least_out=1,
        in_turn=in_turn.rmia,
    ),
    replace(
        _of_probability("rmia-offline", "RMIA, offline: OUT models only", plain(rmia_offline), _RULE | {REFERENCE}),
        least_in=0,
        least_out=1,
        in_turn=in_turn.rmia_offline,
    ),
    replace(_of_signal("bavaria", "LiRA with a prior on the variance", plain(bavaria)), in_turn=in_turn.bavaria),
    *_OF_LOGITS,
    Attack(
        "direct-lira",
        "direct",
        f"LiRA on the pretrained model itself: {NO_ACCESS}",
        (("pretrained_values",), ("pretrained_logits", "pretrained_labels")),
        _pretrained,
        plain(lira),
        offered=_PRETRAINING,
    ),
    *(direct_twin(attack, _PRETRAINING if attack is _KRIGING else _ASKED_FOR) for attack in _OF_LOGITS),
    Attack(
        "blind", "blind", "the records alone, no model", (("features",),), field_of("features"), offered=_EVERY_BASELINE
    ),
)
ATTACKS = Registry("undertow.attacks", "attack", {attack.name: attack for attack in _ALL}, instance_of(Attack))

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
    name: Attack(
        name, kind, title, (("values",),), field_of("values"), together=name in _CROSS_FITTED, offered=frozenset()
    )
    for name, kind, title in _OF_TEXTS
}
"""Attacks of `audit lm` beside `loss` and `blind`; their scores are made by `undertow.attacks.language`."""


def known(name: str) -> Attack | None:
    """The attack of that name, of records or of texts; None where there is none."""
    return ATTACKS.get(name) or TEXT_ATTACKS.get(name)


def attack_of(name: str) -> Attack:
    """The attack of that name, of records or of texts, registered ones among them; KeyError where there is none."""
    return TEXT_ATTACKS[name] if name in TEXT_ATTACKS else ATTACKS[name]
