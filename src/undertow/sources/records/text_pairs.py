"""Pairs of text sets: paragraphs of WikiText-2 to pretrain on, a topic or intent set to finetune on.

A **document**, whose membership is the secret, is one paragraph of WikiText-2: one line of its file with at least
`MIN_WORDS` words that is no heading. It is kept as its first `data.context` tokens and the one after, which is only
predicted; what comes later no model sees. Paragraphs that occur twice are dropped, and a note says how many.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from undertow.audits.settings import DataSettings
from undertow.audits.supply import Supply
from undertow.rng import stream
from undertow.storage.files import read_text
from undertow.texts import PAD, next_tokens
from undertow.types import Array, BadInput, ConfigError, Examples, MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MIN_WORDS = 32
DOCUMENTS = "wikitext2_*.txt.gz"
SPECIAL = ("<pad>", "<unk>")  # ids 0 and 1; WikiText writes <unk> for rare words


@dataclass(frozen=True)
class Labelled:
    """A downstream set: its file, the columns of its text (joined by '. ') and of its label."""

    file: str
    text: tuple[str, ...]
    label: str


DOWNSTREAM = {
    "trec": Labelled("trec.csv.gz", ("text",), "coarse"),  # 6 question types; `fine` would be 50
    "agnews": Labelled("ag_news_test.csv.gz", ("title", "description"), "label"),  # 4 topics
    "banking77": Labelled("banking77.csv.gz", ("text",), "intent"),  # 77 intents
}
PAIRS = tuple(f"wikitext2-{name}" for name in DOWNSTREAM)


def load_texts(settings: DataSettings, seed: int) -> Supply:
    """The documents, finetuning and test texts of a pair in `settings.source` (or its folder `text`), as token ids.

    The tokenizer is trained on the finetuning texts and on documents that are not audited, so it says nothing of
    membership. Raises ConfigError for settings that mean nothing for texts, BadInput naming a missing file.
    """
    if settings.label_noise or settings.same_labels or settings.classes:
        raise ConfigError("data.label_noise, same_labels and classes are for classified records; texts have no classes")
    folder = _folder(settings.source, settings.pair)
    documents, dropped = _documents(folder)
    audited, rest = _split(len(documents), settings.pool, seed)
    train, test = _downstream(folder, settings, seed)
    tokenizer = train_tokenizer([*(documents[i] for i in rest), *train.texts], settings.vocabulary)
    ids = encode(tokenizer, [documents[i] for i in audited], settings.context + 1)  # the last is only predicted
    secret = ids[:, :-1]
    return Supply(
        name=settings.pair,
        secret=Examples(secret, next_tokens(secret, ids[:, -1]), "wikitext2"),
        other=Examples(encode(tokenizer, train.texts, settings.context), train.labels, train.name),
        test=Examples(encode(tokenizer, test.texts, settings.context), test.labels, test.name),
        ids=tuple(f"paragraph-{i}" for i in audited),
        notes=(f"{dropped} paragraphs that occur twice were left out",) if dropped else (),
    )


def paragraphs(text: str) -> list[str]:
    """The lines of a WikiText file that are documents, in their order."""
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if len(line.split()) >= MIN_WORDS and not _is_heading(line)]


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> "Tokenizer":
    """Byte-level BPE with at most `vocabulary` tokens; id 0 is the pad. The same texts give the same tokens."""
    try:
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel
        from tokenizers.trainers import BpeTrainer
    except ImportError as error:
        raise MissingExtra("tokenizers", "hf") from error
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: Sequence[str], context: int) -> Array:
    """The first `context` tokens of each text, (N, context) int64, padded on the right."""
    ids = np.full((len(texts), context), PAD, np.int64)
    for row, found in zip(ids, tokenizer.encode_batch(list(texts)), strict=True):
        first = found.ids[:context]
        row[: len(first)] = first
    return ids


@dataclass(frozen=True, eq=False)
class _Texts:
    name: str
    texts: list[str]
    labels: Array  # (N,) int


def _folder(source: str, pair: str) -> Path:
    """Where the files lie: in `source`, or in a folder `text` there."""
    for folder in (Path(source), Path(source) / "text"):
        if any(folder.glob(DOCUMENTS)):
            return folder
    raise BadInput(
        f"--data {source}: no {DOCUMENTS} there; the pair {pair} is read from a folder that holds WikiText-2 "
        f"({DOCUMENTS}) and {DOWNSTREAM[pair.partition('-')[2]].file}"
    )


def _documents(folder: Path) -> tuple[list[str], int]:
    """All documents of the folder's WikiText files, each once, and how many repetitions were dropped."""
    found = [line for file in sorted(folder.glob(DOCUMENTS)) for line in paragraphs(read_text(file))]
    once = list(dict.fromkeys(found))
    if not once:
        raise BadInput(f"{folder}: no line of {DOCUMENTS} has {MIN_WORDS} words")
    return once, len(found) - len(once)


def _is_heading(line: str) -> bool:
    return line.startswith("= ") and line.endswith(" =")


def _split(count: int, pool: int, seed: int) -> tuple[Array, Array]:
    """Random rows that are audited, and the others."""
    pool = pool or count - count % 2
    if pool > count:
        raise ConfigError(f"data.pool = {pool}, but there are {count} documents")
    order = stream(seed, "split").permutation(count)
    return order[:pool], np.sort(order[pool:])


def _downstream(folder: Path, settings: DataSettings, seed: int) -> tuple[_Texts, _Texts]:
    """Finetuning texts (`data.other` of them, 0: all) and test texts; without a split of its own, a fifth is test."""
    name = settings.pair.partition("-")[2]
    kind = DOWNSTREAM[name]
    table = _table(folder / kind.file, (*kind.text, kind.label))
    rows = list({". ".join(row[c] for c in kind.text): row for row in reversed(table)}.items())[::-1]  # each text once
    classes = {label: k for k, label in enumerate(sorted({row[kind.label] for _, row in rows}))}
    order = stream(seed, "downstream").permutation(len(rows))
    shuffled = [rows[i] for i in order]
    if "split" in rows[0][1]:
        parts = [[r for r in shuffled if r[1]["split"] == part] for part in ("train", "test")]
    else:
        parts = [shuffled[len(rows) // 5 :], shuffled[: len(rows) // 5]]
    if settings.other > len(parts[0]):
        raise ConfigError(f"data.other = {settings.other}, but {name} has {len(parts[0])} finetuning texts")
    parts[0] = parts[0][: settings.other or None]
    train, test = (
        _Texts(f"{name} {part}", [text for text, _ in chosen], np.array([classes[r[kind.label]] for _, r in chosen]))
        for part, chosen in zip(("train", "test"), parts, strict=True)
    )
    return train, test


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a gzipped CSV file; BadInput where it or a column is missing."""
    rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    absent = [c for c in columns if not rows or c not in rows[0]]
    if absent:
        raise BadInput(f"{path}: column {absent[0]!r} is missing (or there are no rows); it holds {', '.join(columns)}")
    return rows
