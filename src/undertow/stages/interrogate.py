"""The last link of the poisoning audit for language models: token statistics of the challenge texts, view by view."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undertow.models.architecture import Architecture, Shape, head_name
from undertow.models.layers import dense_matrices
from undertow.quantise import quantise
from undertow.stages.common import tensor
from undertow.texts import next_tokens
from undertow.token_signals import STATISTICS, keyed_green
from undertow.training.choose import Plan
from undertow.training.task import load_state, number_type, torch_threads
from undertow.types import IGNORED, Array, BadInput, ConfigError, Params, Slot, Store

BITS = {"int8": 8, "int4": 4}
VIEWS = ("exact", *BITS, "watermark")
DELTA = 2.0  # nats; the watermark's, as in the released code of Wen et al. 2024
NUMBERS = 1 << 22  # logits looked at in one go


@dataclass(frozen=True)
class Interrogate:
    """Token statistics of each model on every challenge text, as each view shows them.

    Result, for each view of `views` (of VIEWS): "{view}/log_p", "/scaled", "/mean", "/std" (Q, L) float32, nats, and
    "/rank" (Q, L) int32, as `token_signals.token_statistics` defines them, 0 where nothing is predicted; "inside"
    (Q, L) bool says where something is; "heldout_loss" (H,) is each text's mean cross-entropy over the tokens of
    `held_out` (exact view; absent without). Views `top-5` and `label` are read off `exact`
    (`token_signals.view_signals`).

    int8 and int4 round dense layers, not embeddings, norms or the head (`dense_matrices`). The watermark is keyed by
    `seed` and the last token.
    """

    texts: str  # store key of {"x": (Q, L)} token ids; with {"y"} only those next tokens are looked at
    held_out: str  # store key of {"x", "y"} of texts no model is trained on; "" for none
    architecture: Architecture
    shape: Shape
    views: tuple[str, ...]
    seed: int  # key of the watermark
    plan: Plan
    name: ClassVar[str] = "query"
    version: ClassVar[int] = 1
    classes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        unknown = set(self.views) - set(VIEWS)
        if unknown or not self.views:
            raise ConfigError(f"views = {list(self.views)}; a language model is interrogated by {', '.join(VIEWS)}")

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        asked = store.get(self.texts)
        ids = asked["x"]
        following = asked.get("y", next_tokens(ids))
        held_out = store.get(self.held_out) if self.held_out else None
        with torch_threads(self.plan.threads):
            return [self._ask(state, ids, following, held_out) for state in before]

    @torch.no_grad()
    def _ask(self, state: Params, ids: Array, following: Array, held_out: Params | None) -> Params:
        x, y = tensor(ids, self.plan), tensor(following, self.plan)
        module = self.architecture.build(self.shape, self.classes).to(x.device).eval()
        out: Params = {"inside": following != IGNORED}
        if held_out is not None:
            load_state(module, state, number_type(x))
            out["heldout_loss"] = mean_losses(module, *(tensor(held_out[n], self.plan) for n in ("x", "y")))
        for view in self.views:
            load_state(module, self._served(module, state, view), number_type(x))
            key = self.seed if view == "watermark" else None
            out |= {f"{view}/{name}": values for name, values in statistics(module, x, y, key).items()}
        return out

    def _served(self, module: nn.Module, state: Params, view: str) -> Params:
        """The weights a server of this view holds."""
        if view not in BITS:
            return state
        dense = dense_matrices(module, head_name(module))
        return quantise(
            state, BITS[view], set(state) - set(dense), {name for name, columns in dense.items() if columns}
        )


def statistics(module: nn.Module, x: Tensor, y: Tensor, key: int | None = None) -> Params:
    """The STATISTICS of next tokens y (Q, L) after ids x (Q, L), each (Q, L); `key` is that of a watermark.

    Made beside the model, in float64, a few texts at a time. Raises BadInput for a token outside the vocabulary and
    for a model that has diverged.
    """
    out = {name: np.zeros(x.shape, np.int32 if name == "rank" else np.float32) for name in STATISTICS}
    for rows, logits in _answers(module, x):
        inside = y[rows] != IGNORED
        z, following, last = logits.transpose(1, 2)[inside].double(), y[rows][inside], x[rows][inside]
        if len(following) and int(following.max()) >= z.shape[1]:
            raise BadInput(
                f"tokens reach {int(following.max())} but the model knows {z.shape[1]}; give this model's tokenizer"
            )
        if key is not None:
            green = torch.as_tensor(keyed_green(last.cpu().numpy(), z.shape[1], key), device=z.device)
            z += torch.where(green, DELTA, -DELTA)
        found = of_places(z, following)
        if not all(bool(torch.isfinite(values).all()) for values in found.values()):
            raise BadInput("the model's logits are not finite; it has diverged")
        place = inside.cpu().numpy()
        for name, values in found.items():
            out[name][rows][place] = values.cpu().numpy()
    return out


def of_places(z: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """The STATISTICS (P,) of logits (P, V) for the tokens `ids` (P,), as `token_signals` defines them."""
    own = z.gather(1, ids[:, None])
    log_all = torch.log_softmax(z, 1)
    others = z.scatter(1, ids[:, None], -torch.inf).logsumexp(1)
    p = log_all.exp()
    surprise = torch.where(p > 0, log_all, 0)
    mean = (p * surprise).sum(1, keepdim=True)
    return {
        "log_p": log_all.gather(1, ids[:, None])[:, 0],
        "scaled": own[:, 0] - others,
        "mean": mean[:, 0],
        "std": (p * (surprise - mean).square()).sum(1).sqrt(),
        "rank": (z > own).sum(1),
    }


@torch.no_grad()
def mean_losses(module: nn.Module, x: Tensor, y: Tensor) -> Array:
    """Mean cross-entropy (N,) over the next tokens y (N, L) after ids x (N, L), nats, in the mode the module is in."""
    parts = []
    for rows, logits in _answers(module, x):
        loss = nn.functional.cross_entropy(logits, y[rows], ignore_index=IGNORED, reduction="none").double()
        parts.append(loss.sum(1) / (y[rows] != IGNORED).sum(1).clamp(min=1))
    values: Array = torch.cat(parts).cpu().numpy()
    return values


def _answers(module: nn.Module, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """(rows, logits (b, V, L)) of a few texts at a time; how many follows from the vocabulary."""
    start, size = 0, 1
    while start < len(x):
        rows = slice(start, start + size)
        logits = module(x[rows])
        yield rows, logits
        start, size = start + size, max(1, NUMBERS // logits[0].numel())
