"""A trained language model from its files: config.json, safetensors and tokenizer.json. Never a pickle, never code.

Heavy libraries are imported inside functions: this room is opened without torch too.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.opening.safe_file import reading_safetensors
from undertow.sources.checkpoints.adapter import CONFIG, applied, base_of, is_adapter
from undertow.sources.checkpoints.adapter import WEIGHTS as ADAPTED
from undertow.sources.checkpoints.tokenizers import ALL, SLOW, TOKENS, template_in, tokenizer_in
from undertow.sources.records.tokens import FastTokens
from undertow.storage.files import read_json
from undertow.types import BadInput, MissingExtra, Params

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from undertow.models.causal_lm import CausalLM

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICTURES = "preprocessor_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def checkpoint(source: str) -> "tuple[CausalLM, Params, FastTokens]":
    """Architecture, weights and tokenizer of a folder or hub id.

    Read are config.json, the safetensors (one file, or shards and their index) and tokenizer.json; code that the
    checkpoint brings is never run, and pickled weights are refused. Raises BadInput or ConfigError in one line.
    """
    from undertow.models.causal_lm import from_config, from_tensors

    folder = folder_of(source)
    whole = _base(folder)
    config = read_json(whole / "config.json")
    tensors = tensors_in(folder)
    voice = folder if any((folder / name).is_file() for name in (TOKENS, *SLOW)) else whole
    tokenizer = tokenizer_in(voice)
    pad = _pad(config, tokenizer)
    architecture, tokens = from_config(config, pad), FastTokens(tokenizer, pad, template_in(voice))
    if tokens.size > architecture.vocabulary:
        raise BadInput(
            f"{voice}: the tokenizer does not match the model: its ids reach {tokens.size - 1}, "
            f"but the model knows {architecture.vocabulary} tokens; give the tokenizer the model was trained with"
        )
    return architecture, from_tensors(architecture, tensors), tokens


def folder_of(source: str) -> Path:
    """The folder itself, or that of a hub id, downloaded; BadInput where it is neither."""
    if Path(source).is_dir():
        return Path(source)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "data") from error
    try:
        return Path(
            snapshot_download(source, allow_patterns=["config.json", "*.safetensors", INDEX, CONFIG, PICTURES, *ALL])
        )
    except Exception as error:  # the client raises its own, its transport's and the system's
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(
            f"model.checkpoint = {source!r} is no folder here and cannot be downloaded ({said}); give a folder with "
            "config.json, model.safetensors and tokenizer.json"
        ) from error


def _base(folder: Path) -> Path:
    """The folder of the model: the base's, where `folder` holds an adapter."""
    return folder_of(base_of(folder, read_json(folder / CONFIG))) if is_adapter(folder) else folder


def tensors_in(folder: Path) -> "dict[str, Tensor]":
    """All tensors of the folder's safetensors; of an adapter those of its base, with the adapter applied."""
    if is_adapter(folder):
        if not (folder / ADAPTED).is_file():
            raise BadInput(f"{folder}: no {ADAPTED} beside {CONFIG}")
        config = read_json(folder / CONFIG)
        return applied(folder, config, safe_tensors(folder / ADAPTED)[0], tensors_in(_base(folder)))
    if (folder / WEIGHTS).is_file():
        return safe_tensors(folder / WEIGHTS)[0]
    if (folder / INDEX).is_file():
        places = read_json(folder / INDEX).get("weight_map", {})
        files = sorted(set(places.values()))
        outside = [f for f in files if Path(f).name != f or not f.endswith(".safetensors")]
        if outside:
            raise BadInput(f"{folder / INDEX} names {outside[0]!r}, which is no safetensors file of its folder")
        return {name: value for file in files for name, value in safe_tensors(folder / file)[0].items()}
    pickled = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
    if pickled:
        raise BadInput(
            f"{folder} holds its weights only as {pickled[0]}, a pickle, which can run code when read; convert it "
            "to safetensors where you trust it (transformers: save_pretrained)"
        )
    raise BadInput(f"{folder}: no {WEIGHTS} there; a checkpoint is config.json, {WEIGHTS} and {TOKENS}")


def safe_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Tensors and metadata of one file; floating ones as float32, which is what is trained."""
    try:
        from torch import float32, from_numpy
    except ImportError as error:
        raise MissingExtra("torch", "train") from error
    with reading_safetensors(path) as (tensors, said):
        found = {name: from_numpy(tensor.whole()) for name, tensor in tensors.items()}
    return {n: v.to(float32) if v.is_floating_point() else v for n, v in found.items()}, said


def _pad(config: Mapping[str, Any], tokenizer: "Tokenizer") -> int:
    """The id that no text contains: the pad, else the end of text, but not one that the tokenizer puts first."""
    first = tokenizer.encode("a").ids[:1]
    for found in _whole(config.get(name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")):
        if [found] != first:
            return found
    raise BadInput("the checkpoint's config.json names no pad_token_id or eos_token_id; set one that no text contains")


def _whole(values: Iterable[Any]) -> list[int]:
    """Of each value the whole number it is, or the first of its list."""
    firsts = (v[0] if isinstance(v, list) and v else v for v in values)
    return [int(v) for v in firsts if isinstance(v, int) and v >= 0]
