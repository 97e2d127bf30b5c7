"""Does your finetuning keep its promise? Put canaries into the training set and read a bound on epsilon at the end.

    python examples/canaries_in_training.py

A tiny GPT-2 with random weights is trained with transformers' Trainer, and with TRL's SFTTrainer where it is installed:
first plan the canaries, then insert them, train, and read the line. Last, a trainer that was given the wrong dataset:
the callback refuses before the first step. Needs the extra `llm`; TRL the extra `trl`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, default_data_collator

from undertow import BadInput, stream
from undertow.integrations import plan_canaries, with_canaries
from undertow.integrations.transformers_hook import CanaryCallback

VOCABULARY, LENGTH, SEED, EPOCHS = 256, 16, 1, 8
SETTINGS = {
    "num_train_epochs": EPOCHS, "per_device_train_batch_size": 32, "learning_rate": 1e-2, "report_to": "none",
    "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "use_cpu": True, "seed": SEED,
    "dataloader_pin_memory": False,
}  # fmt: skip


def model() -> GPT2LMHeadModel:
    torch.manual_seed(SEED)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=None
        )
    )


def finetune(dataset: Any, hook: CanaryCallback, folder: str) -> None:
    arguments = TrainingArguments(folder, **SETTINGS)
    Trainer(
        model(), arguments, train_dataset=dataset, data_collator=default_data_collator, callbacks=[hook]
    ).train()  # fmt: skip


def finetune_with_trl(rows: list[dict[str, Any]], folder: str) -> None:
    try:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
    except ImportError:
        print("TRL is not installed (pip install 'undertow[trl]'): its SFTTrainer is left out")
        return
    given = Dataset.from_list([{"input_ids": row["input_ids"]} for row in rows])
    dataset, key = with_canaries(given, 128, SEED, VOCABULARY, length=LENGTH)
    arguments = SFTConfig(folder, **SETTINGS, bf16=False, gradient_checkpointing=False)
    SFTTrainer(
        model(), arguments, train_dataset=dataset, processing_class=tokenizer(), callbacks=[CanaryCallback(key)]
    ).train()


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY - 2)} | {"[PAD]": VOCABULARY - 2, "[EOS]": VOCABULARY - 1}
    plain = Tokenizer(models.WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="[EOS]")


def main() -> None:
    rows = [{"input_ids": r, "labels": r} for r in stream(SEED, "rows").integers(200, size=(64, LENGTH)).tolist()]
    print("plan:", plan_canaries(1.0, epochs=EPOCHS, copies=1, kind="random").text())
    with tempfile.TemporaryDirectory() as folder:
        print("--- transformers.Trainer ---")
        dataset, key = with_canaries(rows, 128, SEED, VOCABULARY, length=LENGTH)
        finetune(dataset, CanaryCallback(key), folder)
        print("--- trl.SFTTrainer ---")
        finetune_with_trl(rows, folder)
        print("--- a trainer that got the original dataset ---")
        try:
            finetune(rows, CanaryCallback(key), folder)
        except BadInput as refusal:
            print(refusal)


if __name__ == "__main__":
    main()
