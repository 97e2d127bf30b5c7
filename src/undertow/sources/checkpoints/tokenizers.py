"""The tokenizer of a checkpoint's folder, whatever its files, and how its model writes conversations."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.sources.records.conversations import Template
from undertow.storage.files import read_text
from undertow.types import BadInput, MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENS = "tokenizer.json"
SENTENCES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")  # of the library sentencepiece
SLOW = (*SENTENCES, "vocab.txt", "vocab.json", "merges.txt")
CONFIG, JINJA = "tokenizer_config.json", "chat_template.jinja"
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token")
ALL = (TOKENS, *SLOW, CONFIG, JINJA)


def tokenizer_in(folder: Path) -> "Tokenizer":
    """The tokenizer of a folder: its tokenizer.json, or what transformers makes of the files of a slow one.

    No code that lies in the folder is run. BadInput where there is none that can be read, MissingExtra naming the
    library that is needed.
    """
    if (folder / TOKENS).is_file():
        return tokenizer_of(folder / TOKENS)
    found = [name for name in SLOW if (folder / name).is_file()]
    if not found:
        raise BadInput(f"{folder}: no {TOKENS} there, nor the files of a slow tokenizer ({', '.join(SLOW)})")
    return _converted(folder, found[0])


def tokenizer_of(path: Path) -> "Tokenizer":
    """The tokenizer of a tokenizer.json; BadInput where it is none, MissingExtra without the library."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "hf") from error
    text = read_text(path)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exceptions
        raise BadInput(f"{path} is no tokenizer of the tokenizers library: {error}") from error
    return _whole(tokenizer)


def template_in(folder: Path) -> Template | None:
    """The chat template that lies in a folder; None where there is none. It is rendered in a sandbox, never run."""
    config = _config(folder)
    source: Any = config.get("chat_template")
    if (folder / JINJA).is_file():
        source = read_text(folder / JINJA)
    if isinstance(source, list):  # several, by name
        named = {one.get("name"): one.get("template") for one in source if isinstance(one, Mapping)}
        source = named.get("default")
    if not isinstance(source, str):
        return None
    tokens = {name: _content(config.get(name)) for name in SPECIAL}
    return Template(source, {name: token for name, token in tokens.items() if token})


def _converted(folder: Path, name: str) -> "Tokenizer":
    """What transformers makes of slow files; its own fast class or its converter does it."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    if name in SENTENCES:
        try:
            import sentencepiece  # noqa: F401
        except ImportError as error:
            raise BadInput(
                f"{folder} holds a sentencepiece tokenizer ({name}); pip install sentencepiece to convert it, or save "
                f"it once as {TOKENS}: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            ) from error
    from undertow.models.causal_lm import quiet

    try:
        with quiet():
            found = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        backend = found.backend_tokenizer
    except Exception as error:  # converters raise whatever their files make them raise
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(f"{folder}: transformers cannot convert {name} to a {TOKENS} ({said:.160})") from error
    return _whole(backend)


def _whole(tokenizer: "Tokenizer") -> "Tokenizer":
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _config(folder: Path) -> Mapping[str, Any]:
    if not (folder / CONFIG).is_file():
        return {}
    try:
        found = json.loads(read_text(folder / CONFIG))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{folder / CONFIG} is no JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")
