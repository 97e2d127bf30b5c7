"""A text classifier finetuned by transformers' `Trainer`: does it give away its finetuning data?

    python examples/one_model_trainer.py

The model is a tiny BERT with random weights, so that this runs without a download; use your own trainer, and
`from_pipeline` for a pipeline. From the shell: undertow audit mia --model FOLDER --members a.jsonl --nonmembers b.jsonl
"""

import tempfile

from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, Trainer, TrainingArguments

import undertow as ut
from undertow.integrations import from_trainer
from undertow.sources.records.tokens import own_tokens

rng = ut.stream(0, "example")
words = ["good", "bad", "film", "plot", "actor", "slow", "great", "long", "music", "end"]
texts = [" ".join(rng.choice(words, 10)) for _ in range(400)]
labels = rng.integers(2, size=400)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=own_tokens(texts, 400).tokenizer, pad_token="<pad>")
model = BertForSequenceClassification(
    BertConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
)
rows = [{**tokenizer(text), "labels": int(label)} for text, label in zip(texts, labels, strict=True)]

with tempfile.TemporaryDirectory() as scratch:
    settings = TrainingArguments(
        scratch, num_train_epochs=20, per_device_train_batch_size=32, learning_rate=2e-3, report_to=[], use_cpu=True,
        disable_tqdm=True, logging_strategy="no", save_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model, settings, train_dataset=rows[:200], processing_class=tokenizer)
    trainer.train()

result = ut.audit_model(from_trainer(trainer), (texts[:200], labels[:200]), (texts[200:], labels[200:]))
print(ut.summary(result))
