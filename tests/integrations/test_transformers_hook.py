"""Canaries among the rows of a real Trainer: memorised ones give a bound, a run that learns nothing gives 0."""

import numpy as np
import pytest
from tests.integrations.pipelines import texts, tiny_gpt2, trainer, word_tokenizer, words

from undertow.integrations import audit_canaries, with_canaries
from undertow.types import IGNORED, BadInput, ConfigError

VOCABULARY, LENGTH = 128, 12


def run(folder, dataset, key, lr, **more):
    pytest.importorskip("transformers")
    from undertow.integrations.transformers_hook import CanaryCallback

    said = []
    hook = CanaryCallback(key, tell=said.append)
    training = trainer(folder, tiny_gpt2(positions=LENGTH), dataset, hook, learning_rate=lr, **more)
    training.train()
    return hook, said, training.state.log_history


@pytest.mark.filterwarnings("ignore")
def test_repeated_canaries_are_memorised_and_the_bound_says_so(tmp_path):
    dataset, key = with_canaries(texts(), 120, 1, VOCABULARY, length=LENGTH, repeats=4)
    hook, said, history = run(tmp_path, dataset, key, lr=1e-2)
    assert hook.result.bound.epsilon > 1
    assert hook.result.loss_members > hook.result.loss_others + 0.5
    assert said == [hook.result.text()]
    assert "4 copies" in said[0]
    assert history[-1]["epsilon_lower"] == hook.result.bound.epsilon


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_learns_nothing_shows_nothing(tmp_path):
    dataset, key = with_canaries(texts(), 120, 1, VOCABULARY, length=LENGTH)
    hook, _, _ = run(tmp_path, dataset, key, lr=0.0)
    assert hook.result.bound.epsilon == hook.result.gdp.epsilon == 0
    assert hook.result.verdict == "inconclusive"


def test_scores_without_signal_rarely_give_a_bound():
    """95 % bounds of coins that decide nothing: above 0 in at most 5 % (+ 2 standard errors) of 400 keys."""
    above = np.zeros(2)
    for seed in range(400):
        _, key = with_canaries(texts(1), 64, seed, VOCABULARY, length=4)
        noise = np.random.Generator(np.random.PCG64(seed)).normal(size=64)
        found = audit_canaries(noise, 0 * noise, key)
        above += found.bound.epsilon > 0, found.gdp.epsilon > 0
    assert (above / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)).all()


def test_the_rows_are_all_there_and_members_are_those_of_the_key():
    given = texts()
    dataset, key = with_canaries(given, 40, 3, VOCABULARY, length=LENGTH, repeats=2)
    assert len(dataset) == len(given) + 2 * key.member.sum()
    seen = [tuple(row["input_ids"]) for row in dataset]
    assert all(seen.count(tuple(row["input_ids"])) >= 1 for row in given)
    for tokens, inside in zip(key.tokens, key.member, strict=True):
        assert seen.count(tuple(tokens.tolist())) == 2 * inside
    assert set(dataset[0]) == {"input_ids", "labels"}
    assert 8 < key.member.sum() < 32
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_new_token_canaries_end_in_a_token_of_their_own_and_are_scored_there():
    _, key = with_canaries(texts(), 32, 0, VOCABULARY, kind="new-token", tokens=range(64, 128))
    assert len(set(key.tokens[:, -1])) == 32
    assert key.tokens[:, -1].min() >= 64
    assert (key.labels[:, :-1] == IGNORED).all()
    assert (key.labels[:, -1] == key.tokens[:, -1]).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="needs tokens"):
        with_canaries(texts(), 32, 0, VOCABULARY, kind="new-token")
    with pytest.raises(ConfigError, match="below 128"):
        with_canaries(texts(), 32, 0, VOCABULARY, tokens=[200])
    with pytest.raises(BadInput, match="need the tokenizer"):
        with_canaries([{"text": "hello"}], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="rename a column or tokenise"):
        with_canaries([{"words": "hello"}], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="preference loss"):
        with_canaries([{"prompt": "a", "chosen": "b", "rejected": "c"}], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="value for every token"):
        with_canaries([{"input_ids": [1, 2], "weights": [0.5, 0.5]}], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="no rows"):
        with_canaries([], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="no dataset"):
        with_canaries(3, 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="must be a dictionary"):
        with_canaries(["a text"], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="read once only"):
        with_canaries(iter(texts()), 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="no split 'train' among \\['test'\\]"):
        with_canaries({"test": texts()}, 32, 0, VOCABULARY)
    with pytest.raises(ConfigError, match="give it as model="):
        with_canaries(texts(), 32, 0, VOCABULARY, kind="sampled")
    with pytest.raises(ConfigError, match="not all different"):
        with_canaries(texts(), 32, 0, VOCABULARY, length=2, tokens=[1, 2])
    with pytest.raises(ConfigError, match="or a tokenizer"):
        with_canaries(texts(), 32, 0, 1.5)
    with pytest.raises(ConfigError, match="16 or more"):
        with_canaries(texts(), 4, 0, VOCABULARY)


