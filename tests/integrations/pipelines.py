"""Tiny trainings for the tests of the canary hook: a GPT-2 of one layer, rows of random tokens, a real Trainer."""

import numpy as np
import pytest

from undertow.rng import stream

VOCABULARY, LENGTH, POSITIONS = 128, 12, 64


def texts(n=24):
    """Rows of tokens below 64, (n, LENGTH)."""
    return [{"input_ids": row.tolist(), "labels": row.tolist()} for row in stream(0, "rows").integers(64, size=(n, 12))]


def tiny_gpt2(vocabulary=VOCABULARY, positions=POSITIONS):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=positions, n_embd=32, n_layer=1, n_head=2,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def lora(model, r=8):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(
        model, peft.LoraConfig(r=r, lora_alpha=16, fan_in_fan_out=True, target_modules=["c_attn", "c_fc"])
    )


def trainer(folder, model, dataset, hook, *, collate=None, kind=None, optimizers=(None, None), **changes):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    settings = {
        "num_train_epochs": 10, "per_device_train_batch_size": 32, "learning_rate": 1e-2, "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no", "disable_tqdm": True, "seed": 0, "use_cpu": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    arguments = transformers.TrainingArguments(str(folder), **(settings | changes))
    return (kind or transformers.Trainer)(
        model, arguments, train_dataset=dataset, data_collator=collate or transformers.default_data_collator,
        callbacks=[hook], optimizers=optimizers,
    )  # fmt: skip


def word_tokenizer(size=VOCABULARY, shift=0, chat=False):
    """Words w0, w1, ... split at blanks; `shift` numbers them otherwise."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    words = {f"w{i}": (i + shift) % (size - 2) for i in range(size - 2)} | {"[PAD]": size - 2, "[EOS]": size - 1}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    found = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="[EOS]")
    if chat:
        found.chat_template = "{% for m in messages %}{{ ' ' + m['content'] }} [EOS]{% endfor %}"
    return found


def words(n=24):
    """Rows {"text"}."""
    return [{"text": " ".join(f"w{t}" for t in row)} for row in stream(0, "rows").integers(64, size=(n, LENGTH))]


def tokenising(tokenizer, max_length=POSITIONS, column="text", side="right"):
    """A collator that tokenises texts or chats."""
    torch = pytest.importorskip("torch")

    def collate(rows):
        if column == "messages":
            said = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
        else:
            said = [row[column] + " [EOS]" for row in rows]
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"][:max_length] for text in said]
        return padded(torch, ids, tokenizer.pad_token_id, side)

    return collate


def padded(torch, ids, pad=0, side="right"):
    longest = max(map(len, ids))
    batch = {"input_ids": [], "labels": [], "attention_mask": []}
    for row in ids:
        rest = longest - len(row)
        for name, inside, outside in (
            ("input_ids", row, pad),
            ("labels", row, -100),
            ("attention_mask", [1] * len(row), 0),
        ):
            filled = [outside] * rest
            batch[name].append(list(inside) + filled if side == "right" else filled + list(inside))
    return {name: torch.tensor(np.asarray(values)) for name, values in batch.items()}
