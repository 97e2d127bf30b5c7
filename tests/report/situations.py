"""Audits as they come out in practice, written by hand: what the report says of each is in golden_sentences.toml."""

from dataclasses import replace

from tests.report import poisoned

from undertow.types import AuditResult, Measurement

CHANCE = (0.5, 0.48, 0.52)
LEAK = (0.7, 0.67, 0.73)
DRAWN = {"models": 16, "points": 200, "draws": 16.0, "in_turn": False, "groups": None, "warnings": []}
HELD_OUT = {**DRAWN, "name": "held-out victims", "about": "16 held-out victims are attacked by 64 shadow models."}
PAIRS = {
    **DRAWN,
    "name": "complementary pairs, in turn",
    "about": "The 16 models form 8 complementary pairs; each model is a target, and a shadow of the other pairs.",
    "draws": 8.0,
    "in_turn": True,
}
REPEATED = {
    **DRAWN,
    "name": "one split, repeated",
    "about": "All 8 models were trained on the same records.",
    "models": 8,
    "draws": 1.0,
}
ALIKE = {
    **DRAWN,
    "name": "alike splits",
    "about": "The 16 models were trained on nearly the same records.",
    "draws": 2.4,
    "in_turn": True,
    "warnings": ["90% of the records have the same membership in every model."],
}
ONE = {**DRAWN, "name": "one model", "about": "One model is attacked.", "models": 1, "draws": 1.0}


def auc(attack, value, low, high, **more):
    counts = {"members": 1600, "non_members": 1600, **more}
    return Measurement(attack, "auc", value, low, high, counts.pop("n", 16), counts.pop("unit", "models"), **counts)


def tpr(attack, value, low, high, fpr=0.01, **more):
    n, unit = more.pop("n", 16), more.pop("unit", "models")
    return Measurement(attack, "tpr", value, low, high, n, unit, fpr=fpr, **more)


def audit(kind, *rows, controls=(), **more):
    return AuditResult(kind, {}, 0, more.pop("environment", {}), {}, rows, controls, **more)


def shown(attack, value, low, **more):
    return {"shown": True, "attack": attack, "value": value, "low": low, "chance": 0.5, "choices": 1, **more}


def direct(value, low, high):
    """The same rule at both places, and the paired difference."""
    rows = (auc("tmi-default", 0.854, 0.84, 0.867), auc("direct-tmi-default", 0.885, 0.87, 0.899))
    pair = Measurement("direct-tmi-default - tmi-default", "auc_difference", value, low, high, 16, "models")
    return audit("tmi", *rows, pair, auc("blind", *CHANCE))


def together():
    rows = [
        replace(auc("tmi-default", v, v - 0.02, v + 0.02), at=float(k), group="asked together")
        for k, v in ((1, 0.774), (10, 0.803), (50, 0.827), (200, 0.854))
    ]
    main = (auc("tmi-default", 0.854, 0.84, 0.867), auc("tmi-lda", 0.77, 0.75, 0.79), auc("blind", *CHANCE))
    main += (tpr("tmi-default", 0.22, 0.18, 0.26), tpr("tmi-lda", 0.11, 0.08, 0.14))
    asked = {"asked together": {"tmi-default": 200}}
    return audit("tmi", *main, *rows, environment=asked)


def changed(at, benign):
    """A poisoning audit whose targets leak more by `at` in the poisoned arm and by `benign` in the benign one."""
    rows = tuple(_row(m, at, benign) for m in poisoned.build().measurements)
    return replace(poisoned.build(), measurements=rows)


AUCS = {"clean": (0.6, 0.58, 0.62), "benign": (0.61, 0.59, 0.63), "poisoned": (0.8, 0.78, 0.82)}


def _row(m, at, benign):
    """`m` with a number that was chosen, so that no text depends on a sample."""
    if m.fpr not in (None, 0.01) or m.value is None:
        return m
    none = (0.01, -0.02, 0.04)
    arms = {"clean": 0.04, "benign": 0.04 + benign[0], "poisoned": 0.04 + at[0]}
    tprs = {arm: (x, x - 0.015, x + 0.015) for arm, x in arms.items()}
    moved = {"poisoned": at if m.points == "targets" else none, "benign": benign if m.points == "targets" else none}
    numbers = {"tpr": tprs, "auc": AUCS}.get(m.metric, moved if m.metric == "tpr_difference" else {})
    return replace(m, **dict(zip(("value", "low", "high"), numbers[m.group]))) if m.group in numbers else m


MANY = ("lira", "rmia", "bavaria", "loss", "confidence", "entropy", "margin", "lira-offline")
PRIVATE = {"privacy": {"epsilon": 3.0, "delta": 1e-5, "accountant": "PLD"}}
BLIND = auc("blind", *CHANCE)
GROUPED = {**HELD_OUT, "points": 400, "groups": 80}
SATURATED = "logits: 61% of the probabilities are 0 or 1 after rounding, so confident answers cannot be told apart."
DUPLICATES = "12 records occur twice, on both sides of the boundary; an attack may take the one for the other."
THIN = "They are members of fewer than 2 of the other models, or of all but one."

