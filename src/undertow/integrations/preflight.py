"""Before the first step: does the trainer deliver the canaries of the key, whole, once each, and trained on?

Every row of the training set that holds a piece of a canary goes through the trainer's own collator, alone; what comes
out is compared with the key. Nothing here imports torch: batches are read as arrays.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from undertow.integrations.canaries import CanaryKey
from undertow.integrations.matching import CanaryMatcher, rows_of
from undertow.types import IGNORED, Array

_TRAINED = 0.5  # share of a canary's scored tokens that must carry a loss


@dataclass
class Delivered:
    """What came out of the collator."""

    rows: int = 0  # of the training set
    read: int = 0  # rows whose token ids could be read
    columns: set[str] = field(default_factory=set)  # of the batches
    whole: Counter[int] = field(default_factory=Counter)  # canary -> times it was there with all its tokens
    trained: Counter[int] = field(default_factory=Counter)  # ... and with a loss on at least half of what is scored
    wrong: int = 0  # times its labels were other tokens than its own
    hidden: int = 0  # times the attention mask left it out
    pieces: set[int] = field(default_factory=set)  # canaries of which a head or tail was seen
    before: Counter[tuple[int, ...]] = field(default_factory=Counter)  # tokens before a canary in its row
    shared: int = 0  # rows with more than one canary


def deliver(dataset: Any, collate: Any, key: CanaryKey) -> Delivered:
    """Reads every row of a map-style dataset, and collates those that may hold a canary."""
    found, matcher = Delivered(), CanaryMatcher(key.tokens)
    for i in range(len(dataset)):
        found.rows += 1
        row = dataset[i]
        if isinstance(row, Mapping) and "input_ids" in row and found.columns:
            ids = rows_of(row["input_ids"])
            if all(not matcher.pieces(part) for part in ids):
                found.read += 1
                continue
        batch = collate([row])
        if isinstance(batch, Mapping) or hasattr(batch, "keys"):
            observe(batch, key, matcher, found)
    return found


def observe(batch: Any, key: CanaryKey, matcher: CanaryMatcher, found: Delivered, *, pieces: bool = True) -> None:
    """Adds what a batch {"input_ids", "labels", "attention_mask"} delivers; `pieces`: cut canaries are counted too."""
    found.columns |= set(batch.keys())
    if batch.get("input_ids") is None:
        return
    rows = rows_of(batch["input_ids"])
    labels, masks = (
        [None] * len(rows) if batch.get(name) is None else rows_of(batch[name]) for name in ("labels", "attention_mask")
    )
    for ids, label, mask in zip(rows, labels, masks, strict=False):
        found.read += 1
        hits = matcher.whole.find(ids)
        if pieces:
            found.pieces |= {i for i, _ in hits} or matcher.pieces(ids)
        found.shared += len(hits) > 1
        for i, at in hits:
            _observe_one(i, at, ids, label, mask, key, found)


def _observe_one(i: int, at: int, ids: Array, label: Any, mask: Any, key: CanaryKey, found: Delivered) -> None:
    found.whole[i] += 1
    span = slice(at, at + key.tokens.shape[1])
    seen = np.ones(ids.size, bool)
    if mask is not None and np.shape(mask) == ids.shape:
        seen = np.asarray(mask) != 0
    found.before[tuple(ids[:at][seen[:at]].tolist())] += 1
    if not seen[span].all():
        found.hidden += 1
        return
    if label is not None and np.shape(label) == ids.shape:
        scored = key.labels[i] != IGNORED
        scored[0] &= at > 0 or not scored[1:].any()  # nothing comes before the first token of a row: no loss there
        given = np.asarray(label)[span][scored]
        right = given == key.labels[i][scored]
        if right.mean() < _TRAINED:
            found.wrong += bool((given[~right] != IGNORED).any())
            return
    found.trained[i] += 1


def fault(found: Delivered, key: CanaryKey) -> str | None:
    """The first thing that is wrong with what is delivered, as a sentence with its remedy; None where all is right."""
    return (
        _no_texts(found)
        or _packed(found, key)
        or _not_there(found, key)
        or _not_trained(found, key)
        or _repeated(found, key)
    )


def _no_texts(found: Delivered) -> str | None:
    if found.rows == 0:
        return "the training set has no rows"
    if any("chosen" in name or "rejected" in name for name in found.columns) or (
        "completion_mask" in found.columns and "labels" not in found.columns
    ):
        return (
            "the collator delivers pairs for a preference loss (such as DPO), which does not train on canaries as texts"
        )
    if "input_ids" not in found.columns:
        return f"the collator delivers no 'input_ids', only {', '.join(sorted(found.columns)) or 'nothing'}"
    return None


def _not_there(found: Delivered, key: CanaryKey) -> str | None:
    members = set(np.flatnonzero(key.member).tolist())
    whole, length = members & set(found.whole), key.tokens.shape[1]
    missing, strangers = len(members) - len(whole), set(found.whole) - members
    if not whole and not strangers and not found.pieces & members:
        return (
            f"none of the {len(members)} canaries of the key is in the training set: give the trainer the dataset that "
            "with_canaries returned with this key, and the tokenizer that the key was made with"
        )
    if strangers:
        return (
            f"{len(strangers)} canaries that the key leaves out are in the training set: key and dataset are of "
            "different calls of with_canaries"
        )
    if missing and found.pieces & members - whole:
        return (
            f"{missing} of {len(members)} canaries are not delivered whole ({length} tokens): "
            "max_length, packing, masking or another tokenizer cuts or changes them"
        )
    if missing:
        return (
            f"{missing} of {len(members)} canaries are missing from the training set: the dataset was split or "
            "filtered after with_canaries; insert canaries last"
        )
    return None


def _not_trained(found: Delivered, key: CanaryKey) -> str | None:
    if found.hidden:
        return "the attention mask hides canaries, so that nothing is learnt from them"
    if found.wrong:
        return "the labels on canaries are not their own tokens: the collator or the rows shift or replace labels"
    bad = sum(found.trained[i] < found.whole[i] for i in found.whole)
    if bad:
        return (
            f"{bad} of {int(key.member.sum())} canaries carry a loss on less than half of their scored tokens (label "
            f"{IGNORED}): the loss is masked on them"
        )
    return None


def _packed(found: Delivered, key: CanaryKey) -> str | None:
    if found.shared:
        return "several canaries share a row: packing makes the row the record; turn packing off"
    if len(found.before) > max(1, int(key.member.sum()) // 4):
        return "canaries stand behind other texts in their rows: packing makes the row the record; turn packing off"
    return None


def _repeated(found: Delivered, key: CanaryKey) -> str | None:
    odd = {n for n in found.whole.values() if n != key.repeats}
    if odd:
        return (
            f"canaries are there {sorted(odd)[0]} times, the key says {key.repeats}: the dataset was repeated or "
            f"deduplicated after with_canaries; give repeats={sorted(odd)[0]} there instead"
        )
    return None


def model_fault(model: Any, key: CanaryKey, optimizer: Any = None) -> str | None:
    """What keeps this model from learning the canaries, as a sentence with its remedy; None where nothing is found."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        return "no parameter of the model is trained (requires_grad is False for all of them)"
    if int(key.tokens.max()) >= _embedding_rows(model):
        return (
            f"the model embeds {_embedding_rows(model)} token ids, the canaries go up to {int(key.tokens.max())}: give "
            "with_canaries the model's vocabulary, or call resize_token_embeddings"
        )
    if any(_off(module) for module in model.modules()):
        return (
            "the adapter is merged into the model or disabled, so that it gets no gradient: unmerge or enable it first"
        )
    if key.kind == "new-token" and _frozen(model.get_input_embeddings()) and _head_frozen(model):
        return (
            "the embeddings are frozen, as under LoRA, so that canaries of new tokens cannot be learnt: use "
            "with_canaries(..., model=base), which samples texts from the base"
        )
    groups = getattr(optimizer, "param_groups", None)
    if groups and not {id(p) for p in trained} & {id(p) for group in groups for p in group["params"]}:
        return "the optimizer holds none of the model's trained parameters: it was made for another model"
    return None


def _embedding_rows(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def _head_frozen(model: Any) -> bool:
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return head is not None and _frozen(head)


def _frozen(module: Any) -> bool:
    return not any(p.requires_grad for p in module.parameters())


def _off(module: Any) -> bool:
    """Whether a layer of peft has its adapters merged or disabled."""
    if not hasattr(module, "active_adapters") or not hasattr(module, "base_layer"):
        return False
    return bool(getattr(module, "merged", False) or getattr(module, "disable_adapters", False))


def common_prefix(found: Delivered) -> Array:
    """Tokens (k,) before every canary in its row, as a start token or a chat's question; none where they differ."""
    if len(found.before) != 1:
        return np.zeros(0, np.int64)
    return np.asarray(next(iter(found.before)), np.int64)
