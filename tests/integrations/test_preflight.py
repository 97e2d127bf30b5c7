"""Pipelines that cannot learn the canaries are refused before the first step or inconclusive; right ones are not."""

import numpy as np
import pytest
from tests.integrations.pipelines import (
    LENGTH,
    VOCABULARY,
    lora,
    padded,
    texts,
    tiny_gpt2,
    tokenising,
    trainer,
    word_tokenizer,
    words,
)

from undertow.integrations import with_canaries
from undertow.types import IGNORED, BadInput

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")
COUNT = 64


def insert(rows=None, count=COUNT, vocabulary=VOCABULARY, seed=1, **more):
    return with_canaries(texts() if rows is None else rows, count, seed, vocabulary, length=LENGTH, **more)


def rows_changed(change, **more):
    """A broken pipeline whose rows are changed after insertion: `change(list of rows, key)`."""
    dataset, key = insert(**more)
    return {"dataset": change([dict(row) for row in dataset], key), "key": key}


def batch_changed(change):
    """A broken pipeline whose batches are changed by the collator: `change(batch)`."""

    def collate(rows):
        return change(transformers.default_data_collator(list(rows)))

    dataset, key = insert()
    return {"dataset": dataset, "key": key, "collate": collate}


def each(rows, **change):
    return [row | {name: f(row) for name, f in change.items()} for row in rows]


def chunks(rows, size=32):
    ids = [t for row in rows for t in row["input_ids"]]
    return [{"input_ids": ids[i : i + size], "labels": ids[i : i + size]} for i in range(0, len(ids) - size, size)]


def in_bins(rows, size=3):
    parts = [rows[i : i + size] for i in range(0, len(rows) - size, size)]
    ids = [[t for row in part for t in row["input_ids"]] for part in parts]
    return [{"input_ids": row, "labels": row} for row in ids]


def cut(rows, part):
    return each(rows, input_ids=lambda r: r["input_ids"][part], labels=lambda r: r["labels"][part])


def masked(rows, key):
    inside = {tuple(row) for row in key.tokens.tolist()}
    return each(rows, labels=lambda r: [IGNORED] * LENGTH if tuple(r["input_ids"]) in inside else r["labels"])


def hidden(rows, key):
    inside = {tuple(row) for row in key.tokens.tolist()}
    return each(rows, attention_mask=lambda r: [int(tuple(r["input_ids"]) not in inside)] * LENGTH)


def mostly_masked(rows, key):
    return each(rows, labels=lambda r: [IGNORED] * 9 + r["labels"][9:])


def unique(rows):
    return [dict(row) for row in {tuple(r["input_ids"]): r for r in rows}.values()]


def masked_lm(batch):
    draw = torch.rand(batch["input_ids"].shape, generator=torch.Generator().manual_seed(0)) < 0.15
    batch["labels"] = torch.where(draw, batch["input_ids"], IGNORED)
    batch["input_ids"] = torch.where(draw, 0, batch["input_ids"])
    return batch


def shifted(batch):
    batch["labels"] = torch.cat([batch["labels"][:, 1:], torch.full_like(batch["labels"][:, :1], IGNORED)], 1)
    return batch


def preference(batch):
    return {"chosen_input_ids": batch["input_ids"], "rejected_input_ids": batch["input_ids"], "labels": batch["labels"]}


def trl_preference(batch):
    return {"input_ids": batch["input_ids"], "completion_mask": torch.ones_like(batch["input_ids"])}


def with_model(change, **more):
    dataset, key = insert(**more)
    return {"dataset": dataset, "key": key, "model": change(tiny_gpt2())}


def frozen(model):
    return model.requires_grad_(False)


def merged(model):
    model = lora(model)
    model.merge_adapter()
    return model


def disabled(model):
    model = lora(model)
    model.base_model.disable_adapter_layers()
    for p in model.parameters():
        p.requires_grad_(p.ndim == 1)
    return model


def frozen_embeddings(model):
    model.get_input_embeddings().requires_grad_(False)
    return model


def new_tokens(change):
    return with_model(change, kind="new-token", tokens=range(64, 128))


def other_optimizer():
    dataset, key = insert()
    return {"dataset": dataset, "key": key, "optimizers": (torch.optim.AdamW(tiny_gpt2().parameters(), 1e-2), None)}


class RowsOnly(transformers.Trainer):
    """Its sampler visits the first rows only."""

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(range(8))


class Weighted(transformers.Trainer):
    """Rows with tokens from 64 on, as the canaries have, get no gradient."""

    def compute_loss(self, model, inputs, *_, **__):
        labels = inputs["labels"].clone()
        labels[(inputs["input_ids"] >= 64).any(1)] = IGNORED
        return model(input_ids=inputs["input_ids"], labels=labels).loss


class Cut(transformers.Trainer):
    """Cuts batches after the collator."""

    def _prepare_inputs(self, inputs):
        return {name: value[:, : LENGTH - 4] for name, value in super()._prepare_inputs(inputs).items()}


