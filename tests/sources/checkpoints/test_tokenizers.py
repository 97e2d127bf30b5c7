"""The tokenizer of a folder, whatever its files; and the chat template beside it."""

import json

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from undertow.sources.checkpoints.tokenizers import template_in, tokenizer_in
from undertow.types import BadInput


def test_a_vocabulary_of_word_pieces_is_converted(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "sat", "##s"]))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = tokenizer_in(tmp_path)
    assert tokenizer.encode("cats sat zebra").tokens == ["[CLS]", "cat", "##s", "sat", "[UNK]", "[SEP]"]


def test_a_vocabulary_with_merges_is_converted(tmp_path):
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġab": 5}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\nĠ ab\n")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert tokenizer_in(tmp_path).encode("ab ab").ids == [3, 5]


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"no tokenizer.json there, nor the files of a slow tokenizer"):
        tokenizer_in(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"sentencepiece|cannot convert tokenizer.model") as caught:
        tokenizer_in(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_sentencepiece_model_is_converted(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    (tmp_path / "t.txt").write_text("the cat sat on the mat\n" * 20 + "a dog ran to the log\n" * 20)
    spm.SentencePieceTrainer.train(input=str(tmp_path / "t.txt"), model_prefix=str(tmp_path / "tokenizer"),
                                   vocab_size=40, model_type="bpe", minloglevel=2)  # fmt: skip
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "add_bos_token": false}')
    ours = tokenizer_in(tmp_path).encode("the cat ran", add_special_tokens=False).tokens
    theirs = spm.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model")).encode(
        "the cat ran", out_type=str
    )
    assert ours == theirs


@pytest.mark.parametrize("where", ["config", "named", "file"])
def test_the_chat_template_of_a_folder(tmp_path, where):
    source = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    config = {"bos_token": {"content": "<s>", "special": True}}
    if where == "config":
        config["chat_template"] = source
    elif where == "named":
        config["chat_template"] = [{"name": "tools", "template": "x"}, {"name": "default", "template": source}]
    else:
        (tmp_path / "chat_template.jinja").write_text(source)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert template_in(tmp_path)([{"role": "user", "content": "hi"}]) == "<s>[hi]"


def test_no_template_is_none(tmp_path):
    assert template_in(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(BadInput, match="is no JSON"):
        template_in(tmp_path)
