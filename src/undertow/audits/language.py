"""What differs where the audited records are texts: a likelihood instead of labels, counts instead of pixels."""

import numpy as np

from undertow.audits.settings import LeakageConfig
from undertow.audits.supply import Supply
from undertow.engine.play import Trace
from undertow.models.transformer import transformer
from undertow.texts import PAD, is_text, token_counts
from undertow.types import Array, ConfigError, Examples


def check_texts(config: LeakageConfig, supply: Supply) -> None:
    """Refuse (ConfigError, MissingExtra) what cannot be: texts without a transformer, or changed like numbers."""
    text, kind = is_text(supply.secret.x), config.model.kind
    if not text and kind == "transformer" and not config.model.factory:
        raise ConfigError(
            "model.kind = 'transformer' reads texts (files of texts, token ids in x, or data.pair = 'wikitext2-...'); "
            "these are numbers"
        )
    if not text:
        return
    labelled = not supply.secret.of_tokens
    if kind != "transformer" and not (labelled and (kind == "huggingface" or config.model.factory)):
        also = ", 'huggingface' or a factory" if labelled else ": they have no labels"
        raise ConfigError(f"{supply.name}: these texts need model.kind = 'transformer'{also}; found {kind!r}")
    numeric = {
        "view_jitter": config.view_jitter,
        "view_flip": config.view_flip,
        **{f"{n}.{k}": getattr(getattr(config, n), k) for n in ("pretrain", "finetune") for k in _OF_NUMBERS},
    }
    for name, value in numeric.items():
        if value:
            raise ConfigError(f"{name} = {value}; token ids are no quantities: set it to 0 (texts vary by view_shift)")
    if config.engine.dtype != "float32":
        raise ConfigError(f"engine.dtype = {config.engine.dtype!r}; a transformer trains in 'float32'")
    if kind == "transformer" and not config.model.factory:
        transformer(config.model.width, config.model.depth, config.data.vocabulary)


_OF_NUMBERS = ("jitter", "shift", "flip")


def blind_features(config: LeakageConfig, records: Examples) -> Array:
    """The records (Q, D) as the blind baseline sees them: their numbers, or the counts of their tokens."""
    if is_text(records.x) and config.model.kind == "transformer" and not config.model.factory:
        return token_counts(records.x, config.data.vocabulary)
    if is_text(records.x):
        _, ids = np.unique(np.concatenate([[PAD], records.x.ravel()]), return_inverse=True)  # those that occur
        return token_counts(ids[1:].reshape(records.x.shape), int(ids.max()) + 1)
    flat: Array = records.x.reshape(len(records), -1)
    return flat


def direct_access(direct: Trace, records: Examples) -> dict[str, Array]:
    """What the pretrained models answer, as the fields of `Evidence`: likelihoods, or logits and their labels."""
    if records.of_tokens:
        return {"pretrained_values": direct.stack("query", "values").mean(2)}
    return {"pretrained_logits": direct.stack("query", "logits"), "pretrained_labels": records.y}


def pretrained_utility(direct: Trace, records: Examples, member: Array, victims: slice) -> dict[str, float]:
    """What pretrained victims are worth on members (V, Q) and on the rest: perplexity of texts, else accuracy.

    The perplexity is exp of the mean over documents of their loss per token (lower is better).
    """
    sides = {"its members": member, "non-members": ~member}
    if records.of_tokens:
        loss = -direct.stack("query", "values")[victims, :, 0]
        perplexity = {who: float(np.exp(loss[side].mean())) for who, side in sides.items()}
        return {f"pretrained model, perplexity on {who}": value for who, value in perplexity.items()}
    hit = direct.stack("query", "logits")[victims, :, 0].argmax(-1) == records.y
    return {f"pretrained model, accuracy on {who}": float(hit[side].mean()) for who, side in sides.items()}
