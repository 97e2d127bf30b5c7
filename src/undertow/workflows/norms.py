"""Norms that cleaning edited, fitted to what they gave out before: needs torch, transformers and the config.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from undertow.scanner.clean import Change
from undertow.scanner.stream import NORM
from undertow.types import Array, BadInput, ConfigError, Params

if TYPE_CHECKING:
    from torch import nn

    from undertow.training.norms import Fitted

WRAPPED = "model."  # in front of a tensor's name, in the module that is built
RECORDS = 192  # on which norms are fitted
LARGEST = 1_000_000_000  # weights, which are in memory several times in float64
CONTRASTS = (1.0, 0.5, 0.25, 0.125)  # of made-up images: where strong ones all fire traps, faint ones do not
NEEDS = "fitting them anew needs"


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights with norms fitted anew, or why they are not."""

    params: Params
    changes: tuple[Change, ...] = ()
    error: float = 0.0  # the largest root mean square that a fit leaves, in deviations of what the norm gave out
    why_not: str = ""


def edited_norms(params: Params, before: Params) -> list[str]:
    """Norms whose gain or shift is not as it was, as tensors are named, without ".weight"."""
    gains = [name for name, one in params.items() if one.ndim == 1 and name.endswith(".weight")]
    norms = [stem for stem in (name.removesuffix(".weight") for name in gains) if NORM.search(stem)]
    both = [stem for stem in norms if f"{stem}.bias" in params]
    return [s for s in both if any((params[f"{s}.{k}"] != before[f"{s}.{k}"]).any() for k in ("weight", "bias"))]


def fit(
    params: Params, before: Params, config: Mapping[str, object] | None, folder: Path, data: Path | None, seed: int
) -> Fit:
    """Fit every edited norm of `params` to what it gave out in `before`, on made-up records or the user's `data`.

    BadInput for `data` that cannot be read.
    """
    names = edited_norms(params, before)
    lacks = [one for one in ("torch", "transformers") if find_spec(one) is None]
    if not names or lacks or config is None or "model_type" not in config:
        lacks = lacks or ["the config.json beside the weights"]
        return Fit(params, why_not=f"{NEEDS} {' and '.join(lacks)}" if names else "")
    if sum(one.size for one in params.values()) > LARGEST:
        return Fit(params, why_not=f"only models of up to {LARGEST:,} weights are fitted anew")
    try:
        done = _fitted(params, before, config, _records(config, data, folder, seed), names)
    except (BadInput, ConfigError) as error:
        if data is not None:
            raise
        return Fit(params, why_not=f"{NEEDS} another model: {error}")
    if not done:
        return Fit(params, why_not="none of them is a LayerNorm that the model's output depends on, under its name")
    new = {}
    for one in done:
        stem = one.name.removeprefix(WRAPPED)
        for kind, value in (("weight", one.gain), ("bias", one.shift)):
            new[f"{stem}.{kind}"] = value.numpy().astype(params[f"{stem}.{kind}"].dtype)
    changes = tuple(Change(name, "fitted", tuple(range(len(value)))) for name, value in new.items())
    return Fit({**params, **new}, changes, max((one.error for one in done), default=0.0))


def _fitted(
    params: Params, before: Params, config: Mapping[str, object], x: Array, names: Sequence[str]
) -> "list[Fitted]":
    import torch

    from undertow.training.norms import fit_norms, layer_norms

    module, reference = (_model(weights, config, x) for weights in (params, before))
    known = set(layer_norms(module))
    inputs = torch.from_numpy(x)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    return fit_norms(module, reference, inputs, [WRAPPED + name for name in names if WRAPPED + name in known])


def _model(params: Params, config: Mapping[str, object], x: Array) -> "nn.Module":
    import torch

    from undertow.models.huggingface import described

    floats = {n: v.astype("f4") if v.dtype.kind == "f" else v for n, v in params.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of a head, where the checkpoint has none that fits
        return described(config).loaded(floats, tuple(x.shape[1:]), 2).double().eval()


def _records(config: Mapping[str, object], data: Path | None, folder: Path, seed: int) -> Array:
    from undertow.audits.prove.subject import made_up
    from undertow.models.huggingface import described
    from undertow.workflows.prove import records

    if data is None:
        x = made_up(described(config), seed)
        if x.dtype.kind != "f":
            return x[:RECORDS]
        return np.concatenate([x[: RECORDS // len(CONTRASTS)] * np.float32(contrast) for contrast in CONTRASTS])
    x, _ = records(data, folder)
    side = config.get("image_size")
    size = tuple(side) if isinstance(side, list) else (side, side)
    if side is not None and x.shape[2:] != size:
        raise BadInput(f"--data {data}: records are {x.shape[1:]}, and the model reads images of {size}")
    return x[:RECORDS]
