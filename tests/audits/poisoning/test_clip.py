"""The poisoning audit of a tiny CLIP: both towers are poisoned, the zero-shot classifier is finetuned and attacked."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from tests.audits.poisoning.poison_games import TINY, host

from undertow.audits.base import Base
from undertow.audits.poisoning.game import finetunable, lay_table, published, staged
from undertow.audits.poisoning.settings import ARMS, BaseModel
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.poisoning.suspicion import audit_checkpoint
from undertow.audits.poisoning.worth import distance
from undertow.models.clip import small_clip
from undertow.rng import stream
from undertow.types import ConfigError, Examples

NAMES = ("red", "green", "blue")
CLIP = small_clip(NAMES, 8, width=32, depth=1)
CONFIG = replace(TINY, model=BaseModel(kind="clip"), poison=replace(TINY.poison, steps=3, batch=8, lr=5e-4))


def coloured(count, name, templates=1):
    rng = stream(0, name)
    y = rng.integers(3, size=count)
    x = np.eye(3, dtype=np.float32)[y][:, :, None, None] + rng.normal(size=(count, 3, 8, 8)).astype(np.float32)
    return Examples(x, y * templates + rng.integers(templates, size=count), name)


@pytest.fixture(scope="module")
def game():
    supply = PoisonSupply(
        name="colours",
        candidates=coloured(24, "candidates"),
        targets=12,
        auxiliary=coloured(40, "auxiliary", CLIP.templates),
        held_out=coloured(30, "held out"),
        classes=3,
        pretrain=coloured(40, "pretrain", CLIP.templates),
        ids=tuple(map(str, range(24))),
    )
    return lay_table(CONFIG, supply, Base(CLIP), host())


def test_the_zero_shot_classifier_of_each_arm_is_finetuned(game):
    result = staged(game)
    found = Counter((m.attack, m.metric, m.fpr, m.points, m.when) for m in result.measurements)
    assert all(count == (2 if key[1].endswith("_difference") else 3) for key, count in found.items())
    ledger = game.host.executor
    published = set(result.environment["checkpoints"].values())
    assert set(ledger.trained("finetune")) == published
    assert len(published) == len(ARMS)
    for key in published:
        assert game.host.store.get(key)["head.weight"].shape[0] == 3
    poisoned = [job.stage for job in ledger.jobs if job.stage.name == "poison"]
    assert [s.architecture for s in poisoned] == [CLIP, CLIP]
    assert len({job.before for job in ledger.jobs if job.stage.name == "poison"}) == 1


def test_the_auxiliary_loss_is_contrastive(game, monkeypatch):
    """Captions are what the stealth term pairs; of targets the classification counts."""
    from undertow.models import clip

    calls = []
    original = clip.ClipModule.contrastive

    def spy(module, x, y):
        calls.append(y.max().item())
        return original(module, x, y)

    monkeypatch.setattr(clip.ClipModule, "contrastive", spy)
    stage = replace(game.kit.poison, objective=replace(CONFIG.poison, steps=2))
    start = game.one([game.kit.pretrain], None)
    game.one([replace(stage, objective=replace(stage.objective, target_weight=0.2))], start)
    assert len(calls) >= 2
    assert max(calls) >= 3  # captions, of which there are more than classes


def test_a_published_clip_is_judged_as_the_classifier_it_becomes(game):
    likes = replace(game.supply, lookalikes=coloured(24, "look-alikes")).with_lookalikes()
    table = lay_table(CONFIG, likes, Base(CLIP), game.host)
    keys = published(game)
    result = audit_checkpoint(table, keys["poisoned"], keys["clean"])
    assert [look["verdict"] == "unknown" for look in result.evidence] == [False] * 4
    assert result.environment["published"] == {"reference": keys["clean"], "suspect": keys["poisoned"]}
    classifiers = {who: finetunable(table, key) for who, key in result.environment["published"].items()}
    assert result.environment["checkpoints"] == classifiers
    whole = distance(game.host.store.get(keys["poisoned"]), game.host.store.get(keys["clean"]))
    assert f"{whole:.3f}" in result.evidence[-1]["found"]  # of both towers


def test_it_needs_a_clip(game):
    with pytest.raises(ConfigError, match="needs a CLIP"):
        lay_table(CONFIG, game.supply, Base(None), game.host)