def trained_by(kind, **more):
    dataset, key = insert()
    return dict(dataset=dataset, key=key, kind=kind, **more)


def another_key():
    return {"dataset": insert()[0], "key": insert(seed=2)[1]}


def coins_tossed_anew():
    import dataclasses

    dataset, key = insert()
    return {"dataset": dataset, "key": dataclasses.replace(key, member=~key.member)}


def wrong_tokenizer():
    dataset, key = insert(words(), vocabulary=word_tokenizer())
    return {
        "dataset": dataset,
        "key": key,
        "collate": tokenising(word_tokenizer(shift=5)),
        "remove_unused_columns": False,
    }


def texts_cut():
    dataset, key = insert(words(), vocabulary=word_tokenizer())
    return {"dataset": dataset, "key": key, "collate": tokenising(word_tokenizer(), 8), "remove_unused_columns": False}


class Stream(torch.utils.data.IterableDataset):
    """Rows one after another."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


BROKEN = {
    "the original dataset": lambda: rows_changed(lambda rows, key: texts()),
    "another key": another_key,
    "coins of another toss": coins_tossed_anew,
    "cut at the end by max_length": lambda: rows_changed(lambda rows, key: cut(rows, slice(0, 8))),
    "cut at the start": lambda: rows_changed(lambda rows, key: cut(rows, slice(4, None))),
    "loss masked on canaries": lambda: rows_changed(masked),
    "loss masked on three quarters": lambda: rows_changed(mostly_masked),
    "label -100 everywhere": lambda: batch_changed(lambda b: b | {"labels": torch.full_like(b["labels"], IGNORED)}),
    "split after insertion": lambda: rows_changed(lambda rows, key: rows[: int(0.8 * len(rows))]),
    "rare tokens filtered": lambda: rows_changed(lambda rows, key: [r for r in rows if max(r["input_ids"]) < 120]),
    "packed in blocks": lambda: rows_changed(lambda rows, key: chunks(rows)),
    "packed whole": lambda: rows_changed(lambda rows, key: in_bins(rows)),
    "token ids mapped": lambda: rows_changed(
        lambda rows, key: each(rows, input_ids=lambda r: [(t + 3) % 128 for t in r["input_ids"]])
    ),
    "rows twice": lambda: rows_changed(lambda rows, key: rows + rows),
    "copies removed": lambda: rows_changed(lambda rows, key: unique(rows), repeats=4),
    "hidden by the attention mask": lambda: rows_changed(hidden),
    "masked language model": lambda: batch_changed(masked_lm),
    "labels shifted already": lambda: batch_changed(shifted),
    "pairs for DPO": lambda: batch_changed(preference),
    "pairs for DPO, as TRL has them": lambda: batch_changed(trl_preference),
    "wrong tokenizer": wrong_tokenizer,
    "texts cut by the tokenizer": texts_cut,
    "nothing is trained": lambda: with_model(frozen),
    "merged adapter": lambda: with_model(merged),
    "disabled adapter": lambda: with_model(disabled),
    "new tokens under LoRA": lambda: new_tokens(lora),
    "new tokens, frozen embeddings": lambda: new_tokens(frozen_embeddings),
    "ids beyond the embedding": lambda: insert_beyond(),
    "optimizer of another model": other_optimizer,
    "no whole batch": lambda: trained_by(None, dataloader_drop_last=True, per_device_train_batch_size=512, max_steps=2),
    "sampler of some rows": lambda: trained_by(RowsOnly, num_train_epochs=2),
    "one step": lambda: trained_by(None, max_steps=1, per_device_train_batch_size=2),
    "learning rate 0": lambda: trained_by(None, learning_rate=0.0, num_train_epochs=1),
    "loss weights that leave canaries out": lambda: trained_by(Weighted, num_train_epochs=2),
    "stream of the original rows": lambda: {
        "dataset": Stream(texts() * 2), "key": insert()[1], "max_steps": 2, "per_device_train_batch_size": 8
    },
}  # fmt: skip


def insert_beyond():
    dataset, key = insert(vocabulary=VOCABULARY * 2)
    return {"dataset": dataset, "key": key}


def go(folder, dataset, key, model=None, **more):
    from undertow.integrations.transformers_hook import CanaryCallback

    said = []
    hook = CanaryCallback(key, tell=said.append)
    trainer(folder, model or tiny_gpt2(), dataset, hook, **more).train()
    return hook.result, said


def outcome(folder, pipeline):
    """The refusal, or the line at the end of the training."""
    try:
        result, said = go(folder, **pipeline)
    except BadInput as refusal:
        return str(refusal)
    return said[-1] if result.verdict == "inconclusive" else "not found: " + said[-1]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pipeline_is_refused_or_inconclusive(name, tmp_path):
    line = outcome(tmp_path, BROKEN[name]())
    refused = line.startswith("undertow: ") and line.endswith("trains all the same)")
    assert refused or line.startswith("undertow: inconclusive: the canaries were not learnt")
    assert "\n" not in line


def test_canaries_cut_after_the_collator_are_missed_while_training(tmp_path):
    """What remains of them may be learnt, and a bound from it is true; the line says that none came whole."""
    _, said = go(tmp_path, **trained_by(Cut, num_train_epochs=1))
    assert "canaries never reached the model" in said[-1]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("the original dataset", "none of the"),
        ("cut at the end by max_length", "not delivered whole"),
        ("loss masked on canaries", "loss is masked"),
        ("split after insertion", "missing from the training set"),
        ("packed whole", "turn packing off"),
        ("new tokens under LoRA", "embeddings are frozen"),
        ("merged adapter", "adapter is merged"),
        ("pairs for DPO", "preference loss"),
        ("pairs for DPO, as TRL has them", "preference loss"),
        ("rows twice", "2 times, the key says 1"),
        ("wrong tokenizer", "tokenizer"),
        ("labels shifted already", "not their own tokens"),
        ("optimizer of another model", "optimizer"),
    ],
)
def test_the_refusal_names_the_cause(name, cause, tmp_path):
    with pytest.raises(BadInput, match=cause):
        go(tmp_path, **BROKEN[name]())


def padding_collator(side):
    return lambda rows: padded(torch, [row["input_ids"] for row in rows], side=side)


def framed(rows):
    """A start and an end token around every row, as tokenizers put them."""
    return padded(torch, [[65, *row["input_ids"], 66] for row in rows])


def chat_rows():
    return [
        {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": r["text"]}]} for r in words()
    ]


def right(rows=None, vocabulary=VOCABULARY, **more):
    dataset, key = insert(rows, vocabulary=vocabulary, repeats=4)
    return dict(dataset=dataset, key=key, **more)


def uneven():
    return [{"input_ids": row["input_ids"][: 5 + i % 8]} for i, row in enumerate(texts())]


def streamed():
    dataset, key = with_canaries(Stream(texts()), COUNT, 1, VOCABULARY, length=LENGTH, repeats=4, rows=24)
    return {"dataset": dataset, "key": key, "max_steps": 50}


def adapter():
    base = tiny_gpt2()
    dataset, key = insert(model=base, repeats=8)
    return {"dataset": dataset, "key": key, "model": lora(base, 16), "num_train_epochs": 20, "learning_rate": 3e-2}


RIGHT = {
    "plain": lambda: right(),
    "one copy": lambda: dict(zip(("dataset", "key"), insert(), strict=True), num_train_epochs=20),
    "padding on the right": lambda: right(uneven(), collate=padding_collator("right")),
    "padding on the left": lambda: right(uneven(), collate=padding_collator("left")),
    "start and end tokens": lambda: right(collate=framed),
    "texts": lambda: right(
        words(), word_tokenizer(), collate=tokenising(word_tokenizer()), remove_unused_columns=False
    ),
    "chats": lambda: right(
        chat_rows(), word_tokenizer(chat=True), collate=tokenising(word_tokenizer(chat=True), column="messages"),
        remove_unused_columns=False,
    ),
    "extra columns": lambda: right([row | {"source": "a", "score": 0.5} for row in texts()]),
    "drop_last and accumulation": lambda: right(
        dataloader_drop_last=True, gradient_accumulation_steps=2, per_device_train_batch_size=8
    ),
    "label smoothing": lambda: right(label_smoothing_factor=0.1),
    "gradient checkpointing": lambda: right(gradient_checkpointing=True),
    "a stream": streamed,
    "LoRA with sampled canaries": adapter,
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_pipeline_is_not_refused(name, tmp_path):
    result, _ = go(tmp_path, **RIGHT[name]())
    assert result.verdict == "shown"
    assert not any("never reached" in note for note in result.notes)


def test_there_are_enough_pipelines():
    assert len(BROKEN) >= 25
    assert len(RIGHT) >= 10


def test_without_strict_it_trains_and_says_what_is_wrong(tmp_path):
    from undertow.integrations.transformers_hook import CanaryCallback

    said, key = [], insert()[1]
    hook = CanaryCallback(key, tell=said.append, strict=False)
    trainer(tmp_path, tiny_gpt2(), texts(), hook, num_train_epochs=1).train()
    assert "none of the" in said[0]
    assert hook.result.verdict == "inconclusive"
    assert any("none of the" in note for note in hook.result.notes)


def test_looking_changes_nothing_of_the_training(tmp_path):
    """Weights after training with the hook are those without it, bit for bit."""
    dataset, key = insert()
    from undertow.integrations.transformers_hook import CanaryCallback

    weights = []
    for hook in (CanaryCallback(key, tell=lambda line: None), transformers.TrainerCallback()):
        model = tiny_gpt2()
        trainer(tmp_path, model, dataset, hook, num_train_epochs=1).train()
        weights.append(model.transformer.wte.weight.detach().numpy().copy())
    np.testing.assert_array_equal(*weights)
