"""The key of planted traps, in a file of its own: who has it can read what finetuning wrote into them."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from safetensors.numpy import save

from undertow.sources.checkpoints.files import read_checkpoint
from undertow.storage.files import write_atomic
from undertow.traps import BertTrap, Gpt2Trap, LoraTrap, MlpTrap, VitTrap
from undertow.types import Array, BadInput

KEY = "undertow.trap"  # metadata: the kind of the trap
SCALARS = "undertow.trap.fields"
PRIVATE = 0o600
KINDS: Mapping[str, type] = {"mlp": MlpTrap, "lora": LoraTrap, "vit": VitTrap, "bert": BertTrap, "gpt2": Gpt2Trap}


def write_key(path: Path, trap: Any) -> None:
    """Write the key as safetensors, readable for its owner alone."""
    arrays, scalars = _flat(trap, "")
    write_atomic(path, save(arrays, {KEY: trap.kind, SCALARS: json.dumps(scalars)}), PRIVATE)


def read_key(path: Path) -> Any:
    """The trap of a key file; BadInput where it is none."""
    arrays, metadata = read_checkpoint(path)
    if metadata.get(KEY) not in KINDS:
        raise BadInput(f"{path} is no key of planted traps; `undertow audit datatrap` writes one into OUT/key")
    try:
        return _built(KINDS[metadata[KEY]], {**json.loads(metadata[SCALARS]), **arrays}, "")
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: the key is damaged ({error})") from error


def _flat(value: Any, prefix: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the other fields of a dataclass and of those in it, by dotted names."""
    arrays: dict[str, Array] = {}
    scalars: dict[str, Any] = {}
    for name in (f.name for f in fields(value)):
        one = getattr(value, name)
        if is_dataclass(one):
            more, others = _flat(one, f"{prefix}{name}.")
            arrays, scalars = arrays | more, scalars | others
        elif isinstance(one, np.ndarray):
            arrays[prefix + name] = np.ascontiguousarray(one)
        else:
            scalars[prefix + name] = one
    return arrays, scalars


def _built(kind: Any, known: Mapping[str, Any], prefix: str) -> Any:
    """A `kind` of these values, by dotted names; keys of earlier versions may lack fields that have a default."""
    hints, given = get_type_hints(kind), {}
    for name, default in ((f.name, f.default) for f in fields(kind)):
        inner = next((part for part in (hints[name], *get_args(hints[name])) if is_dataclass(part)), None)
        if inner is not None and prefix + name not in known:
            given[name] = _built(inner, known, f"{prefix}{name}.")
        elif prefix + name in known or default is MISSING:
            value = known[prefix + name]
            given[name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)
