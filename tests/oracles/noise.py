"""Games without a leak: outputs that know nothing of membership, under the design the audits use."""

import numpy as np
from tests.oracles.auc import auc

from undertow.attacks.attack import run
from undertow.attacks.catalog import ATTACKS
from undertow.engine.design import Design
from undertow.engine.membership import folds
from undertow.rng import stream
from undertow.types import Evidence


def noise(seed, models, points, views=2, classes=4):
    """Evidence of all kinds for a Design: records, classes and models differ, members do not."""
    rng = stream(seed, "noise", models)
    member = Design(seed, 2 * points, models, 1, points).member("shadow")
    labels = rng.integers(0, classes, points)

    def outputs():
        record = rng.normal(0, 2, (1, points, 1, classes)) + 2 * np.eye(classes)[labels][None, :, None]
        model = rng.normal(0, 0.5, (models, points, 1, classes)) * rng.gamma(2, 0.5, (1, points, 1, 1))
        return record + model + rng.normal(0, 0.3, (models, points, views, classes))

    return Evidence(
        member,
        values=rng.normal(0, 1, (models, points)) + rng.normal(0, 2, points),
        logits=outputs(),
        labels=labels,
        pretrained_logits=outputs(),
        pretrained_labels=labels,
        features=rng.normal(0, 1, (points, 6)),
    )


def leave_one_out(member):
    """What not to do: each model attacked by all others, its complement among them."""
    everyone = np.arange(len(member))
    return [(everyone[everyone == m], everyone[everyone != m]) for m in everyone]


def attacked(name, evidence, seed, naive=False):
    """AUC over all (model, point) pairs, every model attacked in its turn."""
    pairs = [(fold.targets, fold.shadows) for fold in folds(evidence.member)]
    scores, truth = [], []
    for i, (targets, shadows) in enumerate(leave_one_out(evidence.member) if naive else pairs):
        scores.append(run(ATTACKS[name], evidence, shadows, targets, stream(seed, "attack", name, i)))
        truth.append(evidence.member[targets])
    return auc(np.concatenate(scores), np.concatenate(truth))
