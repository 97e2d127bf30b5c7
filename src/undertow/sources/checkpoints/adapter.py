"""A folder with a LoRA adapter of peft, applied to its base: merged weights, W + scale BA, and nothing that runs."""

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any, TypeVar

from undertow.types import BadInput

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
T = TypeVar("T")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path, config: Mapping[str, Any]) -> str:
    """The folder or hub id of the adapter's base; a relative folder may lie beside the adapter."""
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise BadInput(f"{folder / CONFIG} names no base model (base_model_name_or_path)")
    beside = folder / named
    return str(beside) if not Path(named).is_dir() and beside.is_dir() else named


def applied(folder: Path, config: Mapping[str, Any], adapter: Mapping[str, T], base: Mapping[str, T]) -> dict[str, T]:
    """The base's tensors with the adapter's updates added; BadInput, in one line, for an adapter of another kind."""
    _check_kind(folder, config, adapter)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise BadInput(f"{folder / CONFIG} names no rank and alpha (r = {rank!r}, lora_alpha = {alpha!r})")
    scale = alpha / (sqrt(rank) if config.get("use_rslora") else rank)
    merged = dict(base)
    for name in sorted(n for n in adapter if n.endswith(A)):
        target = _target(folder, name.removeprefix(PREFIX).removesuffix(A) + ".weight", base)
        update: Any = scale * (adapter[name.removesuffix(A) + B] @ adapter[name])  # type: ignore[operator]
        old: Any = merged[target]
        if update.shape != old.shape and update.shape[::-1] == old.shape:
            update = update.T  # transformers' Conv1D holds its weight the other way
        if update.shape != old.shape:
            raise BadInput(
                f"{folder}: the update of {target!r} has shape {tuple(update.shape)}, the base's weight "
                f"{tuple(old.shape)}; give the adapter the base it was trained on"
            )
        merged[target] = old + update
    return merged


def _check_kind(folder: Path, config: Mapping[str, Any], adapter: Mapping[str, Any]) -> None:
    merge = "merge it where you trust it: peft's merge_and_unload().save_pretrained(...)"
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BadInput(f"{folder} holds a {kind} adapter of peft, only LORA is applied here; {merge}")
    odd = [key for key in ("use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "target_parameters")
           if config.get(key)]  # fmt: skip
    odd += [f"bias = {config['bias']!r}"] if config.get("bias", "none") != "none" else []
    if odd:
        raise BadInput(f"{folder} holds a LoRA adapter with {', '.join(odd)}, which is not applied here; {merge}")
    rest = [name for name in adapter if not name.endswith((A, B))]
    if rest:
        raise BadInput(f"{folder}: the adapter also holds {rest[0]!r}, which is not applied here; {merge}")
    lone = [n for n in adapter if n.endswith(A) and n.removesuffix(A) + B not in adapter]
    if lone or not adapter:
        raise BadInput(f"{folder}: the adapter is not whole ({lone[0] if lone else 'it holds no tensors'})")


def _target(folder: Path, name: str, base: Mapping[str, Any]) -> str:
    """The base's tensor of this name; files may leave out the prefix that it has in memory (model., transformer.)."""
    fitting = [own for own in base if own == name or own.endswith(f".{name}") or name.endswith(f".{own}")]
    if len(fitting) != 1:
        found = "several tensors" if fitting else "no tensor"
        raise BadInput(f"{folder}: the base has {found} {name!r}, which the adapter changes; give it its own base")
    return fitting[0]
