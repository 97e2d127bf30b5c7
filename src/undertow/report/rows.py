"""One attack, one row: the measurements of an audit, grouped by what the adversary was given."""

from collections.abc import Mapping
from dataclasses import dataclass

from undertow.attacks.catalog import ATTACKS, known
from undertow.report.words import count, sample
from undertow.types import AuditResult, Measurement, Scores

OWN = "own"  # of words about a person's own training, as against one of Undertow's
TITLES = {
    "mia": "Membership in the finetuning data",
    "tmi": "Membership in the pretraining data",
    "own": "Membership in your training data",
    "own-tmi": "Membership in your pretraining data",
    "score": "Membership from given signals",
    "model": "Membership in the training data of one model",
    "lm": "Membership of texts in the training data of one language model",
    "poisoning": "Leakage that a base model adds",
    "datatrap": "Data traps in the weights",
    "dp": "The epsilon of private finetuning",
    "extraction": "Queries extracted through a base model",
    "epsilon": "Lower bounds of epsilon from given scores",
}
SECTIONS = {
    "attack": ("Attacks", "what a realistic adversary can do, with shadow models of its own"),
    "baseline": ("Baselines", "the same access, without shadow models"),
    "direct": ("Direct access", "to the pretrained model, which the adversary does not have"),
    "blind": ("Blind", "the records alone, no model: must be at chance"),
}
STRATEGIES = {
    "linear": "the head alone (linear probe)",
    "last-k": "the last {last_layers} layers",
    "full": "all weights",
    "lora": "the head and LoRA updates of rank {lora_rank}",
}
DIRECT = "direct-"  # how the names of rules begin that ask the pretrained model itself
CONTROLS = {
    "no-pretraining": "models that never saw the pretraining data: must be at chance",
    "the reference model": "it was trained on none of the records: must be at chance",
    "the base model": "it was not finetuned on any of the texts: must be at chance",
}


def spoken_of(result: AuditResult) -> str:
    """What an audit is called where words differ: its name, or "own" where the training was the user's own."""
    if result.design.get("trained") != OWN:
        return result.audit
    return OWN if result.audit == "mia" else f"{OWN}-{result.audit}"


@dataclass(frozen=True)
class Row:
    """Everything measured of one attack."""

    attack: str
    title: str
    kind: str  # "attack" | "baseline" | "direct" | "blind"
    group: str | None  # the control it belongs to
    cells: Mapping[str, Measurement]  # by label, e.g. "TPR@1%"
    together: int = 1  # records that the adversary asks about together to guess one of them

    @property
    def auc(self) -> Measurement | None:
        """The AUC, where it has a value."""
        m = self.cells.get("AUC")
        return None if m is None or m.value is None else m

    @property
    def known(self) -> Measurement:
        """The AUC of a row that has one, as all of `realistic`, `of_kind` and `controls` do."""
        if self.auc is None:
            raise ValueError(f"{self.attack} has no AUC")
        return self.auc


@dataclass(frozen=True)
class Section:
    """Rows that may be compared with each other."""

    name: str
    note: str
    kind: str  # of its rows, or "control"
    rows: tuple[Row, ...]


def columns(result: AuditResult) -> tuple[str, ...]:
    """Labels of the measurements: AUC, balanced accuracy, then TPR from the loosest to the strictest rate."""
    found = {m.label: m for m in measured(result)}
    order = {"auc": 0, "balanced_accuracy": 1, "tpr": 2}
    return tuple(sorted(found, key=lambda label: (order.get(found[label].metric, 3), -(found[label].fpr or 0), label)))


def measured(result: AuditResult) -> tuple[Measurement, ...]:
    """The numbers of single attacks: no differences of two, and nothing that is one step of a sweep."""
    every = (*result.measurements, *result.controls)
    return tuple(m for m in every if m.at is None and not m.metric.endswith("_difference"))


def together(result: AuditResult, attack: str) -> int:
    """How many records the adversary of `attack` asks about together to guess one of them; 1 where none says more."""
    asked = result.environment.get("asked together")
    number = asked.get(attack, 1) if isinstance(asked, Mapping) else 1
    return int(number) if isinstance(number, int | float) and number > 1 else 1


