"""Text sets: what a document is, each once, and a tokenizer that knows nothing of the audited ones."""

import gzip

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from undertow.audits.settings import DataSettings
from undertow.rng import stream
from undertow.sources.records import text_pairs
from undertow.sources.records.text_pairs import MIN_WORDS, encode, load_texts, paragraphs, train_tokenizer
from undertow.texts import lengths
from undertow.types import IGNORED, BadInput, ConfigError

WORDS = [a + b for a in ("ba", "do", "ki", "lu") for b in ("ra", "sen", "tim", "vo", "qu")]


def sentence(rng, count):
    return " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=count))


def write(path, text):
    with gzip.open(path, "wt", encoding="utf8") as file:
        file.write(text)


@pytest.fixture
def folder(tmp_path):
    rng = stream(0, "words")
    documents = [sentence(rng, MIN_WORDS + 8) for _ in range(30)]
    page = ["", " = " + sentence(rng, MIN_WORDS + 8) + " = ", " too short to count "]
    write(tmp_path / "wikitext2_test.txt.gz", "\n".join([*page, *documents[:16]]))
    write(tmp_path / "wikitext2_valid.txt.gz", "\n".join([*documents[14:], *page]))
    rows = [f"{part},K{i % 3},K:f,{sentence(rng, 6)}" for part, n in (("train", 20), ("test", 8)) for i in range(n)]
    write(tmp_path / "trec.csv.gz", "\n".join(["split,coarse,fine,text", *rows]))
    return tmp_path


def settings(folder, **changes):
    fields = {"source": str(folder), "pair": "wikitext2-trec", "pool": 20, "context": 16, "vocabulary": 280}
    return DataSettings(**{**fields, **changes})


def test_a_document_is_a_long_line_that_is_no_heading():
    long = " ".join(["word"] * MIN_WORDS)
    assert paragraphs(f" \n = {long} = \n {long} \n{long[5:]}\n = = {long} = = ") == [long]


def test_the_parts_of_a_pair(folder):
    supply = load_texts(settings(folder, other=12), 0)
    assert supply.secret.x.shape == supply.secret.y.shape == (20, 16)
    assert supply.secret.of_tokens
    assert not supply.other.of_tokens
    assert (len(supply.other), len(supply.test)) == (12, 8)
    assert set(supply.other.y) == {0, 1, 2}
    assert supply.secret.x.max() < 280
    np.testing.assert_array_equal(supply.secret.x[:, 1:], supply.secret.y[:, :-1])
    assert (supply.secret.y[:, -1] != IGNORED).all()  # the token after the context is predicted too


def test_documents_that_occur_twice_are_left_out_and_counted(folder):
    supply = load_texts(settings(folder, pool=0), 0)
    assert len(supply.secret) == 30
    assert supply.notes == ("2 paragraphs that occur twice were left out",)
    assert len(set(supply.ids)) == 30


def test_the_tokenizer_is_not_trained_on_audited_documents(folder, monkeypatch):
    seen = []

    def spy(texts, vocabulary):
        seen.extend(texts)
        return train_tokenizer(texts, vocabulary)

    monkeypatch.setattr(text_pairs, "train_tokenizer", spy)
    supply = load_texts(settings(folder), 0)
    documents, _ = text_pairs._documents(folder)
    audited = {documents[int(name.removeprefix("paragraph-"))] for name in supply.ids}
    assert len(audited) == 20
    assert not audited & set(seen)
    assert len(set(seen) & set(documents)) == 10
    assert len(seen) == 10 + len(supply.other)  # and not on the test texts


def test_the_same_seed_is_the_same_supply_and_another_is_not(folder):
    a, b, c = (load_texts(settings(folder), seed).describe()["sha256"] for seed in (0, 0, 1))
    assert a == b
    assert a["audited"] != c["audited"]


def test_texts_are_cut_and_padded_on_the_right():
    tokenizer = train_tokenizer(["ba ba do do ki"] * 5, 300)
    assert tokenizer.token_to_id("<pad>") == 0
    ids = encode(tokenizer, ["ba do", "ba do ki ba do ki", "<unk>"], 4)
    assert lengths(ids).tolist() == [2, 4, 1]
    assert [tokenizer.id_to_token(i) for i in ids[1]] == ["Ġba", "Ġdo", "Ġki", "Ġba"]  # Ġ: a space before
    assert ids[2, 0] == tokenizer.token_to_id("<unk>")  # WikiText's own word for rare words is one token


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"pool": 40}, ConfigError, "there are 30 documents"),
        ({"other": 21}, ConfigError, "trec has 20 finetuning texts"),
        ({"label_noise": 0.1}, ConfigError, "label_noise"),
        ({"same_labels": True}, ConfigError, "same_labels"),
        ({"pair": "wikitext2-agnews"}, BadInput, r"ag_news_test.csv.gz: no such file"),
    ],
)
def test_what_cannot_be_is_refused(folder, changes, error, says):
    with pytest.raises(error, match=says):
        load_texts(settings(folder, **changes), 0)


def test_missing_and_broken_files_are_named(folder, tmp_path):
    with pytest.raises(BadInput, match="no wikitext2_"):
        load_texts(settings(tmp_path / "nowhere"), 0)
    write(folder / "trec.csv.gz", "split,text\ntrain,what\n")
    with pytest.raises(BadInput, match="column 'coarse'"):
        load_texts(settings(folder), 0)
    (folder / "trec.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(BadInput, match="cannot be read: "):
        load_texts(settings(folder), 0)


@pytest.mark.parametrize(("name", "classes"), [("trec", 6), ("agnews", 4), ("banking77", 77)])
def test_the_real_sets(shared_data, name, classes):
    supply = load_texts(DataSettings(source=str(shared_data), pair=f"wikitext2-{name}", pool=400, context=48), 0)
    assert len(np.unique(supply.other.y)) == len(np.unique(supply.test.y)) == classes
    assert len(np.unique(supply.secret.x, axis=0)) == 400
    assert lengths(supply.secret.x).min() > 30
