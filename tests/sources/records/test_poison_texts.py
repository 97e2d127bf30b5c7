"""The texts of a poisoning audit: parts apart, candidates nowhere else, every text with something to predict."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from undertow.audits.poisoning.settings import Candidates
from undertow.sources.records import poison_texts
from undertow.sources.records.tokens import own_tokens
from undertow.texts import lengths, next_tokens
from undertow.types import BadInput, ConfigError

PARTS = ("candidates", "lookalikes", "auxiliary", "public", "held_out")
WORDS = ["river", "stone", "cloud", "ember", "fern", "gravel", "harbour", "island", "juniper", "kettle", "lantern",
         "meadow", "needle", "orchard"]  # fmt: skip


def prose(count):
    """Paragraphs that differ, of 16 words each."""
    return "\n\n".join(
        " ".join(WORDS[(i * (j + 3) + j * j) % len(WORDS)] for j in range(15)) + f" {i}." for i in range(count)
    )


def text_supply(*given):
    return poison_texts.text_supply(*given)[0]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "prose.txt").write_text(prose(300))
    texts = [f"{WORDS[i % 14]} of {WORDS[i % 5]} owes number {i * 37 % 101} to {WORDS[i % 3]}" for i in range(60)]
    (tmp_path / "own.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return Candidates(str(tmp_path / "own.jsonl"), points=20, targets=8, auxiliary=str(tmp_path / "prose.txt"),
                      public=5, context=16, vocabulary=300)  # fmt: skip


def rewrite(data, texts):
    with open(data.source, "w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)


def test_no_row_is_in_two_parts_and_shapes_are_as_asked(data):
    supply = text_supply(data, 0)
    parts = {name: getattr(supply, name) for name in PARTS}
    rows = {name: {row.tobytes() for row in part.x} for name, part in parts.items()}
    for (a, first), (b, second) in combinations(rows.items(), 2):
        assert not first & second, (a, b)
    for name, part in parts.items():
        assert part.x.shape[1] == 16
        assert len(rows[name]) == len(part)
        assert part.x.dtype == np.int64
        assert part.x.max() < supply.classes
        assert (lengths(part.x) >= 2).all()
        np.testing.assert_array_equal(part.y, next_tokens(part.x))
    assert (len(supply.candidates), len(supply.lookalikes), len(supply.public)) == (20, 20, 5)
    assert len(supply.ids) == len(supply.texts) == 20


def test_the_seed_decides_everything(data):
    assert text_supply(data, 0).describe() == text_supply(data, 0).describe()
    a, b = text_supply(data, 0).describe()["sha256"], text_supply(data, 1).describe()["sha256"]
    assert all(a[name] != b[name] for name in a)


def test_more_candidates_keep_the_first(data):
    few, more = text_supply(data, 0), text_supply(replace(data, points=30), 0)
    assert more.ids[:20] == few.ids
    np.testing.assert_array_equal(more.candidates.x[:20], few.candidates.x)


def test_texts_are_what_is_kept(data):
    supply = text_supply(replace(data, context=8), 0)
    full = [json.loads(line)["text"] for line in Path(data.source).read_text().splitlines()]
    cut = lengths(supply.candidates.x) == 8
    assert cut.any()
    assert all(any(whole.startswith(text) for whole in full) for text in supply.texts)
    assert any(text not in full for text in supply.texts)


def test_a_checkpoints_tokens_leave_nothing_to_pretrain_on(data):
    tokens = own_tokens([prose(20)], 280)
    supply = text_supply(replace(data, public=60), 0, tokens)
    assert supply.pretrain is None
    assert supply.classes == tokens.size
    with pytest.raises(BadInput, match="public windows"):
        text_supply(replace(data, public=60), 0)  # of which most is pretrained on


def test_without_public_text_there_is_no_such_part(data):
    assert text_supply(replace(data, public=0), 0).public is None


def test_candidates_in_ordinary_text_are_refused(data):
    inside = prose(300).split("\n\n")[7][:50]
    rewrite(data, [inside, *(f"something else {i} there" for i in range(50))])
    everyone = replace(data, points=50)
    with pytest.raises(BadInput, match=r"1 candidates \(line-1\) are also in prose.txt") as said:
        text_supply(everyone, 0)
    assert "\n" not in str(said.value)


def test_short_texts_are_refused_by_name(data, tmp_path):
    rewrite(data, [f"row {i} is good" for i in range(30)] + ["7"])
    tokens = own_tokens(["7 7 7 7"], 262)
    with pytest.raises(BadInput, match="line-31 has fewer than two tokens"):
        text_supply(data, 0, replace_encode(tokens, "7"))


def replace_encode(tokens, short):
    """As a tokenizer that knows this text as one token."""

    class Short:
        size = tokens.size
        decode = tokens.decode

        def encode(self, texts):
            return [[5] if text == short else ids for text, ids in zip(texts, tokens.encode(texts), strict=True)]

    return Short()


def test_texts_that_begin_alike_are_one(data):
    rewrite(data, [f"row {i // 2} is good and then there is a lot more to say {'a' * (i % 2)}" for i in range(60)])
    supply = text_supply(replace(data, context=12), 0)
    assert any("30 texts begin with the same 12 tokens" in note for note in supply.notes)
    assert len(supply.lookalikes) == 10
    with pytest.raises(BadInput, match="30 texts that differ"):
        text_supply(replace(data, context=12, points=40), 0)
    assert text_supply(replace(data, context=12, points=30), 0).lookalikes is None


def test_what_does_not_fit_is_one_line(data, tmp_path):
    with pytest.raises(BadInput, match=r"data.public = 9999"):
        text_supply(replace(data, public=9999), 0)
    with pytest.raises(ConfigError, match="holds no texts"):
        text_supply(replace(data, source="digits"), 0)
    (tmp_path / "prose.txt").write_text(prose(2))
    with pytest.raises(BadInput, match="more text"):
        text_supply(data, 0)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["pii", "ai4privacy", "presidio"])
def test_the_named_sources(source, shared_data):
    if source == "pii":
        pytest.importorskip("faker")
    supply = text_supply(Candidates(source, folder=str(shared_data), points=240, targets=80, public=100), 0)
    assert len(supply.candidates) == len(supply.lookalikes) == 240
    assert len(supply.pretrain) > 1000
    assert len(supply.held_out) == 256
