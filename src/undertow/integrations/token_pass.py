"""What a causal language model says of texts token by token: one pass, statistics of each place, no logits kept."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from undertow.integrations.predict import asked_only
from undertow.token_signals import STATISTICS, TokenStatistics
from undertow.types import Array, BadInput

TOKENS = 1024  # padded tokens in a batch, at most: with 50,000 words their logits are 200 MB
PLACES = 64  # places whose distributions are held at a time in double precision


def token_ids(tokenizer: Any, texts: Sequence[str], most: int, special: bool = True) -> tuple[list[list[int]], int]:
    """The ids of each text, cut at `most`; and how many were cut. `special`: with what the tokenizer adds to a text."""
    if not texts:
        return [], 0
    whole = tokenizer(list(texts), truncation=False, add_special_tokens=special, verbose=False)["input_ids"]
    cut = sum(len(row) > most for row in whole)
    return [list(map(int, row[:most])) for row in whole], cut


def token_pass(
    model: Any, ids: Sequence[Sequence[int]], batch: int, told: Callable[[int, int], None] | None = None
) -> TokenStatistics:
    """The statistics (Q, L) of each next token; place t is what the model, having read 0..t, says of token t + 1.

    `batch` texts of similar length at a time, fewer where they are long. Each text needs two tokens. BadInput where the
    model knows fewer tokens, or has diverged.
    """
    import torch

    sizes = np.array([len(row) for row in ids])
    out = {name: np.zeros((len(ids), int(sizes.max()) - 1)) for name in STATISTICS}
    inside = np.arange(int(sizes.max()) - 1) < sizes[:, None] - 1
    known, highest = int(model.get_input_embeddings().weight.shape[0]), max(max(row) for row in ids)
    if highest >= known:
        raise BadInput(f"the tokenizer gives token {highest}, and the model knows {known}; save its own beside it")
    where, done = next(model.parameters()).device, 0
    with asked_only(model, where), torch.inference_mode():
        for rows in _batches(sizes, batch):
            width = int(sizes[rows].max())
            x, kept = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
            for i, row in enumerate(rows):
                x[i, : sizes[row]], kept[i, : sizes[row]] = ids[row], 1
            tokens, mask = torch.from_numpy(x).to(where), torch.from_numpy(kept).to(where)
            logits = model(input_ids=tokens, attention_mask=mask).logits
            keep = mask[:, 1:].bool()
            found = _of_places(logits[:, :-1][keep], tokens[:, 1:][keep])
            if not np.isfinite(found).all():
                raise BadInput("the model's answers are not finite; it has diverged, or its weights are damaged")
            r, c = np.nonzero(kept[:, 1:])
            for name, values in zip(STATISTICS, found, strict=True):
                out[name][rows[r], c] = values
            done += len(rows)
            if told:
                told(done, len(ids))
    return TokenStatistics(inside, **{**out, "rank": out["rank"].astype(np.int64)})


def _batches(sizes: Array, batch: int) -> list[Array]:
    """Numbers of texts, shortest first, at most `batch` and TOKENS padded tokens together."""
    found: list[list[int]] = []
    for q in np.argsort(sizes, kind="stable"):
        now = found[-1] if found else []
        if not now or len(now) == batch or (len(now) + 1) * sizes[q] > TOKENS:
            found.append([int(q)])
        else:
            now.append(int(q))
    return [np.array(rows) for rows in found]


def _of_places(logits: Any, own: Any) -> Array:
    """The STATISTICS (5, P) of logits (P, V) for the tokens `own` (P,)."""
    import torch

    parts = []
    for start in range(0, len(own), PLACES):
        z = logits[start : start + PLACES].double()
        ids = own[start : start + PLACES, None]
        every = torch.log_softmax(z, -1)
        p = every.exp()
        surprise = torch.where(p > 0, every, 0.0)
        mean = (p * surprise).sum(-1)
        std = (p * (surprise - mean[:, None]).square()).sum(-1).sqrt()
        mine = z.gather(1, ids)
        rank = (z > mine).sum(-1)
        others = z.scatter(1, ids, -torch.inf).logsumexp(-1)
        parts.append(torch.stack([every.gather(1, ids)[:, 0], mine[:, 0] - others, mean, std, rank.double()]))
    return np.asarray(torch.cat(parts, 1).cpu().numpy())
