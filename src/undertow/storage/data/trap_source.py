"""From the settings of a data-trap audit to its records and, where one is given, its checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from undertow.audits.base import Base
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.datatrap.supply import TrapSupply
from undertow.models.huggingface import HuggingFace, from_tensors, huggingface, without_dropout
from undertow.storage.checkpoints.files import read_checkpoint
from undertow.storage.data.tokens import FastTokens
from undertow.storage.data.trap_data import load_images, load_traps
from undertow.storage.data.trap_texts import load_trap_texts
from undertow.types import BadInput, ConfigError, MissingExtra

TOKENIZER = "tokenizer.json"


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
    if model.kind != "vit":
        return lambda seed: load_traps(data, seed), None
    if not model.checkpoint:
        return lambda seed: load_images(data, seed), None
    base = _base(model.checkpoint, "vit", ())
    side = int(json.loads(_config(base))["image_size"])
    return lambda seed: load_images(data, seed, side), base


def read_tokens(folder: Path) -> FastTokens:
    """The tokenizer of a checkpoint's folder; BadInput where it cannot be read, MissingExtra without tokenizers."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "hf") from error
    if not (folder / TOKENIZER).is_file():
        raise BadInput(f"{folder}: no {TOKENIZER} there")
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises no class of its own
        raise BadInput(f"{folder / TOKENIZER} is no tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return FastTokens(tokenizer)


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
