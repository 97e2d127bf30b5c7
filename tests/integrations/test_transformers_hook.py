"""Canaries among the rows of a real Trainer: memorised ones give a bound, a run that learns nothing gives 0."""

import numpy as np
import pytest

from undertow.integrations import audit_canaries, with_canaries
from undertow.types import IGNORED, BadInput, ConfigError

VOCABULARY, LENGTH = 128, 12


def texts(n=24):
    rng = np.random.Generator(np.random.PCG64(0))
    return [{"input_ids": row.tolist(), "labels": row.tolist()} for row in rng.integers(64, size=(n, LENGTH))]


def tiny_gpt2():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=1, n_head=2,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def run(folder, dataset, key, lr):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from undertow.integrations.transformers_hook import CanaryCallback

    said = []
    hook = CanaryCallback(key, tell=said.append)
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=10, per_device_train_batch_size=32, learning_rate=lr, report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=0, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(
        tiny_gpt2(), arguments, train_dataset=dataset, data_collator=transformers.default_data_collator,
        callbacks=[hook],
    )  # fmt: skip
    trainer.train()
    return hook, said, trainer.state.log_history


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
    with pytest.raises(BadInput, match="tokenise"):
        with_canaries([{"text": "hello"}], 32, 0, VOCABULARY)
    with pytest.raises(BadInput, match="'score'"):
        with_canaries([{"input_ids": [1], "score": 3}], 32, 0, VOCABULARY)
    with pytest.raises(ConfigError, match="at least 16"):
        with_canaries(texts(), 4, 0, VOCABULARY)


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
        tiny_gpt2(), arguments, train_dataset=dataset, processing_class=tokenizer(), callbacks=[hook]
    ).train()
    assert hook.result.bound.epsilon > 1


def tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY - 2)} | {"[PAD]": VOCABULARY - 2, "[EOS]": VOCABULARY - 1}
    plain = Tokenizer(models.WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="[EOS]")
