"""From the settings of a data-trap audit to its records and, where one is given, its checkpoint."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from undertow.audits.base import Base
from undertow.audits.datatrap.game import HEAD
from undertow.audits.datatrap.kit_gpt2 import exchanged
from undertow.audits.datatrap.settings import DataTrapConfig, TrapData, TrapModel
from undertow.audits.datatrap.supply import TrapSupply
from undertow.models.huggingface import (
    HuggingFace,
    described,
    from_tensors,
    huggingface,
    padding,
    without_dropout,
)
from undertow.sources.checkpoints.files import read_checkpoint
from undertow.sources.checkpoints.tokenizers import tokenizer_in
from undertow.sources.records.tokens import FastTokens, own_tokens
from undertow.sources.records.trap_data import load_images, load_traps
from undertow.sources.records.trap_texts import labelled, load_trap_texts
from undertow.texts import PAD
from undertow.types import ConfigError

VOCABULARY = 1000  # tokens of a GPT-2 that is made here


def trap_source(config: DataTrapConfig) -> tuple[Callable[[int], TrapSupply], Base | None]:
    """What gives the records of a seed, and the checkpoint (None: it is made here).

    Raises BadInput, ConfigError or MissingExtra, naming what is missing.
    """
    data, model = config.data, config.model
    if model.kind == "bert":
        if not model.checkpoint:
            raise ConfigError("model.kind = 'bert' needs model.checkpoint in --config, the folder of a BERT")
        tokens = read_tokens(Path(model.checkpoint))
        return lambda seed: load_trap_texts(data, seed, tokens), _base(model.checkpoint, "bert", (data.tokens,))
    if model.kind == "gpt2":
        return _decoder(data, model)
    if model.kind != "vit":
        return lambda seed: load_traps(data, seed), None
    if not model.checkpoint:
        return lambda seed: load_images(data, seed), None
    base = _base(model.checkpoint, "vit", ())
    side = int(json.loads(_config(base))["image_size"])
    return lambda seed: load_images(data, seed, side), base


def _decoder(data: TrapData, model: TrapModel) -> tuple[Callable[[int], TrapSupply], Base]:
    """A GPT-2 that is given with its tokenizer; or a configuration of one, whose tokenizer is trained on the texts.

    The records keep the model's own ids: texts are padded with what it does not look at.
    """
    if model.checkpoint:
        base = _base(model.checkpoint, "gpt2", (data.tokens,))
        pad = padding(HuggingFace(_config(base)))
        tokens = read_tokens(Path(model.checkpoint), pad)
    else:
        pad, tokens = PAD, own_tokens(labelled(data).texts, VOCABULARY)
        base = Base(_small(model, tokens.size, data.tokens))

    def load(seed: int) -> TrapSupply:
        supply = load_trap_texts(data, seed, tokens)
        parts = {part: getattr(supply, part) for part in ("auxiliary", "victim", "test")}
        return replace(supply, **{name: replace(x, x=exchanged(x.x, pad)) for name, x in parts.items()})

    return load, base


def _small(model: TrapModel, vocabulary: int, tokens: int) -> HuggingFace:
    """The GPT-2 that is made here."""
    heads = max(1, model.width // HEAD)
    config = {
        "model_type": "gpt2", "vocab_size": vocabulary, "n_positions": tokens, "n_embd": model.width,
        "n_layer": model.depth, "n_head": heads, "pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    return without_dropout(described(config))


def read_tokens(folder: Path, pad: int = PAD) -> FastTokens:
    """The tokenizer of a checkpoint's folder; BadInput where it cannot be read, MissingExtra without tokenizers."""
    return FastTokens(tokenizer_in(folder), pad)


def _base(folder: str, kind: str, shape: tuple[int, ...]) -> Base:
    """The checkpoint of a folder, its dropout off, with a fresh head."""
    architecture = without_dropout(huggingface(folder))
    config = json.loads(architecture.config)
    if config["model_type"] != kind:
        raise ConfigError(f"model.checkpoint = {folder!r} is a {config['model_type']}, not a {kind}")
    if kind == "vit":
        side = int(config.get("image_size", 224))
        architecture = HuggingFace(json.dumps(config | {"image_size": side}, sort_keys=True))
        shape = (int(config.get("num_channels", 3)), side, side)
    params, _ = read_checkpoint(folder)
    tensors = {name: torch.from_numpy(value) for name, value in params.items()}
    return Base(architecture, from_tensors(architecture, tensors, shape))


def _config(base: Base) -> str:
    assert isinstance(base.architecture, HuggingFace)
    return base.architecture.config
