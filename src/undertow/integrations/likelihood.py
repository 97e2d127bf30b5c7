"""`predict` of a language model: how likely it finds each text, one score per record, higher = member."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from undertow.audits.membership.answers import Predictor
from undertow.integrations.predict import asked_only
from undertow.types import Array, BadInput

LONGEST = 1024  # tokens, where neither the tokenizer nor the model says how many it reads


def from_causal_lm(model: Any, tokenizer: Any, batch: int = 8, max_length: int | None = None) -> Predictor:
    """Of a causal language model (GPT-2, Llama, ...; a peft model, too) and its tokenizer; records are texts.

    The score is the mean log-likelihood of the tokens after the first (nats). Give `base=` of the model it was
    finetuned from: what remains is what finetuning added (Carlini et al. 2021, arXiv:2012.07805, the ratio attack).
    """
    longest = max_length or longest_of(model, tokenizer)

    def answer(texts: Any) -> Array:
        if not len(texts) or not all(isinstance(text, str) for text in texts):
            raise BadInput("a language model is asked about texts; give a list of them, without labels")
        where = next(model.parameters()).device
        parts = []
        with asked_only(model, where):
            for start in range(0, len(texts), batch):
                ids = tokenizer(list(texts[start : start + batch]), truncation=True, max_length=longest)["input_ids"]
                parts.append(_log_likelihood(model, ids, texts[start : start + batch], where))
        return np.concatenate(parts)

    return Predictor(answer, f"a {type(model).__name__} of transformers, by the likelihood of each text")


def is_causal(model: Any) -> bool:
    """Whether this is a causal language model of transformers, within peft or not."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(inner).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def longest_of(model: Any, tokenizer: Any) -> int:
    """Tokens that the model reads at most."""
    known = (getattr(tokenizer, "model_max_length", None), getattr(model.config, "max_position_embeddings", None))
    return min((int(n) for n in known if n and n < 1 << 20), default=LONGEST)


def _log_likelihood(model: Any, ids: Sequence[Sequence[int]], texts: Sequence[str], where: Any) -> Array:
    """Mean over the tokens after the first, (n,); shorter rows are padded on the right, where nothing looks at it."""
    import torch

    short = next((i for i, row in enumerate(ids) if len(row) < 2), None)
    if short is not None:
        raise BadInput(
            f"the text {texts[short]!r:.40} has fewer than 2 tokens, so nothing of it is predicted; leave it out"
        )
    width = max(map(len, ids))
    rows = torch.zeros(len(ids), width, dtype=torch.long)
    kept = torch.zeros(len(ids), width, dtype=torch.long)
    for i, row in enumerate(ids):
        rows[i, : len(row)], kept[i, : len(row)] = torch.tensor(list(row)), 1
    with torch.no_grad():
        logits = model(input_ids=rows.to(where), attention_mask=kept.to(where)).logits.float().cpu()
    own = torch.log_softmax(logits[:, :-1], -1).gather(-1, rows[:, 1:, None])[..., 0]
    weight = kept[:, 1:]
    found: Array = ((own * weight).sum(1) / weight.sum(1)).double().numpy()
    return found
