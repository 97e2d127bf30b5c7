"""Causal language models: ids in, logits of the next token out; names, ties and the swapped pad."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch.nn.functional import cross_entropy

from undertow.models.architecture import head_name, initial_state
from undertow.models.causal_lm import (
    CausalLM,
    causal_lm,
    for_strategy,
    from_config,
    from_tensors,
    ties,
    untied,
    with_neftune,
)
from undertow.rng import stream
from undertow.texts import next_tokens
from undertow.training.task import load_state, to_params
from undertow.types import BadInput, ConfigError

V, L = 40, 12
NEO = {"model_type": "gpt_neo", "vocab_size": V, "hidden_size": 16, "num_layers": 2, "num_heads": 2,
       "attention_types": [[["global", "local"], 1]], "max_position_embeddings": L, "bos_token_id": None,
       "eos_token_id": None, "resid_dropout": 0.5, "embed_dropout": 0.5, "attention_dropout": 0.5}  # fmt: skip
ALL = {f: causal_lm(f, 16, 2, V, L) for f in ("gpt2", "gpt_neox", "llama")} | {"gpt_neo": from_config(NEO)}
IDS = torch.as_tensor(stream(0, "ids").integers(1, V, (3, L)))


def built(architecture, seed=0):
    module = architecture.build((L,), 0)
    module.load_state_dict(initial_state(architecture, (L,), 0, seed))
    return module


@pytest.mark.parametrize("name", ALL)
def test_classes_are_second_the_future_unseen_and_dropout_off(name):
    module = built(ALL[name]).train()
    logits = module(IDS)
    assert logits.shape == (3, V, L)
    assert logits.dtype == torch.float32
    assert torch.equal(module(IDS), logits)
    later = IDS.clone()
    later[:, 7:] = 1 + later[:, 7:] % (V - 1)
    torch.testing.assert_close(module(later)[..., :7], logits[..., :7])
    assert not torch.allclose(module(later)[..., 7], logits[..., 7])
    cross_entropy(logits, torch.as_tensor(next_tokens(IDS.numpy())), reduction="none").sum().backward()


@pytest.mark.parametrize("name", ALL)
def test_the_head_is_the_layer_that_speaks(name):
    module = built(ALL[name])
    assert module.get_submodule(head_name(module)) is module.model.get_output_embeddings()


@pytest.mark.parametrize("name", ALL)
def test_a_state_dict_returns(name):
    module = built(ALL[name])
    other = ALL[name].build((L,), 0)
    load_state(other, to_params(module.state_dict()), torch.float32)
    assert torch.equal(other(IDS), module(IDS))


@pytest.mark.parametrize("name", ALL)
def test_files_of_other_names_are_read(name, tmp_path):
    """What save_pretrained writes differs in names from what is in memory (NeoX: embed_out)."""
    from safetensors.torch import load_file

    module = built(ALL[name])
    module.model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    architecture = from_config(json.loads((tmp_path / "config.json").read_text()))
    state = from_tensors(architecture, tensors)
    for key, value in to_params(module.state_dict()).items():
        np.testing.assert_array_equal(state[key], value)
    tensors.pop(next(n for n in tensors if "layers.1." in n or "h.1." in n))
    with pytest.raises(BadInput, match="missing"):
        from_tensors(architecture, tensors)


def test_files_of_the_body_alone_are_read():
    """The hub's gpt2 names its tensors without `transformer.`"""
    module = built(ALL["gpt2"])
    bare = {n.removeprefix("transformer."): v for n, v in module.model.state_dict().items() if n != "lm_head.weight"}
    state = from_tensors(ALL["gpt2"], bare)
    np.testing.assert_array_equal(state["model.lm_head.weight"], bare["wte.weight"])


def test_tied_is_one_matrix_untied_two_and_the_state_fits_both():
    tied, free = built(ALL["gpt2"]), untied(ALL["gpt2"]).build((L,), 0)
    assert ties(tied) == [["model.transformer.wte.weight", "model.lm_head.weight"]]
    assert ties(free) == []
    free.load_state_dict(tied.state_dict())
    assert torch.equal(free(IDS), tied(IDS))
    assert for_strategy(ALL["gpt2"], "full") == ALL["gpt2"]
    assert for_strategy(ALL["gpt2"], "lora").tied is False


def test_a_tied_model_refuses_what_differs():
    free = untied(ALL["gpt2"]).build((L,), 0)
    with pytest.raises(ConfigError, match="untied"):
        ALL["gpt2"].build((L,), 0).load_state_dict(free.state_dict())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_pad_and_token_0_change_places(name):
    plain = built(ALL[name])
    swapped = built(replace(ALL[name], pad=5))
    swapped.load_state_dict(plain.state_dict())
    order = np.arange(V)
    order[[0, 5]] = 5, 0
    theirs = torch.as_tensor(order)[IDS]
    assert (IDS == 5).any()
    assert torch.equal(swapped(IDS), plain(theirs)[:, order])


def test_neftune_is_transformers_noise_and_only_in_training():
    from transformers.integrations.neftune import activate_neftune

    plain = built(ALL["gpt2"])
    theirs, ours = copy.deepcopy(plain), with_neftune(copy.deepcopy(plain), 5.0)
    activate_neftune(theirs.model, 5.0)
    ours = copy.deepcopy(ours)  # as the DP engine does: the hook must ask the copy
    for module in (theirs, ours):
        module.train()
    torch.manual_seed(1)
    a = theirs(IDS)
    torch.manual_seed(1)
    assert torch.equal(ours(IDS), a)
    assert not torch.allclose(a, plain(IDS))
    assert torch.equal(ours.eval()(IDS), plain.eval()(IDS))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "unheard-of", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "does not know"),
        ({"model_type": "vit"}, "no causal"),
        ({"model_type": "gpt2", "quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_configurations_that_are_refused(config, said):
    with pytest.raises(ConfigError, match=said):
        from_config(config)


def test_foreign_code_kernels_and_number_types_are_not_followed():
    wild = json.loads(ALL["gpt2"].config) | {
        "auto_map": {"AutoModelForCausalLM": "evil--evil.Model"}, "torch_dtype": "bfloat16",
        "attn_implementation": "evil/kernel", "resid_pdrop": 0.9}  # fmt: skip
    module = from_config(wild).build((L,), 0)
    assert type(module.model).__module__.startswith("transformers.")
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert module.model.config._attn_implementation == "sdpa"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="context"):
        ALL["gpt2"].build((L + 1,), 0)
    with pytest.raises(ConfigError, match="token ids"):
        ALL["gpt2"].build((3, 8, 8), 0)
    with pytest.raises(ConfigError, match="width"):
        causal_lm("llama", 70, 1, V, L)
    with pytest.raises(ConfigError, match="pad"):
        replace(ALL["gpt2"], pad=V).build((L,), 0)
    assert CausalLM(ALL["gpt2"].config).vocabulary == V
