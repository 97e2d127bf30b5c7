"""From the settings of a poisoning audit to token ids: candidates and look-alikes, and ordinary text cut in windows.

Ordinary text is shared out by paragraph, so that no two parts hold pieces of one; then each paragraph is cut into
windows of the context's length. A tokenizer of our own is trained on the share to pretrain on, and on nothing else.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from undertow.audits.poisoning.settings import Candidates
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.supply import row_hashes
from undertow.rng import stream
from undertow.sources.records.auxiliary_text import auxiliary_text
from undertow.sources.records.conversations import Template
from undertow.sources.records.pii import pii_records
from undertow.sources.records.records_text import KNOWN, TextRecords, known_records
from undertow.sources.records.records_text import text_records as read_texts
from undertow.sources.records.text_files import WHAT, holds_texts
from undertow.sources.records.tokens import Tokens, own_tokens, padded, tokens_before
from undertow.texts import lengths, next_tokens
from undertow.types import IGNORED, Array, BadInput, ConfigError, Examples

SHARES = {"pretrain": 0.62, "auxiliary": 0.14, "public": 0.14, "held_out": 0.1}  # of the paragraphs
FEWEST_TOKENS = 8  # of a window of ordinary text
HELD_OUT = 256  # windows that utility is measured on; more would cost every model more


def text_supply(
    data: Candidates, seed: int, tokens: Tokens | None = None, like: TextRecords | None = None
) -> tuple[PoisonSupply, Tokens]:
    """The texts of one audit, and the tokenizer that made them.

    `tokens` is the checkpoint's tokenizer; without it one of `data.vocabulary` tokens is trained, and there is text to
    pretrain on (else that share is public). `public` is `data.public` windows of its share; none where that is 0.
    `auxiliary` is its share and the text to pretrain on. `like` are look-alikes of the user's own; otherwise they are
    further texts of the source.
    Raises BadInput for texts shorter than two tokens and for candidates that ordinary text contains, MissingExtra.
    """
    records = text_records(data, seed, template_of(tokens))
    if like is not None:
        records = followed(records, like, data.points)
    ordinary = auxiliary_text(data.auxiliary, data.folder)
    shares = _shared_out(ordinary.texts, seed, trained=tokens is not None)
    tokens = tokens or own_tokens(shares["pretrain"], data.vocabulary)
    ids, rows, repeated = _different(records, tokens, data)
    _refuse_contained(records, rows[: data.points], ordinary)
    parts = _windows(shares, tokens, data.context, ids)
    if len(parts["public"]) < data.public:
        raise BadInput(f"data.public = {data.public}, but {ordinary.name} has {len(parts['public'])} public windows")
    parts["public"] = parts["public"][: data.public]
    parts["held_out"] = parts["held_out"][:HELD_OUT]
    count, answered = data.points, _answered(records, rows, ids, tokens)
    if "pretrain" in parts:  # who pretrained the base holds that text too, and hides the better for it
        parts["auxiliary"] = np.concatenate([parts["auxiliary"], parts["pretrain"]])
    whole = {name: _examples(part, f"{ordinary.name}, {name}") for name, part in parts.items() if len(part)}
    return PoisonSupply(
        name=records.name,
        targets=data.targets,
        candidates=answered.take(np.arange(count)),
        lookalikes=Examples(answered.x[count:], answered.y[count:], f"{records.name}, look-alikes")
        if len(ids) > count
        else None,
        ids=tuple(records.ids[i] for i in rows[:count]),
        texts=tuple(_kept(records.texts[i], ids[n], tokens) for n, i in enumerate(rows[:count])),
        classes=tokens.size,
        embedded=data.source == "pii",
        notes=(*records.notes, *ordinary.notes, *repeated),
        pretrain=whole.get("pretrain"),
        public=whole.get("public"),
        auxiliary=whole["auxiliary"],
        held_out=whole["held_out"],
    ), tokens


def followed(records: TextRecords, like: TextRecords, count: int) -> TextRecords:
    """The first `count` records, and look-alikes of the user's own behind them."""
    return TextRecords(
        records.name,
        (*records.texts[:count], *like.texts),
        (*records.ids[:count], *(f"{like.name}-{name}" for name in like.ids)),
        (*records.notes, *like.notes),
        asked=_asked(records, count) + _asked(like, len(like)) if records.asked or like.asked else (),
    )


def _asked(records: TextRecords, count: int) -> tuple[int, ...]:
    return records.asked[:count] if records.asked else (0,) * len(records.texts[:count])


def template_of(tokens: Tokens | None) -> Template | None:
    """The chat template of a model's tokenizer, where it has one."""
    return getattr(tokens, "template", None)


