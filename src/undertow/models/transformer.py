"""A small causal language model: GPT-2 of Hugging Face's transformers, from its configuration alone.

One architecture serves both links of the chain. Pretrained, it predicts the next token; finetuned, the same body
(the same parameter names) carries a linear head on the mean state of a text's tokens: the last token's alone says
what comes next, and in a model this small little else.
"""

from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from undertow.models.architecture import Architecture, Shape
from undertow.texts import PAD
from undertow.types import ConfigError, MissingExtra

Objective = Literal["next-token", "classify"]


@dataclass(frozen=True)
class Transformer:
    """GPT-2 blocks with learnt positions and no dropout, for token ids of shape (context,).

    `build(shape, classes)` gives a `LanguageModel` for the objective "next-token" (`classes` is not used: the
    vocabulary is what is predicted), a `TextClassifier` for "classify". Heads have 32 dimensions, or `width` if less.
    """

    width: int = 64
    depth: int = 2
    vocabulary: int = 1024
    objective: Objective = "classify"
    library: str = ""  # version of transformers, whose code decides a model's bits
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def build(self, shape: Shape, classes: int) -> nn.Module:
        if len(shape) != 1:
            raise ConfigError(f"model.kind = 'transformer' reads token ids (tokens,); these records are {tuple(shape)}")
        body = self._body(shape[0])
        return LanguageModel(body) if self.objective == "next-token" else TextClassifier(body, self.width, classes)

    def _body(self, context: int) -> nn.Module:
        try:
            from transformers import GPT2Config, GPT2Model
        except ImportError as error:
            raise MissingExtra("transformers", "hf") from error
        heads = max(1, self.width // 32)
        if self.width % heads:
            raise ConfigError(f"model.width = {self.width}; a transformer needs a multiple of {heads}")
        config = GPT2Config(
            vocab_size=self.vocabulary,
            n_positions=context,
            n_embd=self.width,
            n_layer=self.depth,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
        )
        body: nn.Module = GPT2Model._from_config(config, attn_implementation="sdpa")
        return body


def transformer(width: int, depth: int, vocabulary: int) -> Transformer:
    """A `Transformer` that knows the version of the library behind it; MissingExtra where there is none."""
    try:
        return Transformer(width, depth, vocabulary, library=version("transformers"))
    except PackageNotFoundError as error:
        raise MissingExtra("transformers", "hf") from error


def for_labels(architecture: Architecture, of_tokens: bool) -> Architecture:
    """The architecture as it is trained on labels of tokens (next-token prediction) or of records.

    Raises ConfigError where labels of tokens meet what is no `Transformer`.
    """
    if isinstance(architecture, Transformer):
        return replace(architecture, objective="next-token" if of_tokens else "classify")
    if of_tokens:
        raise ConfigError("next-token prediction needs model.kind = 'transformer'")
    return architecture


class LanguageModel(nn.Module):
    """Logits of the next token after each place, (B, vocabulary, L), by the transposed embedding (tied weights).

    Classes come second, as `cross_entropy` wants them: it takes (B, L) next tokens as they are.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, ids: Tensor) -> Tensor:
        words: Any = self.body.wte
        return linear(hidden(self.body, ids), words.weight).transpose(1, 2)


class TextClassifier(nn.Module):
    """Class logits (B, classes) from the mean state of each text's tokens."""

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        inside = (ids != PAD).cumprod(1)  # a text ends before its first pad
        longest = max(1, int(inside.sum(1).max()))
        states, inside = hidden(self.body, ids[:, :longest]), inside[:, :longest, None]
        total = (states * inside).sum(1)
        logits: Tensor = self.head(total / inside.sum(1).clamp(min=1))
        return logits


def hidden(body: nn.Module, ids: Tensor) -> Tensor:
    """The last layer's states (B, L, width).

    Pads are on the right and attention looks left, so no text ever sees one: there is no mask. Positions are written
    out for each row: by default they would be one row for all, and Opacus would then count one gradient for a batch.
    """
    positions = torch.arange(ids.shape[1], device=ids.device).repeat(len(ids), 1)
    states: Tensor = body(input_ids=ids, position_ids=positions).last_hidden_state
    return states
