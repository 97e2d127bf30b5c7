"""The small language model: one body for both objectives, blind to padding and to the future."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch.nn.functional import cross_entropy

from undertow.models.architecture import Mlp, head_name, initial_state
from undertow.models.transformer import Transformer, for_labels, hidden, transformer
from undertow.texts import PAD, next_tokens
from undertow.training.task import to_params
from undertow.types import ConfigError, MissingExtra

TINY = Transformer(16, 2, 40)
SPEAKS = replace(TINY, objective="next-token")
L, C = 12, 3


def made(architecture, seed=1, length=L):
    module = architecture.build((length,), C).eval()
    module.load_state_dict(initial_state(architecture, (length,), C, seed))
    return module.double()


def texts(*sizes):
    torch.manual_seed(0)
    ids = torch.randint(1, 40, (len(sizes), L))
    for row, size in zip(ids, sizes, strict=True):
        row[size:] = PAD
    return ids


def loss_and_gradients(module, ids):
    module.zero_grad()
    loss = cross_entropy(module(ids), torch.as_tensor(next_tokens(ids.numpy())))
    loss.backward()
    return loss, {name: p.grad.clone() for name, p in module.named_parameters()}


def test_what_lies_behind_the_end_of_a_text_changes_no_answer():
    module, ids = made(TINY), texts(5, 8, 12)
    other = ids.clone()
    other[0, 6:] = 7  # the first pad stays: it is the end
    torch.testing.assert_close(module(ids), module(other), rtol=0, atol=1e-12)
    for place in range(5):  # what lies before it does matter
        other[0, place] = ids[0, place] % 39 + 1
        assert not torch.allclose(module(ids)[0], module(other)[0])
        other[0, place] = ids[0, place]


def test_the_answer_is_that_to_the_text_without_its_pads():
    module, ids = made(TINY), texts(5, 8, 12)
    together = module(ids)
    for row, size, answer in zip(ids, (5, 8, 12), together, strict=True):
        torch.testing.assert_close(module(row[None, :size])[0], answer, rtol=0, atol=1e-12)


def test_the_head_is_shown_the_mean_state_of_the_tokens():
    module, ids = made(TINY), texts(5, 8, 12)
    seen = []
    module.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module(ids)
    for row, size, mean in zip(ids, (5, 8, 12), seen[0], strict=True):
        states = hidden(module.body, row[None, :size])[0]
        torch.testing.assert_close(sum(states) / size, mean, rtol=0, atol=1e-12)


def test_an_empty_text_has_a_finite_answer():
    assert torch.isfinite(made(TINY)(torch.full((1, L), PAD))).all()


def test_pads_never_contribute_to_the_loss():
    """Loss and gradients are those of texts that were never padded; any token may stand behind the end."""
    module, ids = made(SPEAKS), texts(5, 5)
    padded, bare = loss_and_gradients(module, ids), loss_and_gradients(module, ids[:, :5])
    torch.testing.assert_close(padded[0], bare[0], rtol=0, atol=1e-12)
    for name, gradient in padded[1].items():
        torch.testing.assert_close(gradient, bare[1][name], rtol=0, atol=1e-12)
        if name == "body.wpe.weight":
            assert not gradient[5:].any()


def test_no_place_sees_the_future():
    module, ids = made(SPEAKS), texts(12)
    other = ids.clone()
    other[0, 7:] = 3
    torch.testing.assert_close(module(ids)[..., :7], module(other)[..., :7], rtol=0, atol=1e-12)
    assert not torch.allclose(module(ids)[..., 7:], module(other)[..., 7:])


def test_both_objectives_share_the_body_by_name_and_only_the_classifier_has_a_head():
    speaks, classifies = made(SPEAKS), made(TINY)
    assert speaks(texts(12, 3)).shape == (2, 40, L)
    assert classifies(texts(12, 3)).shape == (2, C)
    extra = classifies.state_dict().keys() - speaks.state_dict().keys()
    assert extra == {"head.weight", "head.bias"}
    assert not speaks.state_dict().keys() - classifies.state_dict().keys()
    assert head_name(classifies) == "head"


def test_a_start_is_its_seed_alone_and_nothing_is_shared():
    a, b, again = (to_params(initial_state(SPEAKS, (L,), 0, seed)) for seed in (1, 2, 1))
    for name, value in a.items():
        assert (value == again[name]).all()
        drawn = value.ndim == 2  # biases and the scales of norms begin as constants
        assert ((value == b[name]).all()) != drawn, name


def test_there_is_no_dropout():
    module = made(TINY).train()
    torch.testing.assert_close(module(texts(12)), module(texts(12)), rtol=0, atol=0)


def test_labels_choose_the_objective():
    assert for_labels(TINY, True) == SPEAKS
    assert for_labels(SPEAKS, False) == TINY
    assert for_labels(Mlp(), False) == Mlp()
    with pytest.raises(ConfigError, match="'transformer'"):
        for_labels(Mlp(), True)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ConfigError, match="token ids"):
        TINY.build((3, 8, 8), C)
    with pytest.raises(ConfigError, match="multiple of 3"):
        Transformer(100, 1, 40).build((L,), C)


def test_without_transformers_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"undertow\[hf\]"):
        TINY.build((L,), C)


def test_the_version_of_the_library_is_part_of_the_architecture():
    import transformers

    assert transformer(16, 2, 40).library == transformers.__version__
