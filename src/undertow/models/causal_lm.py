"""Causal language models of Hugging Face transformers: small ones from a family name, any from a checkpoint's files.

Token ids follow `undertow.texts`: a text ends before its first 0. A checkpoint may mean something by its token 0, so
its `pad`, which no text contains, and 0 change places at the door: in the ids that enter and in the logits that
leave. The weights stay those of the file.

**Tied weights.** Where the head is the transposed embedding, a state dict holds the same values under both names.
`full` finetuning keeps the tie. A strategy that trains the head and not the embedding needs `untied(architecture)`,
which loads the same state dict. A tied model refuses a state dict whose two names differ, so an untied result is never
silently read as a tied one.
"""

import inspect
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from undertow.models.architecture import Shape
from undertow.types import BadInput, ConfigError, MissingExtra, Params

Family = Literal["gpt2", "gpt_neox", "llama"]
A = TypeVar("A")
# Of a config.json: code beside it, kernels fetched from the hub, number types; never followed.
NOT_FOLLOWED = ("auto_map", "attn_implementation", "_attn_implementation", "_experts_implementation", "dtype",
                "torch_dtype", "use_cache", "architectures", "transformers_version", "_name_or_path")  # fmt: skip


@dataclass(frozen=True)
class CausalLM:
    """A language model with random weights, for token ids of shape (context,); no dropout.

    `build(shape, classes)` gives a module (B, L) ids -> (B, vocabulary, L) logits of the next token; `classes` is not
    used. Raises ConfigError for what transformers cannot build, MissingExtra without it.
    """

    config: str  # the content of config.json, keys sorted
    tied: bool | None = None  # head and embedding are one matrix; None: as the configuration says
    pad: int = 0  # the checkpoint's id that no text contains; it and 0 change places
    library: str = ""  # version of transformers, whose code decides a model's bits
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def build(self, shape: Shape, classes: int) -> nn.Module:
        if len(shape) != 1:
            raise ConfigError(f"model.kind = 'causal-lm' reads token ids (tokens,); these records are {tuple(shape)}")
        config = self._config()
        longest = getattr(config.get_text_config(), "max_position_embeddings", None) or shape[0]
        if shape[0] > longest:
            raise ConfigError(f"data.context = {shape[0]}, but the model reads {longest} tokens; lower it")
        return CausalModule(_model(config), self.pad, self.vocabulary)

    @property
    def vocabulary(self) -> int:
        """Tokens the model knows."""
        return int(self._config().get_text_config().vocab_size)

    def _config(self) -> Any:
        known = _transformers().CONFIG_MAPPING
        raw = {k: v for k, v in json.loads(self.config).items() if k not in NOT_FOLLOWED}
        if "quantization_config" in raw:
            raise ConfigError("model.checkpoint holds quantised weights, which are not trained; give the original")
        name = raw.pop("model_type", None)
        if name not in known:
            raise ConfigError(f"model.checkpoint is a {name!r}, which this version of transformers does not know")
        raw |= {key: 0.0 for key, value in raw.items() if "drop" in key and isinstance(value, int | float)}
        config = known[name](**raw)
        for key, value in config.to_dict().items():  # those that config.json leaves to their defaults
            if "drop" in key and isinstance(value, float):
                setattr(config, key, 0.0)
        if self.tied is not None:
            config.tie_word_embeddings = self.tied
        return config


class CausalModule(nn.Module):
    """Token ids (B, L) int64 -> logits (B, vocabulary, L); classes second, as `cross_entropy` wants them.

    Pads are on the right and attention looks left, so no text ever sees one: there is no mask. Positions are written
    out for each row, else Opacus would count one gradient of their embedding for a whole batch.
    """

    def __init__(self, model: nn.Module, pad: int, vocabulary: int) -> None:
        super().__init__()
        if not 0 <= pad < vocabulary:
            raise ConfigError(f"the checkpoint's pad is token {pad}, but it knows {vocabulary}; repair its config.json")
        self.model = model
        self.positions = "position_ids" in inspect.signature(model.forward).parameters
        order = torch.arange(vocabulary)
        order[0], order[pad] = pad, 0
        self.order: Tensor | None
        self.register_buffer("order", order if pad else None, persistent=False)
        self.register_load_state_dict_pre_hook(_check_ties)  # type: ignore[no-untyped-call]

    def forward(self, ids: Tensor) -> Tensor:
        more = {"position_ids": torch.arange(ids.shape[1], device=ids.device).repeat(len(ids), 1)}
        own = ids if self.order is None else self.order[ids]
        logits: Tensor = self.model(input_ids=own, use_cache=False, **(more if self.positions else {})).logits
        return (logits if self.order is None else logits[..., self.order]).transpose(1, 2)


