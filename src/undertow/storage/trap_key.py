"""The key of planted traps, in a file of its own: who has it can read what finetuning wrote into them."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from undertow.storage.checkpoint_files import read_checkpoint
from undertow.storage.files import write_atomic
from undertow.traps import Domain, MlpTrap
from undertow.types import BadInput

KEY = "undertow.trap"  # metadata: the kind of the trap
SCALARS = "undertow.trap.fields"
PRIVATE = 0o600
KINDS: Mapping[str, type] = {"mlp": MlpTrap}


def write_key(path: Path, trap: Any) -> None:
    """Write the key as safetensors, readable for its owner alone."""
    arrays, scalars = {}, {}
    for name in (f.name for f in fields(trap)):
        value = getattr(trap, name)
        if isinstance(value, np.ndarray):
            arrays[name] = np.ascontiguousarray(value)
        else:
            scalars[name] = vars(value) if is_dataclass(value) else value
    write_atomic(path, save(arrays, {KEY: trap.kind, SCALARS: json.dumps(scalars)}), PRIVATE)


def read_key(path: Path) -> Any:
    """The trap of a key file; BadInput where it is none."""
    arrays, metadata = read_checkpoint(path)
    if metadata.get(KEY) not in KINDS:
        raise BadInput(f"{path} is no key of planted traps; `undertow audit datatrap` writes one into OUT/key")
    try:
        scalars = json.loads(metadata[SCALARS])
        scalars["domain"] = Domain(**scalars["domain"])
        return KINDS[metadata[KEY]](**arrays, **scalars)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: the key is damaged ({error})") from error
