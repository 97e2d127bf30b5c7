"""The whole chain below the poisoning audit of texts: supply, pretrain, finetune, interrogate, signals."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from undertow.audits.poisoning.settings import Candidates
from undertow.engine.design import Design
from undertow.engine.executor import Serial
from undertow.engine.play import play
from undertow.models.causal_lm import causal_lm, for_strategy
from undertow.rng import stream
from undertow.sources.records.poison_texts import text_supply
from undertow.sources.records.stories import stories260k
from undertow.stages.common import load_examples
from undertow.stages.finetune import Finetune
from undertow.stages.interrogate import Interrogate
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Then
from undertow.storage.store import MemoryStore
from undertow.token_signals import view_signals, zlib_bytes
from undertow.training.choose import Plan, candidates
from undertow.training.schedule import Fit
from undertow.types import Slot

PLAN = Plan("sequential", 4)
FIT = Fit(epochs=10, batch=8, optimizer="adamw", lr=3e-3, decay="linear")


@pytest.fixture
def data(tmp_path):
    rng = stream(0, "words")
    words = ["".join(rng.choice(list("abcdefgh"), 4)) for _ in range(60)]
    (tmp_path / "prose.txt").write_text("\n\n".join(" ".join(rng.choice(words, 14)) for _ in range(120)))
    texts = [f"{rng.choice(words)} owes {rng.integers(10**6)} to {rng.choice(words)}" for _ in range(40)]
    (tmp_path / "own.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return Candidates(str(tmp_path / "own.jsonl"), points=20, targets=8, auxiliary=str(tmp_path / "prose.txt"),
                      public=6, context=16, vocabulary=300)  # fmt: skip


def test_members_are_told_from_the_others(data):
    supply, store = text_supply(data, 0)[0], MemoryStore()
    architecture = causal_lm("gpt2", 16, 1, supply.classes, data.context)
    secret = {n: np.concatenate([getattr(part, n) for part in (supply.candidates, supply.public)]) for n in "xy"}
    store.put("finetune", secret)
    store.put("texts", {"x": supply.candidates.x})
    for name in ("pretrain", "held_out"):
        store.put(name, {"x": getattr(supply, name).x, "y": getattr(supply, name).y})
    base = Pretrain("pretrain", architecture, (16,), supply.classes, replace(FIT, epochs=3), PLAN)
    alone = [Slot("base", 0, 0, None)]
    assert candidates(base.task(alone, [{}], load_examples(store, "pretrain"))) == ["sequential"]
    ask = Interrogate("texts", "held_out", architecture, (16,), ("exact", "int4"), 0, PLAN)
    start = play([base, ask], alone, store, Serial(), secret="nothing")
    tune = Finetune("finetune", architecture, (16,), supply.classes, "full", 0, FIT, PLAN, keep_head=True, repeat=2)
    slots = Design(0, 20, 4, 1, 20).slots("shadow")
    link = Then(tune, ask)
    trace = play([link], slots, store, Serial(), secret="finetune", start=start.keys["pretrain"] * len(slots))
    names = [n for n in store.get(trace.keys["finetune"][0]) if n != "heldout_loss"]
    seen = {name: trace.stack("finetune", name) for name in names}
    member = np.stack([slot.member for slot in slots])
    for view in ("exact", "int4"):
        signals = view_signals(seen, view, store.get(start.keys["query"][0]), zlib_bytes(supply.texts))
        for name in ("loss", "loss-difference", "min-k++", "zlib"):
            values = signals[name]
            assert values.shape == member.shape
            wins = values[member][:, None] > values[~member]
            assert wins.mean() > 0.6, (view, name)
    assert np.isfinite(trace.stack("finetune", "heldout_loss")).all()


def test_a_real_checkpoint_is_finetuned(data, shared_data):
    """The 260k Llama: LoRA on a handful of texts lowers their loss and keeps its story-telling for others."""
    pytest.importorskip("peft")
    tied, state, tokens = stories260k(shared_data)
    supply, store = text_supply(replace(data, context=32), 0, tokens)[0], MemoryStore()
    architecture = for_strategy(tied, "lora")
    store.put("finetune", {"x": supply.candidates.x, "y": supply.candidates.y})
    fit = replace(FIT, epochs=6, lr=1e-2)
    tune = Finetune("finetune", architecture, (32,), 0, "lora", 0, fit, PLAN, keep_head=True)
    tuned = tune([Slot("victim", 0, 0, np.ones(20, bool))], [state], store)[0]
    store.put("texts", {"x": supply.candidates.x})
    ask = Interrogate("texts", "", architecture, (32,), ("exact",), 0, PLAN)
    before, after = ask([Slot("victim", 0, 0, None)] * 2, [state, tuned], store)
    assert (view_signals(after, "exact", before)["loss-difference"] > 0.5).all()
