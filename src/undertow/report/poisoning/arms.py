"""The rows of a poisoning audit, found by what they are: arm, points, recipe, view, and the step of a sweep."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from undertow.audits.poisoning.presets import VIEWS
from undertow.audits.poisoning.recipes import RECIPES
from undertow.types import AuditResult, Measurement, Scores

ARMS = {
    "clean": "the checkpoint as it was",
    "benign": "trained on as long, without the poison",
    "poisoned": "the poisoned checkpoint",
    "reference": "the trusted checkpoint",
    "suspect": "the checkpoint that is judged",
}
BASELINES = ("clean", "reference")  # what the other arms are compared with
POINTS = {"targets": "records the attacker has targeted", "others": "records like them that it has not"}
JUDGED_POINTS = {"targets": "your records", "others": "look-alikes"}
METRICS = {"accuracy": "accuracy on held-out records", "heldout_loss": "mean loss on held-out records"}
HARNESS = "harness"  # rows of standard benchmarks
ATTACK = "lira"  # the one that is shown, chosen before looking: picking the best would be optimistic


@dataclass(frozen=True)
class Setting:
    """How victims finetune, and what the attacker sees."""

    recipe: str | None
    view: str | None

    @property
    def name(self) -> str:
        """In a few words."""
        return ", ".join(part for part in (self.recipe, self.view) if part) or "one setting"

    @property
    def about(self) -> str:
        """What it means."""
        recipe = RECIPES.get(self.recipe or "")
        known = (("finetuned", recipe.about if recipe else None), ("seen", VIEWS.get(self.view or "")))
        parts = [f"{what}: {text}" for what, text in known if text]
        return "; ".join(parts)


@dataclass(frozen=True)
class Utility:
    """What the models of one arm are worth: the checkpoint itself, and finetuned by each recipe."""

    arm: str
    metric: str  # "accuracy" | "heldout_loss"
    before: Measurement | None
    after: dict[str | None, Measurement]  # by recipe


@dataclass(frozen=True)
class UtilityTable:
    """The same to be shown: arms side by side."""

    name: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Measurement | None, ...]], ...]  # what, and one number per arm


def attack_of(result: AuditResult) -> str:
    """The attack that is shown in full."""
    names = attacks_of(result)
    return ATTACK if ATTACK in names or not names else names[0]


def attacks_of(result: AuditResult) -> tuple[str, ...]:
    """Every attack that was played, in the order of the rows."""
    return tuple(dict.fromkeys(m.attack for m in _main(result)))


def settings_of(result: AuditResult) -> tuple[Setting, ...]:
    """Recipes and views in the order of the configuration; the first is the one that is shown in full."""
    found = dict.fromkeys(Setting(m.recipe, m.view) for m in _main(result))
    recipes, views = (list(result.config.get(key, ())) for key in ("recipes", "views"))
    return tuple(sorted(found, key=lambda s: (_place(recipes, s.recipe), _place(views, s.view))))


def arms_of(result: AuditResult) -> tuple[str, ...]:
    """The arms that were played, the clean one first."""
    return _ordered(ARMS, (m.group for m in _main(result)))


def baseline_of(result: AuditResult) -> str:
    """The arm that the others are compared with."""
    return next((arm for arm in arms_of(result) if arm in BASELINES), "clean")


def audited_of(result: AuditResult) -> str:
    """The arm that the audit is about."""
    return "suspect" if "suspect" in arms_of(result) else "poisoned"


def about_points(result: AuditResult, points: str) -> str:
    """What the targets, or the others, are in this audit."""
    return (JUDGED_POINTS if audited_of(result) == "suspect" else POINTS)[points]


def points_of(result: AuditResult) -> tuple[str, ...]:
    """Targets, then others, where they were attacked."""
    return _ordered(POINTS, (m.points for m in _main(result)))


def rates_of(result: AuditResult) -> tuple[float, ...]:
    """False positive rates (fractions), the loosest first."""
    return tuple(sorted({m.fpr for m in _main(result) if m.metric == "tpr" and m.fpr is not None}, reverse=True))


def cell(
    result: AuditResult,
    metric: str,
    arm: str,
    points: str,
    setting: Setting,
    fpr: float | None = None,
    at: float | None = None,
    attack: str | None = None,
) -> Measurement | None:
    """The one number so named, of `attack` or else of the attack that is shown."""
    wanted = (attack or attack_of(result), metric, arm, points, setting.recipe, setting.view, fpr, at)
    for m in (*result.measurements, *result.controls):
        if (m.attack, m.metric, m.group, m.points, m.recipe, m.view, m.fpr, m.at) == wanted:
            return m
    return None


def change(result: AuditResult, arm: str, points: str, setting: Setting, at: float | None = None) -> Measurement | None:
    """How much more `arm` leaks than the baseline: the TPR at the loosest rate, else the AUC."""
    for fpr in rates_of(result)[:1]:
        m = cell(result, "tpr_difference", arm, points, setting, fpr, at)
        if m is not None and m.value is not None:
            return m
    return cell(result, "auc_difference", arm, points, setting, None, at)


def utility_of(result: AuditResult) -> tuple[Utility, ...]:
    """Arm by arm, for each metric that was measured."""
    rows = [m for m in result.measurements if (m.metric in METRICS or m.attack == HARNESS) and m.at is None]
    found = []
    for metric in dict.fromkeys(m.metric for m in rows):
        for arm in _ordered(ARMS, (m.group for m in rows)):
            own = [m for m in rows if (m.metric, m.group) == (metric, arm)]
            before = next((m for m in own if m.when == "before"), None)
            found.append(Utility(arm, metric, before, {m.recipe: m for m in own if m.when == "after"}))
    return tuple(found)


def utility_tables(result: AuditResult) -> tuple[UtilityTable, ...]:
    """One table per metric: before finetuning, then after it by each recipe."""
    every, found = utility_of(result), []
    for metric in dict.fromkeys(u.metric for u in every):
        own = [u for u in every if u.metric == metric]
        rows: list[tuple[str, tuple[Measurement | None, ...]]] = []
        if any(u.before for u in own):
            rows.append(("before finetuning", tuple(u.before for u in own)))
        recipes = list(result.config.get("recipes", ()))
        for recipe in sorted(dict.fromkeys(r for u in own for r in u.after), key=lambda r: _place(recipes, r)):
            rows.append((f"after {recipe or 'finetuning'}", tuple(u.after.get(recipe) for u in own)))
        found.append(
            UtilityTable(
                METRICS.get(metric, f"{metric} (lm-evaluation-harness)"), tuple(u.arm for u in own), tuple(rows)
            )
        )
    return tuple(found)


def sweep_of(result: AuditResult) -> tuple[float, ...]:
    """The values that were swept, ascending."""
    return tuple(sorted({m.at for m in result.measurements if m.at is not None}))


def scores_of(result: AuditResult, arm: str) -> Scores | None:
    """The scores of one arm at the first setting: of the targets, where they were kept apart."""
    setting = next(iter(settings_of(result)), Setting(None, None))
    own = [
        s
        for s in result.scores
        if (s.attack, s.group) == (attack_of(result), arm)
        and s.recipe in (None, setting.recipe)
        and s.view in (None, setting.view)
    ]
    kept = next((s for s in own if s.points == "targets"), next((s for s in own if s.points is None), None))
    if kept is None or kept.points or not 0 < result.targets <= kept.values.shape[1]:
        return kept
    first = slice(result.targets)
    return replace(kept, values=kept.values[:, first], member=kept.member[:, first], points="targets", ids=None)


def _main(result: AuditResult) -> list[Measurement]:
    """The numbers of the arms themselves, without the sweep."""
    return [m for m in result.measurements if m.metric in ("tpr", "auc") and m.group in ARMS and m.at is None]


def _ordered(known: Iterable[str], found: Iterable[str | None]) -> tuple[str, ...]:
    present = set(found)
    return tuple(name for name in known if name in present)


def _place(names: list[str], name: str | None) -> int:
    return names.index(name) if name in names else len(names)
