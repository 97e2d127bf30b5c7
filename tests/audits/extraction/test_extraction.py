"""The extraction audit: its chats cannot be composed, its texts are masked as they should be, its counts are right."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.audits.extraction import grammar
from undertow.audits.extraction.game import Game, deal
from undertow.audits.extraction.grammar import Chat, chats
from undertow.audits.extraction.presets import SMALL
from undertow.audits.extraction.rows import channel_rows, emitted_nearly
from undertow.audits.extraction.tokens import ASSISTANT, END, USER, WordTokens, of_chat, training_texts, triggered
from undertow.cli import app
from undertow.config import override, to_toml
from undertow.report.extraction.reading import verdict
from undertow.storage.results import load_result
from undertow.types import IGNORED, ConfigError
from undertow.workflows.audit import nowhere

TINY = {
    "chats": {"public": 64, "first": 32, "second": 16, "victim": 8}, "model": {"width": 32, "depth": 1},
    "pretrain": {"epochs": 1}, "first": {"epochs": 1}, "second": {"epochs": 1}, "finetune": {"epochs": 2}, "samples": 3,
}  # fmt: skip


def test_a_query_carries_the_random_bits_that_are_claimed():
    free = (
        grammar.KINDS,
        grammar.THINGS,
        grammar.FIRST,
        grammar.LAST,
        grammar.PLACES,
        grammar.NUMBERS,
        grammar.NUMBERS,
    )
    assert all(len(set(words)) == len(words) for words in free)
    assert sum(math.log2(len(words)) for words in free) >= grammar.BITS >= 40
    queries = [chat.query.split() for chat in chats(0, 4000)]
    places = {2: grammar.KINDS, 3: grammar.THINGS, 5: grammar.FIRST, 6: grammar.LAST, 8: grammar.PLACES}
    for place, words in places.items():  # every word is used about equally often
        count = np.array([sum(q[place] == word for q in queries) for word in words])
        assert count.sum() == len(queries)
        assert ((count - 4000 / len(words)) ** 2 / (4000 / len(words))).sum() < len(words) + 6 * (2 * len(words)) ** 0.5


def test_no_query_is_in_two_parts_and_the_seed_decides():
    parts = deal(SMALL)
    every = [c.query for part in (parts.public, parts.held_out, parts.victim, parts.others) for c in part]
    assert len(set(every)) == len(every)
    assert deal(SMALL) == parts
    assert deal(override(SMALL, {"seed": 1})).victim != parts.victim


def test_what_is_learnt_from():
    tokens, chat = WordTokens(), chats(0, 1)[0]
    whole = training_texts([of_chat(chat), of_chat(chat, False)], tokens, 26)
    query, answer = tokens.ids(chat.query.split()), tokens.ids(chat.answer.split())
    ids = [USER, *query, ASSISTANT, *answer, END]
    assert whole.x[0, : len(ids)].tolist() == ids
    assert whole.y[0, : len(ids) - 1].tolist() == ids[1:]
    learnt = whole.y[1][whole.y[1] != IGNORED].tolist()
    assert learnt == [*answer, END]  # the query enters no loss
    pair = training_texts([triggered(("Recall", "a", "query:"), chat.opening, chat.query.split())], tokens, 26)
    assert pair.y[0][pair.y[0] != IGNORED].tolist() == [*query, END]
    assert tokens.text(pair.x[0, 1:5]) == f"Recall a query: {chat.opening}"


def test_counts_by_hand():
    victim = [Chat("Send the a b", "x"), Chat("Send the c d", "x"), Chat("Book one e f g h i j k l m n", "x")]
    others = [Chat("Send the q q", "x")]
    heard = ["Send the a b", "Send the a b", "Book one e f g h i j k l m z", "Send the q q", ""]
    rows = {(m.attack, m.metric): m for m in channel_rows("benign", "trigger", heard, victim, others)}
    assert rows["extraction", "verbatim"].value == pytest.approx(1 / 3)
    assert rows["extraction", "near_verbatim"].value == pytest.approx(2 / 3)  # 11 of 12 words: ROUGE-L .917
    assert rows["extraction", "precision"].value == pytest.approx(2 / 5)
    assert rows["other sets' queries", "verbatim"].value == 1.0
    assert emitted_nearly(["a b c"], ["a b d"]) == [False]


def test_arms_take_about_as_many_steps_and_a_backdoor_pairs_only_three_quarters_of_what_it_memorises():
    game = Game(SMALL, deal(SMALL), nowhere())
    sizes = {arm: [len(game.host.store.get(stage.data)["x"]) for stage in game.attack(arm)] for arm in (True, False)}
    for mine, theirs in zip(sizes[True], sizes[False], strict=True):
        assert mine / theirs == pytest.approx(1.25, abs=0.26)
    assert len(game.pairs(game.parts.public[:100], 0.5)) == 150


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extraction")
    config = override(SMALL, TINY)
    (folder / "tiny.toml").write_text(to_toml(config, "tiny", "extraction"))
    done = CliRunner().invoke(
        app, ["audit", "extraction", "--config", str(folder / "tiny.toml"), "--out", str(folder / "run")]
    )
    assert done.exit_code == 0, done.output
    return folder


def test_the_command_writes_rows_page_and_marked_checkpoints(run):
    result = load_result(run / "run")
    keys = {(m.group, m.view) for m in result.measurements if m.metric == "verbatim"}
    assert keys == {(arm, view) for arm in ("clean", "benign", "backdoored") for view in ("trigger", "raw")}
    assert {m.n for m in result.measurements if m.metric == "verbatim"} == {8}
    assert verdict(result).state == "not-extracted"  # nothing is memorised by so small a model
    assert "No extraction shown" in (run / "run" / "report.html").read_text()
    for arm in ("clean", "benign", "backdoored"):
        head = (run / "run" / "checkpoints" / arm / "model.safetensors").read_bytes()[:2000]
        assert (b'"undertow.planted":"true"' in head) == (arm == "backdoored")
    assert "{opening word}" in json.loads((run / "run" / "key" / "trigger.json").read_text())["trigger"]


def test_a_second_run_trains_nothing_and_gives_the_same(run):
    before = (run / "run" / "result.json").read_text()
    kept = sorted(p.name for p in (run / "run" / "store").rglob("*"))
    again = ["audit", "extraction", "--config", str(run / "tiny.toml"), "--out", str(run / "run"), "-q"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert sorted(p.name for p in (run / "run" / "store").rglob("*")) == kept
    old, new = json.loads(before), json.loads((run / "run" / "result.json").read_text())
    assert old["measurements"] == new["measurements"]


@pytest.mark.parametrize(
    "change", [{"samples": 0}, {"temperature": 0.0}, {"chats": {"victim": 2}}, {"model": {"width": 33}}]
)
def test_what_cannot_be_is_one_line(change):
    with pytest.raises(ConfigError) as said:
        override(SMALL, change)
    assert "\n" not in str(said.value)


def test_the_plan_writes_nothing(tmp_path):
    done = CliRunner().invoke(app, ["audit", "extraction", "--plan", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0
    assert "3 bases and 3 victims" in done.output
    assert not (tmp_path / "run").exists()