def test_the_hook_without_a_key_says_where_it_comes_from():
    pytest.importorskip("transformers")
    from undertow.integrations.transformers_hook import CanaryCallback

    for given in ((), (texts(),)):
        with pytest.raises(ConfigError, match="with_canaries") as refusal:
            CanaryCallback(*given)
        assert "\n" not in str(refusal.value)


def test_other_columns_are_filled_with_values_of_other_rows_or_what_is_given():
    rows = [row | {"source": f"s{i}", "score": 0.5, "attention_mask": [1] * 12} for i, row in enumerate(texts())]
    dataset, key = with_canaries(rows, 32, 0, VOCABULARY, length=5, fill={"score": 1.0})
    inside = {tuple(row) for row in key.tokens[key.member].tolist()}
    added = [row for row in dataset if tuple(row["input_ids"]) in inside]
    assert len(added) == key.member.sum()
    assert all(row["attention_mask"] == [1] * 5 and row["score"] == 1.0 for row in added)
    assert all(row["source"] in {f"s{i}" for i in range(24)} for row in added)


def test_texts_are_tokenised_back_to_the_canaries():
    tokenizer = word_tokenizer()
    dataset, key = with_canaries(words(), 32, 0, tokenizer, length=6)
    said = [tuple(tokenizer(row["text"], add_special_tokens=False)["input_ids"]) for row in dataset]
    for tokens, inside in zip(key.tokens, key.member, strict=True):
        assert said.count(tuple(tokens.tolist())) == inside
    assert not set(tokenizer.all_special_ids) & set(key.tokens.ravel().tolist())