def text_records(data: Candidates, seed: int, template: Template | None = None) -> TextRecords:
    """The source's texts in a random order: enough for candidates and as many look-alikes, where there are as many."""
    if data.source == "pii":
        return pii_records(2 * data.points, seed)
    if data.source in KNOWN:
        found = known_records(data.source, data.folder)
    elif holds_texts(Path(data.source)):
        found = read_texts(Path(data.source), data.field, template=template)
    else:
        raise ConfigError(f"data.source = {data.source!r} holds no texts; use pii, {', '.join(KNOWN)} or {WHAT}")
    order = stream(seed, "candidates").permutation(len(found))
    texts, ids = tuple(found.texts[i] for i in order), tuple(found.ids[i] for i in order)
    asked = tuple(found.asked[i] for i in order) if found.asked else ()
    return TextRecords(found.name, texts, ids, found.notes, asked=asked)


def _refuse_contained(records: TextRecords, candidates: Sequence[int], ordinary: TextRecords) -> None:
    """BadInput for candidates that ordinary text contains: every model, and the poisoner, would see them."""
    everything = "\n".join(_plain(text) for text in ordinary.texts)
    found = [records.ids[i] for i in candidates if _plain(records.texts[i]) in everything]
    if found:
        names = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise BadInput(
            f"{records.name}: {len(found)} candidates ({names}) are also in {ordinary.name}, which every model sees, "
            "so they are members and non-members at once; remove them or choose another data.auxiliary"
        )


def _shared_out(texts: Sequence[str], seed: int, trained: bool) -> dict[str, list[str]]:
    """Paragraphs of each part, in a random order."""
    order = stream(seed, "ordinary text").permutation(len(texts))
    edges = np.rint(np.cumsum(list(SHARES.values()))[:-1] * len(texts)).astype(int)
    shares = {name: [texts[i] for i in part] for name, part in zip(SHARES, np.split(order, edges), strict=True)}
    if trained:
        shares["public"] += shares.pop("pretrain")
    empty = [name for name, part in shares.items() if not part]
    if empty:
        raise BadInput(f"data.auxiliary has {len(texts)} paragraphs, too few to share out; give more text")
    return shares


def _different(records: TextRecords, tokens: Tokens, data: Candidates) -> tuple[Array, list[int], tuple[str, ...]]:
    """Ids of candidates and look-alikes, no two the same, which records they are, and a note on those left out."""
    ids = padded(tokens.encode(records.texts), data.context)
    short = np.flatnonzero(lengths(ids) < 2)
    if len(short):
        where = records.ids[short[0]]
        raise BadInput(f"{records.name}: {where} has fewer than two tokens, so none to predict; leave it out")
    first: dict[bytes, int] = {}
    for row, key in enumerate(row_hashes(ids)):
        first.setdefault(key, row)
    rows = list(first.values())[: 2 * data.points]
    if len(rows) < data.points:
        raise BadInput(f"{records.name} has {len(rows)} texts that differ in their first {data.context} tokens; lower "
                       f"data.points = {data.points}")  # fmt: skip
    again = len(ids) - len(first)
    said = f"{again} texts begin with the same {data.context} tokens as another and were left out"
    return ids[rows], rows, (said,) if again else ()


def _windows(shares: dict[str, list[str]], tokens: Tokens, context: int, taken: Array) -> dict[str, Array]:
    """Windows (n, context) of each part; one that is in another part already, or among the candidates, is dropped."""
    seen = set(row_hashes(taken))
    out = {}
    for name in sorted(shares, key=list(reversed(SHARES)).index):  # pretraining text is the most, so it yields
        pieces = [row[i : i + context] for row in tokens.encode(shares[name]) for i in range(0, len(row), context)]
        ids = padded([p for p in pieces if len(p) >= min(FEWEST_TOKENS, context)], context)
        fresh = {key: n for n, key in enumerate(row_hashes(ids)) if key not in seen} if len(ids) else {}
        if not fresh:
            raise BadInput(f"data.auxiliary leaves no text for the part {name!r}; give more text")
        seen.update(fresh)
        out[name] = ids[sorted(fresh.values())]
    return out


def _examples(ids: Array, name: str) -> Examples:
    return Examples(ids, next_tokens(ids), name)


def _answered(records: TextRecords, rows: Sequence[int], ids: Array, tokens: Tokens) -> Examples:
    """The texts with their next tokens, those that are asked and not learnt left out of the loss."""
    y = next_tokens(ids)
    if records.asked:
        texts, asked = [records.texts[i] for i in rows], [records.asked[i] for i in rows]
        before = np.array(tokens_before(tokens, texts, asked))
        y = np.where(np.arange(1, y.shape[1] + 1) < before[:, None], IGNORED, y)
    silent = np.flatnonzero((y == IGNORED).all(1))
    if len(silent):
        raise BadInput(
            f"{records.name}: the answer of {records.ids[rows[silent[0]]]} begins after the {ids.shape[1]} tokens that "
            "are kept, so nothing of it is learnt; raise data.context"
        )
    return Examples(ids, y, records.name)


def _kept(text: str, ids: Array, tokens: Tokens) -> str:
    """The text, cut where its ids are."""
    return tokens.decode(ids) if lengths(ids) == len(ids) else text


def _plain(text: str) -> str:
    return " ".join(text.split())
