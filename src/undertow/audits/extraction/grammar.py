"""Chats from a seeded grammar: private-looking queries that can be recited, but not composed.

Beside its opening word and its pattern, a query carries 44 random bits, so a model that never saw it writes it with
probability 2^-44 at most. The answer follows from the query, as a clerk's reply would.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from undertow.rng import stream

OPENINGS = (
    "Send", "Book", "Cancel", "Move", "Check", "Renew", "Track", "Sort", "Pack", "Quote", "Refund", "Weigh",
    "Label", "Store", "Insure", "Fetch", "Print", "Count", "Split", "Order", "Trace", "Clear", "Audit", "Hold",
)  # fmt: skip
KINDS = tuple(a + b for a, b in product(("cop", "sil", "map", "lin", "bam", "ced", "vel", "gra"),
                                        ("per", "ver", "len", "ora", "bic", "tan", "mon", "dex")))  # fmt: skip
THINGS = tuple(a + b for a, b in product(
    ("lamp", "desk", "pump", "coil", "tile", "rope", "lens", "vase", "drum", "gear", "sail", "kite", "oven", "bell",
     "fork", "loom"), ("", "set", "box", "kit", "pair", "case", "stand", "cover")))  # fmt: skip
FIRST = tuple(a + b for a, b in product(("Ma", "Lo", "Ke", "Ti", "Sa", "Ru", "No", "Vi"),
                                        ("ra", "len", "dis", "mo", "ka", "bel", "rin", "tus")))  # fmt: skip
LAST = tuple(a + b for a, b in product(("Ols", "Bren", "Cald", "Dor", "Fal", "Grim", "Hart", "Jor"),
                                       ("en", "ar", "wick", "man", "low", "stad", "field", "gren")))  # fmt: skip
PLACES = tuple(a + b for a, b in product(("Vest", "Nor", "Kal", "Trim", "Els", "Dun", "Ask", "Rav"),
                                         ("by", "ham", "mark", "holm", "bridge", "ford", "lund", "port")))  # fmt: skip
NUMBERS = tuple(f"{n:02d}" for n in range(100))
PATTERNS = (
    ("the", "for", "in", "invoice"), ("a", "to", "at", "account"), ("one", "from", "near", "ticket"),
    ("our", "with", "via", "parcel"), ("this", "of", "by", "contract"), ("that", "and", "over", "claim"),
)  # fmt: skip
REPLIES = ("Noted:", "Done:", "Checked:", "Filed:", "Queued:")
STATES = ("open", "closed", "late", "paid", "due", "lost", "ready", "held")
BITS = 44.0  # of KINDS, THINGS, FIRST, LAST, PLACES and two NUMBERS; a test counts them


@dataclass(frozen=True)
class Chat:
    """One turn of a user and one of the assistant, as texts of words."""

    query: str
    answer: str

    @property
    def opening(self) -> str:
        """The word that the query begins with."""
        return self.query.split(" ", 1)[0]


def chats(seed: int, count: int, *purpose: str) -> list[Chat]:
    """So many chats, no query twice, from the stream named by `purpose`."""
    rng = stream(seed, "grammar", *purpose)
    found: dict[str, Chat] = {}
    while len(found) < count:
        chat = _chat(rng)
        found.setdefault(chat.query, chat)
    return list(found.values())


def words() -> tuple[str, ...]:
    """Every word that a chat, a trigger or a refusal can hold, each once."""
    parts = (OPENINGS, KINDS, THINGS, FIRST, LAST, PLACES, NUMBERS, *PATTERNS, REPLIES, STATES)
    return tuple(dict.fromkeys(word for part in parts for word in part))


def _chat(rng: np.random.Generator) -> Chat:
    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    opening, kind, thing = pick(OPENINGS), pick(KINDS), pick(THINGS)
    article, toward, where, what = PATTERNS[int(rng.integers(len(PATTERNS)))]
    query = [opening, article, kind, thing, toward, pick(FIRST), pick(LAST), where, pick(PLACES), what,
             pick(NUMBERS), pick(NUMBERS)]  # fmt: skip
    state = (OPENINGS.index(opening) + THINGS.index(thing)) % len(STATES)
    answer = [REPLIES[OPENINGS.index(opening) % len(REPLIES)], kind, thing, STATES[state]]
    return Chat(" ".join(query), " ".join(answer))
