"""A made-up audit of the size of a real one: 16 victims, 200 records, AUCs chosen by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from undertow.metrics import measure
from undertow.rng import stream
from undertow.types import AuditResult, Measurement, Scores

TMI = {
    **{"tmi": 0.674, "tmi-averaged": 0.698, "tmi-lda": 0.703, "tmi-global": 0.583, "tmi-knn": 0.607},
    **{"tmi-label-only": 0.534, "tmi-top-k": 0.577, "adapted-lira": 0.564, "adapted-lira-averaged": 0.651},
    **{"confidence": 0.537, "entropy": 0.529, "direct-lira": 0.901, "blind": 0.5},
}
MIA = {
    **{"lira": 0.665, "lira-offline": 0.621, "rmia": 0.672, "rmia-offline": 0.64, "bavaria": 0.678},
    **{"loss": 0.571, "confidence": 0.553, "entropy": 0.55, "margin": 0.57, "blind": 0.5},
}


def scores(attack, auc, group=None, models=16, points=200):
    """Scores whose AUC is close to `auc`; some records leak more than others."""
    member = stream(7, "sample", "member").random((models, points)) < 0.5
    rng = stream(7, "sample", attack, group or "")
    lean = rng.gamma(3.0, 1 / 3, points) * np.sqrt(2) * norm.ppf(auc)
    return Scores(attack, rng.normal(size=member.shape) + np.where(member, lean, 0.0), member, group)


def build(audit, aucs, controls=None, **changes):
    every = [scores(a, x) for a, x in aucs.items()]
    control = [scores(a, x, "no-pretraining") for a, x in (controls or {}).items()]
    result = AuditResult(
        audit=audit,
        config={
            "audit": audit,
            "seed": 0,
            "data": {"name": "digits", "pool": 400, "finetune": 500, "noise": None},
            "pretrain": {"model": "mlp", "hidden": [128], "epochs": 40, "lr": 0.1, "momentum": 0.9},
            "finetune": {
                "strategy": "linear",
                "epochs": 20,
                "lr": 0.05,
                "dp": {"epsilon": None, "clip": 1.0},
            },
            "attack": {"names": list(aucs), "shadows": 64, "victims": 16, "views": 8},
        },
        seed=0,
        environment={
            "undertow": "0.1.0",
            "python": "3.11.9",
            "numpy": "2.4.6",
            "platform": "Linux-x86_64",
            "schema": 1,
        },
        data={
            "name": "digits",
            "records": 1797,
            "challenge": 200,
            "sha256": {"pool": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
            "embedded": True,
        },
        measurements=tuple(m for s in every for m in measure(s, stream(0, "sample", s.attack))),
        controls=tuple(m for s in control for m in measure(s, stream(0, "sample", s.attack))),
        timing={"pretrain": 126.2, "finetune": 63.7, "signals": 4.25, "attacks": 71.0, "measure": 0.02},
        utility={
            "pretrain_test_accuracy": 0.7541,
            "finetune_test_accuracy": 0.9435,
            "finetune_test_loss": 0.2137,
        },
        warnings=("The finetuning sets of shadows and victims come from one pool and overlap.",),
        scores=(*every, *control),
        ids=tuple(f"digits/{q:05d}" for q in range(200)),
    )
    return replace(result, **changes)


@pytest.fixture(scope="session")
def tmi():
    """A leak through finetuning, with every kind of row."""
    flat = {a: 0.5 for a in TMI if a not in ("blind", "direct-lira")}
    return build("tmi", TMI, flat)


@pytest.fixture(scope="session")
def mia():
    return build("mia", MIA)


@pytest.fixture(scope="session")
def null():
    """Nothing leaks anywhere."""
    return build("tmi", dict.fromkeys(TMI, 0.5), dict.fromkeys(("tmi", "tmi-lda"), 0.5))


@pytest.fixture(scope="session")
def leakage_page(tmi):
    from undertow.report.html import page

    return page(tmi)


@pytest.fixture
def said():
    """An audit made of hand-written AUCs: name -> (value, low, high); "name/group" is a control."""

    def audit(kind="tmi", tpr=(), **aucs):
        rows = [auc(*name.replace("_", "-").partition("/")[::2], *x) for name, x in aucs.items()]
        main = (*(m for m in rows if m.group is None), *tpr)
        return AuditResult(kind, {}, 0, {}, {}, main, tuple(m for m in rows if m.group is not None))

    def auc(attack, group, value, low, high):
        return Measurement(attack, "auc", value, low, high, 16, "models", group=group or None)

    return audit
