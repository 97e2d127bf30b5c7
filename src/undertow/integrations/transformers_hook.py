"""A `TrainerCallback` for transformers' Trainer and TRL's SFTTrainer: the epsilon bound when training ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from undertow.integrations.canaries import CanaryAudit, CanaryKey, audit_canaries
from undertow.types import IGNORED, Array, MissingExtra

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtra("transformers", "hf") from error


class CanaryCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Scores the canaries of `with_canaries` before and after training; `result` holds the audit afterwards.

    `tell` is given its one line (print by default); the numbers also enter the trainer's log history, so
    trainer_state.json. The trainer must see the dataset that came with `key`, without packing.
    """

    def __init__(
        self, key: CanaryKey, delta: float = 1e-5, confidence: float = 0.95, tell: Callable[[str], object] = print
    ) -> None:
        self.key, self.delta, self.confidence, self.tell = key, delta, confidence, tell
        self.result: CanaryAudit | None = None
        self._before: Array | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        del args, state, control
        self._before = canary_losses(model, self.key)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        del args, control
        if self._before is None:
            return
        after = canary_losses(model, self.key)
        self.result = audit_canaries(self._before, after, self.key, self.delta, self.confidence)
        bound = self.result.bound
        state.log_history.append(
            {"step": state.global_step, "epsilon_lower": bound.epsilon, "epsilon_delta": bound.delta}
            | {"epsilon_confidence": bound.confidence, "epsilon_bound": bound.name, "canaries": bound.n}
        )
        self.tell(self.result.text())


@torch.no_grad()
def canary_losses(model: Any, key: CanaryKey, batch: int = 32) -> Array:
    """(m,) mean loss of the scored tokens of each canary, in nats; the model is left in the mode it was in."""
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    found = []
    for start in range(0, len(key.tokens), batch):
        ids = torch.as_tensor(key.tokens[start : start + batch], device=device)
        labels = torch.as_tensor(key.labels[start : start + batch], device=device)[:, 1:]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        found.append(losses.sum(1) / (labels != IGNORED).sum(1))
    model.train(mode)
    return np.asarray(torch.cat(found).cpu().numpy(), dtype=float)
