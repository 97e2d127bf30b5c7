"""GPT-2 in the data-trap audit: given, or trained here as a classifier; the first tokens of a text are kept."""

import json

import numpy as np

from undertow.audits.base import Base
from undertow.audits.datatrap.kit import Judged, TrapKit, expected_share, sequential_plan
from undertow.audits.datatrap.kit_bert import judge_texts
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.stored import put_examples
from undertow.models.huggingface import HuggingFace, padding
from undertow.stages.finetune import Finetune
from undertow.stages.plant_transformer import PlantGpt2, bare
from undertow.stages.pretrain import Pretrain
from undertow.texts import PAD
from undertow.traps import TextCandidates, Trap
from undertow.traps.recorder import Candidates
from undertow.traps.text.gpt2 import DecoderCandidates
from undertow.types import Array, ConfigError, Params, Store

GPT2 = "gpt2"


def gpt2_kit(config: DataTrapConfig, supply: TrapSupply, base: Base, store: Store) -> TrapKit:
    """Traps for the first tokens of texts, as many as the model's attention has heads."""
    architecture, fit = base.architecture, config.finetune
    if not isinstance(architecture, HuggingFace) or json.loads(architecture.config)["model_type"] != GPT2:
        raise ConfigError("model.kind = 'gpt2' needs the configuration of a GPT-2")
    plan, shape, classes = sequential_plan(config), supply.shape, supply.classes
    heads, pad = int(json.loads(architecture.config).get("n_head", 12)), padding(architecture)
    auxiliary, victim = put_examples(store, supply.auxiliary), put_examples(store, supply.victim)

    def judge(_trap: Trap, _planted: Params, found: Candidates) -> Judged:
        assert isinstance(found, DecoderCandidates)
        return judge_beginnings(found, supply.victim.x, pad)

    return TrapKit(
        architecture=architecture,
        pretrain=Pretrain(auxiliary, architecture, shape, classes, config.pretrain, plan),
        plant=PlantGpt2(auxiliary, config.traps.count, expected_share(config, supply), heads, pad),
        finetune=Finetune(
            victim, architecture, shape, classes, config.strategy, 0, fit, plan,
            head_rate=config.head_rate, clip=config.clip,
        ),
        named=bare,
        judge=judge,
        graded=base.params is None,
    )  # fmt: skip


def judge_beginnings(found: DecoderCandidates, texts: Array, pad: int) -> Judged:
    """Readings (K, P) against the first P tokens of texts (N, T), `pad` on the right; ids as `supply.words` has them.

    A reading ends with its last accepted token: a slot whose position a text does not have holds no token's code.
    """
    parts = found.tokens.shape[1]
    last = np.where(found.accepted, np.arange(1, parts + 1), 0).max(1)
    last = np.where(last == 0, parts, last)  # nothing is accepted: all of it is shown, and is wrong
    over = np.arange(parts) >= last[:, None]
    tokens = np.where(over | (found.step == 0), PAD, exchanged(found.tokens, pad))
    read = TextCandidates(
        found.values, found.step, found.accepted, found.reasons, tokens, found.similarity,
        np.full(tokens.shape, np.nan),
    )  # fmt: skip
    beginnings = exchanged(np.asarray(texts), pad)[:, :parts]
    return judge_texts(read, np.pad(beginnings, ((0, 0), (1, 0))))


def exchanged(ids: Array, pad: int) -> Array:
    """The ids after `pad` and 0, the pad of texts everywhere else, have changed places."""
    swapped: Array = np.where(ids == pad, PAD, np.where(ids == PAD, pad, ids))
    return swapped