SITUATIONS = {
    "leak, strong": lambda: audit(
        "mia",
        *(auc("lira", 0.93, 0.91, 0.945), auc("loss", 0.71, 0.69, 0.73), BLIND),
        *(tpr("lira", 0.62, 0.58, 0.66), tpr("loss", 0.03, 0.02, 0.04), tpr("lira", 0.31, 0.24, 0.38, 0.001)),
        leak=shown("lira", 0.93, 0.907),
        design=HELD_OUT,
    ),
    "leak, weak": lambda: audit(
        "mia",
        *(auc("lira", 0.534, 0.514, 0.554), auc("loss", 0.53, 0.51, 0.55), BLIND),
        *(tpr("lira", 0.014, 0.008, 0.02), tpr("loss", 0.013, 0.007, 0.019)),
        leak=shown("lira", 0.534, 0.511),
        design=HELD_OUT,
    ),
    "not shown": lambda: audit("mia", auc("lira", 0.512, 0.487, 0.537), auc("loss", *CHANCE), BLIND, design=HELD_OUT),
    "undecided, two models": lambda: audit(
        "mia",
        auc("lira", 0.52, 0.47, 0.57, n=2, members=200, non_members=200),
        design={**HELD_OUT, "models": 2},
    ),
    "undecided, one model": lambda: audit(
        "tmi", auc("tmi", 0.53, 0.45, 0.61, n=200, unit="points", members=100, non_members=100), design=ONE
    ),
    "undecided, one non-member": lambda: audit(
        "score", auc("loss", 0.4, 0.003, 0.998, n=41, unit="points", members=40, non_members=1), design=ONE
    ),
    "undecided, few of both": lambda: audit(
        "score",
        auc("lira", 0.6, 0.4, 0.77, n=1, members=12, non_members=12),
        design={**HELD_OUT, "models": 1},
    ),
    "undecided, models that differ": lambda: audit("score", auc("lira", 0.56, 0.41, 0.7, n=8), design=PAIRS),
    "one model": lambda: audit(
        "score",
        auc("loss", 0.64, 0.61, 0.67, n=1000, unit="points", members=500, non_members=500),
        tpr("loss", 0.034, 0.015, 0.06, n=1000, unit="points"),
        design=ONE,
        leak=shown("loss", 0.64, 0.61),
    ),
    "one split repeated": lambda: audit(
        "score",
        auc("loss", 0.56, 0.49, 0.63, n=200, unit="points", members=800, non_members=800),
        design=REPEATED,
        leak={**shown("loss", 0.56, 0.49), "shown": False},
    ),
    "alike splits": lambda: audit(
        "score",
        auc("lira", 0.57, 0.54, 0.6, chance=0.539),
        design=ALIKE,
        leak={**shown("lira", 0.57, 0.54), "chance": 0.539, "shown": True},
    ),
    "pairs in turn": lambda: audit(
        "score",
        auc("lira", 0.62, 0.58, 0.66, effective=840.0, df=31.0),
        auc("rmia", 0.61, 0.58, 0.64),
        design=PAIRS,
        leak=shown("lira", 0.62, 0.575, p=0.001, draws=999, method="interval and randomisation"),
    ),
    "pairs that chance explains": lambda: audit(
        "score",
        auc("lira", 0.54, 0.505, 0.575, effective=840.0),
        design=PAIRS,
        leak={**shown("lira", 0.54, 0.505, p=0.061, draws=999), "shown": False},
    ),
    "confounded": lambda: audit("score", auc("lira", *LEAK), auc("blind", 0.6, 0.56, 0.64)),
    "doubtful control": lambda: audit(
        "tmi", auc("tmi", *LEAK), BLIND, controls=(auc("tmi", 0.56, 0.53, 0.59, group="no-pretraining"),)
    ),
    "flipped sign": lambda: audit("score", auc("loss", 0.386, 0.36, 0.413), auc("lira", 0.505, 0.48, 0.53)),
    "flipped labels": lambda: audit("score", auc("lira", 0.3, 0.27, 0.33), auc("loss", *CHANCE)),
    "flipped in an audit of ours": lambda: audit(
        "tmi", auc("tmi", 0.505, 0.48, 0.53), auc("confidence", 0.44, 0.42, 0.46)
    ),
    "baseline best": lambda: audit(
        "mia",
        auc("loss", 0.66, 0.64, 0.68),
        auc("lira", 0.6, 0.58, 0.62),
        leak=shown("loss", 0.66, 0.637),
    ),
    "baseline better once flipped": lambda: audit(
        "score",
        auc("lira", 0.58, 0.555, 0.605),
        auc("loss", 0.386, 0.36, 0.413),
        leak=shown("lira", 0.58, 0.551),
    ),
    "best at a low rate is another": lambda: audit(
        "mia",
        *(auc("bavaria", 0.68, 0.66, 0.7), auc("lira", 0.67, 0.65, 0.69), auc("rmia", 0.66, 0.64, 0.68)),
        *(tpr("bavaria", 0.1, 0.08, 0.12), tpr("lira", 0.14, 0.12, 0.16), tpr("rmia", 0.09, 0.07, 0.11)),
        tpr("bavaria", 0.001, 0.0, 0.004, 0.001),
        tpr("lira", 0.096, 0.07, 0.12, 0.001),
        leak=shown("bavaria", 0.68, 0.655),
    ),
    "no rate better than guessing": lambda: audit(
        "mia",
        auc("lira", 0.55, 0.53, 0.57),
        auc("loss", 0.54, 0.52, 0.56),
        tpr("lira", 0.006, 0.002, 0.011, 0.001),
        tpr("loss", 0.004, 0.0, 0.009, 0.001),
        tpr("lira", 0.012, 0.004, 0.02),
        leak=shown("lira", 0.55, 0.527),
    ),
    "leak of a few records only": lambda: audit(
        "mia",
        auc("lira", 0.505, 0.49, 0.52),
        auc("rmia", 0.51, 0.49, 0.53),
        tpr("lira", 0.05, 0.035, 0.065),
        tpr("rmia", 0.012, 0.006, 0.018),
    ),
    "thin records": lambda: audit(
        "score",
        auc("lira", 0.979, 0.97, 0.986),
        leak=shown("lira", 0.979, 0.97),
        left_out=({"attack": "lira", "records": 9, "of": 200, "reason": THIN},),
    ),
    "attacks not run": lambda: audit(
        "score",
        auc("loss", 0.565, 0.54, 0.59),
        leak=shown("loss", 0.565, 0.54),
        not_run=(
            {"attack": "lira", "reason": "needs shadow models", "fix": "give at least 6 models"},
            {"attack": "rmia", "reason": "needs shadow models", "fix": "give at least 6 models"},
            {"attack": "blind", "reason": "`features` is missing", "fix": "add `features`, the records themselves"},
        ),
    ),
    "direct access, paired": lambda: direct(0.032, 0.025, 0.039),
    "direct access, no difference": lambda: direct(0.004, -0.003, 0.011),
    "direct access, unpaired": lambda: audit("tmi", auc("tmi", *LEAK), auc("direct-lira", 0.9, 0.88, 0.92), BLIND),
    "direct access, nothing there": lambda: audit("tmi", auc("tmi", 0.505, 0.48, 0.53), auc("direct-lira", *CHANCE)),
    "records asked together": together,
    "private finetuning": lambda: audit(
        "mia", auc("lira", 0.508, 0.485, 0.531), BLIND, environment=PRIVATE, design=HELD_OUT
    ),
    "private finetuning, pretraining audited": lambda: audit(
        "tmi", auc("tmi", *LEAK), BLIND, environment=PRIVATE, leak=shown("tmi", 0.7, 0.67)
    ),
    "saturated": lambda: audit("score", auc("lira", *LEAK), tpr("lira", 0.03, 0.02, 0.04), warnings=(SATURATED,)),
    "duplicates": lambda: audit("score", auc("loss", 0.61, 0.58, 0.64), warnings=(DUPLICATES,)),
    "few degrees of freedom": lambda: audit(
        "score", auc("lira", *LEAK, df=40.0), tpr("lira", 0.1, 0.06, 0.14, df=6.2), leak=shown("lira", 0.7, 0.67)
    ),
    "groups": lambda: audit(
        "score",
        auc("lira", 0.66, 0.6, 0.72, effective=310.0, df=44.0),
        design=GROUPED,
        leak=shown("lira", 0.66, 0.6),
    ),
    "poisoning, amplified": lambda: changed((0.33, 0.27, 0.39), (0.0, -0.03, 0.02)),
    "poisoning, not amplified": lambda: changed((0.03, -0.01, 0.07), (0.0, -0.03, 0.02)),
    "poisoning, unexplained": lambda: changed((0.33, 0.27, 0.39), (0.3, 0.25, 0.35)),
    "poisoning, lessened": lambda: changed((-0.02, -0.03, -0.01), (0.0, -0.03, 0.02)),
    "suspect, suspicious": lambda: poisoned.judged("suspicious"),
    "suspect, unknown": lambda: poisoned.judged("unknown"),
}
SITUATIONS["best of eight"] = lambda: audit(
    "mia",
    *(auc(name, *x) for name, x in {**dict.fromkeys(MANY, CHANCE), "lira": (0.524, 0.503, 0.545)}.items()),
    BLIND,
    *(tpr(name, 0.001, 0.0, 0.003, 0.001) for name in MANY if name != "bavaria"),
    tpr("bavaria", 0.006, 0.002, 0.011, 0.001),
    design=HELD_OUT,
)