def rows(result: AuditResult) -> tuple[Row, ...]:
    """One row per (attack, control group), highest AUC first; an AUC that has no value comes last."""
    cells: dict[tuple[str, str | None], dict[str, Measurement]] = {}
    for m in measured(result):
        cells.setdefault((m.attack, m.group), {})[m.label] = m
    found = [
        Row(attack, title(attack), kind(attack), group, by, together(result, attack))
        for (attack, group), by in cells.items()
    ]
    return tuple(sorted(found, key=lambda row: -_auc(row)))


def sections(result: AuditResult) -> tuple[Section, ...]:
    """The rows of the table, realistic attacks first and controls last; empty sections are left out."""
    every = rows(result)
    notes = _NOTES.get(result.audit, {})
    found = [
        Section(name, notes.get(kind, note), kind, tuple(r for r in every if r.kind == kind and r.group is None))
        for kind, (name, note) in SECTIONS.items()
    ]
    for group in dict.fromkeys(r.group for r in every if r.group is not None):
        note = CONTROLS.get(group, "a control: must be at chance")
        found.append(Section(f"Control: {group}", note, "control", tuple(r for r in every if r.group == group)))
    return tuple(s for s in found if s.rows)


_ALONE = "what the model answers, alone"
_NOTES = {
    "model": {"attack": "with one reference model", "baseline": _ALONE},
    "lm": {"attack": "with the base model beside it", "baseline": _ALONE},
}


def counted(result: AuditResult) -> str:
    """What the numbers were counted over; the pairs only where every attack saw the same."""
    found = [m for m in measured(result) if m.metric == "auc"]
    same = dict.fromkeys(sample(m) for m in found)
    if len(same) > 1:
        same = dict.fromkeys(count(m.n, m.unit) for m in found)
    return " or ".join(same) or "nothing"


def finetuned(result: AuditResult) -> str:
    """What finetuning trained, of victims and of shadows, in words; empty where the configuration does not say."""
    config = result.config
    names = [config.get("victim_strategy") or config.get("strategy"), config.get("strategy")]
    scratch = "other" not in result.data.get("sizes", ())
    if scratch or not all(isinstance(name, str) and name in STRATEGIES for name in names):
        return ""
    settings = {"last_layers": "some", "lora_rank": "some", **config}
    victims, shadows = (STRATEGIES[str(name)].format_map(settings) for name in names)
    text = f"finetuned: {victims}"
    return text if victims == shadows else f"{text}; the attacker's shadows: {shadows}"


def audited(result: AuditResult) -> str:
    """What was audited, in words, where the result says it."""
    return str(result.data.get("audited", ""))


def promised(result: AuditResult) -> str:
    """What private finetuning promised, in words; empty where it was not private."""
    privacy = result.environment.get("privacy")
    if not isinstance(privacy, Mapping):
        return ""
    text = f"finetuned by DP-SGD, epsilon {privacy['epsilon']:.3g} at delta {privacy['delta']:g} per finetuning record"
    return f"{text} ({privacy['accountant']})" if "accountant" in privacy else text


def realistic(result: AuditResult) -> tuple[Row, ...]:
    """Attacks and baselines that have an AUC, best first: what a real adversary would choose from."""
    return tuple(r for r in rows(result) if r.group is None and r.kind in ("attack", "baseline") and r.auc)


def of_kind(result: AuditResult, kind: str) -> Row | None:
    """The best row of a kind outside the controls, or None."""
    return next((r for r in rows(result) if r.group is None and r.kind == kind and r.auc), None)


def controls(result: AuditResult) -> tuple[Row, ...]:
    """The control rows of attacks (not of direct access or blind guesses) that have an AUC, best first."""
    return tuple(r for r in rows(result) if r.group is not None and r.kind in ("attack", "baseline") and r.auc)


def scores_of(result: AuditResult, row: Row) -> Scores | None:
    """The scores behind a row; None where only the numbers were kept."""
    return next((s for s in result.scores if (s.attack, s.group) == (row.attack, row.group)), None)


def title(attack: str) -> str:
    """The attack's name for people; a name outside the catalog is its own title."""
    if (found := known(attack)) is not None:
        return found.title
    rule = attack.removeprefix(DIRECT)
    return f"{ATTACKS[rule].title}: on the pretrained model" if rule != attack and rule in ATTACKS else attack


def kind(attack: str) -> str:
    """What the adversary is given; a rule outside the catalog counts as an attack."""
    found = known(attack)
    own = "attack" if found is None else str(found.kind)
    return "direct" if attack.startswith(DIRECT) or own == "bound" else own


def _auc(row: Row) -> float:
    return -1.0 if row.auc is None or row.auc.value is None else row.auc.value
