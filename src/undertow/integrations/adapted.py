"""A base model adapted on other texts of a domain: a reference that has learnt the domain and none of the members."""

from collections.abc import Callable, Sequence
from typing import Any

from undertow.rng import stream

EPOCHS = 2
RATE = 1e-4  # AdamW, constant
BATCH = 8
CLIP = 1.0  # norm of the gradient


def adapt(model: Any, ids: Sequence[Sequence[int]], seed: int, told: Callable[[int, int], None] | None = None) -> Any:
    """Finetune all weights of `model` on the texts, in place, and give it back in eval mode.

    EPOCHS over the texts in batches of BATCH, the order by `seed`; no weight decay. Pads count for nothing.
    """
    import torch

    rng, done = stream(seed, "adapt"), 0
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    where, total = next(model.parameters()).device, EPOCHS * len(ids)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(1 << 31)))  # dropout, where the configuration has some
        for _ in range(EPOCHS):
            order = rng.permutation(len(ids))
            for start in range(0, len(ids), BATCH):
                rows = [ids[i] for i in order[start : start + BATCH]]
                width = max(map(len, rows))
                tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=where)
                kept = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=where)
                labels = tokens.masked_fill(kept == 0, -100)
                loss = model(input_ids=tokens, attention_mask=kept, labels=labels).loss
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
                done += len(rows)
                if told:
                    told(done, total)
    return model.eval()
