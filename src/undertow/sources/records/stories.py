"""The 260 thousand parameter Llama of Karpathy's tinyllamas, with its tokenizer: a trained model that fits a test."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.sources.checkpoints.language import safe_tensors
from undertow.storage.files import read_json
from undertow.texts import lengths
from undertow.types import Array, BadInput, Params

if TYPE_CHECKING:
    from torch import Tensor

    from undertow.models.causal_lm import CausalLM

STORIES = ("stories260k.safetensors", "stories260k_tok512.json")


@dataclass(frozen=True, eq=False)
class StoryTokens:
    """The tokenizer of llama2.c: characters, then the adjacent pair whose union scores best, until none is known."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    begin: int = 1  # also the first token of every text
    bytes_from: int = 3  # tokens of raw bytes, for characters that are no piece

    @property
    def size(self) -> int:
        return len(self.pieces)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        known = {piece: i for i, piece in enumerate(self.pieces) if i >= self.bytes_from + 256}
        # No piece goes on after a space within it, so words merge apart: a text takes time in proportion to its length.
        part = r"(?s) [^ ]*" if not any(" " in piece[1:] for piece in known) else r"(?s).+"
        merged = cache(lambda some: tuple(self._merged(some, known)))
        spaced = [" " + text if text else "" for text in texts]
        return [[self.begin, *(i for some in re.findall(part, text) for i in merged(some))] for text in spaced]

    def decode(self, ids: Array) -> str:
        first, raw = self.bytes_from, b""
        for i in ids[: lengths(ids)]:
            is_byte = first <= i < first + 256
            raw += bytes([i - first]) if is_byte else b"" if i < first else self.pieces[i].encode()
        return raw.decode(errors="replace").removeprefix(" ")

    def _merged(self, text: str, known: Mapping[str, int]) -> list[int]:
        ids: list[int] = []
        for character in text:
            ids += [known[character]] if character in known else [self.bytes_from + b for b in character.encode()]
        while True:
            pairs = [known.get(self._piece(a) + self._piece(b)) for a, b in pairwise(ids)]
            best = max((self.scores[p], -i) for i, p in enumerate(pairs) if p is not None) if any(pairs) else None
            if best is None:
                return ids
            at = -best[1]
            ids[at : at + 2] = [pairs[at]]  # type: ignore[list-item]

    def _piece(self, token: int) -> str:
        return "\0" if token < self.bytes_from + 256 else self.pieces[token]  # a raw byte joins nothing


def stories260k(source: str) -> "tuple[CausalLM, Params, StoryTokens]":
    """The 260 thousand parameter Llama of Karpathy's tinyllamas, from the folder `source` or its folder `weights`.

    Its queries and keys are turned in neighbouring pairs; transformers turns the first half with the second, so the
    rows of both matrices are put in that order. Raises BadInput where a file is missing.
    """
    from undertow.models.causal_lm import from_config, from_tensors

    folder = next((f for f in (Path(source), Path(source) / "weights") if (f / STORIES[0]).is_file()), None)
    if folder is None:
        raise BadInput(f"--data {source}: no {STORIES[0]} there, nor in its folder weights")
    tensors, said = safe_tensors(folder / STORIES[0])
    raw = json.loads(said["config"])
    table = read_json(folder / STORIES[1])["tokens"]
    architecture = from_config(_story_config(raw))
    tokens = StoryTokens(tuple(piece for piece, _ in table), tuple(float(score) for _, score in table))
    heads = {"wq": raw["n_heads"], "wk": raw["n_kv_heads"]}
    renamed = {_story_name(n): _halves(v, heads.get(n.split(".")[-2])) for n, v in tensors.items()}
    return architecture, from_tensors(architecture, renamed), tokens


def _story_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "llama", "hidden_size": raw["dim"], "intermediate_size": raw["hidden_dim"],
        "num_hidden_layers": raw["n_layers"], "num_attention_heads": raw["n_heads"],
        "num_key_value_heads": raw["n_kv_heads"], "vocab_size": raw["vocab_size"],
        "max_position_embeddings": raw["max_seq_len"], "rms_norm_eps": raw["norm_eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": raw["rope_theta"]},
        "tie_word_embeddings": raw["tied_output"], "bos_token_id": raw["bos"], "eos_token_id": raw["eos"],
    }  # fmt: skip


_STORY = {
    "tok_embeddings": "embed_tokens", "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj", "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj", "norm": "norm", "output": "lm_head",
}  # fmt: skip


def _story_name(name: str) -> str:
    """transformers' name of a tensor of llama2.c."""
    *layer, inner = name.removesuffix(".weight").split(".", 2) if name.startswith("layers.") else [name[:-7]]
    where = "" if inner == "output" else "model."
    return where + ".".join([*layer, _STORY[inner]]) + ".weight"


def _halves(weight: "Tensor", heads: int | None) -> "Tensor":
    """Rows of each head from pairs (0, 1), (2, 3), ... to two halves (0, 2, ...), (1, 3, ...)."""
    if heads is None:
        return weight
    return weight.view(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape).contiguous()
