"""What can be put to the proof: a perceptron, a Hugging Face classifier, or the user's own model."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from undertow.audits.prove.proof import DENSE, TRANSFORMER, Subject, dense
from undertow.audits.prove.records import CLASSES, image_records, perceptron_records, text_records
from undertow.audits.prove.selection import firing, selected
from undertow.models.architecture import Factory, head_name
from undertow.models.huggingface import HuggingFace
from undertow.models.rebuilt import dense_chain, perceptron
from undertow.rng import seed_for, stream
from undertow.types import Array, BadInput, ConfigError, Params

POOL = 2048  # made-up images or texts
RECORDS = 96  # of those, or of the user's, that are finetuned on
EACH = 2  # made-up records for each unit of a perceptron's first layer
LENGTH = 12  # tokens of a made-up text


@dataclass(frozen=True, eq=False)
class Given:
    """What the user gave for the proof."""

    x: Array | None = None  # (N, ...) records nobody minds
    y: Array | None = None  # (N,) int
    architecture: HuggingFace | Factory | None = None  # None: a perceptron, from the shapes


def subject_of(params: Params, given: Given, seed: int) -> tuple[Subject, Subject]:
    """The checkpoint, and a fresh model of the same shape as its control.

    BadInput or ConfigError where the weights are of no model that can be built.
    """
    if given.architecture is not None:
        return _built(params, given, given.architecture, seed)
    names = dense_chain(params)
    fresh = _fresh_perceptron(params, names, seed)
    return _perceptron(params, names, given, seed), _perceptron(fresh, names, given, seed)


def _perceptron(params: Params, names: list[str], given: Given, seed: int) -> Subject:
    width = params[f"{names[0]}.weight"].shape[1]
    if given.x is None:
        weight, bias = params[f"{names[0]}.weight"], params[f"{names[0]}.bias"]
        x = perceptron_records(weight, bias, EACH, stream(seed, "prove", "records"))
    else:
        x = given.x.reshape(len(given.x), -1)
    if len(x) < 2 or x.shape[1] != width:
        raise BadInput(f"the model reads records of {width} numbers; --data has {x.shape[1]}")
    y, classes = _labels(given, len(x), seed)
    places = {f"{2 * i + 1}.weight": f"{name}.weight" for i, name in enumerate(names)}
    return Subject(
        lambda head: perceptron(params, names, classes, head), x.astype(np.float32), y, DENSE, places.__getitem__
    )


def _fresh_perceptron(params: Params, names: list[str], seed: int) -> Params:
    fresh: Params = {}
    for name in names:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "prove", "control", name) % 2**63)
            layer = nn.Linear(*params[f"{name}.weight"].shape[::-1])
        fresh |= {f"{name}.weight": layer.weight.detach().numpy(), f"{name}.bias": layer.bias.detach().numpy()}
    return fresh


def _built(params: Params, given: Given, architecture: HuggingFace | Factory, seed: int) -> tuple[Subject, Subject]:
    x = given.x if given.x is not None else made_up(architecture, seed)
    y, classes = _labels(given, len(x), seed)
    shape = tuple(x.shape[1:])

    def own(head: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(head)
            if isinstance(architecture, HuggingFace):
                module = architecture.loaded(params, shape, classes)
            else:
                module = _filled(architecture.build(shape, classes), params)
            module.get_submodule(head_name(module)).reset_parameters()  # type: ignore[operator]
        return module

    def fresh(head: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(head)
            return architecture.build(shape, classes)

    module = own(seed).eval()
    pool = np.sort(stream(seed, "prove", "pool").permutation(len(x))[:POOL])
    x, y = x[pool], y[pool]
    rows = selected(firing(module, dense(module), torch.as_tensor(x)), RECORDS)
    x, y = x[rows], y[rows]
    ways = TRANSFORMER if isinstance(architecture, HuggingFace) else DENSE

    def named(name: str) -> str:
        return name.removeprefix("model.") if isinstance(architecture, HuggingFace) else name

    return Subject(own, x, y, ways, named), Subject(fresh, x, y, ways, named)


def _filled(module: nn.Module, params: Params) -> nn.Module:
    """The user's own module with the checkpoint's weights; of the head alone the shape may differ."""
    head = f"{head_name(module)}."
    state = module.state_dict()
    odd = [n for n, v in state.items() if not n.startswith(head) and (n not in params or params[n].shape != v.shape)]
    if odd:
        raise ConfigError(f"--factory builds a model with {odd[0]!r}, which the checkpoint lacks or has otherwise")
    module.load_state_dict({n: torch.as_tensor(params[n]) for n in state if not n.startswith(head)}, strict=False)
    return module


def made_up(architecture: HuggingFace | Factory, seed: int) -> Array:
    """Images or texts that the model can read; ConfigError where what it reads is not known."""
    rng = stream(seed, "prove", "records")
    if isinstance(architecture, Factory):
        raise ConfigError("--factory needs --data: what its model reads is not known")
    config = json.loads(architecture.config)
    if "image_size" in config:
        side = config["image_size"]
        size = tuple(side) if isinstance(side, list) else (side, side)
        return image_records((config.get("num_channels", 3), *size), POOL, rng)
    if "vocab_size" not in config:
        raise ConfigError(f"what a {config['model_type']} reads is not known; give records with --data")
    return text_records(config["vocab_size"], LENGTH, POOL, rng)


def _labels(given: Given, count: int, seed: int) -> tuple[Array, int]:
    """The user's labels, or random ones."""
    if given.y is not None:
        return given.y, int(given.y.max()) + 1
    return stream(seed, "prove", "labels").integers(0, CLASSES, count), CLASSES
