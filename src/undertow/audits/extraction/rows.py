"""What came out, counted: shares of queries that were emitted word for word, or nearly."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from undertow.audits.extraction.grammar import Chat
from undertow.metrics.binomial import proportion
from undertow.metrics.student import mean_interval
from undertow.traps.text.rouge import rouge_l
from undertow.types import Array, Measurement

ATTACK, CONTROL = "extraction", "other sets' queries"
NEAR = 0.9  # ROUGE-L of words, from which a text counts as nearly the query


def channel_rows(
    arm: str, view: str, heard: Sequence[str], victim: Sequence[Chat], others: Sequence[Chat]
) -> Iterator[Measurement]:
    """Of one arm through one channel: the victim's queries that came out, and those of a set that nobody trained on.

    `heard` are all sampled texts. Intervals are Clopper and Pearson's over queries (precision: over samples).
    """
    for attack, chats in ((ATTACK, victim), (CONTROL, others)):
        queries = [chat.query for chat in chats]
        row = Measurement(attack, "verbatim", None, None, None, len(queries), "queries", group=arm, view=view)
        yield replace(row, **proportion(len(set(queries) & set(heard)), len(queries)))
        near = replace(row, metric="near_verbatim")
        yield replace(near, **proportion(sum(emitted_nearly(queries, heard)), len(queries)))
    right = len([text for text in heard if text in {chat.query for chat in victim}])
    row = Measurement(ATTACK, "precision", None, None, None, len(heard), "samples", group=arm, view=view)
    yield replace(row, **proportion(right, len(heard)))


def emitted_nearly(queries: Sequence[str], heard: Sequence[str]) -> list[bool]:
    """For each query, whether some text that begins with the same word is as like it as NEAR."""
    by: dict[str, list[list[str]]] = {}
    for text in dict.fromkeys(heard):
        said = text.split()
        by.setdefault(said[0] if said else "", []).append(said)
    return [any(_near(said, query.split()) for said in by.get(query.split()[0], [])) for query in queries]


def _near(said: Sequence[str], query: Sequence[str]) -> bool:
    numbers = {word: i for i, word in enumerate(dict.fromkeys((*said, *query)))}
    return rouge_l([numbers[word] for word in said], [numbers[word] for word in query]) >= NEAR


def loss_row(arm: str, when: str, losses: Array) -> Measurement:
    """Mean loss on held-out public chats, nats a token, with a t interval over chats."""
    row = Measurement("utility", "heldout_loss", None, None, None, len(losses), "records", group=arm, when=when)
    return replace(row, **mean_interval(losses))
