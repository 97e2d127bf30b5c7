"""A LoRA adapter as a checkpoint: applied to its base as peft itself does it, or refused by one true line."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from undertow.models.causal_lm import causal_lm
from undertow.sources.checkpoints.language import checkpoint
from undertow.sources.records.tokens import own_tokens
from undertow.types import BadInput

V, L = 270, 16
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft with a newer transformers
TEXTS = ["the cat sat on the mat and the dog sat on the log"] * 4
TARGETS = {"gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}


def folders(tmp_path, family="gpt2", **more):
    """A base, an adapter beside it, and what peft makes of the two."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model = causal_lm(family, 32, 2, V, L).build((L,), 0).model
    model.config.pad_token_id = 0
    model.save_pretrained(base)
    own_tokens(TEXTS, V).tokenizer.save(str(base / "tokenizer.json"))
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=TARGETS[family], fan_in_fan_out=family == "gpt2", **more)
    wrapped = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    wrapped.save_pretrained(adapter)
    edit(adapter, base_model_name_or_path="../base")
    return adapter, wrapped


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("more", [{}, {"use_rslora": True}])
def test_an_adapter_is_applied_as_peft_merges_it(tmp_path, family, more):
    adapter, wrapped = folders(tmp_path, family, **more)
    architecture, params, tokens = checkpoint(str(adapter))
    merged = wrapped.merge_and_unload().state_dict()
    assert tokens.size <= architecture.vocabulary
    changed = 0
    for name, value in params.items():
        own = merged[name.removeprefix("model.")].numpy()
        np.testing.assert_allclose(value, own, rtol=1e-5, atol=1e-6)
        changed += not np.allclose(value, load_base(tmp_path).get(name.removeprefix("model."), own))
    assert changed == {"gpt2": 2, "llama": 4}[family]


def load_base(tmp_path):
    return {name: value.numpy() for name, value in load_file(tmp_path / "base" / "model.safetensors").items()}


def edit(adapter, **values):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"peft_type": "IA3"}, "holds a IA3 adapter of peft, only LORA is applied here; merge it"),
        ({"use_dora": True}, "with use_dora, which is not applied here"),
        ({"bias": "all"}, "with bias = 'all'"),
        ({"rank_pattern": {"c_attn": 4}}, "with rank_pattern"),
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "nobody/nothing-at-all"}, "is no folder here and cannot be downloaded"),
        ({"r": None}, "names no rank and alpha"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, values, says, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    adapter, _ = folders(tmp_path)
    edit(adapter, **values)
    with pytest.raises(BadInput, match=says) as caught:
        checkpoint(str(adapter))
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_base_or_with_more_in_it(tmp_path):
    adapter, _ = folders(tmp_path)
    tensors = load_file(adapter / "adapter_model.safetensors")
    other = {name.replace("h.0.", "h.9."): value for name, value in tensors.items()}
    save_file(other, adapter / "adapter_model.safetensors")
    with pytest.raises(BadInput, match=r"the base has no tensor .*h\.9\."):
        checkpoint(str(adapter))
    save_file({**tensors, "base_model.model.lm_head.weight": torch.zeros(2)}, adapter / "adapter_model.safetensors")
    with pytest.raises(BadInput, match=r"also holds 'base_model.model.lm_head.weight'"):
        checkpoint(str(adapter))
    wide = {n: torch.cat([v, v]) if n.endswith("lora_B.weight") else v for n, v in tensors.items()}
    save_file(wide, adapter / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="give the adapter the base it was trained on"):
        checkpoint(str(adapter))
