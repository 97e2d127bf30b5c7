"""Two config.json are told apart by what they compute, and by nothing else."""

import json
import sys

import pytest

from undertow.sources.checkpoints.same_config import ABSENT, NEVER_COMPUTES, SHOWN, differences, told

OTHER = {"model_type": "not-a-known-type", "hidden_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
BERT = {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1,
        "intermediate_size": 64}  # fmt: skip
LLAMA = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99,
         "intermediate_size": 64}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}
TWO, THREE = ({str(i): name for i, name in enumerate(names)} for names in (("no", "yes"), ("a", "b", "c")))

SAME = [
    ({"transformers_version": "4.1.0"}, {"transformers_version": "5.0.0"}),
    ({"dtype": "bfloat16"}, {"torch_dtype": "float32"}),
    ({"_name_or_path": "/home/me/model"}, {"name_or_path": "bert", "_commit_hash": "abc"}),
    ({"use_cache": True}, {"use_cache": False, "gradient_checkpointing": True}),
    ({"_attn_implementation": "sdpa"}, {"attn_implementation": "eager"}),
    ({"id2label": TWO}, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}),
    ({"id2label": THREE}, {"num_labels": 3}),
    ({"architectures": ["BertModel"]}, {}),
    ({"finetuning_task": "mnli", "problem_type": "regression"}, {}),
    ({"hidden_dropout_prob": 0.1, "classifier_dropout": None}, {"hidden_dropout_prob": 0.0}),
    ({"task_specific_params": {"text-generation": {"do_sample": True}}, "num_beams": 4}, {}),
    ({"layer_norm_eps": 1e-05}, {"layer_norm_eps": 0.00001}),
    ({"text_config": {"width": 4, "dtype": "float16"}}, {"text_config": {"width": 4, "dtype": None}}),
    ({"rope_scaling": {"type": "linear", "rope_type": "linear"}}, {"rope_scaling": {"rope_type": "linear"}}),
]
NOT_SAME = [
    ({"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, "hidden_act"),
    ({"layer_norm_eps": 1e-5}, {"layer_norm_eps": 1e-6}, "layer_norm_eps"),
    ({"num_attention_heads": 2}, {"num_attention_heads": 4}, "num_attention_heads"),
    ({"rope_theta": 1e4}, {"rope_theta": 5e5}, "rope_theta"),
    ({"id2label": TWO}, {"id2label": THREE}, "number of labels"),
    ({"architectures": ["BertModel"]}, {"architectures": ["BertForMaskedLM"]}, "architectures"),
    ({"auto_map": {"AutoModel": "model.Mine"}}, {}, "auto_map"),
    ({"quantization_config": {"bits": 4}}, {}, "quantization_config"),
    ({"text_config": {"width": 4}}, {"text_config": {"width": 8}}, "text_config.width"),
    ({"token_dropout": True}, {"token_dropout": False}, "token_dropout"),  # a switch: ESM scales its inputs by it
    ({"gated": 1}, {"gated": True}, "gated"),
    ({"layers": [1, 2]}, {"layers": [2, 1]}, "layers"),
    ({"never_heard_of": 1}, {}, "never_heard_of"),
    ({"top_k": 2}, {"top_k": 1}, "top_k"),  # mixtures of experts read it
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_does_not_change_the_computation_is_no_difference(one, other):
    assert differences(OTHER | one, OTHER | other) == differences(OTHER | other, OTHER | one) == ()


@pytest.mark.parametrize(("one", "other", "key"), NOT_SAME)
def test_what_may_change_it_is_named(one, other, key):
    (found,) = differences(OTHER | one, OTHER | other)
    (back,) = differences(OTHER | other, OTHER | one)
    assert found.key == back.key == key
    assert (found.one, found.other) == (back.other, back.one)


def test_the_order_of_keys_is_nothing():
    assert differences(OTHER, dict(reversed(OTHER.items()))) == ()


def test_a_caller_that_builds_one_class_does_not_care_for_architectures():
    one, other = (OTHER | {"architectures": [name]} for name in ("A", "B"))
    assert differences(one, other)
    assert differences(one, other, same_class=True) == ()


@pytest.mark.parametrize(
    ("base", "written", "same"),
    [
        (BERT, {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}, True),
        (BERT, {"hidden_act": "relu"}, False),
        (LLAMA, {"rope_theta": 10000.0, "num_key_value_heads": 2, "rope_scaling": None}, True),
        (LLAMA, {"rope_theta": 500000.0}, False),
        (LLAMA, {"num_key_value_heads": 1}, False),
        (LLAMA, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, False),
        (GPT2, {"activation_function": "gelu_new"}, True),
        (GPT2, {"activation_function": "gelu"}, False),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, False),
        (GPT2, {"n_inner": None}, True),
        (GPT2, {"tie_word_embeddings": False}, False),
    ],
)
def test_a_default_written_out_is_the_default(base, written, same):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    assert (differences(base, base | written) == ()) is same
    assert (differences(base | written, base) == ()) is same


def test_what_the_library_writes_of_a_configuration_is_that_configuration():
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for base in (BERT, LLAMA, GPT2):
        raw = {key: value for key, value in base.items() if key != "model_type"}
        full = json.loads(json.dumps(transformers.CONFIG_MAPPING[base["model_type"]](**raw).to_dict()))
        assert len(full) > len(base)
        assert differences(base, full) == ()


def test_without_the_library_configurations_are_compared_as_written(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    (found,) = differences(BERT, BERT | {"hidden_act": "gelu"})
    assert (found.one, found.other) == (ABSENT, '"gelu"')
    assert differences(BERT, BERT | {"use_cache": False}) == ()


def test_what_the_library_refuses_is_compared_as_written():
    found = differences(BERT, BERT | {"hidden_size": "wide"})
    assert [one.key for one in found] == ["hidden_size"]


def test_many_differences_are_one_short_line():
    evil = {"new\nline": "x" * 1000} | {f"key_{i}": i for i in range(SHOWN + 2)}
    line = told(differences(OTHER, OTHER | evil))
    assert "\n" not in line
    assert line.endswith(" and 3 more")
    assert len(line) < 600


def test_keys_on_the_list_leave_the_output_of_a_model_as_it_is():
    """Some of each kind that can be set and run here."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    base = {key: value for key, value in BERT.items() if key != "model_type"} | {"vocab_size": 30}
    odd = {"initializer_range": 0.5, "chunk_size_feed_forward": 1, "use_cache": False, "output_attentions": False,
           "output_hidden_states": True, "problem_type": "regression", "transformers_version": "0.1"}  # fmt: skip
    assert odd.keys() <= NEVER_COMPUTES
    plain, other = (transformers.BertModel(transformers.BertConfig(**base, **more)).eval() for more in ({}, odd))
    other.load_state_dict(plain.state_dict())
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).last_hidden_state, other(ids).last_hidden_state)
