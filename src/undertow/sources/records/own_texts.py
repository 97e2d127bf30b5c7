"""A user's texts for the membership audits: files of any format in a folder, as the token ids of the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from undertow.audits.settings import DataSettings, ModelSettings
from undertow.sources.records.records_text import TextRecords, text_records
from undertow.sources.records.text_files import holds_texts, rows_of
from undertow.sources.records.tokens import FastTokens, own_tokens, padded
from undertow.types import Array, BadInput, ConfigError

LABEL = "label"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, eq=False)
class Tokenized:
    """The texts of one file or folder."""

    path: Path
    ids: Array  # (N, L) int64, 0 is the pad
    labels: tuple[str, ...]  # empty: none are there, and the next token is what is learnt
    names: tuple[str, ...]
    notes: tuple[str, ...]


def text_files(folder: Path, stages: tuple[str, ...]) -> dict[str, Path]:
    """stage -> the one file or folder of texts of that name; BadInput where there are two."""
    found: dict[str, Path] = {}
    for stage in stages:
        fitting = [p for p in sorted(folder.iterdir()) if p.name.partition(".")[0] == stage and holds_texts(p)]
        if len(fitting) > 1:
            raise BadInput(f"--data {folder} holds {fitting[0].name} and {fitting[1].name}; keep one")
        if fitting:
            found[stage] = fitting[0]
    return found


def tokenized(
    files: Mapping[str, Path], secret: str, needs_label: tuple[str, ...], settings: DataSettings, model: ModelSettings
) -> dict[str, Tokenized]:
    """The texts of every stage as ids of one tokenizer: the model's, else one trained on what is not audited."""
    read = {stage: _read(path, stage in needs_label, settings.field) for stage, path in files.items()}
    if model.kind == "huggingface":
        tokens = _of_checkpoint(Path(model.checkpoint))
    elif model.kind == "transformer":
        known = [text for stage, records in read.items() if stage != secret for text in records.texts]
        tokens = own_tokens(known, settings.vocabulary)  # the audited texts say nothing of themselves in it
    else:
        raise ConfigError(
            f"{next(iter(files.values())).name} holds texts, which model.kind = {model.kind!r} cannot read; "
            "use 'transformer', or 'huggingface' with model.checkpoint"
        )
    found = {}
    for stage, records in read.items():
        ids = padded(tokens.encode(records.texts), settings.context)
        found[stage] = Tokenized(files[stage], ids, records.labels, records.ids, records.notes)
    return found


def _read(path: Path, needs_label: bool, field: str) -> TextRecords:
    rows = rows_of(path, (field, LABEL))
    labelled = bool(rows) and LABEL in rows[0].values
    if needs_label and not labelled:
        has = ", ".join(map(str, rows[0].values)) if rows else "nothing"
        raise BadInput(f"{path}: field {LABEL!r}, the class of each text, is missing; it has {has}")
    return text_records(path, field, label=LABEL if labelled else "")


def _of_checkpoint(folder: Path) -> FastTokens:
    """The tokenizer of a model's folder, its pad brought to 0."""
    from undertow.models.huggingface import huggingface, padding
    from undertow.sources.checkpoints.tokenizers import tokenizer_in

    if not folder.is_dir():
        raise ConfigError(f"model.checkpoint = {str(folder)!r}: texts need a folder here that holds the tokenizer too")
    return FastTokens(tokenizer_in(folder), max(padding(huggingface(str(folder))), 0))
