"""BERT in the data-trap audit: a checkpoint that is given, texts that are kept token by token."""

import json

import numpy as np

from undertow.audits.base import Base
from undertow.audits.datatrap.kit import Judged, TrapKit, expected_share, sequential_plan
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.stored import put_examples
from undertow.models.huggingface import HuggingFace
from undertow.stages.finetune import Finetune
from undertow.stages.plant_transformer import PlantBert, bare
from undertow.stages.pretrain import Pretrain
from undertow.traps import Captures, TextCandidates, Trap, text_captures
from undertow.traps.recorder import Candidates
from undertow.traps.text.rouge import rouge_l
from undertow.types import Array, ConfigError, Params, Store

ENOUGH = 0.9  # of a text's tokens: so many accepted, and it is accepted; so many right, and it is right


def bert_kit(config: DataTrapConfig, supply: TrapSupply, base: Base, store: Store) -> TrapKit:
    """Traps for whole texts."""
    architecture = base.architecture
    if base.params is None or not isinstance(architecture, HuggingFace):
        raise ConfigError("model.kind = 'bert' needs model.checkpoint, the folder of a BERT")
    plan, shape, classes = sequential_plan(config), supply.shape, supply.classes
    heads = int(json.loads(architecture.config).get("num_attention_heads", 12))
    auxiliary, victim = put_examples(store, supply.auxiliary), put_examples(store, supply.victim)

    def judge(_trap: Trap, _planted: Params, found: Candidates) -> Judged:
        assert isinstance(found, TextCandidates)
        return judge_texts(found, supply.victim.x)

    return TrapKit(
        architecture=architecture,
        pretrain=Pretrain(auxiliary, architecture, shape, classes, config.pretrain, plan),
        plant=PlantBert(auxiliary, config.traps.count, expected_share(config, supply), heads),
        finetune=Finetune(
            victim, architecture, shape, classes, config.strategy, 0, config.finetune, plan,
            head_rate=config.head_rate, clip=config.clip,
        ),
        named=bare,
        judge=judge,
        graded=False,
    )  # fmt: skip


def judge_texts(found: TextCandidates, texts: Array) -> Judged:
    """Whole readings against whole texts (N, T). An error is the share of tokens that is wrong or lacking.

    ROUGE-L is the mean over readings, accepted or not, each against its nearest text; a text's last token counts.
    """
    compared, truth = text_captures(found, texts), np.asarray(texts)[:, 1:]
    written = (found.step != 0) & (found.tokens != 0)
    length = np.maximum(compared.length, written.sum(1))
    near = truth[compared.nearest]
    right = ((found.tokens == near) & written).sum(1)
    error = np.where(written.any(1), 1 - right / np.maximum(length, 1), np.inf)
    whole = found.accepted.sum(1) >= ENOUGH * np.maximum(written.sum(1), 1)
    accepted = whole & written.any(1)
    held = Candidates(
        np.where(written.any(1)[:, None], found.tokens, np.nan)[:, None].astype(float),
        found.step.min(1, keepdims=True), accepted[:, None],
        np.array([_why(row, ok) for row, ok in zip(found.reasons, accepted)], object)[:, None],
    )  # fmt: skip
    seen = Captures(compared.nearest, error, error == 0, error <= 1 - ENOUGH, accepted)
    tokens = int(compared.accepted.sum())
    read = np.flatnonzero(written.any(1))
    alike = [rouge_l(found.tokens[k, written[k]].tolist(), near[k, near[k] != 0].tolist()) for k in read]
    quality = {
        "token_accuracy": (compared.token_accuracy, tokens, "tokens"),
        "rouge_l": (float(np.mean(alike)) if alike else None, len(alike), "readings"),
    }
    return Judged(held, seen, truth, np.arange(len(truth)), quality=quality)


def _why(reasons: Array, accepted: bool) -> str:
    """Why a whole text is not accepted."""
    return "" if accepted else next((str(r) for r in reasons if r and "last token" not in str(r)), "too few tokens")
