"""A `TrainerCallback` for transformers' Trainer and TRL's SFTTrainer: checks the canaries, then the epsilon bound."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from undertow.integrations.audit import CanaryAudit, audit_canaries
from undertow.integrations.canaries import CanaryKey
from undertow.integrations.matching import CanaryMatcher
from undertow.integrations.preflight import Delivered, common_prefix, deliver, fault, model_fault, observe
from undertow.metrics.epsilon import check_number
from undertow.types import IGNORED, Array, AuditError, BadInput, ConfigError, MissingExtra

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtra("transformers", "hf") from error

_ENTRY = "canary_losses_before"  # in the trainer's log history, so in trainer_state.json of every checkpoint


class CanaryCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Scores the canaries of `with_canaries` before and after training; `result` holds the audit afterwards.

    Before the first step what the trainer delivers is compared with the key. A pipeline that cannot learn the canaries
    raises BadInput there; with `strict=False` it is told and trained all the same. While training, the batches that
    reach the model are watched. `tell` is given one line (print by default); the numbers also enter the trainer's log
    history, so trainer_state.json, with the losses before training, which a resumed training goes on with.
    """

    def __init__(
        self, key: CanaryKey | None = None, delta: float = 1e-5, confidence: float = 0.95,
        tell: Callable[[str], object] = print, strict: bool = True,
    ) -> None:  # fmt: skip
        if not isinstance(key, CanaryKey):
            raise ConfigError(
                "CanaryCallback needs the key of its canaries: dataset, key = undertow.integrations.with_canaries("
                "dataset, 128, seed, tokenizer); train on that dataset with callbacks=[CanaryCallback(key)]"
            )
        check_number("delta", delta, 0.0, 1.0, "[)", "1e-5")
        check_number("confidence", confidence, 0.5, 1.0, "[)", "0.95")
        if not callable(tell):
            raise ConfigError(f"tell = {tell!r:.40}: give a function of one line of text, such as print")
        self.key, self.delta, self.confidence, self.tell, self.strict = key, delta, confidence, tell, strict
        self.result: CanaryAudit | None = None
        self._matcher = CanaryMatcher(key.tokens)
        self._entry: dict[str, Any] | None = None
        self._notes: list[str] = []
        self._seen, self._prefix = Delivered(), np.zeros(0, np.int64)
        self._hook: Any = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, train_dataloader: Any = None,
        optimizer: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        del args, control
        self._notes, self._seen = [], Delivered()
        problem = model_fault(model, self.key, optimizer) or self._delivery(train_dataloader)
        if problem and self.strict:
            raise BadInput(f"undertow: {problem} (CanaryCallback(key, strict=False) trains all the same)")
        if problem:
            self._notes.append(f"Before training: {problem}.")
            self.tell(f"undertow: {problem}")
        self._entry = self._begin(state, model)
        if self._hook is not None:  # of a training that broke off
            self._hook.remove()
        self._hook = model.register_forward_pre_hook(self._watch, with_kwargs=True)

    def _delivery(self, loader: Any) -> str | None:
        """What is wrong with the rows of the loader; None where nothing is, or they cannot be read beforehand."""
        dataset, collate = getattr(loader, "dataset", None), getattr(loader, "collate_fn", None)
        if dataset is None or collate is None or not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            self._notes.append("The rows are a stream: they were watched while training, not checked before it.")
            return None
        if hasattr(loader, "__len__") and len(loader) == 0:
            return f"the loader makes no batch of {len(dataset)} rows: the batch is larger than the data (drop_last)"
        with _same_randomness():
            found = deliver(dataset, collate, self.key)
        self._prefix = common_prefix(found)
        return fault(found, self.key)

    def _begin(self, state: Any, model: Any) -> dict[str, Any]:
        """The entry with the losses before training: of the checkpoint where there is one, else of the model now."""
        mark = _mark(self.key)
        history: list[dict[str, Any]] = state.log_history
        for entry in history:
            if entry.get("canary_key") == mark and len(entry.get(_ENTRY, ())) == len(self.key.member):
                self._prefix = np.asarray(entry["canary_prefix"], np.int64)
                self._seen.trained.update(entry["canaries_seen"])
                return entry
        if state.global_step > 0:
            self._notes.append(
                f"Training was resumed at step {state.global_step} from a checkpoint without the canaries' losses, so "
                "they are scored by their loss after training alone."
            )
            losses = np.zeros(len(self.key.member))
        else:
            losses = canary_losses(model, self.key, prefix=self._prefix)
        entry = {"step": state.global_step, "canary_key": mark, _ENTRY: losses.tolist()}
        entry |= {"canary_prefix": self._prefix.tolist(), "canaries_seen": []}
        state.log_history.append(entry)
        return entry

    def _watch(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if module.training:
            batch = kwargs if "input_ids" in kwargs else {"input_ids": args[0]} if args else kwargs
            observe(batch, self.key, self._matcher, self._seen, pieces=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, state
        if self._entry is not None and control.should_save:
            self._entry["canaries_seen"] = sorted(self._seen.trained)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        del args, control
        if self._entry is None:
            return
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        after = canary_losses(model, self.key, prefix=self._prefix)
        notes = (*self._notes, *self._unseen())
        try:
            before = np.asarray(self._entry[_ENTRY])
            self.result = audit_canaries(before, after, self.key, self.delta, self.confidence, notes)
        except AuditError as error:  # the trained model must not be lost over a bound
            self.tell(f"undertow: inconclusive, no bound: {error}")
            return
        bound = self.result.bound
        state.log_history.append(
            {"step": state.global_step, "epsilon_lower": bound.epsilon, "epsilon_delta": bound.delta}
            | {"epsilon_confidence": bound.confidence, "epsilon_bound": bound.name, "canaries": bound.n}
            | {"epsilon_could_show": self.result.ceiling, "epsilon_verdict": self.result.verdict}
        )
        self.tell(self.result.text())

    def _unseen(self) -> list[str]:
        """A sentence where canaries never reached the model with a loss; all processes count together."""
        seen = torch.zeros(len(self.key.member))
        seen[sorted(self._seen.trained)] = 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            seen = seen.to(device)
            torch.distributed.all_reduce(seen)
        members = torch.as_tensor(self.key.member)
        missed = int((seen.cpu()[members] == 0).sum())
        if not missed:
            return []
        return [f"{missed} of {int(members.sum())} canaries never reached the model while it was trained."]


def _mark(key: CanaryKey) -> int:
    """A number that tells keys apart and nothing about the coins."""
    from zlib import crc32

    return crc32(np.ascontiguousarray(key.tokens, np.int64).tobytes())


@contextmanager
def _same_randomness() -> Iterator[None]:
    """Reading rows draws no random number that training would have drawn."""
    numbers, words = np.random.get_state(), random.getstate()  # noqa: NPY002  (what collators of others use)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(words)


@torch.no_grad()
def canary_losses(model: Any, key: CanaryKey, batch: int = 32, prefix: Array | None = None) -> Array:
    """(m,) mean loss of the scored tokens of each canary after `prefix` (k,), in nats; the mode is left as it was."""
    mode, device = model.training, next(model.parameters()).device
    before = np.zeros(0, np.int64) if prefix is None else prefix
    model.eval()
    found = []
    for start in range(0, len(key.tokens), batch):
        part = slice(start, start + batch)
        head = np.tile(before, (len(key.tokens[part]), 1)).astype(np.int64)
        ids = torch.as_tensor(np.hstack([head, key.tokens[part]]), device=device)
        labels = torch.as_tensor(np.hstack([np.full_like(head, IGNORED), key.labels[part]]), device=device)[:, 1:]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        found.append(losses.sum(1) / (labels != IGNORED).sum(1))
    model.train(mode)
    return np.asarray(torch.cat(found).cpu().numpy(), dtype=float)