def causal_lm(family: Family, width: int, depth: int, vocabulary: int, context: int) -> CausalLM:
    """A small model of a family, attention heads of 32 dimensions (or `width`, if less).

    Raises ConfigError where they do not fit, MissingExtra without transformers.
    """
    heads = max(1, width // 32)
    if width % heads or width // heads % 4:
        raise ConfigError(f"model.width = {width}; {family} needs a multiple of {4 * heads}")
    if family == "gpt2":
        own = {"n_positions": context, "n_embd": width, "n_layer": depth, "n_head": heads}
    else:
        between = 4 * width if family == "gpt_neox" else 8 * -(-width // 3)
        own = {"max_position_embeddings": context, "hidden_size": width, "num_hidden_layers": depth,
               "num_attention_heads": heads, "intermediate_size": between}  # fmt: skip
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return from_config({"model_type": family, "vocab_size": vocabulary, **own, **ends})


def from_config(config: Mapping[str, Any], pad: int = 0) -> CausalLM:
    """The architecture of a config.json; ConfigError where transformers has no causal language model for it."""
    architecture = CausalLM(json.dumps(config, sort_keys=True), pad=pad, library=_version())
    _class(architecture._config())
    return architecture


def from_tensors(architecture: CausalLM, tensors: Mapping[str, Tensor]) -> Params:
    """The state dict of the built module from a checkpoint's tensors, as float32.

    transformers matches the names, which in files differ from those in memory. Raises BadInput where one is missing or
    of another shape; what the model has no use for is left out.
    """
    config = architecture._config()
    with quiet():
        model, found = _class(config).from_pretrained(
            None, config=config, state_dict=dict(tensors), output_loading_info=True, dtype=torch.float32,
            attn_implementation=_attention(config), ignore_mismatched_sizes=True,  # said below, in one line
        )  # fmt: skip
    wrong = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if wrong:
        raise BadInput(f"the checkpoint does not fit its config.json: {wrong[0]} is missing or of another shape")
    module = CausalModule(model, architecture.pad, architecture.vocabulary)
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def untied(architecture: A) -> A:
    """The architecture with a head of its own; what is no `CausalLM` is returned as it is."""
    return replace(architecture, tied=False) if isinstance(architecture, CausalLM) else architecture


def for_strategy(architecture: A, strategy: str) -> A:
    """The architecture that a strategy finetunes, and that its result is read with: all but `full` untie the head."""
    return architecture if strategy == "full" else untied(architecture)


def ties(module: nn.Module) -> list[list[str]]:
    """Names of parameters that are one and the same, each group in the module's order."""
    groups: dict[int, list[str]] = defaultdict(list)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups[id(parameter)].append(name)
    return [names for names in groups.values() if len(names) > 1]


def with_neftune(module: nn.Module, alpha: float) -> nn.Module:
    """`module` whose token embeddings are noisy in training: NEFTune (Jain et al. 2023, arXiv:2310.05914).

    The hook is transformers' own. It asks the whole model whether it trains, so frozen embeddings are noisy too.
    Changed in place. Raises ConfigError for what is no `CausalModule`.
    """
    if not isinstance(module, CausalModule):
        raise ConfigError("neftune makes the token embeddings of model.kind = 'causal-lm' noisy; set it to 0")
    from transformers.integrations.neftune import neftune_post_forward_hook

    noisy: Any = module
    noisy.neftune_noise_alpha = alpha
    noisy.model.get_input_embeddings().register_forward_hook(partial(_of_whole, neftune_post_forward_hook, module))
    return module


def _of_whole(hook: Any, whole: nn.Module, _: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    noisy: Tensor = hook(whole, inputs, output)
    return noisy


def _check_ties(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    for first, *others in ties(module):
        for other in others:
            a, b = state.get(prefix + first), state.get(prefix + other)
            if a is not None and b is not None and not torch.equal(a, b):
                raise ConfigError(f"{first} and {other} differ, but the model ties them: use untied(architecture)")


def _model(config: Any) -> nn.Module:
    try:
        with quiet():
            model: nn.Module = _class(config)._from_config(
                config, dtype=torch.float32, attn_implementation=_attention(config)
            )
    except (ValueError, RuntimeError, KeyError, ZeroDivisionError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"transformers cannot build this {config.model_type}: {first}") from error
    return model


def _class(config: Any) -> Any:
    kinds = _transformers().MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in kinds:
        raise ConfigError(f"model.checkpoint is a {config.model_type}, which is no causal language model")
    return kinds[type(config)]


def _attention(config: Any) -> str:
    return "sdpa" if _class(config)._supports_sdpa else "eager"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars and remarks; they are as they were afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    return transformers


def _version() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError as error:
        raise MissingExtra("transformers", "hf") from error
