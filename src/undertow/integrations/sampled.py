"""Texts drawn from a causal language model at a high temperature. Needs torch."""

from typing import Any

import numpy as np
import torch

from undertow.rng import seed_for, stream
from undertow.types import Array, ConfigError

TEMPERATURE = 2.0  # texts that the model's frozen embeddings can tell apart, and that nobody else has written


@torch.no_grad()
def sample_texts(model: Any, count: int, length: int, allowed: Array, seed: int, batch: int = 64) -> Array:
    """(count, length) token ids among `allowed`: the first uniform, the others drawn from the model. ConfigError if
    the model does not hand back logits."""
    device, mode = model.get_input_embeddings().weight.device, model.training
    generator = torch.Generator().manual_seed(seed_for(seed, "canaries", "sampled"))
    start = stream(seed, "canaries", "first token").choice(allowed, (count, 1))
    ids = torch.as_tensor(start, device=device)
    model.eval()
    try:
        parts = [_continue(model, part, length, allowed, generator) for part in torch.split(ids, batch)]
    finally:
        model.train(mode)
    return np.asarray(torch.cat(parts).cpu().numpy())


def _continue(model: Any, ids: Any, length: int, allowed: Array, generator: Any) -> Any:
    keep = torch.as_tensor(allowed)
    while ids.shape[1] < length:
        answer = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        if not hasattr(answer, "logits"):
            raise ConfigError(f"{type(model).__name__} gives no logits; sampled canaries need a causal language model")
        logits = answer.logits[:, -1].float().cpu()[:, keep] / TEMPERATURE
        drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        ids = torch.cat([ids, keep[drawn].to(ids.device)], 1)
    return ids
