"""The proof finds its way into Hugging Face models: fresh ones of every kind are not proven."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from safetensors.numpy import save_file
from tests.traps.text.test_bert import texts

from undertow.audits.prove.proof import BLOCK, copied, prove
from undertow.audits.prove.subject import RECORDS, Given, subject_of
from undertow.models.huggingface import described
from undertow.rng import stream
from undertow.scanner import of_arrays
from undertow.traps import bert_trap, plant
from undertow.workflows.prove import ONLY, Proving, prove_checkpoint

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "vit": {**TINY, "model_type": "vit", "patch_size": 8, "image_size": 16},
    "bert": {**TINY, "model_type": "bert", "vocab_size": 400},
    "gpt2": {
        "model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 400, "eos_token_id": 0,
        "bos_token_id": 0,
    },
}  # fmt: skip
SHAPES = {"vit": (3, 16, 16), "bert": (20,), "gpt2": (20,)}


def weights(kind, seed=0):
    torch.manual_seed(seed)
    module = described(CONFIGS[kind]).build(SHAPES[kind], 2)
    return {name.removeprefix("model."): value.numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_fresh_model_is_not_proven(kind, seed):
    subject, control = subject_of(weights(kind, seed), Given(architecture=described(CONFIGS[kind])), seed)
    assert not prove(subject, [control]).proven


def test_a_unit_that_copies_is_found_under_its_name_in_the_file(monkeypatch):
    """A planted copy: before and after differ in one unit by what the layer read of record 5."""
    subject, _ = subject_of(weights("vit"), Given(architecture=described(CONFIGS["vit"])), 0)
    import undertow.audits.prove.proof as room

    def planted(module, layers, x, y, way, seed):
        name = next(n for n in layers if n.endswith("layers.1.mlp.fc1"))
        ((_, read),) = room._inputs(module, {name: layers[name]}, x)
        before = room._weights(layers)
        after = {key: value.copy() for key, value in before.items()}
        after[name][7] -= 0.5 * read[5 * len(read) // len(x)].astype(np.float32)
        return [before, after, after]

    monkeypatch.setattr(room, "_finetune", planted)
    (found,) = copied(subject, subject.ways[0], 0)
    assert (found.tensor, found.row, found.record) == ("vit.layers.1.mlp.fc1.weight", 7, 5)
    assert len(subject.x) % BLOCK == 0


def test_a_folder_is_proven_by_its_config(tmp_path):
    found = prove_checkpoint(of_arrays(weights("vit")), CONFIGS["vit"], Proving(), None)
    assert found.not_tested == (ONLY,)
    assert found.settings["records"] == RECORDS
    odd = {"conv.weight": np.zeros((2, 2, 2, 2), np.float32)}
    found = prove_checkpoint(of_arrays(odd), None, Proving(), None)
    assert "no plain perceptron" in found.failed[0]


def test_what_is_too_large_is_not_tested(monkeypatch):
    monkeypatch.setattr("undertow.workflows.prove.LARGEST", 100)
    found = prove_checkpoint(of_arrays(weights("vit")), CONFIGS["vit"], Proving(), None)
    assert "more than the 100" in found.failed[0]


def test_texts_are_read_by_the_tokenizer_beside_the_weights(tmp_path):
    from undertow.opening import open_checkpoint
    from undertow.sources.records.text_pairs import train_tokenizer

    texts = [f"record {i} of {i % 7} kinds" for i in range(40)]
    train_tokenizer(texts, 300).save(str(tmp_path / "tokenizer.json"))
    save_file(weights("bert"), tmp_path / "model.safetensors")
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    with open_checkpoint(tmp_path / "model.safetensors") as opened:
        found = prove_checkpoint(opened.tensors, CONFIGS["bert"], Proving(tmp_path / "mine.jsonl"), None)
    assert found.settings["records"] == 40


@pytest.mark.slow
def test_traps_in_a_small_bert_are_proven():
    """On made-up token ids, none of them drawn as the attacker's are; its clean twin is not proven."""
    config = {
        "model_type": "bert", "vocab_size": 150, "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6,
        "intermediate_size": 192, "initializer_range": 0.05,
    }  # fmt: skip
    torch.manual_seed(0)
    module = described(config).build((12,), 4)
    clean = {name.removeprefix("model."): value.numpy() for name, value in module.state_dict().items()}
    trap = bert_trap(clean, texts(400, 100), 8, 0.02, stream(0, "proof"), heads=6)
    planted = {name: np.asarray(value, np.float32) for name, value in plant(clean, trap).items()}
    proofs = []
    for params in (planted, clean):
        subject, control = subject_of(params, Given(architecture=described(config)), 0)
        proofs.append(prove(subject, [control]))
    assert [proof.proven for proof in proofs] == [True, False]
    units = {one.row for one in proofs[0].held if one.tensor == "bert.encoder.layer.0.intermediate.dense.weight"}
    assert len(units & set(trap.units.ravel().tolist())) >= 3
