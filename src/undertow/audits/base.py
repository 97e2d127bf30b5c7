"""The checkpoint that an audit of checkpoints is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from undertow.models.architecture import Architecture
from undertow.types import Params


@dataclass(frozen=True, eq=False)
class Base:
    """The checkpoint an audit is about."""

    architecture: Architecture
    params: Params | None = None  # None: it is pretrained here
    files: Mapping[str, str] = field(default_factory=dict)  # text files that go with its weights: name -> content
    metadata: Mapping[str, str] = field(default_factory=dict)  # of its safetensors
    prefix: str = ""  # of the names of its tensors here, which its files do not have
