"""The text files that make a folder of weights one that transformers reads."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from undertow.models.causal_lm import CausalLM
from undertow.models.clip import BEGIN, END, TEMPLATES, Clip, caption_texts, word_ids
from undertow.sources.checkpoints.clip import Preprocessor
from undertow.sources.records.tokens import FastTokens, Tokens

CONFIG, TOKENS, TOKENS_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
PICTURES = "preprocessor_config.json"
FAST = "PreTrainedTokenizerFast"  # reads tokenizer.json as it is; a family's own class would change it


def lm_files(architecture: CausalLM, tokens: Tokens) -> Mapping[str, str]:
    """Of a language model; none where its tokenizer is not of the tokenizers library."""
    if not isinstance(tokens, FastTokens):
        return {}
    content = json.loads(architecture.config)
    length = next((content[key] for key in ("n_positions", "max_position_embeddings") if key in content), None)
    pad = tokens.tokenizer.id_to_token(tokens.pad)
    said = {"tokenizer_class": FAST, "pad_token": pad, "model_max_length": length}
    if content.get("eos_token_id") is None:
        said["eos_token"] = pad  # what tools put first where a text has no beginning of its own
    return {
        CONFIG: _text(content | {"pad_token_id": tokens.pad}),
        TOKENS: tokens.tokenizer.to_str(),
        TOKENS_CONFIG: _text({key: value for key, value in said.items() if value is not None}),
    }


def clip_files(architecture: Clip, class_names: Sequence[str], look: Preprocessor) -> Mapping[str, str]:
    """Of a CLIP that was made here, whose tokens are words."""
    words = word_ids(caption_texts(class_names, TEMPLATES))
    square = {"height": look.size, "width": look.size}
    pictures = {
        **{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": look.size}, "crop_size": square},
        **{"image_mean": look.mean, "image_std": look.std, "resample": look.resample},
    }
    return {
        CONFIG: _text(json.loads(architecture.config)),
        TOKENS: _word_tokenizer(words),
        TOKENS_CONFIG: _text({"tokenizer_class": FAST, "pad_token": "<end>"}),
        PICTURES: _text(pictures),
    }


def _word_tokenizer(words: Mapping[str, int]) -> str:
    """Lower case, cut into words and marks, between <begin> and <end>; an unknown word is an end."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing

    ends = {"<begin>": BEGIN, "<end>": END}
    tokenizer = Tokenizer(WordLevel({**ends, **words}, unk_token="<end>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    tokenizer.post_processor = TemplateProcessing(single="<begin> $A <end>", special_tokens=list(ends.items()))
    return str(tokenizer.to_str())


def _text(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True)