def test_chats_and_completions_hold_the_canary_as_the_answer():
    chats = [{"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]}] * 5
    dataset, key = with_canaries(chats, 32, 0, word_tokenizer(), length=6)
    assert sum(row["messages"] != chats[0]["messages"] for row in dataset) == key.member.sum()
    assert all([m["role"] for m in row["messages"]] == ["user", "assistant"] for row in dataset)
    dataset, _ = with_canaries([{"prompt": "w1", "completion": "w2"}], 32, 0, word_tokenizer(), length=6)
    assert all(set(row) == {"prompt", "completion"} and isinstance(row["prompt"], str) for row in dataset)


def test_splits_keep_all_but_the_training_rows():
    dataset, key = with_canaries({"train": texts(), "test": texts()}, 32, 0, VOCABULARY)
    assert len(dataset["train"]) == 24 + key.member.sum()
    assert dataset["test"] == texts()


def test_a_stream_holds_rows_and_canaries_every_time_it_is_read():
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(texts())

    with pytest.raises(ConfigError, match="rows=10_000"):
        with_canaries(Stream(), 32, 0, VOCABULARY)
    dataset, key = with_canaries(Stream(), 32, 0, VOCABULARY, rows=24)
    first, again = list(dataset), list(dataset)
    assert first == again
    assert len(first) == 24 + key.member.sum()
    assert {tuple(row) for row in key.tokens[key.member].tolist()} <= {tuple(row["input_ids"]) for row in first}


def test_hugging_face_datasets_stay_what_they_are():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([row | {"source": "a"} for row in texts()])
    splits, key = with_canaries(datasets.DatasetDict(train=rows, test=rows), 32, 0, VOCABULARY)
    assert isinstance(splits, datasets.DatasetDict)
    assert len(splits["train"]) == 24 + key.member.sum()
    assert splits["train"].features == rows.features
    stream, key = with_canaries(rows.to_iterable_dataset(), 32, 0, VOCABULARY, rows=24)
    assert isinstance(stream, datasets.IterableDataset)
    assert len(list(stream)) == 24 + key.member.sum()


def test_the_kind_is_chosen_by_whether_there_is_a_base():
    assert with_canaries(texts(), 32, 0, VOCABULARY)[1].kind == "random"
    assert with_canaries(texts(), 32, 0, VOCABULARY, tokens=range(64, 128))[1].kind == "random"
    key = with_canaries(texts(), 32, 0, VOCABULARY, tokens=range(64, 128), model=tiny_gpt2())[1]
    assert key.kind == "sampled"
    assert key.tokens.min() >= 64


def test_sampled_canaries_are_likelier_under_the_base_than_random_ones_and_the_same_again():
    """Temperature 2 softens the base's distribution, so its texts still have a lower loss than uniform tokens."""
    pytest.importorskip("transformers")
    from undertow.integrations.transformers_hook import canary_losses

    base = tiny_gpt2()
    for p in base.parameters():
        p.data *= 5  # a model that is sure of something
    sampled, again = (with_canaries(texts(), 128, 3, VOCABULARY, model=base)[1] for _ in range(2))
    uniform = with_canaries(texts(), 128, 3, VOCABULARY)[1]
    np.testing.assert_array_equal(sampled.tokens, again.tokens)
    assert canary_losses(base, sampled).mean() < canary_losses(base, uniform).mean() - 0.2


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_training_keeps_the_losses_before_it(tmp_path):
    """Interrupted after an epoch and resumed: the same losses before training, the same audit as without a break."""
    pytest.importorskip("transformers")
    from undertow.integrations.transformers_hook import CanaryCallback

    dataset, key = with_canaries(texts(), 64, 1, VOCABULARY, length=LENGTH, repeats=4)
    saved = {"save_strategy": "epoch", "num_train_epochs": 3}

    def train(folder, resume=None):
        hook = CanaryCallback(key, tell=lambda line: None)
        training = trainer(folder, tiny_gpt2(), dataset, hook, **saved)
        training.train(resume_from_checkpoint=resume)
        return hook.result, training.state

    whole, state = train(tmp_path / "whole")
    first = sorted((tmp_path / "whole").iterdir(), key=lambda path: int(path.name.split("-")[1]))[0]
    resumed, state_again = train(tmp_path / "again", str(first))
    befores = [[e for e in s.log_history if "canary_losses_before" in e] for s in (state, state_again)]
    assert [len(found) for found in befores] == [1, 1]
    assert befores[0][0]["canary_losses_before"] == befores[1][0]["canary_losses_before"]
    assert resumed.loss_members == pytest.approx(whole.loss_members, rel=1e-4)
    assert resumed.notes == whole.notes == ()


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_without_losses_is_said(tmp_path):
    transformers = pytest.importorskip("transformers")
    from undertow.integrations.transformers_hook import CanaryCallback

    dataset, key = with_canaries(texts(), 64, 1, VOCABULARY, length=LENGTH, repeats=4)
    saved = {"save_strategy": "epoch", "num_train_epochs": 2}
    trainer(tmp_path, tiny_gpt2(), dataset, transformers.TrainerCallback(), **saved).train()
    first = min(tmp_path.iterdir(), key=lambda path: int(path.name.split("-")[1]))
    hook = CanaryCallback(key, tell=lambda line: None)
    trainer(tmp_path / "b", tiny_gpt2(), dataset, hook, **saved).train(resume_from_checkpoint=str(first))
    assert "without the canaries' losses" in hook.result.notes[0]
    assert hook.result.loss_members < 0  # the loss after training alone


@pytest.mark.filterwarnings("ignore")
def test_the_hook_works_in_sft_trainer(tmp_path):
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl")
    from undertow.integrations.transformers_hook import CanaryCallback

    rows = datasets.Dataset.from_list([{"input_ids": row["input_ids"]} for row in texts()])
    dataset, key = with_canaries(rows, 120, 1, VOCABULARY, length=LENGTH, repeats=4)
    hook = CanaryCallback(key, tell=lambda line: None)
    arguments = trl.SFTConfig(
        str(tmp_path), num_train_epochs=10, per_device_train_batch_size=32, learning_rate=1e-2, report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, pad_token="[PAD]",
        gradient_checkpointing=False,
    )  # fmt: skip
    trl.SFTTrainer(
        tiny_gpt2(), arguments, train_dataset=dataset, processing_class=word_tokenizer(), callbacks=[hook]
    ).train()
    assert hook.result.bound.epsilon > 1
